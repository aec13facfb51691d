"""Row 15: the engine's memory is full; the disk of its append-only file is full."""

import asyncio
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.rig import ADDRESS, Rig, now_ms, until, wait
from tests.faults.scenario import Figures, Scale, Skipped, row
from tests.tools.history import Accepted

PARAM = "x" * 20_000
ROOM_BYTES = 12 << 20
AGAIN = 100
"""More than fit into what was freed by the work that ended: history has to go."""
TMPFS_BYTES = 64 << 20


class Knocker:
    """Submits one task after the other and takes no for an answer; what was accepted is owed."""

    def __init__(self, rig: Rig, *, params: Any, every_s: float) -> None:
        self.rig = rig
        self.answers: Counter[str] = Counter()
        self.last = ""
        self.without_hint = 0
        self._params = params
        self.every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Knocker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        url = f"{self.rig.gateways[0].url}/v1/apps/{ADDRESS}/handlers/work/tasks"
        headers = {"Authorization": f"Bearer {self.rig.system.admin_token}"}
        with httpx2.Client(timeout=20.0, headers=headers) as http:
            while not self._stop.wait(self.every_s):
                with suppress(httpx2.HTTPError):
                    self._take(http.post(url, json={"params": {"ms": 20}, **self._params}))

    def _take(self, answer: Any) -> None:
        body = answer.json()
        self.last = "ok" if answer.status_code == 201 else f"{answer.status_code} {body['code']}"
        self.answers[self.last] += 1
        if answer.status_code == 201:
            self.rig.submitter.accepted.append(Accepted(body["id"], now_ms()))
        elif "retry-after" not in answer.headers:
            self.without_hint += 1


@row(
    15,
    "out of memory",
    targets={
        "refused": ">= 1",
        "other_refusals": "== 0",
        "not_owed": "== 0",
        "drained_full": "== 1",
        "healed_s": "<= 90",
    },
    short=False,
)
async def out_of_memory(rig: Rig, scale: Scale) -> Figures:
    """New work is refused whole, work in flight ends, history gives way, and all of it heals by itself."""
    await rig.start(gateways=1, triggers=1, workers=2, concurrency=5)
    used = rig.engine.info("memory")["used_memory"]
    rig.engine.config_set("maxmemory", used + ROOM_BYTES)
    with Knocker(rig, params={"priority": 5, "shard_params": [PARAM] * 4}, every_s=0.0) as knocker:
        await until(lambda: knocker.last.startswith("503"), 60.0, "a full memory")
        began = time.monotonic()
        knocker.every_s = 0.05
        before = knocker.answers["ok"]
        drained_s = await until(lambda: not rig.busy(), 60.0, "the end of the work in flight")
        full = rig.engine.info("memory")["used_memory"] >= used + 0.8 * ROOM_BYTES
        await until(lambda: knocker.answers["ok"] >= before + AGAIN, 120.0, "submissions that are accepted again")
        healed_s = time.monotonic() - began
    rig.engine.config_set("maxmemory", 0)
    await rig.settle(60.0)
    owed = {accepted.task for accepted in rig.submitter.accepted}
    return {
        "accepted": len(owed),
        "refused": knocker.answers["503 memory_full"],
        "other_refusals": sum(
            count for word, count in knocker.answers.items() if word not in ("ok", "503 memory_full")
        ),
        "without_retry_after": knocker.without_hint,
        "not_owed": len({line.task for line in rig.lines()} - owed),
        "drained_full": int(full),
        "drained_s": round(drained_s, 1),
        "healed_s": round(healed_s, 1),
        "answers": dict(knocker.answers),
    }


@row(
    15,
    "the disk of the append-only file full",
    targets={"refused": ">= 1", "sessions_lost": "== 0", "extra": "== 0", "healed_s": "<= 10"},
    short=False,
)
async def disk_full(rig: Rig, scale: Scale) -> Figures:
    """Nothing can be written, so nothing moves; once there is room, everything goes on where it stood."""
    directory = rig.system.directory / "engine"
    with _small_disk(directory):
        await rig.start(gateways=1, triggers=1, workers=2, concurrency=5)
        await rig.submitter.burst(50, "work", {"ms": 4_000})
        filler = directory / "filler"
        with Knocker(rig, params={}, every_s=0.2) as knocker:
            await wait(2.0)
            _fill(filler)
            await until(lambda: knocker.last.startswith("503"), 30.0, "a full disk")
            full_s = scale.of(20.0, 8.0)
            await wait(full_s)
            filler.unlink()
            healed_s = await until(lambda: knocker.last == "ok", 60.0, "an accepted submission")
        await rig.settle(90.0)
        records = await asyncio.to_thread(rig.collect)
        figures = {
            "full_s": full_s,
            "refused": sum(count for word, count in knocker.answers.items() if word != "ok"),
            "without_retry_after": knocker.without_hint,
            "answers": dict(knocker.answers),
            "healed_s": round(healed_s, 1),
            "sessions_lost": rig.count_events("session_lost"),
            "extra": len(records.executions) - len(records.by_run),
        }
        assert rig.system.engine is not None
        rig.system.engine.kill()
        rig.collect = lambda: records  # type: ignore[method-assign]  # the disk goes now
    return figures


@contextmanager
def _small_disk(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise Skipped("a tmpfs cannot be mounted (not root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], capture_output=True, check=False)


def _fill(path: Path) -> None:
    """Take all that is left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4_096))
