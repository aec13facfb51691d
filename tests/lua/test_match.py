"""lua/lib/match.lua: which session takes which run, in which order."""

from gojob_redis.domain.score import score_at
from tests.lua.world import HANDLER, T0, World

OTHER = HANDLER + "2"


async def test_sessions_of_another_group_that_changed_in_the_same_call_get_nothing(world: World) -> None:
    await world.enlist("plain", capacity=0)
    await world.enlist("gray", capacity=0, labels={"env": "gray"})
    await world.submit("t1", "t2")

    await world.renew("plain", "gray", capacity=1)

    assert [(run.session, run.run) for run in await world.dispatches()] == [("plain", "t1")]


async def test_an_entry_in_waiting_without_its_session_is_taken_out(world: World) -> None:
    await world.enlist()
    [name] = [name for name in await world.dump() if name.startswith("waiting:")]
    await world.partition.client.zadd(world.partition.prefix + name, {"ghost": 0})

    await world.submit("t1", "t2")

    assert [run.session for run in await world.dispatches()] == ["s1"]
    assert name not in await world.dump()


async def test_sessions_on_silent_gateways_hide_none_that_is_heard(world: World) -> None:
    await world.enlist("a1", gateway="g1")
    await world.enlist("a2", gateway="g1")
    await world.pass_steadily(3_001)
    await world.enlist("z", gateway="g2")

    assert (await world.call("submit", [world.submission("t1")]))[0] == "ok"

    assert [run.session for run in await world.dispatches("g2")] == ["z"]


async def test_a_call_looks_at_400_silent_sessions_and_leaves_the_rest_to_the_next(world: World) -> None:
    for number in range(450):
        await world.enlist(f"a{number:03d}")
    await world.pass_steadily(3_001)
    await world.enlist("z", gateway="g2")

    assert (await world.call("submit", [world.submission("t1")]))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"

    assert [run.session for run in await world.dispatches("g2")] == ["z"]
    assert "lost_wakeup" not in await world.events()


async def test_seats_are_taken_from_the_emptiest_up_over_levels_that_nobody_stands_on(world: World) -> None:
    await world.enlist("busy", capacity=4)
    await world.submit("t1", "t2", "t3")
    await world.enlist("idle", capacity=1)
    await world.dispatches()

    await world.submit("t4", "t5", "t6")

    assert [(run.session, run.run) for run in await world.dispatches()] == [("idle", "t4"), ("busy", "t5")]


async def test_a_session_that_became_full_within_a_call_takes_no_more(world: World) -> None:
    await world.enlist("a", capacity=2)
    await world.enlist("b", capacity=1)

    await world.submit("t1", "t2", "t3", "t4")

    assert sorted(run.session for run in await world.dispatches()) == ["a", "a", "b"]
    dump = await world.dump()
    assert (len(dump["held:a"]), len(dump["held:b"])) == (2, 1)


async def test_order_holds_across_the_lanes_of_a_group(world: World) -> None:
    await world.enlist(handlers=(HANDLER, OTHER), capacity=0)
    await world.submit("t1")
    world.pass_ms(1)
    await world.submit("t2", handler=OTHER)
    world.pass_ms(1)
    await world.submit("t3")

    await world.renew("s1", capacity=2)

    assert [run.run for run in await world.dispatches()] == ["t1", "t2"]


async def test_what_requires_an_attribute_is_bound_before_what_anybody_could_take(world: World) -> None:
    attributes = tuple(f"host={letter}" for letter in "abcd")
    await world.submit("plain", priority=9)
    for attribute in attributes:
        await world.submit(f"of-{attribute}", attribute=attribute)

    await world.enlist(capacity=4, attributes=attributes)

    assert sorted(run.run for run in await world.dispatches()) == [f"of-{attribute}" for attribute in attributes]


async def test_a_session_whose_seat_is_freed_gets_nothing_that_requires_what_it_does_not_offer(world: World) -> None:
    await world.enlist("s1", attributes=("host=a",))
    await world.enlist("s2", attributes=("host=b",))
    await world.submit("a1", attribute="host=a")
    await world.submit("b1", "b2", "b3", attribute="host=b")
    runs = await world.dispatches()

    await world.report(*runs)

    assert [(run.run, run.session) for run in await world.dispatches()] == [("b2", "s2")]


async def test_members_without_a_record_are_passed_over_however_many_they_are(world: World) -> None:
    await world.submit("t1")
    orphans = {f"nobody{number}": T0 for number in range(3)}
    await world.partition.client.zadd(world.partition.prefix + "activeq:1", orphans)

    await world.enlist()

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert await world.events() == ["orphan"] * 3


async def test_a_member_whose_record_stands_elsewhere_is_passed_over(world: World) -> None:
    await world.submit("t1", "t2")
    await world.cancel("t1")
    await world.partition.client.zadd(world.partition.prefix + "activeq:1", {"t1": T0})

    await world.enlist()

    assert [run.run for run in await world.dispatches()] == ["t2"]
    assert (await world.task("t1"))["state"] == "canceled"
    assert await world.events() == ["stale"]


async def test_a_ready_lane_that_nobody_knows_is_taken_out(world: World) -> None:
    await world.enlist(capacity=2)
    [group] = (await world.dump())["groups"]
    await world.partition.client.zadd(world.partition.prefix + f"ready:{group}|", {"99": 1})

    await world.submit("t1")

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert f"ready:{group}|" not in await world.dump()


async def test_the_head_that_is_shown_follows_a_cancel_of_the_first(world: World) -> None:
    await world.enlist(capacity=0)
    await world.submit("t1")
    world.pass_ms(5)
    await world.submit("t2")

    await world.cancel("t1")

    [ready] = [value for name, value in (await world.dump()).items() if name.startswith("ready:")]
    assert ready == {"1": score_at(T0 + 5)}


async def test_a_paused_lane_is_ready_for_nobody_when_it_gets_work_or_loses_its_head(world: World) -> None:
    await world.enlist(capacity=0)
    await world.submit("t1")
    await world.call("pause", [(HANDLER, 1)])

    await world.submit("t2")
    assert not [name for name in await world.dump() if name.startswith("ready:")]
    await world.cancel("t1")

    assert not [name for name in await world.dump() if name.startswith("ready:")]
