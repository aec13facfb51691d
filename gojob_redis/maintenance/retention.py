"""Retention: old ended tasks are forgotten, and what waited for too long is faulted. Every replica may run it.

1. A pass walks each index of ended tasks from its oldest: those of handlers (what is done, what is pinned), and those
   of apps (what failed). How long they are kept is read in each pass, so a changed setting holds within seconds.
2. A bound in bytes becomes a count: what 20 tasks take is measured, and that many more fit. Nobody counts the bytes of
   each task.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from gojob_redis.domain import limits, retention, verbs
from gojob_redis.domain.address import app_of, namespace_of
from gojob_redis.domain.errors import Unavailable
from gojob_redis.domain.retention import OF_HANDLER, USUAL, Retention
from gojob_redis.domain.verbs import Retained
from gojob_redis.engine.client import ANSWER_S, memory_used
from gojob_redis.engine.durability import Level
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.failure_log import FailureLog

log = structlog.get_logger()
RETIRE_S = 10.0
SWEEP_S = 1.0
SHORT_S = 1.0
"""How often it sweeps while memory is short."""
UNKNOWN = "?"
"""What records are filed under whose lane nobody can read."""
SAMPLE: Final = 20
"""Tasks whose size stands for that of the others in their index."""
RECORD_BYTES: Final = 350
"""What a task takes besides its parameters, its result and its error."""
_SIZES: Final = ("param_size", "result_size", "error_size", "shards")


async def retain(
    partition: Partition, handler: str, values: Mapping[str, int | None], level: Level = Level.FAST
) -> None:
    """Set how long ended tasks of a handler are kept; None: as its namespace says.

    Raises BadRequest ``unknown_setting``, ``bad_setting``.
    """
    checked = retention.checked(values, OF_HANDLER)
    settings = [verbs.Setting(handler, name, -1 if value is None else value) for name, value in checked.items()]
    await partition.call(verbs.retain(settings), within_s=ANSWER_S, level=level)


class Retire:
    """Forgets old ended tasks and faults what waited longer than the default queue limit.

    History gives way to work: the nearer the engine comes to maxmemory, the less of it is kept. What is pinned stays.
    usual: what is kept where a namespace says nothing.
    """

    def __init__(self, space: Partitions, *, usual: Retention = USUAL, failures: FailureLog | None = None) -> None:
        self.space = space
        self.usual = usual
        self.failures = failures or FailureLog()
        self.retired = 0
        self._share = 100
        self._namespaces: dict[str, Retention] = {}

    async def run_once(self) -> float | None:
        """One bounded sweep over every partition; returns 0 when one of them has more."""
        more = False
        await self._look_at_memory()
        self._namespaces = {}
        for partition in self.space:
            try:
                more |= await self._sweep_all(partition)
            except (Unavailable, EngineError, OSError) as error:
                self.failures.failed("retire", partition.number, error)
            else:
                self.failures.went_well("retire", partition.number)
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
        shortest: dict[str, int] = {}
        longest: dict[str, int] = {}
        more = False
        for batch in _batches([*handlers, UNKNOWN]):
            kept = await self._of_handlers(partition, batch)
            for handler, own in zip(batch, kept, strict=True):
                app = app_of(handler) or UNKNOWN
                shortest[app] = min(own.failed_ms, shortest.get(app, own.failed_ms))
                longest[app] = max(own.failed_ms, own.done_ms, longest.get(app, 0))
            more |= await self._sweep(partition, await self._handlers(partition, batch, kept))
        for apps in _batches(list(shortest)):
            more |= await self._sweep(partition, await self._apps(partition, apps, shortest, longest))
        return more

    async def _of_handlers(self, partition: Partition, handlers: Sequence[str]) -> list[Retention]:
        """What is kept of each of these handlers."""
        asked = [("HMGET", K.handler(partition.prefix, handler), *OF_HANDLER) for handler in handlers]
        answers = await partition.read(asked)
        return [
            retention.of_handler(await self._of_namespace(namespace_of(handler)), values)
            for handler, values in zip(handlers, answers, strict=True)
        ]

    async def _of_namespace(self, name: str) -> Retention:
        if name not in self._namespaces:
            [record] = await self.space.read_all([("HGET", K.namespaces(CONTROL), name)])
            self._namespaces[name] = self.usual.changed(retention.of_record(record).moved)
        return self._namespaces[name]

    async def _handlers(
        self, partition: Partition, handlers: Sequence[str], kept: Sequence[Retention]
    ) -> list[Retained]:
        """What the script is told of handlers."""
        items = [
            Retained("handler", handler, own.done_ms, own.done_count, own.done_ms)
            for handler, own in zip(handlers, kept, strict=True)
        ]
        indexes = [K.history(partition.prefix, handler) for handler in handlers]
        return await self._bounded(partition, items, indexes, [own.done_bytes for own in kept])

    async def _apps(
        self, partition: Partition, apps: Sequence[str], shortest: dict[str, int], longest: dict[str, int]
    ) -> list[Retained]:
        """What the script is told of apps.

        shortest: the shortest time that a handler keeps what failed; longest: the longest that one keeps anything.
        """
        kept = [await self._of_namespace(namespace_of(app)) for app in apps]
        items = [
            Retained(
                kind="app",
                name=app,
                keep_ms=own.failed_ms,
                keep=own.failed_count,
                look_ms=min(own.failed_ms, shortest[app]),
                cards_ms=_cards_ms(max(own.failed_ms, longest[app])),
            )
            for app, own in zip(apps, kept, strict=True)
        ]
        indexes = [K.failed(partition.prefix, app) for app in apps]
        return await self._bounded(partition, items, indexes, [own.failed_bytes for own in kept])

    async def _bounded(
        self, partition: Partition, items: Sequence[Retained], indexes: Sequence[str], most_bytes: Sequence[int]
    ) -> list[Retained]:
        """The same with smaller counts, where bytes are bounded; while memory is short, with a share of the longest."""
        if self._share < 100:
            longest = max(map(int, await partition.read([("ZCARD", index) for index in indexes])))
            items = [item._replace(keep=min(item.keep, longest * self._share // 100)) for item in items]
        return [
            item._replace(keep=min(item.keep, most // await self._mean_bytes(partition, index))) if most else item
            for item, index, most in zip(items, indexes, most_bytes, strict=True)
        ]

    async def _mean_bytes(self, partition: Partition, index: str) -> int:
        """How much memory a task of an index takes, by some of them."""
        [tasks] = await partition.read([("ZRANDMEMBER", index, SAMPLE)])
        if not tasks:
            return RECORD_BYTES
        asked = [("HMGET", K.task(partition.prefix, task.decode()), *_SIZES) for task in tasks]
        return sum(map(_bytes_of, await partition.read(asked))) // len(tasks)

    async def _sweep(self, partition: Partition, items: Sequence[Retained]) -> bool:
        """Walk these indexes, in as many calls as that needs; returns whether one of them has more."""
        more = False
        while items:
            call = verbs.retire(items, limit=limits.BATCH_ITEMS, wait_ms=limits.QUEUE_LIMIT_MS)
            reply = await partition.call(call, within_s=SWEEP_S)
            self.retired += reply.retired
            more |= reply.status == "more"
            went_on = [item._replace(at=at) for item, at in zip(items, reply.places, strict=True) if at]
            items = [*went_on, *items[reply.looked :]]
        return more


def _cards_ms(longest_ms: int) -> int:
    """How long cards of workers are to be kept where tasks are kept so long; 0 where that is no longer than usual."""
    needed = longest_ms + limits.CARDS_SPARE_MS
    return needed if needed > limits.CARDS_MS else 0


def _bytes_of(sizes: Sequence[bytes | None]) -> int:
    *payloads, shards = (int(size) if size and size.isdigit() else 0 for size in sizes)
    return sum(payloads) + RECORD_BYTES * (1 + shards)


def _batches(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[first : first + limits.BATCH_ITEMS] for first in range(0, len(names), limits.BATCH_ITEMS)]
