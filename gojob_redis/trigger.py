"""Triggers fire: what is due becomes tasks.

1. Python computes slots, long before they are due (``planning/``); Lua fires them. Nothing in Python stands between due
   and task.
2. ``Fire`` visits a partition when its head is due, when the wake stream says so, and every 500 ms anyway. Replicas
   may visit the same partition at once: the watermark in Lua decides, so a double visit costs a call and nothing else.
3. Agendas that run low are offered to the planner, which continues them in the background."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gojob_redis.domain import limits, verbs
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.planning.planner import Planner
from gojob_redis.runtime.failure_log import FailureLog

LOOK_S = limits.LOOK_EVERY_MS / 1000
STORM_CALLS = 200
"""A crowd is fired as fast as it goes; one that left something due for so many calls in a row, 10,000 slots, is a
storm."""
YIELD_S = 0.002
"""Longest pause between two calls of a storm."""
NEAR_S = 0.0015
"""Timers of the loop know whole milliseconds and may be one late: so long before a head a thread sleeps the rest."""


@dataclass(slots=True)
class Heads:
    """When each partition wants the next visit, on this process's monotonic clock (seconds)."""

    count: int
    at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at = [0.0] * self.count

    def due(self, now_s: float) -> list[int]:
        return [partition for partition, at in enumerate(self.at) if at <= now_s]

    def wait(self, now_s: float) -> float:
        return max(0.0, min(self.at) - now_s)


class Fire:
    """Fires due slots in all partitions.

    prefers: whether this replica is the preferred one of a partition; the others come 100 ms later.
    """

    def __init__(
        self,
        space: Partitions,
        planner: Planner,
        *,
        prefers: Callable[[Partition], bool] = lambda _partition: True,
        observe: Callable[[Sequence[int]], None] = lambda _lateness_ms: None,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.planner = planner
        self.prefers = prefers
        self.observe = observe
        self.heads = Heads(space.count)
        self.crowd = 0
        """Calls in a row that left something due."""
        self.fired = 0
        self.skipped = 0

    def wake(self, partition: Partition) -> None:
        """Visit this partition in the next pass."""
        self.heads.at[partition.number] = 0.0

    async def run_once(self) -> float:
        """Fire what is due, at most 50 slots a partition; returns the seconds until the next head.

        The first slots of a crowd go alone, so that workers have begun with them while the next are fired.
        """
        rest_s = self.heads.wait(time.monotonic())
        if 0 < rest_s <= NEAR_S:
            await asyncio.to_thread(time.sleep, rest_s)
        visited = [self.space[number] for number in self.heads.due(time.monotonic())]
        if visited:
            began = time.monotonic()
            replies = await self.space.call_in(visited, verbs.fire(limit=self._limit(), cpu_us=limits.FIRE_CPU_US))
            took_s = time.monotonic() - began
            for partition, reply in zip(visited, replies, strict=True):
                self.heads.at[partition.number] = began + self._settle(partition, reply, took_s)
            more = any(not isinstance(reply, Exception) and reply.status == "more" for reply in replies)
            self.crowd = self.crowd + 1 if more else 0
        return max(0.0, self.heads.wait(time.monotonic()) - NEAR_S)

    def _limit(self) -> int:
        """Most slots of the next call."""
        if self.crowd >= STORM_CALLS:
            return limits.FIRE_STORM_ITEMS
        return min(limits.FIRE_FIRST_ITEMS << min(self.crowd, 16), limits.FIRE_ITEMS)

    def _settle(self, partition: Partition, reply: verbs.FireReply | Exception, took_s: float) -> float:
        """Take in what one partition answered; returns the seconds from the call to its next visit.

        A storm leaves a part of the engine's time to the others, and one replica is enough for it.
        """
        if isinstance(reply, Exception):
            self.failures.failed("fire", partition.number, reply)
            return LOOK_S
        self.failures.went_well("fire", partition.number)
        self.fired += reply.fired
        self.skipped += reply.skipped
        self.observe(reply.lateness)
        if reply.low:
            self.planner.offer(partition, reply.low)
        if reply.status == "more":
            pause_s = min(took_s / 2, YIELD_S) if self.crowd >= STORM_CALLS else 0.0
            return took_s + (pause_s if self.prefers(partition) else limits.PREFERRED_LATE_MS / 1000)
        if not reply.next_due:
            return LOOK_S
        grace_ms = 0 if self.prefers(partition) else limits.PREFERRED_LATE_MS
        return min(LOOK_S, max(0.0, (reply.next_due + grace_ms - reply.wall) / 1000 - reply.micros / 1_000_000))
