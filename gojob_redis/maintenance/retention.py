"""Retention: old terminal tasks are forgotten, and what waited for too long is faulted. Every replica may run it."""

from collections.abc import Sequence
from typing import Any

import structlog

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.client import memory_used
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.failure_log import FailureLog

log = structlog.get_logger()
RETIRE_S = 10.0
SWEEP_S = 1.0
SHORT_S = 1.0
"""How often it sweeps while memory is short."""
UNKNOWN_HANDLER = "?"
"""What records are filed under whose lane nobody can read."""


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
                more |= await self._sweep_all(self.space[partition])
            except (Unavailable, EngineError, OSError) as error:
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
        except (EngineError, OSError):
            return
        left = (1.0 - used) / (1.0 - limits.MEMORY_HIGH_PERCENT / 100)
        share = int(100 * max(0.0, min(1.0, left)))
        if share < 100 == self._share:
            log.warning("history.shortened", memory_used=round(used, 3), percent_kept=share)
        self._share = share

    async def _sweep_all(self, partition: Partition) -> bool:
        client: Any = self.space.clients.commands
        key = K.handlers(partition.prefix)
        handlers = [handler.decode() async for handler, _score in client.zscan_iter(key)]
        more = False
        for batch in _batches([*handlers, UNKNOWN_HANDLER]):
            more |= await self._sweep(partition, batch)
        return more

    async def _kept(self, partition: Partition, handlers: Sequence[str]) -> int:
        """How many terminal tasks each of these handlers may keep: while memory is short, a share of the longest."""
        if self._share == 100:
            return self.keep
        counts = await partition.read([("ZCARD", K.history(partition.prefix, handler)) for handler in handlers])
        return min(self.keep, max(map(int, counts)) * self._share // 100)

    async def _sweep(self, partition: Partition, handlers: Sequence[str]) -> bool:
        """Look at these handlers, in as many calls as their lanes need; returns whether one of them has more."""
        more = False
        while handlers:
            call = verbs.retire(
                [*map(verbs.RetireItem, handlers)],
                limit=limits.BATCH_ITEMS,
                keep_ms=self.keep_ms,
                keep=await self._kept(partition, handlers),
                wait_ms=limits.QUEUE_LIMIT_MS,
            )
            reply = await partition.call(call, within_s=SWEEP_S)
            self.retired += reply.retired
            more |= reply.status == "more"
            handlers = handlers[reply.looked :] if reply.looked else ()
        return more


def _batches(handlers: Sequence[str]) -> list[Sequence[str]]:
    return [handlers[first : first + limits.BATCH_ITEMS] for first in range(0, len(handlers), limits.BATCH_ITEMS)]
