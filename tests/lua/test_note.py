"""lua/note.lua: log lines and progress of the attempt that writes them."""

import pytest

from tests.lua.world import Dispatch, World


async def note(world: World, *items: tuple[str, int, str, bytes]) -> list[str]:
    return (await world.call("note", [("s1", *item) for item in items]))[1:]


async def bound(world: World) -> Dispatch:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    return run


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
    run = await bound(world)
    await world.partition.client.hset(world.partition.prefix + "task:t1", "noted", 999_999)

    assert await world.note(run) == "ok"

    assert await world.report(run) == ["accepted"]


@pytest.mark.parametrize("outcome", ["ok", "error", "canceled"])
async def test_a_line_that_a_report_overtook_counts_until_10_s_after_the_end(world: World, outcome: str) -> None:
    run = await bound(world)
    await world.start(run)
    await world.report(run, outcome=outcome)

    await world.pass_steadily(10_000, renew=("s1",))
    assert await world.note(run, b"last") == "ok"
    world.pass_ms(1)
    assert await world.note(run, b"late") == "gone"

    assert [entry["text"] for entry in (await world.dump())["notes:t1"]] == ["last"]


async def test_a_long_run_writes_for_as_long_as_it_runs(world: World) -> None:
    run = await bound(world)
    await world.start(run)
    await world.pass_steadily(60_000, renew=("s1",))

    assert await world.note(run) == "ok"


async def test_a_line_of_an_attempt_that_failed_counts_until_the_next_begins(world: World) -> None:
    await world.enlist()
    await world.submit("t1", retries=1, retry_interval=1_000)
    [first] = await world.dispatches()
    await world.report(first, outcome="error")

    assert await world.note(first) == "ok"
    await world.pass_steadily(1_000, renew=("s1",))
    await world.expire()
    [second] = await world.dispatches()
    assert [await world.note(first), await world.note(second)] == ["gone", "ok"]


async def test_a_run_that_does_not_say_when_it_ended_takes_no_lines(world: World) -> None:
    run = await bound(world)
    await world.report(run)
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "ended")

    assert await world.note(run) == "gone"
