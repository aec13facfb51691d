"""Triggers of many apps as one list, by name: found by what their cards say, and read no further.

1. Names stand in order beside the cards of each app, so a page goes on exactly behind the last name it looked at, and a
   prefix is a span of names. A page takes 500 cards at a time from the engine and compares them as bytes.
2. The work of a page is bounded, not its luck: after 4,000 cards it ends with what it has found, says how many it
   looked at, and its cursor goes on from there.
3. Only the triggers that are shown are read: when they fire next, and what became of them.
"""

import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gojob_redis.domain import limits
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.domain.states import TriggerState
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.cards import Card
from gojob_redis.view.records import number, rounded, some

BEHIND: Final = "\x7f"
"""Sorts behind every character of a name."""
_PLACE = re.compile(r"([a-z0-9._-]{1,64}/[a-z0-9._-]{1,64})/([a-z0-9._-]{0,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for; an empty text is anything."""

    app: str = ""
    """namespace/app"""
    prefix: str = ""
    """The begin of the name."""
    q: str = ""
    """A text in the name, the handler, the owner or the schedule; case does not count."""
    handler: str = ""
    """Its name in its app."""
    owner: str = ""
    states: frozenset[TriggerState] = frozenset()
    never_fired: bool | None = None

    @property
    def is_plain(self) -> bool:
        """Whether every name of its span is sought."""
        return self == Wanted(app=self.app, prefix=self.prefix)

    @property
    def cards(self) -> int:
        """How many cards a page may look at; fewer where it has to read the triggers themselves."""
        return limits.SEARCH_CARDS if self.never_fired is None else limits.SEARCH_READ

    def takes(self, name: str, card: Card) -> bool:
        """Whether a trigger is sought, by its card and whatever its state."""
        if (self.handler and card.handler != self.handler) or (self.owner and card.owner != self.owner):
            return False
        return not self.q or any(self.q in each.lower() for each in (name, card.handler, card.owner, card.line))


@dataclass(frozen=True, slots=True)
class Row:
    """A trigger as a list shows it."""

    app: str
    """namespace/app"""
    name: str
    card: Card
    revision: int
    last_slot_ms: int | None
    """The newest slot that was decided."""
    next_ms: int | None


@dataclass(slots=True)
class Triggers:
    """A page: what was found, and how far was looked."""

    rows: list[Row] = field(default_factory=list)
    next: str | None = None
    looked_at: int = 0
    """So many triggers were compared with what is sought."""
    among: int = 0
    """So many there are from the begin of this page on, in the apps and with the begin of a name that are sought."""
    states: Counter[TriggerState] | None = None
    """How many are in each state, of those that are sought otherwise; None where nobody asked."""
    are_all_counted: bool = True


@dataclass(slots=True)
class _Span:
    """Names of one app that were not looked at yet."""

    app: str
    partition: Partition
    begin: str
    end: str
    left: int = 0

    @property
    def key(self) -> str:
        """Where the names stand."""
        return K.trigger_names(self.partition.prefix, self.app)

    def look_behind(self, names: Sequence[bytes], asked: int) -> None:
        """Go on behind these names, of so many that were asked for."""
        self.left = self.left - asked if len(names) == asked else 0
        self.begin = f"({names[-1].decode()}" if names else self.begin


Found = tuple[_Span, str, Card]


async def find_triggers(
    apps: Apps, sees: Sees, wanted: Wanted, *, cursor: str = "", limit: int = limits.PAGE_ITEMS, count: bool = False
) -> Triggers:
    """A page of the triggers that are sought, by app and name.

    cursor: ``next`` of the page before.
    count: count the states of all that are sought behind the cursor, among at most 10,000 cards.
    """
    page = Triggers(states=Counter() if count else None)
    spans, app_behind = await _spans(apps, sees, wanted, cursor)
    page.among = sum(span.left for span in spans)
    found: list[Found] = []
    looked_at, is_open = 0, True
    most = limits.COUNTED_CARDS if count else wanted.cards
    at_once = limit if wanted.is_plain and not count else limits.PAGE_ITEMS
    async for span, cards in _cards(apps.space, spans, most, at_once):
        sought = await _sought(apps.space, span, cards, wanted)
        for name, _card in cards:
            looked_at += 1
            card = sought.get(name)
            is_open = len(found) < limit and page.looked_at < wanted.cards
            if is_open:
                page.looked_at += 1
                page.next = f"{span.app}/{name.decode()}"
            if card is not None and page.states is not None:
                page.states[card.state] += 1
            if card is not None and is_open and (not wanted.states or card.state in wanted.states):
                found.append((span, name.decode(), card))
        if not is_open and not count:
            break
    page.are_all_counted = app_behind is None and not any(span.left for span in spans)
    if page.looked_at == looked_at and not any(span.left for span in spans):
        page.next = None if app_behind is None else f"{app_behind}/"
    page.rows = await _rows(apps.space, found)
    return page


async def _spans(apps: Apps, sees: Sees, wanted: Wanted, cursor: str) -> tuple[list[_Span], str | None]:
    """The names that may be sought, by app, and the app that is left to the next page."""
    shape = _PLACE.fullmatch(cursor)
    if cursor and shape is None:
        raise bad_cursor(cursor)
    app, name = (shape[1], shape[2]) if shape else ("", "")
    seen = await apps.seen(sees, after=app, only=wanted.app)
    first = f"[{wanted.prefix}" if wanted.prefix else "-"
    end = f"({wanted.prefix}{BEHIND}" if wanted.prefix else "+"
    spans = [
        _Span(each, partition, f"({name}" if each == app and name else first, end)
        for each, partition in seen[: limits.SEARCH_APPS]
    ]
    counts = await apps.space.read_all([("ZLEXCOUNT", span.key, span.begin, span.end) for span in spans])
    for span, count in zip(spans, counts, strict=True):
        span.left = count
    behind = seen[limits.SEARCH_APPS][0] if len(seen) > limits.SEARCH_APPS else None
    return [span for span in spans if span.left], behind


async def _cards(
    space: Partitions, spans: Sequence[_Span], most: int, at_once: int
) -> AsyncIterator[tuple[_Span, list[tuple[bytes, bytes]]]]:
    """Names and cards in order, so many at once, until there is none or so many were read in all."""
    waiting = deque(spans)
    while waiting and most > 0:
        room, asked = min(at_once, most), []
        for span in waiting:
            if room <= 0:
                break
            asked.append((span, min(span.left, room)))
            room -= asked[-1][1]
        named = await space.read_all(
            [("ZRANGE", span.key, span.begin, span.end, "BYLEX", "LIMIT", 0, count) for span, count in asked]
        )
        some_named = [(span, own) for (span, _count), own in zip(asked, named, strict=True) if own]
        cards = await space.read_all(
            [("HMGET", K.triggers(span.partition.prefix, span.app), *own) for span, own in some_named]
        )
        for (span, count), own in zip(asked, named, strict=True):
            span.look_behind(own, count)
            most -= len(own)
        while waiting and not waiting[0].left:
            waiting.popleft()
        for (span, own), held in zip(some_named, cards, strict=True):
            yield span, [(name, card) for name, card in zip(own, held, strict=True) if card]


async def _sought(
    space: Partitions, span: _Span, cards: Sequence[tuple[bytes, bytes]], wanted: Wanted
) -> dict[bytes, Card]:
    """Those of some cards that are sought, whatever their state."""
    part = wanted.q.encode() if wanted.q.isascii() else b""
    sought: dict[bytes, Card] = {}
    for name, data in cards:
        if part and part not in name and part not in data.lower():
            continue
        card = Card.read(data)
        if wanted.takes(name.decode(), card):
            sought[name] = card
    if wanted.never_fired is None or not sought:
        return sought
    prefix = span.partition.prefix
    fired = await space.read_all([("HEXISTS", K.trigger(prefix, card.uid), "last_slot") for card in sought.values()])
    return {name: sought[name] for name, is_fired in zip(sought, fired, strict=True) if is_fired != wanted.never_fired}


async def _rows(space: Partitions, found: Sequence[Found]) -> list[Row]:
    commands: list[tuple[str | int, ...]] = []
    for span, _name, card in found:
        prefix = span.partition.prefix
        commands += [("HMGET", K.trigger(prefix, card.uid), "revision", "last_slot")]
        commands += [("ZSCORE", K.due(prefix, span.app), card.uid)]
    answers: list[Any] = await space.read_all(commands)
    rows = []
    for at, (span, name, card) in enumerate(found):
        (revision, last_slot), due = answers[2 * at : 2 * at + 2]
        if revision is not None:  # else it was removed between the reads
            rows.append(Row(span.app, name, card, number(revision), some(last_slot), rounded(due)))
    return rows
