"""Row 7: the network between workers and their gateway: reset, half-open, one-way; shorter and longer than a lease."""

from dataclasses import dataclass

from tests.faults.rig import Rig, gateway_by, now_ms, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.proxy import Direction

WORKERS = 4
WORK_MS = 3_000
HEALED_S = 8.0


@dataclass(frozen=True, slots=True)
class Fault:
    """seconds: how long it lasts; a lease is 15 s."""

    name: str
    seconds: float
    directions: tuple[Direction, ...] = ()
    resets: bool = False


SHORT = (
    Fault("reset", 4.0, resets=True),
    Fault("half-open", 6.0),
    Fault("one-way up", 6.0, ("up",)),
    Fault("one-way down", 6.0, ("down",)),
)
LONG = (
    Fault("reset for long", 25.0, resets=True),
    Fault("half-open for long", 25.0),
    Fault("one-way up for long", 25.0, ("up",)),
    Fault("one-way down for long", 25.0, ("down",)),
)


@row(
    7,
    "workers cut from their gateway",
    targets={"refused": "== 0", "lost_in_short_cuts": "== 0", "at_most_once_broken": "== 0"},
    short=False,
)
async def cut_workers(rig: Rig, scale: Scale) -> Figures:
    """Half of the workers are behind the faulty network. Results are kept and sent again; a lease ends only by time."""
    await rig.start(gateways=1, triggers=1, workers=WORKERS)
    network = rig.proxy(int(rig.gateways[0].url.rpartition(":")[2]))
    for _ in range(WORKERS):
        rig.start_worker(env=gateway_by(network))
    await rig.connected()
    rig.submitter.stream(0.1, "work", {"ms": WORK_MS})
    rig.submitter.stream(0.5, "work", {"ms": WORK_MS}, on_lost="fault")
    await wait(WORK_MS / 1000)
    short: list[tuple[int, int]] = []
    for fault in (*SHORT, *scale.of(LONG, LONG[1:2])):
        began = now_ms()
        if fault.resets:
            network.cut()
        else:
            network.hold(*fault.directions)
        await wait(fault.seconds)
        network.heal()
        await wait(HEALED_S)
        if fault in SHORT:
            short.append((began, now_ms()))
    await rig.submitter.stop()
    settled_s = await rig.settle()
    records = rig.collect()
    lost = [
        event
        for event in records.events
        if event.kind == "lost" and any(began <= event.at_ms <= ended for began, ended in short)
    ]
    once = [run for run, executions in records.by_run.items() if len(executions) > 1 and _at_most_once(rig, run)]
    return {
        "refused": len(rig.submitter.refused),
        "lost_in_short_cuts": len(lost),
        "at_most_once_broken": len(once),
        "sessions_lost": rig.count_events("session_lost"),
        "reconnected": len(rig.away_s()),
        "settled_s": round(settled_s, 1),
    }


def _at_most_once(rig: Rig, run: str) -> bool:
    policy: object = rig.engine.hget(f"{rig.prefix}task:{run}", "on_lost")
    return policy == b"fault"
