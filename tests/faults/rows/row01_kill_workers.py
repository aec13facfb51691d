"""Row 1: workers die in the middle of their work, one after the other."""

import asyncio
import time
from collections.abc import Iterable
from itertools import pairwise

from tests.faults.rig import Rig, now_ms, percentile
from tests.faults.scenario import Figures, Scale, row
from tests.tools import history
from tests.tools.history import Run

WORKERS = 12
CONCURRENCY = 5
WORK_MS = 300


@row(
    1,
    "kill -9 workers",
    targets={"refused": "== 0", "extra_over_leases": "<= 0", "innocent_faulted": "== 0", "redelivery_p99_s": "<= 17"},
)
async def kill_workers(rig: Rig, scale: Scale) -> Figures:
    """10,000 tasks, 200 kills; every killed worker comes back under its name.

    A run that three kills hit is poison by definition: nobody can tell it from the one that causes them.
    """
    tasks, kills = scale.of(10_000, 2_000), scale.of(200, 40)
    random = scale.random("victims")
    await rig.start(gateways=2, triggers=2, workers=WORKERS, concurrency=CONCURRENCY)
    killed: list[tuple[str, int, int]] = []
    submitting = asyncio.create_task(rig.submitter.burst(tasks, "work", {"ms": WORK_MS}))
    began = time.monotonic()
    for _ in range(kills):
        victim = random.choice(rig.workers)
        pid, at_ms = victim.pid, now_ms()
        victim.kill()
        killed.append((victim.name, pid, at_ms))
        rig.system.revive(victim)
        await asyncio.sleep(random.uniform(0.1, 0.5))
    await submitting
    await rig.settle(within_s=scale.of(240.0, 90.0))
    records = await asyncio.to_thread(rig.collect)
    delays = redelivery_s(records.by_run.values(), killed)
    ended = sum(event.kind in history.LEASE_ENDED for event in records.events)
    poisoned = sum(event.kind == "poison" for event in records.events)
    states = [(records.record(accepted.task) or {}).get("state") for accepted in records.accepted]
    extra = len(records.executions) - len(records.by_run)
    return {
        "tasks": len(rig.submitter.accepted),
        "kills": len(killed),
        "refused": len(rig.submitter.refused),
        "leases_ended": ended,
        "extra_over_leases": extra - ended,
        "poisoned": poisoned,
        "innocent_faulted": sum(state == "faulted" for state in states) - poisoned,
        "sessions_lost": sum(event.kind == "session_lost" for event in records.events),
        "interrupted": len(delays),
        "redelivery_p50_s": round(percentile(delays, 0.5), 2),
        "redelivery_p99_s": round(percentile(delays, 0.99), 2),
        "seconds": round(time.monotonic() - began, 1),
    }


def redelivery_s(runs: Iterable[list[Run]], killed: list[tuple[str, int, int]]) -> list[float]:
    """How long after its worker's death each interrupted run had begun again."""
    deaths = {(name, pid): at_ms for name, pid, at_ms in killed}
    delays = []
    for executions in runs:
        for first, again in pairwise(executions):
            died = deaths.get((first.begin.worker, first.begin.pid))
            if died is not None and first.end is None:
                delays.append((again.begin.at_ms - died) / 1000)
    return delays
