"""Queues and workers: what waits for each handler, and who could take it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gojob_redis import limits
from gojob_redis.keys import K
from gojob_redis.partitions import Partitions
from gojob_redis.view.pages import Page
from gojob_redis.view.records import (
    SCORE_STEP,
    clock_of,
    fields_of,
    home,
    number,
    opaque,
    pairs,
    scored,
    short,
    some,
    text,
)
from gojob_redis.view.why import SessionFacts, session_facts


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
    """Connected sessions that could take from it."""
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
    """"" takes work; else why not."""
    gateway: str
    key_id: str
    since_ms: int


async def known_handlers(space: Partitions, partition: int, app: str) -> dict[str, int]:
    """Handlers of an app that were announced in the last 30 days, with when."""
    clock = await clock_of(space, partition)
    since = clock.wall - limits.HANDLER_KNOWN_MS
    key = K.handlers(space.prefixes[partition])
    [answer] = await space.read(partition, [("ZRANGE", key, since, "+inf", "BYSCORE", "WITHSCORES")])
    return {handler: at for handler, at in scored(answer) if handler.startswith(f"{app}/")}


async def queues(space: Partitions, app: str, *, cursor: str = "", limit: int = limits.PAGE_ITEMS) -> Page[Queue]:
    """The known handlers of an app by name; the cursor is the last name."""
    partition = await home(space, app)
    if partition is None:
        return Page([], None)
    known = await known_handlers(space, partition, app)
    names = sorted(handler for handler in known if short(handler) > cursor)
    wanted = names[:limit]
    found = await _queues(space, partition, app, wanted, known)
    return Page(found, short(wanted[-1]) if len(names) > len(wanted) else None)


async def queue(space: Partitions, handler: str) -> Queue:
    """One handler, known or not."""
    app = handler.rpartition("/")[0]
    partition = await home(space, app)
    if partition is None:
        return Queue(short(handler), None, None, 0, None, 0, 0, 0, [])
    known = await known_handlers(space, partition, app)
    return (await _queues(space, partition, app, [handler], known))[0]


async def _queues(
    space: Partitions, partition: int, app: str, handlers: Sequence[str], known: dict[str, int]
) -> list[Queue]:
    prefix = space.prefixes[partition]
    commands: list[tuple[str | int, ...]] = [("SMEMBERS", K.sessions(prefix, app))]
    for handler in handlers:
        commands += [("HGETALL", K.lanes(prefix, handler)), ("HGET", K.handler(prefix, handler), "paused")]
    sessions, *answers = await space.read(partition, commands)
    live = await session_facts(space, partition, (session.decode() for session in sessions))
    crews = await _crews(space, partition, {session.crew for session in live})
    clock = await clock_of(space, partition)
    lanes = {handler: _lanes(answers[2 * at]) for at, handler in enumerate(handlers)}
    heads = await _heads(space, partition, [lane for found in lanes.values() for lane, _labels, _require in found])
    found = []
    for at, handler in enumerate(handlers):
        serving = [session for session in live if handler in crews.get(session.crew, ((), ""))[0]]
        rows = []
        for lane, labels, require in lanes[handler]:
            able = [
                session
                for session in serving
                if crews[session.crew][1] == labels and (not require or require in session.attributes)
            ]
            depth, head = heads[lane]
            age = None if head is None else max(0, clock.wall - head)
            rows.append(QueueLane(lane, pairs(labels), require, depth, age, len(able), _free(able)))
        ages = [row.oldest_ms for row in rows if row.oldest_ms is not None]
        found.append(
            Queue(
                short(handler),
                known.get(handler),
                some(answers[2 * at + 1]),
                sum(row.depth for row in rows),
                max(ages, default=None),
                len(serving),
                sum(session.capacity for session in serving),
                _free(serving),
                rows,
            )
        )
    return found


def _free(sessions: Iterable[SessionFacts]) -> int:
    return sum(max(0, session.capacity - session.taken) for session in sessions if not session.off)


def _lanes(answer: Any) -> list[tuple[str, str, str]]:
    """Id, labels and attribute of each lane, oldest first; what is no lane's number is passed over."""
    found = []
    for name, lane in answer.items():
        labels, _, require = text(name).partition("\x1f")
        if lane.isdigit():
            found.append((lane.decode(), labels, require))
    return sorted(found, key=lambda row: int(row[0]))


async def _heads(space: Partitions, partition: int, lanes: Sequence[str]) -> dict[str, tuple[int, int | None]]:
    """Depth of each lane, and since when (wall ms) the next in turn has been ready."""
    prefix = space.prefixes[partition]
    commands: list[tuple[str | int, ...]] = []
    for lane in lanes:
        commands += [
            ("ZCARD", K.activeq(prefix, lane)),
            ("ZRANGE", K.activeq(prefix, lane), 0, 0, "WITHSCORES"),
        ]
    answers = await space.read(partition, commands)
    found = {}
    for at, lane in enumerate(lanes):
        head = scored(answers[2 * at + 1])
        found[lane] = int(answers[2 * at]), head[0][1] % SCORE_STEP if head else None
    return found


async def _crews(space: Partitions, partition: int, crews: Iterable[str]) -> dict[str, tuple[frozenset[str], str]]:
    """Handlers and labels of each crew."""
    prefix, wanted = space.prefixes[partition], sorted(crews)
    answers = await space.read(partition, [("HMGET", K.crew(prefix, crew), "handlers", "labels") for crew in wanted])
    return {
        crew: (frozenset(text(handlers).split()), text(labels))
        for crew, (handlers, labels) in zip(wanted, answers, strict=True)
    }


async def workers(space: Partitions, app: str, *, cursor: str = "", limit: int = limits.PAGE_ITEMS) -> Page[Worker]:
    """The connected sessions of an app by id; the cursor is the last id."""
    partition = await home(space, app)
    if partition is None:
        return Page([], None)
    prefix = space.prefixes[partition]
    [members] = await space.read(partition, [("SMEMBERS", K.sessions(prefix, app))])
    ids = sorted(member.decode() for member in members if member.decode() > cursor)
    wanted = ids[:limit]
    commands: list[tuple[str | int, ...]] = []
    for session in wanted:
        commands += [("HGETALL", K.session(prefix, session)), ("SCARD", K.held(prefix, session))]
    answers = await space.read(partition, commands)
    records = [(fields_of(answers[2 * at]), int(answers[2 * at + 1])) for at in range(len(wanted))]
    crews = await _crews(space, partition, {text(fields.get("crew")) for fields, _taken in records if fields})
    found = [
        _worker(session, fields, taken, *crews[text(fields.get("crew"))])
        for session, (fields, taken) in zip(wanted, records, strict=True)
        if fields
    ]
    return Page(found, wanted[-1] if len(ids) > len(wanted) else None)


def _worker(session: str, fields: dict[str, bytes], taken: int, handlers: frozenset[str], labels: str) -> Worker:
    facts = opaque(fields.get("facts"))
    host = facts.get("host", "") if isinstance(facts, dict) else ""
    return Worker(
        session=session,
        name=text(fields.get("name")),
        host=str(host),
        facts=facts,
        labels=pairs(labels),
        attributes=text(fields.get("attributes")).split(",") if fields.get("attributes") else [],
        handlers=sorted(short(handler) for handler in handlers),
        capacity=number(fields.get("capacity")),
        taken=taken,
        state=text(fields.get("off")),
        gateway=text(fields.get("gateway")),
        key_id=text(fields.get("holder")),
        since_ms=number(fields.get("since")),
    )
