"""What a run logged: pages forward and backward, by attempt, level, time and text.

A log is a hash of packed chunks (``engine/log_chunks.py``), which ``lua/lib/log.lua`` numbers and counts. A cursor is
the place of the next line, ``chunk.line``; it stays good while lines come and go. So a reader follows a log by asking
again with the cursor of the last answer, until that one says it is over. What has changed is seen in one field: as long
as ``sums`` of ``log:<run>`` is the same, there is nothing new (``position``).

A chunk whose head says that nothing in it is asked for is not unpacked. What is unpacked has a limit of 8 MiB a page,
and is unpacked in a thread if it is much.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.errors import NotFound, bad_cursor
from gojob_redis.engine.keys import K
from gojob_redis.engine.log_chunks import Chunk, Line, LogLevel, chunk_of
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.records import TERMINAL, clock_of, number, some, text
from gojob_redis.view.tasks import partition_of, unknown_task

CHUNKS_AT_ONCE: Final = 32
"""Chunks that are read in one round trip, and unpacked in one piece."""
CHUNKS_A_PAGE: Final = 20_000
"""More are not looked for; a log has so many only where its limits were raised."""
LIGHT_BYTES: Final = 32 * limits.KIB
"""As much is unpacked without a thread: it takes half a millisecond."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines are asked for.

    phrase: text that occurs in the line, in upper or lower case.
    """

    attempt: int | None = None
    level: LogLevel = LogLevel.DEBUG
    since_ms: int | None = None
    until_ms: int | None = None
    phrase: str = ""

    def may_have(self, chunk: Chunk) -> bool:
        """Whether lines of a chunk may be meant, by what its head says."""
        return (
            self.attempt in (None, chunk.attempt)
            and chunk.is_at_least(self.level)
            and (self.since_ms is None or chunk.last_ms >= self.since_ms)
            and (self.until_ms is None or chunk.first_ms < self.until_ms)
        )

    def has(self, line: Line) -> bool:
        """Whether this line is meant."""
        return (
            self.attempt in (None, line.attempt)
            and (self.level is LogLevel.DEBUG or line.level in AT_LEAST[self.level])
            and (self.since_ms is None or line.at_ms >= self.since_ms)
            and (self.until_ms is None or line.at_ms < self.until_ms)
            and (not self.phrase or self.phrase in line.text.lower())
        )


AT_LEAST: Final = {level: frozenset(tuple(LogLevel)[at:]) for at, level in enumerate(LogLevel)}
EVERYTHING: Final = LogFilter()


@dataclass(frozen=True, slots=True)
class Dropped:
    """Lines of a log that are not there, by why. Their numbers are missing, but for those that never came."""

    ring: int = 0
    """They gave way to newer ones of this run."""
    budget: int = 0
    """They gave way to logs of other runs of the app."""
    gateway: int = 0
    """They came too fast, or the engine was away; a line says so in their place."""
    worker: int = 0
    """The worker had too many to send; a line says so in their place."""


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some lines of a log.

    ``more`` says whether to ask again at once with ``cursor``: the page was full, or had looked far enough.
    """

    run: str
    """Whose log this is: the task, or of a sharded one a dot and the shard behind it."""
    items: list[Line]
    cursor: str | None
    """Where to go on; None at the beginning of a log that is read backward."""
    more: bool
    looked_bytes: int
    """How much was unpacked for this page, at most 8 MiB."""
    looked_to_ms: int | None
    """The time of the last line that was looked at."""
    lines: int
    """Lines that came so far, those that were dropped afterwards included."""
    dropped: Dropped
    over: bool
    """The run ended over 10 s ago, so nothing comes any more."""
    live: str
    """``from`` of the stream: its topic ``log:`` goes on behind all that was there when this page was read."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What the engine counts of a log (``lua/lib/log.lua``)."""

    chunks: int = 0
    lines: int = 0
    kept: int = 0
    bytes: int = 0
    head: int = 0
    first: int = 0
    oldest: int = 0
    by_ring: int = 0
    by_budget: int = 0
    by_gateway: int = 0
    by_worker: int = 0

    def numbers(self, begin: "Place", newest_first: bool) -> Iterator[int]:
        """Those of the chunks that are there, from a place on, in the order in which they are read."""
        head, ring = range(self.first, self.head), range(max(self.oldest, self.head), self.chunks)
        if not newest_first:
            return chain(_from(head, begin.chunk), _from(ring, begin.chunk))
        end = begin.chunk + (begin.line > 0)
        return chain(reversed(_before(ring, end)), reversed(_before(head, end)))

    @property
    def dropped(self) -> Dropped:
        """What is missing."""
        return Dropped(self.by_ring, self.by_budget, self.by_gateway, self.by_worker)


def sums_of(stored: bytes | None) -> Sums:
    """What is counted of a log; nothing where nothing is stored, or nonsense."""
    words = (stored or b"").split(b" ")
    names = [field.name for field in fields(Sums)]
    return Sums(**{name: number(word) for name, word in zip(names, words, strict=False) if len(word) <= 15})


def _from(numbers: range, first: int) -> range:
    return range(max(numbers.start, first), numbers.stop)


def _before(numbers: range, end: int) -> range:
    return range(numbers.start, min(numbers.stop, end))


