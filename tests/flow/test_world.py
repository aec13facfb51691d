"""The world to look at is written through the scripts: it holds what was asked for, and breaks no invariant."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from examples.world.plan import Size, World, steps
from examples.world.present import Present
from examples.world.seed import seed
from gojob_redis import view
from gojob_redis.domain import limits
from gojob_redis.engine.client import Clients, connected
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from tests import invariants
from tests.tools import keyspace
from tests.tools.waiting import until

SIZE = Size(triggers=80, tasks=900, sessions=40, days=2)
pytestmark = pytest.mark.real


@pytest.fixture
async def clients(valkey: Engine) -> AsyncIterator[Clients]:
    async with connected(valkey.url) as clients:
        await clients.admin.flushall()
        yield clients


async def _in_all(clients: Clients, world: World) -> int:
    """How many tasks are over, in all histories."""
    space = Partitions(clients, limits.PARTITIONS)
    homes = {app: (await space.of_app(app)).prefix for app in world.apps}
    asked = [("ZCARD", K.history(homes[handler.app], handler.address)) for handler in world.handlers]
    asked += [("ZCARD", K.failed(prefix, app)) for app, prefix in homes.items()]
    asked += [("ZCARD", K.failed((await space.of_app(app)).prefix, app)) for app in world.apps]
    return sum(await space.read_all(asked))


async def test_it_holds_as_many_tasks_and_triggers_as_asked_and_nothing_is_broken(clients: Clients) -> None:
    world = await seed(clients, SIZE, lambda _text: None)
    space = Partitions(clients, limits.PARTITIONS)
    assert await _in_all(clients, world) == pytest.approx(SIZE.tasks, rel=0.1)
    apps, search = view.Apps(space), view.Search()
    assert (await view.find_triggers(apps, lambda _app: True, search)).among == SIZE.triggers
    for prefix in space.prefixes:
        assert not invariants.violations(await keyspace.dump(clients.admin, prefix))


async def test_its_sessions_live_and_work(clients: Clients) -> None:
    world = await seed(clients, SIZE, lambda _text: None)
    space = Partitions(clients, limits.PARTITIONS)
    present = Present(space, world)
    await present.begin()
    workers = [len((await view.workers(space, app, cursor="", limit=500)).items) for app in world.apps]
    assert sum(workers) == SIZE.sessions
    living = asyncio.create_task(present.live())
    await until(lambda: present.reported > 0)
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)


def test_each_step_has_its_part_and_all_parts_together_are_all() -> None:
    parts = list(steps(0, Size(days=4), 10_000))
    assert sum(part.tasks for part in parts) == 10_000
    hours, tens = parts[:48], parts[48:]
    assert {part.length_ms for part in hours} == {limits.HOUR_MS}
    assert len(tens) == 2 * 144
    assert max(part.tasks for part in hours) > 2 * min(part.tasks for part in hours) > 0
    assert all(one.began_ms + one.length_ms == next_one.began_ms for one, next_one in pairwise(parts))
