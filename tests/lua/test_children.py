"""lua/lib/children.lua: what a task submitted, and what repeats it, is found by it."""

import pytest

from gojob_redis.domain import limits
from tests.lua.world import HANDLER, World, change_scripts


async def children(world: World, parent: str) -> list[str]:
    return [*(await world.dump()).get(f"children:{parent}", {})]


async def test_a_child_names_its_parent_and_the_run_that_submitted_it(world: World) -> None:
    await world.submit("t1")
    await world.submit("t2", parent="t1.3.2")
    await world.submit("t3", parent="t1")

    tasks = [await world.task(task) for task in ("t1", "t2", "t3")]

    assert [(task.get("parent"), task.get("by")) for task in tasks] == [(None, None), ("t1", "3.2"), ("t1", None)]
    assert await children(world, "t1") == ["t2", "t3"]


async def test_a_child_is_listed_as_long_as_its_record_is_there(world: World) -> None:
    await world.submit("t1")
    await world.submit("t2", "t3", parent="t1.0.1")
    await world.cancel("t2")
    world.pass_ms(60_000)

    await world.retire(HANDLER, keep_ms=0, keep=0)

    assert await children(world, "t1") == ["t3"]


async def test_the_list_of_children_goes_with_the_parent(world: World) -> None:
    await world.submit("t1")
    await world.submit("t2", parent="t1.0.1")
    await world.cancel("t1")
    world.pass_ms(60_000)

    await world.retire(HANDLER, keep_ms=0, keep=0)

    assert await children(world, "t1") == []
    assert (await world.task("t2"))["parent"] == "t1"


async def test_a_parent_with_too_many_children_gets_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    change_scripts(("submit",), f">= {limits.CHILDREN}", ">= 2", monkeypatch)
    await world.submit("t1")

    words = await world.submit("t2", "t3", "t4", parent="t1.0.1")

    assert words == ["ok", "ok", "children_full"]
    assert await world.submit("t5", parent="t2.0.1") == ["ok"]
    assert await world.submit("t2", parent="t1.0.1") == ["duplicate"]
    assert "task:t4" not in await world.dump()
