"""lua/bulk_cancel.lua: a job that cancels tasks, some a call."""

from typing import Any

import pytest

from gojob_redis.domain import limits
from tests.lua.world import APP, T0, Dispatch, World

JOB = "j0abcdefg123456789"


async def cancel(world: World, *units: str, walks: int = 1, **changes: Any) -> tuple[str, int, int]:
    """One call: the state of the job, the unit it is at, how many tasks it looked at."""
    given = {
        "job": JOB, "scope": "default/", "walks": walks, "conditions": "", "as_of": T0 + 10_000, "reason": "canceled",
        "first": 0, "last": 1,
    } | changes  # fmt: skip
    _word, state, unit, _waits, looked = await world.call("bulk_cancel", [(unit,) for unit in units or (APP,)], **given)
    return state, unit, looked


async def states(world: World) -> dict[str, str]:
    return {
        name.removeprefix("task:"): fields["state"]
        for name, fields in (await world.dump()).items()
        if name.startswith("task:")
    }


async def progress(world: World) -> dict[str, str]:
    found: dict[str, str] = (await world.dump())[f"job:{JOB}"]
    return {name: value for name, value in found.items() if name != "at"}


async def to_its_end(world: World, *units: str, **changes: Any) -> int:
    """So many calls until the job is done."""
    for calls in range(1, 1_000):
        if (await cancel(world, *units, **changes))[0] == "done":
            return calls
    raise AssertionError("the job does not end")


