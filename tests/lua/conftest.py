"""Every script test runs on each engine, and ends with the invariants read from the whole keyspace."""

from collections.abc import AsyncIterator

import pytest

from tests import invariants
from tests.conftest import Partition
from tests.lua.world import T0, World


@pytest.fixture
async def world(script_engine: Partition) -> AsyncIterator[World]:
    """A partition whose clock stands at T0."""
    await script_engine.client.hset(script_engine.prefix + "meta", mapping={"raw": T0, "steady": T0})
    world = World(script_engine)
    yield world
    broken = invariants.violations(await world.dump())
    assert not broken, "\n".join(broken)
