"""lua/note.lua: log lines and progress of the attempt that writes them."""

from tests.lua.world import World


async def note(world: World, *items: tuple[str, int, str, bytes]) -> list[str]:
    return (await world.call("note", list(items)))[1:]


async def bound(world: World) -> None:
    await world.enlist()
    await world.submit("t1")


async def test_lines_of_a_run_that_is_nowhere_or_unreadable_are_gone(world: World) -> None:
    await bound(world)
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")

    assert await note(world, ("t1", 1, "log", b"x"), ("nobody", 1, "log", b"x")) == ["gone", "gone"]

    assert "notes:t1" not in await world.dump()


async def test_just_enough_of_the_oldest_lines_go(world: World) -> None:
    await bound(world)
    for number in range(8):
        await note(world, ("t1", 1, "log", b"%d" % number + b"x" * 8_191))
    assert (await world.task("t1"))["noted"] == "65536"

    await note(world, ("t1", 1, "log", b"8"))

    dump = await world.dump()
    assert [entry["text"][0] for entry in dump["notes:t1"]] == list("12345678")
    assert dump["task:t1"]["noted"] == str(7 * 8_192 + 1)


async def test_lines_that_were_taken_away_are_not_waited_for(world: World) -> None:
    await bound(world)
    await note(world, ("t1", 1, "log", b"x" * 60_000))
    await world.partition.client.delete(world.partition.prefix + "notes:t1")

    assert await note(world, ("t1", 1, "log", b"y" * 60_000)) == ["ok"]


async def test_a_run_that_counts_more_bytes_than_it_has_lines_keeps_none_and_goes_on(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.partition.client.hset(world.partition.prefix + "task:t1", "noted", 999_999)

    assert (await world.call("note", [("t1", 1, "log", b"line")]))[1:] == ["ok"]

    assert await world.report(run) == ["accepted"]
