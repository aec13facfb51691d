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


async def test_log_lines_of_a_run_are_kept_up_to_64_kib(world: World) -> None:
    await world.enlist()
    await world.submit("t1")

    for first in range(10):
        items = [("t1", 1, "log", b"%d" % first + b"x" * 15_999)]
        assert (await world.call("note", items))[1:] == ["ok"]
    await world.call("note", [("t1", 1, "progress", b"50")])

    dump = await world.dump()
    assert sum(len(entry["text"]) for entry in dump["notes:t1"]) <= 65_536
    assert dump["notes:t1"][-1]["text"].startswith("9")
    assert dump["task:t1"]["progress"] == "50"
    assert (await world.call("note", [("t1", 2, "log", b"late"), ("gone", 1, "log", b"")]))[1:] == ["gone", "gone"]
    [run] = await world.dispatches()
    await world.report(run)


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
