"""Triggers: define and remove them, plan their agendas, and fire what is due.

1. Python computes slots, long before they are due; Lua fires them. Nothing in Python stands between due and task.
2. ``Fire`` visits a partition when its head is due, when the wake stream says so, and every 500 ms anyway. Replicas
   may visit the same partition at once: the watermark in Lua decides, so a double visit costs a call and nothing else.
3. ``Planner`` continues agendas that run low, in the background, and those that ran out. It counts from the last
   planned slot, never from a host's clock. A gap longer than the misfire limit becomes its newest slot and one range
   entry for the older ones.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import structlog

from gojob_redis.domain import ids, limits, policies, quotas
from gojob_redis.domain.errors import Conflict, GojobError
from gojob_redis.domain.quotas import USUAL, Quotas
from gojob_redis.engine.client import ANSWER_S, round_trip
from gojob_redis.engine.durability import Level
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.scripts import Reply
from gojob_redis.runtime.failure_log import FailureLog
from gojob_redis.schedules.schedule import (
    Once,
    Schedule,
    as_mapping,
    count_between,
    latest_between,
    next_times,
    parse,
)

log = structlog.get_logger()


# ---- defining --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A trigger, checked and complete."""

    app: str
    """namespace/app"""
    name: str
    handler: str
    """namespace/app/handler"""
    schedule: Schedule
    active: bool = True
    """False while disabled or paused: no slot is planned and none is missed."""
    param: bytes = b""
    labels: str = ""
    attribute: str = ""
    shards: int = 1
    shard_params: bytes = b""
    policies: str = ""
    """As ``policies.write`` makes it."""
    body: bytes = b""
    """What the user wrote, to be shown again; opaque here."""


@dataclass(frozen=True, slots=True)
class Defined:
    """A stored trigger: its identity, its revision, and when it fires next (ms)."""

    uid: str
    revision: int
    next_times: list[int]


@dataclass(frozen=True, slots=True)
class Agenda:
    """Slots planned in one go."""

    times: list[int]
    planned: int
    """The last of them, or what they continue when there is none."""
    low_at: int
    """When this slot fires, it is time to plan on."""
    over: bool
    """The schedule has no slot after these."""


