"""Sharded tasks: what the end of a shard does to its task, and what the end of a task does to its shards."""

from tests.lua.world import HANDLER, World


async def test_a_task_of_which_all_shards_are_well_is_well(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)

    await world.report(*await world.dispatches())

    assert (await world.task("t1"))["state"] == "run_to_completion"


async def test_a_task_that_began_goes_on_running_while_later_shards_are_bound(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=2)
    [first] = await world.dispatches()
    await world.start(first)

    await world.report(first)

    assert [run.run for run in await world.dispatches()] == ["t1.1"]
    assert (await world.task("t1"))["state"] == "running"


async def test_the_parameter_of_a_shard_rides_along_behind_that_of_its_task(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, param=b"all", shard_params=b"1:a,2:bb,")
    await world.submit("t2")
    await world.renew("s1", capacity=3)

    entries = [value for entry in (await world.dump())["inbox:g1"] for value in entry.values()]
    assert [entry.split("\x1f")[-1] for entry in entries] == ["alla", "allbb", ""]


async def test_a_task_whose_bound_shards_are_over_is_canceled_at_once(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=3)
    [first] = await world.dispatches()
    await world.renew("s1", capacity=0)
    await world.report(first)

    assert await world.cancel("t1") == ["canceled"]

    task = await world.task("t1")
    assert (task["state"], task["run_to_completion"], task["canceled"]) == ("canceled", "1", "2")
    assert f"deadlineq:{HANDLER}" not in await world.dump()
    assert await world.cancel("t1") == ["already"]


async def test_a_task_with_a_faulted_shard_that_is_canceled_is_faulted(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=2)
    [first] = await world.dispatches()
    await world.renew("s1", capacity=0)
    await world.report(first, outcome="error")

    assert await world.cancel("t1") == ["canceled"]

    assert (await world.task("t1"))["state"] == "faulted"


async def test_a_second_cancel_keeps_the_reason_of_the_first_and_its_time(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=2)
    [run] = await world.dispatches()
    await world.submit("t2", priority=0)
    await world.cancel("t1", reason="first")
    before = await world.task("t1")
    world.pass_ms(500)

    assert await world.cancel("t1", reason="second") == ["requested"]

    assert await world.task("t1") == before
    await world.report(run, outcome="canceled")
    assert (await world.task("t1"))["reason"] == "first"


async def test_only_the_shards_have_timers_when_all_were_asked(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)

    await world.cancel("t1")

    assert set((await world.dump())[f"deadlineq:{HANDLER}"]) == {"t1.0", "t1.1"}


async def test_a_shard_whose_record_is_gone_or_unreadable_does_not_stop_the_cancel_of_the_others(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("t1", shards=3)
    client, prefix = world.partition.client, world.partition.prefix
    await client.delete(prefix + "task:t1.0", prefix + "task:t1.1")
    await client.set(prefix + "task:t1.1", "garbage")
    await world.dispatches()

    assert await world.cancel("t1") == ["requested"]

    assert await world.inbox() == ["cancel t1.2"]
    await client.delete(prefix + "task:t1.1")


async def test_the_loss_of_a_shard_that_was_not_asked_yet_ends_it_canceled(world: World) -> None:
    await world.enlist(capacity=150)
    await world.submit("t1", shards=150)
    await world.call("match", cursor="0", repair=0)
    await world.pass_steadily(14_500)
    await world.cancel("t1")
    assert "cancel" not in await world.task("t1.149")
    await world.pass_steadily(500)

    await world.reap()
    await world.reap()

    assert (await world.task("t1.149"))["state"] == "canceled"
    assert (await world.task("t1"))["state"] == "canceled"


async def test_a_report_of_a_shard_whose_task_is_gone_or_unreadable_is_accepted(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=1, priority=9)
    await world.report(*await world.dispatches())
    await world.submit("t2", shards=2)
    first, second = await world.dispatches()
    client, prefix = world.partition.client, world.partition.prefix
    await client.delete(prefix + "task:t2")

    assert await world.report(first) == ["accepted"]
    assert "task:t2" not in await world.dump()
    await client.set(prefix + "task:t2", "garbage")
    assert await world.report(second) == ["accepted"]

    await client.delete(prefix + "task:t2")


async def test_a_report_of_a_shard_whose_task_was_set_aside_changes_it_no_more(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    first, second = await world.dispatches()
    client, prefix = world.partition.client, world.partition.prefix
    await client.delete(prefix + "task:t1")
    await client.set(prefix + "task:t1", "garbage")
    assert await world.cancel("t1") == ["canceled"]

    assert await world.report(first, second) == ["accepted", "accepted"]

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "corrupt")


async def test_a_task_remembers_the_first_shard_that_faulted_and_no_other(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("t1", shards=3)
    first, second, third = await world.dispatches()

    await world.report(first)
    assert "failed_shard" not in await world.task("t1")
    await world.report(third, outcome="error")
    await world.report(second, outcome="error")

    task = await world.task("t1")
    assert (task["state"], task["failed_shard"]) == ("faulted", "2")


async def test_a_sharded_task_keeps_what_is_common_to_the_failure_of_its_first_shard_that_faulted(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    first, second = await world.dispatches()

    await world.report(second, outcome="error", failure=b"d1\x1dE\x1dno\x1d")
    await world.report(first, outcome="error", failure=b"d2\x1dE\x1dno\x1d")

    assert [(await world.task(run)).get("failure") for run in ("t1", "t1.0", "t1.1")] == ["d1", "d2", "d1"]


async def test_the_failure_of_a_shard_whose_task_is_gone_is_kept_with_the_shard_alone(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    first, _second = await world.dispatches()
    await world.partition.client.delete(world.partition.prefix + "task:t1")

    assert await world.report(first, outcome="error", failure=b"d1\x1dE\x1dno\x1d") == ["accepted"]

    dump = await world.dump()
    assert (dump["task:t1.0"]["failure"], "task:t1" in dump) == ("d1", False)


async def test_a_sharded_task_counts_the_failures_of_all_its_shards(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, retries=1)

    await world.report(*await world.dispatches(), outcome="error")

    assert (await world.task("t1"))["tries"] == "2"
