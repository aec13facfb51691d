"""lua/acknowledge.lua: only the attempt that was asked to stop can have heard it."""

from tests.lua.world import HANDLER, T0, Dispatch, World


async def asked(world: World) -> Dispatch:
    """A running task whose worker was asked to stop."""
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    await world.cancel("t1")
    return run


async def acknowledge(world: World, run: str = "t1", attempt: int = 1) -> str:
    return str((await world.call("acknowledge", [("s1", run, attempt)]))[1])


async def test_what_was_not_asked_is_gone(world: World) -> None:
    await world.enlist()
    await world.submit("t1")

    assert await acknowledge(world) == "gone"
    assert await acknowledge(world, "unknown") == "gone"
    assert "cancel_heard" not in await world.task("t1")


async def test_another_attempt_has_heard_nothing(world: World) -> None:
    await asked(world)

    assert await acknowledge(world, attempt=2) == "gone"
    assert "cancel_heard" not in await world.task("t1")


async def test_a_run_that_is_over_has_nothing_to_hear(world: World) -> None:
    run = await asked(world)
    await world.report(run, outcome="canceled")

    assert await acknowledge(world) == "gone"
    assert "cancel_heard" not in await world.task("t1")


async def test_a_record_nobody_can_read_hears_nothing(world: World) -> None:
    await asked(world)
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")

    assert await acknowledge(world) == "gone"
    assert "cancel_heard" not in await world.task("t1")


async def test_a_worker_that_heard_and_does_not_stop_is_overruled_at_the_end_of_the_grace(world: World) -> None:
    await asked(world)
    await world.pass_steadily(2_000, renew=("s1",))
    assert await acknowledge(world) == "ok"
    await world.expire()
    assert (await world.dump())[f"deadlineq:{HANDLER}"] == {"t1": T0 + 10_000}

    await world.pass_steadily(7_999, renew=("s1",))
    await world.expire()
    assert (await world.task("t1"))["state"] == "running"
    await world.pass_steadily(1, renew=("s1",))
    await world.expire()

    dump = await world.dump()
    assert dump["task:t1"]["state"] == "canceled"
    assert dump["attempts:t1"][0].split("\x1f")[5] == "cancel_grace"
