"""Row 9: an engine that stands still, and one whose answers get lost, come late, or make callers repeat."""

import asyncio

from tests.faults.rig import Rig, between, now_ms, redis_by, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.history import recovery_s
from tests.tools.proxy import Faults

WORK_MS = 3_000
HEALED_S = 12.0


@row(
    9,
    "the engine paused 1/5/20 s",
    targets={"refused": "== 0", "sessions_lost": "== 0", "extra": "== 0", "recovered_s": "<= 10"},
    short=False,
)
async def engine_paused(rig: Rig, scale: Scale) -> Figures:
    """A pause takes no lease, whatever it lasts, and re-runs nothing."""
    await rig.start(gateways=2, triggers=2, workers=4)
    engine = rig.system.engine
    assert engine is not None
    for number in range(10):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.1, "work", {"ms": WORK_MS})
    moments: list[tuple[int, int]] = []
    for seconds in (1.0, 5.0, 20.0):
        await wait(4.0)
        paused = now_ms()
        engine.pause()
        await wait(seconds)
        engine.resume()
        moments.append((paused, now_ms()))
    await wait(HEALED_S)
    await rig.submitter.stop()
    await rig.end_triggers()
    settled_s = await rig.settle()
    records = rig.collect()
    return {
        "refused": len(rig.submitter.refused),
        "sessions_lost": rig.count_events("session_lost"),
        "recovered_s": recovery_s(records, between(moments)),
        "submit_max_s": round(max(rig.submitter.latencies_s), 1),
        "settled_s": round(settled_s, 1),
    }


@row(
    9,
    "replies of the engine dropped, doubled, late",
    targets={"refused": "== 0", "doubled": ">= 20", "dropped": ">= 50"},
    short=False,
)
async def bad_replies(rig: Rig, scale: Scale) -> Figures:
    """5 % dropped, 2 % doubled, 2 % late: every effect is there exactly once."""
    rig.system.start_engine()
    network = rig.engine_proxy()
    for _ in range(2):
        rig.system.start_gateway(env=redis_by(network))
        rig.system.start_trigger(env=redis_by(network))
    await rig.ready(workers=4)
    for number in range(10):
        rig.trigger(f"every-{number}", 500)
    network.faults = Faults(drop=0.05, double=0.02, late=0.02)
    rig.submitter.stream(0.05, "work", {"ms": 500})
    rig.submitter.stream(0.2, "fail", {"times": 1}, retries=2, retry_interval_s=0.5)
    bursts = [asyncio.create_task(rig.submitter.burst(200, "work", {"ms": 50}))]
    await wait(scale.of(120.0, 25.0))
    await asyncio.gather(*bursts)
    await rig.submitter.stop()
    network.faults = Faults()
    await wait(6.0)
    await rig.end_triggers()
    settled_s = await rig.settle()
    return {
        "refused": len(rig.submitter.refused),
        "dropped": network.counts["drop"],
        "doubled": network.counts["double"],
        "late": network.counts["late"],
        "sessions_lost": rig.count_events("session_lost"),
        "submit_max_s": round(max(rig.submitter.latencies_s), 1),
        "settled_s": round(settled_s, 1),
    }
