"""lua/expire.lua: each timer means «look at this run», and what is found there decides."""

import pytest

from gojob_redis.domain.score import score_at
from tests.lua.world import HANDLER, T0, World

OTHER = HANDLER + "2"


async def arm_by_hand(world: World, run: str, handler: str = HANDLER) -> None:
    """A timer that should not be there, due now."""
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(prefix + f"deadlineq:{handler}", {run: world.now})
    await client.zadd(prefix + "alarms", {handler: world.now})


async def reasons(world: World, run: str) -> list[str]:
    """Why the attempts of a run did not end well, as its evidence says."""
    return [entry.split("\x1f")[5] for entry in (await world.dump()).get(f"attempts:{run}", [])]


async def test_a_timer_of_a_run_that_is_nowhere_goes_and_leaves_an_event(world: World) -> None:
    await arm_by_hand(world, "nobody")

    assert (await world.expire())[:2] == ["ok", 1]

    dump = await world.dump()
    assert (f"deadlineq:{HANDLER}" in dump, "alarms" in dump) == (False, False)
    assert await world.events() == ["orphan"]


async def test_a_timer_of_a_record_nobody_can_read_faults_its_task(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.partition.client.delete(world.partition.prefix + "task:t1")
    await world.partition.client.set(world.partition.prefix + "task:t1", "garbage")
    await world.pass_steadily(5_000, renew=("s1",))

    await world.expire()

    dump = await world.dump()
    assert dump["task:t1"] == {
        "state": "faulted", "place": "none", "lane": "0", "made": str(world.now), "ended": str(world.now),
        "reason": "corrupt",
    }  # fmt: skip
    assert f"deadlineq:{HANDLER}" not in dump
    assert await world.events() == ["corrupt", "faulted"]


async def test_a_timer_of_a_run_that_is_over_goes_and_changes_nothing(world: World) -> None:
    await world.submit("t1")
    await world.cancel("t1")
    before = await world.dump()
    await arm_by_hand(world, "t1")

    await world.expire()

    assert await world.dump() == before


async def test_a_timer_of_a_task_before_its_time_changes_nothing(world: World) -> None:
    await world.submit("t1-delayed", at=T0 + 5_000)
    await arm_by_hand(world, "t1-delayed")

    await world.expire()

    assert (await world.task("t1-delayed"))["place"] == "due"
    assert f"deadlineq:{HANDLER}" not in await world.dump()


async def test_a_dispatch_whose_session_vanished_goes_back(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.partition.client.delete(world.partition.prefix + "session:s1")
    await world.pass_steadily(5_000)

    assert (await world.expire())[:2] == ["ok", 1]

    assert (await world.task("t1"))["place"] == "lane"
    assert await reasons(world, "t1") == ["unaccepted"]
    await world.partition.client.delete(world.partition.prefix + "held:s1")


@pytest.mark.parametrize(("before", "state"), [(98, "created"), (99, "faulted")])
async def test_what_was_never_accepted_in_a_hundred_times_is_given_to_nobody_any_more(
    world: World, before: int, state: str
) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.partition.client.hset(world.partition.prefix + "task:t1", "unaccepted", before)
    await world.pass_steadily(5_000, renew=("s1",))

    await world.expire()

    task = await world.task("t1")
    assert (task["state"], task["unaccepted"]) == (state, str(before + 1))
    assert task.get("reason") == ("unaccepted" if state == "faulted" else None)
    assert await world.start(run) == ["fenced"]
    assert await world.events() == ["unaccepted", *(["faulted"] if state == "faulted" else [])]


async def test_a_run_limit_holds_when_the_session_vanished(world: World) -> None:
    await world.enlist()
    await world.submit("t1", run_limit=2_000)
    await world.start(*await world.dispatches())
    await world.partition.client.delete(world.partition.prefix + "session:s1")
    await world.pass_steadily(2_000)

    assert (await world.expire())[:2] == ["ok", 1]

    assert (await world.task("t1"))["state"] == "faulted"
    assert await reasons(world, "t1") == ["timeout"]
    assert "run_limit" in await world.events()
    await world.partition.client.delete(world.partition.prefix + "held:s1")


async def test_a_sharded_task_that_nobody_began_expires_whole(world: World) -> None:
    await world.submit("t1", shards=3, queue_limit=3_000)
    await world.pass_steadily(3_000)

    await world.expire()

    dump = await world.dump()
    assert (dump["task:t1"]["state"], dump["task:t1"]["reason"]) == ("faulted", "expired")
    assert (f"deadlineq:{HANDLER}" in dump, "activeq:1" in dump) == (False, False)
    assert await world.events() == ["expired", "faulted"]


async def test_a_sharded_task_that_began_does_not_expire(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=3, queue_limit=3_000)
    await world.start(*await world.dispatches())
    await world.pass_steadily(3_000, renew=("s1",))

    await world.expire()

    dump = await world.dump()
    assert (dump["task:t1"]["state"], dump["task:t1"]["place"]) == ("running", "lane")
    assert f"deadlineq:{HANDLER}" not in dump
    assert "cancel" not in dump["task:t1.0"]


async def test_a_sharded_task_whose_shards_are_all_bound_does_not_expire(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, queue_limit=3_000)
    await world.pass_steadily(3_000, renew=("s1",))

    await world.expire()

    dump = await world.dump()
    assert dump["task:t1"]["state"] == "waiting_to_run"
    assert set(dump[f"deadlineq:{HANDLER}"]) == {"t1.0", "t1.1"}
    assert "cancel" not in dump["task:t1"]


async def test_a_retry_stands_behind_what_was_ready_before_it(world: World) -> None:
    await world.enlist()
    await world.submit("t1", retries=1, retry_interval=2_000)
    [run] = await world.dispatches()
    await world.renew("s1", capacity=0)
    await world.report(run, outcome="error")
    world.pass_ms(1_000)
    await world.submit("t2")
    await world.pass_steadily(1_000, renew=("s1",))

    await world.expire()

    dump = await world.dump()
    assert dump["activeq:1"] == {"t2": score_at(T0 + 1_000), "t1": score_at(T0 + 2_000)}
    assert f"deadlineq:{HANDLER}" not in dump


async def test_a_retry_that_is_given_back_keeps_the_place_it_had_as_a_retry(world: World) -> None:
    await world.enlist()
    await world.submit("t1", retries=1, retry_interval=2_000)
    [run] = await world.dispatches()
    await world.renew("s1", capacity=0)
    await world.report(run, outcome="error")
    world.pass_ms(1_000)
    await world.submit("t2")
    await world.pass_steadily(1_000, renew=("s1",))
    await world.expire()
    await world.renew("s1", capacity=2)

    await world.release(*(run for run in await world.dispatches() if (run.run, run.attempt) != ("t1", 1)))

    dump = await world.dump()
    assert dump["activeq:1"] == {"t2": score_at(T0 + 1_000), "t1": score_at(T0 + 2_000)}


async def test_one_call_looks_at_every_handler(world: World) -> None:
    await world.submit("t1", queue_limit=1_000)
    await world.submit("t2", handler=OTHER, queue_limit=1_000)
    await world.pass_steadily(1_000)

    assert (await world.expire())[:2] == ["ok", 2]

    assert await world.events() == ["expired", "faulted", "expired", "faulted"]


async def test_a_call_is_bounded_and_answers_more(world: World) -> None:
    await world.submit("t1", "t2", queue_limit=1_000)
    await world.submit("t3", handler=OTHER, queue_limit=1_000)
    await world.pass_steadily(1_000)

    assert [(await world.expire(limit=2))[0] for _ in range(2)] == ["more", "ok"]


async def test_a_seat_that_stays_free_is_given_once_when_two_retries_are_ready_and_a_limit_is_over(
    world: World,
) -> None:
    """The session is known to the call and stands in waiting as well: it has one free seat, not two."""
    await world.enlist(capacity=3)
    await world.submit("t1", run_limit=3_000, on_lost="fault")
    await world.submit("t2", "t3", retries=1, retry_interval=3_000)
    first, *others = await world.dispatches()
    await world.start(first)
    await world.report(*others, outcome="error")
    await world.renew("s1", capacity=2)
    await world.pass_steadily(3_000, renew=("s1",))

    await world.expire()

    assert len((await world.dump())["held:s1"]) == 2


async def lost_twice_and_never_begun(world: World) -> None:
    """A task with a queue limit of 40 s that has to be alone, and 10 s of that limit left."""
    await world.submit("t1", queue_limit=40_000)
    for session in ("a", "b"):
        await world.enlist(session)
        await world.pass_steadily(15_000)
        await world.reap()


async def test_the_queue_limit_of_a_run_that_waits_to_be_alone_goes_on(world: World) -> None:
    await lost_twice_and_never_begun(world)
    await world.submit("urgent", priority=9)
    await world.enlist("c", capacity=2)
    await world.start(*[run for run in await world.dispatches() if run.session == "c"])

    await world.pass_steadily(10_500, renew=("c",))
    await world.expire()

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "expired")
    assert (await world.events())[-2:] == ["expired", "faulted"]
    await world.leave("c")


async def test_the_queue_limit_of_a_run_that_waited_to_be_alone_goes_on_in_its_lane(world: World) -> None:
    await lost_twice_and_never_begun(world)
    await world.submit("urgent", priority=9)
    await world.enlist("c", capacity=2)
    await world.start(*[run for run in await world.dispatches() if run.session == "c"])
    await world.leave("c")

    await world.pass_steadily(500)
    await world.expire()

    task = await world.task("t1")
    assert (task["state"], task["place"]) == ("created", "lane")
    dump = await world.dump()
    assert dump[f"deadlineq:{HANDLER}"] == {"t1": T0 + 40_000}
    assert dump["activeq:1"]["t1"] == score_at(T0)


async def test_a_session_is_asked_for_its_list_once_however_many_of_its_runs_it_did_not_accept(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("t1", "t2", "t3")
    await world.inbox()
    await world.pass_steadily(5_000, renew=("s1",))

    await world.expire()

    [entry] = (await world.dump())["inbox:g1"][-1:]
    assert [value.split("\x1f")[0] for value in entry.values()] == ["sync"]


async def test_a_session_that_was_asked_for_its_list_is_not_asked_again_by_the_next_call(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    await world.inbox()
    await world.pass_steadily(5_000, renew=("s1",))

    await world.expire(limit=1)
    await world.expire(limit=1)

    assert await world.inbox() == ["sync 1"]


async def test_a_dispatch_whose_socket_broke_is_looked_at_again_after_the_lease(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.pass_steadily(4_500, renew=("s1",))
    await world.renew("s1", capacity=-2)
    await world.pass_steadily(500)

    await world.expire()

    assert (await world.dump())[f"deadlineq:{HANDLER}"] == {"t1": T0 + 4_500 + 15_000 + 1_000}


async def test_a_timer_that_nobody_set_brings_a_sharded_task_to_no_lane(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    before = await world.task("t1")
    await arm_by_hand(world, "t1")

    await world.expire()

    assert await world.task("t1") == before
