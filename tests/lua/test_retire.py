"""lua/retire.lua and lua/note.lua: what is kept, and how it goes."""

from tests.lua.world import HANDLER, World

DAY = 86_400_000


async def retire(world: World, keep_ms: int = 7 * DAY, keep: int = 10_000, limit: int = 100) -> tuple[str, int]:
    word, retired = await world.call(
        "retire", [(HANDLER,), ("?",)], limit=limit, keep_ms=keep_ms, keep=keep, wait_ms=7 * DAY
    )
    return word, retired


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
            items = [world.submission(task, handler, attribute=attribute) for task, attribute in lanes]
            await world.call("submit", items, quotas="")
    world.pass_ms(7 * DAY + 1)

    looked = []
    for left in (handlers, handlers[2:]):
        items = [(handler,) for handler in left]
        reply = await world.call("retire", items, limit=1_000, keep_ms=7 * DAY, keep=0, wait_ms=7 * DAY)
        looked.append(reply[2:])

    assert looked == [[2], []]
    dump = await world.dump()
    assert {dump[f"task:t{number}-129"]["state"] for number in range(4)} == {"faulted"}


async def test_a_handler_that_a_group_serves_stays_known_and_another_does_not(world: World) -> None:
    await world.submit("t1", handler=HANDLER + "2")
    await world.submit("t2")
    await world.enlist()
    world.pass_ms(DAY)

    await world.call("retire", [(HANDLER,), (HANDLER + "2",)], limit=100, keep_ms=DAY, keep=100, wait_ms=7 * DAY)

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
    assert set(dump[f"history:{HANDLER}"]) == {"t1", "t2"}


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
