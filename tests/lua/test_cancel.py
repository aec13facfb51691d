"""lua/cancel.lua, acknowledge.lua and the cancel timer of expire.lua."""

from tests.lua.world import APP, HANDLER, T0, World


async def test_a_waiting_task_is_canceled_at_once_and_leaves_its_index(world: World) -> None:
    await world.submit("t1", "t2")
    await world.submit("t3-delayed", at=T0 + 60_000)

    assert await world.cancel("t1", "t3-delayed", "unknown") == ["canceled", "canceled", "gone"]

    dump = await world.dump()
    assert set(dump["activeq:1"]) == {"t2"}
    assert f"due:{APP}" not in dump
    assert "due_heads" not in dump
    assert (dump["task:t1"]["state"], dump["task:t1"]["place"]) == ("canceled", "none")
    assert await world.cancel("t1") == ["already"]


async def test_a_running_task_is_asked_and_asked_again_every_2_s_until_the_worker_heard(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)

    assert await world.cancel("t1") == ["requested"]
    assert await world.inbox() == ["cancel t1"]
    await world.pass_steadily(2_000, renew=("s1",))
    await world.expire()
    assert await world.inbox() == ["cancel t1"]
    assert await world.acknowledge(run) == ["ok"]
    await world.pass_steadily(2_000, renew=("s1",))
    await world.expire()
    assert await world.inbox() == []

    assert await world.report(run, outcome="canceled") == ["accepted"]
    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("canceled", "canceled")


async def test_a_worker_that_does_not_stop_is_overruled_after_the_grace_and_keeps_its_seat(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    await world.cancel("t1")

    await world.pass_steadily(9_999, renew=("s1",))
    await world.expire()
    assert (await world.task("t1"))["state"] == "running"
    await world.pass_steadily(1, renew=("s1",))
    await world.expire()

    assert (await world.task("t1"))["state"] == "canceled"
    assert (await world.dump())["held:s1"] == {"t1@1"}
    assert await world.report(run) == ["fenced"]


async def test_a_success_within_the_grace_stands_and_is_marked(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    await world.cancel("t1")

    assert await world.report(run) == ["accepted"]

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("run_to_completion", "cancel_too_late")


async def test_an_error_after_a_cancel_is_the_cancel_and_is_not_retried(world: World) -> None:
    await world.enlist()
    await world.submit("t1", retries=5)
    [run] = await world.dispatches()
    await world.cancel("t1")

    await world.report(run, outcome="error")

    assert (await world.task("t1"))["state"] == "canceled"


async def test_a_run_that_waits_for_its_retry_is_canceled_at_once(world: World) -> None:
    await world.enlist()
    await world.submit("t1", retries=5, retry_interval=60_000)
    [run] = await world.dispatches()
    await world.report(run, outcome="error")

    assert await world.cancel("t1") == ["canceled"]
    assert f"deadlineq:{HANDLER}" not in await world.dump()


async def test_of_a_sharded_task_the_unbound_rest_goes_at_once_and_the_bound_are_asked(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=1_000)
    a, b = await world.dispatches()
    await world.start(a, b)

    assert await world.cancel("t1") == ["requested"]
    dump = await world.dump()
    assert (dump["task:t1"]["canceled"], "activeq:1" in dump) == ("998", False)
    assert sorted(await world.inbox()) == ["cancel t1.0", "cancel t1.1"]
    await world.report(a)
    await world.report(b, outcome="canceled")

    task = await world.task("t1")
    assert (task["state"], task["run_to_completion"], task["canceled"]) == ("canceled", "1", "999")


async def test_bound_shards_are_asked_100_a_call(world: World) -> None:
    await world.enlist(capacity=250)
    await world.submit("t1", shards=250)
    await world.call("match", cursor="0", repair=0)
    await world.call("match", cursor="0", repair=0)
    assert len(await world.dispatches()) == 250

    await world.cancel("t1")
    asked = [len(await world.inbox())]
    for _ in range(2):
        await world.expire()
        asked.append(len(await world.inbox()))

    assert asked == [100, 100, 50]
    assert "t1" not in (await world.dump())[f"deadlineq:{HANDLER}"]


async def test_a_cancel_that_frees_more_seats_than_a_call_binds_answers_more(world: World) -> None:
    await world.enlist(capacity=1)
    await world.submit("t1")
    await world.start(*await world.dispatches())
    await world.renew("s1", capacity=200)
    await world.call("pause", [(HANDLER, 1)])
    await world.submit("alone")
    await world.partition.client.hset(world.partition.prefix + "task:alone", "lost", 2)
    await world.call("pause", [(HANDLER, 0)])
    await world.submit(*(f"u{number}" for number in range(60)))
    await world.submit(*(f"v{number}" for number in range(60)))
    assert await world.dispatches() == []

    assert await world.call("cancel", [("alone", "canceled")]) == ["more", "canceled"]

    assert len(await world.dispatches()) == 100
    await world.call("match", cursor="0", repair=0)


async def test_a_shard_that_was_asked_to_stop_alone_is_canceled_when_its_session_is_lost(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    await world.start(*await world.dispatches())
    await world.pass_steadily(14_000)
    assert await world.cancel("t1.0") == ["requested"]

    await world.pass_steadily(1_000)
    await world.reap()

    dump = await world.dump()
    assert (dump["task:t1.0"]["state"], dump["task:t1.1"]["state"]) == ("canceled", "created")


async def test_a_session_lost_during_a_cancel_ends_the_run_canceled(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    await world.pass_steadily(14_000)
    await world.cancel("t1")

    await world.pass_steadily(1_000)
    await world.reap()

    assert (await world.task("t1"))["state"] == "canceled"


async def test_a_shard_that_comes_back_and_is_canceled_in_one_call_stands_in_no_lane(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=3, queue_limit=10_000)
    await world.pass_steadily(10_000)

    await world.expire()

    dump = await world.dump()
    assert dump["task:t1.0"]["state"] == "canceled"
    assert not {"activeq:1", f"deadlineq:{HANDLER}"} & dump.keys()


async def test_what_stays_in_the_lane_of_a_shard_that_is_canceled_as_it_comes_back_is_its_head(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=3, queue_limit=10_000, priority=9)
    await world.submit("t2", queue_limit=20_000)
    await world.pass_steadily(10_000)

    await world.expire()

    assert set((await world.dump())["activeq:1"]) == {"t2"}


async def test_a_run_whose_session_vanished_is_canceled_after_the_grace(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.start(*await world.dispatches())
    await world.partition.client.delete(world.partition.prefix + "session:s1")

    assert await world.cancel("t1") == ["requested"]
    await world.pass_steadily(10_000)
    await world.expire()

    assert (await world.task("t1"))["state"] == "canceled"
    await world.partition.client.delete(world.partition.prefix + "held:s1")


async def test_a_record_nobody_can_read_is_canceled_by_setting_it_aside(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")
    await world.partition.client.zrem(world.partition.prefix + "activeq:1", "t1")

    assert await world.cancel("t1") == ["canceled"]

    task = await world.task("t1")
    assert (task["state"], task["reason"], task["lane"]) == ("faulted", "corrupt", "0")