_PLACE = re.compile(r"([0-9]{1,12})\.([0-9]{1,6})")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place between two lines: before this line of this chunk."""

    chunk: int
    line: int

    def __str__(self) -> str:
        return f"{self.chunk}.{self.line}"


def place_of(cursor: str) -> Place:
    """The place that a cursor names; raises BadRequest ``bad_cursor``."""
    shape = _PLACE.fullmatch(cursor)
    if shape is None:
        raise bad_cursor(cursor)
    return Place(int(shape[1]), int(shape[2]))


def marked(position: str, places: Mapping[str, Place]) -> str:
    """A position of the stream with places in logs, by run (``view/live.py``)."""
    return position + "".join(f"~{run}:{place}" for run, place in places.items())


async def position(partition: Partition, run: str) -> bytes:
    """What changes with each chunk that a run logs: its counts as they are stored."""
    [stored] = await partition.read([("HGET", K.log(partition.prefix, run), "sums")])
    return stored or b""


async def run_of(space: Partitions, task_id: str, shard: int | None) -> tuple[Partition, str]:
    """The run whose log is asked for; raises NotFound ``unknown_task`` or ``unknown_shard``. shard: 0 unless given."""
    partition = partition_of(space, task_id)
    [facts] = await partition.read([("HMGET", K.task(partition.prefix, task_id), "state", "shards")])
    if facts[0] is None:
        raise unknown_task(task_id)
    shards = some(facts[1])
    if shard is not None and shard >= (shards or 1):
        remedy = "It is not sharded." if shards is None else f"Its shards are 0 to {shards - 1}."
        raise NotFound("unknown_shard", f"Task {task_id} has no shard {shard}.", field="shard", hint=remedy)
    return partition, task_id if shards is None else f"{task_id}.{shard or 0}"


async def log(
    partition: Partition,
    run: str,
    sought: LogFilter = EVERYTHING,
    *,
    cursor: str = "",
    newest_first: bool = False,
    limit: int = limits.PAGE_ITEMS,
    most_bytes: int = limits.ANSWER_BYTES,
) -> LogPage:
    """A page of what a run logged; a run without a log, or that was never bound, has none."""
    prefix = partition.prefix
    key = K.log(prefix, run)
    stored, facts, owner = await partition.read(
        [
            ("HGET", key, "sums"),
            ("HMGET", K.task(prefix, run), "state", "ended"),
            ("HMGET", K.task(prefix, run.partition(".")[0]), "state", "ended"),
        ],
    )
    sums = sums_of(stored)
    end = Place(sums.chunks, 0)
    begin = place_of(cursor) if cursor else (end if newest_first else Place(0, 0))
    page = _Pages(sought, newest_first, limit, begin, most_bytes)
    numbers, looked = sums.numbers(begin, newest_first), 0
    while not page.is_full and (some := list(islice(numbers, CHUNKS_AT_ONCE))):
        chunks = await _chunks(partition, key, some)
        size = sum(chunk.unpacked_bytes for chunk in chunks)
        await (asyncio.to_thread(page.take, chunks) if size > LIGHT_BYTES else _at_once(page, chunks))
        looked += len(some)
        if looked >= CHUNKS_A_PAGE:
            page.stop(Place(some[-1] + (not newest_first), 0))
    rest: Place | None = page.place
    if not page.is_full:
        rest = None if newest_first else max(begin, end)
    # A shard that was never bound has no record, and ends with its task.
    state, ended = facts if facts[0] is not None else owner
    return LogPage(
        run,
        page.lines,
        None if rest is None else str(rest),
        page.is_full,
        page.looked_bytes,
        page.looked_to_ms,
        sums.lines,
        sums.dropped,
        text(state) in TERMINAL and (await clock_of(partition)).wall > number(ended) + limits.LOG_LATE_MS,
        marked("", {run: end}),
    )


async def _chunks(partition: Partition, key: str, numbers: Sequence[int]) -> list[Chunk]:
    """Those of these chunks that are still there."""
    [stored] = await partition.read([("HMGET", key, *numbers)])
    return [chunk_of(one, value) for one, value in zip(numbers, stored, strict=True) if value is not None]


async def _at_once(page: "_Pages", chunks: Iterable[Chunk]) -> None:
    page.take(chunks)


class _Pages:
    """A page as it is filled, chunk by chunk."""

    def __init__(self, sought: LogFilter, newest_first: bool, limit: int, begin: Place, most_bytes: int) -> None:
        self.sought = sought
        self.newest_first = newest_first
        self.limit = limit
        self.place = begin
        """Where to go on."""
        self.lines: list[Line] = []
        self.looked_bytes = 0
        self.looked_to_ms: int | None = None
        self.is_full = False
        self._begin = begin
        self._bytes_left = most_bytes

    def stop(self, place: Place) -> None:
        """End the page here, unless it has ended."""
        if not self.is_full:
            self.is_full, self.place = True, place

    def take(self, chunks: Iterable[Chunk]) -> None:
        """Look through chunks until the page is full."""
        for chunk in chunks:
            if not self.sought.may_have(chunk):
                continue
            if self.looked_bytes and self.looked_bytes + chunk.unpacked_bytes > limits.LOG_SEARCH_BYTES:
                self.stop(Place(chunk.number + self.newest_first, 0))
                return
            self.looked_bytes += chunk.unpacked_bytes
            for at, line in self._lines_of(chunk):
                if self.sought.has(line):
                    if self.lines and len(line.text) > self._bytes_left:
                        self.stop(Place(chunk.number, at + self.newest_first))
                        return
                    self._bytes_left -= len(line.text)
                    self.lines.append(line)
                self.looked_to_ms = line.at_ms
                if len(self.lines) >= self.limit:
                    self.stop(Place(chunk.number, at + (not self.newest_first)))
                    return

    def _lines_of(self, chunk: Chunk) -> Iterator[tuple[int, Line]]:
        """Lines of a chunk behind the place where the page begins, with their numbers in it."""
        begin, lines = self._begin, list(enumerate(chunk.unpacked()))
        if chunk.number == begin.chunk:
            lines = lines[: begin.line] if self.newest_first else lines[begin.line :]
        return iter(reversed(lines) if self.newest_first else lines)
