"""Where a list was read, and what has changed since: one way to say it, for lists and for the stream.

A position is a moment of each partition, by the engine's own clock: all that happened before it is known. A list that
was read after its position was taken, and the stream from that position on, together miss nothing. What happened within
the same millisecond may come twice; a change says how something is now, so that does no harm.

To take a position is to watch (``lua/watch.lua``): from then on the scripts leave what they change. So a list may be
followed although nobody watched before.

Written, a position is ``ms`` in base 36 for all partitions alike; where they differ, ``ms.partition.partition`` for
each moment, joined by ``_``. Places in logs, by run, may follow: ``~run:chunk.line`` each. A moment tells nothing of a
log, whose lines have no time by the engine's clock.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.ids import base36
from gojob_redis.engine.client import ANSWER_S, repeat
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.logs import Place

POSITION_CHARS: Final = 1_000
MARKS_CHARS: Final = 60 * limits.STREAM_LOGS
"""Longer than the longest marks."""
FRESH_S: Final = 1.0
"""So old may the position of a list be: what happened meanwhile is in the list, and comes again."""

_MARK = re.compile(r"([0-9a-z]{1,24}(?:\.[0-9]{1,6})?):([0-9]{1,12})\.([0-9]{1,6})")
_MOMENT = re.compile(r"([0-9a-z]{1,9})((?:\.[0-9a-z]{1,2})*)")

Position = Mapping[int, int]
"""Partition to ms."""


def written(position: Position, count: int) -> str:
    """A position as text; count: of all partitions."""
    partitions: dict[int, list[int]] = {}
    for partition, ms in sorted(position.items()):
        partitions.setdefault(ms, []).append(partition)
    if len(partitions) == 1 and len(position) == count:
        return base36(next(iter(partitions)))
    return "_".join(".".join([base36(ms), *map(base36, at)]) for ms, at in partitions.items())


def parse(text: str, count: int, field: str = "from") -> dict[int, int]:
    """A position that came from outside; raises BadRequest ``bad_position``."""
    shapes = [_MOMENT.fullmatch(part) for part in text.split("_")] if len(text) <= POSITION_CHARS else [None]
    position: dict[int, int] = {}
    for shape in shapes:
        if shape is None:
            raise _bad_position(text, field)
        at = [int(each, 36) for each in shape[2].split(".")[1:]] or range(count)
        position.update(dict.fromkeys(at, int(shape[1], 36)))
    if max(position) >= count:
        raise _bad_position(text, field)
    return position


def parse_all(text: str, count: int, field: str = "from") -> tuple[dict[int, int], dict[str, Place]]:
    """A position that came from outside, and the places in logs by run; each may be missing."""
    moments, *marks = text.split("~")
    places: dict[str, Place] = {}
    for mark in marks:
        shape = _MARK.fullmatch(mark)
        if shape is None:
            raise _bad_position(text, field)
        places[shape[1]] = Place(int(shape[2]), int(shape[3]))
    return parse(moments, count, field) if moments else {}, places


def _bad_position(text: str, field: str) -> BadRequest:
    return BadRequest(
        "bad_position",
        f"{field} {text[:80]!r} is no position.",
        field=field,
        hint="Pass 'live' of an answer, or the id of an event of the stream, as it came.",
    )


@dataclass(slots=True)
class Positions:
    """Takes positions for lists; one for each process, because what was just taken is good for the next list, too."""

    space: Partitions
    _taken: dict[int, tuple[float, int]] = field(default_factory=dict)
    """By partition: when by our clock, and the engine's ms."""

    async def everywhere(self) -> str:
        """The position of a list that may hold something of any app. Take it before the list is read."""
        return await self.of(range(self.space.count))

    async def of(self, partitions: Iterable[int]) -> str:
        """The position of a list of what lies in these partitions. Take it before the list is read."""
        return self.written(await self.now(partitions, fresh_s=FRESH_S))

    async def now(self, partitions: Iterable[int] | None = None, *, fresh_s: float = 0.0) -> Position:
        """The position of this moment.

        partitions: all of them unless named.
        fresh_s: so old may it be.
        """
        asked, now = list(range(self.space.count) if partitions is None else partitions), time.monotonic()
        stale = [at for at in asked if at not in self._taken or self._taken[at][0] <= now - fresh_s]
        if stale:
            await repeat(lambda: self._take(stale, now), ANSWER_S)
        return {at: self._taken[at][1] for at in asked}

    def written(self, position: Position) -> str:
        """A position as text."""
        return written(position, self.space.count)

    async def _take(self, partitions: Sequence[int], now: float) -> None:
        replies = await self.space.call_in([self.space[at] for at in partitions], verbs.watch(since=0))
        for at, reply in zip(partitions, replies, strict=True):
            if isinstance(reply, Exception):
                raise reply
            self._taken[at] = now, reply.now
