"""Fixtures for every ring: one real Valkey per session, an emptied engine per test, and a leak check after it."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from gojob_redis.engine import keys
from gojob_redis.engine.client import Client
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.scripts import verb
from tests.tools import engines, keyspace, order

EPOCH = "test"
FLAVOURS = ("fakeredis", "valkey", "redis7", "cluster")


# Where the environment forbids Python to keep what it compiled, each run would compile all tests anew, and each process
# that a test starts the whole product.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several workers share the tests, the order of the files is that of ``tests/tools/order.py``."""
    if hasattr(config, "workerinput"):
        order.order(items)


@dataclass(frozen=True, slots=True)
class Partition:
    """A bootstrapped partition on an otherwise empty engine."""

    client: Client
    tag: str
    prefix: str

    async def call(self, name: str, items: Any = (), /, **scalars: Any) -> list[Any]:
        """Call a verb here."""
        return await verb(name).call(self.client, self.prefix, items, **scalars)

    async def dump(self) -> keyspace.Keyspace:
        """What the partition holds, names below its prefix."""
        return await keyspace.dump(self.client, self.prefix)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The session's Valkey; every test that uses it through ``client`` finds it empty."""
    with engines.valkey(tmp_path_factory.mktemp("valkey")) as engine:
        yield engine


@pytest.fixture(scope="session")
def redis7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine | None]:
    """The session's old Redis, or None."""
    with engines.old_redis(tmp_path_factory.mktemp("redis7")) as engine:
        yield engine


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Cluster]:
    """The session's cluster of three."""
    with engines.cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
async def client(valkey: Engine) -> AsyncIterator[Client]:
    """The production client on the emptied Valkey; afterwards every key must have an owner."""
    async with engines.client_of(valkey) as client:
        yield client
        await no_leaks(client)


@pytest.fixture
async def partition(client: Client) -> Partition:
    """Partition 0 of 16, bootstrapped, on the real Valkey."""
    return await bootstrapped(client)


@pytest.fixture(params=FLAVOURS)
async def script_engine(request: pytest.FixtureRequest) -> AsyncIterator[Partition]:
    """A bootstrapped partition on each engine a script has to work on."""
    if request.param == "fakeredis":
        async with engines.fake() as fake:
            yield await bootstrapped(fake)
            await no_leaks(fake)
        return
    if request.param == "cluster":
        async with engines.client_of_cluster(request.getfixturevalue("cluster")) as client:
            yield await bootstrapped(client)
            await no_leaks(client)
        return
    engine: Engine | None = request.getfixturevalue(request.param)
    if engine is None:
        pytest.skip("NO redis-server 7 ON PATH: nothing was checked on the oldest supported engine")
    async with engines.client_of(engine) as client:
        yield await bootstrapped(client)
        await no_leaks(client)


async def bootstrapped(client: Client, index: int = 0, partitions: int = 16, now_ms: int = 0) -> Partition:
    """Set up one partition as the first start of a system does."""
    tag = keys.tags(partitions)[index]
    partition = Partition(client, tag, keys.prefix(tag))
    await partition.call("bootstrap", now_ms=now_ms, epoch=EPOCH, tell=0)
    return partition


async def no_leaks(client: Client) -> None:
    """Fail when a key has no owner in the catalogue, or the wrong type."""
    found = await keyspace.strays(client)
    assert not found, "\n".join(found)


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[Callable[[], list[str]]]:
    """Keep log lines out of the output; gives the names of the events logged so far."""
    structlog.reset_defaults()  # a command under test may have chosen a level
    with structlog.testing.capture_logs() as lines:
        yield lambda: [line["event"] for line in lines]
