"""lua/bulk_count.lua: which tasks a job would be for."""

from typing import Any

import pytest

from tests.lua.world import APP, T0, World


async def counted(world: World, *units: str, walks: int = 1, is_over: int = 0, **changes: Any) -> list[str]:
    """The ids that one call tells."""
    given = {
        "scope": "default/", "walks": walks, "conditions": "", "as_of": T0, "is_over": is_over, "place": "",
    } | changes  # fmt: skip
    word, place, tasks = await world.call("bulk_count", [(unit,) for unit in units or (APP,)], **given)
    assert (word, place) == ("ok", "")
    return sorted(task.decode() for task in tasks)


@pytest.fixture
async def several(world: World) -> World:
    """Tasks that wait, run, were asked to stop, and are over; one of another namespace, and one that is newer."""
    await world.enlist(capacity=2)
    await world.submit("runs", "stops")
    await world.start(*await world.dispatches())
    await world.submit("waits", "over")
    await world.cancel("stops", "over")
    await world.submit("foreign", handler="other/shop/send")
    world.pass_ms(1)
    await world.submit("new", "new-over")
    await world.cancel("new-over")
    return world


async def test_of_an_app_counts_what_lives_or_what_is_over(several: World) -> None:
    before = await several.dump()

    assert await counted(several) == ["runs", "waits"]
    assert await counted(several, is_over=1) == ["over"]
    assert await counted(several, conditions="state=running") == ["runs"]

    assert await several.dump() == before


async def test_of_ids_count_those_that_the_job_may_touch_and_is_for(several: World) -> None:
    ids = ("waits", "over", "stops", "foreign", "new", "new-over", "unknown")

    assert await counted(several, *ids, walks=0) == ["waits"]
    assert await counted(several, *ids, walks=0, is_over=1) == ["over"]


async def test_a_task_counts_once_in_a_call(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=5)
    await world.start(*await world.dispatches())

    assert await counted(world) == ["t1"]
    assert await counted(world, "t1", "t1", walks=0) == ["t1"]
