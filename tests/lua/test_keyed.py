"""lua/lib/keyed.lua: a task is found by its caller's key, and a unique key is of one live task."""

from tests.lua.world import APP, HANDLER, World


async def keyed(world: World) -> list[str]:
    return [member.replace("\x1f", " ") for member in (await world.dump()).get("keyed", {})]


async def submit(world: World, task: str, handler: str = HANDLER, key: str = "k", unique: int = 1) -> tuple[str, str]:
    word, other = (await world.call("submit", [world.submission(task, handler, own_key=key, unique=unique)]))[1:]
    return word, other.decode() if isinstance(other, bytes) else other


async def test_a_key_stands_in_the_index_as_long_as_its_task(world: World) -> None:
    await world.submit("t1", own_key="order-1")
    await world.submit("t2")
    await world.cancel("t1", "t2")
    assert await keyed(world) == [f"order-1 {APP} t1"]
    assert (await world.task("t1"))["key"] == "order-1"
    world.pass_ms(60_000)

    await world.retire(HANDLER, keep_ms=0, keep=0)

    assert await keyed(world) == []


async def test_the_key_of_a_task_that_is_done_goes_with_it(world: World) -> None:
    await world.enlist()
    await world.submit("t1", own_key="order-1")
    await world.report(*await world.dispatches())
    world.pass_ms(60_000)

    await world.retire(HANDLER, keep_ms=0, keep=0)

    assert await keyed(world) == []


async def test_a_unique_key_is_refused_while_a_task_with_it_lives(world: World) -> None:
    assert await submit(world, "t1", unique=0) == ("ok", "t1")

    assert await submit(world, "t2") == ("key_live", "t1")
    assert await submit(world, "t3", unique=0) == ("ok", "t3")
    assert await submit(world, "t4", key="k2") == ("ok", "t4")
    await world.cancel("t3")
    assert await submit(world, "t5") == ("key_live", "t1")
    await world.cancel("t1")

    assert await submit(world, "t6") == ("ok", "t6")
    assert await submit(world, "t6") == ("duplicate", "t6")
    assert f"task:{'t2'}" not in await world.dump()


async def test_a_key_is_unique_in_its_app_only_and_not_part_of_a_longer_one(world: World) -> None:
    await submit(world, "t1", key="k")

    assert await submit(world, "t2", "default/other/send") == ("ok", "t2")
    assert await submit(world, "t3", key="k1") == ("ok", "t3")
    assert await submit(world, "t4", key="k") == ("key_live", "t1")


async def test_two_of_one_call_are_told_apart(world: World) -> None:
    items = [world.submission(task, own_key="k", unique=1) for task in ("t1", "t2")]

    reply = await world.call("submit", items)

    assert reply[1:] == ["ok", "t1", "key_live", "t1"]


async def test_what_nobody_can_read_holds_no_key(world: World) -> None:
    await submit(world, "t1")
    await world.partition.client.hset(world.partition.prefix + "task:t1", "state", "?")

    assert await submit(world, "t2") == ("ok", "t2")
