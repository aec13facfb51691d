"""A run that was lost twice has to be alone: which session is kept free for it, and until when."""

import pytest

from tests.lua.world import HANDLER, Dispatch, World


async def busy(world: World, *sessions: str) -> list[Dispatch]:
    """Sessions of two seats, each of which runs one task."""
    for session in sessions:
        await world.enlist(session, capacity=1)
        await world.submit(f"of-{session}")
    runs = await world.dispatches()
    await world.start(*runs)
    await world.renew(*sessions, capacity=2)
    return runs


async def dangerous(world: World, *tasks: str) -> None:
    """Tasks that were lost twice, ready in this order."""
    await world.call("pause", [(HANDLER, 1)])
    for task in tasks:
        await world.submit(task)
        await world.partition.client.hset(world.partition.prefix + f"task:{task}", "lost", 2)
        world.pass_ms(1)
    await world.call("pause", [(HANDLER, 0)])


async def off(world: World, session: str) -> str | None:
    found: str | None = (await world.dump())[f"session:{session}"].get("off")
    return found


async def reservation(world: World) -> str:
    dump = await world.dump()
    [group] = dump["groups"]
    return str(dump[f"group:{group}"]["reserved"])


async def look(world: World, *sessions: str) -> None:
    await world.pass_steadily(500, renew=sessions)
    await world.expire()


async def test_a_reserved_session_takes_nothing_while_it_is_busy(world: World) -> None:
    await busy(world, "c")
    await dangerous(world, "t1")
    await world.submit("urgent", priority=9)
    assert await off(world, "c") == "reserved"

    await look(world, "c")

    dump = await world.dump()
    assert dump["held:c"] == {"of-c@1"}
    assert (dump["task:t1"]["place"], dump["task:urgent"]["place"]) == ("timer", "lane")


async def test_an_idle_session_that_has_a_run_alone_takes_nothing_beside_it(world: World) -> None:
    await world.enlist("c", capacity=2)
    await dangerous(world, "t1")

    await world.submit("other")

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert await off(world, "c") == "solo"


@pytest.mark.parametrize("news", ["capacity", "home"])
async def test_news_of_a_session_that_has_a_run_alone_give_it_nothing_beside_it(world: World, news: str) -> None:
    await world.enlist("c", capacity=2)
    await dangerous(world, "t1")
    [alone] = await world.dispatches()

    await (world.renew("c", capacity=3) if news == "capacity" else world.resume("c", alone))
    await world.submit("other")

    assert await off(world, "c") == "solo"
    assert (await world.task("other"))["place"] == "lane"


async def test_a_run_is_not_looked_at_sooner_because_its_session_was_heard(world: World) -> None:
    await busy(world, "c")
    await dangerous(world, "t1")
    before = (await world.dump())[f"deadlineq:{HANDLER}"]

    await world.renew("c")

    assert (await world.dump())[f"deadlineq:{HANDLER}"] == before


async def test_a_session_is_let_go_when_its_run_waits_for_another(world: World) -> None:
    await busy(world, "c")
    await dangerous(world, "t1")
    await world.partition.client.hset(world.partition.prefix + "task:t1", "reserved", "d")

    await world.renew("c")

    assert await off(world, "c") is None


async def test_a_session_that_comes_home_stays_reserved(world: World) -> None:
    [run] = await busy(world, "c")
    await dangerous(world, "t1")

    await world.resume("c", run)

    assert await off(world, "c") == "reserved"


async def test_a_session_is_alone_with_its_run_as_long_as_it_has_any_seat_taken(world: World) -> None:
    await world.enlist("c", capacity=2)
    await dangerous(world, "t1")
    [alone] = await world.dispatches()
    claimed = Dispatch("c", "never", 1, "1-x", "")
    await world.resume("c", alone, claimed)

    await world.report(claimed)
    assert await off(world, "c") == "solo"
    await world.report(alone)

    assert await off(world, "c") is None


async def test_a_pause_holds_for_a_run_that_waits_to_be_alone(world: World) -> None:
    [run] = await busy(world, "c")
    await dangerous(world, "t1")
    await world.call("pause", [(HANDLER, 1)])
    await world.report(run)

    await look(world, "c")
    assert await world.dispatches() == []
    await world.call("pause", [(HANDLER, 0)])
    await look(world, "c")

    assert [one.run for one in await world.dispatches()] == ["t1"]


async def test_a_session_that_handed_its_work_back_takes_not_even_the_run_it_is_reserved_for(world: World) -> None:
    await world.enlist("c", capacity=1)
    await world.submit("of-c")
    [run] = await world.dispatches()
    await world.renew("c", capacity=2)
    await dangerous(world, "t1")
    assert await off(world, "c") == "reserved"
    await world.release(run)

    await look(world, "c")

    assert await off(world, "c") == "released"
    assert await world.dispatches() == []
    assert (await world.task("t1"))["place"] == "lane"


async def test_a_run_whose_reservation_nobody_remembers_stands_in_its_lane_again(world: World) -> None:
    await busy(world, "c")
    await dangerous(world, "t1")
    [group] = (await world.dump())["groups"]
    await world.partition.client.hdel(world.partition.prefix + f"group:{group}", "reserved")

    await look(world)

    assert (await world.task("t1"))["place"] == "lane"


async def test_of_a_group_one_session_is_reserved_and_for_the_first_that_needs_it(world: World) -> None:
    await busy(world, "c", "d")

    await dangerous(world, "t1", "t2")

    assert sorted([str(await off(world, "c")), str(await off(world, "d"))]) == ["None", "reserved"]
    assert (await reservation(world)).endswith(" t1")


async def test_a_reservation_that_its_session_forsook_is_given_to_another_for_the_next_run(world: World) -> None:
    await world.enlist("c", capacity=1)
    await world.submit("of-c")
    [run] = await world.dispatches()
    await world.renew("c", capacity=2)
    await dangerous(world, "t1")
    await world.release(run)
    assert await off(world, "c") == "released"
    await world.enlist("d", capacity=1)
    await world.start(*await world.dispatches())
    await world.renew("d", capacity=2)

    await dangerous(world, "t2")

    assert await reservation(world) == "d t2"
    assert await off(world, "c") == "released"


async def test_a_session_reserved_for_a_run_that_does_not_wait_is_let_go_for_the_next(world: World) -> None:
    await busy(world, "c", "d")
    await dangerous(world, "t1")
    first = (await reservation(world)).split(" ")[0]
    [group] = (await world.dump())["groups"]
    await world.partition.client.hset(world.partition.prefix + f"group:{group}", "reserved", f"{first} nobody")

    await dangerous(world, "t2")

    assert (await reservation(world)).endswith(" t2")
    assert sorted([str(await off(world, "c")), str(await off(world, "d"))]) == ["None", "reserved"]


async def test_the_end_of_a_run_brings_no_session_back_that_forsook_it(world: World) -> None:
    await world.enlist("c", capacity=1)
    await world.submit("of-c")
    [run] = await world.dispatches()
    await world.renew("c", capacity=2)
    await dangerous(world, "t1")
    await world.release(run)

    await world.cancel("t1")

    assert await off(world, "c") == "released"
