"""Deadlines: due timers (``expire``) and ended leases (``reap``) are looked at least every 500 ms, where there are any.

Every replica may do it at once. Empty partitions are passed over: the visits of ``Fire`` are what moves their steady
clocks."""

import asyncio
import time

from gojob_redis.domain import limits, verbs
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.failure_log import FailureLog

LOOK_S = limits.LOOK_EVERY_MS / 1000
EVERYWHERE_S = 10.0


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
            self.space.call_in(alarmed, verbs.expire(limit=limits.BATCH_ITEMS)),
            self.space.call_in(leased, verbs.reap(limit=limits.BATCH_ITEMS)),
        )
        waits = [self._expired(partition, reply) for partition, reply in zip(alarmed, expired, strict=True)]
        waits += [self._reaped(partition, reply) for partition, reply in zip(leased, reaped, strict=True)]
        return min(waits, default=LOOK_S)

    async def _leased(self) -> list[Partition]:
        """Where sessions are; now and then everywhere, to forget gateways that fell silent."""
        now_s = time.monotonic()
        if now_s >= self._everywhere_at:
            self._everywhere_at = now_s + EVERYWHERE_S
            return list(self.space)
        return await self.space.holding(K.leases)

    def _expired(self, partition: Partition, reply: verbs.ExpireReply | Exception) -> float:
        if isinstance(reply, Exception):
            self.failures.failed("expire", partition.number, reply)
            return LOOK_S
        self.failures.went_well("expire", partition.number)
        self.looked += reply.looked
        return wait_s(reply.status, reply.next_alarm, reply.steady)

    def _reaped(self, partition: Partition, reply: verbs.ReapReply | Exception) -> float:
        if isinstance(reply, Exception):
            self.failures.failed("reap", partition.number, reply)
            return LOOK_S
        self.failures.went_well("reap", partition.number)
        self.reaped += reply.ended
        return wait_s(reply.status, reply.next_lease, reply.steady)


def wait_s(status: str, next_ms: int, steady_ms: int) -> float:
    """Seconds until a partition wants to be looked at again."""
    if status == "more":
        return 0.0
    return min(LOOK_S, max(0.001, (next_ms - steady_ms) / 1000)) if next_ms else LOOK_S
