"""The event log, as one list: what did not go as planned, newest or oldest first.

Each app has a stream of its own, and each partition one for what belongs to no app (a gateway that was forgotten, a
stray key), which is shown to those who may see every app. A page is merged from the streams that the caller may see:
the next entries of each are read, and more only of a stream that was used up. The cursor is the last entry seen.

A page reads about ``ENTRIES`` entries, so a page of a rare kind may be short; its cursor goes on from there. At most
``APPS`` apps of a partition are merged, those with the newest events. Ask for another app by its name to see its
events.
"""

import heapq
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gojob_redis.domain import ids, limits
from gojob_redis.domain.address import name_of
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.domain.events import EventKind, kind_of
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.pages import Page
from gojob_redis.view.records import entries, fields_of, home, number, text

ENTRIES = 400
APPS, KNOWN = 250, 2_000
REFILL = 100

_PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,9})\.([0-9]{1,2})(?:\.([a-z0-9._-]{1,64}/[a-z0-9._-]{1,64}))?")
_OWN = ("wall", "ended", "app", "handler", "task", "trigger")
_Place = tuple[int, int, int, str]
"""Where an entry stands in the list: milliseconds and number of its id (negative where the newest comes first), its
partition and its app."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log."""

    id: str
    kind: EventKind
    at_ms: int
    app: str
    """namespace/app, empty where the event is of no app."""
    handler: str
    task: str
    """The task it is about, empty where it is about none."""
    trigger: str
    """The name of the trigger it is about, empty where it is about none."""
    about: dict[str, str]
    """What else it says: the run, the session, the slot, why. ``count``: it stands for so many, since ``since``."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for; what is left empty is not looked at.

    trigger: its name or its uid.
    to_ms: only events before this.
    """

    kinds: frozenset[EventKind] = frozenset()
    app: str = ""
    handler: str = ""
    task: str = ""
    trigger: str = ""
    from_ms: int = 0
    to_ms: int = limits.LATEST_MS
    is_oldest_first: bool = False

    def wants(self, event: Event) -> bool:
        """Whether an event of these times is one of them."""
        return (
            (not self.kinds or event.kind in self.kinds)
            and (not self.handler or name_of(event.handler) == self.handler)
            and (not self.task or event.task == self.task)
            and (not self.trigger or self.trigger in (event.trigger, event.about.get("uid")))
        )


ALL: Final = EventFilter()


@dataclass(slots=True)
class _Stream:
    """One stream behind a place, and what of it was read and not yet looked at."""

    partition: int
    app: str
    behind: _Place | None
    chosen: EventFilter
    before_ms: int
    """Only what happened before it."""
    rows: deque[tuple[_Place, Event]] = field(default_factory=deque)
    more: bool = True
    """Whether further entries may follow."""

    def command(self, space: Partitions, count: int) -> tuple[str | int, ...]:
        """Read the next entries."""
        prefix = space.prefixes[self.partition]
        key = K.app_events(prefix, self.app) if self.app else K.events(prefix)
        first, last = str(self.chosen.from_ms), f"({self.before_ms}-0"
        if self.behind is not None:
            ms, sequence, *shown = self.behind
            next_id = f"{'' if (self.partition, self.app) > tuple(shown) else '('}{abs(ms)}-{abs(sequence)}"
            first, last = (next_id, last) if self.chosen.is_oldest_first else (first, next_id)
        if self.chosen.is_oldest_first:
            return ("XRANGE", key, first, last, "COUNT", count)
        return ("XREVRANGE", key, last, first, "COUNT", count)

    def take(self, answer: object, count: int) -> None:
        """Keep what was read."""
        sign = 1 if self.chosen.is_oldest_first else -1
        rows = list(_rows(self.partition, self.app, entries(answer), sign))
        self.rows.extend(rows)
        self.more = len(rows) == count
        if rows:
            self.behind = rows[-1][0]


