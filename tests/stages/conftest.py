"""All partitions of an installation on the real Valkey, with a clock that tests move."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from gojob_redis.engine import Engine
from gojob_redis.partitions import Partitions
from gojob_redis.redis_client import Clients, connected
from tests import engines, invariants, keyspace
from tests.conftest import no_leaks

T0 = 1_800_000_000_000
COUNT = 4


@dataclass(slots=True)
class Clock:
    """The engine's wall clock as the scripts see it."""

    ms: int = T0

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def emptied(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    """Clients of an empty engine: the real one, but for the thousands of runs of ``tests/mutants.py``."""
    if os.environ.get("GOJOB_TEST_ENGINE") == "fake":
        async with engines.fake() as fake:
            yield Clients(*[cast(Any, fake)] * 3)
        return
    valkey: Engine = request.getfixturevalue("valkey")
    async with connected(valkey.url) as clients:
        await clients.admin.flushall()
        yield clients


@pytest.fixture
async def space(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Partitions]:
    """Four founded partitions; afterwards the invariants are read from the whole keyspace."""
    async with emptied(request) as clients:
        space = Partitions(clients, COUNT, now_ms=clock)
        for partition in range(COUNT):
            await space.call("found", partition, epoch="test", tell=0)
        yield space
        for prefix in space.prefixes:
            broken = invariants.violations(await keyspace.dump(clients.admin, prefix))
            assert not broken, "\n".join(broken)
        await no_leaks(clients.admin)
