"""What does it cost when twenty runs log 1,000 lines a second each, and what does another app notice of it?

The lines are given to Python's ``logging`` by handlers of two apps, so that each stays within its rate. Costs are those
of a second with lines less those of a second without. The other app's p99 is measured beside workers that make the same
lines and keep them to themselves (``log_level`` is off), and beside those whose lines are kept: the difference is what
logs add, and not that two more processes work.
"""

import time
from statistics import median
from typing import Final

from bench.fairness import OTHER, RATE, TIMES
from bench.figures import Figures, Scale, percentile
from bench.meter import MICRO
from bench.question import Measures
from bench.rig import Rig, rig, wait_for
from bench.sender import waits
from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import K, prefixes
from gojob_redis.view.logs import Sums, sums_of

QUESTION = "20,000 log lines a second through one gateway: their cost, and what they add to another app's p99"
ROUNDS: Final = 1
"""A round measures the other app three times in each state."""
LINES, LINES_SMALL = 20_000, 2_000
APPS: Final = ("talks-a", "talks-b")
SILENT: Final = ("mutters-a", "mutters-b")
RUNS: Final = 10
"""Of each of these apps."""
SPAN_S, SPAN_S_SMALL = 5.0, 1.0
SPARE_S: Final = 30.0


def contenders(scale: Scale) -> Measures:
    rate, span_s = scale.of(LINES, LINES_SMALL), scale.of(SPAN_S, SPAN_S_SMALL)
    return {"ours": lambda: measure(rate, span_s)}


def measure(rate: int, span_s: float) -> Figures:
    with rig() as system:
        system.start_workers(app=OTHER, concurrency=50)
        _p99s(system, 1.0, 0)  # warm
        params = {"lines_each_second": rate // (RUNS * len(APPS)), "seconds": 2 * (TIMES + 1) * span_s + SPARE_S}
        silent = [
            worker
            for app in SILENT
            for worker in system.start_workers(app=app, concurrency=RUNS, log_level="off", drain_s=0)
        ]
        for app in SILENT:
            system.submit(RUNS, "chatter", app=app, params=params)
        beside_silent = _p99s(system, span_s, 1)
        for worker in silent:
            worker.stop()
            system.workers.remove(worker)
        for app in APPS:
            system.start_workers(app=app, concurrency=RUNS)
        idle = _used(system, span_s)
        for app in APPS:
            system.submit(RUNS, "chatter", app=app, params=params)
        wait_for(lambda: _sums(system).lines >= rate)
        before = _sums(system)
        busy = _used(system, span_s)
        after = _sums(system)
        beside = _p99s(system, span_s, 2)
        end = _sums(system)
        lines = after.lines - before.lines
        cost = {role: max(0.0, busy[role] - idle[role]) * MICRO / lines for role in busy}
        return {
            "lines_per_s": round(lines / span_s),
            "lost": end.by_gateway + end.by_worker,
            "bytes_a_line": round(end.bytes / max(1, end.kept), 1),
            "engine_us_a_line": round(cost["engine"], 2),
            "gateway_us_a_line": round(cost["gateway"], 2),
            "worker_us_a_line": round(cost["worker"], 2),
            "p99_ms_silent": beside_silent,
            "p99_ms_beside": beside,
            "added_p99_ms": round(median(beside) - median(beside_silent), 2),
        }


def _p99s(system: Rig, seconds: float, state: int) -> list[float]:
    firsts = [(state * TIMES + time) * 1_000_000 for time in range(TIMES)]
    return [round(percentile(waits(system, RATE, seconds, first=first, app=OTHER), 0.99), 2) for first in firsts]


def _used(system: Rig, span_s: float) -> dict[str, float]:
    """Processor seconds of each role in this time."""
    before = system.cpu_s()
    time.sleep(span_s)
    return {role: used - before[role] for role, used in system.cpu_s().items()}


def _sums(system: Rig) -> Sums:
    """What is counted of all logs of the apps that talk."""
    lines = kept = size = by_gateway = by_worker = 0
    for prefix in prefixes(PARTITIONS):
        for app in APPS:
            for run in system.engine.zrange(K.logs(prefix, f"default/{app}"), 0, -1):
                sums = sums_of(system.engine.hget(K.log(prefix, run.decode()), "sums"))
                lines, kept, size = lines + sums.lines, kept + sums.kept, size + sums.bytes
                by_gateway, by_worker = by_gateway + sums.by_gateway, by_worker + sums.by_worker
    return Sums(lines=lines, kept=kept, bytes=size, by_gateway=by_gateway, by_worker=by_worker)
