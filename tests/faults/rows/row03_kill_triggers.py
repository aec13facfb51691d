"""Row 3: trigger replicas die while a thousand slots a second come due."""

from tests.faults.rig import Rig, percentile, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.history import lateness_ms

REPLICAS = 3
EVERY_MS = 200
"""A ledger keeps 1,000 entries: no trigger may have more slots than that, or nothing could be compared."""


@row(
    3,
    "kill -9 trigger replicas",
    targets={"late_p99_ms": "<= 1000", "slots_coalesced": "== 0"},
)
async def kill_triggers(rig: Rig, scale: Scale) -> Figures:
    """100,000 fires, 20 kills: none missing, none double, hardly late."""
    kills, triggers, seconds = scale.of(20, 5), scale.of(200, 50), scale.of(100.0, 12.0)
    random = scale.random("victims")
    await rig.start(gateways=2, triggers=REPLICAS, workers=3, concurrency=50)
    for number in range(triggers):
        rig.trigger(f"every-{number}", EVERY_MS)
    for _ in range(kills):
        victim = random.choice(rig.triggers)
        victim.kill()
        await wait(random.uniform(0.0, 0.5) * seconds / kills)
        rig.system.revive(victim)
        await wait(0.5 * seconds / kills)
    await wait(max(0.0, seconds / 4))
    await rig.end_triggers()
    settled_s = await rig.settle(within_s=300.0)
    late = lateness_ms(rig.collect())
    return {
        "kills": kills,
        "fires": len(late),
        "late_p50_ms": percentile(late, 0.5),
        "late_p99_ms": percentile(late, 0.99),
        "late_max_ms": max(late, default=0),
        "settled_s": round(settled_s, 1),
    }
