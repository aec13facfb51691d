"""lua/leave.lua, reap.lua and lib/end_session.lua: how sessions end, and what they leave behind: nothing."""

from gojob_redis.domain.names import group_id
from tests import invariants
from tests.lua.world import APP, HANDLER, T0, World
from tests.tools.keyspace import Keyspace, events

SESSION_KEYS = ("session", "held", "group", "waiting", "ready", "leases")


async def left_over(world: World) -> list[str]:
    return [name for name in await world.dump() if name.startswith(SESSION_KEYS)]


async def test_only_the_gateway_and_connection_that_hold_a_session_say_goodbye_for_it(world: World) -> None:
    await world.enlist()
    before = await world.dump()

    assert await world.leave(gateway="g2") == "moved"
    assert await world.leave(conn=2) == "moved"
    assert await world.dump() == before


async def test_nothing_of_a_session_is_left(world: World) -> None:
    await world.enlist(attributes=("host=db7",))
    await world.submit("t1", attribute="host=db7")
    await world.submit("t2", "t3")

    assert (await world.call("leave", [("s1", 1)], gateway="g1")) == ["ok", "ok"]

    assert await left_over(world) == []


async def test_a_group_stays_while_one_of_its_sessions_does(world: World) -> None:
    await world.enlist("s1")
    await world.enlist("s2")

    await world.leave("s1")
    await world.submit("t1")

    assert [run.session for run in await world.dispatches()] == ["s2"]


async def test_sessions_beyond_100_runs_are_left_to_the_next_call(world: World) -> None:
    await world.enlist("s1", capacity=100)
    await world.submit(*(f"t{n}" for n in range(100)))
    await world.enlist("s2")
    await world.submit("t100")

    goodbyes = [("s1", 1), ("s2", 1)]
    assert (await world.call("leave", goodbyes, gateway="g1"))[1:] == ["more", "more"]
    assert "off" not in (await world.dump())["session:s2"]
    assert (await world.call("leave", goodbyes, gateway="g1"))[1:] == ["ok", "ok"]

    assert await left_over(world) == []


async def test_leases_beyond_the_limit_are_left_to_the_next_call(world: World) -> None:
    await world.enlist("s1")
    await world.enlist("s2")
    await world.submit("t1", "t2")
    await world.pass_steadily(15_000)

    assert (await world.reap(limit=1))[:2] == ["more", 0]

    assert (await world.events()).count("session_lost") == 1
    while (await world.reap(limit=1))[0] == "more":
        pass
    assert await left_over(world) == []


async def test_a_lease_without_its_session_goes_with_what_it_held(world: World) -> None:
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(prefix + "leases", {"ghost": 1})
    await client.sadd(prefix + "held:ghost", "t1@1")

    await world.reap()

    assert await left_over(world) == []


