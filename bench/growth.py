"""Does a task cost more beside a lot of others? Each kind of a lot alone, at a tenth of it and at all of it.

The cost of a task is the CPU of engine, gateway, worker and trigger replica together, from its submission (or firing)
to its report, in µs. Every point is the median of three probes; a ratio compares all of it with none. What all of them
use while nothing is to be done (heartbeats, sweeps) is no cost of a task: it is measured before the probes, told as the
standing share of a core, and taken off. ``plot.py`` draws the result.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Final

from bench import triggers
from bench.crowds import crowd
from bench.drain import CONCURRENCY
from bench.figures import Figures, Scale
from bench.meter import MICRO
from bench.question import Measures
from bench.rig import BATCH, BENCH, Rig, rig, wait_for
from gojob_redis.domain.limits import AUDIT_EVERY_MS, HOUR_MS

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
STANDING_S: Final = 3.0
AUDITED_S: Final = 2 * AUDIT_EVERY_MS / 1000
"""Until each new trigger was compared with its rule for the first time; from then on it is passed over."""
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

    def add(present: int, more: int) -> None:
        system.submit(more)

    with rig() as system:
        return _grown("queued", system, size, add, lambda standing: _submitted(system, tasks, standing))


def _defined(size: int, tasks: int) -> Figures:
    """Triggers of the same app that are not due, while others fire."""

    def add(present: int, more: int) -> None:
        later_ms = int(time.time()) * 1000 + HOUR_MS
        triggers.define(system, [later_ms + number for number in range(more)], name=f"later-{present}-")
        time.sleep(AUDITED_S)

    with rig() as system:
        system.start_workers(concurrency=CONCURRENCY)
        return _grown("triggers", system, size, add, lambda standing: _fired(system, tasks, standing))


def _crowded(size: int, tasks: int) -> Figures:
    """Idle workers of the same app that serve another handler."""

    def add(present: int, more: int) -> None:
        stack.enter_context(crowd(system, [BENCH], more))

    with rig() as system, ExitStack() as stack:
        return _grown("sessions", system, size, add, lambda standing: _submitted(system, tasks, standing))


def _spread(size: int, tasks: int) -> Figures:
    """Handlers that the worker serves, each with its share of the tasks; as many requests whatever their number."""
    serving = ["noop"]

    def add(present: int, more: int) -> None:
        if present + more > 1:  # a worker that serves one serves noop
            serving[:] = [f"noop-{number}" for number in range(present + more)]

    with rig() as system:
        probe = partial(_submitted, system, tasks, handlers=serving, together=tasks // size)
        return _grown("handlers", system, size, add, probe)


def _laned(size: int, tasks: int) -> Figures:
    """Lanes of the same handler, with tasks that nobody here may take."""

    def add(present: int, more: int) -> None:
        for number in range(present, present + more):
            system.submit(PER_LANE, labels={"env": f"dye-{number}"})

    with rig() as system:
        return _grown("lanes", system, size, add, lambda standing: _submitted(system, tasks, standing))


def _grown(
    name: str, system: Rig, size: int, add: Callable[[int, int], None], probe: Callable[[float], float]
) -> Figures:
    """Probe beside none, a tenth, and all. ``add`` gets how many there are and how many to add."""
    probe(0.0)  # scripts are loaded, code is warm
    figures: Figures = {}
    points: dict[int, list[float]] = {}
    present = 0
    for total in (0, size // 10, size):
        if total > present:
            add(present, total - present)
        present = total
        standing = _standing(system)
        points[total] = [round(probe(standing), 1) for _ in range(PROBES)]
        figures |= {
            f"{name}_us_at_{total}": [*points[total]],
            f"{name}_standing_percent_at_{total}": round(standing * 100, 1),
        }
    return figures | {f"{name}_ratio": round(median(points[size]) / median(points[0]), 3)}


def _standing(system: Rig) -> float:
    """What all processes use of a core while nothing is to be done, once the engine has rewritten its file."""
    time.sleep(SETTLE_S)
    wait_for(lambda: not system.engine.info("persistence")["aof_rewrite_in_progress"])
    before = _used_s(system)
    time.sleep(STANDING_S)
    return round((_used_s(system) - before) / STANDING_S, 4)


# ---- probes ----------------------------------------------------------------------------------------------------------


def _submitted(
    system: Rig, tasks: int, standing: float, *, handlers: Sequence[str] = ("noop",), together: int = BATCH
) -> float:
    """µs of a task that is submitted and run; the worker begins when all are queued."""
    together = min(together, tasks)
    spent_s = _spending(system, standing)
    for request in range(tasks // together):
        system.submit(together, handlers[request % len(handlers)], together=together)
    submitting_s = spent_s()
    system.start_workers(concurrency=CONCURRENCY, wait=False, handlers=len(handlers))
    first, spent_s = system.executed(1).count, _spending(system, standing)
    last = system.executed(tasks).count
    running_s = spent_s()
    system.forget()
    return (submitting_s / tasks + running_s / max(1, last - first)) * MICRO


def _fired(system: Rig, tasks: int, standing: float) -> float:
    """µs of a task that a trigger fires, all at one moment."""
    due_s = int(time.time()) + AHEAD_S
    triggers.define(system, [due_s * 1000] * tasks, name="probe-")
    goal = system.counted.count + tasks
    time.sleep(max(0.0, due_s - BEFORE_S - time.time()))
    spent_s = _spending(system, standing)
    system.executed(goal)
    return spent_s() * MICRO / tasks


def _spending(system: Rig, standing: float) -> Callable[[], float]:
    """A function that returns the CPU seconds used from now on, less the standing load."""
    began, before = time.monotonic(), _used_s(system)
    return lambda: _used_s(system) - before - standing * (time.monotonic() - began)


def _used_s(system: Rig) -> float:
    return sum(system.cpu_s().values())
