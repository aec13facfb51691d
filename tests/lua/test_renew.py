"""lua/renew.lua and resume.lua: what a heartbeat keeps, and what a home-coming changes."""

from dataclasses import replace
from typing import Any

from tests.lua.world import APP, HANDLER, T0, Dispatch, World


async def resume(world: World, *runs: Dispatch, started: int = 0, **scalars: Any) -> list[Any]:
    """``resume`` with every scalar open."""
    items = [(run.run, run.attempt, run.fence, started) for run in runs]
    given = {"session": "s1", "app": APP, "holder": "key", "gateway": "g1", "conn": 1, "capacity": -1} | scalars
    return await world.resume_all(items, **given)


async def test_a_heartbeat_of_a_session_without_news_moves_its_lease_and_its_gateway_only(world: World) -> None:
    await world.enlist(capacity=2)
    before = await world.dump()
    world.pass_ms(99)

    assert (await world.call("renew", [("s1", 1, 40, 0, -1, "")], gateway="g1")) == ["ok", "ok"]

    expected = before | {"leases": {"s1": T0 + 99 + 15_000 - 40}, "gateways": {"g1": T0 + 99}}
    assert await world.dump() == expected


async def test_a_heartbeat_without_sessions_keeps_the_gateway(world: World) -> None:
    assert await world.call("renew", [], gateway="g1") == ["ok"]
    assert (await world.dump())["gateways"] == {"g1": T0}


async def test_a_heartbeat_that_is_turned_away_changes_no_lease(world: World) -> None:
    await world.enlist()
    world.pass_ms(99)

    await world.call("renew", [("s1", 2, 0, -1, 5, ""), ("ghost", 1, 0, -1, 5, "")], gateway="g1")

    dump = await world.dump()
    assert (dump["leases"], dump["session:s1"]["capacity"]) == ({"s1": T0 + 15_000}, "1")


