"""One page that says how it goes: what runs, waits, ended and is planned, what is slow, fails or is in trouble.

1. It is put together from the other views, which are read at the same time. The numbers are those of the statistics, so
   they are 2 to 4 s behind; what waits, and who works, is read as it is.
2. It is kept for a second, for all who may see the same apps and ask for the same span.
3. Its work is bounded. The figures are those of the 100 busiest apps; handlers are compared among the 100 busiest of
   those that were announced last; workers are counted up to 5,000. ``is_whole`` says whether that was everything.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of
from gojob_redis.domain.tally import Spread, Sum
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.planning.planner import engine_time
from gojob_redis.runtime.ttl_cache import TtlCache
from gojob_redis.view.apps import Sees
from gojob_redis.view.events import Event, EventFilter, events
from gojob_redis.view.forecast import Forecast, Planned
from gojob_redis.view.gauge import depths
from gojob_redis.view.queues import handler_names, seating
from gojob_redis.view.stats import Span, Step, Times, handlers_announced, joined, sums_in, times_of, total_sums
from gojob_redis.view.timeline import dense
from gojob_redis.view.trigger_stats import Troubled, troubled
from gojob_redis.view.worker_list import COUNTED

BUSIEST: Final = 100
"""Apps whose figures are added up, and handlers that are compared."""
SHOWN: Final = 10
KEPT_S: Final = 1.0
KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class OverviewBucket:
    """What ended in one step, and how long it waited and was late."""

    from_ms: int
    completed: int
    faulted: int
    canceled: int
    skipped: int
    missed: int
    wait_p50_ms: float | None
    wait_p99_ms: float | None
    lateness_p50_ms: float | None
    lateness_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for a handler."""

    namespace: str
    app: str
    handler: str
    waiting: int
    oldest_ms: int
    """How long the next in turn has waited."""


@dataclass(frozen=True, slots=True)
class Busy:
    """How a handler fared from ``from_ms`` to ``to_ms``."""

    namespace: str
    app: str
    handler: str
    completed: int
    faulted: int
    failure_rate: float
    duration: Times


@dataclass(frozen=True, slots=True)
class Overview:
    """How it goes."""

    now_ms: int
    from_ms: int
    to_ms: int
    step: Step
    running: int
    backlog: int
    """Tasks that could begin now."""
    success_24h: float | None
    """Completed of those that ended on their own in the last 24 hours; None when none did."""
    lateness_p99_ms: float | None
    """From a slot to its fire, from ``from_ms`` to ``to_ms``."""
    workers: int
    seats: int
    taken_seats: int
    troubled: int
    """Triggers whose last task faulted."""
    troubled_first: list[Troubled]
    """Ten of them at most."""
    buckets: list[OverviewBucket]
    """From ``from_ms`` to ``to_ms``; a step in which nothing happened is left out."""
    backlogs: list[Backlog]
    """The ten largest."""
    planned_from_ms: int
    planned: list[int]
    """Planned fires of the next 60 minutes, one number each."""
    triggers: int
    """Active triggers with a schedule."""
    covered: int
    """Those of them whose fires are in ``planned``."""
    slowest: list[Busy]
    """Ten handlers with the longest p95."""
    failing: list[Busy]
    """Ten handlers with the most faulted tasks."""
    events: list[Event]
    """The last ten."""
    is_whole: bool
    """False: there is more than was looked at; the numbers are those of the busiest apps and handlers."""


@dataclass(frozen=True, slots=True)
class _Subjects:
    """Apps and handlers that an overview is about, and what ever happened to them."""

    apps: list[tuple[str, Partition]]
    running: int
    busiest_apps: list[str]
    handlers: list[str]
    busiest_handlers: list[str]

    @property
    def is_whole(self) -> bool:
        return len(self.apps) <= BUSIEST >= len(self.handlers) and len(self.apps) < limits.SEARCH_APPS


