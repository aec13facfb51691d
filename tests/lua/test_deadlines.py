"""lua/lib/deadline.lua: a run may have several deadlines at a time, and none takes the place of another."""

import re
from typing import Any

from gojob_redis.engine.inlining import code_of
from gojob_redis.engine.scripts import LUA
from tests.lua.world import HANDLER, T0, Dispatch, World

QUEUE = f"deadlineq:{HANDLER}"


async def bound(world: World, **options: Any) -> Dispatch:
    """A run that a worker was given."""
    await world.enlist()
    await world.submit("t1", **options)
    [run] = await world.dispatches()
    return run


async def begun(world: World, **options: Any) -> Dispatch:
    """A run that a worker began."""
    run = await bound(world, **options)
    await world.start(run)
    return run


async def ends_of(world: World) -> tuple[str, str | None, list[str]]:
    """State and reason of the task, and why its attempts ended."""
    task = await world.task("t1")
    attempts = (await world.dump()).get("attempts:t1", [])
    return task["state"], task.get("reason"), [entry.split("\x1f")[5] for entry in attempts]


async def next_look(world: World) -> int | None:
    """When the run is looked at next, from the beginning on."""
    at: int | None = (await world.dump()).get(QUEUE, {}).get("t1")
    return at and at - T0


def test_only_one_function_sets_and_takes_away_what_is_watched() -> None:
    """The entry of a run that does not exist any more is taken away by who finds it."""
    callers = {
        (path.name, call)
        for path in LUA.rglob("*.lua")
        for line in map(code_of, path.read_text("utf-8").splitlines())
        for call in re.findall(r"(?<!function )\b(arm|disarm)\(", line)
    }

    assert callers == {("deadline.lua", "arm"), ("deadline.lua", "disarm"), ("expire.lua", "disarm")}


# ---- accept limit and cancel -----------------------------------------------------------------------------------------


async def test_a_cancel_does_not_hide_that_a_worker_did_not_accept(world: World) -> None:
    await bound(world)
    await world.pass_steadily(1_000, renew=("s1",))
    await world.cancel("t1")
    assert await next_look(world) == 3_000

    await world.pass_steadily(2_000, renew=("s1",))
    await world.expire()
    assert await next_look(world) == 5_000
    await world.pass_steadily(2_000, renew=("s1",))
    await world.expire()

    assert await ends_of(world) == ("canceled", "canceled", ["unaccepted"])
    assert (await world.dump())["session:s1"]["off"] == "unaccepted"
    assert await world.events() == ["unaccepted"]
    assert await next_look(world) is None


async def test_the_former_owner_of_a_canceled_run_that_was_not_accepted_is_fenced(world: World) -> None:
    run = await bound(world)
    await world.cancel("t1")
    await world.pass_steadily(5_000, renew=("s1",))
    await world.expire()

    assert await world.report(run) == ["fenced"]


async def test_a_canceled_run_whose_worker_lost_its_socket_ends_with_the_grace(world: World) -> None:
    await bound(world)
    await world.pass_steadily(1_000, renew=("s1",))
    await world.cancel("t1")
    await world.renew("s1", capacity=-2)
    await world.pass_steadily(4_000)
    await world.expire()
    assert await next_look(world) == 7_000
    await world.pass_steadily(6_000)

    await world.expire()

    assert await ends_of(world) == ("canceled", "canceled", ["cancel_grace"])


async def test_a_lease_that_ends_before_the_grace_is_looked_at_before_it(world: World) -> None:
    """The worker of a canceled run has no socket: what it waits for then stands in the record."""
    await world.enlist()
    await world.submit("t1")
    await world.pass_steadily(4_000)
    await world.renew("s1", capacity=-2, age=11_000)
    await world.cancel("t1")
    await world.pass_steadily(1_000)

    await world.expire()

    assert (await world.task("t1"))["timer"] == str(T0 + 4_000 + 15_000 - 11_000 + 1_000)


# ---- run limit and cancel --------------------------------------------------------------------------------------------


async def test_a_run_limit_that_is_over_before_the_grace_ends_a_canceled_run(world: World) -> None:
    run = await begun(world, run_limit=6_000, retries=3)
    await world.pass_steadily(4_500, renew=("s1",))
    await world.cancel("t1")
    assert await next_look(world) == 6_000
    await world.inbox()

    await world.pass_steadily(1_500, renew=("s1",))
    await world.expire()

    assert await ends_of(world) == ("canceled", "canceled", ["timeout"])
    assert await world.inbox() == ["cancel t1"]
    assert await world.report(run) == ["fenced"]


async def test_a_run_limit_after_the_grace_ends_nothing(world: World) -> None:
    await begun(world, run_limit=60_000)
    await world.cancel("t1")
    await world.pass_steadily(10_000, renew=("s1",))

    await world.expire()

    assert await ends_of(world) == ("canceled", "canceled", ["cancel_grace"])


