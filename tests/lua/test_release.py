"""lua/release.lua and the accept limit of lua/expire.lua: a dispatch that was not begun goes back to its place."""

from typing import Any

import pytest

from gojob_redis.domain.score import score_at
from tests.lua.world import T0, World
from tests.tools.keyspace import events


async def test_a_released_run_keeps_its_place_and_its_session_waits_for_no_more(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    world.pass_ms(10)
    await world.submit("t2")
    [run] = await world.dispatches()
    before = (await world.dump())["activeq:1"]

    assert await world.release(run) == ["accepted"]

    after = (await world.dump())["activeq:1"]
    assert list(after) == ["t1", "t2"]
    assert after["t2"] == before["t2"]
    assert await world.dispatches() == []
    await world.renew("s1", capacity=1)
    assert [run.run for run in await world.dispatches()] == ["t1"]


@pytest.mark.parametrize(
    ("options", "score"),
    [
        ({}, score_at(T0)),
        ({"priority": 9}, score_at(T0, 9)),
        ({"priority": 0, "at": T0 + 10}, score_at(T0 + 10, 0)),
    ],
    ids=["usual", "priority", "delayed"],
)
async def test_a_run_returns_to_where_it_stood_which_follows_from_its_priority_and_its_time(
    world: World, options: dict[str, Any], score: int
) -> None:
    await world.submit("task-one", **options)
    world.pass_ms(20)
    await world.fire()
    await world.enlist()
    [run] = await world.dispatches()
    assert "score" not in await world.task("task-one")

    await world.release(run)

    [stands] = [value for name, value in (await world.dump()).items() if name.startswith("activeq:")]
    assert stands == {"task-one": score}


async def test_a_shard_has_no_age_of_its_own_and_says_where_it_stood(world: World) -> None:
    await world.enlist(capacity=2)

    await world.submit("t1", shards=2)

    assert (await world.task("t1.0"))["score"] == str(score_at(T0))


async def test_a_begun_run_cannot_be_released(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)

    assert await world.release(run) == ["fenced"]

    assert (await world.task("t1"))["state"] == "running"
    assert (await world.dump())["held:s1"] == {"t1@1"}


async def test_the_twentieth_rejection_faults_the_run_and_draining_does_not_count(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    for _ in range(3):
        [run] = await world.dispatches()
        await world.release(run, reason="draining")
        await world.renew("s1", capacity=1)
    for _ in range(20):
        [run] = await world.dispatches()
        await world.release(run, reason="rejected")
        await world.renew("s1", capacity=1)

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "rejected")
    assert len((await world.dump())["attempts:t1"]) == 16


async def test_a_dispatch_nobody_accepts_in_5_s_goes_to_another_session(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    [first] = await world.dispatches()
    await world.enlist("s2")

    await world.pass_steadily(4_999, renew=("s1", "s2"))
    await world.expire()
    assert await world.dispatches() == []
    await world.pass_steadily(1, renew=("s1", "s2"))
    await world.expire()

    [second] = await world.dispatches()
    assert (second.run, second.session, second.attempt) == ("t1", "s2", 2)
    assert await world.start(first) == ["fenced"]
    assert "unaccepted" in await world.events()


async def test_a_session_that_did_not_accept_gets_nothing_until_it_and_the_engine_agree(world: World) -> None:
    await world.enlist("s1", capacity=4)
    await world.submit("t1", "t2")
    await world.dispatches()
    await world.pass_steadily(5_000, renew=("s1",))
    await world.expire()
    assert await world.inbox() == ["sync 1"]
    assert (await world.dump())["held:s1"] == {"t1@1", "t2@1"}
    assert await world.renew("s1", held=0) == ["differs"]

    await world.resume("s1", gateway="g1", conn=1)

    assert [(run.run, run.attempt) for run in await world.dispatches()] == [("t1", 2), ("t2", 2)]


async def test_what_was_written_to_a_socket_that_broke_is_no_one_elses_until_the_lease_ends(world: World) -> None:
    """A worker that dies of a run before it says that it began would otherwise pass it on, uncounted, every 5 s."""
    await world.enlist("a", capacity=1)
    await world.submit("t1")
    await world.dispatches()
    await world.renew("a", capacity=-2)
    await world.enlist("b", capacity=1)

    await world.pass_steadily(6_000, renew=("b",))
    await world.expire()
    assert await world.dispatches() == []

    await world.pass_steadily(10_000, renew=("b",))
    await world.reap()
    [again] = await world.dispatches()
    assert (again.session, again.attempt) == ("b", 2)
    assert (await world.task("t1"))["lost"] == "1"


async def test_a_session_that_comes_home_is_sent_what_it_never_began_and_given_the_usual_time(world: World) -> None:
    await world.enlist("a", capacity=1)
    await world.submit("t1")
    await world.dispatches()
    await world.renew("a", capacity=-2)

    await world.resume("a")
    [again] = await world.dispatches("g2")
    assert (again.run, again.attempt) == ("t1", 1)
    await world.pass_steadily(7_000)
    await world.expire()

    assert (await world.task("t1"))["state"] == "created"
    assert "unaccepted" in await world.events()


async def test_a_run_that_is_to_stop_is_canceled_when_it_is_handed_back(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.cancel("t1", reason="enough")

    assert await world.release(run) == ["accepted"]

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("canceled", "enough")


@pytest.mark.parametrize("reason", ["rejected", "unknown_handler"])
async def test_what_a_worker_refuses_is_counted_with_its_reason(world: World, reason: str) -> None:
    await world.enlist()
    await world.submit("t1")

    await world.release(*await world.dispatches(), reason=reason)

    dump = await world.dump()
    assert (dump["task:t1"]["rejects"], dump["attempts:t1"][0].split("\x1f")[5]) == ("1", reason)


async def test_the_last_rejection_leaves_an_event(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.partition.client.hset(world.partition.prefix + "task:t1", "rejects", 19)

    await world.release(*await world.dispatches(), reason="rejected")

    dump = await world.dump()
    assert (dump["task:t1"]["state"], dump["task:t1"]["rejects"]) == ("faulted", "20")
    assert [(entry["kind"], entry["reason"]) for entry in events(dump)] == [
        ("rejected", "rejected"),
        ("faulted", "rejected"),
    ]


async def test_what_a_connection_never_wrote_is_not_taken_back_once_the_session_has_another(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.resume("s1", run, started=False)
    before = await world.dump()

    assert await world.release(run, reason="unwritten", conn=1) == ["fenced"]

    assert await world.dump() == before
    assert await world.release(run, reason="unwritten", conn=2) == ["accepted"]


async def test_what_was_sent_again_is_not_taken_back_as_never_written(world: World) -> None:
    """A hello that an engine read late, after the worker had come home by a newer one and begun what it got there."""
    await world.enlist()
    await world.submit("t1")
    [begun] = await world.dispatches()
    await world.resume("s1")
    [copy] = await world.dispatches("g2")
    before = await world.dump()

    assert await world.release(copy, reason="unwritten", conn=2) == ["fenced"]

    assert await world.dump() == before
    await world.resume("s1", begun, gateway="g1")
    assert (await world.task("t1"))["state"] == "running"
    assert await world.report(begun) == ["accepted"]


async def test_a_worker_may_hand_back_what_was_sent_again_and_the_next_attempt_is_anybodys(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.dispatches()
    await world.resume("s1")
    [copy] = await world.dispatches("g2")

    assert await world.release(copy, reason="draining") == ["accepted"]
    await world.renew("s1", gateway="g2", conn=2, capacity=1)
    [second] = await world.dispatches("g2")
    assert await world.release(second, reason="unwritten", conn=2) == ["accepted"]


async def test_a_dispatch_of_an_earlier_attempt_cannot_be_handed_back(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    [first] = await world.dispatches()
    await world.enlist("s2")
    await world.pass_steadily(5_000, renew=("s1", "s2"))
    await world.expire()

    assert await world.release(first) == ["fenced"]

    assert (await world.task("t1"))["session"] == "s2"
    assert "held:s1" not in await world.dump()


async def test_a_run_that_is_gone_or_unreadable_gives_its_seat_back(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    first, second = await world.dispatches()
    client, prefix = world.partition.client, world.partition.prefix
    await client.delete(prefix + "task:t1")
    await client.hdel(prefix + "task:t2", "lane")

    assert await world.release(first, second) == ["gone", "fenced"]

    assert "held:s1" not in await world.dump()
    await client.delete(prefix + "task:t2")


async def test_a_session_that_is_over_hands_nothing_back_and_harms_nothing(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.leave("s1")

    assert await world.release(run) == ["fenced"]
    assert "session:s1" not in await world.dump()