async def test_tasks_of_an_app_are_canceled_wherever_they_stand(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("run", "bound", "retry", retries=1, retry_interval=60_000)
    given = {dispatch.run: dispatch for dispatch in await world.dispatches()}
    await world.start(given["run"])
    await world.report(given["retry"], outcome="error")
    await world.renew("s1", capacity=2)
    await world.submit("queued", "other")
    await world.submit("later", at=T0 + 60_000)

    await to_its_end(world)

    assert await states(world) == {
        "run": "running", "bound": "waiting_to_run", "retry": "canceled", "queued": "canceled", "other": "canceled",
        "later": "canceled",
    }  # fmt: skip
    assert sorted(await world.inbox()) == ["cancel bound", "cancel run"]
    assert await progress(world) == {"state": "done", "next": "1", "place": "", "matched": "6", "done": "6"}


async def test_a_call_cancels_100_and_the_next_goes_on_behind_them(world: World) -> None:
    for first in range(0, 250, 50):
        await world.submit(*(f"t{number:03}" for number in range(first, first + 50)))

    assert await cancel(world) == ("running", 0, 100)
    assert sorted((await states(world)).values()).count("canceled") == 100
    assert await to_its_end(world) == 2

    assert set((await states(world)).values()) == {"canceled"}
    assert (await progress(world))["done"] == "250"


async def test_what_the_filter_leaves_out_is_looked_at_and_stays(world: World) -> None:
    for first in range(0, 700, 100):
        await world.submit(*(f"t{number:03}" for number in range(first, first + 100)))
    await world.submit("mine", labels="env=gray,zone=a")

    assert await cancel(world, conditions="label=env=gray") == ("running", 0, 500)
    await to_its_end(world, conditions="label=env=gray")

    assert [task for task, state in (await states(world)).items() if state == "canceled"] == ["mine"]
    assert (await progress(world))["matched"] == "1"


async def test_each_condition_of_a_filter_is_asked(world: World) -> None:
    await world.enlist(handlers=(f"{APP}/run",))
    await world.submit("bound", handler=f"{APP}/run")
    await world.submit("a", "b", trigger="nightly", parent="p1")
    await world.submit("elsewhere", handler=f"{APP}/other", trigger="nightly", parent="p1")
    conditions = ["state=created", "handler=send", "trigger=nightly", "parent=p1", f"from={T0}", f"to={T0 + 1}"]
    wanted = "\x1f".join(conditions)

    for spoiled in (
        wanted.replace("created", "running"), wanted.replace("nightly", "x"), wanted.replace("p1", "p2"),
        wanted.replace(f"from={T0}", f"from={T0 + 1}"), wanted.replace(f"to={T0 + 1}", f"to={T0}"),
        f"{wanted}\x1freason=error", f"{wanted}\x1fworker=w1", f"{wanted}\x1flabel=env=gray",
    ):  # fmt: skip
        await to_its_end(world, conditions=spoiled, job=f"j{abs(hash(spoiled))}")
    assert "canceled" not in (await states(world)).values()

    await to_its_end(world, conditions=wanted)

    assert sorted(task for task, state in (await states(world)).items() if state == "canceled") == ["a", "b"]


async def test_what_was_made_after_the_job_is_left_alone(world: World) -> None:
    await world.submit("old")
    world.pass_ms(1)
    await world.submit("new")

    await to_its_end(world, as_of=T0)
    await cancel(world, "new", walks=0, as_of=T0, job="jids")

    assert await states(world) == {"old": "canceled", "new": "created"}
    assert (await world.dump())["job:jids"]["why skipped too_new"] == "1"


async def test_ids_are_canceled_one_by_one_and_what_cannot_be_is_told(world: World) -> None:
    await world.submit("mine", "over")
    await world.submit("foreign", handler="other/shop/send")
    await world.cancel("over")

    assert await cancel(world, "mine", "over", "foreign", "unknown", walks=0) == ("done", 4, 4)

    assert (await states(world))["foreign"] == "created"
    assert await progress(world) == {
        "state": "done", "next": "4", "place": "", "matched": "4", "done": "1", "skipped": "3",
        "why skipped already": "1", "why skipped gone": "2",
        "samples": "skipped already over\nskipped gone foreign\nskipped gone unknown",
    }  # fmt: skip


async def test_a_call_that_comes_twice_takes_nothing_up_again(world: World) -> None:
    await world.submit("t1", "t2")

    await cancel(world, "t1", walks=0, first=0, last=0)
    await cancel(world, "t1", walks=0, first=0, last=0)
    await cancel(world, "t1", "t2", walks=0, first=0, last=1)

    assert (await progress(world))["matched"] == "2"


async def test_of_a_sharded_task_all_goes_and_it_counts_once(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=5)
    await world.start(*await world.dispatches())

    await to_its_end(world)

    assert sorted(await world.inbox()) == ["cancel t1.0", "cancel t1.1"]
    assert (await world.task("t1"))["canceled"] == "3"
    assert (await progress(world))["done"] == "1"


async def test_what_was_asked_to_stop_is_told_and_not_asked_again(world: World) -> None:
    await world.enlist()
    await world.submit("run")
    await world.start(*await world.dispatches())
    await world.cancel("run")

    await cancel(world, "run", walks=0)

    assert (await progress(world))["why skipped already"] == "1"


async def test_a_task_that_cannot_be_read_is_set_aside_whenever_it_says_that_it_was_made(world: World) -> None:
    await world.submit("t1", "t2")
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(f"{prefix}task:t1", mapping={"place": "?", "made": T0 + 60_000})
    await client.zrem(f"{prefix}activeq:1", "t1")

    await cancel(world, "t1", walks=0)

    assert (await progress(world))["done"] == "1"
    assert await states(world) == {"t1": "faulted", "t2": "created"}


async def test_an_app_whose_delayed_tasks_are_canceled_has_nothing_due(world: World) -> None:
    await world.submit("later", at=T0 + 60_000)
    assert "due_heads" in await world.dump()

    await to_its_end(world)

    assert "due_heads" not in await world.dump()


async def test_tasks_of_an_app_that_cannot_be_read_are_passed_over(world: World) -> None:
    await world.submit("odd", "gone", "text", "t1")
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(f"{prefix}task:odd", "place", "?")
    await client.unlink(f"{prefix}task:gone", f"{prefix}task:text")
    await client.set(f"{prefix}task:text", "x")

    await to_its_end(world)

    assert (await progress(world))["done"] == "1"
    assert (await world.task("t1"))["state"] == "canceled"
    assert (await world.task("odd"))["state"] == "created"

    await client.hset(f"{prefix}task:odd", "place", "lane")
    await client.unlink(f"{prefix}task:text")
    await client.zrem(f"{prefix}activeq:1", "gone", "text")


async def test_a_task_of_a_later_release_is_told_and_stays(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.hset(world.partition.prefix + "task:t1", "state", "someday")

    await cancel(world, "t1", walks=0)

    assert (await progress(world))["why skipped later"] == "1"
    assert await states(world) == {"t1": "someday"}


async def test_a_call_without_any_time_looks_at_nothing(world: World) -> None:
    await world.submit("t1")

    assert await cancel(world, cpu_us=0) == ("running", 0, 0)
    assert f"walks:{APP}" not in await world.dump()


async def test_a_few_examples_are_kept_of_what_was_not_done(world: World) -> None:
    ids = [f"t{number:03}" for number in range(limits.JOB_SAMPLES + 5)]

    for first in (0, 3):
        await cancel(world, *ids, walks=0, first=first, last=0)

    kept = await progress(world)
    assert kept["samples"].split("\n") == [f"skipped gone {task}" for task in ids[: limits.JOB_SAMPLES]]
    assert kept["why skipped gone"] == str(len(ids) + 3)


async def test_what_a_partition_knows_of_a_job_goes_by_itself(world: World) -> None:
    await to_its_end(world)

    left_ms = await world.partition.client.pttl(f"{world.partition.prefix}job:{JOB}")
    assert limits.JOB_TRACE_MS - 60_000 < left_ms <= limits.JOB_TRACE_MS


MINE: dict[str, Any] = {"conditions": "trigger=mine", "as_of": T0}


async def others(world: World, count: int = 500) -> None:
    """Tasks that the job is not for, as many as a call looks at."""
    for first in range(0, count, 100):
        await world.submit(*(f"o{number:03}" for number in range(first, first + 100)))


@pytest.fixture
async def walking(world: World) -> World:
    """Two workers run something: a job has passed all lanes and timers and the first of the two, and found nothing."""
    await world.enlist("s1", capacity=500)
    await others(world)
    while runs := await world.dispatches():
        await world.start(*runs)
    await world.enlist("s2", capacity=2)
    await world.submit("back", "too", retries=1, retry_interval=60_000, trigger="mine")
    await world.start(*await world.dispatches())

    assert await cancel(world, **MINE) == ("running", 0, 500)

    return world


async def given(world: World, task: str) -> Dispatch:
    world.read.clear()
    return next(run for run in await world.dispatches() if run.run == task)


async def test_what_a_job_has_passed_and_a_worker_loses_is_canceled(walking: World) -> None:
    await walking.leave("s2")
    assert (await walking.task("back"))["place"] == "lane"

    await to_its_end(walking, **MINE)

    assert [(await walking.task(task))["state"] for task in ("back", "too")] == ["canceled", "canceled"]
    assert (await progress(walking))["done"] == "2"


async def test_what_a_job_has_passed_and_is_tried_again_is_canceled(walking: World) -> None:
    await walking.report(await given(walking, "back"), outcome="error")
    assert (await walking.task("back"))["place"] == "timer"

    await to_its_end(walking, **MINE)

    assert (await walking.task("back"))["state"] == "canceled"
    assert "walks:default/shop" not in await walking.dump()
    assert f"went_back:{JOB}" not in await walking.dump()


async def test_what_comes_from_its_timer_into_a_lane_that_a_job_has_passed_is_canceled(world: World) -> None:
    await world.enlist()
    await world.submit("retry", priority=9, retries=1, retry_interval=1_000, trigger="mine")
    await world.report(*await world.dispatches(), outcome="error")
    await world.leave()
    await others(world)
    assert await cancel(world, **MINE) == ("running", 0, 500)
    await world.pass_steadily(2_000)
    await world.expire()
    assert (await world.task("retry"))["place"] == "lane"

    await to_its_end(world, **MINE)

    assert (await world.task("retry"))["state"] == "canceled"


async def test_a_job_is_told_once_of_what_it_is_for_and_of_nothing_else(walking: World) -> None:
    walking.pass_ms(1)
    await walking.enlist("s3")
    await walking.submit("young", trigger="mine")
    await walking.release(await given(walking, "young"))
    await walking.leave("s2")
    await walking.leave("s3")

    assert (await walking.dump())[f"went_back:{JOB}"] == {"back", "too"}


async def test_a_job_that_was_told_nothing_for_a_while_looks_at_all_of_the_app_again(walking: World) -> None:
    await walking.pass_steadily(limits.WALK_TOLD_MS, step=1_000)
    await walking.leave("s2")
    assert f"went_back:{JOB}" not in await walking.dump()

    await to_its_end(walking, **MINE)

    assert (await walking.task("back"))["state"] == "canceled"
    assert (await progress(walking))["done"] == "2"
