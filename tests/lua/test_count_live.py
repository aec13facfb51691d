"""lua/count_live.lua: how many tasks that are not over share a state, a handler and a failure."""

from typing import Any

import pytest

from gojob_redis.engine.scripts import NoEpoch
from tests.lua.test_count_over import read
from tests.lua.test_walk import EVERYWHERE, FAR, everywhere
from tests.lua.world import HANDLER, World


async def count(world: World, *filters: str, items: Any = EVERYWHERE, **scalars: Any) -> list[Any]:
    given = {"at": "", "member": "", "looks": 500} | scalars
    return await world.call("count_live", items, conditions="\x1f".join(filters), **given)


ALL: dict[tuple[str, ...], int] = {
    ("running", HANDLER, ""): 1,
    ("waiting_to_run", HANDLER, ""): 2,
    ("created", HANDLER, ""): 5,
}


async def test_what_is_not_over_is_counted_where_it_stands(world: World) -> None:
    await everywhere(world)

    reply = await count(world)

    assert (reply[0], *reply[2:5], reply[6]) == ("ok", 5, "", "", [])
    assert read(reply[5]) == ALL


@pytest.mark.parametrize("looks", [1, 3])
async def test_a_count_goes_on_where_another_ended(world: World, looks: int) -> None:
    await everywhere(world)
    items, at, member, counts = list(EVERYWHERE), "", "", dict.fromkeys(ALL, 0)
    for _ in range(20):
        word, looked, walked, at, member, rows, _ = await count(world, items=items, at=at, member=member, looks=looks)
        assert looked <= looks
        for facts, number in read(rows).items():
            counts[facts] += number
        items = items[walked:]
        if word == "ok":
            break

    assert word == "ok"
    assert counts == ALL


FILTERS = {
    "state=running": 1,
    "label=env=gray": 1,
    "state=created\x1flabel=env=gray": 1,
    "state=running\x1flabel=x=1": 0,
}


@pytest.mark.parametrize("line", FILTERS)
async def test_only_what_a_filter_lets_through_is_counted(world: World, line: str) -> None:
    await everywhere(world)

    assert sum(read((await count(world, line))[5]).values()) == FILTERS[line]


async def test_a_sharded_task_is_told_by_its_name_once_a_call(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("t1", shards=5, retries=1, retry_interval=FAR)
    await world.submit("t2")
    runs = await world.dispatches()
    await world.report(runs[0], outcome="error")

    everything = await count(world)
    timers = await count(world, items=[("timers", HANDLER)])
    canceled = await count(world, "state=canceled")

    assert everything[6] == timers[6] == [[b"running", HANDLER.encode(), b"", b"t1"]]
    assert read(everything[5]) == {("created", HANDLER, ""): 1}
    assert (timers[5], canceled[5], canceled[6]) == ([], [], [])


async def test_a_count_changes_nothing(world: World) -> None:
    await everywhere(world)
    before = await world.dump()
    world.pass_ms(10_000)

    await count(world)

    assert await world.dump() == before


async def test_nobody_counts_in_an_emptied_partition(world: World) -> None:
    await world.partition.client.unlink(world.partition.prefix + "meta")

    with pytest.raises(NoEpoch):
        await count(world)
