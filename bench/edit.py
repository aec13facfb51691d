"""A trigger that would fire in an hour is edited to fire in 300 ms: how late does it fire then?"""

import time
from typing import Final

from bench.figures import Figures, Scale, times
from bench.question import Measures
from bench.rig import BENCH, NAMESPACE, Rig, rig, wait_for

QUESTION = "a trigger edited to an earlier time: handler start after that time"
FULL, SMALL = 20, 3
HOUR_MS: Final = 3_600_000
SOON_MS: Final = 300


def contenders(scale: Scale) -> Measures:
    edits = scale.of(FULL, SMALL)
    return {"ours": lambda: measure(edits)}


def measure(edits: int) -> Figures:
    with rig() as system:
        system.start_workers(concurrency=10)
        for number in range(edits):
            _put(system, number, HOUR_MS)
            _put(system, number, SOON_MS)
            wait_for(lambda number=number: system.counted.count > number)  # type: ignore[misc]
        return times([late_ms for _number, late_ms in system.notes])


def _put(system: Rig, number: int, ahead_ms: int) -> None:
    due = int(time.time() * 1000) + ahead_ms
    body = {
        "handler": "tick",
        "params": {"number": number},
        "schedule": {"kind": "every", "every_ms": HOUR_MS, "start_at": due},
    }
    system.request("PUT", f"{NAMESPACE}/{BENCH}/triggers/edited-{number}", json=body)
