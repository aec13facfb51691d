"""lua/pause.lua and lua/match.lua"""

from tests.lua.world import HANDLER, World


async def pause(world: World, paused: int, handler: str = HANDLER) -> list[str]:
    return (await world.call("pause", [(handler, paused)]))[1:]


async def test_a_paused_handler_keeps_its_tasks_and_gives_none(world: World) -> None:
    await world.enlist(handlers=(HANDLER, HANDLER + "2"), capacity=5)

    assert await pause(world, 1) == ["ok"]
    assert await pause(world, 1) == ["already"]
    await world.submit("t1")
    await world.submit("t2", handler=HANDLER + "2")
    assert [run.run for run in await world.dispatches()] == ["t2"]

    assert await pause(world, 0) == ["ok"]
    assert [run.run for run in await world.dispatches()] == ["t1"]


async def test_a_new_lane_of_a_paused_handler_is_blocked_too(world: World) -> None:
    await world.enlist(labels={"env": "gray"})
    await pause(world, 1)

    await world.submit("t1", labels="env=gray")

    assert await world.dispatches() == []


async def test_a_lost_wakeup_is_repaired_and_leaves_an_event(world: World) -> None:
    await world.submit("t1")
    await world.enlist()
    await world.dispatches()
    await world.submit("t2")
    [group] = [name.removeprefix("ready:") for name in await world.dump() if name.startswith("ready:")]
    prefix, client = world.partition.prefix, world.partition.client
    await client.hset(prefix + "session:s1", "capacity", 2)
    await client.zadd(prefix + "waiting:" + group, {"s1": 1})

    word, cursor, bound = await world.call("match", cursor="0", repair=1)

    assert (word, cursor, bound) == ("ok", "0", 1)
    assert "lost_wakeup" in await world.events()


async def test_a_call_that_stops_at_100_binds_answers_more_and_is_finished_by_match(world: World) -> None:
    for first in range(0, 150, 50):
        await world.submit(*(f"t{n}" for n in range(first, first + 50)))
    item_of = world.enlist(capacity=150)

    await item_of
    assert len(await world.dispatches()) == 100
    word, _cursor, bound = await world.call("match", cursor="0", repair=0)

    assert (word, bound) == ("ok", 50)
