"""Row 21: the engine is emptied behind the system's back, whole or in part.

Nothing can be made good: what was there is gone. What must not happen is that the roles go on as if they had never had
any work. They end, they say why, and they stay away from what is left until somebody decided.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.demo.processes import Process
from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import CONTROL
from tests.faults.rig import Rig, until, wait
from tests.faults.scenario import Figures, Scale, row

WORDS = ("holds no epoch", "lost its data", "no installation")
EXIT_LOST = 4
TARGETS = {
    "still_running": "== 0",
    "other_exit": "== 0",
    "silent": "== 0",
    "detected_s": "<= 10",
    "written_afterwards": "== 0",
}


@row(21, "FLUSHALL", targets={**TARGETS, "bootstrapped_anew": "== 0", "refused_to_start": "== 2"})
async def flushall(rig: Rig, scale: Scale) -> Figures:
    """Everything is gone, the installation too; starting a role that may not bootstrap changes nothing."""
    await _busy(rig)
    figures = await _emptied(rig, lambda: rig.engine.flushall())
    never = {"GOJOB_REDIS__BOOTSTRAP": "never"}
    anew = [rig.system.start_gateway(env=never), rig.system.start_trigger(env=never)]
    await until(lambda: not any(process.alive() for process in anew), 15.0, "the end of what was started anew")
    return {
        **figures,
        "refused_to_start": sum(process.popen.returncode == EXIT_LOST for process in anew),
        "bootstrapped_anew": rig.engine.dbsize(),
    }


@row(21, "one emptied partition", targets={**TARGETS, "refused_to_start": "== 2"})
async def one_partition(rig: Rig, scale: Scale) -> Figures:
    """The keys of one slot are gone; what starts anew refuses, because the installation says what should be there."""
    await _busy(rig)
    figures = await _emptied(rig, lambda: rig.engine.unlink(*rig.engine.scan_iter(match=f"{rig.prefix}*")))
    anew = [rig.system.start_gateway(), rig.system.start_trigger()]
    await until(lambda: not any(process.alive() for process in anew), 15.0, "the end of what was started anew")
    return {**figures, "refused_to_start": sum(process.popen.returncode == EXIT_LOST for process in anew)}


@row(21, "one emptied node of a cluster", targets=TARGETS, short=False, mode="cluster")
async def one_node(rig: Rig, scale: Scale) -> Figures:
    """A third of the partitions is gone, and every role has work in some of them."""
    await _busy(rig)
    node = rig.engine.get_node_from_key(rig.prefix)
    return await _emptied(rig, lambda: rig.engine.flushall(target_nodes=node))


async def _busy(rig: Rig) -> None:
    """Two of each role, and triggers that fire. Nothing is owed: what is gone is gone by order."""
    await rig.start(gateways=2, triggers=2, workers=2)
    for number in range(10):
        rig.trigger(f"every-{number}", 500)
    rig.rules.clear()
    await wait(2.0)


async def _emptied(rig: Rig, empty: Any) -> Figures:
    roles: Sequence[Process] = (*rig.gateways, *rig.triggers)
    began = time.monotonic()
    empty()
    await until(lambda: not any(process.alive() for process in roles), 30.0, "the end of every role")
    detected_s = time.monotonic() - began
    await wait(2.0)
    return {
        "detected_s": round(detected_s, 2),
        "still_running": sum(process.alive() for process in roles),
        "silent": sum(process.popen.returncode == 0 or not _said_why(process.log) for process in roles),
        "other_exit": sum(process.popen.returncode != EXIT_LOST for process in roles),
        "written_afterwards": _written(rig),
    }


def _said_why(log: Path) -> bool:
    output = log.read_text("utf-8", "replace")
    return any(word in output for word in WORDS)


def _written(rig: Rig) -> int:
    """Partitions that are not bootstrapped and hold work all the same."""
    names = [name.decode() for name in rig.engine.scan_iter(count=10_000)]
    in_use = {name.partition("}")[0] for name in names if not name.startswith(CONTROL)}
    bootstrapped = {name.partition("}")[0] for name in names if name.endswith("}:meta")}
    assert len(bootstrapped) <= PARTITIONS
    return len(in_use - bootstrapped)