async def test_a_run_that_begins_after_its_cancel_has_its_run_limit(world: World) -> None:
    run = await bound(world, run_limit=3_500)
    await world.cancel("t1")
    await world.pass_steadily(1_000, renew=("s1",))
    assert await world.start(run) == ["canceled"]
    await world.acknowledge(run)
    await world.pass_steadily(1_000, renew=("s1",))
    await world.expire()
    assert await next_look(world) == 4_500

    await world.pass_steadily(2_500, renew=("s1",))
    await world.expire()

    assert await ends_of(world) == ("canceled", "canceled", ["timeout"])


async def test_a_run_without_a_limit_that_begins_after_its_cancel_has_the_grace_alone(world: World) -> None:
    run = await bound(world)
    await world.cancel("t1")
    await world.start(run)
    await world.acknowledge(run)
    await world.pass_steadily(6_000, renew=("s1",))
    await world.expire()

    assert (await world.task("t1"))["state"] == "running"
    assert await next_look(world) == 10_000


# ---- cancels ---------------------------------------------------------------------------------------------------------


async def test_a_cancel_that_is_repeated_does_not_put_off_the_grace(world: World) -> None:
    await begun(world)
    for _ in range(10):
        assert await world.cancel("t1") == ["requested"]
        await world.pass_steadily(1_000, renew=("s1",))
        await world.expire()

    assert await ends_of(world) == ("canceled", "canceled", ["cancel_grace"])


async def test_a_cancel_is_sent_again_in_the_rhythm_it_began_with(world: World) -> None:
    await begun(world)
    await world.cancel("t1")
    await world.pass_steadily(3_000, renew=("s1",))

    await world.expire()

    assert await next_look(world) == 4_000


async def test_a_shard_that_was_asked_to_end_is_not_asked_by_its_task_again(world: World) -> None:
    """The task of canceled shards has nothing to be watched once all were asked."""
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, queue_limit=60_000)
    await world.cancel("t1")

    assert set((await world.dump())[QUEUE]) == {"t1.0", "t1.1"}


# ---- queue limit -----------------------------------------------------------------------------------------------------


async def test_a_queue_limit_that_is_over_while_a_worker_has_the_run_counts_when_it_comes_back(world: World) -> None:
    await bound(world, queue_limit=3_000)
    assert await next_look(world) == 5_000
    await world.pass_steadily(5_000, renew=("s1",))
    await world.expire()
    assert await next_look(world) == 3_000

    await world.expire()

    assert await ends_of(world) == ("faulted", "expired", ["unaccepted"])


async def test_a_run_that_waits_for_its_retry_has_no_queue_limit(world: World) -> None:
    run = await bound(world, queue_limit=2_000, retries=1, retry_interval=4_000)
    await world.report(run, outcome="error")
    assert await next_look(world) == 4_000
    await world.pass_steadily(4_000, renew=("s1",))

    await world.expire()

    assert [again.attempt for again in await world.dispatches()] == [2]


async def test_a_canceled_run_that_its_worker_gives_up_does_not_expire(world: World) -> None:
    run = await bound(world, queue_limit=60_000)
    await world.cancel("t1")
    await world.release(run)

    assert await ends_of(world) == ("canceled", "canceled", [])
    assert await next_look(world) is None


async def test_a_task_whose_shards_are_all_bound_has_no_queue_limit(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, queue_limit=60_000)

    assert await next_look(world) is None


async def test_the_first_start_of_a_shard_ends_the_queue_limit_of_its_task(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=2, queue_limit=60_000)
    assert await next_look(world) == 60_000

    await world.start(*await world.dispatches())

    assert await next_look(world) is None


async def test_a_shard_that_comes_back_has_the_queue_limit_of_its_task(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, queue_limit=6_000)
    one, other = await world.dispatches()
    await world.start(one)
    await world.release(other)

    assert (await world.dump())[QUEUE] == {"t1.1": T0 + 6_000}
    look = ("deadlineq", "zset", HANDLER, "", QUEUE, "0")
    assert (await world.call("scrub", [look], limit=100))[1] == 0
    await world.pass_steadily(6_000, renew=("s1",))
    await world.expire()
    assert (await world.task("t1.1"))["reason"] == "expired"


# ---- entries that were left over -------------------------------------------------------------------------------------


async def test_an_entry_that_was_left_over_ends_no_run_without_a_limit(world: World) -> None:
    await begun(world)
    await world.partition.client.zadd(world.partition.prefix + QUEUE, {"t1": T0})
    await world.partition.client.zadd(world.partition.prefix + "alarms", {HANDLER: T0})

    await world.expire()

    assert (await world.task("t1"))["state"] == "running"
    assert await next_look(world) is None


async def test_an_entry_under_a_wrong_handler_is_looked_at_and_goes(world: World) -> None:
    await world.submit("t1", queue_limit=60_000)
    await world.partition.client.zadd(world.partition.prefix + f"{QUEUE}2", {"t1": T0})
    await world.partition.client.zadd(world.partition.prefix + "alarms", {f"{HANDLER}2": T0})

    await world.expire()

    assert await next_look(world) == 60_000
    assert f"{QUEUE}2" not in await world.dump()
