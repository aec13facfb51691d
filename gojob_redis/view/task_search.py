"""Tasks found by what is known of them: across apps, over or not, a page at a time.

1. What is not over comes first, where it stands: on seats, in lanes, at timers, delayed (``lua/walk.lua``). What is
   over follows, newest first, from the indexes of handlers and apps as if they were one (``lua/search.lua``). What one
   trigger fired comes from its ledger, by its slots.
2. A page asks each partition at most ``SEARCH_CALLS`` times, and looks at about ``LOOKS`` tasks. ``looked`` says how
   far it came; its cursor goes on from there, also where nothing was found.
3. A cursor says where the page ended: the last index and member of the first part, or time and name of the last member
   of the second, which are the same for every index. So a page goes on at the right place whatever came or went.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.domain.filters import TaskFilter
from gojob_redis.domain.states import TERMINAL, State
from gojob_redis.domain.verbs import Searched, Walked
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.pages import Page
from gojob_redis.view.queues import seats_of
from gojob_redis.view.records import home, text
from gojob_redis.view.tasks import UNKNOWN, TaskRow, rows_of

LOOKS: Final = limits.SEARCH_LOOKS * limits.SEARCH_CALLS
"""Tasks that a page looks at; then it ends, full or not."""
FEWEST_LOOKS: Final = 20
KNOWN: Final = 2_000
"""Handlers of a partition among which those are chosen that the caller may see."""
WALKS: Final = 4 * limits.SEARCH_CALLS
"""Calls that one page makes to find what is not over."""
SHORT_CHARS: Final = 12
"""Names as long as those of sessions stand in a cursor as they are."""
LIVE: Final = frozenset(State) - TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSearch:
    """Which tasks are looked for, and where; what is empty does not matter."""

    app: str = ""
    """namespace/app"""
    handler: str = ""
    """namespace/app/handler"""
    uid: str = ""
    """Of a trigger: then ``app`` is set."""
    trigger: str = ""
    worker: str = ""
    parent: str = ""
    """Or a task, whose children are looked for."""
    key: str = ""
    error: str = ""
    """A fingerprint."""
    states: frozenset[State] = frozenset(State)
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    from_ms: int = 0
    to_ms: int = limits.LATEST_MS
    """They ended before; those that are not over were made before."""

    def conditions(self, *, is_live: bool) -> str:
        """What a script has to compare, besides where it looks."""
        possible = frozenset(State) if self.uid else LIVE if is_live else TERMINAL
        states = self.states & possible
        is_by_time = is_live or bool(self.uid)  # indexes of what is over have it as their score
        return TaskFilter(
            handler=name_of(self.handler) if self.handler else "",
            trigger="" if self.uid else self.trigger,
            state=[] if states == possible else sorted(states),
            reason=[self.reason] if self.reason else [],
            worker="" if is_live else self.worker,
            error=self.error,
            labels=dict(self.labels),
            from_ms=self.from_ms if is_by_time and self.from_ms else None,
            to_ms=self.to_ms if is_by_time and self.to_ms < limits.LATEST_MS else None,
        ).written


@dataclass(slots=True)
class Looked:
    """How far a page looked."""

    tasks: int = 0
    """How many tasks it looked at."""
    back_to_ms: int | None = None
    """What ended before this moment was not looked at yet: the next page goes on there; null: everything was.

    Of the slowest: what ended before is not among them."""
    handlers_left_out: int = 0
    """Handlers of the app that are too many to be looked at; name one to find its tasks."""


@dataclass(frozen=True, slots=True)
class TaskPage(Page[TaskRow]):
    """Tasks that were found, and how far the page looked. A page may be short, or empty, and yet have a next one."""

    items: list[TaskRow]
    """Said again, because the API's document does not learn it from the base."""
    looked: Looked = field(default_factory=Looked)


@dataclass(frozen=True, slots=True)
class Home:
    """The handlers and apps of one partition that are looked at."""

    partition: Partition
    handlers: list[str]
    apps: list[str]


