"""Row 16: a task that kills whatever worker runs it, among innocent neighbours."""

import asyncio
import time
from typing import Any

from tests.faults.rig import Rig, until
from tests.faults.scenario import Figures, Scale, row

WORKERS = 4
CONCURRENCY = 10
NEIGHBOURS = 100
WORK_MS = 3_000


@row(
    16,
    "a poison task among innocent neighbours",
    targets={"deaths": "<= 3", "quarantined": "== 0", "poison_events": "== 1", "neighbours_done": "== 100"},
)
async def poison(rig: Rig, scale: Scale) -> Figures:
    """os.abort() in the middle of a group that is never idle: three deaths, and only the guilty one is set aside."""
    await rig.start(gateways=1, triggers=1, workers=0)
    for _ in range(WORKERS):
        rig.start_worker(concurrency=CONCURRENCY, module="tests.faults.deadly")
    await rig.connected()
    began = time.monotonic()
    await rig.submitter.burst(NEIGHBOURS // 2, "work", {"ms": WORK_MS})
    [guilty] = await rig.submitter.burst(1, "abort")
    await rig.submitter.burst(NEIGHBOURS - NEIGHBOURS // 2, "work", {"ms": WORK_MS})
    rig.submitter.stream(0.05, "work", {"ms": 1_000})  # so that no session is idle by itself
    deaths = 0

    def over() -> bool:
        return bool(_task(rig, guilty)["state"] == "faulted")

    watching = asyncio.create_task(until(over, 180.0, "the end of the poison"))
    while not watching.done():
        for worker in rig.workers:
            if not worker.alive():
                deaths += 1
                rig.system.revive(worker)
        await asyncio.wait({watching}, timeout=0.1)
    poisoned_s = await watching
    await rig.submitter.stop()
    await rig.settle(120.0)
    states = [_task(rig, accepted.task) for accepted in rig.submitter.accepted if accepted.task != guilty]
    done = [accepted.task for accepted in rig.submitter.accepted if accepted.task != guilty][:NEIGHBOURS]
    return {
        "deaths": deaths,
        "reason": _task(rig, guilty)["reason"],
        "quarantined": sum(state["state"] != "run_to_completion" for state in states),
        "neighbours_done": sum(_task(rig, task)["state"] == "run_to_completion" for task in done),
        "innocent": len(states),
        "poison_events": rig.count_events("poison"),
        "poisoned_s": round(poisoned_s, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


def _task(rig: Rig, task: str) -> Any:
    return rig.request("GET", f"/v1/tasks/{task}")
