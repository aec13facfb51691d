"""Queues and workers: what waits for each handler, and who could take it."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import NotFound
from gojob_redis.domain.score import PRIORITY_STEP
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.pages import Page, names_after, names_near
from gojob_redis.view.records import (
    Clock,
    clock_of,
    fields_of,
    home,
    homes_of,
    number,
    opaque,
    pairs,
    rounded,
    scored,
    some,
    text,
)
from gojob_redis.view.why import SESSIONS_LOOKED_AT, SessionFacts, session_facts

_SESSION: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
PAGE_LANES: Final = 500
"""A page of handlers ends before their lanes exceed this number."""
PAGE_HANDLERS: Final = 5_000
"""A page of workers ends when their announced handlers exceed this number."""
GROUPS_AT_ONCE: Final = 8
"""Groups read in one round trip: one may announce 1,024 handlers."""


@dataclass(frozen=True, slots=True)
class QueueLane:
    """The tasks of a handler that require the same labels and attribute."""

    lane: str
    labels: dict[str, str]
    require: str
    depth: int
    oldest_ms: int | None
    """How long the next one in turn has been ready."""
    workers: int
    """Connected sessions that could take from it; of a larger app, those among 500 that were looked at."""
    free_seats: int


@dataclass(frozen=True, slots=True)
class Queue:
    """A handler, what waits for it, and who serves it."""

    handler: str
    announced_ms: int | None
    """When a worker last announced it; None: never, or not in 30 days."""
    paused_ms: int | None
    depth: int
    oldest_ms: int | None
    workers: int
    seats: int
    free_seats: int
    """Seats are a worker's, not a handler's: handlers of one worker share them."""
    lanes: list[QueueLane]


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
    state: str
    """Why the session takes no work; "" if it does."""
    drained_ms: int | None
    """Since when it takes nothing new because somebody said so; None: nobody did."""
    gateway: str
    key_id: str
    since_ms: int


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


async def queues(space: Partitions, app: str, *, cursor: str = "", limit: int = limits.PAGE_ITEMS) -> Page[Queue]:
    """The known handlers of an app by name; the cursor is the last name. Those with many lanes come in short pages."""
    partition = await home(space, app)
    if partition is None:
        return Page([], None)
    prefix = partition.prefix
    after = f"{app}/{cursor}" if cursor else ""
    listed = await names_after(partition, K.app_handlers(prefix, app), after, limit + 1)
    handlers, more = listed[:limit], len(listed) > limit
    if not handlers:
        return Page([], None)
    counts = await partition.read([("HLEN", K.lanes(prefix, handler)) for handler in handlers])
    served = await _served(partition, app)
    total = 0
    for at, count in enumerate(counts):
        total += count + len(served.labels)
        if at and total > PAGE_LANES:
            handlers, more = handlers[:at], True
            break
    page = await _queues(partition, handlers, served)
    return Page([each for each in page if each.announced_ms is not None], name_of(handlers[-1]) if more else None)


async def handler_names(space: Partitions, app: str, after: str, limit: int) -> list[str]:
    """Names of the known handlers of an app after one, in order."""
    partition = await home(space, app)
    if partition is None:
        return []
    key = K.app_handlers(partition.prefix, app)
    return [name_of(each) for each in await names_after(partition, key, f"{app}/{after}" if after else "", limit)]


async def queue(space: Partitions, handler: str) -> Queue:
    """One handler, known or not."""
    app = app_of(handler)
    partition = await home(space, app)
    if partition is None:
        return Queue(name_of(handler), None, None, 0, None, 0, 0, 0, [])
    return (await _queues(partition, [handler], await _served(partition, app)))[0]


@dataclass(frozen=True, slots=True)
class _Served:
    """Sessions of an app, by group; and the labels that these groups have."""

    by_group: dict[str, list[SessionFacts]]
    labels: list[str]


async def _served(partition: Partition, app: str) -> _Served:
    prefix = partition.prefix
    [sessions] = await partition.read([("SRANDMEMBER", K.sessions(prefix, app), SESSIONS_LOOKED_AT)])
    by_group: dict[str, list[SessionFacts]] = {}
    for session in await session_facts(partition, (session.decode() for session in sessions)):
        by_group.setdefault(session.group, []).append(session)
    labels = await partition.read([("HGET", K.group(prefix, group), "labels") for group in by_group])
    return _Served(by_group, sorted({text(own) for own in labels}))


async def _queues(partition: Partition, handlers: Sequence[str], served: _Served) -> list[Queue]:
    prefix = partition.prefix
    clock = await clock_of(partition)
    since = clock.wall - limits.HANDLER_KNOWN_MS
    commands: list[tuple[str | int, ...]] = [("ZMSCORE", K.handlers(prefix), *handlers)]
    for handler in handlers:
        commands += [("HGETALL", K.lanes(prefix, handler)), ("HGET", K.handler(prefix, handler), "paused")]
        commands += [("SMEMBERS", K.groups_of(prefix, handler, labels)) for labels in served.labels]
    announced, *answers = await partition.read(commands)
    step = 2 + len(served.labels)
    rows = [answers[step * at : step * (at + 1)] for at in range(len(handlers))]
    lanes = [_lanes(row[0]) for row in rows]
    heads = await _heads(partition, [lane for own in lanes for lane, _labels, _require in own])
    queues = []
    for handler, row, own, at in zip(handlers, rows, lanes, announced, strict=True):
        serving = {
            labels: [session for group in groups for session in served.by_group.get(group.decode(), ())]
            for labels, groups in zip(served.labels, row[2:], strict=True)
        }
        known_ms = rounded(at)
        queues.append(
            _queue(handler, known_ms if (known_ms or 0) >= since else None, some(row[1]), own, serving, heads, clock)
        )
    return queues


def _queue(
    handler: str,
    announced_ms: int | None,
    paused_ms: int | None,
    lanes: Sequence[tuple[str, str, str]],
    serving: Mapping[str, Sequence[SessionFacts]],
    heads: Mapping[str, tuple[int, int | None]],
    clock: Clock,
) -> Queue:
    rows = []
    for lane, labels, require in lanes:
        able = [each for each in serving.get(labels, ()) if not require or require in each.attributes]
        depth, head = heads[lane]
        age = None if head is None else max(0, clock.wall - head)
        rows.append(QueueLane(lane, pairs(labels), require, depth, age, len(able), _free(able)))
    ages = [row.oldest_ms for row in rows if row.oldest_ms is not None]
    sessions = [session for group in serving.values() for session in group]
    return Queue(
        handler=name_of(handler),
        announced_ms=announced_ms,
        paused_ms=paused_ms,
        depth=sum(row.depth for row in rows),
        oldest_ms=max(ages, default=None),
        workers=len(sessions),
        seats=sum(session.capacity for session in sessions),
        free_seats=_free(sessions),
        lanes=rows,
    )


async def depths(space: Partitions, handlers: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many tasks wait for each handler, and how long, in ms, the next in turn has waited."""
    homes = await homes_of(space, handlers)
    waiting = {}
    for depth in await asyncio.gather(*(_depths(space[place], own) for place, own in homes.items())):
        waiting.update(depth)
    return waiting


