"""lua/enlist.lua, renew.lua, resume.lua, leave.lua, reap.lua: who is alive, and whose seats are taken."""

from typing import Any

import pytest

from gojob_redis import match
from gojob_redis.domain import verbs
from tests.lua.world import APP, HANDLER, Dispatch, World


async def one_running(world: World, capacity: int = 1, **options: Any) -> Dispatch:
    await world.enlist(capacity=capacity)
    await world.submit("t1", **options)
    [run] = await world.dispatches()
    await world.start(run)
    return run


async def test_a_session_takes_no_more_than_its_seats(world: World) -> None:
    await world.enlist(capacity=2)

    await world.submit("t1", "t2", "t3")

    assert [run.run for run in await world.dispatches()] == ["t1", "t2"]
    assert (await world.dump())["held:s1"] == {"t1@1", "t2@1"}
    assert (await world.task("t3"))["place"] == "lane"


async def test_a_new_session_takes_what_already_waits(world: World) -> None:
    await world.submit("t1")

    await world.enlist()

    assert [run.run for run in await world.dispatches()] == ["t1"]


async def test_the_same_announcement_twice_is_one_session(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1")
    before = await world.dump()

    await world.enlist(capacity=2)

    assert await world.dump() == before


async def test_a_lease_ends_15_s_after_the_worker_was_heard_and_its_runs_go_elsewhere(world: World) -> None:
    await one_running(world)
    await world.pass_steadily(5_000)
    await world.renew("s1", age=1_000)
    await world.pass_steadily(13_999)
    assert (await world.reap())[1] == 0

    await world.pass_steadily(1)
    assert (await world.reap())[1] == 1

    task = await world.task("t1")
    assert (task["state"], task["place"], task["lost"]) == ("created", "lane", "1")
    dump = await world.dump()
    assert not [name for name in dump if "s1" in name or name.startswith(("group", "waiting"))]
    assert "session_lost" in await world.events()
    await world.enlist("s2", gateway="g2")
    assert [(run.run, run.attempt) for run in await world.dispatches("g2")] == [("t1", 2)]


async def test_a_report_after_the_lease_ended_is_fenced(world: World) -> None:
    run = await one_running(world)
    await world.pass_steadily(15_000)
    await world.reap()

    assert await world.report(run) == ["fenced"]
    assert (await world.task("t1"))["state"] == "created"


async def test_an_engine_that_stood_still_ends_no_lease(world: World) -> None:
    run = await one_running(world)

    world.pass_ms(3_600_000)
    await world.reap()

    assert (await world.task("t1"))["state"] == "running"
    assert await world.renew("s1") == ["ok"]
    assert await world.report(run) == ["accepted"]


async def test_a_clock_that_steps_back_ends_no_lease_and_none_lasts_for_ever(world: World) -> None:
    await one_running(world)
    world.pass_ms(-3_600_000)
    await world.call("now")

    await world.pass_steadily(14_999)
    assert (await world.reap())[1] == 0
    await world.pass_steadily(1)
    assert (await world.reap())[1] == 1


async def test_losses_while_the_clock_had_jumped_do_not_count(world: World) -> None:
    await one_running(world)
    world.pass_ms(60_000)
    await world.call("now")
    await world.pass_steadily(14_500)

    await world.reap()

    task = await world.task("t1")
    assert (task["state"], task.get("lost")) == ("created", None)


async def test_the_third_loss_is_poison_and_the_third_try_runs_alone(world: World) -> None:
    await world.submit("t1", "t2")
    for session in ("a", "b"):
        await world.enlist(session, capacity=1)
        await world.dispatches()
        await world.pass_steadily(15_000)
        await world.reap()
        await world.enlist(f"{session}-rest", capacity=1, labels={"other": "x"})
    assert (await world.task("t1"))["lost"] == "2"

    await world.enlist("c", capacity=2)
    alone = await world.dispatches()
    assert [run.run for run in alone] == ["t1"]
    assert (await world.task("t2"))["place"] == "lane"
    await world.pass_steadily(15_000)
    await world.reap()

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "poison")
    assert "poison" in await world.events()


