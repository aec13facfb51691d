"""Does a task cost more beside a lot of others? Each kind of a lot alone, at a tenth of it and at all of it.

The cost of a task is the CPU of engine, gateway, worker and trigger replica together, from its submission (or firing)
to its report, in µs. Every point is the median of three probes; a ratio compares all of it with none.
``plot.py`` draws the result.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final

from bench import triggers
from bench.crowds import crowd
from bench.drain import CONCURRENCY
from bench.figures import Figures, Scale
from bench.meter import MICRO
from bench.question import Measures
from bench.rig import BATCH, BENCH, Rig, rig
from gojob_redis.limits import HOUR_MS

QUESTION = "CPU of one task's life beside many tasks, triggers, sessions, handlers, lanes"
ROUNDS: Final = 1
"""A round probes every point three times."""
PROBES: Final = 3
TASKS, TASKS_SMALL = 10_000, 1_000
TRIGGERS, TRIGGERS_SMALL = 4_000, 500
QUEUED, QUEUED_SMALL = 970_000, 5_000
"""With the probes' own, as many as a handler may have."""
DEFINED, DEFINED_SMALL = 100_000, 2_000
SESSIONS, SESSIONS_SMALL = 5_000, 200
HANDLERS, HANDLERS_SMALL = 1_000, 50
LANES, LANES_SMALL = 100, 10
AHEAD_S: Final = 3
BEFORE_S: Final = 0.1
SETTLE_S: Final = 1.0
PER_LANE: Final = 10


def contenders(scale: Scale) -> Measures:
    tasks, fired = scale.of(TASKS, TASKS_SMALL), scale.of(TRIGGERS, TRIGGERS_SMALL)

    def measure() -> Figures:
        return (
            _queued(scale.of(QUEUED, QUEUED_SMALL), tasks)
            | _defined(scale.of(DEFINED, DEFINED_SMALL), fired)
            | _crowded(scale.of(SESSIONS, SESSIONS_SMALL), tasks)
            | _spread(scale.of(HANDLERS, HANDLERS_SMALL), tasks)
            | _laned(scale.of(LANES, LANES_SMALL), tasks)
        )

    return {"ours": measure}


# ---- a lot of what ---------------------------------------------------------------------------------------------------


def _queued(size: int, tasks: int) -> Figures:
    """Tasks of the same lane, which go on being run."""
    with rig() as system:
        return _grown("queued", size, lambda held, more: system.submit(more), lambda: _submitted(system, tasks))


def _defined(size: int, tasks: int) -> Figures:
    """Triggers of the same app that are not due, while others fire."""

    def add(held: int, more: int) -> None:
        later_ms = int(time.time()) * 1000 + HOUR_MS
        triggers.define(system, [later_ms + number for number in range(more)], name=f"later-{held}-")

    with rig() as system:
        system.start_workers(concurrency=CONCURRENCY)
        return _grown("triggers", size, add, lambda: _fired(system, tasks))


def _crowded(size: int, tasks: int) -> Figures:
    """Idle workers of the same app that serve another handler."""

    def add(held: int, more: int) -> None:
        stack.enter_context(crowd(system, [BENCH], more))

    with rig() as system, ExitStack() as stack:
        return _grown(
            "sessions",
            size,
            add,
            lambda: _submitted(system, tasks),
        )


def _spread(size: int, tasks: int) -> Figures:
    """Handlers that the worker serves, each with its share of the tasks; as many requests whatever their number."""
    serving = ["noop"]

    def add(held: int, more: int) -> None:
        serving[:] = [f"noop-{number}" for number in range(held + more)]

    with rig() as system:
        return _grown("handlers", size, add, lambda: _submitted(system, tasks, serving, together=tasks // size))


def _laned(size: int, tasks: int) -> Figures:
    """Lanes of the same handler, with tasks that nobody here may take."""

    def add(held: int, more: int) -> None:
        for number in range(held, held + more):
            system.submit(PER_LANE, labels={"env": f"dye-{number}"})

    with rig() as system:
        return _grown("lanes", size, add, lambda: _submitted(system, tasks))


def _grown(name: str, size: int, add: Callable[[int, int], None], probe: Callable[[], float]) -> Figures:
    """Probe beside none, a tenth, and all; ``add`` is told how many there are and how many more there shall be."""
    probe()  # scripts are loaded, code is warm
    points: dict[int, list[float]] = {}
    held = 0
    for wanted in (0, size // 10, size):
        if wanted > held:
            add(held, wanted - held)
            time.sleep(SETTLE_S)
        held = wanted
        points[wanted] = [round(probe(), 1) for _ in range(PROBES)]
    figures: Figures = {f"{name}_us_at_{wanted}": costs for wanted, costs in points.items()}
    return figures | {f"{name}_ratio": round(median(points[size]) / median(points[0]), 3)}


# ---- probes ----------------------------------------------------------------------------------------------------------


def _submitted(system: Rig, tasks: int, handlers: Sequence[str] = ("noop",), *, together: int = BATCH) -> float:
    """µs of a task that is submitted and run; the worker begins when all are queued."""
    together = min(together, tasks)
    before = _used_s(system)
    for request in range(tasks // together):
        system.submit(together, handlers[request % len(handlers)], together=together)
    submitting_s = _used_s(system) - before
    system.start_workers(concurrency=CONCURRENCY, wait=False, handlers=len(handlers))
    first, before = system.executed(1).count, _used_s(system)
    last = system.executed(tasks).count
    running_s = _used_s(system) - before
    system.forget()
    return (submitting_s / tasks + running_s / max(1, last - first)) * MICRO


def _fired(system: Rig, tasks: int) -> float:
    """µs of a task that a trigger fires, all at one moment."""
    due_s = int(time.time()) + AHEAD_S
    triggers.define(system, [due_s * 1000] * tasks, name="probe-")
    wanted = system.counted.count + tasks
    time.sleep(max(0.0, due_s - BEFORE_S - time.time()))
    before = _used_s(system)
    system.executed(wanted)
    return (_used_s(system) - before) * MICRO / tasks


def _used_s(system: Rig) -> float:
    return sum(system.cpu_s().values())
