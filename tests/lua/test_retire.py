"""lua/retire.lua and lua/note.lua: what is kept, and how it goes."""

from tests.lua.world import APP, DAY, HANDLER, World


async def retire(world: World, keep_ms: int = 7 * DAY, keep: int = 10_000, limit: int = 100) -> tuple[str, int]:
    return await world.retire(HANDLER, "?", keep_ms=keep_ms, keep=keep, limit=limit)


async def finished(world: World, *tasks: str) -> None:
    await world.enlist(capacity=100)
    await world.submit(*tasks, param=b"x" * 100)
    await world.report(*await world.dispatches(), value=b"r" * 100)


async def test_nothing_terminal_is_retired_before_60_s(world: World) -> None:
    await finished(world, "t1")
    world.pass_ms(59_999)

    assert await retire(world, keep_ms=0, keep=0) == ("ok", 0)


async def test_age_retires_record_payload_result_and_index_together(world: World) -> None:
    await finished(world, "t1")
    world.pass_ms(7 * DAY)

    assert await retire(world) == ("ok", 1)

    dump = await world.dump()
    assert not [name for name in dump if "t1" in name]
    assert f"history:{HANDLER}" not in dump


async def test_count_retires_the_oldest(world: World) -> None:
    await finished(world, "t1", "t2")
    world.pass_ms(1)
    await finished(world, "t3")
    world.pass_ms(60_000)

    assert await retire(world, keep=1) == ("ok", 2)
    assert list((await world.dump())[f"history:{HANDLER}"]) == ["t3"]


async def test_a_task_with_many_shards_goes_in_bounded_steps(world: World) -> None:
    await world.enlist(capacity=250)
    await world.submit("t1", shards=250)
    await world.call("match", cursor="0", repair=0)
    await world.call("match", cursor="0", repair=0)
    runs = await world.dispatches()
    for first in range(0, 250, 50):
        await world.report(*runs[first : first + 50])
    world.pass_ms(8 * DAY)

    words = [await retire(world) for _ in range(3)]

    assert words == [("more", 0), ("more", 0), ("ok", 1)]
    assert not [name for name in await world.dump() if name.startswith("task:")]


async def test_what_waited_longer_than_7_days_is_faulted(world: World) -> None:
    await world.submit("t1")
    world.pass_ms(7 * DAY + 1)

    await retire(world)

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "expired")
    assert "activeq:1" not in await world.dump()


async def test_a_log_goes_with_its_task_and_its_app_counts_it_no_more(world: World) -> None:
    await world.enlist(capacity=5)
    await world.submit("t1", "t2")
    await world.submit("s", shards=2)
    runs = await world.dispatches()
    for run in runs:
        await world.note(run, b"x" * 100, lines=3)
    await world.report(*runs)
    await world.enlist("s2", app="default/other", handlers=("default/other/send",))
    await world.submit("o1", handler="default/other/send")
    [other] = await world.dispatches()
    await world.note(other)
    world.pass_ms(8 * DAY)

    await retire(world)

    dump = await world.dump()
    assert [name for name in dump if name.startswith("log")] == ["log:o1", "log_bytes", "logs:default/other"]
    assert dump["log_bytes"].keys() == {"default/other"}


async def test_a_record_nobody_can_read_faults_its_task_and_the_batch_goes_on(world: World) -> None:
    await world.submit("t1", "t2")
    key = world.partition.prefix + "task:t1"
    await world.partition.client.delete(key)
    await world.partition.client.set(key, "garbage")

    await world.enlist(capacity=5)

    assert [run.run for run in await world.dispatches()] == ["t2"]
    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "corrupt")
    assert "corrupt" in await world.events()


async def test_a_delayed_task_waits_7_days_from_its_time_and_not_from_when_it_was_made(world: World) -> None:
    await world.submit("t1-delayed", at=world.now + 10 * DAY)
    world.pass_ms(10 * DAY)
    await world.fire()

    world.pass_ms(7 * DAY)
    await retire(world)
    assert (await world.task("t1-delayed"))["state"] == "created"
    world.pass_ms(1)
    await retire(world)
    assert (await world.task("t1-delayed"))["reason"] == "expired"


async def test_a_task_with_shards_goes_with_their_parameters_and_the_call_says_how_many_went(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, shard_params=b"1:a,1:b,")
    await world.report(*await world.dispatches())
    world.pass_ms(60_000)

    assert await retire(world, keep=0) == ("ok", 1)

    assert not [name for name in await world.dump() if "t1" in name]


async def test_a_task_nobody_can_read_goes_too(world: World) -> None:
    await finished(world, "t1", "t2")
    await world.partition.client.delete(world.partition.prefix + "task:t1")
    await world.partition.client.set(world.partition.prefix + "task:t1", "garbage")
    world.pass_ms(60_000)

    assert await retire(world, keep=0) == ("ok", 2)

    assert not [name for name in await world.dump() if name.startswith("task:")]


