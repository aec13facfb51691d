"""A fresh system for one round, and what its processes use of the machine."""

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from redis import Redis

from examples.demo.processes import Process, System
from gojob_redis.keys import K, prefixes
from gojob_redis.limits import PARTITIONS

APP = "/v1/apps/default/bench"
HANDLER = "default/bench/noop"
BATCH = 1_000
LOOK_S = 0.01
PATIENCE_S = 120.0
MICRO = 1_000_000


@dataclass(slots=True)
class Rig:
    """One engine, one gateway, one trigger replica; workers as asked."""

    system: System
    http: httpx2.Client
    engine: Any
    workers: list[Process] = field(default_factory=list)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of the answer; an error is an error."""
        answer = self.http.request(method, path, **options)
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def submit_noops(self, count: int, *, keys: bool = False) -> None:
        """Queue tasks without parameters, 1,000 a request; with an Idempotency-Key each, as the SDK sends them."""
        for first in range(0, count, BATCH):
            tasks = [
                {"allow_unknown": True} | ({"key": str(uuid.uuid4())} if keys else {})
                for _ in range(min(BATCH, count - first))
            ]
            self.request("POST", f"{APP}/handlers/noop/tasks:batch", json={"tasks": tasks})

    def start_worker(self, **settings: Any) -> Process:
        """A process of workers.py; its settings are GOJOB_WORKER__ variables."""
        env = {f"GOJOB_WORKER__{name.upper()}": str(value) for name, value in settings.items()}
        worker = self.system.start_worker("bench.workers", **env)
        wait_for(lambda: self.request("GET", f"{APP}/workers")["items"])
        return worker

    def ask(self, handler: str) -> Any:
        """Run a handler of the worker and return its result."""
        task = self.request("POST", f"{APP}/handlers/{handler}/tasks", json={})["id"]
        done = self.request("GET", f"/v1/tasks/{task}", params={"wait": "30s"})
        if done["state"] != "run_to_completion":
            raise RuntimeError(f"{handler}: {done}")
        return done["result"]

    def ended(self, handler: str = HANDLER) -> int:
        """How many tasks of a handler are in its history."""
        return sum(int(self.engine.zcard(K.history(prefix, handler))) for prefix in prefixes(PARTITIONS))

    def used_memory(self) -> int:
        """Bytes that the engine holds for data and its bookkeeping."""
        return int(self.engine.info("memory")["used_memory"])

    def engine_cpu_s(self) -> float:
        facts = self.engine.info("cpu")
        return float(facts["used_cpu_user"]) + float(facts["used_cpu_sys"])


@contextmanager
def rig(*, triggers: int = 1) -> Iterator[Rig]:
    """Start it all on an empty engine; everything is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="gojob-bench-") as directory, System(Path(directory)) as system:
        system.start_engine()
        gateway = system.start_gateway()
        for _ in range(triggers):
            system.start_trigger()
        system.ready()
        system.make_tokens()
        headers = {"Authorization": f"Bearer {system.admin_token}"}
        with httpx2.Client(base_url=gateway.url, headers=headers, timeout=60.0) as http:
            engine = Redis(port=system.port)
            yield Rig(system, http, engine)
            engine.close()


def cpu_s(process: Process | None) -> float:
    """Processor seconds that a process used so far."""
    if process is None:
        return 0.0
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def rss_mb(process: Process) -> float:
    """Resident memory of a process."""
    return float(psutil.Process(process.pid).memory_info().rss) / 2**20


def wait_for(reached: Callable[[], object], *, look_s: float = LOOK_S) -> float:
    """Look until it holds; returns when that was (monotonic s)."""
    end = time.monotonic() + PATIENCE_S
    while not reached():
        if time.monotonic() > end:
            raise RuntimeError(f"nothing came within {PATIENCE_S:g} s")
        time.sleep(look_s)
    return time.monotonic()


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
