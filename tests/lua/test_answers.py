"""The first word of a reply: ``more`` only when there is more to do."""

from typing import Any

from gojob_redis.engine.keys import K
from tests.lua.world import HANDLER, Dispatch, World


def outcome(run: Dispatch) -> tuple[Any, ...]:
    return (run.session, run.run, run.attempt, run.fence, "ok", 0, b"", "", b"")


async def test_calls_that_did_all_answer_ok(world: World) -> None:
    await world.enlist()
    submitted = await world.call("submit", [world.submission("t1"), world.submission("t2")])
    [first] = await world.dispatches()
    reported = await world.call("report", [outcome(first)])
    [second] = await world.dispatches()
    hand_back = (second.session, second.run, second.attempt, second.fence, "draining", 0)

    replies = [
        submitted,
        reported,
        await world.call("release", [hand_back]),
        await world.call("cancel", [("t2", "x")]),
        await world.call("pause", [(HANDLER, 1)]),
        await world.call(
            "resume", session="s1", app="default/shop", holder="key", gateway="g1", conn=1, capacity=1, compare=1
        ),
        await world.call("leave", [("s1", 1)], gateway="g1"),
        await world.call("match", cursor="0", repair=1),
        await world.expire(),
        await world.reap(),
        await world.fire(),
        await world.call("retire", [("handler", HANDLER, 0, 0, 0, 0, 0)], limit=100, wait_ms=1),
    ]

    assert [reply[0] for reply in replies] == ["ok"] * len(replies)
    assert "lost_wakeup" not in await world.events()


async def test_a_pause_that_ends_over_more_than_100_tasks_answers_more(world: World) -> None:
    await world.enlist(capacity=150)
    await world.call("pause", [(HANDLER, 1)])
    for first in range(0, 150, 50):
        await world.submit(*(f"t{n}" for n in range(first, first + 50)))

    assert await world.call("pause", [(HANDLER, 0)]) == ["more", "ok"]
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"


async def test_submissions_and_reports_beyond_100_binds_answer_more(world: World) -> None:
    await world.enlist(capacity=120)

    assert (await world.call("submit", [world.submission(f"t{n:03d}") for n in range(120)]))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[::2] == ["ok", 20]

    for first in range(0, 120, 60):
        await world.submit(*(f"u{n:03d}" for n in range(first, first + 60)))
    runs = await world.dispatches()
    assert (await world.call("report", [outcome(run) for run in runs]))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[::2] == ["ok", 20]


async def test_a_fire_and_an_expiry_beyond_100_binds_answer_more(world: World) -> None:
    await world.enlist(capacity=120)
    await world.submit(*(f"task-{n:03d}" for n in range(120)), at=world.now + 1_000)
    world.pass_ms(1_000)
    assert (await world.fire(limit=200))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[::2] == ["ok", 20]

    await world.pass_steadily(5_000, renew=("s1",))
    await world.enlist("s2", capacity=120)
    assert (await world.expire(limit=200))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"


async def test_runs_handed_back_beyond_100_binds_answer_more(world: World) -> None:
    await world.enlist("s1", capacity=120)
    await world.submit(*(f"t{n:03d}" for n in range(120)))
    await world.call("match", cursor="0", repair=0)
    runs = await world.dispatches()
    await world.enlist("s2", capacity=120)

    items = [(run.session, run.run, run.attempt, run.fence, "draining", 0) for run in runs]
    assert (await world.call("release", items))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"


async def test_lost_runs_beyond_100_binds_answer_more(world: World) -> None:
    await world.enlist("s1", capacity=120)
    await world.submit(*(f"t{n:03d}" for n in range(120)))
    await world.call("match", cursor="0", repair=0)
    await world.pass_steadily(15_000)
    await world.enlist("s2", capacity=120)

    assert (await world.reap(limit=200))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"


async def test_a_call_stops_at_256_kib_of_assignments(world: World) -> None:
    await world.enlist("s1", capacity=100)
    await world.submit(*(f"t{n:03d}" for n in range(60)), param=b"x" * 4_096)
    await world.submit(*(f"t{n:03d}" for n in range(60, 100)), param=b"x" * 4_096)
    await world.enlist("s2", capacity=100, gateway="g2")

    assert await world.call("leave", [("s1", 1)], gateway="g1") == ["more", "more"]

    assert len(await world.dispatches("g2")) < 65
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"


