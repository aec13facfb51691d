"""Queues and workers: what waits for each handler, and who could take it."""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import NotFound
from gojob_redis.domain.states import WorkerState
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.flow import Flow, durations, flows
from gojob_redis.view.gauge import Gauged, GaugedLane, gauge, partitions_of
from gojob_redis.view.pages import Page, names_after, names_near
from gojob_redis.view.records import fields_of, home, number, opaque, pairs, some, text
from gojob_redis.view.survey import Asked, Group, Served, survey
from gojob_redis.view.why import Reason, why_lane

_SESSION: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
PAGE_HANDLERS: Final = 5_000
"""A page of workers ends when their announced handlers exceed this number."""
LOAD_WORDS: Final = 3
GROUPS_AT_ONCE: Final = 8
"""Groups read in one round trip: one may announce 1,024 handlers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLane:
    """The tasks of a handler that require the same labels and attribute."""

    lane: str
    labels: dict[str, str]
    require: str
    backlog: int
    oldest_ms: int | None
    """How long the next one in turn has been ready."""
    workers: int
    """Connected sessions that could take from it; where an attribute is required, as seen from some of them."""
    free_seats: int
    why: Reason | None
    """Why the next one in turn is not running; None where nothing waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits for a handler, or for several together, and who serves it. Names of what a group has not in common
    are empty."""

    namespace: str
    app: str
    handler: str
    labels: dict[str, str]
    """Of a group by label."""
    require: str
    """The same: the attribute."""
    queues: int
    """How many handlers it stands for."""
    announced_ms: int | None
    """When a worker last announced it; None: never, or not in 30 days."""
    paused_ms: int | None
    """Since when nothing is given to workers; of a group, of the handler that was paused first."""
    backlog: int
    """Tasks, or shards of them, that could begin now."""
    oldest_ms: int | None
    """How long the next one in turn has been ready."""
    in_per_s: float | None
    """Tasks submitted and fired, of the last ten minutes; None of a group by label."""
    out_per_s: float | None
    """Tasks that ended."""
    workers: int | None
    """Connected sessions that serve it; None of a group by label."""
    seats: int | None
    """Seats are a worker's, not a handler's: handlers of one worker share them. None of a group."""
    free_seats: int | None
    wanted_workers: int | None
    """So many would end the backlog within a minute."""
    is_estimated: bool
    """Whether seats are estimated from those of some of the workers."""
    why: Reason | None
    """Why the next one in turn is not running; None where nothing waits, and of a group."""
    lane_count: int
    lanes: list[QueueLane]
    """In a list, the ten with the most backlog."""


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What the process of a worker took by its last heartbeat; null for what its SDK does not tell."""

    cpu_percent: int | None
    """100 is one processor."""
    memory_bytes: int | None
    """In steps of a MiB."""
    lag_ms: int | None
    """The longest time for which the loop of its handlers stood still, in steps of 10 ms."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A connected session."""

    namespace: str
    app: str
    session: str
    name: str
    host: str
    facts: Any
    """What it tells about itself: pid, SDK."""
    labels: dict[str, str]
    attributes: list[str]
    handlers: list[str]
    capacity: int
    taken: int
    state: WorkerState
    drained_ms: int | None
    """Since when it takes nothing new because somebody said so; None: nobody did."""
    gateway: str
    key_id: str
    since_ms: int
    load: WorkerLoad | None
    """None: it did not say, or not yet."""


@dataclass(frozen=True, slots=True)
class Seating:
    """Workers together."""

    workers: int
    seats: int
    taken: int
    is_whole: bool


async def handlers_near(space: Partitions, handler: str) -> list[str]:
    """Names of the app's handlers that stand next to this one in order, at most 200."""
    app = app_of(handler)
    partition = await home(space, app)
    if partition is None:
        return []
    near = await names_near(partition, K.app_handlers(partition.prefix, app), handler)
    return [name_of(name) for name in near]


async def handler_names(space: Partitions, app: str, after: str, limit: int) -> list[str]:
    """Names of the known handlers of an app after one, in order."""
    partition = await home(space, app)
    if partition is None:
        return []
    key = K.app_handlers(partition.prefix, app)
    return [name_of(each) for each in await names_after(partition, key, f"{app}/{after}" if after else "", limit)]


async def queue(space: Partitions, handler: str) -> Queue:
    """One handler, known or not, with all its lanes."""
    gauged = await gauge(space, [handler], idle=True)
    if not gauged:
        return _nothing(handler)
    [row] = await queue_rows(space, list(gauged.values()))
    return row


def _nothing(handler: str) -> Queue:
    return row_of(Gauged(handler, 0, 0, None, 0), {}, Flow(), None)


