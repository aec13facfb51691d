"""The queues of all apps that somebody may see: with the most or the oldest work first, or by name; one by one, or
together by app, namespace or labels.

1. By name, a list goes through all handlers, page by page. To find those with the most or oldest work, all of them have
   to be looked at: 2,000 at most, as many of each app. ``is_whole`` says whether that was all.
2. What is much to read, rates and workers, is read only for the rows of the page.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeVar

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of, name_of, namespace_of
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.flow import Flow, flows
from gojob_redis.view.gauge import Gauged, gauge
from gojob_redis.view.queues import Queue, handler_names, queue_rows
from gojob_redis.view.records import pairs, text

LANES_SHOWN: Final = 10
PAGE_LANES: Final = 1_000
"""Of a page, so many lanes are shown, and one of each handler."""
AT_ONCE: Final = 500
"""Handlers whose names are read at a time, and apps that are asked at a time."""
NEVER_MS: Final = 10**14
"""Where a queue stands in which nothing waits, by when it began to: behind all others."""


class QueueOrder(StrEnum):
    """Which queues come first."""

    BACKLOG = "backlog"
    OLDEST = "oldest"
    NAME = "name"


class QueuesBy(StrEnum):
    """What a row is."""

    HANDLER = "handler"
    APP = "app"
    NAMESPACE = "namespace"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class QueueSearch:
    """Which queues are sought; what is empty leaves all in."""

    app: str = ""
    """namespace/app"""
    handler: str = ""
    q: str = ""
    """A part of the handler's name, in lower case."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those of what waits."""
    waiting: bool | None = None
    paused: bool | None = None

    def names(self, handler: str) -> bool:
        """Whether a handler may fit, by its name."""
        name = name_of(handler)
        return (not self.handler or name == self.handler) and self.q in name.lower()

    def fitting(self, each: Gauged) -> Gauged | None:
        """A handler with those of its lanes that fit; None for one that does not, or that is not known any more."""
        if self.labels:
            lanes = [lane for lane in each.lanes if self.labels.items() <= pairs(lane.labels).items()]
            if not lanes:
                return None
            each = replace(each, lanes=lanes)
        if not (each.is_known or each.lanes or each.paused_ms):
            return None
        if self.waiting not in (None, each.backlog > 0) or self.paused not in (None, each.paused_ms is not None):
            return None
        return each


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """All queues that fit, together."""

    queues: int
    waiting: int
    """Queues in which something waits."""
    paused: int
    backlog: int


@dataclass(frozen=True, slots=True)
class QueueList:
    """Some queues, in the order that was asked for."""

    items: list[Queue]
    next: str | None
    """The cursor of the page that follows; a page may end before it is full."""
    counts: QueueCounts | None
    """None where queues are listed by name: then not all of them are looked at."""
    looked_at: int
    """So many handlers were compared for this page."""
    is_whole: bool
    """Whether these were all that there are; by name, the pages together always are."""
    live: str = ""
    """Where it was read: ``/v1/stream?from=`` goes on from there."""


async def find_queues(
    apps: Apps, sees: Sees, search: QueueSearch, order: QueueOrder, by: QueuesBy, *, cursor: str = "", limit: int
) -> QueueList:
    """One page of the queues that fit; raises BadRequest ``bad_cursor``."""
    if by is QueuesBy.HANDLER and order is QueueOrder.NAME:
        return await _by_name(apps, sees, search, cursor, limit)
    handlers, is_whole = await handlers_seen(apps, sees, search.app, limits.QUEUES_READ)
    fitting = await _fitting(apps.space, search, handlers)
    place = _place_of(order, cursor)
    counts = QueueCounts(
        queues=len(fitting),
        waiting=sum(each.backlog > 0 for each in fitting),
        paused=sum(each.paused_ms is not None for each in fitting),
        backlog=sum(each.backlog for each in fitting),
    )
    if by is QueuesBy.HANDLER:
        chosen, after = _page(
            fitting, lambda each: _rank(order, each.backlog, each.since_ms, each.handler), place, limit
        )
        rows = await _rows(apps.space, chosen)
    else:
        groups = list(_grouped(fitting, by).values())
        chosen_groups, after = _page(
            groups, lambda each: _rank(order, each.backlog, each.since_ms, each.name), place, limit
        )
        rows = await _group_rows(apps, sees, by, chosen_groups)
    return QueueList(rows, after, counts, len(handlers), is_whole)


