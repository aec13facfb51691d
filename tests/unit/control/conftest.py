"""An empty engine, and one that holds an installation."""

import pytest

from gojob_redis.control import installation
from gojob_redis.engine.client import Client
from gojob_redis.engine.partitions import Partitions
from tests.tools.served import space_on


@pytest.fixture
async def space(client: Client) -> Partitions:
    """Partitions of an empty engine."""
    return space_on(client)


@pytest.fixture
async def bootstrapped(space: Partitions) -> Partitions:
    await installation.bootstrap_or_open(space)
    return space