# ---- hints that come with the reply ----------------------------------------------------------------------------------


def told(reply: list[Any]) -> list[tuple[str, str]]:
    """Kinds and runs, or sessions, of the hints at the end of a reply."""
    hints = [hint.decode().split("\x1f") for hint in reply[-1]]
    return [(kind, parts[0] if kind == "sync" else parts[2]) for kind, *parts in hints]


async def test_a_gateway_that_submits_gets_what_was_bound_for_it_with_the_reply(world: World) -> None:
    await world.enlist(capacity=1)
    await world.enlist("s2", gateway="g2", capacity=1)

    reply = await world.call("submit", [world.submission("t1"), world.submission("t2")], reply_to="g1")

    assert reply[:5] == ["ok", "ok", "t1", "ok", "t2"]
    here, [there] = told(reply), await world.dispatches("g2")
    assert [kind for kind, _ in here] == ["run"]
    assert {here[0][1], there.run} == {"t1", "t2"}
    assert await world.inbox("g1") == []


async def test_a_gateway_that_reports_gets_what_took_the_seat_with_the_reply(world: World) -> None:
    await world.enlist(capacity=1)
    await world.submit("t1", "t2")
    [first] = await world.dispatches()

    reply = await world.call("report", [outcome(first)], reply_to="g1")

    assert reply[:2] == ["ok", "accepted"]
    assert told(reply) == [("run", "t2")]
    assert await world.inbox("g1") == []


async def test_a_gateway_that_asks_gets_an_empty_list_when_nothing_was_bound(world: World) -> None:
    assert await world.call("submit", [world.submission("t1")], reply_to="g1") == ["ok", "ok", "t1", []]


async def test_a_report_that_comes_twice_asks_the_worker_what_it_knows_of(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2", "t3", "t4")
    runs = await world.dispatches()
    reports = [outcome(run) for run in runs]
    await world.call("report", reports, reply_to="g1")  # the reply is lost

    reply = await world.call("report", reports, reply_to="g1")

    assert reply[:3] == ["ok", "duplicate", "duplicate"]
    assert told(reply) == [("sync", "s1")]
    await world.resume(gateway="g1", conn=1)  # the worker's list: it holds nothing
    assert sorted(run.run for run in await world.dispatches()) == ["t3", "t4"]


async def test_a_submission_that_comes_twice_asks_the_worker_only_while_the_run_has_not_begun(world: World) -> None:
    await world.enlist(capacity=2)
    keyed = world.submission("t2", once_key="k", digest="d")
    await world.call("submit", [world.submission("t1"), keyed], reply_to="g1")  # the reply is lost

    for again in (world.submission("t1"), keyed):
        assert told(await world.call("submit", [again], reply_to="g1")) == [("sync", "s1")]

    other = world.submission("t3", once_key="k", digest="another")
    assert told(await world.call("submit", [other], reply_to="g1")) == []

    await world.resume(gateway="g1", conn=1)
    await world.start(*await world.dispatches())
    assert told(await world.call("submit", [world.submission("t1"), keyed], reply_to="g1")) == []


async def test_a_submission_that_comes_twice_asks_nobody_where_its_record_lost_its_session(world: World) -> None:
    await world.enlist()
    await world.call("submit", [world.submission("t1")], reply_to="g1")
    client: Any = world.partition.client
    await client.hdel(K.task(world.partition.prefix, "t1"), "session")

    reply = await world.call("submit", [world.submission("t1")], reply_to="g1")
    await client.hset(K.task(world.partition.prefix, "t1"), "session", "s1")

    assert reply[:3] == ["ok", "duplicate", "t1"]
    assert told(reply) == []


async def test_nobody_is_asked_when_the_hints_went_to_the_inbox(world: World) -> None:
    await world.enlist(capacity=1)
    await world.submit("t1")
    [run] = await world.dispatches()
    assert await world.report(run) == ["accepted"]

    assert await world.report(run) == ["duplicate"]
    assert await world.submit("t1") == ["duplicate"]

    assert await world.inbox() == []
