"""Row 10: clocks that jump by an hour, of the engine's host and of the hosts of gateways and trigger replicas.

libfaketime sits under one process and reads its offset from a file, so the step is made while everything runs. The
monotonic clocks stay true, as they do on a host whose wall clock is set.
"""

from pathlib import Path

from tests.faults.rig import Rig, now_ms, wait
from tests.faults.rows.row01_kill_workers import redelivery_s
from tests.faults.scenario import Figures, Scale, Skipped, row

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")
WORK_MS = 2_000
HOUR_S = 3_600
STEP_S = 8.0


class Clock:
    """A host's clock that can be set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, offset_s: int) -> None:
        """Put it so far from the truth."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n", "utf-8")
        new.replace(self.path)

    @property
    def env(self) -> dict[str, str]:
        """Environment of a process on this host."""
        return {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


def _library() -> str:
    paths = [str(path) for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    if not paths:
        raise Skipped("libfaketime is not installed (Debian: apt-get install faketime)")
    return paths[0]


@row(
    10,
    "the engine's clock steps by an hour",
    targets={"refused": "== 0", "sessions_lost": "== 1", "extra_not_killed": "== 0", "lease_moved_s": "<= 1"},
    short=False,
)
async def engine_clock(rig: Rig, scale: Scale) -> Figures:
    """+1 h, back, -1 h, back: one worker is killed before the first step, and its lease ends when it would have."""
    rig.steps = True
    clock = Clock(rig.system.directory / "engine-clock")
    await rig.start(gateways=1, triggers=2, workers=4, env=clock.env)
    for number in range(5):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.1, "work", {"ms": WORK_MS})
    await wait(3.0)
    victim, pid, died = rig.workers[0], rig.workers[0].pid, now_ms()
    victim.kill()
    for offset_s in (HOUR_S, 0, -HOUR_S, 0):
        clock.set(offset_s)
        await wait(STEP_S)
    await rig.submitter.stop()
    await rig.end_triggers()
    settled_s = await rig.settle()
    records = rig.collect()
    delays = redelivery_s(records.by_run.values(), [(victim.name, pid, died)])
    extra = len(records.executions) - len(records.by_run)
    return {
        "refused": len(rig.submitter.refused),
        "sessions_lost": rig.count_events("session_lost"),
        "interrupted": len(delays),
        "extra_not_killed": extra - len(delays),
        "lease_moved_s": round(max(abs(delay - 12.5) for delay in delays) - 2.5, 2) if delays else None,
        "redelivery_max_s": max(delays, default=0.0),
        "settled_s": round(settled_s, 1),
    }


@row(
    10,
    "the clocks of gateway and trigger hosts step by an hour",
    targets={"refused": "== 0", "sessions_lost": "== 0", "extra": "== 0"},
    short=False,
)
async def application_clocks(rig: Rig, scale: Scale) -> Figures:
    """No host's clock decides anything."""
    ahead, behind = Clock(rig.system.directory / "ahead-clock"), Clock(rig.system.directory / "behind-clock")
    rig.system.start_engine()
    for clock in (ahead, behind):
        rig.system.start_gateway(env=clock.env)
        rig.system.start_trigger(env=clock.env)
    await rig.ready(workers=4)
    for number in range(5):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.1, "work", {"ms": WORK_MS})
    for offset_s in (HOUR_S, 0, -HOUR_S, 0):
        await wait(STEP_S)
        ahead.set(offset_s)
        behind.set(-offset_s)
    await wait(STEP_S)
    await rig.submitter.stop()
    await rig.end_triggers()
    settled_s = await rig.settle()
    return {
        "refused": len(rig.submitter.refused),
        "sessions_lost": rig.count_events("session_lost"),
        "settled_s": round(settled_s, 1),
    }
