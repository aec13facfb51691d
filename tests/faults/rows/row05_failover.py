"""Row 5: a primary dies or stands still, and its replica takes over; on a cluster and under sentinels.

The outage is what users see: the longest that a submission took, and the longest time in which no run began although
there was work all the time. What the primary had acknowledged and not yet sent to its replica is lost with it; that is
the rollback the checker is told of, and ``forgotten`` counts it.
"""

from itertools import pairwise

from examples.demo.topologies import ClusterSystem, Node, SentinelSystem
from gojob_redis.engine.keys import slot_of
from tests.faults.rig import Rig, now_ms, until, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.history import Rollback

TIMEOUT_S = 2.0
"""The node timeout of the cluster, and what sentinels wait before they call an engine down."""
ALLOWED_S = TIMEOUT_S + 3.0
UNREPLICATED_MS = 200
TICKS = 10
WORK_MS = 50
TAKEN_OVER_S = 30.0
TARGETS = {"refused": "== 0", "submit_outage_s": f"<= {ALLOWED_S:g}", "run_outage_s": f"<= {ALLOWED_S:g}"}


@row(5, "cluster: kill -9 a primary", targets=TARGETS, mode="cluster", short=False)
async def kill_in_cluster(rig: Rig, scale: Scale) -> Figures:
    """The primary of the app's partition dies again and again; each time it comes back as a replica."""
    return await _fail_over(rig, scale, frozen=False)


@row(5, "cluster: freeze a primary", targets=TARGETS, mode="cluster", short=False)
async def freeze_in_cluster(rig: Rig, scale: Scale) -> Figures:
    """It does not close a connection: only time tells. It goes on when another has taken over."""
    return await _fail_over(rig, scale, frozen=True)


@row(5, "sentinel: kill -9 the primary", targets=TARGETS, mode="sentinel", short=False)
async def kill_under_sentinels(rig: Rig, scale: Scale) -> Figures:
    """The same with one primary and its replica, watched by three sentinels."""
    return await _fail_over(rig, scale, frozen=False)


@row(5, "sentinel: freeze the primary", targets=TARGETS, mode="sentinel", short=False)
async def freeze_under_sentinels(rig: Rig, scale: Scale) -> Figures:
    """The old primary wakes up as one, until the sentinels have told it."""
    return await _fail_over(rig, scale, frozen=True)


async def _fail_over(rig: Rig, scale: Scale, *, frozen: bool) -> Figures:
    random = scale.random("moments")
    await rig.start(gateways=2, triggers=2, workers=4, concurrency=10)
    for number in range(TICKS):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.02, "work", {"ms": WORK_MS})
    slot = slot_of(rig.prefix.strip("{}:"))
    began_ms = now_ms()
    taken_over_s = []
    for _ in range(scale.of(5, 2)):
        await wait(random.uniform(2.0, 4.0))
        taken_over_s.append(await _lose_primary(rig, slot, frozen=frozen))
        await wait(2.0)
    await rig.submitter.stop()
    ended_ms = now_ms()
    await rig.end_triggers()
    settled_s = await rig.settle(within_s=90.0)
    begins = sorted(line.at_ms for line in rig.lines() if line.what == "begin" and began_ms <= line.at_ms <= ended_ms)
    return {
        "failovers": len(taken_over_s),
        "taken_over_s": [round(seconds, 1) for seconds in taken_over_s],
        "submitted": len(rig.submitter.accepted),
        "refused": len(rig.submitter.refused),
        "submit_outage_s": round(max(rig.submitter.latencies_s), 2),
        "run_outage_s": round(max(later - earlier for earlier, later in pairwise(begins)) / 1000, 2),
        "sessions_lost": rig.count_events("session_lost"),
        "forgotten": 0,
        "settled_s": round(settled_s, 1),
    }


async def _lose_primary(rig: Rig, slot: int, *, frozen: bool) -> float:
    """Take the primary of the app away until its replica has taken over; returns how long that took."""
    lost = _primary(rig, slot)
    lost_at = now_ms()
    (lost.pause if frozen else lost.kill)()
    taken_over_s = await until(lambda: _primary(rig, slot) is not lost, TAKEN_OVER_S, "a failover", look_s=0.05)
    if frozen:
        await wait(1.0)
        lost.resume()
    else:
        rig.system.revive(lost)
    rig.rollbacks.append(Rollback(lost_at - UNREPLICATED_MS, now_ms()))
    if isinstance(rig.system, ClusterSystem | SentinelSystem):
        rig.system.settled()
    return taken_over_s


def _primary(rig: Rig, slot: int) -> Node:
    system = rig.system
    if isinstance(system, SentinelSystem):
        return system.primary()
    assert isinstance(system, ClusterSystem)
    return system.holder_of(slot)