async def _depths(partition: Partition, handlers: Sequence[str]) -> dict[str, tuple[int, int]]:
    clock = await clock_of(partition)
    answers = await partition.read([("HGETALL", K.lanes(partition.prefix, handler)) for handler in handlers])
    lanes = [[lane for lane, _labels, _require in _lanes(answer)] for answer in answers]
    heads = await _heads(partition, [lane for each in lanes for lane in each])
    waiting = {}
    for handler, own in zip(handlers, lanes, strict=True):
        since = [head for _depth, head in map(heads.__getitem__, own) if head is not None]
        oldest_ms = max(0, clock.wall - min(since)) if since else 0
        waiting[handler] = sum(heads[lane][0] for lane in own), oldest_ms
    return waiting


def _free(sessions: Iterable[SessionFacts]) -> int:
    return sum(max(0, session.capacity - session.taken) for session in sessions if not session.off)


def _lanes(answer: Any) -> list[tuple[str, str, str]]:
    """Id, labels and attribute of each lane, oldest first; an entry that is no lane id is skipped."""
    rows = []
    for name, lane in answer.items():
        labels, _, require = text(name).partition("\x1f")
        if lane.isdigit():
            rows.append((lane.decode(), labels, require))
    return sorted(rows, key=lambda row: int(row[0]))


async def _heads(partition: Partition, lanes: Sequence[str]) -> dict[str, tuple[int, int | None]]:
    """Depth of each lane, and since when (wall ms) the next in turn has been ready."""
    prefix = partition.prefix
    commands: list[tuple[str | int, ...]] = []
    for lane in lanes:
        commands += [
            ("ZCARD", K.activeq(prefix, lane)),
            ("ZRANGE", K.activeq(prefix, lane), 0, 0, "WITHSCORES"),
        ]
    answers = await partition.read(commands)
    heads = {}
    for at, lane in enumerate(lanes):
        head = scored(answers[2 * at + 1])
        heads[lane] = int(answers[2 * at]), head[0][1] % PRIORITY_STEP if head else None
    return heads


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
        state=text(fields.get("off")) or ("drained" if "drained" in fields else ""),
        drained_ms=some(fields.get("drained")),
        gateway=text(fields.get("gateway")),
        key_id=text(fields.get("holder")),
        since_ms=number(fields.get("since")),
    )
