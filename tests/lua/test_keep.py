"""lua/keep.lua: what somebody wants kept stands in an index of its own."""

import pytest

from tests.lua.world import APP, DAY, HANDLER, World


async def keep(world: World, *tasks: str, keep: str = "always") -> list[str]:
    return (await world.call("keep", [(task, keep) for task in tasks]))[1:]


async def indexes(world: World) -> dict[str, dict[str, float]]:
    dump = await world.dump()
    return {name: dump[name] for name in dump if name.partition(":")[0] in ("history", "failed", "pinned")}


async def test_an_ended_task_is_kept_and_let_go_with_the_time_of_its_end(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("failed", "done")
    runs = {run.run: run for run in await world.dispatches()}
    await world.report(runs["done"])
    await world.report(runs["failed"], outcome="error")
    ended = world.now
    world.pass_ms(DAY)

    assert await keep(world, "done", "failed") == ["ok", "ok"]
    assert await indexes(world) == {f"pinned:{HANDLER}": {"done": ended, "failed": ended}}
    assert await world.retire(HANDLER, keep_ms=0, keep=0) == ("ok", 0)

    assert await keep(world, "done", "failed", keep="usual") == ["ok", "ok"]
    assert await indexes(world) == {f"history:{HANDLER}": {"done": ended}, f"failed:{APP}": {"failed": ended}}
    assert await world.retire(HANDLER, keep_ms=0, keep=0) == ("ok", 2)


async def test_a_task_that_is_not_over_is_kept_when_it_ends(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    assert await keep(world, "t1") == ["ok"]

    await world.report(*await world.dispatches())

    assert await indexes(world) == {f"pinned:{HANDLER}": {"t1": world.now}}


@pytest.mark.parametrize("policy", ["always", "usual"])
async def test_a_submission_may_say_it(world: World, policy: str) -> None:
    await world.enlist()
    await world.submit("t1", keep=policy)
    await world.report(*await world.dispatches())

    assert list(await indexes(world)) == [f"pinned:{HANDLER}" if policy == "always" else f"history:{HANDLER}"]


async def test_a_repeat_changes_nothing_and_what_is_gone_is_told(world: World) -> None:
    await world.submit("t1", "t2")
    await world.cancel("t1")
    await keep(world, "t1")
    before = await world.dump()

    assert await keep(world, "t1", "nobody") == ["already", "gone"]
    assert await keep(world, "t2", keep="usual") == ["already"]

    assert await world.dump() == before


async def test_what_cannot_be_read_is_gone_and_what_is_of_a_later_release_is_left_alone(world: World) -> None:
    await world.submit("bad", "later")
    await world.cancel("bad", "later")
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(prefix + "task:bad", "state", "?")
    await client.hset(prefix + "task:later", "state", "archived")
    before = await world.dump()

    assert await keep(world, "bad", "later") == ["gone", "later"]

    assert await world.dump() == before


async def test_no_more_than_a_thousand_tasks_of_a_handler_are_kept(world: World) -> None:
    await world.submit("t1", "t2")
    client, prefix = world.partition.client, world.partition.prefix
    pinned = f"{prefix}pinned:{HANDLER}"
    await client.zadd(pinned, {f"m{number}": world.now for number in range(999)})

    await world.cancel("t1")
    assert await keep(world, "t1", "t2") == ["ok", "ok"]
    await world.cancel("t2")
    await world.submit("t3")
    assert await keep(world, "t3") == ["full"]
    assert await keep(world, "t1", keep="usual") == ["ok"]
    assert await keep(world, "t3") == ["full"]

    await client.zrem(pinned, *(f"m{number}" for number in range(999)))
