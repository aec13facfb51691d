"""A trigger replica: fires what is due, acts on what is late, plans ahead, repairs and tidies.

1. Any replica may do any partition's work; Lua decides races. Each partition has a *preferred* replica (rendezvous over
   the replicas heard in the last 3 s), so that in health two of them do not do the same visits at the same moment.
2. Scripts that set something near ahead write to the partition's wake stream; one reader blocks on all of them.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import structlog

from gojob_redis.bulk import BULK_S, Bulk
from gojob_redis.domain import verbs
from gojob_redis.domain.errors import BrokenInvariant
from gojob_redis.engine.client import repeat
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.maintenance.deadlines import Deadlines
from gojob_redis.maintenance.fold import FOLD_S, Fold
from gojob_redis.maintenance.forget import FORGET_APPS_S, Forget
from gojob_redis.maintenance.ledger_audit import Audit
from gojob_redis.maintenance.retention import RETIRE_S, Retire
from gojob_redis.maintenance.scrub import Scrub
from gojob_redis.match import REPAIR_S, Repair
from gojob_redis.planning.defaults import FOLLOW_S, Follow
from gojob_redis.planning.planner import Planner
from gojob_redis.runtime.failure_log import FailureLog
from gojob_redis.runtime.loop import Loop
from gojob_redis.trigger import LOOK_S, Fire

log = structlog.get_logger()

STAMP_S = 1.0
AUDIT_S = 1.0
SCRUB_S = 1.0
HEARD_S = 3.0
FORGET_S = 60.0
BLOCK_MS = 1_000


class Preferences:
    """Which partitions this replica comes first in. Advisory: being wrong costs 100 ms or a call, never a fire."""

    def __init__(self, space: Partitions, name: str) -> None:
        self.space = space
        self.name = name
        self._mine = [True] * space.count
        self._comes_first = True

    def prefers(self, partition: Partition) -> bool:
        return self._mine[partition.number]

    def comes_first(self) -> bool:
        """Whether this replica does what one of them is to do for all partitions."""
        return self._comes_first

    async def run_once(self) -> None:
        """Stamp this replica and read which others are there."""
        client: Any = self.space.clients.commands
        key = K.replicas(CONTROL)
        # One clock for all replicas: that of partition 0. TIME would be answered by any node of a cluster.
        now = await self.space[0].call(verbs.now(), within_s=STAMP_S)
        seconds = now.wall // 1000
        await repeat(lambda: client.zadd(key, {self.name: seconds}), STAMP_S)
        await repeat(lambda: client.zremrangebyscore(key, "-inf", seconds - FORGET_S), STAMP_S)
        heard = await repeat(lambda: client.zrangebyscore(key, seconds - HEARD_S, "+inf"), STAMP_S)
        names = sorted({self.name, *(name.decode() for name in heard)})
        self._mine = [preferred(names, partition) == self.name for partition in range(self.space.count)]
        self._comes_first = preferred(names, self.space.count) == self.name

    async def leave(self) -> None:
        """Tell the others at once that this replica is gone."""
        client: Any = self.space.clients.commands
        await repeat(lambda: client.zrem(K.replicas(CONTROL), self.name), 1.0)


def preferred(names: Sequence[str], partition: int) -> str:
    """Rendezvous: every replica computes the same answer, and a change of one moves only its share."""
    return max(names, key=lambda name: hashlib.blake2b(f"{name}/{partition}".encode()).digest())


class Wakes:
    """Reads the wake streams of some partitions and rings the loops that have to look."""

    def __init__(self, space: Partitions, partitions: Iterable[Partition], ring: Callable[[Partition], None]) -> None:
        self.space = space
        self.ring = ring
        self._streams = {K.wake(partition.prefix).encode(): partition for partition in partitions}
        self._cursors = dict.fromkeys(self._streams, b"$")

    async def run_once(self) -> float:
        """Block for at most a second; returns 0, to be called again at once."""
        blocking: Any = self.space.clients.blocking
        answer = await blocking.execute_command(
            "XREAD", "BLOCK", BLOCK_MS, "STREAMS", *self._cursors, *self._cursors.values()
        )
        pairs = answer.items() if isinstance(answer, dict) else answer or ()
        for stream, entries in pairs:
            rows = entries[0] if isinstance(answer, dict) else entries
            if rows:
                self._cursors[stream] = rows[-1][0]
                self.ring(self._streams[stream])
        return 0.0


class TriggerReplica:
    """All loops of the trigger role in one process."""

    def __init__(
        self,
        space: Partitions,
        name: str,
        *,
        observe_lateness: Callable[[Sequence[int]], None] = lambda _lateness_ms: None,
    ) -> None:
        self.space = space
        self.name = name
        self.preferences = Preferences(space, name)
        prefers = self.preferences.prefers
        self.failures = FailureLog(outage=space.clients.outage)
        self.planner = Planner(space, failures=self.failures)
        self.fire = Fire(space, self.planner, prefers=prefers, observe=observe_lateness, failures=self.failures)
        self.deadlines = Deadlines(space, failures=self.failures)
        self.repair = Repair(space, failures=self.failures)
        self.retire = Retire(space, failures=self.failures)
        self.forget = Forget(space, comes_first=self.preferences.comes_first, failures=self.failures)
        self.audit = Audit(space, prefers=prefers, failures=self.failures)
        self.scrub = Scrub(space, prefers=prefers)
        self.bulk = Bulk(space, comes_first=self.preferences.comes_first, failures=self.failures)
        self.follow = Follow(space, prefers=prefers, failures=self.failures)
        self.fold = Fold(space, prefers=prefers, failures=self.failures)
        loop = partial(Loop, outage=space.clients.outage)
        self._fire_loop = loop(self.fire.run_once, interval_s=LOOK_S, name="fire")
        self._deadline_loop = loop(self.deadlines.run_once, interval_s=LOOK_S, name="deadlines")
        self.loops = [
            self._fire_loop,
            self._deadline_loop,
            loop(self.planner.run_once, interval_s=LOOK_S, name="planner"),
            loop(self.repair.run_once, interval_s=REPAIR_S, name="repair"),
            loop(self.retire.run_once, interval_s=RETIRE_S, name="retire"),
            loop(self.forget.run_once, interval_s=FORGET_APPS_S, name="forget"),
            loop(self.audit.run_once, interval_s=AUDIT_S, name="audit"),
            loop(self.scrub.run_once, interval_s=SCRUB_S, name="scrub"),
            loop(self.bulk.run_once, interval_s=BULK_S, name="bulk"),
            loop(self.fold.run_once, interval_s=FOLD_S, name="fold"),
            loop(self.follow.run_once, interval_s=FOLLOW_S, name="follow"),
            loop(self.preferences.run_once, interval_s=STAMP_S, name="preferences"),
            *(loop(wakes.run_once, interval_s=0.0, name="wakes") for wakes in self._wakes()),
        ]

    async def run(self) -> None:
        """Run until ``stop``; raises BrokenInvariant when the engine is not ours any more."""
        log.info("replica.begins", replica=self.name, partitions=self.space.count)
        async with asyncio.TaskGroup() as group:
            for loop in self.loops:
                group.create_task(self._play(loop), name=f"{self.name}/{loop.name}")
        await self.preferences.leave()
        log.info("replica.ends", replica=self.name, fired=self.fire.fired)

    async def _play(self, loop: Loop) -> None:
        """Run one loop; when it must not go on, none may, not even one whose client swallows its cancellation."""
        try:
            await loop.run()
        except BrokenInvariant:
            self.stop()
            raise

    def stop(self) -> None:
        """Let every pass that runs end, and begin no other."""
        for loop in self.loops:
            loop.stop()

    def _wakes(self) -> list[Wakes]:
        if self.space.clients.on_cluster:
            return [Wakes(self.space, [partition], self._ring) for partition in self.space]
        return [Wakes(self.space, self.space, self._ring)]

    def _ring(self, partition: Partition) -> None:
        self.fire.wake(partition)
        self._fire_loop.wake()
        self._deadline_loop.wake()
