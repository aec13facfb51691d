"""lua/report.lua: what is to become of a run that did not complete, as its report says."""

from typing import Any

import pytest

from tests.lua.world import HANDLER, T0, Dispatch, World

DAY_MS = 86_400_000


async def begun(world: World, **options: Any) -> Dispatch:
    """A run that a worker began."""
    await world.enlist()
    await world.submit("t1", **options)
    [run] = await world.dispatches()
    await world.start(run)
    return run


async def reported(world: World, disposition: str, **options: Any) -> dict[str, str]:
    """The record of a run whose report had this disposition."""
    run = await begun(world, **options)
    assert await world.report(run, outcome="error", disposition=disposition, value=b"why") == ["accepted"]
    return await world.task("t1")


async def next_look(world: World) -> int | None:
    """When the run is looked at next, from the beginning on."""
    at: int | None = (await world.dump()).get(f"deadlineq:{HANDLER}", {}).get("t1")
    return at and at - T0


async def set_to(world: World, field: str, value: int) -> None:
    """Change a count in the record."""
    await world.partition.client.hset(world.partition.prefix + "task:t1", field, value)


async def test_a_snooze_puts_the_run_off_and_counts_no_failure(world: World) -> None:
    task = await reported(world, "snooze 60000", retries=0)

    assert (task["state"], task["place"], task["reason"], task["snoozes"]) == ("created", "timer", "snoozed", "1")
    assert "tries" not in task
    assert "attempts:t1" not in await world.dump()
    assert await next_look(world) == 60_000

    await world.pass_steadily(60_000, renew=("s1",))
    await world.expire()
    [again] = await world.dispatches()
    assert again.attempt == 2
    await world.report(again)
    assert (await world.task("t1"))["state"] == "run_to_completion"


async def test_a_snooze_without_a_delay_waits_for_the_interval_of_the_task(world: World) -> None:
    await reported(world, "snooze", retry_interval=7_000)

    assert await next_look(world) == 7_000


async def test_a_failure_after_a_snooze_has_its_retries(world: World) -> None:
    await reported(world, "snooze 0", retries=1, retry_interval=0)
    for attempt in (2, 3):
        await world.expire()
        [run] = await world.dispatches()
        assert run.attempt == attempt
        await world.report(run, outcome="error")

    task = await world.task("t1")
    assert (task["state"], task["reason"], task["tries"]) == ("faulted", "error", "2")


async def test_the_last_snooze_but_one_is_taken_and_the_next_faults_the_run(world: World) -> None:
    run = await begun(world)
    await set_to(world, "snoozes", 999)
    await world.report(run, outcome="error", disposition="snooze 0")
    assert (await world.task("t1"))["state"] == "created"
    await world.expire()
    [run] = await world.dispatches()

    await world.report(run, outcome="error", disposition="snooze 0")

    task = await world.task("t1")
    assert (task["state"], task["reason"], task["snoozes"]) == ("faulted", "snoozes", "1001")


async def test_a_failure_that_is_not_to_be_counted_uses_up_no_retry(world: World) -> None:
    task = await reported(world, "uncounted", retries=0, retry_interval=3_000)

    assert (task["state"], task["reason"], task["uncounted"]) == ("created", "error", "1")
    assert "tries" not in task
    assert len((await world.dump())["attempts:t1"]) == 1
    assert await next_look(world) == 3_000


async def test_the_twenty_first_uncounted_failure_faults_the_run(world: World) -> None:
    run = await begun(world)
    await set_to(world, "uncounted", 19)
    await world.report(run, outcome="error", disposition="uncounted 0")
    assert (await world.task("t1"))["state"] == "created"
    await world.expire()
    [run] = await world.dispatches()

    await world.report(run, outcome="error", disposition="uncounted 0")

    task = await world.task("t1")
    assert (task["state"], task["reason"], task["uncounted"]) == ("faulted", "uncounted", "21")


@pytest.mark.parametrize("disposition", ["retry 9000", "uncounted 9000", "snooze 9000"])
async def test_a_delay_takes_the_place_of_the_interval(world: World, disposition: str) -> None:
    await reported(world, disposition, retries=1, retry_interval=3_000)

    assert await next_look(world) == 9_000


async def test_a_retry_that_is_said_counts_as_one_that_is_not(world: World) -> None:
    task = await reported(world, "retry", retries=1)

    assert (task["state"], task["tries"]) == ("created", "1")


@pytest.mark.parametrize("disposition", ["final", "final 9000"])
async def test_what_is_final_is_not_tried_again(world: World, disposition: str) -> None:
    task = await reported(world, disposition, retries=3)

    assert (task["state"], task["reason"], task["tries"]) == ("faulted", "error", "1")


@pytest.mark.parametrize("disposition", ["snooze 9000", "uncounted", "retry"])
async def test_a_canceled_run_is_canceled_whatever_its_report_wants(world: World, disposition: str) -> None:
    run = await begun(world, retries=3)
    await world.cancel("t1")

    await world.report(run, outcome="error", disposition=disposition)

    assert (await world.task("t1"))["state"] == "canceled"


async def test_a_run_that_was_put_off_has_no_queue_limit(world: World) -> None:
    await reported(world, "snooze 9000", queue_limit=2_000)

    assert await next_look(world) == 9_000


async def test_a_run_that_was_put_off_can_be_canceled(world: World) -> None:
    await reported(world, f"snooze {7 * DAY_MS}")

    assert await world.cancel("t1") == ["canceled"]
    assert await next_look(world) is None


async def test_the_task_of_a_shard_that_was_put_off_counts_no_failure(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    one, other = await world.dispatches()

    await world.report(one, outcome="error", disposition="snooze 9000")
    await world.report(other, outcome="error", disposition="uncounted 9000")

    dump = await world.dump()
    assert "tries" not in dump["task:t1"]
    assert (dump["task:t1.0"]["snoozes"], dump["task:t1.1"]["uncounted"]) == ("1", "1")
