"""The way from the engine to a gateway: one inbox stream per partition, read with a cursor.

Streams carry hints, hashes carry truth: what is lost here costs at most the accept limit, and a cancel is sent again
until it was heard. So there is no consumer group and no acknowledgement; what was read is trimmed later.

What a gateway's own call binds for its own sessions comes with the answer instead (``lua/lib/inbox.lua``). An answer
that is lost is asked for once more, and the worker then, by a ``sync``, what it knows of.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from gojob_redis.domain.hints import UNIT, Hint, parse
from gojob_redis.engine.client import repeat
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions

log = structlog.get_logger()

READ_ENTRIES = 100
BLOCK_MS = 1_000


@dataclass(slots=True)
class Inbox:
    """The inboxes of one gateway in some partitions: all of them on one engine, one partition each on a cluster."""

    space: Partitions
    gateway: str
    partitions: tuple[Partition, ...]
    block_ms: int = BLOCK_MS
    _cursors: dict[bytes, bytes] = field(default_factory=dict)
    _trimmed: dict[bytes, bytes] = field(init=False)
    """Up to which cursor each stream was cleared."""

    def __post_init__(self) -> None:
        for partition in self.partitions:
            self._cursors[K.inbox(partition.prefix, self.gateway).encode()] = b"0"
        self._trimmed = dict(self._cursors)

    async def read(self) -> list[tuple[Partition, list[Hint]]]:
        """Wait at most ``block_ms`` for hints; returns them by partition."""
        blocking: Any = self.space.clients.blocking
        streams = list(self._cursors)
        answer = await blocking.execute_command(
            "XREAD", "COUNT", READ_ENTRIES, "BLOCK", self.block_ms, "STREAMS", *streams, *self._cursors.values()
        )
        batches: list[tuple[Partition, list[Hint]]] = []
        for stream, entries in _pairs(answer):
            self._cursors[stream] = entries[-1][0]
            partition = self.partitions[streams.index(stream)]
            batches.append((partition, [hint for entry in entries for hint in hints(_values(entry))]))
        return batches

    async def trim(self) -> None:
        """Take what was read out of the streams; no hint waits for that."""
        client: Any = self.space.clients.commands
        for stream, cursor in list(self._cursors.items()):
            if cursor == self._trimmed[stream]:
                continue
            milliseconds, _, number = cursor.partition(b"-")
            after = b"%s-%d" % (milliseconds, int(number) + 1)
            await repeat(partial(client.execute_command, "XTRIM", stream, "MINID", after))
            self._trimmed[stream] = cursor


def _pairs(answer: Any) -> Iterator[tuple[bytes, list[Any]]]:
    """Streams and their entries, in whichever of its two shapes the client returns them."""
    if not answer:
        return
    if isinstance(answer, dict):
        for stream, chunks in answer.items():
            entries = chunks[0] if chunks and isinstance(chunks[0], list) else chunks
            if entries:
                yield stream, entries
    else:
        for stream, entries in answer:
            if entries:
                yield stream, entries


def _values(entry: Any) -> Collection[bytes]:
    _id, fields = entry
    return fields.values() if isinstance(fields, dict) else fields[1::2]


def hints(values: Collection[bytes]) -> Iterator[Hint]:
    """Read what the engine told a gateway; what cannot be read is left out."""
    for value in values:
        try:
            hint = parse(value)
        except ValueError as error:  # nobody else's hint waits for this one; its run is found by its timer
            log.warning("hint.unreadable", value=value[:200], error=str(error))
            continue
        if hint is not None:
            yield hint
        else:
            _tell_unknown(value)


def _tell_unknown(value: bytes) -> None:
    """A hint of a later release is dropped; of each kind the first is told, then ever fewer."""
    kind = value.partition(UNIT)[0][:32].decode(errors="replace")
    if len(_unknown) < UNKNOWN_KINDS or kind in _unknown:
        _unknown[kind] += 1
        if _unknown[kind].bit_count() == 1:  # 1, 2, 4, 8 …
            log.warning("hint.unknown", kind=kind, dropped=_unknown[kind])


UNKNOWN_KINDS = 100
_unknown: Counter[str] = Counter()
"""Dropped hints by kind, since this process began."""


async def params(partition: Partition, tasks: Sequence[str]) -> list[bytes | None]:
    """The parameters that were too large for an inbox; None for one whose task was retired."""
    prefix = partition.prefix
    return await partition.read([("GET", K.param(prefix, task)) for task in tasks])


def readers(space: Partitions, gateway: str) -> list[Inbox]:
    """As many readers as the engine needs: one in all, or one per partition on a cluster."""
    if space.clients.on_cluster:
        return [Inbox(space, gateway, (partition,)) for partition in space]
    return [Inbox(space, gateway, tuple(space))]
