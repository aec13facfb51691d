"""lua/bump.lua: tasks that wait come earlier or later."""

from typing import Any

from gojob_redis.domain.score import score_at
from tests import invariants
from tests.lua.test_bulk_cancel import JOB, cancel
from tests.lua.world import DAY, HANDLER, T0, World


async def bump(world: World, *tasks: str, priority: int = -1) -> list[str]:
    words = (await world.call("bump", [(task, priority) for task in tasks]))[1:]
    assert invariants.violations(await world.dump()) == []
    return words


async def order(world: World) -> list[str]:
    queue: dict[str, int] = (await world.dump())["activeq:1"]
    return sorted(queue, key=lambda run: queue[run])


async def waiting(world: World) -> None:
    """Three tasks in a lane that is served, and the seat is taken."""
    await world.enlist()
    await world.submit("runs")
    await world.submit("first", priority=7)
    world.pass_ms(10)
    await world.submit("second")
    world.pass_ms(10)
    await world.submit("third")


async def test_a_task_goes_to_the_head_of_its_lane_and_stays_there(world: World) -> None:
    await waiting(world)

    assert await bump(world, "third") == ["ok"]
    assert await order(world) == ["third", "first", "second"]
    assert await bump(world, "third", "second") == ["already", "ok"]

    assert await order(world) == ["second", "third", "first"]
    await world.leave()
    await world.enlist("s2", capacity=2)
    runs = [run for run in await world.dispatches() if run.run != "runs"]
    assert [run.run for run in runs] == ["second", "third"]
    await world.release(*runs)
    assert (await order(world))[:2] == ["second", "third"]


async def test_another_priority_moves_a_task_and_keeps_since_when_it_waits(world: World) -> None:
    await waiting(world)

    assert await bump(world, "third", priority=9) == ["ok"]
    assert await bump(world, "first", priority=0) == ["ok"]
    assert await bump(world, "second", priority=5) == ["already"]

    assert await order(world) == ["third", "second", "first"]
    assert (await world.dump())["activeq:1"]["third"] == score_at(T0 + 20, 9)
    assert (await world.task("third"))["priority"] == "9"


async def test_a_priority_goes_over_the_place_at_the_head(world: World) -> None:
    await waiting(world)
    await bump(world, "third")

    await bump(world, "third", priority=1)

    assert await order(world) == ["first", "second", "third"]


async def test_what_waits_for_its_time_takes_a_priority_and_no_place(world: World) -> None:
    await world.submit("other")
    await world.submit("later-on", at=T0 + 1_000)

    assert await bump(world, "later-on") == ["not_queued"]
    assert await bump(world, "later-on", priority=9) == ["ok"]
    await world.pass_steadily(1_000)
    await world.fire()

    assert await order(world) == ["later-on", "other"]


async def test_what_does_not_wait_stays_where_it_is(world: World) -> None:
    await waiting(world)
    await world.submit("over")
    await world.cancel("over")
    before = await world.dump()

    assert await bump(world, "runs", "over", "nobody") == ["not_waiting", "not_waiting", "gone"]

    assert await world.dump() == before


async def test_a_task_whose_place_in_its_lane_was_lost_goes_back_into_it(world: World) -> None:
    await world.submit("lost")
    await world.partition.client.unlink(f"{world.partition.prefix}activeq:1")

    assert await bump(world, "lost") == ["ok"]

    assert (await world.dump())["activeq:1"] == {"lost": score_at(T0, 5)}


async def test_a_place_at_the_head_and_a_priority_are_kept_in_the_record(world: World) -> None:
    await waiting(world)
    await bump(world, "third")
    at_head = (await world.dump())["activeq:1"]["third"]
    assert (await world.task("third"))["score"] == str(int(at_head))

    await bump(world, "third", "second", priority=3)

    moved = (await world.dump())["activeq:1"]
    assert (await world.task("third"))["score"] == str(int(moved["third"]))
    assert "score" not in await world.task("second")


async def test_what_nobody_can_read_is_gone_and_what_a_later_release_wrote_is_left_alone(world: World) -> None:
    await world.submit("spoiled", "later")
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(f"{prefix}task:spoiled", "made", "x")
    await client.hset(f"{prefix}task:later", "place", "elsewhere")

    words = await world.call("bump", [("spoiled", -1), ("later", -1)])

    assert words[1:] == ["gone", "later"]


async def test_a_paused_lane_shows_no_head(world: World) -> None:
    await waiting(world)
    await world.call("pause", [(HANDLER, 1)])

    assert await bump(world, "third") == ["ok"]

    assert not [name for name in await world.dump() if name.startswith("ready:")]


async def test_what_goes_to_the_head_behind_a_job_is_canceled(world: World) -> None:
    for first in range(0, 500, 100):
        await world.submit(*(f"o{number:03}" for number in range(first, first + 100)))
    await world.submit("mine", trigger="mine", priority=1)
    wanted: dict[str, Any] = {"conditions": "trigger=mine", "as_of": T0}
    assert (await cancel(world, **wanted))[0] == "running"

    await bump(world, "mine")
    await cancel(world, **wanted)

    assert (await world.task("mine"))["state"] == "canceled"
    assert f"went_back:{JOB}" not in await world.dump()


async def test_what_was_moved_to_the_head_has_its_own_queue_limit(world: World) -> None:
    await world.submit("old")
    await world.pass_steadily(6 * DAY, step=DAY)
    await world.submit("young")
    await bump(world, "young")
    await world.pass_steadily(DAY + 1, step=DAY)

    await world.retire(HANDLER)

    assert [(await world.task(task))["state"] for task in ("old", "young")] == ["faulted", "created"]
