"""The event log, as one list: what did not go as planned, newest first.

Each app has a stream of its own, and each partition one for what belongs to no app (a gateway that was forgotten, a
stray key), which is shown to those who may see every app. A page is merged from the streams that the caller may see:
the newest entries of each are read, and more only of a stream that was used up. The cursor is the last entry seen.

A page reads about ``ENTRIES`` entries, so a page of a rare kind may be short; its cursor goes on from there. At most
``APPS`` apps of a partition are merged, those with the newest events. Ask for another app by its name to see its
events.
"""

import heapq
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gojob_redis.domain import limits
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.pages import Page
from gojob_redis.view.records import entries, fields_of, home, number, text

ENTRIES = 400
APPS, KNOWN = 250, 2_000
REFILL = 100

_PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,9})\.([0-9]{1,2})(?:\.([a-z0-9._-]{1,64}/[a-z0-9._-]{1,64}))?")
_OWN = ("kind", "wall", "app", "handler")
_Place = tuple[int, int, int, str]
"""Where an entry stands in the list: milliseconds and number of its id, both negative, its partition and its app."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log."""

    id: str
    kind: str
    at_ms: int
    app: str
    """namespace/app, empty where the event is of no app."""
    handler: str
    about: dict[str, str]
    """What else it says: the run, the session, the slot, why. ``count``: it stands for so many, since ``since``."""


@dataclass(slots=True)
class _Stream:
    """One stream behind a place, and what of it was read and not yet looked at."""

    partition: int
    app: str
    behind: _Place | None
    rows: deque[tuple[_Place, Event]] = field(default_factory=deque)
    more: bool = True
    """Whether older entries may follow."""

    def command(self, space: Partitions, count: int) -> tuple[str | int, ...]:
        """Read the next entries."""
        prefix = space.prefixes[self.partition]
        last = "+"
        if self.behind is not None:
            ms, sequence, *shown = self.behind
            last = f"{'' if (self.partition, self.app) > tuple(shown) else '('}{-ms}-{-sequence}"
        key = K.app_events(prefix, self.app) if self.app else K.events(prefix)
        return ("XREVRANGE", key, last, "-", "COUNT", count)

    def take(self, answer: object, count: int) -> None:
        """Keep what was read."""
        rows = list(_rows(self.partition, self.app, entries(answer)))
        self.rows.extend(rows)
        self.more = len(rows) == count
        if rows:
            self.behind = rows[-1][0]


async def events(
    space: Partitions,
    sees: Callable[[str], bool],
    *,
    kind: str = "",
    app: str = "",
    cursor: str = "",
    limit: int = limits.PAGE_ITEMS,
) -> Page[Event]:
    """Events of apps that ``sees`` lets through ("" is an event of no app), newest first.

    kind, app: only these; "" is all of them.
    """
    place = _parse(cursor)
    streams = await _streams(space, sees, app, place)
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
        if not kind or event.kind == kind:
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


async def _streams(space: Partitions, sees: Callable[[str], bool], app: str, behind: _Place | None) -> list[_Stream]:
    """The streams to be merged."""
    if app:
        partition = await home(space, app)
        return [] if partition is None or not sees(app) else [_Stream(partition.number, app, behind)]
    streams = [_Stream(at, "", behind) for at in range(space.count) if sees("")]
    answers = await space.read_all([("ZRANGE", K.event_apps(prefix), 0, KNOWN - 1, "REV") for prefix in space.prefixes])
    for at, answer in enumerate(answers):
        seen = [name for name in map(text, answer) if sees(name)]
        streams += [_Stream(at, name, behind) for name in seen[:APPS]]
    return streams


async def _fill(space: Partitions, streams: Sequence[_Stream], count: int) -> None:
    """Read the next entries of these streams."""
    answers = await space.read_all([each.command(space, count) for each in streams])
    for each, answer in zip(streams, answers, strict=True):
        each.take(answer, count)


def _rows(partition: int, app: str, entries: Sequence[tuple[str, dict[str, bytes]]]) -> Iterator[tuple[_Place, Event]]:
    for entry, fields in entries:
        ms, sequence = map(int, entry.split("-"))
        place = (-ms, -sequence, partition, app)
        handler = text(fields.get("handler")).replace("?", "")
        event = Event(
            id=_written(place),
            kind=text(fields.get("kind")),
            at_ms=number(fields.get("wall")),
            app=app,
            handler=handler,
            about={name: text(value) for name, value in fields.items() if name not in _OWN},
        )
        yield place, event


def _written(place: _Place) -> str:
    ms, sequence, partition, app = place
    return f"{-ms}-{-sequence}.{partition}" + (f".{app}" if app else "")


def _parse(cursor: str) -> _Place | None:
    if not cursor:
        return None
    shape = _PLACE.fullmatch(cursor)
    if shape is None or not int(shape[1]):
        raise bad_cursor(cursor)
    return -int(shape[1]), -int(shape[2]), int(shape[3]), shape[4] or ""


async def faulted(space: Partitions, *, within_s: float = ANSWER_S) -> dict[str, int]:
    """How many tasks faulted since the installation was bootstrapped, by reason."""
    by_reason: dict[str, int] = {}
    for counts in await space.read_all([("HGETALL", K.faults(prefix)) for prefix in space.prefixes], within_s=within_s):
        for reason, count in fields_of(counts).items():
            by_reason[reason] = by_reason.get(reason, 0) + number(count)
    return by_reason
