"""Row 17: ten thousand workers lose their gateway at the same moment."""

import asyncio
import os
import time

from tests.faults.crowd import Crowd
from tests.faults.rig import APP, Rig, percentile, wait
from tests.faults.scenario import Figures, Scale, row

LEASE_S = 15.0


@row(
    17,
    "all sockets reconnect at once",
    targets={
        "holders_home_s": "<= 15",
        "all_home_s": "<= 60",
        "lost": "== 0",
        "re_run": "== 0",
    },
    short=False,
)
async def reconnect(rig: Rig, scale: Scale) -> Figures:
    """Sessions with runs are home within their lease, all within a minute, and no run is lost or run again."""
    sockets = scale.of(int(os.environ.get("FAULTS_SOCKETS", "10000")), 2_000)
    holders = sockets // 5
    await rig.start(gateways=2, triggers=1, workers=0)
    first, second = rig.gateways
    crowd = Crowd([first.port], rig.system.worker_token, APP)
    try:
        for _ in range(sockets // 250):  # not the storm: that comes later
            crowd.add(250)
            await home(crowd, len(crowd.members), 60.0)
        tasks = await rig.submitter.burst(holders, "crowd")
        while len(crowd.holding) < holders:
            await wait(0.1)
        crowd.ports = [second.port]
        sessions = sum(member.sessions for member in crowd.members)
        began = time.monotonic()
        first.kill()
        await wait(0.5)
        await home(crowd, sockets, 90.0)
        taken = [member.welcomed_at - began for member in crowd.members]
        busy = [member.welcomed_at - began for member in crowd.members if member.held]
        lost = holders - len(busy)
        crowd.finish()
        settled_s = await rig.settle(60.0)
        records = await asyncio.to_thread(rig.collect)
        attempts = [int((records.record(task) or {}).get("attempt", 1)) for task in tasks]
        return {
            "sockets": sockets,
            "holders": holders,
            "holders_home_p50_s": round(percentile(busy, 0.5), 2),
            "holders_home_s": round(max(busy), 2),
            "all_home_p50_s": round(percentile(taken, 0.5), 2),
            "all_home_s": round(max(taken), 2),
            "lost": lost,
            "re_run": sum(attempt > 1 for attempt in attempts),
            "idle_leases_over": sum(member.sessions for member in crowd.members) - sessions,
            "closed": {str(code): count for code, count in sorted(crowd.closed.items())},
            "settled_s": round(settled_s, 1),
        }
    finally:
        await crowd.close()


async def home(crowd: Crowd, count: int, within_s: float) -> None:
    """Wait until so many have a working session."""
    async with asyncio.timeout(within_s):
        while crowd.home < count:  # noqa: ASYNC110  looking costs nothing
            await asyncio.sleep(0.02)