async def events(
    space: Partitions,
    sees: Callable[[str], bool],
    chosen: EventFilter = ALL,
    *,
    cursor: str = "",
    limit: int = limits.PAGE_ITEMS,
    position: Mapping[int, int] | None = None,
) -> Page[Event]:
    """Events of apps that ``sees`` lets through ("" is an event of no app).

    position: only what happened before it, by partition; the stream goes on from there.
    """
    place = _parse(cursor, 1 if chosen.is_oldest_first else -1)
    streams = await _streams(space, sees, chosen, place, position or {})
    count = max(1, min(limit, ENTRIES // max(1, len(streams))))
    await _fill(space, streams, count)
    heads = [(each.rows[0][0], at) for at, each in enumerate(streams) if each.rows]
    heapq.heapify(heads)
    events: list[Event] = []
    read = 0
    while heads and len(events) < limit:
        place, at = heads[0]
        stream = streams[at]
        _place, event = stream.rows.popleft()
        if chosen.wants(event):
            events.append(event)
        if not stream.rows and stream.more:
            if read >= ENTRIES:
                return Page(events, _written(place))
            await _fill(space, [stream], REFILL)
            read += len(stream.rows)
        if stream.rows:
            heapq.heapreplace(heads, (stream.rows[0][0], at))
        else:
            heapq.heappop(heads)
    return Page(events, _written(place) if heads and place is not None else None)


async def _streams(
    space: Partitions,
    sees: Callable[[str], bool],
    chosen: EventFilter,
    behind: _Place | None,
    position: Mapping[int, int],
) -> list[_Stream]:
    """The streams to be merged."""

    def stream(partition: int, app: str) -> _Stream:
        return _Stream(partition, app, behind, chosen, min(chosen.to_ms, position.get(partition, chosen.to_ms)))

    if chosen.app:
        partition = await home(space, chosen.app)
        return [] if partition is None or not sees(chosen.app) else [stream(partition.number, chosen.app)]
    partitions = [ids.partition_of(chosen.task)] if chosen.task else list(range(space.count))
    partitions = [at for at in partitions if at < space.count]
    streams = [stream(at, "") for at in partitions if sees("")]
    answers = await space.read_all(
        [("ZRANGE", K.event_apps(space.prefixes[at]), 0, KNOWN - 1, "REV") for at in partitions]
    )
    for at, answer in zip(partitions, answers, strict=True):
        seen = [name for name in map(text, answer) if sees(name)]
        streams += [stream(at, name) for name in seen[:APPS]]
    return streams


async def _fill(space: Partitions, streams: Sequence[_Stream], count: int) -> None:
    """Read the next entries of these streams."""
    answers = await space.read_all([each.command(space, count) for each in streams])
    for each, answer in zip(streams, answers, strict=True):
        each.take(answer, count)


def _rows(
    partition: int, app: str, entries: Sequence[tuple[str, dict[str, bytes]]], sign: int
) -> Iterator[tuple[_Place, Event]]:
    for entry, fields in entries:
        ms, sequence = map(int, entry.split("-"))
        place = (sign * ms, sign * sequence, partition, app)
        yield place, event_of(_written(place), app, fields)


def event_of(event_id: str, app: str, fields: Mapping[str, bytes]) -> Event:
    """An entry of a stream as it is shown."""
    word = text(fields.get("kind"))
    kind = kind_of(word)
    own = _OWN if kind is EventKind.OTHER else (*_OWN, "kind")
    return Event(
        id=event_id,
        kind=kind,
        at_ms=number(fields.get("ended") or fields.get("wall")),
        app=app,
        handler=text(fields.get("handler")).replace("?", ""),
        task=text(fields.get("task")) or text(fields.get("run")).partition(".")[0],
        trigger=text(fields.get("trigger")),
        about={name: text(value) for name, value in fields.items() if name not in own},
    )


def event_id(entry: str, partition: int, app: str) -> str:
    """The id of an event, which is its place in the list: of an entry of a stream."""
    return f"{entry}.{partition}" + (f".{app}" if app else "")


def _written(place: _Place) -> str:
    ms, sequence, partition, app = place
    return event_id(f"{abs(ms)}-{abs(sequence)}", partition, app)


def _parse(cursor: str, sign: int) -> _Place | None:
    if not cursor:
        return None
    shape = _PLACE.fullmatch(cursor)
    if shape is None or not int(shape[1]):
        raise bad_cursor(cursor)
    return sign * int(shape[1]), sign * int(shape[2]), int(shape[3]), shape[4] or ""


async def faulted(space: Partitions, *, within_s: float = ANSWER_S) -> dict[str, int]:
    """How many tasks faulted since the installation was bootstrapped, by reason."""
    by_reason: dict[str, int] = {}
    for counts in await space.read_all([("HGETALL", K.faults(prefix)) for prefix in space.prefixes], within_s=within_s):
        for reason, count in fields_of(counts).items():
            by_reason[reason] = by_reason.get(reason, 0) + number(count)
    return by_reason
