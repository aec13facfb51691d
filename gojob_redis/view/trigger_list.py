"""Triggers of many apps as one list, by name: found by what their cards say, and read no further.

1. Names stand in order beside the cards of each app, so a page goes on exactly behind the last name it looked at, and a
   prefix is a span of names. A page takes 1,000 cards at a time from the engine and compares them as bytes.
2. The work of a page is bounded, not its luck: after 4,000 cards it ends with what it has found, says how many it
   looked at, and its cursor goes on from there.
3. Only the triggers that are shown are read: when they fire next, and what became of them.
"""

import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final, Literal

from gojob_redis.domain import limits
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.domain.states import State, TriggerState
from gojob_redis.domain.tally import END_BYTES, End, unpack_ends
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.cards import Card, states_in, uid_bytes_in, uid_in
from gojob_redis.view.records import number, rounded, some

BEHIND: Final = "\x7f"
"""Sorts behind every character of a name."""
_PLACE = re.compile(r"([a-z0-9._-]{1,64}/[a-z0-9._-]{1,64})/([a-z0-9._-]{0,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
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
    last: State | None = None
    """How its last task ended."""

    @property
    def is_plain(self) -> bool:
        """Whether every name of its span is sought."""
        return self == Search(app=self.app, prefix=self.prefix)

    @property
    def cards(self) -> int:
        """How many cards a page may look at; fewer where it has to read the triggers themselves."""
        return limits.SEARCH_CARDS if not self.reads else limits.SEARCH_READ

    @property
    def reads(self) -> bool:
        """Whether the triggers have to be read; which ones end badly is known of all of them."""
        return self.never_fired is not None or self.last not in (None, State.FAULTED)

    @property
    def compares(self) -> bool:
        """Whether it matters what cards say."""
        return bool(self.q or self.handler or self.owner)

    @property
    def parts(self) -> list[bytes]:
        """What stands in each card that is sought."""
        return [f"\x1f{part}\x1f".encode() for part in (self.handler, self.owner) if part]

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
    ends: list[End]
    """How its last tasks ended, the oldest first; none unless asked for."""


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
    faulted: int | None = None
    """How many of them ended badly the last time; None where nobody asked."""


@dataclass(slots=True)
class _Span:
    """Names of one app that were not looked at yet."""

    app: str
    partition: Partition
    begin: str
    end: str
    left: int = 0
    troubled: frozenset[bytes] | None = None
    """The uids of its triggers whose last task faulted; None where they are too many, or do not matter."""

    @property
    def key(self) -> str:
        """Where the names stand."""
        return K.trigger_names(self.partition.prefix, self.app)

    def look_behind(self, names: Sequence[bytes], asked: int) -> None:
        """Go on behind these names, of so many that were asked for."""
        self.left = self.left - asked if len(names) == asked else 0
        self.begin = f"({names[-1].decode()}" if names else self.begin


Hit = tuple[_Span, str, Card]
Sought = tuple[int, bytes, bytes]
"""The place of a trigger among some, its name and its card."""
Count = frozenset[Literal["state", "last"]]
NOTHING: Final[Count] = frozenset()
ENDED: Final = {State.RUN_TO_COMPLETION: "completed", State.FAULTED: "faulted", State.CANCELED: "canceled"}
"""How a ring calls an end."""
STATES: Final = {word: state for state, word in ENDED.items()}


async def find_triggers(
    apps: Apps,
    sees: Sees,
    search: Search,
    *,
    cursor: str = "",
    limit: int = limits.PAGE_ITEMS,
    count: Count = NOTHING,
    ends: int = 0,
) -> Triggers:
    """A page of the triggers that are sought, by app and name.

    cursor: ``next`` of the page before.
    count: what is counted of all that are sought behind the cursor, among at most 10,000 cards.
    ends: so many of the last ends of each are shown.
    """
    page = Triggers(states=Counter() if "state" in count else None, faulted=0 if "last" in count else None)
    spans, app_behind = await _spans(apps, sees, search, cursor)
    page.among = sum(span.left for span in spans)
    if "last" in count or search.last is State.FAULTED:
        await _read_troubled(apps.space, spans)
    hits: list[Hit] = []
    looked_at = 0
    most = limits.COUNTED_CARDS if count else search.cards
    at_once = limit if search.is_plain and not count else limits.SEARCH_AT_ONCE
    async for span, cards in _cards(apps.space, spans, most, at_once):
        looked_at += len(cards)
        sought = await _sought(apps.space, span, cards, search)
        if page.states is not None:
            page.states.update(states_in(card for _at, _name, card in sought))
        if page.faulted is not None:
            page.faulted += sum(await _faulted(apps.space, span, sought))
        is_full = len(hits) == limit or page.looked_at == search.cards
        if not is_full:
            is_full = _fill(page, hits, span, cards, sought, search, limit)
        if is_full and not count:
            break
    are_all_read = not any(span.left for span in spans)
    page.are_all_counted = are_all_read and app_behind is None
    if are_all_read and page.looked_at == looked_at:
        page.next = None if app_behind is None else f"{app_behind}/"
    page.rows = await _rows(apps.space, hits, ends)
    return page


def _fill(
    page: Triggers,
    hits: list[Hit],
    span: _Span,
    cards: Sequence[tuple[bytes, bytes]],
    sought: Sequence[Sought],
    search: Search,
    limit: int,
) -> bool:
    """Take what is sought among some cards into the page; true when it is full, or has looked far enough."""
    end = min(len(cards), search.cards - page.looked_at)
    for at, name, text in sought:
        if at >= end:
            break
        card = Card.read(text)
        if not search.states or card.state in search.states:
            hits.append((span, name.decode(), card))
            if len(hits) == limit:
                end = at + 1
                break
    page.looked_at += end
    if end:
        page.next = f"{span.app}/{cards[end - 1][0].decode()}"
    return len(hits) == limit or page.looked_at == search.cards


async def _spans(apps: Apps, sees: Sees, search: Search, cursor: str) -> tuple[list[_Span], str | None]:
    """The names that may be sought, by app, and the app that is left to the next page."""
    shape = _PLACE.fullmatch(cursor)
    if cursor and shape is None:
        raise bad_cursor(cursor)
    app, name = (shape[1], shape[2]) if shape else ("", "")
    seen = await apps.seen(sees, after=app, only=search.app)
    first = f"[{search.prefix}" if search.prefix else "-"
    end = f"({search.prefix}{BEHIND}" if search.prefix else "+"
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
        for (span, own), texts in zip(some_named, cards, strict=True):
            yield span, [(name, card) for name, card in zip(own, texts, strict=True) if card]


async def _sought(space: Partitions, span: _Span, cards: Sequence[tuple[bytes, bytes]], search: Search) -> list[Sought]:
    """Those of some cards that are sought, whatever their state."""
    if not (search.compares or search.reads or search.last):
        return [(at, name, card) for at, (name, card) in enumerate(cards)]
    parts, text = search.parts, search.q.encode() if search.q.isascii() else b""
    sought = []
    for at, (name, card) in enumerate(cards):
        if text and text not in name and text not in card.lower():
            continue
        if parts and not all(part in card for part in parts):
            continue
        if not search.compares or search.takes(name.decode(), Card.read(card)):
            sought.append((at, name, card))
    prefix, uids = span.partition.prefix, [uid_in(card) or "" for _, _, card in sought]
    if search.never_fired is not None:
        fired = await space.read_all([("HEXISTS", K.trigger(prefix, uid), "last_slot") for uid in uids])
        sought = [each for each, is_fired in zip(sought, fired, strict=True) if is_fired != search.never_fired]
    if search.last is State.FAULTED:
        sought = list(compress(sought, await _faulted(space, span, sought)))
    elif search.last is not None:
        uids = [uid_in(card) or "" for _, _, card in sought]
        rings = await space.read_all([_last_of(K.ring(prefix, uid), 1) for uid in uids])
        lasts = ([end.state for end in unpack_ends(ring)] for ring in rings)
        sought = [each for each, last in zip(sought, lasts, strict=True) if last == [ENDED[search.last]]]
    return sought


async def _read_troubled(space: Partitions, spans: Sequence[_Span]) -> None:
    """Read whose last task faulted where these are few, as they are as a rule: it saves asking for each trigger."""
    keys = [K.troubled(span.partition.prefix, span.app) for span in spans]
    counts = await space.read_all([("SCARD", key) for key in keys])
    few = [(span, key) for span, key, own in zip(spans, keys, counts, strict=True) if 0 < own <= limits.SEARCH_AT_ONCE]
    for span, own in zip(spans, counts, strict=True):
        span.troubled = None if own else frozenset()
    for (span, _key), uids in zip(few, await space.read_all([("SMEMBERS", key) for _span, key in few]), strict=True):
        span.troubled = frozenset(uids)


async def _faulted(space: Partitions, span: _Span, sought: Sequence[Sought]) -> list[bool]:
    """Whether the last task of each faulted."""
    if not sought or span.troubled == frozenset():
        return [False] * len(sought)
    if span.troubled is not None:
        return [uid_bytes_in(card) in span.troubled for _, _, card in sought]
    uids = (uid_in(card) or "" for _, _, card in sought)
    [answer] = await space.read_all([("SMISMEMBER", K.troubled(span.partition.prefix, span.app), *uids)])
    return [bool(each) for each in answer]


def _last_of(ring: str, ends: int) -> tuple[str | int, ...]:
    return "GETRANGE", ring, -ends * END_BYTES, -1


async def _rows(space: Partitions, hits: Sequence[Hit], ends: int) -> list[Row]:
    by_app: dict[str, list[Hit]] = {}
    for hit in hits:
        by_app.setdefault(hit[0].app, []).append(hit)
    commands: list[tuple[str | int, ...]] = [
        ("ZMSCORE", K.due(own[0][0].partition.prefix, app), *(card.uid for _, _, card in own))
        for app, own in by_app.items()
    ]
    commands += [
        ("HMGET", K.trigger(span.partition.prefix, card.uid), "revision", "last_slot") for span, _, card in hits
    ]
    answers: list[Any] = await space.read_all(commands)
    scores = (score for scores in answers[: len(by_app)] for score in scores)
    asked = [_last_of(K.ring(span.partition.prefix, card.uid), ends) for span, _, card in hits] if ends else []
    rings = await space.read_all(asked) if ends else [b""] * len(hits)
    rows = []
    each = zip(hits, answers[len(by_app) :], scores, rings, strict=True)
    for (span, name, card), (revision, last_slot), due, ring in each:
        if revision is not None:  # else it was removed between the reads
            own = list(unpack_ends(ring))
            rows.append(Row(span.app, name, card, number(revision), some(last_slot), rounded(due), own))
    return rows
