"""What does an app with a million queued tasks add to the latency of another app's tasks?

First while nobody serves it, then while its worker drains it as fast as it can, on the same cores.
"""

from statistics import median
from typing import Final

from bench.drain import CONCURRENCY
from bench.figures import Figures, Scale, percentile
from bench.question import Measures
from bench.rig import Rig, rig
from bench.sender import waits

QUESTION = "p99 from submit to start of an app with 100 tasks/s, beside another one with 1,000,000 queued tasks"
ROUNDS: Final = 1
"""A round measures every state three times."""
TIMES: Final = 3
QUEUED, QUEUED_SMALL = 1_000_000, 20_000
RATE: Final = 100
SECONDS, SECONDS_SMALL = 5.0, 1.0
OTHER: Final = "other"


def contenders(scale: Scale) -> Measures:
    queued, seconds = scale.of(QUEUED, QUEUED_SMALL), scale.of(SECONDS, SECONDS_SMALL)
    return {"ours": lambda: measure(queued, seconds)}


def measure(queued: int, seconds: float) -> Figures:
    with rig() as system:
        system.start_workers(app=OTHER, concurrency=50)
        _p99s(system, 1.0, 0)  # warm
        alone = _p99s(system, seconds, 1)
        system.submit(queued)
        beside = _p99s(system, seconds, 2)
        system.start_workers(concurrency=CONCURRENCY)
        drained = _p99s(system, seconds, 3)
        left = queued - (system.counted.count - len(system.notes))
    return {
        "p99_ms_alone": alone,
        "p99_ms_queued": beside,
        "p99_ms_drained": drained,
        "added_p99_ms_queued": round(median(beside) - median(alone), 2),
        "added_p99_ms_drained": round(median(drained) - median(alone), 2),
        "left_at_the_end": left,  # none would mean that less was measured
    }


def _p99s(system: Rig, seconds: float, state: int) -> list[float]:
    firsts = [(state * TIMES + time) * 1_000_000 for time in range(TIMES)]
    return [round(percentile(waits(system, RATE, seconds, first=first, app=OTHER), 0.99), 2) for first in firsts]
