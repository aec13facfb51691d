"""100 triggers that all fire every second, for 20 s: how late does a handler begin?"""

import time

from bench.rig import APP, Rig, percentile, rig

QUESTION = "100 triggers firing every second for 20 s: handler start after due"
GOALS = {"p50_ms": 5.0, "p99_ms": 30.0, "missed": 0.0, "double": 0.0}

TRIGGERS = 100
SECONDS = 20
WARM_S = 2


def measure() -> dict[str, float]:
    with rig() as system:
        system.start_worker(concurrency=200)
        _define(system)
        first = (int(time.time()) + 1 + WARM_S) * 1000
        slots = range(first, first + SECONDS * 1000, 1000)
        time.sleep(slots[-1] / 1000 + 2 - time.time())
        ticks = [(slot, late) for slot, late in system.ask("lateness") if slot in slots]
    late = [late for _slot, late in ticks]
    return {
        "p50_ms": round(percentile(late, 0.50), 2),
        "p99_ms": round(percentile(late, 0.99), 2),
        "max_ms": round(max(late), 2),
        "missed": max(0, TRIGGERS * SECONDS - len(ticks)),
        "double": max(0, len(ticks) - TRIGGERS * SECONDS),
    }


def _define(system: Rig) -> None:
    body = {"handler": "tick", "schedule": {"kind": "cron", "spec": "* * * * * *", "time_zone": "UTC"}}
    for number in range(TRIGGERS):
        system.request("PUT", f"{APP}/triggers/every-second-{number}", json=body)
