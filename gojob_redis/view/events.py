"""The event log, as one list: what was not the plain course of things in any partition, newest first.

Every partition has a log of its own, so a page is merged from them; the cursor is the last entry shown. An event of no
app (a gateway that was forgotten, a stray key) is shown to those who may see every app.
"""

import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gojob_redis import limits
from gojob_redis.errors import bad_cursor
from gojob_redis.keys import K
from gojob_redis.partitions import Partitions
from gojob_redis.view.pages import Page
from gojob_redis.view.records import app_of, entries, home, number, text

ROUNDS = 20
"""So many times 500 entries of a partition are read for one page: a rare kind may need another page."""

_PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,9})\.([0-9]{1,3})")
_OWN = ("kind", "wall", "app", "handler")
_Place = tuple[int, int, int]
"""Milliseconds and number of a stream entry, and its partition."""


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
    """What else it says: the run, the session, the slot, why."""


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
    partitions: Sequence[int] = range(space.count)
    if app:
        placed = await home(space, app)
        partitions = [] if placed is None else [placed]
    below = _parse(cursor)
    found: list[tuple[_Place, Event]] = []
    for _ in range(ROUNDS):
        pages = [await _page(space, partition, below) for partition in partitions]
        # Below the oldest entry of a full page others may follow: what lies further down waits for the next round.
        ends = [page[-1][0] for page in pages if len(page) == limits.PAGE_ITEMS]
        floor = max(ends, default=None)
        for place, event in heapq.merge(*pages, key=lambda row: row[0], reverse=True):
            if floor is not None and place < floor:
                break
            if _wanted(event, kind, app) and sees(event.app):
                found.append((place, event))
            if len(found) == limit:
                return Page([event for _place, event in found], _written(found[-1][0]))
        if floor is None:
            return Page([event for _place, event in found], None)
        below = floor
    return Page([event for _place, event in found], None if below is None else _written(below))


def _wanted(event: Event, kind: str, app: str) -> bool:
    return (not kind or event.kind == kind) and (not app or event.app == app)


async def _page(space: Partitions, partition: int, below: _Place | None) -> list[tuple[_Place, Event]]:
    """The newest entries of a partition below a place."""
    last = "+"
    if below is not None:
        ms, sequence, at = below
        last = f"{'' if partition < at else '('}{ms}-{sequence}"
    command = ("XREVRANGE", K.events(space.prefixes[partition]), last, "-", "COUNT", limits.PAGE_ITEMS)
    [answer] = await space.read(partition, [command])
    return list(_rows(partition, entries(answer)))


def _rows(partition: int, found: Sequence[tuple[str, dict[str, bytes]]]) -> Iterator[tuple[_Place, Event]]:
    for entry, fields in found:
        ms, sequence = map(int, entry.split("-"))
        handler = text(fields.get("handler")).replace("?", "")
        yield (
            (ms, sequence, partition),
            Event(
                id=_written((ms, sequence, partition)),
                kind=text(fields.get("kind")),
                at_ms=number(fields.get("wall")),
                app=text(fields.get("app")) or app_of(handler),
                handler=handler,
                about={name: text(value) for name, value in fields.items() if name not in _OWN},
            ),
        )


def _written(place: _Place) -> str:
    return f"{place[0]}-{place[1]}.{place[2]}"


def _parse(cursor: str) -> _Place | None:
    if not cursor:
        return None
    shape = _PLACE.fullmatch(cursor)
    if shape is None:
        raise bad_cursor(cursor)
    return int(shape[1]), int(shape[2]), int(shape[3])
