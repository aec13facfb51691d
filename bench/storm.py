"""100,000 triggers of one app due in the same second, with a worker that takes what comes: how long does a script take?

The engine counts its calls of scripts in classes of powers of two; those over 5 ms are counted by its slow log.
"""

import time
from typing import Any, Final

from bench import triggers
from bench.drain import CONCURRENCY
from bench.figures import Figures, Scale
from bench.question import Failed, Measures
from bench.rig import PATIENCE_S, Rig, rig, wait_for
from gojob_redis.domain import limits

QUESTION = "100,000 triggers due in one second: durations of all script calls"
ROUNDS: Final = 1
"""A round has three storms."""
STORMS: Final = 3
FULL, SMALL = 100_000, 5_000
DEFINED_PER_S: Final = 1_500
AHEAD_S: Final = 5
BEFORE_S: Final = 0.5
LIMIT_US: Final = 1_000 * limits.SCRIPT_MS
SCRIPT: Final = b"EVALSHA"
CALL: Final = "evalsha"
SLOW_ENTRIES: Final = 10_000


def contenders(scale: Scale) -> Measures:
    count = scale.of(FULL, SMALL)
    return {"ours": lambda: measure(count)}


def measure(count: int) -> Figures:
    with rig() as system:
        system.start_workers(concurrency=CONCURRENCY)
        system.engine.config_set("slowlog-max-len", SLOW_ENTRIES)
        storms = [_storm(system, count) for _ in range(STORMS)]
    figures: Figures = {
        "over_5_ms": [float(storm["over"]) for storm in storms],
        "slowest_ms": [storm["slowest_ms"] for storm in storms],
        "scripts": [float(storm["scripts"]) for storm in storms],
        "fired_and_run_per_s": [round(count / storm["seconds"]) for storm in storms],
    }
    for limit_us in sorted({limit_us for storm in storms for limit_us in storm["classes"]}):
        figures[f"scripts_up_to_{limit_us}_us"] = [float(storm["classes"].get(limit_us, 0)) for storm in storms]
    return figures


def _storm(system: Rig, count: int) -> dict[str, Any]:
    due_s = int(time.time()) + AHEAD_S + count // DEFINED_PER_S
    triggers.define(system, [due_s * 1000 + number % 1000 for number in range(count)], name="storm-", handler="noop")
    if time.time() > due_s:
        raise Failed("defining took too long")
    goal = system.counted.count + count
    time.sleep(due_s - BEFORE_S - time.time())
    _reset(system)
    wait_for(lambda: system.counted.count >= goal, within_s=PATIENCE_S)
    entries = [entry for entry in system.engine.slowlog_get(SLOW_ENTRIES) if entry["command"].startswith(SCRIPT)]
    classes = _classes(system)
    return {
        "over": len(entries),
        "slowest_ms": max((entry["duration"] / 1000 for entry in entries), default=max(classes, default=0) / 1000),
        "scripts": sum(classes.values()),
        "classes": classes,
        "seconds": system.counted.last_s - due_s,
    }


def _reset(system: Rig) -> None:
    """Forget what was counted while triggers were defined."""
    system.engine.config_set("slowlog-log-slower-than", LIMIT_US)
    system.engine.slowlog_reset()
    system.engine.config_resetstat()


def _classes(system: Rig) -> dict[int, int]:
    """How many calls of scripts took at most so many µs, and longer than the class below."""
    histograms = _mapping(system.engine.execute_command("LATENCY", "HISTOGRAM", CALL))
    calls_by_limit = _mapping(_mapping(histograms[CALL.encode()])[b"histogram_usec"])
    below, classes = 0, {}
    for limit_us, calls in calls_by_limit.items():
        classes[int(limit_us)] = int(calls) - below
        below = int(calls)
    return classes


def _mapping(answer: Any) -> dict[Any, Any]:
    """What one protocol tells as a map, and the other as a list."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
