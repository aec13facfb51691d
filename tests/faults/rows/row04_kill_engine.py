"""Row 4: the engine dies and comes back on its file; and the machine under it dies, which loses the file's tail.

A killed process loses nothing that it wrote: the page cache outlives it. What ``everysec`` may lose it loses with the
machine, so the third scenario cuts off what the file gained in the last moments before the kill, at any byte.
"""

import threading
import time
from collections import deque
from pathlib import Path

from tests.faults.rig import Rig, between, now_ms, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.history import Rollback, recovery_s

WORK_MS = 200
TICKS = 10
LOOK_S = 0.01
KEPT_S = 5.0
HEALED_S = 5.0
SLACK_MS = 500
"""How long after the engine's death a worker may still begin what it was handed before."""


async def _under_load(rig: Rig, scale: Scale, tails: "Tails | None" = None) -> Figures:
    kills = scale.of(10, 3)
    random = scale.random("moments")
    await rig.start(gateways=2, triggers=2, workers=4, concurrency=10)
    engine = rig.system.engine
    assert engine is not None
    for number in range(TICKS):
        rig.trigger(f"every-{number}", 500)
    rig.submitter.stream(0.02, "work", {"ms": WORK_MS})
    down_s: list[float] = []
    moments: list[tuple[int, int]] = []
    for _ in range(kills):
        await wait(random.uniform(2.0, 5.0))
        engine.kill()
        died = now_ms()
        if tails is not None:
            lost_s = random.uniform(0.2, 1.5)
            tails.cut(died, lost_s)
            rig.rollbacks.append(Rollback(died - int(lost_s * 1000) - int(LOOK_S * 2000), died + SLACK_MS))
        await wait(random.uniform(0.1, 2.0))
        rig.system.revive(engine)
        down_s.append((now_ms() - died) / 1000)
        moments.append((died, now_ms()))
    await wait(HEALED_S)
    await rig.submitter.stop()
    await rig.end_triggers()
    settled_s = await rig.settle(within_s=90.0)
    records = rig.collect()
    return {
        "kills": kills,
        "refused": len(rig.submitter.refused),
        "down_max_s": round(max(down_s), 1),
        "submit_max_s": round(max(rig.submitter.latencies_s), 1),
        "sessions_lost": rig.count_events("session_lost"),
        "recovered_s": recovery_s(records, between(moments)),
        "settled_s": round(settled_s, 1),
    }


@row(
    4,
    "kill -9 the engine, AOF always",
    targets={"refused": "== 0", "forgotten": "== 0", "sessions_lost": "== 0", "extra": "== 0", "recovered_s": "<= 10"},
    short=False,
    fsync="always",
)
async def kill_engine_always(rig: Rig, scale: Scale) -> Figures:
    """Everything that was acknowledged is there afterwards."""
    return await _under_load(rig, scale)


@row(
    4,
    "kill -9 the engine, AOF everysec",
    targets={"refused": "== 0", "forgotten": "== 0", "sessions_lost": "== 0", "extra": "== 0", "recovered_s": "<= 10"},
    short=False,
)
async def kill_engine_everysec(rig: Rig, scale: Scale) -> Figures:
    """The same: what the process wrote outlives it."""
    return await _under_load(rig, scale)


@row(4, "the engine's machine dies, AOF everysec", targets={"refused": "== 0", "recovered_s": "<= 10"})
async def kill_machine(rig: Rig, scale: Scale) -> Figures:
    """The newest 0.2 to 1.5 s are gone: what was acknowledged then may be forgotten, or run again; nothing else."""
    with Tails(rig.system.directory / "engine" / "appendonlydir") as tails:
        return await _under_load(rig, scale, tails)


class Tails:
    """Remembers how long the append-only file was when, so that its newest part can be cut off."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._sizes: deque[tuple[int, Path, int]] = deque(maxlen=int(KEPT_S / LOOK_S))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Tails":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def cut(self, died_ms: int, lost_s: float) -> None:
        """Make the file as long as it was so many seconds before the death."""
        newest = self._file()
        kept = [size for at, path, size in self._sizes if path == newest and at <= died_ms - lost_s * 1000]
        if newest is not None and kept:
            with newest.open("r+b") as file:
                file.truncate(kept[-1])

    def _file(self) -> Path | None:
        return max(self.directory.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime, default=None)

    def _look(self) -> None:
        while not self._stop.wait(LOOK_S):
            path = self._file()
            if path is not None:
                self._sizes.append((time.time_ns() // 1_000_000, path, path.stat().st_size))
