"""Agendas: the next slots of each trigger, computed long before they are due.

``Planner`` continues agendas that run low, in the background, and those that ran out. It counts from the last planned
slot, never from a host's clock. A gap longer than the misfire limit becomes its newest slot and one range entry for
the older ones."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgpack
import structlog

from gojob_redis.domain import limits, policies, verbs
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.client import round_trip
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.failure_log import FailureLog
from gojob_redis.schedules.schedule import (
    Schedule,
    count_between,
    latest_between,
    next_times,
    parse,
)

log = structlog.get_logger()


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


async def engine_time(partition: Partition) -> int:
    """The engine's wall clock, ms."""
    return (await partition.call(verbs.now())).wall


PLAN_FACTS = ("definition", "revision", "planned", "active", "policies")


@dataclass(frozen=True, slots=True)
class Continuation:
    """How one agenda goes on; in the order of ``plan``'s items, after the trigger's uid."""

    revision: int
    after: int
    agenda: Agenda
    gap: tuple[int, int, int] = (0, 0, 0)
    """First, last and number of the missed slots that share one range entry."""

    def item(self, uid: str) -> verbs.Plan:
        times = ",".join(map(str, self.agenda.times))
        agenda = self.agenda
        return verbs.Plan(
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
        self._offered: dict[Partition, dict[str, None]] = {}

    def offer(self, partition: Partition, uids: Iterable[str]) -> None:
        """Take note of agendas that are low; the pass that follows plans them."""
        self._offered.setdefault(partition, {}).update(dict.fromkeys(uids))

    async def run_once(self) -> float | None:
        """Plan what was offered and what ran out; returns 0 when more is left."""
        asked = [("ZRANGE", K.unplanned(prefix), 0, limits.BATCH_ITEMS - 1) for prefix in self.space.prefixes]
        out_of_reach: set[Partition] = set()
        answers = await round_trip(self.space.clients.commands, asked)
        for partition, uids in zip(self.space, answers, strict=True):
            if isinstance(uids, Exception):
                out_of_reach.add(partition)
                self.failures.failed("plan", partition.number, uids)
                continue
            self.failures.went_well("plan", partition.number)
            if uids:
                self.offer(partition, (uid.decode() for uid in uids))
        left = False
        for partition in self._offered.keys() - out_of_reach:
            left |= await self._plan(partition)
        return 0.0 if left else None

    async def _plan(self, partition: Partition) -> bool:
        offered = self._offered[partition]
        uids = list(offered)[: limits.BATCH_ITEMS]
        facts = await partition.read([("HMGET", K.trigger(partition.prefix, uid), *PLAN_FACTS) for uid in uids])
        now_ms = await engine_time(partition)
        items = await asyncio.to_thread(continuations, uids, facts, now_ms)
        if items:
            await partition.call(verbs.plan(items))
        self.planned += len(items)
        for uid in uids:
            offered.pop(uid, None)
        if not offered:
            del self._offered[partition]
        return bool(offered)


def continuations(
    uids: Sequence[str],
    facts: Sequence[Sequence[bytes | None]],
    now_ms: int,
    *,
    misfire_after: int | None = None,
) -> list[verbs.Plan]:
    """Items for ``plan``; a trigger whose rule cannot be read any more is passed over and logged.

    misfire_after: instead of what each trigger says.
    """
    items = []
    for uid, (definition, revision, planned, _active, policies_text) in zip(uids, facts, strict=True):
        try:
            if not definition:
                items.append(Continuation(0, 0, Agenda([], 0, 0, True)).item(uid))
                continue
            going_on = continue_agenda(
                parse(msgpack.unpackb(definition)["schedule"], created_ms=0),
                revision=int(revision or 0),
                planned=int(planned or now_ms),
                misfire_after=_misfire_after(policies_text) if misfire_after is None else misfire_after,
                now_ms=now_ms,
            )
        except (GojobError, ValueError, KeyError, TypeError, OverflowError, msgpack.UnpackException) as error:
            log.error("trigger.unreadable", uid=uid, error=str(error))
            continue
        items.append(going_on.item(uid))
    return items


def _misfire_after(policies_text: bytes | None) -> int:
    return int(policies.read((policies_text or b"").decode("ascii", "replace"))["misfire_after_ms"])
