"""lua/forget.lua: an app that has nothing any more loses its handlers and queues, any other keeps them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gojob_redis.domain import limits
from gojob_redis.engine.keys import K
from tests.lua.world import APP, HANDLER, World


async def forget(world: World, *apps: str) -> list[str]:
    return list((await world.call("forget", [(app,) for app in apps or (APP,)]))[1:])


async def used(world: World) -> None:
    """A task was submitted, canceled and forgotten; all of that is long ago."""
    await world.submit("t1")
    await world.cancel("t1")
    client, prefix = world.partition.client, world.partition.prefix
    await client.unlink(K.task(prefix, "t1"), K.failed(prefix, APP), K.tally(prefix))
    await client.zadd(K.alarms(prefix), {HANDLER: 1})


async def test_an_app_that_has_nothing_any_more_loses_what_it_had(world: World) -> None:
    await used(world)
    before = await world.dump()
    assert {f"app_handlers:{APP}", f"app_lanes:{APP}", "handlers", "lane:1", f"lanes:{HANDLER}"} <= set(before)

    assert await forget(world) == ["gone"]

    left = {name.partition(":")[0] for name in await world.dump()}
    assert left <= {"meta", "events", "event_apps", "event_counts"}


async def test_it_begins_anew_when_work_comes(world: World) -> None:
    await used(world)
    await forget(world)

    assert await world.submit("t2") == ["ok"]

    assert (await world.dump())["handlers"] == {HANDLER: 0}
    assert await forget(world) == ["busy"]


SIGNS: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    "a trigger": lambda client, prefix: client.hset(K.triggers(prefix, APP), "t", "card"),
    "a worker": lambda client, prefix: client.sadd(K.sessions(prefix, APP), "s1"),
    "a slot or a delayed task": lambda client, prefix: client.zadd(K.due(prefix, APP), {"abcdefg": 1}),
    "a failed task": lambda client, prefix: client.zadd(K.failed(prefix, APP), {"t": 1}),
    "a removed trigger": lambda client, prefix: client.zadd(K.removals(prefix, APP), {"abcdefg": 1}),
    "figures": lambda client, prefix: client.set(K.totals(prefix, APP), "x"),
    "failures": lambda client, prefix: client.hset(K.failures(prefix, APP), "x", "y"),
    "a task that is done": lambda client, prefix: client.zadd(K.history(prefix, HANDLER), {"t": 1}),
    "a task that is kept": lambda client, prefix: client.zadd(K.pinned(prefix, HANDLER), {"t": 1}),
    "a timer": lambda client, prefix: client.zadd(K.deadlineq(prefix, HANDLER), {"t": 1}),
    "a setting": lambda client, prefix: client.hset(K.handler(prefix, HANDLER), "paused", "1"),
}


@pytest.mark.parametrize("sign", SIGNS)
async def test_an_app_that_has_something_stays_whole(world: World, sign: str) -> None:
    await used(world)
    await SIGNS[sign](world.partition.client, world.partition.prefix)
    before = await world.dump()

    assert await forget(world) == ["busy"]

    assert await world.dump() == before


async def test_a_handler_that_was_announced_lately_keeps_its_app(world: World) -> None:
    await used(world)
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(K.handlers(prefix), {HANDLER: world.now - limits.HANDLER_KNOWN_MS + 1})
    assert await forget(world) == ["busy"]

    world.now += 1

    assert await forget(world) == ["gone"]


async def test_a_call_takes_so_many_queues_and_the_next_go_on(world: World) -> None:
    tasks: dict[str, Any] = {}
    for handler, queues in (("a", 130), ("b", 130), ("c", 1)):
        tasks |= {
            f"{handler}{n}": world.submission(f"{handler}{n}", f"{APP}/{handler}", attribute=f"n={n}")
            for n in range(queues)
        }
    names = list(tasks)
    for first in range(0, len(names), 100):
        await world.call("submit", [tasks[name] for name in names[first : first + 100]])
        await world.cancel(*names[first : first + 100])
    client, prefix = world.partition.client, world.partition.prefix
    await client.unlink(*(K.task(prefix, name) for name in names), K.failed(prefix, APP), K.tally(prefix))

    assert await forget(world) == ["more"]
    assert await forget(world) == ["gone"]


async def test_a_handler_in_use_behind_others_keeps_itself_and_its_app(world: World) -> None:
    await used(world)
    await world.submit("t2", handler=HANDLER + "2")

    assert await forget(world) == ["busy"]

    assert set((await world.dump())["handlers"]) == {HANDLER + "2"}


async def test_a_call_takes_so_many_handlers_and_the_next_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client, prefix = world.partition.client, world.partition.prefix
    other = "default/other"
    for app, count in ((APP, limits.BATCH_ITEMS + 1), (other, 1)):
        names = {f"{app}/h{number:03d}": 0 for number in range(count)}
        await client.zadd(K.handlers(prefix), names)
        await client.zadd(K.app_handlers(prefix, app), names)

    assert await forget(world, APP, other) == ["more", "more"]
    assert len((await world.dump())["handlers"]) == 2
    assert await forget(world, APP, other) == ["gone", "gone"]


async def test_an_app_without_handlers_is_gone(world: World) -> None:
    assert await forget(world, "default/never") == ["gone"]
