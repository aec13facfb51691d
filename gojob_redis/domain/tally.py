"""What happened, as the scripts write it down (``lua/lib/tally.lua``), and the sums that are made of it.

1. A ``Sum`` holds what happened in some time to a *subject*: a handler (``namespace/app/handler``) or an app. Sums add
   up, so the sum of a longer time, or of an app, is that of its parts.
2. A ``Spread`` is a histogram whose cells grow by a fifth each (four to a doubling), from 1 ms to 12 h: a percentile
   read from it is wrong by at most a tenth, and the histograms of any two times can be added.
3. ``Tallied`` is what a few entries of the stream add up to, with all that the fold writes of them.
"""

import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of
from gojob_redis.domain.fingerprint import unpacked

CELLS: Final = 1 + math.ceil(4 * math.log2(12 * limits.HOUR_MS))
"""Of a spread: one below 1 ms, then four to a doubling; the last one is for 12 h and more."""
TEN_MS: Final = 10 * limits.MINUTE_MS
HALF_MS: Final = 30 * limits.MINUTE_MS
_SMALL_MS: Final = 4_096
_SUBJECT = re.compile(rb"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_FIRED = re.compile(rb"..f([0-9a-z]{7})([0-9a-z]{1,9})")
ENDED: Final = {b"c": "completed", b"f": "faulted", b"x": "canceled"}


def _cell(ms: float) -> int:
    return 0 if ms < 1 else min(CELLS - 1, 1 + int(4 * math.log2(ms)))


_SMALL = tuple(map(_cell, range(_SMALL_MS)))


def cell_of(ms: int) -> int:
    """The cell of a spread that a time belongs to."""
    return _SMALL[ms] if 0 <= ms < _SMALL_MS else _cell(ms)


def least_of(cell: int) -> float:
    """The shortest time, in ms, that belongs to a cell."""
    return 0.0 if cell == 0 else float(2 ** ((cell - 1) / 4))


@dataclass(slots=True)
class Spread:
    """How long something took, many times."""

    cells: dict[int, int] = field(default_factory=dict)
    sum_ms: int = 0
    max_ms: int = 0
    max_task: str = ""
    """Whose the longest was, where that was told."""

    @property
    def count(self) -> int:
        return sum(self.cells.values())

    def observe(self, ms: int, task: str = "") -> None:
        cell = cell_of(ms)
        self.cells[cell] = self.cells.get(cell, 0) + 1
        self.sum_ms += ms
        if ms > self.max_ms:
            self.max_ms, self.max_task = ms, task

    def add(self, other: "Spread") -> None:
        for cell, count in other.cells.items():
            self.cells[cell] = self.cells.get(cell, 0) + count
        self.sum_ms += other.sum_ms
        if other.max_ms > self.max_ms:
            self.max_ms, self.max_task = other.max_ms, other.max_task

    def quantile(self, share: float) -> float | None:
        """The time that this share of all did not exceed, ms; None when there was none."""
        rank, before = share * self.count, 0
        for cell in sorted(self.cells):
            inside = self.cells[cell]
            if before + inside >= rank:
                low, high = least_of(cell), min(least_of(cell + 1), float(self.max_ms))
                return max(low, min(high, low + (high - low) * (rank - before) / inside))
            before += inside
        return None

    def packed(self) -> list[Any]:
        """The first cell and all counts from it to the last: in this order they compress best."""
        first = min(self.cells, default=0)
        counts = [self.cells.get(cell, 0) for cell in range(first, max(self.cells, default=-1) + 1)]
        return [first, counts, self.sum_ms, self.max_ms, self.max_task]

    @classmethod
    def of(cls, packed: Any) -> Self:
        """The spread that was packed; raises TypeError or ValueError for what is none."""
        first, counts, *rest = packed
        return cls({first + at: count for at, count in enumerate(counts) if count}, *rest)


@dataclass(slots=True)
class Sum:
    """What happened to a subject in some time."""

    counts: Counter[str] = field(default_factory=Counter)
    """By what happened; of some with why behind a space (``faulted error``)."""
    wait: Spread = field(default_factory=Spread)
    """From when a task could begin to its first attempt."""
    lateness: Spread = field(default_factory=Spread)
    """From a slot to its fire."""
    duration: Spread = field(default_factory=Spread)
    """From the first attempt of a task to its end."""
    last_ended_ms: int = 0

    def add(self, other: "Sum") -> None:
        self.counts.update(other.counts)
        self.wait.add(other.wait)
        self.lateness.add(other.lateness)
        self.duration.add(other.duration)
        self.last_ended_ms = max(self.last_ended_ms, other.last_ended_ms)

    def total(self, what: str) -> int:
        """How often something happened, whatever the reason."""
        return sum(count for name, count in self.counts.items() if name.partition(" ")[0] == what)

    def reasons(self, what: str) -> dict[str, int]:
        """How often something happened, by its reason."""
        split = ((name.partition(" "), count) for name, count in self.counts.items())
        return {reason: count for (word, _, reason), count in split if word == what and reason}

    def packed(self) -> list[Any]:
        spreads = [spread.packed() for spread in (self.wait, self.lateness, self.duration)]
        return [dict(self.counts), self.last_ended_ms, *spreads]

    @classmethod
    def of(cls, packed: Any) -> Self:
        """The sum that was packed; nothing happened where that cannot be read."""
        try:
            counts, last, *spreads = packed
            wait, lateness, duration = map(Spread.of, spreads)
            return cls(Counter(counts), wait, lateness, duration, last)
        except (TypeError, ValueError):
            return cls()


class Version(NamedTuple):
    """A version of a handler, as its workers told it; both are empty where they told nothing."""

    digest: str = ""
    name: str = ""
    """As its author calls it."""


UNTOLD: Final = Version()


@dataclass(slots=True)
class Failures:
    """Attempts that failed alike."""

    type: str
    message: str
    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    task: str = ""
    """The last one, to look at."""
    first_in: Version = UNTOLD
    """The version of the handler that failed so first."""
    last_in: Version = UNTOLD

    def add(self, other: "Failures") -> None:
        self.count += other.count
        if not self.first_ms or other.first_ms < self.first_ms:
            self.first_ms, self.first_in = other.first_ms, other.first_in
        if other.last_ms >= self.last_ms:
            self.last_ms, self.task, self.last_in = other.last_ms, other.task, other.last_in

    def packed(self) -> list[Any]:
        times = [self.count, self.first_ms, self.last_ms]
        return [self.type, self.message, *times, self.task, self.first_in, self.last_in]

    @classmethod
    def of(cls, packed: Any) -> Self:
        """The failures that were packed; none of nothing where that cannot be read."""
        try:
            kind, message, count, first_ms, last_ms, task, first_in, last_in = packed
            return cls(kind, message, count, first_ms, last_ms, task, Version(*first_in), Version(*last_in))
        except (TypeError, ValueError):
            return cls("", "")


class End(NamedTuple):
    """How the task of a slot ended."""

    state: str
    lateness_ms: int
    duration_ms: int
    slot_ms: int


_END = struct.Struct(">cBHI")
END_BYTES: Final = _END.size
"""Of one end in a ring."""
_STATES: Final = {name: letter for letter, name in ENDED.items()}


def pack_end(end: End) -> bytes:
    """An end in the 8 bytes of a ring. Lateness is exact to 5 %, duration to 0.05 %, the slot to a second."""
    lateness = min(255, round(8 * math.log2(1 + end.lateness_ms)))
    duration = min(65_535, round(2_048 * math.log2(1 + end.duration_ms)))
    return _END.pack(_STATES[end.state], lateness, duration, min(end.slot_ms // 1000, 2**32 - 1))


def unpack_ends(ring: bytes) -> Iterator[End]:
    """The ends in a ring, the oldest first."""
    whole = len(ring) - len(ring) % _END.size
    for letter, lateness, duration, slot in _END.iter_unpack(ring[:whole]):
        if letter in ENDED:
            late, lasted = round(2 ** (lateness / 8) - 1), round(2 ** (duration / 2_048) - 1)
            yield End(ENDED[letter], late, lasted, 1000 * slot)


class Canceled(NamedTuple):
    """A task that was canceled."""

    task: str
    reason: bytes
    ended_ms: int


@dataclass(slots=True)
class Tallied:
    """What some entries of the stream add up to."""

    minutes: dict[tuple[int, str], Sum] = field(default_factory=dict)
    """By minute and subject."""
    ends: dict[str, list[End]] = field(default_factory=dict)
    """Of the tasks of slots, by the trigger's uid, in order."""
    skips: list[tuple[str, int]] = field(default_factory=list)
    """Uids, and the slots that were skipped."""
    misses: list[tuple[str, int, int]] = field(default_factory=list)
    """Uids, the newest of slots that were missed together, and how many these are."""
    apps: dict[str, str] = field(default_factory=dict)
    """Whose the triggers are, by uid."""
    slowest: dict[tuple[str, int], list[tuple[int, str]]] = field(default_factory=dict)
    """Durations and tasks, by handler and hour."""
    failures: dict[tuple[str, str], Failures] = field(default_factory=dict)
    """By handler and fingerprint; as versions they have what their workers told of all their handlers."""
    canceled: dict[str, list[Canceled]] = field(default_factory=dict)
    """By handler, in order."""
    unread: int = 0
    """Entries and items that say nothing this release knows."""

    def __len__(self) -> int:
        """Roughly how much there is to write."""
        slots = len(self.skips) + len(self.misses)
        entries = sum(min(len(each), limits.EVENTS_EACH_MINUTE) for each in self.canceled.values())
        return 2 * len(self.minutes) + len(self.ends) + slots + len(self.failures) + 2 * entries

    def take(self, entry: bytes) -> None:
        """Add one entry."""
        wall, *parts = entry.split(b"\x1e")
        try:
            wall_ms = int(wall)
        except ValueError:
            self.unread += 1
            return
        for part in parts:
            name, *items = part.split(b"\x1f")
            handler = name.decode() if _SUBJECT.fullmatch(name) else "?/?/?"
            self._take(handler, wall_ms, items)

    def _take(self, handler: str, wall_ms: int, items: Iterable[bytes]) -> None:
        subject = (wall_ms // limits.MINUTE_MS, handler)
        sums = self.minutes.get(subject)
        if sums is None:
            sums = self.minutes[subject] = Sum()
        for item in items:
            try:
                self._item(sums, handler, wall_ms, item[:1], item[1:])
            except ValueError:
                self.unread += 1

    def _item(self, sums: Sum, handler: str, wall_ms: int, kind: bytes, rest: bytes) -> None:
        counts = sums.counts
        match kind:
            case b"e":
                self._end(sums, handler, wall_ms, rest)
            case b"b":
                if rest:
                    sums.wait.observe(int(rest))
                counts["started"] += 1
            case b"u":
                counts["submitted"] += 1
            case b"s":
                counts["stopped"] += 1
            case b"f":
                sums.lateness.observe(max(0, int(rest)))
                counts["fired"] += 1
            case b"k":
                why, uid, slot = rest.decode().split(" ")
                self.skips.append((uid, int(slot)))
                self.apps[uid] = app_of(handler)
                counts[f"skipped {why}"] += 1
            case b"m":
                count, uid, slot = rest.decode().split(" ")
                self.misses.append((uid, int(slot), int(count)))
                self.apps[uid] = app_of(handler)
                counts["missed"] += int(count)
            case b"p":
                task, _, failure = rest.partition(b" ")
                digest, raised, message, specs = unpacked(failure)
                version = Version(specs)
                own = Failures(raised, message, 1, wall_ms, wall_ms, task.decode(), version, version)
                self.failures.setdefault((handler, digest), Failures(raised, message)).add(own)
            case b"d":
                counts["retired"] += int(rest)
            case b"r" | b"l" | b"j" | b"o":
                if kind == b"r":
                    counts["stopped"] += 1
                counts[f"{_WORDS[kind]} {rest.decode()}".rstrip()] += 1
            case _:
                self.unread += 1

    def _end(self, sums: Sum, handler: str, wall_ms: int, rest: bytes) -> None:
        letter, task, made_at, started, reason = rest.split(b" ", 4)
        state = ENDED.get(letter.lower())
        if state is None:
            self.unread += 1
            return
        name, began, made_ms = task.decode(), int(started), int(made_at)
        sums.counts[f"{state} {reason.decode()}" if state == "faulted" else state] += 1
        if letter.isupper():
            sums.counts["stopped"] += 1
        sums.last_ended_ms = max(sums.last_ended_ms, wall_ms)
        if state == "canceled":
            self.canceled.setdefault(handler, []).append(Canceled(name, reason, wall_ms))
        lasted = max(0, wall_ms - began) if began else 0
        if began:
            sums.duration.observe(lasted, name)
            self.slowest.setdefault((handler, wall_ms // limits.HOUR_MS), []).append((lasted, name))
        if fired := _FIRED.fullmatch(task):
            uid, slot = fired[1].decode(), int(fired[2], 36)
            self.ends.setdefault(uid, []).append(End(state, max(0, made_ms - slot), lasted, slot))
            self.apps[uid] = app_of(handler)

    def subjects(self) -> Iterator[tuple[int, str, Sum]]:
        """Minutes, subjects and their sums: those of handlers, and of their apps."""
        apps: dict[tuple[int, str], Sum] = {}
        for (minute, handler), sums in self.minutes.items():
            yield minute, handler, sums
            apps.setdefault((minute, app_of(handler)), Sum()).add(sums)
        for (minute, app), sums in apps.items():
            yield minute, app, sums


_WORDS: Final[Mapping[bytes, str]] = {
    b"r": "retried",
    b"l": "lost",
    b"j": "rejected",
    b"o": "unaccepted",
}
