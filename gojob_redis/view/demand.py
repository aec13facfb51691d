"""How many workers a handler wants: for autoscalers, from what waits, what comes in, and how long it takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gojob_redis.domain.address import app_of
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.flow import Flow, flows
from gojob_redis.view.queues import Queue, QueueLane, queue, wanted_seats, wanted_workers
from gojob_redis.view.records import clock_of, home
from gojob_redis.view.stats import totals


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
    flow = Flow()
    if partition is not None:
        flow = (await flows(space, [handler], (await clock_of(partition)).wall))[handler]
    [whole] = await totals(space, [handler])
    duration_ms = flow.duration_ms or whole.figures.duration.mean_ms
    paused = shown.paused_ms is not None
    seats = 0.0 if paused else wanted_seats(shown.backlog, flow.in_per_s, duration_ms, within_ms)
    workers, all_seats = shown.workers or 0, shown.seats or 0
    return Demand(
        handler=shown.handler,
        paused=paused,
        backlog=shown.backlog,
        oldest_ms=shown.oldest_ms,
        running=whole.running,
        workers=workers,
        seats=all_seats,
        free_seats=shown.free_seats or 0,
        in_per_s=flow.in_per_s,
        out_per_s=flow.out_per_s,
        duration_ms=duration_ms,
        wanted_seats=math.ceil(seats),
        wanted_workers=wanted_workers(seats, workers, all_seats),
        lanes=[
            _lane(
                lane,
                shown,
                0.0 if paused else wanted_seats(lane.backlog, flow.in_per_s * share, duration_ms, within_ms),
            )
            for lane, share in zip(shown.lanes, _shares(shown.lanes), strict=True)
        ],
    )


def _shares(lanes: Sequence[QueueLane]) -> list[float]:
    backlog = sum(lane.backlog for lane in lanes)
    return [lane.backlog / backlog if backlog else 1 / len(lanes) for lane in lanes]


def _lane(lane: QueueLane, shown: Queue, seats: float) -> LaneDemand:
    return LaneDemand(
        labels=lane.labels,
        require=lane.require,
        backlog=lane.backlog,
        oldest_ms=lane.oldest_ms,
        workers=lane.workers,
        free_seats=lane.free_seats,
        wanted_workers=wanted_workers(seats, shown.workers or 0, shown.seats or 0),
    )
