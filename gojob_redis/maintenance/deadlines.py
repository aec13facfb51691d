"""Deadlines: what is late, lost or old.

``Deadlines`` looks at due timers (``expire``) and ended leases (``reap``) at least every 500 ms, where there are any.
``Repair`` binds what should have been bound (I11) and says so. ``Retire`` forgets old history. All of them may run in
every replica at once. Empty partitions are passed over: the visits of ``Fire`` are what moves their steady clocks.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from redis.exceptions import RedisError

from gojob_redis.domain import limits
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.client import memory_used
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.scripts import Reply
from gojob_redis.runtime.failure_log import FailureLog

log = structlog.get_logger()

LOOK_S = limits.LOOK_EVERY_MS / 1000
REPAIR_S = 1.0
RETIRE_S = 10.0
SWEEP_S = 1.0
EVERYWHERE_S = 10.0
SHORT_S = 1.0
"""How often it sweeps while memory is short."""
UNKNOWN_HANDLER = "?"
"""What records are filed under whose lane nobody can read."""


class Deadlines:
    """Acts on what is late in all partitions."""

    def __init__(self, space: Partitions, *, failures: FailureLog | None = None) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.looked = 0
        self.reaped = 0
        self._everywhere_at = 0.0

    async def run_once(self) -> float:
        """One look at every timer and lease; returns the seconds until the next one, at most 0.5."""
        alarmed, leased = await asyncio.gather(self.space.holding(K.alarms), self._leased())
        expired, reaped = await asyncio.gather(
            self.space.call_in(alarmed, "expire", limit=limits.BATCH_ITEMS),
            self.space.call_in(leased, "reap", limit=limits.BATCH_ITEMS),
        )
        waits = [self._expired(partition, reply) for partition, reply in zip(alarmed, expired, strict=True)]
        waits += [self._reaped(partition, reply) for partition, reply in zip(leased, reaped, strict=True)]
        return min(waits, default=LOOK_S)

    async def _leased(self) -> list[int]:
        """Where sessions are; now and then everywhere, to forget gateways that fell silent."""
        now_s = time.monotonic()
        if now_s >= self._everywhere_at:
            self._everywhere_at = now_s + EVERYWHERE_S
            return list(range(self.space.count))
        return await self.space.holding(K.leases)

    def _expired(self, partition: int, reply: Reply | Exception) -> float:
        if isinstance(reply, Exception):
            self.failures.failed("expire", partition, reply)
            return LOOK_S
        self.failures.went_well("expire", partition)
        word, looked, next_alarm, steady, _wall = reply
        self.looked += looked
        return wait_s(word, next_alarm, steady)

    def _reaped(self, partition: int, reply: Reply | Exception) -> float:
        if isinstance(reply, Exception):
            self.failures.failed("reap", partition, reply)
            return LOOK_S
        self.failures.went_well("reap", partition)
        word, ended, next_lease, steady = reply
        self.reaped += ended
        return wait_s(word, next_lease, steady)


def wait_s(word: bytes, next_ms: int, steady_ms: int) -> float:
    """Seconds until a partition wants to be looked at again."""
    if word == b"more":
        return 0.0
    return min(LOOK_S, max(0.001, (next_ms - steady_ms) / 1000)) if next_ms else LOOK_S


class Repair:
    """Binds lost wake-ups, one page of groups per partition and pass; each leaves an event."""

    def __init__(self, space: Partitions, *, failures: FailureLog | None = None) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.repaired = 0
        self._cursors = ["0"] * space.count

    async def run_once(self) -> float | None:
        """Look at the next page of groups everywhere; returns None for the usual interval."""
        by_cursor: dict[str, list[int]] = {}
        for partition in await self.space.holding(K.groups):
            by_cursor.setdefault(self._cursors[partition], []).append(partition)
        for cursor, partitions in by_cursor.items():
            replies = await self.space.call_in(partitions, "match", cursor=cursor, repair=1)
            for partition, reply in zip(partitions, replies, strict=True):
                if isinstance(reply, Exception):
                    self.failures.failed("match", partition, reply)
                    continue
                self.failures.went_well("match", partition)
                self._cursors[partition] = reply[1].decode()
                self.repaired += int(reply[2])
        return None


class Retire:
    """Forgets old terminal tasks and faults what waited longer than the default queue limit.

    History gives way to work: the nearer the engine comes to maxmemory, the less of it is kept.
    """

    def __init__(
        self,
        space: Partitions,
        *,
        keep_ms: int = limits.HISTORY_MS,
        keep: int = limits.HISTORY_PER_HANDLER,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.keep_ms = keep_ms
        self.keep = keep
        self.retired = 0
        self._share = 100

    async def run_once(self) -> float | None:
        """One bounded sweep over every partition; returns 0 when one of them has more."""
        more = False
        await self._look_at_memory()
        for partition in range(self.space.count):
            try:
                more |= await self._sweep_all(partition)
            except (Unavailable, RedisError, OSError) as error:
                self.failures.failed("retire", partition, error)
            else:
                self.failures.went_well("retire", partition)
        if more:
            return 0.0
        return SHORT_S if self._share < 100 else None

    async def _look_at_memory(self) -> None:
        """Decide how much of the history may stay; each pass decides anew, so it ends where memory is not short."""
        try:
            used = await memory_used(self.space.clients.admin)
        except (RedisError, OSError):
            return
        left = (1.0 - used) / (1.0 - limits.MEMORY_HIGH_PERCENT / 100)
        share = int(100 * max(0.0, min(1.0, left)))
        if share < 100 == self._share:
            log.warning("history.shortened", memory_used=round(used, 3), percent_kept=share)
        self._share = share

    async def _sweep_all(self, partition: int) -> bool:
        client: Any = self.space.clients.commands
        key = K.handlers(self.space.prefixes[partition])
        known = [handler.decode() async for handler, _score in client.zscan_iter(key)]
        more = False
        for batch in _batches([*known, UNKNOWN_HANDLER]):
            more |= await self._sweep(partition, batch)
        return more

    async def _kept(self, partition: int, handlers: Sequence[str]) -> int:
        """How many terminal tasks each of these handlers may keep: while memory is short, a share of the longest."""
        if self._share == 100:
            return self.keep
        prefix = self.space.prefixes[partition]
        counts = await self.space.read(partition, [("ZCARD", K.history(prefix, handler)) for handler in handlers])
        return min(self.keep, max(map(int, counts)) * self._share // 100)

    async def _sweep(self, partition: int, handlers: Sequence[str]) -> bool:
        """Look at these handlers, in as many calls as their lanes need; returns whether one of them has more."""
        more = False
        while handlers:
            word, retired, looked = await self.space.call(
                "retire",
                partition,
                [(handler,) for handler in handlers],
                limit=limits.BATCH_ITEMS,
                keep_ms=self.keep_ms,
                keep=await self._kept(partition, handlers),
                wait_ms=limits.QUEUE_LIMIT_MS,
                within_s=SWEEP_S,
            )
            self.retired += int(retired)
            more |= word == b"more"
            handlers = handlers[int(looked) :]
        return more


def _batches(handlers: Sequence[str]) -> list[Sequence[str]]:
    return [handlers[first : first + limits.BATCH_ITEMS] for first in range(0, len(handlers), limits.BATCH_ITEMS)]
