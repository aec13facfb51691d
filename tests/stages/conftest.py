"""All partitions of an installation on the real Valkey, with a clock that tests move."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gojob_redis.domain import limits, verbs
from gojob_redis.engine.client import connected
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.partitions import Partitions
from tests import invariants
from tests.conftest import no_leaks
from tests.tools import keyspace

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


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of ``fire`` is bounded by its number of slots alone, however slow the machine is."""
    monkeypatch.setattr(limits, "FIRE_CPU_US", 60_000_000)


@pytest.fixture
async def space(valkey: Engine, clock: Clock) -> AsyncIterator[Partitions]:
    """Four bootstrapped partitions; afterwards the invariants are read from the whole keyspace."""
    async with connected(valkey.url) as clients:
        await clients.admin.flushall()
        space = Partitions(clients, COUNT, now_ms=clock)
        for partition in range(COUNT):
            await space[partition].call(verbs.bootstrap(epoch="test", tell=0))
        yield space
        for prefix in space.prefixes:
            broken = invariants.violations(await keyspace.dump(clients.admin, prefix))
            assert not broken, "\n".join(broken)
        await no_leaks(clients.admin)