async def test_on_lost_fault_faults_what_was_running_and_retries_what_was_not_begun(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2", on_lost="fault")
    first, _second = await world.dispatches()
    await world.start(first)

    await world.pass_steadily(15_000, renew=())
    await world.reap()

    assert (await world.task("t1"))["reason"] == "lost"
    assert (await world.task("t2"))["state"] == "created"


async def test_renewal_by_another_gateway_or_an_old_connection_is_told_moved(world: World) -> None:
    await world.enlist()
    assert await world.renew("s1", gateway="g2") == ["moved"]
    assert await world.renew("s1", conn=9) == ["moved"]
    assert await world.renew("unknown") == ["lost"]


async def test_a_difference_in_seats_is_noticed(world: World) -> None:
    await one_running(world)

    assert await world.renew("s1", held=1) == ["ok"]
    assert await world.renew("s1", held=0) == ["differs"]


async def test_a_changed_capacity_binds_at_once_and_zero_takes_out_of_waiting(world: World) -> None:
    await world.enlist(capacity=1)
    await world.submit("t1", "t2", "t3")
    assert len(await world.dispatches()) == 1

    await world.renew("s1", capacity=2)
    assert [run.run for run in await world.dispatches()] == ["t2"]
    await world.renew("s1", capacity=0)
    assert await world.dispatches() == []
    assert (await world.task("t3"))["place"] == "lane"


async def test_nothing_is_bound_to_a_session_of_a_silent_gateway(world: World) -> None:
    await world.enlist("s1", gateway="g1")
    await world.pass_steadily(3_001)
    await world.enlist("s2", gateway="g2")

    await world.submit("t1")
    await world.submit("t2")

    assert await world.dispatches("g1") == []
    assert [run.run for run in await world.dispatches("g2")] == ["t1"]
    await world.renew("s1")
    assert [run.run for run in await world.dispatches("g1")] == ["t2"]


async def test_a_session_resumes_at_another_gateway_with_what_it_runs(world: World) -> None:
    run = await one_running(world, capacity=2)

    reply = await world.resume("s1", run)

    assert reply == ["ok", 2, "keep"]
    assert await world.dispatches("g2") == []
    assert await world.inbox("g1") == ["moved 1"]
    assert (await world.task("t1"))["state"] == "running"
    assert await world.renew("s1", gateway="g1") == ["moved"]
    assert await world.report(run) == ["accepted"]


async def test_what_the_worker_does_not_know_of_is_sent_again(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1")
    [run] = await world.dispatches()

    await world.resume("s1")

    assert await world.inbox("g2") == ["run t1"]  # and nothing about a cancel that nobody asked for
    assert (await world.task("t1"))["fence"] == run.fence


async def test_a_run_that_its_worker_had_begun_and_knows_no_more_is_lost(world: World) -> None:
    """The engine acknowledged its report and forgot it in a crash: sent again it would be taken for a double."""
    run = await one_running(world)
    await world.pass_steadily(30_001, renew=("s1",))

    await world.resume(gateway="g1", conn=1)

    [again] = await world.dispatches()
    assert (again.run, again.attempt) == (run.run, 2)
    assert again.fence != run.fence
    assert (await world.task("t1")).get("lost") is None
    assert "lost" in await world.events()
    assert (await world.dump())["held:s1"] == {"t1@2"}


@pytest.mark.parametrize("conn", [0, 1])
async def test_what_a_worker_began_after_it_wrote_its_list_is_neither_lost_nor_sent_again(
    world: World, conn: int
) -> None:
    """An engine that stood still reads a list that is older than what its worker was handed since."""
    run = await one_running(world)
    await world.pass_steadily(29_000, renew=("s1",))

    await world.resume(gateway="g1", conn=conn)

    assert await world.dispatches() == []
    assert (await world.dump())["held:s1"] == {"t1@1"}
    assert await world.report(run) == ["accepted"]


async def test_nothing_is_lost_by_a_list_that_an_engine_reads_when_it_goes_on_after_it_stood_still(
    world: World,
) -> None:
    await one_running(world)
    world.pass_ms(60_000)
    await world.resume(gateway="g1", conn=1)
    assert (await world.task("t1"))["state"] == "running"
    await world.pass_steadily(5_001, renew=("s1",))

    await world.resume(gateway="g1", conn=1)

    assert (await world.task("t1"))["attempt"] == "2"


async def test_a_run_that_lasts_long_is_kept_as_long_as_its_worker_lists_it(world: World) -> None:
    run = await one_running(world)
    await world.pass_steadily(31_000, renew=("s1",))

    assert await world.resume("s1", run, gateway="g1", conn=1) == ["ok", 1, "keep"]

    assert (await world.task("t1"))["state"] == "running"
    assert await world.report(run) == ["accepted"]


async def test_a_seat_is_counted_once_however_often_it_is_listed(world: World) -> None:
    run = await one_running(world, capacity=2)
    await world.resume("s1", run, gateway="g1", conn=1)

    await world.submit("t2")

    assert [each.run for each in await world.dispatches()] == ["t2"]


async def test_a_seat_of_a_run_that_is_nowhere_is_told_gone_and_stays_the_workers(world: World) -> None:
    await world.enlist(capacity=2)
    await world.partition.client.sadd(world.partition.prefix + "held:s1", "never@1")

    assert await world.resume("s1", Dispatch("s1", "never", 1, "1-x", ""), gateway="g1", conn=1) == ["ok", 1, "gone"]

    assert (await world.dump())["held:s1"] == {"never@1"}


async def test_a_run_that_its_worker_knows_no_more_runs_at_most_once_if_it_has_to(world: World) -> None:
    await one_running(world, on_lost="fault")
    await world.pass_steadily(30_001, renew=("s1",))

    await world.resume(gateway="g1", conn=1)

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "lost")


async def test_a_seat_nobody_needs_is_freed_and_used(world: World) -> None:
    run = await one_running(world)
    await world.submit("t2")
    await world.cancel("t1")
    await world.pass_steadily(10_000, renew=("s1",))
    await world.expire()
    assert (await world.task("t1"))["state"] == "canceled"
    assert (await world.dump())["held:s1"] == {"t1@1"}

    reply = await world.resume("s1", conn=1, gateway="g1")

    assert reply == ["ok", 1]
    assert (await world.dump())["held:s1"] == {"t2@1"}
    assert await world.report(run) == ["fenced"]


async def test_a_run_the_worker_no_longer_owns_is_fenced_and_its_seat_stays_taken(world: World) -> None:
    run = await one_running(world)
    await world.cancel("t1")
    await world.pass_steadily(10_000, renew=("s1",))
    await world.expire()

    assert await world.resume("s1", run) == ["ok", 2, "fenced"]
    assert (await world.dump())["held:s1"] == {"t1@1"}
    assert (await world.resume("s1", Dispatch("s1", "never", 1, "1-x", "")))[2:] == ["gone"]


async def test_a_session_of_another_holder_or_app_is_foreign_and_an_ended_one_is_lost(world: World) -> None:
    await world.enlist()
    common = {"session": "s1", "gateway": "g2", "conn": 0, "capacity": -1}

    assert await world.call("resume", [], compare=1, app="default/shop", holder="other", **common) == ["foreign"]
    assert await world.call("resume", [], compare=1, app="default/else", holder="key", **common) == ["foreign"]
    await world.leave()
    assert await world.call("resume", [], compare=1, app="default/shop", holder="key", **common) == ["lost"]


async def test_leaving_in_order_counts_no_loss_and_leaves_nothing_behind(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1")

    assert await world.leave() == "ok"

    dump = await world.dump()
    assert (dump["task:t1"]["state"], dump["task:t1"].get("lost")) == ("created", None)
    assert not [name for name in dump if name.startswith(("session", "held", "group", "waiting", "ready"))]
    assert await world.leave() == "gone"


async def test_a_gateway_silent_for_a_minute_is_reaped_with_its_inbox(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    assert "inbox:g1" in await world.dump()

    await world.pass_steadily(60_000)
    await world.reap()

    dump = await world.dump()
    assert "inbox:g1" not in dump
    assert "gateways" not in dump


async def test_a_group_serves_all_its_handlers_through_one_index(world: World) -> None:
    other = HANDLER.replace("send", "pack")
    await world.submit("t1", handler=other)
    await world.submit("t2")

    await world.enlist(handlers=(HANDLER, other), capacity=5)

    assert [run.run for run in await world.dispatches()] == ["t1", "t2"]


async def test_a_session_with_a_thousand_runs_ends_in_bounded_steps(world: World) -> None:
    await world.enlist(capacity=250)
    for first in range(0, 250, 50):
        await world.submit(*(f"t{n}" for n in range(first, first + 50)))
    await world.pass_steadily(15_000)

    words = [(await world.reap())[0] for _ in range(3)]

    assert words == ["more", "more", "ok"]
    assert len((await world.dump())["activeq:1"]) == 250


async def lose_twice(world: World) -> None:
    """t1 has cost two workers their lease, while c runs n1 with a second seat free."""
    await world.submit("t1")
    for session in ("a", "b"):
        await world.enlist(session, capacity=1)
        await world.dispatches()
        if session == "b":
            await world.enlist("c", capacity=2)
            await world.submit("n1")
        await world.pass_steadily(15_000, renew=("c",) if session == "b" else ())
        await world.reap()
    assert (await world.task("t1"))["lost"] == "2"


async def test_a_run_that_has_to_be_alone_gets_a_session_kept_free_for_it(world: World) -> None:
    await lose_twice(world)
    [n1] = await world.dispatches()
    await world.start(n1)

    assert (await world.dump())["session:c"]["off"] == "reserved"
    await world.submit("n2")
    await world.renew("c", capacity=3)
    assert await world.dispatches() == []

    await world.report(n1)
    await world.expire()
    [alone] = await world.dispatches()
    assert (alone.run, alone.session) == ("t1", "c")
    assert (await world.dump())["session:c"]["off"] == "solo"

    await world.report(alone)
    assert [run.run for run in await world.dispatches()] == ["n2"]
    assert "off" not in (await world.dump())["session:c"]


@pytest.mark.parametrize("end", ["canceled", "corrupt"])
async def test_a_session_is_kept_for_nobody_when_its_run_is_over(world: World, end: str) -> None:
    await lose_twice(world)
    await world.start(*await world.dispatches())
    await world.submit("n2")

    if end == "canceled":
        assert await world.cancel("t1") == ["canceled"]
    else:
        await world.partition.client.hset(f"{world.partition.prefix}task:t1", "state", "?")
        await world.renew("c")
        await world.pass_steadily(1_000, renew=("c",))
        await world.expire()

    assert [run.run for run in await world.dispatches()] == ["n2"]
    assert "off" not in (await world.dump())["session:c"]


async def test_one_session_of_a_group_is_kept_free_at_a_time(world: World) -> None:
    await lose_twice(world)
    [n1] = await world.dispatches()
    await world.enlist("d", capacity=1)
    await world.submit("n2")
    [n2] = await world.dispatches()
    client, prefix = world.partition.client, world.partition.prefix
    await world.submit("t2")
    await client.hset(f"{prefix}task:t2", "lost", 2)

    await world.report(n2)  # d is idle, but t2 came after t1: it is alone there at once

    [alone] = await world.dispatches()
    assert (alone.run, alone.session) == ("t2", "d")
    await world.report(n1)
    await world.expire()
    assert [(run.run, run.session) for run in await world.dispatches()] == [("t1", "c")]


async def test_a_run_whose_reserved_session_is_lost_gets_another(world: World) -> None:
    await lose_twice(world)
    await world.dispatches()
    await world.pass_steadily(15_000)
    await world.reap()
    await world.enlist("d", capacity=1)
    [n1] = await world.dispatches()
    await world.start(n1)

    await world.pass_steadily(500)
    await world.expire()
    await world.report(n1)
    await world.expire()

    assert [(run.run, run.session) for run in await world.dispatches()] == [("t1", "d")]


@pytest.mark.parametrize("why", ["no socket", "silent gateway"])
async def test_a_run_does_not_wait_for_a_reserved_session_that_cannot_take_it(world: World, why: str) -> None:
    await lose_twice(world)
    await world.start(*await world.dispatches())
    if why == "no socket":
        await world.renew("c", capacity=0)
    else:
        await world.pass_steadily(3_001)
    await world.enlist("d", gateway="g2", capacity=1)

    await world.pass_steadily(500, renew=())
    await world.renew("d", gateway="g2")
    await world.expire()

    assert [(run.run, run.session) for run in await world.dispatches("g2")] == [("t1", "d")]
    assert (await world.dump())["session:c"].get("off") != "reserved"


async def many_running(world: World) -> None:
    await world.enlist(capacity=250)
    for first in range(0, 250, 50):
        await world.submit(*(f"t{n}" for n in range(first, first + 50)))


async def counted(world: World) -> int:
    """How many runs have a loss on record."""
    return sum("lost" in facts for name, facts in (await world.dump()).items() if name.startswith("task:"))


async def test_a_goodbye_that_takes_several_calls_counts_no_loss_whoever_ends_it(world: World) -> None:
    await many_running(world)

    assert await world.leave() == "more"
    for _ in range(2):
        await world.reap()

    assert "session:s1" not in await world.dump()
    assert await counted(world) == 0


async def test_losses_while_the_clock_had_jumped_do_not_count_in_any_of_several_calls(world: World) -> None:
    await many_running(world)
    world.pass_ms(60_000)
    await world.call("now")
    await world.pass_steadily(14_500)

    for _ in range(3):
        await world.reap()

    assert "session:s1" not in await world.dump()
    assert await counted(world) == 0


@pytest.mark.parametrize("jumped", [False, True])
async def test_a_session_whose_end_has_begun_comes_to_life_no_more(world: World, jumped: bool) -> None:
    await many_running(world)
    if jumped:
        world.pass_ms(60_000)
        await world.call("now")
        await world.pass_steadily(14_500)
    else:
        await world.pass_steadily(15_000)
    assert (await world.reap())[0] == "more"

    assert await world.renew("s1") == ["lost"]
    assert await world.resume() == ["lost"]


async def test_an_announcement_that_comes_again_late_takes_nothing_back(world: World) -> None:
    await world.enlist()
    await world.renew("s1", capacity=3)
    await world.resume("s1", gateway="g2")
    before = await world.dump()

    assert await world.enlist() == "ok"

    assert await world.dump() == before


# ---- a list in pieces ------------------------------------------------------------------------------------------------


async def test_a_list_of_any_length_goes_in_pieces_and_is_compared_as_a_whole(world: World) -> None:
    await world.enlist(capacity=250)
    for first in (0, 100, 200):
        await world.submit(*(f"t{n}" for n in range(first, min(first + 100, 250))))
        await world.call("match", cursor="0", repair=0)
    runs = await world.dispatches()
    listed, unlisted = [*runs[:90], *runs[100:210]], [*runs[90:100], *runs[210:]]
    stranger = verbs.HeldRun("never", 1, "1-x", 1)
    calls: list[int] = []

    class Partition:
        async def call(self, call: verbs.Call[Any]) -> Any:
            calls.append(len(call.items))
            reply = await world.call(call.verb, call.items, **call.scalars)
            return call.read([word.encode() if isinstance(word, str) else word for word in reply], len(call.items))

    resumed = await match.resume(
        Partition(),  # type: ignore[arg-type]
        session="s1",
        app=APP,
        holder="key",
        gateway="g2",
        conn=0,
        capacity=-1,
        runs=[*(verbs.HeldRun(run.run, run.attempt, run.fence, 1) for run in listed), stranger],
    )

    assert calls == [100, 100, 1, 50]
    assert (resumed.word, resumed.conn) == ("ok", 2)
    assert resumed.verdicts == ("keep",) * 200 + ("gone",)
    assert {run.run for run in await world.dispatches("g2")} == {run.run for run in unlisted}
    dump = await world.dump()
    assert dump["held:s1"] == {f"{run.run}@1" for run in runs} | {"never@1"}
    assert {dump[f"task:{run.run}"]["state"] for run in listed} == {"running"}


async def test_a_piece_that_comes_too_late_for_its_connection_is_turned_away(world: World) -> None:
    await world.enlist()
    common = {"session": "s1", "app": APP, "holder": "key", "gateway": "g1", "capacity": -1}
    assert await world.call("resume", [], conn=0, compare=1, **common) == ["ok", 2, ""]
    assert await world.call("resume", [], conn=0, compare=1, **common) == ["ok", 3, ""]

    assert await world.call("resume", [("never", 1, "1-x", 1)], conn=2, compare=0, **common) == ["moved"]

    assert "held:s1" not in await world.dump()


async def test_what_was_given_back_before_its_piece_came_is_not_sent_again(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    common = {"session": "s1", "app": APP, "holder": "key", "gateway": "g1", "capacity": -1}
    assert await world.call("resume", [], conn=1, compare=1, **common) == ["ok", 1, "t1@1"]
    await world.report(run)

    await world.call("resume", [("t1", 1, "", -1)], conn=1, compare=0, **common)

    assert await world.dispatches() == []


async def test_a_run_that_is_listed_twice_takes_one_seat(world: World) -> None:
    await world.enlist(capacity=2)
    common = {"session": "s1", "app": APP, "holder": "key", "gateway": "g1", "capacity": -1}
    await world.call("resume", [("never", 1, "1-x", 1)] * 2, conn=1, compare=1, **common)

    await world.submit("t1")

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert (await world.dump())["held:s1"] == {"never@1", "t1@1"}


async def test_only_the_call_that_compares_tells_what_was_not_listed(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    common = {"session": "s1", "app": APP, "holder": "key", "gateway": "g1", "capacity": -1}

    assert await world.call("resume", [], conn=1, compare=0, **common) == ["ok", 1, ""]


async def test_a_seat_that_nobody_could_have_taken_is_given_back(world: World) -> None:
    await world.enlist()
    await world.partition.client.sadd(world.partition.prefix + "held:s1", "x", "a b@1", "@1")
    common = {"session": "s1", "app": APP, "holder": "key", "gateway": "g1", "capacity": -1}

    assert (await world.call("resume", [], conn=1, compare=1, **common))[2] == ""

    assert "held:s1" not in await world.dump()
