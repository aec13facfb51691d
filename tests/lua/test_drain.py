"""lua/drain.lua and lua/disconnect.lua: what an operator says of a worker, which no announcement changes."""

import pytest

from tests.lua.test_solo import busy, dangerous, look
from tests.lua.world import APP, T0, World


async def drain(world: World, session: str = "s1", *, drained: bool = True, app: str = APP) -> str:
    return str((await world.call("drain", [(app, session, int(drained))]))[1])


async def disconnect(world: World, session: str = "s1", app: str = APP) -> str:
    return str((await world.call("disconnect", app=app, session=session))[0])


async def bound_to(world: World) -> list[str]:
    return [run.session for run in await world.dispatches()]


async def test_a_drained_session_takes_nothing_new_and_keeps_what_it_has(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1")

    assert await drain(world) == "ok"
    await world.submit("t2")

    dump = await world.dump()
    assert dump["session:s1"]["drained"] == str(T0)
    assert dump["held:s1"] == {"t1@1"}
    assert dump["task:t2"]["state"] == "created"
    assert "waiting:" not in "".join(dump)


async def test_no_announcement_of_the_worker_or_its_gateway_lets_it_work_again(world: World) -> None:
    await world.enlist(capacity=2)
    await drain(world)
    await world.submit("t1")

    await world.call("renew", [("s1", 1, 0, 0, 2, "")], gateway="g1")
    await world.call("renew", [("s1", 1, 0, 0, 5, "")], gateway="g1")
    await world.call("resume", [], session="s1", app=APP, holder="key", gateway="g2", conn=0, capacity=2, compare=1)
    await world.enlist(capacity=2)

    assert (await world.task("t1"))["state"] == "created"
    assert (await world.dump())["session:s1"]["drained"] == str(T0)


async def test_the_operator_lets_it_work_again_at_once(world: World) -> None:
    await world.enlist(attributes=("host=db7",))
    await drain(world)
    await world.submit("t1", attribute="host=db7")

    assert await drain(world, drained=False) == "ok"

    assert await bound_to(world) == ["s1"]
    assert "drained" not in (await world.dump())["session:s1"]


async def test_a_session_that_takes_more_than_a_call_binds_asks_for_another_call(world: World) -> None:
    await world.enlist(capacity=150)
    await drain(world)
    await world.submit(*(f"t{n}" for n in range(100)))
    await world.submit(*(f"t{n}" for n in range(100, 150)))

    assert await world.call("drain", [(APP, "s1", 0)]) == ["more", "ok"]

    assert len(await bound_to(world)) == 100
    await world.call("match", cursor="0", repair=0)
    assert len(await bound_to(world)) == 50
    assert await world.call("drain", [(APP, "s1", 0)]) == ["ok", "already"]


async def test_a_session_that_cannot_be_read_is_not_ended_by_an_operator(world: World) -> None:
    await world.enlist()
    await world.partition.client.hdel(world.partition.prefix + "session:s1", "group")

    assert await disconnect(world) == "gone"

    assert (await world.dump())["session:s1"]["app"] == APP


async def test_what_is_so_already_stays_so(world: World) -> None:
    await world.enlist()

    assert await drain(world, drained=False) == "already"
    await drain(world)
    world.pass_ms(1_000)
    assert await drain(world) == "already"
    assert (await world.dump())["session:s1"]["drained"] == str(T0)


@pytest.mark.parametrize("app", ["default/other", "other/shop"])
async def test_another_app_says_nothing_of_it(world: World, app: str) -> None:
    await world.enlist()
    before = await world.dump()

    assert await drain(world, app=app) == "gone"
    assert await disconnect(world, app=app) == "gone"

    assert await world.dump() == before


async def test_a_session_that_is_over_is_gone(world: World) -> None:
    assert await drain(world) == "gone"
    assert await disconnect(world) == "gone"


async def test_a_session_whose_end_has_begun_is_gone(world: World) -> None:
    await world.enlist(capacity=100)
    await world.submit(*(f"t{n}" for n in range(100)))
    await disconnect(world)

    assert await drain(world) == "gone"


async def test_the_seat_of_a_drained_session_comes_back_and_is_not_offered(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await drain(world)
    await world.submit("t2")

    await world.report(run)

    assert (await world.task("t2"))["state"] == "created"


async def test_who_is_disconnected_leaves_its_runs_to_others_and_none_counts_a_loss(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    await world.enlist("s2")

    assert await disconnect(world) == "ok"

    assert (await bound_to(world))[-1] == "s2"
    task = await world.task("t1")
    assert (task["attempt"], task.get("lost", "0")) == ("2", "0")
    dump = await world.dump()
    assert "session:s1" not in dump
    assert dump["sessions:default/shop"] == {"s2"}


async def test_a_session_with_100_runs_and_more_ends_in_several_calls(world: World) -> None:
    await world.enlist(capacity=150)
    await world.submit(*(f"t{n}" for n in range(100)))
    await world.submit(*(f"t{n}" for n in range(100, 150)))

    assert [await disconnect(world), await disconnect(world)] == ["rest", "ok"]

    assert not any(name.startswith(("session", "held")) for name in await world.dump())


async def test_a_drained_session_does_not_take_the_run_it_is_reserved_for(world: World) -> None:
    [run] = await busy(world, "c")
    await dangerous(world, "t1")
    await world.enlist("d")
    await drain(world, "d")

    await drain(world, "c")
    await world.report(run)
    await look(world, "c", "d")

    assert (await world.dump()).get("held:c") is None
    assert (await world.task("t1"))["state"] == "created"
    assert "off" not in (await world.dump())["session:c"]
    await drain(world, "d", drained=False)
    await look(world, "c", "d")
    assert (await world.dump())["held:d"] == {"t1@1"}
