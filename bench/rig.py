"""A fresh system of ours for one round."""

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from redis import Redis, RedisCluster
from redis.cluster import ClusterNode

from bench.meter import Meter, cpu_s
from bench.peers.apps import tally
from bench.question import Failed
from examples.demo.processes import HOST, Process, System
from examples.demo.topologies import ClusterSystem, Node
from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import K, prefixes

NAMESPACE: Final = "/v1/apps/default"
BENCH: Final = "bench"
BATCH: Final = 1_000
LOOK_S: Final = 0.01
PATIENCE_S: Final = 120.0


@dataclass(slots=True)
class Rig:
    """One engine, gateways and trigger replicas as asked; workers when they are started."""

    system: System
    http: httpx2.Client
    engine: Any
    meter: Meter
    workers: list[Process] = field(default_factory=list)

    @property
    def tallies(self) -> Path:
        return self.system.directory / "tallies"

    @property
    def counted(self) -> tally.Counted:
        """What all workers counted so far."""
        return tally.read(self.tallies)

    @property
    def notes(self) -> list[tuple[int, float]]:
        """Number and lateness (ms) of what was told them."""
        return list(tally.notes(self.tallies))

    def forget(self) -> None:
        """Count anew: workers that are started from now on count into empty files."""
        for worker in self.workers:
            worker.stop()
        self.workers.clear()
        for path in self.tallies.glob("*.tally"):
            path.unlink()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of the answer; raises for an error status."""
        answer = self.http.request(method, path, **options)
        if answer.status_code >= 400:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def submit(
        self,
        count: int,
        handler: str = "noop",
        *,
        app: str = BENCH,
        keys: bool = False,
        params: Any = None,
        together: int = BATCH,
        **more: Any,
    ) -> None:
        """Queue tasks, many a request; with an Idempotency-Key each, as the SDK sends them, if asked."""
        task = {"allow_unknown": True, **({} if params is None else {"params": params}), **more}
        for first in range(0, count, together):
            size = min(together, count - first)
            tasks = [task | {"idempotency_key": str(uuid.uuid4())} if keys else task for _ in range(size)]
            self.request("POST", f"{NAMESPACE}/{app}/handlers/{handler}/tasks:batch", json={"tasks": tasks})

    def start_workers(
        self, count: int = 1, *, app: str = BENCH, wait: bool = True, handlers: int = 1, **settings: Any
    ) -> list[Process]:
        """Processes of workers.py, connected unless not waited for, that begin together; settings are its variables.

        handlers: that many more no-op handlers, noop-0 and so on, where it is more than one.
        """
        env = {f"GOJOB_WORKER__{name.upper()}": str(value) for name, value in {"app": app, **settings}.items()}
        variables = {**env, tally.DIRECTORY: str(self.tallies), "BENCH_HANDLERS": str(handlers)}
        line = self.system.directory / f"line-{len(self.system.workers)}"
        variables[tally.LINE] = str(line)
        urls = [gateway.url for gateway in self.system.gateways]
        goal = self._connected(app) + count if wait else 0
        started = [
            self.system.start_worker("bench.workers", **variables, GOJOB_WORKER__URL=urls[number % len(urls)])
            for number in range(count)
        ]
        self.workers += started
        tally.begin_together(line, count, wait_for)
        if wait:
            wait_for(lambda: self._connected(app) >= goal)
        return started

    def roles(self) -> dict[str, list[Process]]:
        """All processes."""
        return {
            "engine": list(self.system.engines()),
            "gateway": list(self.system.gateways),
            "trigger": self.system.triggers,
            "worker": self.workers,
        }

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds that each role used so far."""
        return {role: sum(cpu_s(process.pid) for process in processes) for role, processes in self.roles().items()}

    def _connected(self, app: str) -> int:
        return len(self.request("GET", "/v1/workers", params={"app": app, "limit": 500})["items"])

    def executed(self, count: int) -> tally.Counted:
        """Wait until so many tasks began."""
        wait_for(lambda: self.counted.count >= count)
        return self.counted

    def ended(self, handler: str = "noop", *, app: str = BENCH) -> int:
        """How many tasks of a handler are in its history."""
        address = f"default/{app}/{handler}"
        return sum(int(self.engine.zcard(K.history(prefix, address))) for prefix in prefixes(PARTITIONS))


@contextmanager
def rig(*, gateways: int = 1, triggers: int = 1, nodes: int = 1) -> Iterator[Rig]:
    """Start it all on an empty engine, or a cluster of so many nodes; everything is gone after the block."""
    with (
        tempfile.TemporaryDirectory(prefix="gojob-bench-", ignore_cleanup_errors=True) as directory,
        _system(Path(directory), nodes) as system,
    ):
        system.start_engine()
        for _ in range(gateways):
            system.start_gateway()
        for _ in range(triggers):
            system.start_trigger()
        with of_system(system) as rig:
            yield rig


@contextmanager
def of_system(system: System) -> Iterator[Rig]:
    """What measures a system whose processes were started."""
    system.ready()
    system.make_tokens()
    headers = {"Authorization": f"Bearer {system.admin_token}"}
    ports = [node.port for node in system.engines() if isinstance(node, Node)] or [system.port]
    with (
        httpx2.Client(base_url=system.gateways[0].url, headers=headers, timeout=60.0) as http,
        Meter(*ports, password=system.password) as meter,
    ):
        rig = Rig(system, http, _client(ports, system.password), meter)
        rig.tallies.mkdir()
        yield rig
        rig.engine.close()


def _system(directory: Path, nodes: int) -> System:
    return System(directory) if nodes == 1 else ClusterSystem(directory, primaries=nodes, replicas=0)


def _client(ports: list[int], password: str) -> Any:
    if len(ports) == 1:
        return Redis(port=ports[0], password=password)
    nodes = [ClusterNode(HOST, port) for port in ports]  # type: ignore[no-untyped-call]
    return RedisCluster(startup_nodes=nodes, password=password)


def wait_for(reached: Callable[[], object], *, look_s: float = LOOK_S, within_s: float = PATIENCE_S) -> float:
    """Look until it holds; returns when that was (monotonic s)."""
    end = time.monotonic() + within_s
    while not reached():
        if time.monotonic() > end:
            raise Failed(f"nothing came within {within_s:g} s")
        time.sleep(look_s)
    return time.monotonic()