async def queue_rows(space: Partitions, gauged: Sequence[Gauged], lanes: int | None = None) -> list[Queue]:
    """Handlers with all that is told of them.

    lanes: so many of their lanes, those with the most backlog; all unless set.
    """
    handlers = [each.handler for each in gauged]
    now_ms = max((each.now_ms for each in gauged), default=0)
    served, flow = await asyncio.gather(_surveyed(space, gauged), flows(space, handlers, now_ms))
    unknown = [handler for handler in handlers if flow[handler].duration_ms is None]
    ever = await durations(space, unknown) if unknown else {}
    rows = []
    for each in gauged:
        own = flow[each.handler]
        rows.append(row_of(each, served, own, own.duration_ms or ever.get(each.handler), lanes))
    return rows


async def _surveyed(space: Partitions, gauged: Sequence[Gauged]) -> Mapping[Asked, Served]:
    homes = await partitions_of(space, [each.handler for each in gauged])
    by_partition: dict[Partition, list[Asked]] = {}
    for each in gauged:
        by_partition.setdefault(homes[app_of(each.handler)], []).extend(each.asked())
    surveys = await asyncio.gather(*(survey(partition, asked) for partition, asked in by_partition.items()))
    return {asked: served for own in surveys for asked, served in own.items()}


def row_of(
    each: Gauged, served: Mapping[Asked, Served], flow: Flow, duration_ms: float | None, lanes: int | None = None
) -> Queue:
    """A handler as a row."""
    groups = {group.id: group for asked in each.asked() for group in served.get(asked, Served()).serving}.values()
    rows = [
        _lane(each, lane, served.get(Asked(each.handler, lane.labels, lane.attribute), Served())) for lane in each.lanes
    ]
    shown = rows if lanes is None else sorted(rows, key=lambda row: -row.backlog)[:lanes]
    head = max((row for row in rows if row.why), key=lambda row: row.oldest_ms or 0, default=None)
    namespace, app, handler = each.handler.split("/")
    workers, seats = sum(group.sessions for group in groups), sum(group.whole(group.seats) for group in groups)
    return Queue(
        namespace=namespace,
        app=app,
        handler=handler,
        labels={},
        require="",
        queues=1,
        announced_ms=each.announced_ms if each.is_known else None,
        paused_ms=each.paused_ms,
        backlog=each.backlog,
        oldest_ms=each.oldest_ms,
        in_per_s=flow.in_per_s,
        out_per_s=flow.out_per_s,
        workers=workers,
        seats=seats,
        free_seats=sum(group.whole(group.free_seats) for group in groups),
        wanted_workers=0
        if each.paused_ms
        else wanted_workers(wanted_seats(each.backlog, flow.in_per_s, duration_ms, limits.MINUTE_MS), workers, seats),
        is_estimated=any(group.read < group.sessions for group in groups),
        why=head.why if head else None,
        lane_count=each.lane_count,
        lanes=shown,
    )


def _lane(each: Gauged, lane: GaugedLane, served: Served) -> QueueLane:
    asked = Asked(each.handler, lane.labels, lane.attribute)
    able = [(group, _share(group, lane.attribute)) for group in served.fitting]
    return QueueLane(
        lane=lane.id,
        labels=pairs(lane.labels),
        require=lane.attribute,
        backlog=lane.backlog,
        oldest_ms=None if lane.since_ms is None else max(0, each.now_ms - lane.since_ms),
        workers=sum(round(group.sessions * share) for group, share in able),
        free_seats=sum(round(group.whole(group.free_seats) * share) for group, share in able),
        why=why_lane(asked, served, each.paused_ms or 0) if lane.backlog else None,
    )


def _share(group: Group, attribute: str) -> float:
    """Which part of a group offers what a lane requires, by those of it that were read."""
    return group.offers.get(attribute, 0) / max(1, group.read) if attribute else 1.0


def wanted_seats(backlog: int, in_per_s: float, duration_ms: float | None, within_ms: int) -> float:
    """Little's law for what comes in, and the backlog's work spread over the time; one task wants one seat at least."""
    if duration_ms is None:
        return float(backlog > 0)
    seats = in_per_s * duration_ms / 1000 + backlog * duration_ms / within_ms
    return max(seats, 1.0) if backlog else seats


def wanted_workers(seats_in_use: float, workers: int, seats: int) -> int:
    """Seats in workers that have as many as those that are connected have; with one if none is."""
    return math.ceil(seats_in_use * workers / seats) if seats else math.ceil(seats_in_use)


async def _groups(partition: Partition, groups: Sequence[str]) -> dict[str, tuple[frozenset[str], str]]:
    """Handlers and labels of the first of these groups: all, or as many as together fill a page."""
    prefix = partition.prefix
    by_group: dict[str, tuple[frozenset[str], str]] = {}
    total = 0
    for first in range(0, len(groups), GROUPS_AT_ONCE):
        some_groups = groups[first : first + GROUPS_AT_ONCE]
        commands = [("HMGET", K.group(prefix, group), "handlers", "labels") for group in some_groups]
        for group, (handlers, labels) in zip(some_groups, await partition.read(commands), strict=True):
            by_group[group] = frozenset(text(handlers).split()), text(labels)
            total += len(by_group[group][0])
        if total > PAGE_HANDLERS:
            break
    return by_group


