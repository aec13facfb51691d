"""GET …/queues/{handler}: how many workers a handler wants."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_redis.maintenance.fold import Fold
from tests.tools.served import APP, SHOP, Served, serving

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def demand(served: Served, **query: Any) -> dict[str, Any]:
    answer = await served.get(f"{APP}/queues/send", **query)
    assert isinstance(answer, dict)
    return answer


async def lasting(served: Served, duration_ms: int) -> None:
    """A task that ended, and took so long."""
    task = await served.submit()
    await served.start(task)
    partition = await served.space.of_app(SHOP)
    client: Any = served.space.clients.commands
    key = K.task(partition.prefix, task)
    await client.hset(key, "started", int(await client.hget(key, "started")) - duration_ms)
    await served.report(task)
    await Fold(served.space).run_once()


async def test_a_handler_that_nobody_knows_wants_none(served: Served) -> None:
    answer = await demand(served)

    assert (answer["backlog"], answer["wanted_workers"], answer["duration_ms"], answer["lanes"]) == (0, 0, None, [])


async def test_a_backlog_without_workers_wants_one_until_it_is_known_how_long_it_takes(served: Served) -> None:
    for _ in range(3):
        await served.submit()

    answer = await demand(served)

    assert (answer["backlog"], answer["workers"], answer["wanted_seats"], answer["wanted_workers"]) == (3, 0, 1, 1)
    assert answer["oldest_ms"] >= 0


async def test_the_backlog_is_spread_over_the_time_and_seats_are_counted_in_workers(served: Served) -> None:
    """20 tasks of about 30 s within 100 s want 6 seats, and what came in keeps another one or two busy."""
    await served.enlist(capacity=2)
    await lasting(served, 30_000)
    for _ in range(22):
        await served.submit()

    answer = await demand(served, within_ms=100_000)

    assert (answer["backlog"], answer["running"], answer["workers"], answer["seats"]) == (20, 0, 1, 2)
    assert answer["duration_ms"] == pytest.approx(30_000, rel=0.05)
    assert answer["in_per_s"] > 0
    assert 6 <= answer["wanted_seats"] <= 8
    assert answer["wanted_workers"] == pytest.approx(answer["wanted_seats"] / 2, abs=0.5)
    assert (await demand(served, within_ms=1_000_000))["wanted_seats"] <= 3


async def test_each_lane_says_what_its_labels_want(served: Served) -> None:
    await served.enlist()
    await lasting(served, 60_000)
    for _ in range(4):
        await served.submit(labels={"env": "gray"})

    lanes = (await demand(served))["lanes"]

    wanted = {lane["labels"].get("env", ""): lane["wanted_workers"] for lane in lanes}
    assert wanted == {"": 0, "gray": 1}
    assert {lane["labels"].get("env", ""): lane["backlog"] for lane in lanes} == {"": 0, "gray": 4}


async def test_a_paused_handler_wants_none_for_its_backlog(served: Served) -> None:
    await served.enlist()
    await served.post(f"{APP}/handlers/send/pause")
    await served.submit()

    answer = await demand(served)

    assert (answer["paused"], answer["backlog"], answer["wanted_workers"]) == (True, 1, 0)
