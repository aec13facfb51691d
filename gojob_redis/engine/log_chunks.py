"""Chunks of a log: how the lines of a run are packed, and what is told of them without unpacking.

A chunk is one MessagePack array: a head (attempt, worker, how many lines, their bytes, first and last time, levels) and
the lines in columns, compressed together: times as differences, levels as numbers, names of loggers by number, texts.
Columns are a tenth smaller than rows and unpack faster. The script that stores a chunk writes two numbers before it:
that of its first line in the log, and how many lines it has.

Only a gateway compresses. What is read is unpacked with a bound all the same: data in an engine may be spoiled.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgpack

from gojob_redis.domain import limits

VERSION: Final = 1
COMPRESSION: Final = 1
"""Of zlib: level 6 takes twice the time for a tenth less (decision 20)."""
RAW: Final = -15
"""The window of zlib, without its header and checksum."""
LINE_BYTES: Final = 16
"""About what a line takes unpacked, besides its text."""


class LogLevel(StrEnum):
    """How bad it is, the least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LEVELS: Final = tuple(LogLevel)
NUMBER: Final = {level.value: number for number, level in enumerate(LEVELS)}


@dataclass(slots=True, eq=False)
class Pack:
    """Lines of one attempt on their way into a chunk."""

    attempt: int
    worker: str
    size: int = 0
    """Bytes of its lines, unpacked."""
    times: list[int] = field(default_factory=list)
    levels: bytearray = field(default_factory=bytearray)
    loggers: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def add(self, at_ms: int, level: str, logger: str, text: str, text_bytes: int) -> None:
        """Add a line."""
        self.times.append(at_ms)
        self.levels.append(NUMBER[level])
        self.loggers.append(logger)
        self.texts.append(text)
        self.size += LINE_BYTES + text_bytes

    def packed(self) -> bytes:
        """The chunk."""
        names = list(dict.fromkeys(self.loggers))
        numbers = {name: number for number, name in enumerate(names)}
        first = min(self.times)
        times = [at - first for at in self.times]
        columns = [times, bytes(self.levels), names, [numbers[name] for name in self.loggers], self.texts]
        mask = 0
        for level in set(self.levels):
            mask |= 1 << level
        plain = msgpack.packb(columns)
        squeezer = zlib.compressobj(COMPRESSION, zlib.DEFLATED, RAW)
        body = squeezer.compress(plain) + squeezer.flush()
        head = [VERSION, self.attempt, self.worker, len(self), len(plain), first, max(self.times), mask, body]
        chunk: bytes = msgpack.packb(head)
        return chunk


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a handler wrote. It is untrusted text."""

    line: int
    """Its number in the log of the run, from 0; numbers that are missing were dropped."""
    attempt: int
    at_ms: int
    """By the clock of the worker."""
    level: LogLevel
    logger: str
    worker: str
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as it is stored: the head is read, the lines are not."""

    number: int
    first_line: int
    attempt: int = 0
    worker: str = ""
    lines: int = 1
    unpacked_bytes: int = 0
    first_ms: int = 0
    last_ms: int = limits.LATEST_MS
    levels: int = -1
    """A bit for each level that occurs."""
    body: bytes = b""

    def is_at_least(self, level: LogLevel) -> bool:
        """Whether it has a line as bad as this."""
        return self.levels >> NUMBER[level] != 0

    def unpacked(self) -> Sequence[Line]:
        """Its lines in their order; one that says so where they cannot be read."""
        try:
            return list(self._lines())
        except (ValueError, TypeError, IndexError, zlib.error, msgpack.UnpackException):
            return [self._damaged()]

    def _lines(self) -> Iterator[Line]:
        squeezed = zlib.decompressobj(RAW)
        plain = squeezed.decompress(self.body, limits.LOG_UNPACKED_BYTES)
        if not squeezed.eof:
            raise ValueError("it unpacks to more than any chunk has")
        times, levels, names, loggers, texts = msgpack.unpackb(plain)
        for at, (ms, level, logger, text) in enumerate(zip(times, levels, loggers, texts, strict=True)):
            yield Line(
                self.first_line + at,
                self.attempt,
                self.first_ms + int(ms),
                LEVELS[level],
                str(names[logger]),
                self.worker,
                str(text),
            )

    def _damaged(self) -> Line:
        text = f"({self.lines} lines here are damaged and cannot be read)"
        return Line(self.first_line, self.attempt, self.first_ms, LogLevel.WARNING, "gojob", self.worker, text)


def chunk_of(number: int, stored: bytes) -> Chunk:
    """A chunk by what is stored of it."""
    first, _, rest = stored.partition(b" ")
    lines, _, packed = rest.partition(b" ")
    first_line, count = (int(word) if len(word) <= 15 and word.isdigit() else 0 for word in (first, lines))
    try:
        _version, attempt, worker, _lines, size, first_ms, last_ms, levels, body = _typed(msgpack.unpackb(packed))
    except (ValueError, TypeError, msgpack.UnpackException):
        return Chunk(number, first_line, lines=count)
    return Chunk(number, first_line, attempt, worker, count, size, first_ms, last_ms, levels, body)


def _typed(head: Any) -> Any:
    """The head of a chunk if it is one; raises ValueError, TypeError."""
    if list(map(type, head[:9])) != [int, int, str, int, int, int, int, int, bytes]:
        raise ValueError("no head of a chunk")
    return head[:9]
