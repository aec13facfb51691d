"""Row 12: the engine forgets its scripts again and again."""

import asyncio
import time

from tests.faults.rig import Rig, wait
from tests.faults.scenario import Figures, Scale, row

EVERY_S = 0.2


@row(12, "SCRIPT FLUSH under load", targets={"refused": "== 0", "troubles": "== 0", "extra": "== 0"})
async def script_flush(rig: Rig, scale: Scale) -> Figures:
    """Nobody notices: a call finds no script and sends it along."""
    seconds = scale.of(60.0, 8.0)
    await rig.start(gateways=2, triggers=2, workers=4)
    for number in range(20):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.01, "work", {"ms": 20})
    burst = asyncio.create_task(rig.submitter.burst(scale.of(5_000, 500), "work"))
    ends = time.monotonic() + seconds
    flushes = 0
    while time.monotonic() < ends:
        rig.engine.script_flush()
        flushes += 1
        await wait(EVERY_S)
    await burst
    await rig.submitter.stop()
    await rig.end_triggers()
    settled_s = await rig.settle()
    return {
        "flushes": flushes,
        "refused": len(rig.submitter.refused),
        "troubles": len(rig.troubles()),
        "settled_s": round(settled_s, 1),
    }
