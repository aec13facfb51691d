"""lua/walk.lua: tasks that are not over, where they stand."""

from typing import Any

import pytest

from tests.lua.world import APP, HANDLER, T0, World

FAR = 10**9
EVERYWHERE = [("session", "s1"), ("lane", "1"), ("lane", "2"), ("timers", HANDLER), ("due", APP)]


async def walk(world: World, *filters: str, items: Any = EVERYWHERE, **scalars: Any) -> list[Any]:
    given = {"at": "", "member": "", "looks": 500, "most": 100} | scalars
    return await world.call("walk", items, conditions="\x1f".join(filters), **given)


async def found(world: World, *filters: str, **options: Any) -> list[str]:
    return [task.decode() for task in (await walk(world, *filters, **options))[5]]


async def everywhere(world: World) -> None:
    """A task in each place."""
    await world.enlist(capacity=3)
    await world.submit("retries", retries=1, retry_interval=FAR)
    await world.report(*await world.dispatches(), outcome="error")
    await world.submit("runs", run_limit=FAR)
    await world.start(*await world.dispatches())
    await world.submit("bound", "bound2")
    await world.submit("queued", "queued2", queue_limit=FAR)
    await world.submit("gray", labels="env=gray")
    await world.submit("later-on", at=world.now + FAR)
    await world.define(T0 + FAR, uid="abcdefg", name="t")


async def test_what_is_not_over_is_found_where_it_stands(world: World) -> None:
    await everywhere(world)

    reply = await walk(world)

    assert [task.decode() for task in reply[5]] == [
        "bound2", "bound", "runs", "queued", "queued2", "gray", "retries", "later-on",
    ]  # fmt: skip
    assert reply[0] == "ok"
    assert reply[2:5] == [5, "", ""]


@pytest.mark.parametrize(("looks", "most"), [(1, 100), (500, 1), (3, 2)])
async def test_a_walk_goes_on_where_another_ended(world: World, looks: int, most: int) -> None:
    await everywhere(world)
    items, at, member, pages = list(EVERYWHERE), "", "", []
    for _ in range(50):
        word, _looked, walked, at, member, tasks = await walk(
            world, items=items, at=at, member=member, looks=looks, most=most
        )
        pages += [task.decode() for task in tasks]
        assert len(tasks) <= most
        items = items[walked:]
        if word == "ok":
            break

    assert pages == ["bound2", "bound", "runs", "queued", "queued2", "gray", "retries", "later-on"]


FILTERS = {
    "state=running": ["runs"],
    "label=env=gray": ["gray"],
    "handler=nothing": [],
    f"to={T0}": [],
    f"from={T0 + 1}\x1fto={T0 + 6}": ["new-task"],
}


@pytest.mark.parametrize("line", FILTERS)
async def test_a_filter_lets_through_what_is_wanted(world: World, line: str) -> None:
    await everywhere(world)
    world.pass_ms(5)
    await world.submit("new-task", at=world.now + FAR)

    items = [item for item in EVERYWHERE if line[:7] != "handler" or item[0] in ("session", "due")]
    assert await found(world, line, items=items) == FILTERS[line]


async def test_triggers_in_a_due_index_cost_little(world: World) -> None:
    client, due = world.partition.client, f"{world.partition.prefix}due:{APP}"
    await world.submit("later-on", at=world.now + FAR)
    await client.zadd(due, {f"uid{number:04}": T0 + number for number in range(250)})

    assert await found(world, items=[("due", APP)], looks=27) == ["later-on"]
    assert (await walk(world, items=[("due", APP)], looks=20))[:3] == ["more", 0, 0]

    await client.zrem(due, *(f"uid{number:04}" for number in range(250)))


async def test_a_sharded_task_is_found_once(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("t1", shards=5, retries=1, retry_interval=FAR)
    runs = await world.dispatches()
    await world.report(runs[0], outcome="error")

    assert await found(world) == ["t1"]
    assert await found(world, items=[("timers", HANDLER)]) == ["t1"]


async def test_equal_places_are_told_apart_by_their_names(world: World) -> None:
    await world.submit("a", "b", "c")
    score = str(int((await world.dump())["activeq:1"]["a"]))

    reply = await walk(world, items=[("lane", "1")], at=score, member="a")

    assert reply[5] == [b"b", b"c"]


async def test_a_session_whose_seats_cannot_be_read_is_passed_over(world: World) -> None:
    client, held = world.partition.client, world.partition.prefix + "held:s9"
    await client.set(held, "x")

    assert await walk(world, items=[("session", "s9")]) == ["ok", 0, 1, "", "", []]

    await client.unlink(held)
