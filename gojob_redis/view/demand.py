"""How many workers a handler wants: for autoscalers, from what waits, what comes in, and how long it takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.queues import Queue, QueueLane, queue
from gojob_redis.view.records import clock_of, home
from gojob_redis.view.stats import Step, span_of, stats, totals

RATES_OVER_MS = 10 * limits.MINUTE_MS
"""Rates and durations are those of so long, up to now."""


@dataclass(frozen=True, slots=True)
class LaneDemand:
    """The demand for workers with the same labels."""

    labels: dict[str, str]
    require: str
    backlog: int
    oldest_ms: int | None
    workers: int
    free_seats: int
    wanted_workers: int
    """Of what comes in, a lane gets the share that it has of the backlog; without one, all lanes get the same."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What waits for a handler, and how many workers would end it in time."""

    handler: str
    paused: bool
    """Then nothing of the backlog can be taken, and no workers are wanted for it."""
    backlog: int
    """Tasks, or shards of them, that could begin now."""
    oldest_ms: int | None
    """How long the next one in turn has been ready."""
    running: int
    workers: int
    seats: int
    free_seats: int
    """Seats are a worker's, not a handler's: handlers of one worker share them."""
    in_per_s: float
    out_per_s: float
    duration_ms: float | None
    """The mean of the last ten minutes, or, when none ended, of all; None for a handler that never ran."""
    wanted_seats: int
    """What comes in keeps so many busy, and the backlog as many more for ``within``."""
    wanted_workers: int
    """The same in workers with as many seats as those that are connected have; with one if none is."""
    lanes: list[LaneDemand]


async def demand(space: Partitions, handler: str, within_ms: int) -> Demand:
    """The demand of a handler (``namespace/app/handler``) when its backlog is to be gone within a time."""
    shown = await queue(space, handler)
    partition = await home(space, app_of(handler))
    now_ms = (await clock_of(partition)).wall if partition else 0
    in_per_s = out_per_s = 0.0
    [whole] = await totals(space, [handler])
    duration_ms = whole.figures.duration.mean_ms
    if now_ms:
        span = span_of(now_ms, now_ms - RATES_OVER_MS, now_ms, Step.MINUTE)
        [recent] = await stats(space, [handler], span, buckets=False)
        in_per_s, out_per_s = recent.in_per_s, recent.out_per_s
        duration_ms = recent.figures.duration.mean_ms or duration_ms
    paused = shown.paused_ms is not None
    seats = 0.0 if paused else _seats(shown.depth, in_per_s, duration_ms, within_ms)
    return Demand(
        handler=shown.handler,
        paused=paused,
        backlog=shown.depth,
        oldest_ms=shown.oldest_ms,
        running=whole.running,
        workers=shown.workers,
        seats=shown.seats,
        free_seats=shown.free_seats,
        in_per_s=in_per_s,
        out_per_s=out_per_s,
        duration_ms=duration_ms,
        wanted_seats=math.ceil(seats),
        wanted_workers=_workers(seats, shown),
        lanes=[
            _lane(lane, shown, 0.0 if paused else _seats(lane.depth, in_per_s * share, duration_ms, within_ms))
            for lane, share in zip(shown.lanes, _shares(shown.lanes), strict=True)
        ],
    )


def _seats(backlog: int, in_per_s: float, duration_ms: float | None, within_ms: int) -> float:
    """Little's law for what comes in, and the backlog's work spread over the time; one task wants one seat at least."""
    if duration_ms is None:
        return float(backlog > 0)
    seats = in_per_s * duration_ms / 1000 + backlog * duration_ms / within_ms
    return max(seats, 1.0) if backlog else seats


def _workers(seats: float, shown: Queue) -> int:
    return math.ceil(seats * shown.workers / shown.seats) if shown.seats else math.ceil(seats)


def _shares(lanes: Sequence[QueueLane]) -> list[float]:
    backlog = sum(lane.depth for lane in lanes)
    return [lane.depth / backlog if backlog else 1 / len(lanes) for lane in lanes]


def _lane(lane: QueueLane, shown: Queue, seats: float) -> LaneDemand:
    return LaneDemand(
        labels=lane.labels,
        require=lane.require,
        backlog=lane.depth,
        oldest_ms=lane.oldest_ms,
        workers=lane.workers,
        free_seats=lane.free_seats,
        wanted_workers=_workers(seats, shown),
    )
