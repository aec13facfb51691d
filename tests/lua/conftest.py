"""Every script test runs on each engine, and ends with the invariants read from the whole keyspace."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests import invariants
from tests.conftest import Partition
from tests.lua.world import T0, World


@pytest_asyncio.fixture(loop_scope="session")
async def world(script_engine: Partition) -> AsyncIterator[World]:
    """A partition whose clock stands at T0."""
    await script_engine.client.hset(script_engine.prefix + "meta", mapping={"raw": T0, "steady": T0})
    world = World(script_engine)
    yield world
    broken = invariants.violations(await world.dump())
    assert not broken, "\n".join(broken)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All script tests run in one event loop: that of the connections they share."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
