"""Row 14: the release before this one is rolled out of a loaded system, one process after the other.

1. Old gateways, trigger replicas and workers found the installation; new ones join them, so that for a while each old
   role meets each new one, and scripts of both releases work on the same keys.
2. Then every old process is drained (SIGTERM) and comes back at its address as the new release: gateways and trigger
   replicas by turns, workers last.
3. ``untried`` is 1 when the releases differ in their scripts and yet no verb was run in both texts: then the row would
   show nothing.
"""

import asyncio
from collections.abc import Mapping

from examples.demo.processes import Process
from gojob_redis.engine.scripts import load_all
from tests.faults.release import Release, previous
from tests.faults.rig import Rig, wait
from tests.faults.scenario import Figures, Scale, row

TICKS = 10
SHORT_MS, LONG_MS = 50, 3_000
GATEWAYS, TRIGGERS, WORKERS = 2, 2, 3
DRAIN_S = 40.0


@row(
    14,
    "rolling upgrade",
    targets={
        "refused": "== 0",
        "faulted": "== 0",
        "canceled": "== 0",
        "extra": "== 0",
        "sessions_lost": "== 0",
        "bad_exits": "== 0",
        "untried": "== 0",
        "submit_max_s": "<= 2",
    },
    short=False,
)
async def rolling_upgrade(rig: Rig, scale: Scale) -> Figures:
    """Runs of 3 s and of 50 ms, and triggers, go on all the time; nothing is refused, lost or run again."""
    together_s = scale.of(10.0, 3.0)
    old = await asyncio.to_thread(previous, rig.system.directory / "previous")
    await rig.start(gateways=GATEWAYS, triggers=TRIGGERS, workers=WORKERS, concurrency=10, roles=old.env)
    leaving = [*rig.gateways, *rig.triggers], list(rig.workers)
    for number in range(TICKS):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.02, "work", {"ms": SHORT_MS})
    rig.submitter.stream(0.2, "work", {"ms": LONG_MS})
    await wait(together_s)
    await _join(rig)
    await wait(together_s)
    both = _verbs_of_both(rig, old)
    bad_exits = []
    for group in leaving:
        for process in group:
            bad_exits += await _replace(rig, process, old.env)
            await wait(together_s / 2)
    await rig.submitter.stop()
    await rig.end_triggers()
    settled_s = await rig.settle()
    records = await asyncio.to_thread(rig.collect)
    changed = _changed(old)
    return {
        "previous": old.revision,
        "replaced": GATEWAYS + TRIGGERS + WORKERS,
        "verbs_changed": len(changed),
        "verbs_of_both": len(both),
        "untried": int(bool(changed) and not both),
        "submitted": len(rig.submitter.accepted),
        "refused": len(rig.submitter.refused),
        "extra": len(records.executions) - len(records.by_run),
        "sessions_lost": sum(event.kind == "session_lost" for event in records.events),
        "bad_exits": len(bad_exits),
        "exits": bad_exits,
        "submit_max_s": round(max(rig.submitter.latencies_s), 2),
        "settled_s": round(settled_s, 1),
    }


async def _join(rig: Rig) -> None:
    """One of each new role, beside the old ones: a new worker finds old gateways and new, an old one only old."""
    gateway = rig.system.start_gateway()
    await asyncio.to_thread(rig.system.ready, gateway)
    rig.system.start_trigger()
    rig.start_worker()
    await rig.connected()


async def _replace(rig: Rig, process: Process, old: Mapping[str, str]) -> list[str]:
    """Drain a process, and start the new release in its place; how it ended, if it did not end well."""
    await asyncio.to_thread(process.stop, DRAIN_S)
    code = process.popen.returncode
    process.env = {name: value for name, value in process.env.items() if name not in old}
    rig.system.revive(process)
    if process in rig.gateways:
        await asyncio.to_thread(rig.system.ready, *rig.gateways)
    await rig.connected()
    return [f"{process.name}: {code}"] if code else []


def _changed(old: Release) -> dict[str, tuple[str, str]]:
    """The names of the two texts of each verb that both releases have, and that differs."""
    ours = {name: verb.shas["real"] for name, verb in load_all().items()}
    return {name: (old.shas[name], sha) for name, sha in ours.items() if old.shas.get(name, sha) != sha}


def _verbs_of_both(rig: Rig, old: Release) -> list[str]:
    """The verbs that the engine has run in both texts."""
    changed = _changed(old)
    return [name for name, texts in changed.items() if all(rig.engine.script_exists(*texts))]
