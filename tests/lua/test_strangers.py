"""A session of another namespace in the same partition that knows everything about a run, and has the right to nothing.

What it says is answered as if the run were not there or not its own any more, and the engine holds afterwards what it
held before.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.lua.world import Dispatch, World
from tests.tools.keyspace import Keyspace

THEIRS = "other/shop"
HOUR = 3_600_000
OUTCOMES = ("ok", "error", "timeout", "canceled")


async def running(world: World, task: str = "t1", **options: Any) -> Dispatch:
    """A run of ours, and a stranger with free seats."""
    await world.enlist("s1")
    await world.enlist("stranger", app=THEIRS, handlers=(f"{THEIRS}/send",), gateway="g9", capacity=3)
    await world.submit(task, **options)
    [run] = await world.dispatches()
    return run


async def start(world: World, run: Dispatch) -> list[str]:
    return await world.start(run)


async def acknowledge(world: World, run: Dispatch) -> list[str]:
    return await world.acknowledge(run)


async def note(world: World, run: Dispatch) -> list[str]:
    return [await world.note(run), await world.note(run, b"50", "progress")]


def report(outcome: str) -> Callable[[World, Dispatch], Awaitable[list[str]]]:
    async def reporting(world: World, run: Dispatch) -> list[str]:
        return await world.report(run, outcome=outcome, value=b"x" * 100)

    return reporting


async def resume(world: World, run: Dispatch) -> list[str]:
    """Its list, asked for by ``sync``; what it says it began is not begun by that."""
    item = (run.run, run.attempt, run.fence, 1)
    common = {"session": run.session, "app": THEIRS, "holder": "key", "gateway": "g9", "conn": 1, "capacity": -1}
    reply = await world.resume_all([item], **common)
    assert await world.resume_all([], **common) == ["ok", 1]
    return reply[2:]


VERBS: dict[str, tuple[Callable[[World, Dispatch], Awaitable[list[str]]], str]] = {
    "start": (start, "fenced"),
    "acknowledge": (acknowledge, "gone"),
    "note": (note, "gone"),
    "resume": (resume, "fenced"),
    **{f"report {outcome}": (report(outcome), "fenced") for outcome in OUTCOMES},
}


@pytest.mark.parametrize("state", ["bound", "running", "canceled", "over", "waits for its retry"])
@pytest.mark.parametrize("verb", VERBS)
async def test_what_a_stranger_says_changes_nothing(world: World, verb: str, state: str) -> None:
    run = await running(world, retries=1, retry_interval=60_000)
    if state != "bound":
        await world.start(run)
    if state == "canceled":
        await world.cancel("t1")
    if state in ("over", "waits for its retry"):
        await world.report(run, outcome="ok" if state == "over" else "error")
    before = await world.dump()
    say, word = VERBS[verb]

    assert set(await say(world, replace(run, session="stranger"))) == {word}

    assert await world.dump() == before


@pytest.mark.parametrize("state", ["bound", "running"])
@pytest.mark.parametrize("reason", ["draining", "rejected", "unknown_handler"])
async def test_a_stranger_hands_nothing_back_and_waits_itself_for_no_more(
    world: World, reason: str, state: str
) -> None:
    run = await running(world)
    if state == "running":
        await world.start(run)
    before = await world.dump()

    assert await world.release(replace(run, session="stranger"), reason=reason) == ["fenced"]

    after = await world.dump()
    assert changed(before, after) == {"session:stranger", next(name for name in before if "waiting:" in name)}
    assert after["session:stranger"]["off"] == "released"


async def test_a_stranger_begins_no_run_by_coming_home_with_it(world: World) -> None:
    run = await running(world)

    reply = await world.resume_all(
        [(run.run, run.attempt, run.fence, 1)],
        session="stranger", app=THEIRS, holder="key", gateway="g8", conn=0, capacity=-1,
    )  # fmt: skip

    assert reply == ["ok", 2, "fenced"]
    assert (await world.task("t1"))["state"] == "waiting_to_run"
    assert (await world.dump())["held:s1"] == {"t1@1"}


async def test_a_stranger_cannot_keep_a_cancel_from_being_sent_again(world: World) -> None:
    run = await running(world)
    await world.start(run)
    await world.cancel("t1")

    assert await world.acknowledge(replace(run, session="stranger")) == ["gone"]

    await world.inbox()
    await world.pass_steadily(2_000, renew=("s1",))
    await world.expire()
    assert await world.inbox() == ["cancel t1"]


async def test_a_stranger_frees_and_takes_no_seat_of_another(world: World) -> None:
    run = await running(world)
    await world.submit("t2")

    await world.report(replace(run, session="stranger"))

    assert await world.dispatches() == []
    assert (await world.dump())["held:s1"] == {"t1@1"}


@pytest.mark.parametrize("spoil", ["field", "a string"])
async def test_a_stranger_sets_nothing_aside(world: World, spoil: str) -> None:
    """Nobody can read the record; its own worker, and the timers, see to it."""
    run = await running(world)
    client, key = world.partition.client, world.partition.prefix + "task:t1"
    if spoil == "field":
        await client.hdel(key, "lane")
    else:
        await client.unlink(key)
        await client.set(key, "x")
    before = await world.dump()

    assert await world.report(replace(run, session="stranger")) == ["fenced"]

    assert await world.dump() == before
    await world.report(run)
    assert (await world.task("t1"))["reason"] == "corrupt"


async def test_a_seat_that_a_stranger_only_claims_sets_nothing_aside(world: World) -> None:
    run = await running(world)
    await world.resume_all(
        [(run.run, run.attempt, run.fence, 1)],
        session="stranger", app=THEIRS, holder="key", gateway="g9", conn=1, capacity=-1,
    )  # fmt: skip
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")

    assert await world.report(replace(run, session="stranger")) == ["fenced"]

    assert (await world.task("t1"))["state"] == "waiting_to_run"


async def test_what_a_stranger_repeats_a_hundred_times_leaves_no_event(world: World) -> None:
    run = await running(world)

    await world.report(*[replace(run, session="stranger")] * 100)
    await world.call("report", [("stranger", "t1", 1, run.fence, "ok", 0, b"", "", b"")] * 100, reply_to="g9")

    assert await world.events() == []
    assert await world.inbox("g9") == []


@pytest.mark.parametrize("run", ["01s0000000000000000a", "t1.0", "t1@1", "", "x" * 64, "t1:x", "*"])
async def test_an_id_of_another_partition_or_of_nothing_does_nothing(world: World, run: str) -> None:
    mine = await running(world)
    named = replace(mine, run=run)
    before = await world.dump()

    assert [await world.start(named), await world.report(named), await world.acknowledge(named)] == [["gone"]] * 3
    assert await note(world, named) == ["gone"] * 2

    assert await world.dump() == before


async def test_a_sharded_task_is_nobodys_run(world: World) -> None:
    await world.enlist("s1", capacity=2)
    await world.submit("t1", shards=2)
    shard = (await world.dispatches())[0]
    task = replace(shard, run="t1")
    before = await world.dump()

    assert [await world.start(task), await world.report(task), await world.acknowledge(task)] == [
        ["fenced"], ["fenced"], ["gone"],
    ]  # fmt: skip
    assert await note(world, task) == ["gone"] * 2

    assert await world.dump() == before


async def test_a_session_at_its_new_home_speaks_for_what_it_had_before(world: World) -> None:
    run = await running(world, run_limit=HOUR)
    await world.resume("s1", run, started=False, gateway="g2")

    assert await world.start(run) == ["ok"]
    assert await world.note(run) == "ok"
    await world.cancel("t1")
    assert await world.acknowledge(run) == ["ok"]
    assert await world.report(run) == ["accepted"]


async def test_a_report_that_comes_again_is_a_duplicate_for_its_own_session_only(world: World) -> None:
    run = await running(world)
    await world.report(run)

    assert await world.report(run, replace(run, session="stranger")) == ["duplicate", "fenced"]
    assert await world.start(run) == ["late"]


def changed(before: Keyspace, after: Keyspace) -> set[str]:
    """Names of what differs."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
