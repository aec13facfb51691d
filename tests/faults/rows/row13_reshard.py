"""Row 13: slots move to a node that was just added, under load: key by key, and atomically.

Key by key, a partition stands still while its slot moves (``scripts._keyed``): calls are answered TRYAGAIN and are
repeated. So the outage is the length of the move, and nothing may run twice. The atomic move stops it for milliseconds.
"""

import asyncio
import time
from collections.abc import Callable

from examples.demo.topologies import ClusterSystem, Node
from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import slot_of, tags
from tests.faults.rig import Rig, wait
from tests.faults.scenario import Figures, Scale, row

Move = Callable[[ClusterSystem, list[int], Node], None]

TICKS = 10
WORK_MS = 50
BACKLOG_MS = 400
TARGETS = {"refused": "== 0", "extra": "== 0", "sessions_lost": "== 0"}


@row(13, "reshard key by key, node added", targets={**TARGETS, "submit_outage_s": "<= 5"}, mode="cluster", short=False)
async def legacy(rig: Rig, scale: Scale) -> Figures:
    """MIGRATE, in batches of ten keys, so that a partition is split over two nodes for long."""

    def move(system: ClusterSystem, slots: list[int], target: Node) -> None:
        for slot in slots:
            system.move_slot(slot, target, batch=10)

    return await _reshard(rig, scale, move)


@row(
    13, "reshard atomically, node added", targets={**TARGETS, "submit_outage_s": "<= 1.5"}, mode="cluster", short=False
)
async def atomic(rig: Rig, scale: Scale) -> Figures:
    """CLUSTER MIGRATESLOTS of Valkey 9."""

    def move(system: ClusterSystem, slots: list[int], target: Node) -> None:
        for slot in slots:
            system.move_slots_at_once(slot, slot, target)

    return await _reshard(rig, scale, move)


async def _reshard(rig: Rig, scale: Scale, move: Move) -> Figures:
    await rig.start(gateways=2, triggers=2, workers=4, concurrency=10)
    system = rig.system
    assert isinstance(system, ClusterSystem)
    for number in range(TICKS):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.02, "work", {"ms": WORK_MS})
    backlog = await rig.submitter.burst(scale.of(5_000, 1_000), "work", {"ms": BACKLOG_MS})
    home = system.holder_of(slot_of(rig.prefix.strip("{}:")))
    added = system.add_node()
    slots = [slot_of(tag) for tag in tags(PARTITIONS)]
    ours = slot_of(rig.prefix.strip("{}:"))
    moved = [slot for slot in slots if slot % 4 == ours % 4 or slot == ours]
    moves_s = []
    for _ in range(scale.of(4, 1)):
        for target in (added, home):
            began = time.monotonic()
            await asyncio.to_thread(move, system, moved, target)
            moves_s.append(time.monotonic() - began)
            await wait(2.0)
    await rig.submitter.stop()
    await rig.end_triggers()
    settled_s = await rig.settle(within_s=180.0)
    records = await asyncio.to_thread(rig.collect)
    return {
        "submitted": len(rig.submitter.accepted),
        "backlog": len(backlog),
        "slots_moved": len(moves_s) * len(moved),
        "moves_s": [round(seconds, 2) for seconds in moves_s],
        "refused": len(rig.submitter.refused),
        "extra": len(records.executions) - len(records.by_run),
        "submit_outage_s": round(max(rig.submitter.latencies_s), 2),
        "sessions_lost": sum(event.kind == "session_lost" for event in records.events),
        "settled_s": round(settled_s, 1),
    }
