"""Row 8: processes that stand still for longer than their lease and then go on, not knowing that they were reaped."""

from itertools import pairwise

from tests.faults.rig import Rig, until, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.history import lateness_ms

PAUSE_S = 18.0
WORK_MS = 12_000
"""So long that the zombies report while the next attempt runs: a report after that would meet no fence, but the end."""
PER_WORKER = 50


@row(
    8, "processes paused past their lease", targets={"refused": "== 0", "zombies": ">= 100", "stale_reports": ">= 100"}
)
async def paused(rig: Rig, scale: Scale) -> Figures:
    """500 executions wake up after their runs were given to somebody else, and report; also a gateway, a trigger."""
    asleep = scale.of(10, 3)
    await rig.start(gateways=2, triggers=2, workers=asleep, concurrency=PER_WORKER)
    for number in range(10):
        rig.trigger(f"every-{number}", 500)
    zombies = asleep * PER_WORKER
    await rig.submitter.burst(zombies, "work", {"ms": WORK_MS})
    await until(lambda: _begun(rig) >= zombies - 20, 30.0, "the begin of all zombies", look_s=0.02)
    sleepers = list(rig.workers)
    for worker in sleepers:
        worker.pause()
    for _ in range(4):
        rig.start_worker(concurrency=200)
    await rig.connected({worker.name for worker in rig.workers[asleep:]})
    gateway, trigger = rig.gateways[1], rig.triggers[1]
    gateway.pause()
    trigger.pause()
    await wait(PAUSE_S)
    for process in (*sleepers, gateway, trigger):
        process.resume()
    await wait(2.0)
    await rig.end_triggers()
    settled_s = await rig.settle()
    records = rig.collect()
    asleep_names = {worker.name for worker in sleepers}
    stale = [
        first
        for executions in records.by_run.values()
        for first, again in pairwise(executions)
        if first.end and again.end and again.begin.at_ms < first.end.at_ms < again.end.at_ms
    ]
    return {
        "refused": len(rig.submitter.refused),
        "zombies": sum(
            first.begin.worker in asleep_names for executions in records.by_run.values() for first in executions[:-1]
        ),
        "stale_reports": len(stale),
        "late_max_ms": max(lateness_ms(records), default=0),
        "sessions_lost": rig.count_events("session_lost"),
        "settled_s": round(settled_s, 1),
    }


def _begun(rig: Rig) -> int:
    return sum(line.what == "begin" and line.handler.endswith("work") for line in rig.lines())
