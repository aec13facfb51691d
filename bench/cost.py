"""What does a task cost that is alone: engine, gateway, worker and trigger replica?

Each task is submitted through HTTP when the one before has begun. What the same processes use while nothing is to be
done is taken off. What a task costs among many is told by drain.py.
"""

import time
from typing import Final

from bench.figures import Figures, Scale
from bench.meter import MICRO
from bench.question import Measures
from bench.rig import Rig, rig
from bench.sender import one_by_one

QUESTION = "CPU and commands of one task's life, one at a time, through HTTP"
FULL, SMALL = 2_000, 200
WARM: Final = 100
IDLE_S: Final = 3.0


def contenders(scale: Scale) -> Measures:
    tasks = scale.of(FULL, SMALL)
    return {"ours": lambda: measure(tasks)}


def measure(tasks: int) -> Figures:
    with rig() as system:
        system.start_workers(concurrency=10)
        one_by_one(system, WARM)
        before = _used(system)
        time.sleep(IDLE_S)
        idle = _since(system, before)
        began, before = time.monotonic(), _used(system)
        one_by_one(system, tasks)
        busy, lasted = _since(system, before), time.monotonic() - began
    return {name: round((used - idle[name] / IDLE_S * lasted) / tasks, 1) for name, used in busy.items()}


def _used(system: Rig) -> dict[str, float]:
    """CPU so far in µs, that of the engine within scripts among it, and commands of the engine."""
    used = {f"{role}_us": cpu_s * MICRO for role, cpu_s in system.cpu_s().items()}
    span = system.meter.span()
    scripts_us = float(system.engine.info("commandstats")["cmdstat_evalsha"]["usec"])
    return used | {"engine_us": span.cpu_s * MICRO, "scripts_us": scripts_us, "commands": float(span.commands)}


def _since(system: Rig, before: dict[str, float]) -> dict[str, float]:
    return {name: used - before[name] for name, used in _used(system).items()}