def plan_agenda(schedule: Schedule, after_ms: int) -> Agenda:
    """Compute the next slots after a moment: at most 64 and 7 days ahead, but at least one if there is any."""
    times = next_times(schedule, after_ms, limits.AGENDA_MAX, after_ms + limits.AGENDA_DAYS * limits.DAY_MS)
    times = times or next_times(schedule, after_ms, 1)
    if not times:
        return Agenda([], after_ms, 0, True)
    over = len(times) < limits.AGENDA_MAX and not next_times(schedule, times[-1], 1)
    return Agenda(times, times[-1], times[len(times) // 2], over)


DEFINE_TRIES = 5
"""How often a definition waits for the slots of the rule before."""


def begin_of(schedule: Schedule, now_ms: int) -> int:
    """From when on a schedule that somebody wants from now on has slots: a ``once`` in the past is made up for."""
    return min(now_ms, schedule.at - 1) if isinstance(schedule, Once) else now_ms


async def define(
    space: Partitions,
    wanted: Definition,
    *,
    revision: int = -1,
    makes_up: bool = True,
    level: Level = Level.FAST,
    may_have: Quotas = USUAL,
) -> Defined:
    """Store a trigger and its agenda.

    revision: the one the caller has seen; 0 when it must be new, -1 for any.
    makes_up: whether a ``once`` in the past fires at once: not for a rule that held before, and was paused then.
    Slots of the rule before that came due and were not handled, as in an outage, enter the ledger first.
    Raises Conflict ``conflict`` or ``exists``, LimitReached. Source: lua/define.lua.
    """
    partition = await space.of_app(wanted.app)
    change, uid = ids.new_session_id(), ids.new_trigger_uid()
    for _ in range(DEFINE_TRIES):
        now_ms = await engine_time(space, partition)
        agenda = plan_agenda(wanted.schedule, begin_of(wanted.schedule, now_ms) if makes_up else now_ms)
        word, held_uid, held_revision = await space.call(
            "define",
            partition,
            within_s=ANSWER_S,
            level=level,
            app=wanted.app,
            name=wanted.name,
            uid=uid,
            change=change,
            revision=revision,
            active=int(wanted.active),
            handler=wanted.handler,
            labels=wanted.labels,
            attribute=wanted.attribute,
            shards=wanted.shards,
            shard_params=wanted.shard_params,
            policies=wanted.policies,
            param=wanted.param,
            definition=msgpack.packb(
                {"schedule": as_mapping(wanted.schedule), "body": wanted.body, "changed_ms": now_ms}
            ),
            times=",".join(map(str, agenda.times)),
            planned=agenda.planned,
            low_at=agenda.low_at,
            over=int(agenda.over),
            most=may_have.triggers_per_app,
            quotas=quotas.written({wanted.app.partition("/")[0]: may_have}),
        )
        if word == b"taken":
            uid = ids.new_trigger_uid()
        elif word == b"overtaken":
            await _plan_to_its_end(space, partition, held_uid.decode())
        else:
            break
    if word.endswith(b"_full"):
        raise quotas.refusal(word.decode(), wanted.app, may_have)
    if word != b"ok":
        raise _conflict(word.decode(), wanted.name, int(held_revision))
    return Defined(held_uid.decode(), int(held_revision), agenda.times if wanted.active else [])


async def _plan_to_its_end(space: Partitions, partition: int, uid: str) -> None:
    """Plan what came due under a rule that is about to be replaced, whatever its misfire limit."""
    [facts] = await space.read(partition, [("HMGET", K.trigger(space.prefixes[partition], uid), *PLAN_FACTS)])
    now_ms = await engine_time(space, partition)
    going_on = await asyncio.to_thread(_continuations, [uid], [facts], now_ms, 0)
    _definition, revision, planned, *_ = facts
    unreadable = [Continuation(int(revision or 0), int(planned or 0), Agenda([], int(planned or 0), 0, True)).item(uid)]
    await space.call("plan", partition, going_on or unreadable)


def _conflict(word: str, name: str, held: int) -> Conflict:
    if word == "exists":
        return Conflict(
            "exists", f"Trigger {name!r} exists already, at revision {held}.", field="name", hint="Take another name."
        )
    return Conflict(
        "conflict",
        f"Trigger {name!r} is at revision {held}, not at the one this change was made for.",
        field="revision",
        hint="Read the trigger again and repeat the change on what it says now.",
    )


async def remove(space: Partitions, app: str, name: str, level: Level = Level.FAST) -> bool:
    """Delete a trigger; False when there was none. Its tasks go on. Source: lua/remove.lua."""
    reply = await space.call("remove", await space.of_app(app), within_s=ANSWER_S, level=level, app=app, name=name)
    return bool(reply[0] == b"ok")


async def engine_time(space: Partitions, partition: int) -> int:
    """The engine's wall clock, ms."""
    return int((await space.call("now", partition))[1])


# ---- planning --------------------------------------------------------------------------------------------------------

PLAN_FACTS = ("definition", "revision", "planned", "active", "policies")


@dataclass(frozen=True, slots=True)
class Continuation:
    """How one agenda goes on; in the order of ``plan``'s items, after the trigger's uid."""

    revision: int
    after: int
    agenda: Agenda
    gap: tuple[int, int, int] = (0, 0, 0)
    """First, last and number of the missed slots that share one range entry."""

    def item(self, uid: str) -> tuple[str | int, ...]:
        times = ",".join(map(str, self.agenda.times))
        agenda = self.agenda
        return (
            uid,
            self.revision,
            self.after,
            times,
            agenda.planned,
            agenda.low_at,
            int(agenda.over),
            *self.gap,
        )


def continue_agenda(
    schedule: Schedule, *, revision: int, planned: int, misfire_after: int, now_ms: int
) -> Continuation:
    """Plan on from the last planned slot; a long gap is made up for by its newest slot alone."""
    first = next_times(schedule, planned, 1, now_ms - misfire_after)
    newest = latest_between(schedule, planned, now_ms) if first else None
    if newest is None:
        return Continuation(revision, planned, plan_agenda(schedule, planned))
    ahead = plan_agenda(schedule, newest)
    agenda = Agenda([newest, *ahead.times], ahead.planned, ahead.low_at or newest, ahead.over)
    missed = count_between(schedule, planned, newest - 1)
    last = latest_between(schedule, planned, newest - 1)
    gap = (first[0], last, missed) if last is not None else (0, 0, 0)
    return Continuation(revision, planned, agenda, gap)


class Planner:
    """Continues agendas, at most 100 of a partition in one pass."""

    def __init__(self, space: Partitions, *, failures: FailureLog | None = None) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.planned = 0
        self._offered: dict[int, dict[str, None]] = {}

    def offer(self, partition: int, uids: Iterable[str]) -> None:
        """Take note of agendas that are low; the pass that follows plans them."""
        self._offered.setdefault(partition, {}).update(dict.fromkeys(uids))

    async def run_once(self) -> float | None:
        """Plan what was offered and what ran out; returns 0 when more is left."""
        asked = [("ZRANGE", K.unplanned(prefix), 0, limits.BATCH_ITEMS - 1) for prefix in self.space.prefixes]
        out_of_reach: set[int] = set()
        for partition, uids in enumerate(await round_trip(self.space.clients.commands, asked)):
            if isinstance(uids, Exception):
                out_of_reach.add(partition)
                self.failures.failed("plan", partition, uids)
                continue
            self.failures.went_well("plan", partition)
            if uids:
                self.offer(partition, (uid.decode() for uid in uids))
        left = False
        for partition in self._offered.keys() - out_of_reach:
            left |= await self._plan(partition)
        return 0.0 if left else None

    async def _plan(self, partition: int) -> bool:
        offered = self._offered[partition]
        uids = list(offered)[: limits.BATCH_ITEMS]
        prefix = self.space.prefixes[partition]
        facts = await self.space.read(partition, [("HMGET", K.trigger(prefix, uid), *PLAN_FACTS) for uid in uids])
        now_ms = await engine_time(self.space, partition)
        items = await asyncio.to_thread(_continuations, uids, facts, now_ms)
        if items:
            await self.space.call("plan", partition, items)
        self.planned += len(items)
        for uid in uids:
            offered.pop(uid, None)
        if not offered:
            del self._offered[partition]
        return bool(offered)


def _continuations(
    uids: Sequence[str], facts: Sequence[Sequence[bytes | None]], now_ms: int, misfire_after: int | None = None
) -> list[Any]:
    """Items for ``plan``; a trigger whose rule cannot be read any more is passed over and logged.

    misfire_after: instead of the one that each trigger says.
    """
    items = []
    for uid, (definition, revision, planned, _active, policy_text) in zip(uids, facts, strict=True):
        try:
            if not definition:
                items.append(Continuation(0, 0, Agenda([], 0, 0, True)).item(uid))
                continue
            going_on = continue_agenda(
                parse(msgpack.unpackb(definition)["schedule"], created_ms=0),
                revision=int(revision or 0),
                planned=int(planned or now_ms),
                misfire_after=_misfire_after(policy_text) if misfire_after is None else misfire_after,
                now_ms=now_ms,
            )
        except (GojobError, ValueError, KeyError, TypeError, OverflowError, msgpack.UnpackException) as error:
            log.error("trigger.unreadable", uid=uid, error=str(error))
            continue
        items.append(going_on.item(uid))
    return items


def _misfire_after(text: bytes | None) -> int:
    return int(policies.read((text or b"").decode("ascii", "replace"))["misfire_after_ms"])


# ---- firing ----------------------------------------------------------------------------------------------------------

LOOK_S = limits.LOOK_EVERY_MS / 1000
STORM_CALLS = 200
"""A crowd is fired as fast as it goes; one that left something due for so many calls in a row, 10,000 slots, is a
storm."""
YIELD_S = 0.002
"""Longest pause between two calls of a storm."""
NEAR_S = 0.0015
"""Timers of the loop know whole milliseconds and may be one late: so long before a head a thread sleeps the rest."""


@dataclass(slots=True)
class Heads:
    """When each partition wants the next visit, on this process's monotonic clock (seconds)."""

    count: int
    at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at = [0.0] * self.count

    def due(self, now_s: float) -> list[int]:
        return [partition for partition, at in enumerate(self.at) if at <= now_s]

    def wait(self, now_s: float) -> float:
        return max(0.0, min(self.at) - now_s)


class Fire:
    """Fires due slots in all partitions.

    prefers: whether this replica is the preferred one of a partition; the others come 100 ms later.
    """

    def __init__(
        self,
        space: Partitions,
        planner: Planner,
        *,
        prefers: Callable[[int], bool] = lambda _partition: True,
        observe: Callable[[Sequence[int]], None] = lambda _lateness_ms: None,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.planner = planner
        self.prefers = prefers
        self.observe = observe
        self.heads = Heads(space.count)
        self.crowd = 0
        """Calls in a row that left something due."""
        self.fired = 0
        self.skipped = 0

    def wake(self, partition: int) -> None:
        """Visit this partition in the next pass."""
        self.heads.at[partition] = 0.0

    async def run_once(self) -> float:
        """Fire what is due, at most 50 slots a partition; returns the seconds until the next head.

        The first slots of a crowd go alone, so that workers have begun with them while the next are fired.
        """
        rest_s = self.heads.wait(time.monotonic())
        if 0 < rest_s <= NEAR_S:
            await asyncio.to_thread(time.sleep, rest_s)
        visited = self.heads.due(time.monotonic())
        if visited:
            began = time.monotonic()
            replies = await self.space.call_in(visited, "fire", limit=self._limit(), cpu_us=limits.FIRE_CPU_US)
            took_s = time.monotonic() - began
            for partition, reply in zip(visited, replies, strict=True):
                self.heads.at[partition] = began + self._settle(partition, reply, took_s)
            more = any(not isinstance(reply, Exception) and reply[0] == b"more" for reply in replies)
            self.crowd = self.crowd + 1 if more else 0
        return max(0.0, self.heads.wait(time.monotonic()) - NEAR_S)

    def _limit(self) -> int:
        """Most slots of the next call."""
        if self.crowd >= STORM_CALLS:
            return limits.FIRE_STORM_ITEMS
        return min(limits.FIRE_FIRST_ITEMS << min(self.crowd, 16), limits.FIRE_ITEMS)

    def _settle(self, partition: int, reply: Reply | Exception, took_s: float) -> float:
        """Take in what one partition answered; returns the seconds from the call to its next visit.

        A storm leaves a part of the engine's time to the others, and one replica is enough for it.
        """
        if isinstance(reply, Exception):
            self.failures.failed("fire", partition, reply)
            return LOOK_S
        self.failures.went_well("fire", partition)
        word, fired, skipped, next_due, wall, _steady, lateness, low, micros = reply
        self.fired += fired
        self.skipped += skipped
        self.observe(lateness)
        if low:
            self.planner.offer(partition, (uid.decode() for uid in low))
        if word == b"more":
            pause_s = min(took_s / 2, YIELD_S) if self.crowd >= STORM_CALLS else 0.0
            return took_s + (pause_s if self.prefers(partition) else limits.PREFERRED_LATE_MS / 1000)
        if not next_due:
            return LOOK_S
        grace_ms = 0 if self.prefers(partition) else limits.PREFERRED_LATE_MS
        return float(min(LOOK_S, max(0.0, (next_due + grace_ms - wall) / 1000 - micros / 1_000_000)))
