"""Three nodes and twelve apps, named as they come: does the work spread, and what does a task cost there?"""

from typing import Final

from bench.crowds import crowd
from bench.figures import Figures, Scale
from bench.meter import MICRO
from bench.question import Measures
from bench.rig import Rig, rig, wait_for

QUESTION = "drain of 12 apps' tasks on a cluster of three nodes, and on one engine: the engines' CPU"
NODES: Final = 3
APPS: Final = tuple(f"shop-{number}" for number in range(12))
FULL, SMALL = 2_000, 200
"""Tasks of each app."""
WORKERS: Final = 5
CAPACITY: Final = 100


def contenders(scale: Scale) -> Measures:
    tasks = scale.of(FULL, SMALL)
    return {"ours": lambda: measure(tasks, NODES), "ours, one engine": lambda: measure(tasks, 1)}


def measure(tasks: int, nodes: int) -> Figures:
    with rig(nodes=nodes) as system:
        life, before = system.meter.span(), system.meter.cpu_of_each()
        for app in APPS:
            system.submit(tasks, "crowd", app=app)
        with crowd(system, APPS, WORKERS, capacity=CAPACITY, instant=True):
            wait_for(lambda: all(_is_done(system, app, tasks) for app in APPS), look_s=0.1)
        used = [after - early for after, early in zip(system.meter.cpu_of_each(), before, strict=True)]
        total = len(APPS) * tasks
        return {
            "engine_us": round(life.per(total)[0], 1),
            "busiest_node_us": round(max(used) * MICRO / total, 1),
            "busiest_node_share": round(max(used) / sum(used), 3),
        }


def _is_done(system: Rig, app: str, tasks: int) -> bool:
    return system.ended("crowd", app=app) >= tasks