async def find_tasks(
    space: Partitions,
    chosen: TaskSearch,
    sees: Callable[[str], bool],
    *,
    cursor: str = "",
    limit: int = limits.PAGE_ITEMS,
) -> TaskPage:
    """Tasks of apps that ``sees`` lets through. Raises BadRequest ``bad_cursor``."""
    looked = Looked()
    place = parse_cursor(cursor)
    if place[0] == _SLOW:
        raise bad_cursor(cursor)
    if chosen.parent:
        return await _children(space, chosen, sees, place, looked, limit)
    if chosen.key:
        return await _keyed(space, chosen, sees, place, looked, limit)
    homes = await homes_to_search(space, chosen, sees, looked)
    rows: list[TaskRow] = []
    if place[0] != _ENDED and not chosen.uid and chosen.states & LIVE:
        rows, after = await _walk(homes, chosen, place, looked, limit)
        if after:
            return TaskPage(rows, after, looked=looked)
    if len(rows) < limit and (chosen.uid or chosen.states & TERMINAL):
        ended, after = await _ended(homes, chosen, place if place[0] == _ENDED else _TOP, looked, limit - len(rows))
        return TaskPage([*rows, *ended], after, looked=looked)
    has_ended = len(rows) >= limit and bool(chosen.states & TERMINAL)
    return TaskPage(rows, written_cursor(*_TOP) if has_ended else None, looked=looked)


# ---- where to look ---------------------------------------------------------------------------------------------------