async def worker(space: Partitions, app: str, session: str) -> Worker:
    """One connected session of an app; raises NotFound ``unknown_worker``."""
    partition = await home(space, app)
    if partition is not None and _SESSION.fullmatch(session):
        prefix = partition.prefix
        record, taken = await partition.read(
            [("HGETALL", K.session(prefix, session)), ("SCARD", K.held(prefix, session))]
        )
        fields = fields_of(record)
        if text(fields.get("app")) == app:
            group = text(fields.get("group"))
            return _worker(session, fields, int(taken), *(await _groups(partition, [group]))[group])
    raise unknown_worker(session)


async def seating(space: Partitions, apps: Sequence[tuple[str, Partition]], most: int) -> Seating:
    """How many workers and seats these apps have together; at most so many workers are looked at."""
    members = await space.read_all([("SMEMBERS", K.sessions(partition.prefix, app)) for app, partition in apps])
    sessions: dict[Partition, list[str]] = {}
    left = most
    for (_app, partition), own in zip(apps, members, strict=True):
        sessions.setdefault(partition, []).extend(text(session) for session in sorted(own)[:left])
        left = max(0, left - len(own))
    several = await asyncio.gather(*(seats_of(partition, own) for partition, own in sessions.items()))
    there = [each for seats in several for each in seats if each.word == "ok"]
    return Seating(
        workers=len(there),
        seats=sum(each.capacity for each in there),
        taken=sum(each.taken for each in there),
        is_whole=sum(map(len, members)) <= most,
    )


async def seats_of(partition: Partition, sessions: Sequence[str]) -> list[verbs.Seats]:
    """The seats of each of these sessions, in their order."""
    firsts = range(0, len(sessions), limits.BATCH_ITEMS)
    some = ([verbs.Seated(session) for session in sessions[first : first + limits.BATCH_ITEMS]] for first in firsts)
    replies = await asyncio.gather(*(partition.call(verbs.seats(items), within_s=ANSWER_S) for items in some))
    return [each for reply in replies for each in reply.each]


def unknown_worker(session: str) -> NotFound:
    return NotFound(
        "unknown_worker",
        f"No worker is connected as session {session[:80]!r}.",
        field="session",
        hint="List the workers: a worker that connects anew may have another session.",
    )


async def workers(space: Partitions, app: str, *, cursor: str = "", limit: int = limits.PAGE_ITEMS) -> Page[Worker]:
    """The connected sessions of an app by id; the cursor is the last id. Pages may be short."""
    partition = await home(space, app)
    if partition is None:
        return Page([], None)
    prefix = partition.prefix
    [members] = await partition.read([("SMEMBERS", K.sessions(prefix, app))])
    ids = sorted(member.decode() for member in members if member.decode() > cursor)
    page_ids = ids[:limit]
    commands: list[tuple[str | int, ...]] = []
    for session in page_ids:
        commands += [("HGETALL", K.session(prefix, session)), ("SCARD", K.held(prefix, session))]
    answers = await partition.read(commands)
    records = [(fields_of(answers[2 * at]), int(answers[2 * at + 1])) for at in range(len(page_ids))]
    named = dict.fromkeys(text(fields.get("group")) for fields, _taken in records if fields)
    groups = await _groups(partition, list(named))
    workers: list[Worker] = []
    shown, last, more = 0, "", len(ids) > len(page_ids)
    for session, (fields, taken) in zip(page_ids, records, strict=True):
        group = groups.get(text(fields.get("group")))
        if fields and (group is None or shown > PAGE_HANDLERS):
            more = True
            break
        if fields and group is not None:
            workers.append(_worker(session, fields, taken, *group))
            shown += len(group[0])
        last = session
    return Page(workers, last if more else None)


def _worker(session: str, fields: dict[str, bytes], taken: int, handlers: frozenset[str], labels: str) -> Worker:
    facts = opaque(fields.get("facts"))
    host = facts.get("host", "") if isinstance(facts, dict) else ""
    namespace, _, app = text(fields.get("app")).partition("/")
    return Worker(
        namespace=namespace,
        app=app,
        session=session,
        name=text(fields.get("name")),
        host=str(host),
        facts=facts,
        labels=pairs(labels),
        attributes=text(fields.get("attributes")).split(",") if fields.get("attributes") else [],
        handlers=sorted(name_of(handler) for handler in handlers),
        capacity=number(fields.get("capacity")),
        taken=taken,
        state=WorkerState.of(text(fields.get("off")), "drained" in fields),
        drained_ms=some(fields.get("drained")),
        gateway=text(fields.get("gateway")),
        key_id=text(fields.get("holder")),
        since_ms=number(fields.get("since")),
        load=_load(text(fields.get("load"))),
    )


def _load(stored: str) -> WorkerLoad | None:
    """As ``connections/session.py`` writes it."""
    words = [int(word) if word.isdigit() else None for word in stored.split(" ")]
    if len(words) != LOAD_WORDS:
        return None
    cpu_percent, memory_mib, lag_ms = words
    return WorkerLoad(cpu_percent, None if memory_mib is None else memory_mib << 20, lag_ms)