async def test_a_call_stops_at_its_limit(world: World) -> None:
    await finished(world, "t1", "t2", "t3")
    world.pass_ms(60_000)

    assert [await retire(world, keep=0, limit=2) for _ in range(2)] == [("more", 2), ("ok", 1)]


async def test_a_call_looks_at_about_250_lanes_and_tells_how_many_handlers_that_were(world: World) -> None:
    handlers = [f"{HANDLER}{number}" for number in range(4)]
    for number, handler in enumerate(handlers):
        for first in (0, 65):
            lanes = [(f"t{number}-{lane}", f"n={lane}") for lane in range(first, first + 65)]
            submissions = [world.submission(task, handler, attribute=attribute) for task, attribute in lanes]
            await world.call("submit", submissions, quotas="")
    world.pass_ms(7 * DAY + 1)

    looked = []
    for left in (handlers, handlers[2:]):
        items = [("handler", handler, 7 * DAY, 0, 7 * DAY, 0, 0) for handler in left]
        reply = await world.call("retire", items, limit=1_000, wait_ms=7 * DAY)
        looked.append(reply[2])

    assert looked == [2, 2]
    dump = await world.dump()
    assert {dump[f"task:t{number}-129"]["state"] for number in range(4)} == {"faulted"}


async def test_a_handler_that_a_group_serves_stays_known_and_another_does_not(world: World) -> None:
    await world.submit("t1", handler=HANDLER + "2")
    await world.submit("t2")
    await world.enlist()
    world.pass_ms(DAY)

    await world.retire(HANDLER, HANDLER + "2", keep_ms=DAY, keep=100)

    assert (await world.dump())["handlers"] == {HANDLER: world.now, HANDLER + "2": 0}
    await world.leave()


async def test_only_what_was_never_begun_waits_in_vain(world: World) -> None:
    await world.enlist()
    await world.submit("began")
    await world.start(*await world.dispatches())
    await world.leave()
    await world.submit("t1", shards=2)
    await world.submit("t2")
    await world.partition.client.hdel(world.partition.prefix + "task:t2", "lane")
    world.pass_ms(7 * DAY + 1)

    assert await retire(world) == ("ok", 0)

    dump = await world.dump()
    assert (dump["task:began"]["state"], dump["task:t1"]["state"]) == ("created", "faulted")
    assert set(dump["activeq:1"]) == {"began", "t2"}
    assert await world.events() == ["lost", "expired", "faulted"]


async def test_what_waited_in_vain_leaves_the_index_of_the_group_that_serves_it(world: World) -> None:
    await world.enlist(capacity=0)
    await world.submit("t1", "t2")
    world.pass_ms(7 * DAY + 1)

    assert await retire(world, limit=1) == ("more", 0)
    assert await retire(world) == ("ok", 0)

    dump = await world.dump()
    assert not [name for name in dump if name.startswith(("ready", "activeq"))]
    assert set(dump[f"failed:{APP}"]) == {"t1", "t2"}


