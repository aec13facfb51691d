"""Row 2: gateways die under their workers, one every two seconds."""

from tests.faults.rig import Rig, wait
from tests.faults.scenario import Figures, Scale, row

EVERY_S = 2.0
WORK_MS = 3_000
BUSY, IDLE = 6, 3


@row(
    2,
    "kill -9 gateways",
    targets={"refused": "== 0", "rerun_share": "<= 0.01", "busy_back_max_s": "<= 15", "back_max_s": "<= 30"},
)
async def kill_gateways(rig: Rig, scale: Scale) -> Figures:
    """3 gateways; workers hold runs longer than a gateway lives. Some workers hold none: they may take their time."""
    kills = scale.of(60, 8)
    random = scale.random("victims")
    await rig.start(gateways=3, triggers=1, workers=BUSY, concurrency=10)
    for _ in range(IDLE):
        rig.start_worker(env={"GOJOB_WORKER__LABELS": "env=idle"})
    await rig.connected()
    rig.submitter.stream(0.1, "work", {"ms": WORK_MS})
    await wait(EVERY_S)
    for _ in range(kills):
        victim = random.choice(rig.gateways)
        victim.kill()
        rig.system.revive(victim)
        await wait(EVERY_S)
    await rig.submitter.stop()
    await rig.connected()
    settled_s = await rig.settle()
    records = rig.collect()
    extra = len(records.executions) - len(records.by_run)
    return {
        "kills": kills,
        "refused": len(rig.submitter.refused),
        "rerun_share": round(extra / len(records.by_run), 4),
        "busy_back_max_s": max(rig.away_s(busy=True), default=0.0),
        "back_max_s": max(rig.away_s(), default=0.0),
        "reconnected": len(rig.away_s()),
        "sessions_lost": rig.count_events("session_lost"),
        "settled_s": round(settled_s, 1),
    }
