"""Why a task, or the head of a lane, is not running: a word, a sentence, and the one act that ends it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from gojob_redis.domain import limits
from gojob_redis.domain.address import Address, app_of, name_of
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.view.records import Clock, Fields, joined, number, pairs, text
from gojob_redis.view.survey import Asked, Group, Served, survey

GROUPS_SHOWN: Final = 20
"""Worker groups that a task tells: those that serve its handler first, then those that are nearest to it."""
FITS_NAMED: Final = 3
"""Of what does not fit, so many are named in the sentence."""


class WhyCode(StrEnum):
    """Why something is not running."""

    NOT_BEGUN = "not_begun"
    DELAYED = "delayed"
    RETRY = "retry"
    ALONE = "alone"
    PAUSED = "paused"
    BLOCKED = "blocked"
    NO_WORKER = "no_worker"
    NO_LABELS = "no_labels"
    NO_ATTRIBUTE = "no_attribute"
    WORKERS_OFF = "workers_off"
    NO_SEAT = "no_seat"
    NEXT = "next"


class Act(StrEnum):
    """What ends it."""

    NONE = "none"
    """It ends by itself."""
    RESUME_HANDLER = "resume_handler"
    START_WORKER = "start_worker"
    RESUME_WORKERS = "resume_workers"
    ADD_WORKERS = "add_workers"


class Misfit(StrEnum):
    """What of a worker group does not fit a task."""

    NONE = "none"
    ATTRIBUTE = "attribute"
    LABELS = "labels"
    HANDLER = "handler"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is not running, and what ends that."""

    code: WhyCode
    says: str
    """The same in a sentence."""
    act: Act
    call: str
    """The call that does it, or that shows what it is about; empty when nothing is to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroup:
    """Workers of an app that announced the same handlers and labels, as far as they concern a task.

    From ``seats`` on it is told of ``read`` sessions, which are some of a large group.
    """

    group: str
    labels: dict[str, str]
    misfit: Misfit
    sessions: int
    with_free_seat: int
    read: int
    seats: int
    taken: int
    free_seats: int
    free: int
    """Sessions that take work now; this and what follows add up to ``read``."""
    busy: int
    """All their seats are taken."""
    drained: int
    backoff: int
    """They handed work back, or did not begin it in time."""
    silent: int
    """Their gateway is not heard."""
    leaving: int
    alone: int
    """They run, or will run, a task that lost two workers."""
    attributes: dict[str, int]
    """What they offer, and how many of them do."""


@dataclass(frozen=True, slots=True)
class WhyNot(Reason):
    """Why a task is not running, and which workers there are."""

    ahead: int | None = None
    """How many tasks are ahead of it in its queue; None where it stands in none."""
    groups: list[WorkerGroup] = field(default_factory=list)
    """At most 20: those that serve its handler first, the nearest of the others next."""
    is_whole: bool = True
    """Whether these are all worker groups of the app."""


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """What a lane stands for; all empty when it is gone."""

    id: str
    handler: str = ""
    labels: str = ""
    attribute: str = ""
    blocked: str = ""

    @property
    def asked(self) -> Asked:
        return Asked(self.handler, self.labels, self.attribute)


async def lane_facts(partition: Partition, lane: str) -> LaneFacts:
    """Read what a lane stands for."""
    names = ("handler", "labels", "attribute", "blocked")
    [facts] = await partition.read([("HMGET", K.lane(partition.prefix, lane), *names)])
    return LaneFacts(lane, *map(text, facts))


# ---- a task ----------------------------------------------------------------------------------------------------------


async def why_not_running(
    partition: Partition, task: str, fields: Fields, lane: LaneFacts, clock: Clock
) -> WhyNot | None:
    """None when it is running or over."""
    state, place = text(fields.get("state")), text(fields.get("place"))
    if state == "waiting_to_run" and "shards" not in fields:
        says = f"Worker {text(fields.get('worker'))!r} was given it and has not begun yet."
        return WhyNot(WhyCode.NOT_BEGUN, says, Act.NONE, "")
    if state == "created" and place == "due":
        at = number(fields.get("at"))
        return WhyNot(WhyCode.DELAYED, f"It is delayed until {moment(at)}, in {span(at - clock.wall)}.", Act.NONE, "")
    if state == "created" and place == "timer":
        return await _why_timer(partition, task, fields, lane, clock)
    if place == "lane" and lane.handler:  # of a sharded task, the shards that no worker has yet
        return await _why_lane(partition, task, lane)
    return None


async def _why_timer(partition: Partition, task: str, fields: Fields, lane: LaneFacts, clock: Clock) -> WhyNot:
    if number(fields.get("lost")) >= limits.LOSSES - 1:
        says = "Two workers were lost with it, so it waits for one that is doing nothing else."
        return WhyNot(WhyCode.ALONE, says, Act.NONE, "")
    [score] = await partition.read([("ZSCORE", K.deadlineq(partition.prefix, lane.handler), task)])
    at = clock.wall_of(int(float(score))) if score is not None else clock.wall
    tries, retries = number(fields.get("tries")), number(fields.get("retries"))
    why, left = text(fields.get("reason")), span(at - clock.wall)
    says = f"It failed ({why}); retry {tries} of {retries} is at {moment(at)}, in {left}."
    return WhyNot(WhyCode.RETRY, says, Act.NONE, "")


async def _why_lane(partition: Partition, task: str, lane: LaneFacts) -> WhyNot:
    prefix = partition.prefix
    paused, rank = await partition.read(
        [("HGET", K.handler(prefix, lane.handler), "paused"), ("ZRANK", K.activeq(prefix, lane.id), task)]
    )
    served = (await survey(partition, [lane.asked]))[lane.asked]
    reason = why_lane(lane.asked, served, number(paused), "" if lane.blocked == "paused" else lane.blocked)
    says = reason.says
    if reason.code in (WhyCode.NO_SEAT, WhyCode.NEXT):
        joins = ", and " if reason.code is WhyCode.NO_SEAT else "; "
        says = f"{says.removesuffix('.')}{joins}{_ahead(rank)}."
    return WhyNot(
        reason.code, says, reason.act, reason.call, rank or 0, _groups(lane.asked, served), is_whole=served.is_whole
    )


def _ahead(rank: int | None) -> str:
    if not rank:
        return "it is the next in its queue"
    return f"{rank} task{'s are' if rank > 1 else ' is'} ahead of it in its queue"


# ---- a lane ----------------------------------------------------------------------------------------------------------


def why_lane(asked: Asked, served: Served, paused_ms: int = 0, blocked: str = "") -> Reason:
    """Why what stands at the head of a lane is not running."""
    name = name_of(asked.handler)
    if paused_ms:
        says = f"Handler {name} is paused since {moment(paused_ms)}; resume it to go on."
        return Reason(WhyCode.PAUSED, says, Act.RESUME_HANDLER, f"POST {_below(asked)}/handlers/{name}/resume")
    if blocked:
        return Reason(WhyCode.BLOCKED, f"Its queue is blocked: {blocked}.", Act.NONE, "")
    if not served.fitting:
        return _unserved(asked, served)
    if asked.attribute and not served.free and not any(asked.attribute in group.offers for group in served.fitting):
        return _not_offered(asked, served.fitting)
    fitting = served.fitting
    if not served.free and not any(group.able for group in fitting):
        return _all_off(asked, fitting)
    if not served.free:
        able = sum(group.whole(group.able) for group in fitting)
        seats = sum(round(group.whole(group.seats) * group.able / max(1, group.read)) for group in fitting)
        says = f"No free seat: {_workers(able)} with {_count(seats, 'seat')} {'is' if able == 1 else 'are'} busy."
        return Reason(WhyCode.NO_SEAT, says, Act.ADD_WORKERS, f"GET {_below(asked)}/queues/{name}")
    return Reason(WhyCode.NEXT, "It is about to be given to a worker.", Act.NONE, "")


def _unserved(asked: Asked, served: Served) -> Reason:
    name, labels = name_of(asked.handler), _labels(asked.labels)
    if not served.others:
        code = WhyCode.NO_WORKER
        connected = sum(group.sessions for group in served.strangers)
        but = (
            f"; {_workers(connected)} of the app {'serves' if connected == 1 else 'serve'} others" if connected else ""
        )
        says = f"No worker announces handler {name}{but}. Start one of app {app_of(asked.handler)}, with {labels}."
    else:
        code = WhyCode.NO_LABELS
        near = nearest(asked.labels, served.others)
        have = joined(f"{count} {'has' if count == 1 else 'have'} {_labels(own)}" for own, count in near[:FITS_NAMED])
        has = f"has {labels}" if asked.labels else "is without labels"
        says = f"No worker of {name} {has}; {have}."
    return Reason(code, says, Act.START_WORKER, _list_of_workers(asked, of_app=code is WhyCode.NO_WORKER))


def nearest(labels: str, groups: Iterable[Group]) -> list[tuple[str, int]]:
    """The labels that these groups have, those that differ in the fewest first, and how many sessions have them."""
    required, counts = pairs(labels), dict[str, int]()
    for group in groups:
        counts[group.labels] = counts.get(group.labels, 0) + group.sessions
    return sorted(counts.items(), key=lambda each: (len(pairs(each[0]).items() ^ required.items()), -each[1], each[0]))


def _not_offered(asked: Asked, fitting: Sequence[Group]) -> Reason:
    name, offers = name_of(asked.handler), dict[str, int]()
    for group in fitting:
        for attribute, count in group.offers.items():
            offers[attribute] = offers.get(attribute, 0) + count
    kind = asked.attribute.partition("=")[0]
    alike = [(each, count) for each, count in offers.items() if each.partition("=")[0] == kind]
    near = sorted(alike or offers.items(), key=lambda each: (-each[1], each[0]))[:FITS_NAMED]
    have = joined(f"{count} {'offers' if count == 1 else 'offer'} {each}" for each, count in near)
    sessions, read = sum(group.sessions for group in fitting), sum(group.read for group in fitting)
    who = f"No worker of {name}" if read >= sessions else f"None of {read} of the {sessions} workers of {name}"
    says = f"{who} offers {asked.attribute}{f'; {have}' if have else ''}. Start one that does."
    return Reason(WhyCode.NO_ATTRIBUTE, says, Act.START_WORKER, _list_of_workers(asked))


HELD_BACK: Final = {
    "drained": "drained",
    "backoff": "handed work back or did not begin it in time",
    "silent": "connected to a gateway that is silent",
    "leaving": "leaving",
    "alone": "alone with a task that lost two workers",
}
"""What holds sessions back, by the name of their count."""


def _all_off(asked: Asked, fitting: Sequence[Group]) -> Reason:
    name, counts = name_of(asked.handler), {word: sum(getattr(group, word) for group in fitting) for word in HELD_BACK}
    states = joined(f"{count} {HELD_BACK[word]}" for word, count in counts.items() if count)
    workers = _workers(sum(group.sessions for group in fitting))
    says = f"{workers} of {name} connected, but taking no work now: {states or 'they have just left'}."
    if counts["drained"]:
        return Reason(WhyCode.WORKERS_OFF, says, Act.RESUME_WORKERS, f"{_list_of_workers(asked)}&state=drained")
    return Reason(WhyCode.WORKERS_OFF, says, Act.NONE, _list_of_workers(asked))


def _groups(asked: Asked, served: Served) -> list[WorkerGroup]:
    """The worker groups that a task tells, those that fit best first."""
    required = pairs(asked.labels).items()
    others = sorted(served.others, key=lambda each: (len(pairs(each.labels).items() ^ required), -each.sessions))
    rows = [(each, _misfit(asked, each)) for each in served.fitting]
    rows += [(each, Misfit.LABELS) for each in others] + [(each, Misfit.HANDLER) for each in served.strangers]
    return [_group(each, misfit) for each, misfit in rows[:GROUPS_SHOWN]]


def _misfit(asked: Asked, group: Group) -> Misfit:
    return Misfit.ATTRIBUTE if asked.attribute and asked.attribute not in group.offers else Misfit.NONE


def _group(group: Group, misfit: Misfit) -> WorkerGroup:
    own = asdict(group)
    attributes, labels, id = own.pop("offers"), own.pop("labels"), own.pop("id")
    return WorkerGroup(group=id, labels=pairs(labels), misfit=misfit, attributes=attributes, **own)


# ---- words -----------------------------------------------------------------------------------------------------------


def _below(asked: Asked) -> str:
    """The path of its app."""
    return f"/v1/apps/{app_of(asked.handler)}"


def _list_of_workers(asked: Asked, *, of_app: bool = False) -> str:
    """The call that lists those that serve its handler, or all of its app."""
    own = Address.parse(asked.handler)
    query = {"namespace": own.namespace, "app": own.app_name}
    return "GET /v1/workers?" + urlencode(query if of_app else query | {"handler": own.handler})


def _labels(labels: str) -> str:
    return labels or "no labels"


def _workers(count: int) -> str:
    return _count(count, "worker")


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


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
