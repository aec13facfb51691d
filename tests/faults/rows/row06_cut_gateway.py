"""Row 6: a gateway is cut from the engine, which the others still reach."""

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import httpx2

from tests.faults.rig import ADDRESS, WORKERS, Rig, now_ms, redis_by, until, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools import history
from tests.tools.history import Accepted


@row(
    6,
    "a gateway cut from the engine 5/20/60 s",
    targets={
        "refused": ">= 1",
        "other_answers": "== 0",
        "without_retry_after": "== 0",
        "slowest_answer_s": "<= 10",
        "moved_s": "<= 15",
        "back_s": "<= 10",
        "extra": "== 0",
        "sessions_lost": "== 0",
    },
    short=False,
)
async def cut_gateway(rig: Rig, scale: Scale) -> Figures:
    """It says 503, hands nothing out, sends its workers to the other one, and is itself again within 10 s."""
    rig.system.start_engine()
    network = rig.engine_proxy()
    cut = rig.system.start_gateway(env=redis_by(network))
    rig.system.start_gateway()
    rig.system.start_trigger()
    await rig.ready(workers=4)
    for number in range(4):
        rig.trigger(f"every-{number}", 500)
    client = _Client(rig, cut.url)
    moved, back, faults = [], [], []
    for seconds in (20.0, 5.0, *scale.of((60.0,), ())):
        await until(lambda: _ready(cut.url), 30.0, "a ready gateway")
        begin = now_ms()
        if seconds == 5.0:
            network.cut()
        else:
            network.hold("up", "down")
        with client:
            if seconds == 20.0:
                moved.append(await until(lambda: _homes(rig) == 4 and not _ready(cut.url), 60.0, "workers that moved"))
            await wait(max(0.0, seconds - (now_ms() - begin) / 1000))
        network.heal()
        back.append(await until(lambda: _ready(cut.url) and client.ask() == 201, 60.0, "a gateway that takes work"))
        faults.append((begin, now_ms()))
        await wait(3.0)
    await rig.end_triggers()
    settled_s = await rig.settle()
    records = await asyncio.to_thread(rig.collect)
    return {
        "refused": client.answers["503"],
        "accepted_meanwhile": client.answers["201"],
        "other_answers": sum(count for word, count in client.answers.items() if word not in ("503", "201")),
        "without_retry_after": client.without_hint,
        "slowest_answer_s": round(client.slowest_s, 1),
        "moved_s": round(max(moved), 1),
        "back_s": round(max(back), 1),
        "lateness_max_ms": max(history.lateness_ms(records), default=0),
        "extra": len(records.executions) - len(records.by_run),
        "sessions_lost": rig.count_events("session_lost"),
        "settled_s": round(settled_s, 1),
    }


class _Client:
    """Submits to the gateway that is cut, while it is, and counts what it says."""

    def __init__(self, rig: Rig, url: str) -> None:
        self.rig = rig
        self.url = url
        self.answers: Counter[str] = Counter()
        self.without_hint = 0
        self.slowest_s = 0.0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> None:
        self._stop.clear()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask(self) -> int:
        """Submit one task; its status. What was refused may have been taken in, so it is owed by its key only."""
        headers = {"Authorization": f"Bearer {self.rig.system.admin_token}"}
        with httpx2.Client(headers=headers, timeout=30) as http:  # making it takes 50 ms and more on busy cores
            began = time.monotonic()
            answer: Any = http.post(f"{self.url}/v1/apps/{ADDRESS}/handlers/work/tasks", json={"params": {"ms": 10}})
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        if answer.status_code == 201:
            self.rig.submitter.accepted.append(Accepted(answer.json()["id"], now_ms()))
        elif "retry-after" not in answer.headers:
            self.without_hint += 1
        return int(answer.status_code)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            self.answers[str(self.ask())] += 1


def _ready(url: str) -> bool:
    try:
        return bool(httpx2.get(f"{url}/readyz", timeout=5).status_code == 200)
    except httpx2.HTTPError:
        return False


def _homes(rig: Rig) -> int:
    """How many workers are at home at the gateway that is not cut."""
    headers = {"Authorization": f"Bearer {rig.system.admin_token}"}
    metrics = httpx2.get(f"{rig.gateways[1].url}/metrics", headers=headers, timeout=5).text
    lines = [line for line in metrics.splitlines() if line.startswith("gojob_sessions ")]
    return int(float(lines[0].split()[1])) if lines else len(rig.request("GET", WORKERS)["items"])
