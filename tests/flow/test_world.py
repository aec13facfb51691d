"""The world to look at is written through the scripts: it holds what was asked for, and breaks no invariant."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from examples.world.past import alike
from examples.world.plan import Size, windows
from examples.world.present import Present
from examples.world.seed import counted, seed
from gojob_redis import view
from gojob_redis.domain import limits
from gojob_redis.engine.client import Clients, connected
from gojob_redis.engine.embedded import Engine
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


async def test_it_holds_as_many_tasks_and_triggers_as_asked_and_nothing_is_broken(
    clients: Clients, valkey: Engine
) -> None:
    world = await seed(valkey.url, SIZE, lambda _text: None)
    space = Partitions(clients, limits.PARTITIONS)
    tasks, triggers = await counted(space, world)
    assert tasks == pytest.approx(SIZE.tasks, rel=0.1)
    assert triggers == SIZE.triggers
    apps, search = view.Apps(space), view.Search()
    assert (await view.find_triggers(apps, lambda _app: True, search)).among == SIZE.triggers
    for prefix in space.prefixes:
        assert not invariants.violations(await keyspace.dump(clients.admin, prefix))


async def test_its_sessions_live_and_work(clients: Clients, valkey: Engine) -> None:
    world = await seed(valkey.url, SIZE, lambda _text: None)
    space = Partitions(clients, limits.PARTITIONS)
    present = Present(space, world)
    await present.begin()
    workers = [len((await view.workers(space, app, cursor="", limit=500)).items) for app in world.apps]
    assert sum(workers) == SIZE.sessions
    living = asyncio.create_task(present.live())
    await until(lambda: present.reported > 0)
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)


async def test_two_processes_write_the_same_partitions_as_one(clients: Clients, valkey: Engine) -> None:
    world = await seed(valkey.url, SIZE, lambda _text: None, processes=2)
    space = Partitions(clients, limits.PARTITIONS)
    tasks, triggers = await counted(space, world)
    assert tasks == pytest.approx(SIZE.tasks, rel=0.1)
    assert triggers == SIZE.triggers
    for prefix in space.prefixes:
        assert not invariants.violations(await keyspace.dump(clients.admin, prefix))


def test_each_window_has_its_part_and_all_parts_together_are_all() -> None:
    parts = list(windows(0, Size(days=4), 10_000))
    assert sum(part.tasks for part in parts) == 10_000
    days, halves = parts[:3], parts[3:]
    assert {part.length_ms for part in days} == {limits.DAY_MS}
    assert len(halves) == 48
    assert max(part.tasks for part in halves) > 2 * min(part.tasks for part in halves) > 0
    assert all(one.began_ms + one.length_ms == next_one.began_ms for one, next_one in pairwise(parts))


def test_what_ends_together_lasts_about_as_long() -> None:
    pieces = list(alike([5, 300, 900, 1_100, 1_900, 2_500, 60_000, *[90_000] * 150], lambda ms: ms))
    assert pieces[:3] == [[5, 300, 900], [1_100, 1_900], [2_500]]
    assert [len(piece) for piece in pieces[3:]] == [100, 51]