class Overviews:
    """Overviews of one gateway: each is put together once a second for all who may see the same apps."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self._kept: TtlCache[Overview] = TtlCache(self._read, for_s=KEPT_S, most=KEPT)

    async def of(self, sees: Sees, only: str, span: Span) -> Overview:
        """How it goes in the apps that the caller may see; only: in this one (``namespace/app``)."""
        apps = [app for app, _partition in await self.forecast.apps.seen(sees, only=only)]
        return await self._kept.get(json.dumps([span.from_ms, span.to_ms, span.step, only, sees(""), apps]))

    async def _read(self, name: str) -> Overview:
        from_ms, to_ms, step, only, sees_all, names = json.loads(name)
        apps = frozenset(names)
        now_ms = await engine_time(self.forecast.apps.space[0])

        def sees(app: str) -> bool:
            return app in apps if app else sees_all

        return await _overview(self.forecast, sees, only, Span(from_ms, to_ms, Step(step)), now_ms)


async def _overview(forecast: Forecast, sees: Sees, only: str, span: Span, now_ms: int) -> Overview:
    space = forecast.apps.space
    about = await _subjects(forecast, sees, only)
    soon_ms = (now_ms // limits.MINUTE_MS + 1) * limits.MINUTE_MS
    ahead = Span(soon_ms, soon_ms + limits.HOUR_MS, Step.MINUTE)
    day = Span((now_ms - limits.DAY_MS) // Step.HALF_HOUR.ms * Step.HALF_HOUR.ms, now_ms, Step.HALF_HOUR)
    async with asyncio.TaskGroup() as group:
        of_both = group.create_task(sums_in(space, [*about.busiest_apps, *about.busiest_handlers], span))
        of_day = group.create_task(sums_in(space, about.busiest_apps, day))
        waiting = group.create_task(depths(space, about.handlers))
        workers = group.create_task(seating(space, about.apps, COUNTED))
        trouble = group.create_task(_troubled(forecast, about.apps))
        planned = group.create_task(forecast.planned(sees, only, ahead.from_ms, ahead.to_ms, ahead.step.ms))
        last = group.create_task(events(space, sees, EventFilter(app=only), limit=SHOWN))
    seats, sums = workers.result(), of_both.result()
    buckets = joined(sums[app] for app in about.busiest_apps)
    whole, in_day = _sum(buckets.values()), _sum(joined(of_day.result().values()).values())
    busy = [_busy(handler, _sum(sums[handler].values())) for handler in about.busiest_handlers]
    count, first = trouble.result()
    plan: Planned = planned.result()
    depth = waiting.result()
    return Overview(
        now_ms=now_ms,
        from_ms=span.from_ms,
        to_ms=span.to_ms,
        step=span.step,
        running=about.running,
        backlog=sum(tasks for tasks, _oldest in depth.values()),
        success_24h=_success(in_day),
        lateness_p99_ms=_quantile(whole.lateness, 0.99),
        workers=seats.workers,
        seats=seats.seats,
        taken_seats=seats.taken,
        troubled=count,
        troubled_first=first,
        buckets=[_bucket(at, buckets[at]) for at in sorted(buckets)],
        backlogs=_backlogs(depth),
        planned_from_ms=soon_ms,
        planned=dense(plan.whole, ahead),
        triggers=plan.triggers,
        covered=plan.covered,
        slowest=sorted((each for each in busy if each.duration.count), key=_duration, reverse=True)[:SHOWN],
        failing=sorted((each for each in busy if each.faulted), key=_failures, reverse=True)[:SHOWN],
        events=last.result().items,
        is_whole=about.is_whole and seats.is_whole,
    )


async def _subjects(forecast: Forecast, sees: Sees, only: str) -> _Subjects:
    space = forecast.apps.space
    apps = (await forecast.apps.seen(sees, only=only))[: limits.SEARCH_APPS]
    if only:
        most = limits.METRIC_HANDLERS_READ
        handlers = [f"{only}/{name}" for name in await handler_names(space, only, "", most)] if apps else []
    else:
        handlers = [each for each in await handlers_announced(space) if sees(app_of(each))]
    names = [app for app, _partition in apps]
    sums = await total_sums(space, [*names, *handlers])
    running = sum(max(0, sums[app].total("started") - sums[app].total("stopped")) for app in names)

    def busiest(subjects: Sequence[str]) -> list[str]:
        return sorted(subjects, key=lambda each: -sums[each].total("started"))[:BUSIEST]

    return _Subjects(apps, running, busiest(names), handlers, busiest(handlers))


async def _troubled(forecast: Forecast, apps: Sequence[tuple[str, Partition]]) -> tuple[int, list[Troubled]]:
    """How many triggers are in trouble, and the first of them."""
    counts = await forecast.apps.space.read_all(
        [("SCARD", K.troubled(partition.prefix, app)) for app, partition in apps]
    )
    first: list[Troubled] = []
    for (app, partition), count in zip(apps, counts, strict=True):
        if count and len(first) < SHOWN:
            first += (await troubled(partition, app, "")).items
    return sum(counts), first[:SHOWN]


def _sum(several: Iterable[Sum]) -> Sum:
    whole = Sum()
    for each in several:
        whole.add(each)
    return whole


def _success(sums: Sum) -> float | None:
    completed, faulted = sums.total("completed"), sums.total("faulted")
    return round(completed / (completed + faulted), 4) if completed + faulted else None


def _quantile(spread: Spread, share: float) -> float | None:
    return round(spread.quantile(share) or 0.0, 1) if spread.count else None


def _bucket(at: int, sums: Sum) -> OverviewBucket:
    counts = {word: sums.total(word) for word in ("completed", "faulted", "canceled", "skipped", "missed")}
    return OverviewBucket(
        at,
        **counts,
        wait_p50_ms=_quantile(sums.wait, 0.5),
        wait_p99_ms=_quantile(sums.wait, 0.99),
        lateness_p50_ms=_quantile(sums.lateness, 0.5),
        lateness_p99_ms=_quantile(sums.lateness, 0.99),
    )


def _backlogs(depth: Mapping[str, tuple[int, int]]) -> list[Backlog]:
    largest = sorted((each for each in depth if depth[each][0]), key=lambda each: -depth[each][0])[:SHOWN]
    return [_backlog(each, *depth[each]) for each in largest]


def _backlog(address: str, waiting: int, oldest_ms: int) -> Backlog:
    namespace, app, handler = address.split("/")
    return Backlog(namespace, app, handler, waiting, oldest_ms)


def _busy(handler: str, sums: Sum) -> Busy:
    completed, faulted = sums.total("completed"), sums.total("faulted")
    namespace, app, name = handler.split("/")
    rate = round(faulted / (completed + faulted), 4) if completed + faulted else 0.0
    return Busy(namespace, app, name, completed, faulted, rate, times_of(sums.duration))


def _duration(busy: Busy) -> float:
    return busy.duration.p95_ms or 0.0


def _failures(busy: Busy) -> tuple[int, float]:
    return busy.faulted, busy.failure_rate
