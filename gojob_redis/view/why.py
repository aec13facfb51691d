"""Why a task is not running, in one line that says what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.view.records import Clock, Fields, joined, number, scored, text

SESSIONS_LOOKED_AT = 500
"""Sessions of an app that are looked at; of more, so many are drawn at random."""

OFF = {
    "": "its gateway is silent",
    "silent": "its gateway is silent",
    "ending": "it is leaving",
    "released": "it handed work back",
    "unaccepted": "it did not accept its last task in time",
    "reserved": "it will run a task that lost two workers, alone, once what it has is done",
    "solo": "it runs a task that lost two workers, alone",
    "drained": "it was drained; resume it to go on",
}
"""Why a session gets no runs, by the word in its record."""


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """What a lane stands for; all empty when it is gone."""

    id: str
    handler: str = ""
    labels: str = ""
    attribute: str = ""
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A session as far as matching looks at it."""

    id: str
    name: str
    group: str
    attributes: frozenset[str]
    capacity: int
    taken: int
    off: str
    gateway: str


async def lane_facts(partition: Partition, lane: str) -> LaneFacts:
    """Read what a lane stands for."""
    names = ("handler", "labels", "attribute", "blocked")
    [facts] = await partition.read([("HMGET", K.lane(partition.prefix, lane), *names)])
    return LaneFacts(lane, *map(text, facts))


async def session_facts(partition: Partition, sessions: Iterable[str]) -> list[SessionFacts]:
    """Read sessions and their taken seats; those that are over are left out."""
    prefix, session_ids = partition.prefix, list(sessions)
    names = ("name", "group", "attributes", "capacity", "off", "gateway", "drained")
    commands: list[tuple[str | int, ...]] = []
    for session in session_ids:
        commands += [("HMGET", K.session(prefix, session), *names), ("SCARD", K.held(prefix, session))]
    answers = await partition.read(commands)
    facts = []
    for at, session in enumerate(session_ids):
        name, group, attributes, capacity, off, gateway, drained = answers[2 * at]
        if group is not None:
            facts.append(
                SessionFacts(
                    session,
                    text(name),
                    text(group),
                    frozenset(text(attributes).split(",")) - {""},
                    number(capacity),
                    int(answers[2 * at + 1]),
                    text(off) or ("drained" if drained else ""),
                    text(gateway),
                )
            )
    return facts


async def why_not_running(partition: Partition, task: str, fields: Fields, lane: LaneFacts, clock: Clock) -> str:
    """One line; empty when it is running or over."""
    state, place = text(fields.get("state")), text(fields.get("place"))
    if state == "waiting_to_run" and "shards" not in fields:
        return f"Worker {text(fields.get('worker'))!r} was given it and has not begun yet."
    if state == "created" and place == "due":
        at = number(fields.get("at"))
        return f"It is delayed until {moment(at)}, in {span(at - clock.wall)}."
    if state == "created" and place == "timer":
        return await _why_timer(partition, task, fields, lane, clock)
    if place == "lane":  # of a sharded task, the shards that no worker has yet
        return await _why_lane(partition, task, lane, clock)
    return ""


async def _why_timer(partition: Partition, task: str, fields: Fields, lane: LaneFacts, clock: Clock) -> str:
    if number(fields.get("lost")) >= limits.LOSSES - 1:
        return "Two workers were lost with it, so it waits for one that is doing nothing else."
    [score] = await partition.read([("ZSCORE", K.deadlineq(partition.prefix, lane.handler), task)])
    at = clock.wall_of(int(float(score))) if score is not None else clock.wall
    tries, retries = number(fields.get("tries")), number(fields.get("retries"))
    why, left = text(fields.get("reason")), span(at - clock.wall)
    return f"It failed ({why}); retry {tries} of {retries} is at {moment(at)}, in {left}."


async def _why_lane(partition: Partition, task: str, lane: LaneFacts, clock: Clock) -> str:
    prefix, name = partition.prefix, name_of(lane.handler)
    if lane.blocked == "paused":
        [since] = await partition.read([("HGET", K.handler(prefix, lane.handler), "paused")])
        return f"Handler {name} is paused since {moment(number(since))}; resume it to go on."
    if lane.blocked:
        return f"Its queue is blocked: {lane.blocked}."
    groups, sessions, rank = await partition.read(
        [
            ("SMEMBERS", K.groups_of(prefix, lane.handler, lane.labels)),
            ("SRANDMEMBER", K.sessions(prefix, app_of(lane.handler)), SESSIONS_LOOKED_AT),
            ("ZRANK", K.activeq(prefix, lane.id), task),
        ],
    )
    live = await session_facts(partition, (session.decode() for session in sessions))
    serving = [session for session in live if session.group in {group.decode() for group in groups}]
    if not serving:
        return await _why_unserved(partition, lane, live)
    if lane.attribute:
        serving = [session for session in serving if lane.attribute in session.attributes]
        if not serving:
            return f"No worker of {name} offers {lane.attribute}; start one there."
    heard = await _heard(partition, clock)
    able = [session for session in serving if not session.off and session.gateway in heard]
    if not able:
        return f"{_workers(len(serving))} of {name} connected, but taking no work now: {_states(serving)}."
    if all(session.taken >= session.capacity for session in able):
        seats = sum(session.capacity for session in able)
        return f"No free seat: {_workers(len(able))} with {seats} seats are busy, and {_ahead(rank)}."
    return f"It is about to be given to a worker; {_ahead(rank)}."


async def _why_unserved(partition: Partition, lane: LaneFacts, live: list[SessionFacts]) -> str:
    name = name_of(lane.handler)
    own_labels = f"labels {lane.labels}" if lane.labels else "no labels"
    groups = sorted({session.group for session in live})
    prefix = partition.prefix
    answers = await partition.read([("HGET", K.group(prefix, group), "labels") for group in groups])
    group_labels = sorted(set(map(text, answers)))
    serving = await partition.read([("SCARD", K.groups_of(prefix, lane.handler, labels)) for labels in group_labels])
    other = {labels for labels, count in zip(group_labels, serving, strict=True) if count}
    if other:
        served = joined(f"labels {labels}" if labels else "no labels" for labels in sorted(other))
        return f"No worker serves handler {name} with {own_labels}; those that serve it have {served}."
    return f"No worker announces handler {name}; start one of app {app_of(lane.handler)}, with {own_labels}."


async def _heard(partition: Partition, clock: Clock) -> set[str]:
    """Gateways that were heard lately enough for their sessions to be matched."""
    since = clock.steady - limits.GATEWAY_SILENT_MS
    command = ("ZRANGE", K.gateways(partition.prefix), since, "+inf", "BYSCORE", "WITHSCORES")
    [answer] = await partition.read([command])
    return {gateway for gateway, _at in scored(answer)}


def _states(sessions: list[SessionFacts]) -> str:
    return joined(sorted({OFF.get(session.off, session.off) for session in sessions}))


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _ahead(rank: int | None) -> str:
    if not rank:
        return "it is the next in its queue"
    return f"{rank} task{'s are' if rank > 1 else ' is'} ahead of it in its queue"


def moment(at_ms: int) -> str:
    """A wall time in UTC, to the second."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(ms: int) -> str:
    """A length of time for people."""
    seconds = max(0, ms) / 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