async def test_a_call_that_a_sharded_task_used_up_retires_nothing_more(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("t1", shards=2)
    await world.submit("t2")
    await world.report(*await world.dispatches())
    world.pass_ms(60_000)

    assert await retire(world, keep=0, limit=3) == ("more", 1)


async def test_a_call_ends_no_more_waiting_than_its_limit(world: World) -> None:
    await world.submit("t1", "t2")
    world.pass_ms(7 * DAY + 1)

    await retire(world, limit=1)

    assert [(await world.task(task))["state"] for task in ("t1", "t2")] == ["faulted", "created"]


async def test_a_task_whose_shards_are_bound_waits_for_them_and_tells_their_workers(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=2)
    world.pass_ms(7 * DAY + 1)
    await world.inbox()

    await retire(world)

    assert (await world.task("t1"))["cancel_reason"] == "expired"
    assert await world.inbox() == ["cancel t1.0"]


async def test_what_waited_in_vain_has_no_timer_any_more(world: World) -> None:
    await world.submit("t1", queue_limit=8 * DAY)
    assert f"deadlineq:{HANDLER}" in await world.dump()
    world.pass_ms(7 * DAY + 1)

    await retire(world)

    assert f"deadlineq:{HANDLER}" not in await world.dump()


async def test_what_stands_in_a_lane_by_mistake_did_not_wait_in_vain(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.partition.client.zadd(
        world.partition.prefix + "activeq:1", {"t1": 4e13 + world.now, "nobody": 4e13 + world.now}
    )
    world.pass_ms(7 * DAY + 1)

    assert await retire(world) == ("ok", 0)

    assert (await world.task("t1"))["state"] == "waiting_to_run"
    await world.partition.client.unlink(world.partition.prefix + "activeq:1")


async def test_a_lane_nobody_can_read_stops_no_call(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.hset(world.partition.prefix + f"lanes:{HANDLER}", "nonsense", "9")

    assert await retire(world) == ("ok", 0)

    await world.partition.client.hdel(world.partition.prefix + f"lanes:{HANDLER}", "nonsense")


# ---- one walk for each index -----------------------------------------------------------------------------------------


async def fail(world: World, *tasks: str, handler: str = HANDLER) -> None:
    await world.submit(*tasks, handler=handler)
    await world.cancel(*tasks)


async def test_what_failed_goes_by_the_time_of_its_app_and_what_is_done_by_that_of_its_handler(world: World) -> None:
    await fail(world, "failed")
    await finished(world, "done")
    world.pass_ms(2 * DAY)

    assert await world.call("retire", [("handler", HANDLER, DAY, 100, DAY, 0, 0)], limit=100, wait_ms=DAY) == [
        "ok", 1, 1, 0,
    ]  # fmt: skip

    dump = await world.dump()
    assert "task:done" not in dump
    assert list(dump[f"failed:{APP}"]) == ["failed"]
    assert await world.call("retire", [("app", APP, DAY, 100, DAY, 0, 0)], limit=100, wait_ms=DAY) == ["ok", 1, 1, 0]
    assert not [name for name in await world.dump() if "failed" in name]


async def test_a_handler_that_keeps_its_failed_tasks_longer_delays_no_other(world: World) -> None:
    await world.call("retain", [(HANDLER, "failed_ms", 30 * DAY)])
    await fail(world, "long1", "long2")
    await fail(world, "short", handler=HANDLER + "2")
    world.pass_ms(2 * DAY)

    assert await world.retire(HANDLER, HANDLER + "2", keep_ms=DAY) == ("ok", 1)

    assert set((await world.dump())[f"failed:{APP}"]) == {"long1", "long2"}
    world.pass_ms(28 * DAY)
    assert await world.retire(HANDLER, keep_ms=DAY) == ("ok", 2)


async def test_a_handler_may_keep_its_failed_tasks_for_a_shorter_time_than_its_app(world: World) -> None:
    await world.call("retain", [(HANDLER, "failed_ms", DAY)])
    await fail(world, "long", handler=HANDLER + "2")
    await fail(world, "short")
    world.pass_ms(2 * DAY)

    assert await world.retire(HANDLER, keep_ms=30 * DAY) == ("ok", 0)
    assert await world.retire(HANDLER, keep_ms=30 * DAY, look_ms=DAY) == ("ok", 1)

    assert list((await world.dump())[f"failed:{APP}"]) == ["long"]


async def test_the_oldest_failed_tasks_go_when_there_are_too_many_whatever_their_handler_says(world: World) -> None:
    await world.call("retain", [(HANDLER, "failed_ms", 30 * DAY)])
    await fail(world, "t1")
    world.pass_ms(1)
    await fail(world, "t2")
    world.pass_ms(DAY)

    assert await world.retire(HANDLER, keep=1) == ("ok", 1)

    assert list((await world.dump())[f"failed:{APP}"]) == ["t2"]


async def test_a_call_passes_over_500_tasks_that_are_not_due_and_says_where_to_go_on(world: World) -> None:
    await world.call("retain", [(HANDLER, "failed_ms", 30 * DAY)])
    for first in range(0, 520, 65):
        await fail(world, *(f"t{number:03}" for number in range(first, first + 65)))
    world.pass_ms(1)
    await fail(world, "short", handler=HANDLER + "2")
    world.pass_ms(2 * DAY)

    begun = await world.call("retire", [("app", APP, DAY, 1_000, DAY, 0, 0)], limit=100, wait_ms=DAY)
    ended = await world.call("retire", [("app", APP, DAY, 1_000, DAY, 500, 0)], limit=100, wait_ms=DAY)

    assert (begun, ended) == (["ok", 0, 1, 500], ["ok", 1, 1, 0])
    assert "task:short" not in await world.dump()


async def test_items_that_a_call_had_no_look_left_for_were_not_looked_at(world: World) -> None:
    await world.call("retain", [(HANDLER, "failed_ms", 30 * DAY)])
    for first in range(0, 520, 65):
        await fail(world, *(f"t{number:03}" for number in range(first, first + 65)))
    world.pass_ms(2 * DAY)

    items = [("app", APP, DAY, 1_000, DAY, 0, 0), ("handler", HANDLER, DAY, 0, DAY, 0, 0)]
    assert await world.call("retire", items, limit=100, wait_ms=DAY) == ["ok", 0, 1, 500, 0]


async def test_of_pinned_tasks_the_oldest_go_beyond_a_thousand(world: World) -> None:
    client, prefix = world.partition.client, world.partition.prefix
    await world.submit("old", "new", keep="always")
    await world.cancel("old")
    world.pass_ms(1)
    await world.cancel("new")
    more = {f"m{number}": world.now + 1 for number in range(999)}
    await client.zadd(f"{prefix}pinned:{HANDLER}", more)
    world.pass_ms(400 * DAY)

    assert await world.retire(HANDLER, keep_ms=0, keep=0) == ("ok", 1)

    dump = await world.dump()
    assert "task:old" not in dump
    assert "new" in dump[f"pinned:{HANDLER}"]
    await client.zrem(f"{prefix}pinned:{HANDLER}", *more)