async def test_a_seat_of_a_run_that_is_over_or_gone_is_no_loss(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("over", "gone")
    await world.start(*await world.dispatches())
    await world.cancel("over", "gone")
    await world.pass_steadily(10_000, renew=("s1",))
    await world.expire()
    assert (await world.dump())["held:s1"] == {"over@1", "gone@1"}
    world.pass_ms(60_000)
    assert await world.retire(HANDLER, keep_ms=0, keep=0, limit=1) == ("more", 1)
    before = await world.task("over")

    assert await world.leave() == "ok"

    assert await world.task("over") == before
    assert await world.events() == []


async def test_a_seat_of_a_run_that_another_session_has_by_now_is_no_loss(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    await world.pass_steadily(5_000, renew=("s1",))
    await world.enlist("s2")
    await world.expire()
    before = await world.task("t1")
    assert before["session"] == "s2"

    assert await world.leave("s1") == "ok"

    assert await world.task("t1") == before


async def test_a_seat_of_an_earlier_attempt_of_a_run_the_session_has_again_is_no_loss_of_its_own(world: World) -> None:
    await world.enlist("s1", capacity=2)
    await world.submit("t1")
    await world.pass_steadily(5_000, renew=("s1",))
    await world.expire()
    await world.renew("s1", capacity=2)
    assert (await world.dump())["held:s1"] == {"t1@1", "t1@2"}

    await world.leave("s1")

    assert await world.events() == ["unaccepted", "lost"]


async def test_a_record_nobody_can_read_is_set_aside_when_its_session_ends(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.partition.client.delete(world.partition.prefix + "task:t1")
    await world.partition.client.set(world.partition.prefix + "task:t1", "garbage")

    assert await world.leave() == "ok"

    assert (await world.task("t1"))["reason"] == "corrupt"
    await world.pass_steadily(5_000)
    await world.expire()


async def test_a_lost_run_leaves_its_attempt_and_an_event_and_its_late_report_is_fenced(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("canceled")
    await world.submit("faulted", on_lost="fault")
    await world.submit("again")
    runs = await world.dispatches()
    await world.start(*runs)
    await world.cancel("canceled")

    await world.leave()

    dump = await world.dump()
    assert [dump[f"task:{run.run}"]["state"] for run in runs] == ["canceled", "faulted", "created"]
    assert [dump[f"attempts:{run.run}"][0].split("\x1f")[5] for run in runs] == ["left"] * 3
    assert {entry["run"] for entry in events(dump) if entry["kind"] == "lost"} == {"faulted", "again"}
    assert await world.report(*runs) == ["fenced"] * 3


async def test_a_poisonous_run_takes_no_late_report(world: World) -> None:
    await world.submit("t1")
    for session in ("a", "b", "c"):
        await world.enlist(session)
        [run] = await world.dispatches()
        await world.pass_steadily(15_000)
        await world.reap()

    assert (await world.task("t1"))["reason"] == "poison"
    assert await world.report(run) == ["fenced"]


async def test_the_queue_limit_goes_on_for_what_was_never_begun(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("waits", "began", queue_limit=60_000)
    await world.submit("unlimited")
    _waits, began, _unlimited = sorted(await world.dispatches(), key=lambda run: ("w", "b", "u").index(run.run[0]))
    await world.start(began)

    await world.leave()

    dump = await world.dump()
    assert dump[f"deadlineq:{HANDLER}"] == {"waits": int(dump["task:waits"]["expires"])}


async def test_runs_of_a_session_that_left_go_to_another_in_the_same_call_and_more_of_them_in_the_next(
    world: World,
) -> None:
    await world.enlist("s1", capacity=100)
    await world.submit(*(f"t{n}" for n in range(100)))
    await world.call("pause", [(HANDLER, 1)])
    await world.submit(*(f"u{n}" for n in range(50)))
    await world.enlist("s2", capacity=200)
    await world.call("pause", [(HANDLER, 0)])
    await world.call("match", cursor="0", repair=0)
    assert len((await world.dump())["held:s2"]) == 50

    reply = await world.call("leave", [("s1", 1)], gateway="g1")

    assert reply == ["ok", "more"]
    assert len((await world.dump())["held:s2"]) == 150


async def test_a_gateway_that_is_forgotten_leaves_an_event(world: World) -> None:
    await world.enlist()
    await world.leave()
    await world.pass_steadily(60_000)

    await world.reap()

    assert await world.events() == ["gateway_forgotten"]


async def test_a_run_that_a_session_only_believes_to_hold_is_not_lost_with_it(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.enlist("s2")
    await world.resume("s2", run, started=False)
    before = await world.task("t1")

    assert await world.leave("s2", gateway="g2", conn=2) == "ok"

    assert await world.task("t1") == before


# ---- the last session of a group that serves many lanes --------------------------------------------------------------

MANY = tuple(f"{HANDLER}{number}" for number in range(3))
GROUP = group_id(APP, MANY, {})


async def crowded(world: World) -> None:
    """A group that sees 600 lanes with work, and has one session."""
    for handler in MANY:
        for first in (0, 100):
            numbers = range(first, first + 100)
            items = [world.submission(f"{handler[-1]}t{n}", handler, attribute=f"n={n}") for n in numbers]
            await world.call("submit", items)
    while await world.enlist(handlers=MANY) != "ok":
        pass


def is_left(dump: Keyspace) -> bool:
    """Whether anything of the group is."""
    return any(GROUP in name or (name.startswith("groups") and GROUP in value) for name, value in dump.items())


async def test_a_group_that_sees_many_lanes_is_closed_by_several_calls(world: World) -> None:
    await crowded(world)
    calls = 0

    assert await world.leave() == "more"
    assert not invariants.violations(await world.dump())
    while (await world.reap())[0] == "more":
        calls += 1

    dump = await world.dump()
    assert calls < 3
    assert not is_left(dump)
    assert not {"session:s1", "leases"} & dump.keys()


async def test_a_group_of_several_handlers_with_few_lanes_is_closed_in_one_call(world: World) -> None:
    await world.enlist("s1", handlers=MANY)

    assert await world.leave("s1") == "ok"
    assert not [name for name in await world.dump() if name.startswith(("group", "session"))]


async def test_a_group_that_is_being_closed_is_opened_again_by_who_announces_it(world: World) -> None:
    await crowded(world)
    assert await world.leave() == "more"
    assert (await world.reap())[0] == "more"
    assert await world.enlist("s2", handlers=MANY) == "more"

    assert (await world.reap())[0] == "ok"  # the first session leaves the group to the second
    assert "session:s1" not in await world.dump()
    assert await world.enlist("s2", handlers=MANY) == "ok"

    dump = await world.dump()
    assert sum(len(lanes) for name, lanes in dump.items() if name.startswith(f"ready:{GROUP}|")) == 600


async def test_a_group_whose_opening_was_given_up_is_closed_with_its_last_session(world: World) -> None:
    await crowded(world)
    await world.leave()
    await world.reap()
    assert await world.enlist("s2", handlers=MANY) == "more"
    world.pass_ms(60_000)

    while (await world.reap())[0] == "more":
        pass

    assert not is_left(await world.dump())


async def test_what_a_worker_told_about_itself_outlives_its_session_by_three_weeks(world: World) -> None:
    await world.enlist()
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(f"{prefix}session:s1", "facts", "who it was")

    await world.leave()

    cards = f"cards:{APP}|{T0 // 86_400_000}"
    assert (await world.dump())[cards] == {"s1": "who it was"}
    assert 21 * 86_400_000 < await client.pttl(prefix + cards) <= 22 * 86_400_000


async def test_a_day_has_10000_cards_and_what_is_no_hash_goes(world: World) -> None:
    client, prefix = world.partition.client, world.partition.prefix
    cards = f"{prefix}cards:{APP}|{T0 // 86_400_000}"
    for session, spoil in (("s1", False), ("s2", True)):
        await client.delete(cards)
        if spoil:
            await client.set(cards, "spoiled")
        else:
            await client.hset(cards, mapping={f"x{n}": "" for n in range(10_000)})
        await world.enlist(session)
        await client.hset(f"{prefix}session:{session}", "facts", "who it was")
        await world.leave(session)
        assert (await client.hexists(cards, session)) == spoil