async def test_a_heartbeat_brings_back_only_what_was_silent(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.release(*await world.dispatches())

    await world.renew("s1")

    assert (await world.dump())["session:s1"]["off"] == "released"
    assert await world.dispatches() == []


async def test_an_announcement_brings_back_a_released_session(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.release(*await world.dispatches())

    await world.renew("s1", capacity=1)

    dump = await world.dump()
    assert ("off" in dump["session:s1"], dump["session:s1"]["capacity"]) == (False, "1")


async def test_a_call_that_stops_at_100_binds_answers_more(world: World) -> None:
    await world.enlist(capacity=0)
    for first in range(0, 150, 50):
        await world.submit(*(f"t{n}" for n in range(first, first + 50)))

    assert (await world.call("renew", [("s1", 1, 0, -1, 150, "")], gateway="g1")) == ["more", "ok"]

    assert (await resume(world, conn=0, gateway="g2"))[0] == "ok"


async def test_a_home_coming_that_stops_at_100_binds_answers_more(world: World) -> None:
    await world.enlist(capacity=0)
    for first in range(0, 150, 50):
        await world.submit(*(f"t{n}" for n in range(first, first + 50)))

    assert (await resume(world, conn=0, capacity=150))[:2] == ["more", 2]
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"


async def test_a_home_coming_at_the_same_gateway_tells_nobody_to_go(world: World) -> None:
    await world.enlist()

    assert await resume(world, conn=0) == ["ok", 2]

    dump = await world.dump()
    assert "inbox:g1" not in dump
    assert (dump["session:s1"]["conn"], dump["session:s1"]["gateway"]) == ("2", "g1")


async def test_a_home_coming_renews_the_lease_and_the_gateway(world: World) -> None:
    await world.enlist()
    world.pass_ms(900)

    await resume(world, conn=0, gateway="g2")

    dump = await world.dump()
    assert dump["leases"] == {"s1": T0 + 15_900}
    assert dump["gateways"] == {"g1": T0, "g2": T0 + 900}


async def test_only_the_connection_that_holds_a_session_compares_seats(world: World) -> None:
    await world.enlist()
    before = await world.dump()

    assert await resume(world, conn=2) == ["moved"]
    assert await resume(world, gateway="g2") == ["moved"]
    assert await world.dump() == before


async def test_a_capacity_comes_with_the_home_coming(world: World) -> None:
    await world.enlist(capacity=1)
    await world.submit("t1", "t2")

    await resume(world, capacity=2)

    assert (await world.dump())["held:s1"] == {"t1@1", "t2@1"}
    assert (await world.dump())["session:s1"]["capacity"] == "2"


async def test_comparing_seats_does_not_bring_back_a_released_session_but_a_new_home_does(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.release(*await world.dispatches())

    await resume(world)
    assert (await world.dump())["session:s1"]["off"] == "released"
    await resume(world, conn=0)

    assert [run.attempt for run in await world.dispatches()] == [2]


async def test_comparing_seats_brings_back_a_session_that_was_silent(world: World) -> None:
    await world.enlist()
    await world.pass_steadily(3_001)
    await world.submit("t1")
    assert (await world.dump())["session:s1"]["off"] == "silent"
    await world.call("renew", [], gateway="g1")

    await resume(world)

    assert [run.run for run in await world.dispatches()] == ["t1"]


async def test_a_run_the_worker_began_begins(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2", run_limit=60_000)
    first, second = await world.dispatches()

    assert (await resume(world, first, started=1))[2:] == ["keep"]
    assert (await resume(world, first, second))[2:] == ["keep", "keep"]

    dump = await world.dump()
    assert (dump["task:t1"]["state"], dump["task:t2"]["state"]) == ("running", "waiting_to_run")
    assert dump[f"deadlineq:{HANDLER}"]["t1"] == T0 + 60_000


async def test_a_run_that_was_begun_already_keeps_its_start(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    world.pass_ms(50)

    await resume(world, run, started=1)

    assert (await world.task("t1"))["started"] == str(T0)


async def test_a_run_of_which_nobody_can_read_the_record_is_fenced(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")

    assert (await resume(world, run, started=1))[2:] == ["fenced"]


async def test_a_run_whose_fence_moved_is_fenced_and_its_worker_is_told_to_stop_nothing(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()

    assert (await resume(world, replace(run, fence="1-x"), started=1))[2:] == ["fenced"]
    assert (await world.task("t1"))["state"] == "waiting_to_run"
    assert (await resume(world, run, conn=0, gateway="g2"))[2:] == ["keep"]

    assert await world.inbox("g2") == []


async def test_a_run_that_is_over_is_fenced(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.report(run)

    assert (await resume(world, run))[2:] == ["fenced"]

    assert (await world.dump())["held:s1"] == {"t1@1"}
    await world.report(run)
    assert "held:s1" not in await world.dump()


async def test_a_run_of_another_session_is_not_sent_and_its_seat_here_is_freed(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    await world.pass_steadily(5_000, renew=("s1",))
    await world.enlist("s2")
    await world.expire()
    assert [run.session for run in await world.dispatches()] == ["s1", "s2"]

    await resume(world)

    dump = await world.dump()
    assert ("held:s1" in dump, dump["held:s2"]) == (False, {"t1@2"})
    assert await world.dispatches() == []


async def test_an_earlier_attempt_of_a_run_the_session_has_again_is_freed(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1")
    await world.pass_steadily(5_000, renew=("s1",))
    await world.expire()
    await world.renew("s1", capacity=2)
    *_, again = await world.dispatches()

    await resume(world, again)

    assert (await world.dump())["held:s1"] == {"t1@2"}


async def test_a_seat_whose_run_is_gone_or_unreadable_is_freed(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    client, prefix = world.partition.client, world.partition.prefix
    await client.delete(prefix + "task:t1", prefix + "task:t2")
    await client.set(prefix + "task:t2", "garbage")

    await resume(world)

    assert "held:s1" not in await world.dump()
    await client.delete(prefix + "task:t2")


async def test_a_cancel_that_was_asked_is_told_again_at_the_new_home_only(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.cancel("t1", reason="enough")
    await world.inbox()

    await resume(world, run)
    assert await world.inbox() == []
    await resume(world)
    assert await world.inbox() == ["run t1", "cancel t1"]
    await resume(world, run, conn=0, gateway="g2")

    assert await world.inbox("g2") == ["cancel t1"]


async def test_seats_the_worker_takes_for_its_own_count(world: World) -> None:
    await world.enlist(capacity=1)

    await resume(world, Dispatch("s1", "never", 1, "1-x", ""))
    await world.submit("t1")

    assert (await world.dump())["held:s1"] == {"never@1"}
    assert await world.dispatches() == []
    await world.report(Dispatch("s1", "never", 1, "1-x", ""))
    assert [one.run for one in await world.dispatches()] == ["t1"]


async def test_a_start_of_a_run_that_is_to_stop_is_told_so_and_keeps_its_grace(world: World) -> None:
    await world.enlist()
    await world.submit("t1", run_limit=60_000)
    [run] = await world.dispatches()
    await world.cancel("t1")

    assert await world.start(run) == ["canceled"]
    assert await world.start(run) == ["ok"]

    assert (await world.dump())[f"deadlineq:{HANDLER}"] == {"t1": T0 + 2_000}


async def test_a_start_of_a_record_nobody_can_read_is_fenced(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")

    assert await world.start(run) == ["fenced"]


async def test_a_begun_run_without_a_limit_has_no_timer(world: World) -> None:
    await world.enlist()
    await world.submit("t1")

    await world.start(*await world.dispatches())

    assert f"deadlineq:{HANDLER}" not in await world.dump()


async def test_a_heartbeat_that_tells_what_its_process_takes_is_kept_with_the_session(world: World) -> None:
    await world.enlist()
    await world.call("renew", [("s1", 1, 0, 0, -1, "12 100 0")], gateway="g1")
    await world.call("renew", [("s1", 1, 0, 0, -1, "")], gateway="g1")
    await world.call("renew", [("s1", 2, 0, 0, -1, "99 100 0")], gateway="g1")

    assert (await world.dump())["session:s1"]["load"] == "12 100 0"