async def homes_to_search(
    space: Partitions, chosen: TaskSearch, sees: Callable[[str], bool], looked: Looked
) -> list[Home]:
    """The handlers and apps to be looked at, by partition."""
    if chosen.app or chosen.handler:
        app = chosen.app or app_of(chosen.handler)
        partition = await home(space, app) if sees(app) else None
        if partition is None:
            return []
        handlers = [chosen.handler] if chosen.handler else await _handlers_of(partition, app, looked)
        return [Home(partition, handlers, [app])]
    homes = []
    answers = await space.read_all(
        [("ZRANGE", K.handlers(prefix), 0, KNOWN - 1, "REV") for prefix in space.prefixes], within_s=ANSWER_S
    )
    most = max(limits.SEARCH_INDEXES, limits.SEARCH_HANDLERS // space.count)
    for number, answer in enumerate(answers):
        seen = [handler for handler in map(text, answer) if sees(app_of(handler))]
        looked.handlers_left_out += len(seen[most:])
        apps = [*dict.fromkeys(map(app_of, seen[:most])), *([UNKNOWN] if sees("") else [])]
        if apps:
            homes.append(Home(space[number], seen[:most], apps))
    return homes


async def _handlers_of(partition: Partition, app: str, looked: Looked) -> list[str]:
    key, most = K.app_handlers(partition.prefix, app), limits.SEARCH_HANDLERS
    names, count = await partition.read([("ZRANGE", key, 0, most - 1), ("ZCARD", key)])
    looked.handlers_left_out = max(0, int(count) - most)
    return [text(name) for name in names]


# ---- with a key ------------------------------------------------------------------------------------------------------

_KEYED: Final = "k"


async def _keyed(
    space: Partitions,
    chosen: TaskSearch,
    sees: Callable[[str], bool],
    place: "_Place",
    looked: Looked,
    limit: int,
) -> TaskPage:
    """Tasks with one key, newest first: of each partition the newest 500 at most."""
    above = f"{chosen.key}\x1f{chosen.app}" if chosen.app else chosen.key
    first, end = f"{above}\x1f", f"{above}\x20"
    asked = [
        ("ZRANGE", K.keyed(prefix), f"({end}", f"[{first}", "BYLEX", "REV", "LIMIT", 0, limits.PAGE_ITEMS)
        for prefix in space.prefixes
    ]
    tasks = []
    for number, answer in enumerate(await space.read_all(asked, within_s=ANSWER_S)):
        members = [text(member).split("\x1f") for member in answer]
        tasks += [(space[number], task) for _key, own_app, task in members if sees(own_app)]
    looked.tasks = len(tasks)
    rows = sorted(await rows_in_order(tasks), key=_age, reverse=True)
    if place[0] == _KEYED:
        rows = [row for row in rows if _age(row) < (_whole(place[1], place), place[2])]
    page = [row for row in rows if is_chosen(row, chosen)]
    next_cursor = (
        written_cursor(_KEYED, str(page[limit - 1].made_ms), page[limit - 1].id) if len(page) > limit else None
    )
    return TaskPage(page[:limit], next_cursor, looked=looked)


def _age(row: TaskRow) -> tuple[int, str]:
    return row.made_ms, row.id


def is_chosen(row: TaskRow, chosen: TaskSearch) -> bool:
    """Whether a task is looked for, whatever its labels."""
    moment = row.made_ms if row.ended_ms is None else row.ended_ms
    return (
        row.state in chosen.states
        and (not chosen.app or row.full_app == chosen.app)
        and (not chosen.handler or f"{row.full_app}/{row.handler}" == chosen.handler)
        and (not chosen.trigger or row.trigger == chosen.trigger)
        and (not chosen.worker or row.worker == chosen.worker)
        and (not chosen.key or row.key == chosen.key)
        and (not chosen.parent or row.parent == chosen.parent)
        and (not chosen.reason or row.reason == chosen.reason)
        and chosen.from_ms <= moment < chosen.to_ms
    )


# ---- children --------------------------------------------------------------------------------------------------------

_CHILD: Final = "c"


async def _children(
    space: Partitions,
    chosen: TaskSearch,
    sees: Callable[[str], bool],
    place: "_Place",
    looked: Looked,
    limit: int,
) -> TaskPage:
    """What the runs of a task submitted and what repeats it, newest first, as far as the caller may see them."""
    page, behind = await children_of(space, chosen.parent, limit, behind=place[1] if place[0] == _CHILD else "")
    looked.tasks = len(page)
    rows = [row for row in await rows_in_order(page) if sees(row.full_app) and is_chosen(row, chosen)]
    return TaskPage(rows, written_cursor(_CHILD, behind) if behind else None, looked=looked)


async def children_of(
    space: Partitions, parent: str, most: int, *, behind: str = ""
) -> tuple[list[tuple[Partition, str]], str]:
    """Ids of some children of a task, newest first, and behind which of them others follow, "" for none.

    Their ids without the partition are in the order in which they were made.
    """
    order = ("BYLEX", "REV", "LIMIT", 0, most + 1)
    asked = [
        ("ZRANGE", K.children(prefix, parent), f"({ids.base36(number, 2)}{behind}" if behind else "+", "-", *order)
        for number, prefix in enumerate(space.prefixes)
    ]
    answers = await space.read_all(asked, within_s=ANSWER_S)
    children = [(space[number], text(task)) for number, answer in enumerate(answers) for task in answer]
    children.sort(key=lambda child: child[1][2:], reverse=True)
    return children[:most], children[most - 1][1][2:] if len(children) > most else ""


# ---- what is over ----------------------------------------------------------------------------------------------------

_ENDED: Final = "e"
_Place = tuple[str, ...]
_TOP: Final[_Place] = (_ENDED, str(limits.LATEST_MS), "")


@dataclass(slots=True)
class Stream:
    """Some indexes of one partition, searched as one."""

    partition: Partition
    items: Sequence[Searched]
    at: int
    """Time and name of the last member that was looked at."""
    member: str
    found: list[tuple[int, str, str]] = field(default_factory=list)
    more: bool = True

    @property
    def place(self) -> tuple[int, str]:
        return self.at, self.member

    async def go_on(self, chosen: TaskSearch, looks: int, most: int) -> int:
        """Look at the next; returns at how many."""
        call = verbs.search(
            self.items,
            conditions=chosen.conditions(is_live=False),
            from_ms=0 if chosen.uid else chosen.from_ms,
            to_ms=self.at,
            place=self.member,
            looks=looks,
            most=most,
        )
        reply = await self.partition.call(call, within_s=ANSWER_S)
        self.found += [(int(time), text(member), text(task)) for time, member, task in reply.found]
        self.more = reply.status == "more"
        if reply.looked:
            self.at, self.member = reply.at, reply.member
        return reply.looked


async def _ended(
    homes: Sequence[Home], chosen: TaskSearch, place: _Place, looked: Looked, limit: int
) -> tuple[list[TaskRow], str | None]:
    """Tasks that are over, or that a trigger fired, newest first; and the cursor of the next page."""
    try:
        at, member = (int(place[1]), place[2]) if int(place[1]) < chosen.to_ms else (chosen.to_ms - 1, "")
    except (ValueError, IndexError):
        raise bad_cursor("~".join(place)) from None
    streams = [
        Stream(each.partition, part, at, member)
        for each in homes
        for part in parts_of(searched(each, chosen), limits.SEARCH_INDEXES)
    ]
    for _ in range(limits.SEARCH_CALLS):
        going = _newest_half([stream for stream in streams if stream.more])
        if not going or looked.tasks >= LOOKS or len(_certain(streams)) >= limit:
            break
        looks = max(FEWEST_LOOKS, min(limits.SEARCH_LOOKS, (LOOKS - looked.tasks) // len(going)))
        looked.tasks += sum(await asyncio.gather(*(stream.go_on(chosen, looks, limit) for stream in going)))
    page = _certain(streams)[:limit]
    open_places = [stream.place for stream in streams if stream.more]
    is_cut = len(page) == limit and (bool(open_places) or len(_certain(streams)) > limit)
    end = page[-1][0][:2] if is_cut else max(open_places, default=None)
    rows = await rows_in_order([(stream.partition, match[2]) for match, stream in page])
    if end is None:
        return rows, None
    looked.back_to_ms = end[0]
    return rows, written_cursor(_ENDED, str(end[0]), end[1])


def searched(of: Home, chosen: TaskSearch) -> list[Searched]:
    """The indexes that may hold such tasks."""
    if chosen.uid:
        return [Searched("ledger", chosen.uid)]
    indexes = [Searched("pinned", handler) for handler in of.handlers]
    if State.RUN_TO_COMPLETION in chosen.states:
        indexes += [Searched("history", handler) for handler in of.handlers]
    if chosen.states & {State.FAULTED, State.CANCELED}:
        indexes += [Searched("failed", app) for app in of.apps]
    return indexes


def _newest_half(streams: list[Stream]) -> list[Stream]:
    """Those that hold up the others: nothing older than their place is certain."""
    newest_first = sorted(streams, key=lambda stream: stream.place, reverse=True)
    return newest_first[: (len(streams) + 1) // 2] if len({stream.place for stream in streams}) > 1 else streams


def _certain(streams: Sequence[Stream]) -> list[tuple[tuple[int, str, str], Stream]]:
    """What was found and nothing can come before any more, newest first."""
    floor = max((stream.place for stream in streams if stream.more), default=(-1, ""))
    matches = [(each, stream) for stream in streams for each in stream.found if each[:2] >= floor]
    return sorted(matches, key=lambda pair: pair[0][:2], reverse=True)


async def rows_in_order(tasks: Sequence[tuple[Partition, str]]) -> list[TaskRow]:
    """Their rows; what was retired meanwhile is left out."""
    by_partition: dict[int, list[str]] = {}
    partitions = {partition.number: partition for partition, _task in tasks}
    for partition, task in tasks:
        by_partition.setdefault(partition.number, []).append(task)
    read = await asyncio.gather(*(rows_of(partitions[number], each) for number, each in by_partition.items()))
    by_id = {row.id: row for rows in read for row in rows}
    return [by_id[task] for _partition, task in tasks if task in by_id]


# ---- what is not over ------------------------------------------------------------------------------------------------

_KINDS: Final = ("session", "lane", "timers", "due")
"""In this order."""


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """One index of what is not over, and where it stands among all."""

    order: tuple[int, int, str]
    """Of its partition, of its kind, and of its name, shortened."""
    partition: Partition = field(compare=False)
    walked: Walked = field(compare=False)


async def _walk(
    homes: Sequence[Home], chosen: TaskSearch, place: _Place, looked: Looked, limit: int
) -> tuple[list[TaskRow], str | None]:
    """Tasks that are not over; and the cursor where to go on with them, None when all were looked at."""
    partitions, after = await walk(homes, chosen, place, looked, limit)
    rows = await rows_in_order([(partition, task) for task, partition in partitions.items()])
    return [row for row in rows if row.state in chosen.states], after


async def walk(
    homes: Sequence[Home], chosen: TaskSearch, place: _Place, looked: Looked, limit: int
) -> tuple[dict[str, Partition], str | None]:
    """The ids of such tasks, and where they lie; and the cursor where to go on."""
    several = await asyncio.gather(*(units_of(each, chosen) for each in homes))
    units = sorted(unit for own in several for unit in own)
    at, member = "", ""
    if place[0] == _LIVE:
        try:
            behind, at, member = (int(place[1]), int(place[2]), place[3]), place[4], place[5]
        except (ValueError, IndexError):
            raise bad_cursor("~".join(place)) from None
        units = [unit for unit in units if unit.order >= behind]
        if not units or units[0].order != behind:
            at, member = "", ""  # that index is gone
    partitions: dict[str, Partition] = {}
    for _ in range(WALKS):
        if not units:
            break
        together = _together(units)
        call = verbs.walk(
            [unit.walked for unit in together],
            conditions=chosen.conditions(is_live=True),
            at=at,
            member=member,
            looks=min(limits.SEARCH_LOOKS, max(FEWEST_LOOKS, LOOKS - looked.tasks)),
            most=limit - len(partitions),
        )
        reply = await together[0].partition.call(call, within_s=ANSWER_S)
        looked.tasks += reply.looked
        partitions |= dict.fromkeys(reply.found, together[0].partition)
        units, at, member = units[reply.walked :], reply.at, reply.member
        if len(partitions) >= limit or looked.tasks >= LOOKS:
            break
    if not units:
        return partitions, None
    partition, kind, name = units[0].order
    return partitions, written_cursor(_LIVE, str(partition), str(kind), name, at, member)


def _together(units: Sequence[Unit]) -> list[Unit]:
    """The first of them that one call may walk: of one partition."""
    return [unit for unit in units[: limits.SEARCH_INDEXES] if unit.order[0] == units[0].order[0]]


async def units_of(of: Home, chosen: TaskSearch) -> list[Unit]:
    """The indexes of one partition in which such tasks may stand."""
    prefix = of.partition.prefix
    names: dict[str, Iterable[str]] = {}
    if chosen.states & {State.WAITING_TO_RUN, State.RUNNING}:
        names["session"] = await _sessions(of.partition, [app for app in of.apps if app != UNKNOWN], chosen.worker)
    if not chosen.worker:
        lanes = await of.partition.read([("HVALS", K.lanes(prefix, handler)) for handler in of.handlers])
        names |= {"lane": [lane.decode() for own in lanes for lane in own if lane.isdigit()], "timers": of.handlers}
        if State.CREATED in chosen.states:
            names["due"] = of.apps
    return [
        Unit((of.partition.number, _KINDS.index(kind), _short(name)), of.partition, Walked(kind, name))
        for kind, own in names.items()
        for name in own
    ]


async def _sessions(partition: Partition, apps: Sequence[str], worker: str) -> list[str]:
    """Those that hold something, of all or of this worker."""
    prefix = partition.prefix
    answers = await partition.read([("SMEMBERS", K.sessions(prefix, app)) for app in apps])
    sessions = [text(session) for answer in answers for session in answer]
    if not worker:
        seats = await seats_of(partition, sessions)
        return [session for session, own in zip(sessions, seats, strict=True) if own.taken]
    names = await partition.read([("HGET", K.session(prefix, session), "name") for session in sessions])
    return [session for session, name in zip(sessions, names, strict=True) if text(name) == worker]


def _short(name: str) -> str:
    """The name of an index in a cursor; lanes are ordered by their numbers."""
    if len(name) <= SHORT_CHARS:
        return name.rjust(SHORT_CHARS, "0") if name.isdigit() else name
    return hashlib.blake2b(name.encode(), digest_size=6).hexdigest()


# ---- cursors ---------------------------------------------------------------------------------------------------------

_LIVE: Final = "l"
_SLOW: Final = "s"


def _whole(text: str, place: _Place) -> int:
    if not text.isdigit():
        raise bad_cursor("~".join(place))
    return int(text)


def written_cursor(*place: str) -> str:
    """The cursor of a place; its first part says which kind of place it is."""
    return base64.urlsafe_b64encode("~".join(place).encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> _Place:
    """The place of a cursor, ("",) of none; raises BadRequest ``bad_cursor``."""
    if not cursor:
        return ("",)
    try:
        place = tuple(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode().split("~"))
    except (ValueError, binascii.Error):
        raise bad_cursor(cursor) from None
    if (place[0], len(place)) not in ((_ENDED, 3), (_LIVE, 6), (_KEYED, 3), (_CHILD, 2), (_SLOW, 3)):
        raise bad_cursor(cursor)
    return place


def parts_of(items: Sequence[Searched], size: int) -> Iterator[Sequence[Searched]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