async def _fitting(space: Partitions, search: QueueSearch, handlers: Iterable[str]) -> list[Gauged]:
    gauged = await gauge(space, [each for each in handlers if search.names(each)])
    return [each for each in map(search.fitting, gauged.values()) if each is not None]


async def _rows(space: Partitions, chosen: Sequence[Gauged]) -> list[Queue]:
    return await queue_rows(space, chosen, min(LANES_SHOWN, max(1, PAGE_LANES // max(1, len(chosen)))))


async def queues_of_app(space: Partitions, app: str, limit: int) -> tuple[list[Queue], bool]:
    """The first queues of an app by name, and whether these are all."""
    handlers = await handler_names(space, app, "", limit + 1)
    fitting = await _fitting(space, QueueSearch(), [f"{app}/{name}" for name in handlers[:limit]])
    return await _rows(space, fitting), len(handlers) <= limit


# ---- names -----------------------------------------------------------------------------------------------------------


async def handlers_seen(apps: Apps, sees: Sees, only: str, most: int) -> tuple[list[str], bool]:
    """The handlers of the apps that the caller may see, as many of each app at most, and whether these are all."""
    seen = await apps.seen(sees, only=only)
    some_apps, counts = seen[: limits.SEARCH_APPS], list[int]()
    for first in range(0, len(some_apps), AT_ONCE):
        piece = some_apps[first : first + AT_ONCE]
        counts += await apps.space.read_all([("ZCARD", K.app_handlers(home.prefix, app)) for app, home in piece])
    share = fair_share(counts, most)
    asked = [
        ("ZRANGE", K.app_handlers(partition.prefix, app), 0, share - 1)
        for (app, partition), count in zip(some_apps, counts, strict=True)
        if count and share
    ]
    answers = await apps.space.read_all(asked)
    is_whole = len(seen) == len(some_apps) and all(count <= share for count in counts)
    return [text(name) for answer in answers for name in answer], is_whole


def fair_share(counts: Sequence[int], most: int) -> int:
    """How many of each fit, so that all together are no more than so many; one of each at least."""
    room, left = most, sorted(counts)
    for at, count in enumerate(left):
        if count * (len(left) - at) > room:
            return max(1, room // (len(left) - at))
        room -= count
    return max([1, *counts])


async def _by_name(apps: Apps, sees: Sees, search: QueueSearch, cursor: str, limit: int) -> QueueList:
    if cursor and cursor.count("/") != 2:
        raise bad_cursor(cursor)
    looked_at, chosen, last = 0, list[Gauged](), cursor
    names = _Names(await apps.seen(sees, after=app_of(cursor), only=search.app), cursor)
    while len(chosen) < limit and looked_at < limits.QUEUES_READ:
        handlers = await names.some(min(AT_ONCE, limit + 1))
        if not handlers:
            return QueueList(await _rows(apps.space, chosen), None, None, looked_at, True)
        fitting = await _fitting(apps.space, search, handlers)
        room = limit - len(chosen)
        chosen += fitting[:room]
        last = fitting[room - 1].handler if len(fitting) >= room else handlers[-1]
        looked_at += len(handlers)
    return QueueList(await _rows(apps.space, chosen), last, None, looked_at, True)


@dataclass(slots=True)
class _Names:
    """The handlers of some apps, in order."""

    apps: list[tuple[str, Partition]]
    after: str
    """The handler to go on behind."""

    async def some(self, most: int) -> list[str]:
        """At least one of the next, and at most so many; none when there is none."""
        while self.apps:
            piece = self.apps[:AT_ONCE] if not self.after else self.apps[:1]
            answers = await piece[0][1].space.read_all(
                [
                    ("ZRANGE", K.app_handlers(home.prefix, app), self._begin(app), "+", "BYLEX", "LIMIT", 0, most)
                    for app, home in piece
                ]
            )
            for at, answer in enumerate(answers):
                if answer:
                    self.apps = self.apps[at:]
                    self.after = text(answer[-1])
                    return [text(name) for name in answer]
            self.apps, self.after = self.apps[len(piece) :], ""
        return []

    def _begin(self, app: str) -> str:
        return f"({self.after}" if self.after.startswith(f"{app}/") else "-"


# ---- order -----------------------------------------------------------------------------------------------------------

_Place = tuple[int, str]
T = TypeVar("T")


def _rank(order: QueueOrder, backlog: int, since_ms: int | None, name: str) -> _Place:
    """Where a row stands among all: the number first, then the name."""
    if order is QueueOrder.BACKLOG:
        return -backlog, name
    return (NEVER_MS if since_ms is None else since_ms) if order is QueueOrder.OLDEST else 0, name


def _page(
    rows: Iterable[T], rank: Callable[[T], _Place], after: _Place | None, limit: int
) -> tuple[list[T], str | None]:
    """Those behind a place, and the cursor of the next page."""
    ranked = sorted((row for row in rows if after is None or rank(row) > after), key=rank)
    if len(ranked) <= limit:
        return ranked, None
    number, name = rank(ranked[limit - 1])
    return ranked[:limit], f"{number}~{name}"


def _place_of(order: QueueOrder, cursor: str) -> _Place | None:
    if not cursor:
        return None
    number, tilde, name = cursor.partition("~")
    if not tilde or not number.removeprefix("-").isdecimal() or len(number) > 20:
        raise bad_cursor(cursor)
    return int(number), name


# ---- groups ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Group:
    """Handlers, or those of their lanes with the same labels, together."""

    name: str
    """Of the app or namespace; or labels and attribute."""
    queues: int = 0
    backlog: int = 0
    since_ms: int | None = None
    now_ms: int = 0
    announced_ms: int = 0
    paused_ms: int | None = None
    lane_count: int = 0

    def add(self, each: Gauged, backlog: int, since_ms: int | None, lanes: int) -> None:
        self.queues += 1
        self.backlog += backlog
        self.lane_count += lanes
        self.now_ms = max(self.now_ms, each.now_ms)
        self.announced_ms = max(self.announced_ms, each.announced_ms if each.is_known else 0)
        self.since_ms = _earlier(self.since_ms, since_ms)
        self.paused_ms = _earlier(self.paused_ms, each.paused_ms)


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _grouped(fitting: Iterable[Gauged], by: QueuesBy) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for each in fitting:
        if by is QueuesBy.LABEL:
            for lane in each.lanes:
                name = f"{lane.labels}\x1f{lane.attribute}"
                groups.setdefault(name, _Group(name)).add(each, lane.backlog, lane.since_ms, 1)
            continue
        name = app_of(each.handler) if by is QueuesBy.APP else namespace_of(each.handler)
        groups.setdefault(name, _Group(name)).add(each, each.backlog, each.since_ms, each.lane_count)
    return groups


async def _group_rows(apps: Apps, sees: Sees, by: QueuesBy, groups: Sequence[_Group]) -> list[Queue]:
    """Groups with the rates and workers of their apps."""
    if by is QueuesBy.LABEL or not groups:
        return [_group_row(by, group, None, None) for group in groups]
    names = {group.name for group in groups}
    seen = [
        (app, home)
        for app, home in await apps.seen(sees)
        if (app if by is QueuesBy.APP else namespace_of(app)) in names
    ][: limits.SEARCH_APPS]
    now_ms = max(group.now_ms for group in groups)
    flow, workers = await asyncio.gather(
        flows(apps.space, [app for app, _home in seen], now_ms),
        apps.space.read_all([("SCARD", K.sessions(home.prefix, app)) for app, home in seen]),
    )
    sums = {group.name: (Flow(over_ms=1), 0) for group in groups}
    for (app, _home), connected in zip(seen, workers, strict=True):
        name = app if by is QueuesBy.APP else namespace_of(app)
        own, count = sums[name]
        joined = Flow(own.came + flow[app].came, own.went + flow[app].went, over_ms=flow[app].over_ms)
        sums[name] = joined, count + connected
    return [_group_row(by, group, *sums[group.name]) for group in groups]


def _group_row(by: QueuesBy, group: _Group, flow: Flow | None, workers: int | None) -> Queue:
    labels, _, require = group.name.partition("\x1f") if by is QueuesBy.LABEL else ("", "", "")
    namespace, _, app = group.name.partition("/") if by is not QueuesBy.LABEL else ("", "", "")
    return Queue(
        namespace=namespace,
        app=app,
        handler="",
        labels=pairs(labels),
        require=require,
        queues=group.queues,
        announced_ms=group.announced_ms or None,
        paused_ms=group.paused_ms,
        backlog=group.backlog,
        oldest_ms=None if group.since_ms is None else max(0, group.now_ms - group.since_ms),
        in_per_s=flow.in_per_s if flow else None,
        out_per_s=flow.out_per_s if flow else None,
        workers=workers,
        seats=None,
        free_seats=None,
        wanted_workers=None,
        is_estimated=False,
        why=None,
        lane_count=group.lane_count,
        lanes=[],
    )
