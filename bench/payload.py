"""What do parameters of 100 bytes and of 10 KB cost on the whole way, against none?"""

import time
from typing import Final

from bench.drain import CONCURRENCY
from bench.figures import Figures, Scale
from bench.meter import MICRO
from bench.question import Measures
from bench.rig import rig, wait_for

QUESTION = "drain of 5,000 tasks with no parameters, 100 bytes and 10 KB"
FULL, SMALL = 5_000, 1_000
SIZES: Final = {"0": 0, "100": 100, "10k": 10_000}
TOGETHER: Final = 500


def contenders(scale: Scale) -> Measures:
    tasks = scale.of(FULL, SMALL)
    return {"ours": lambda: measure(tasks)}


def measure(tasks: int) -> Figures:
    figures: Figures = {}
    for name, size in SIZES.items():
        figures |= {f"{figure}_{name}": value for figure, value in _drain(tasks, size).items()}
    return figures


def _drain(tasks: int, size: int) -> Figures:
    with rig() as system:
        life = system.meter.span()
        system.submit(tasks, "load", params={"data": "x" * size}, together=TOGETHER)
        used = system.meter.memory()
        system.start_workers(concurrency=CONCURRENCY, wait=False)
        first = system.executed(1).count
        before = system.cpu_s()
        counted = system.executed(tasks)
        wait_for(lambda: system.ended("load") >= tasks)
        after = system.cpu_s()
        time.sleep(0.1)
        return {
            "tasks_per_s": round(tasks / counted.seconds),
            "engine_us": round(life.per(tasks)[0], 1),
            "gateway_us": round((after["gateway"] - before["gateway"]) * MICRO / (tasks - first), 1),
            "worker_us": round((after["worker"] - before["worker"]) * MICRO / (tasks - first), 1),
            "bytes_queued": round((used - system.meter.empty) / tasks, 1),
        }
