"""lua/scrub.lua: one look, its mend and its event are one call. What each kind needs: tests/stages/test_scrub.py."""

from typing import Any

import pytest

from gojob_redis.domain.names import group_id
from gojob_redis.maintenance.scrub import look_at
from tests.lua.world import APP, HANDLER, T0, World
from tests.tools.keyspace import events, is_event_log


async def scrub(world: World, *names: str, limit: int = 500, cursor: str = "0") -> list[Any]:
    looks = [look for name in names if (look := look_at(name))]
    return await world.call("scrub", [(*look[:5], cursor) for look in looks], limit=limit)


async def test_what_agrees_is_left_as_it_is(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2", "t3", param=b"x" * 100)
    await world.start(*await world.dispatches())
    before = await world.dump()

    word, mended, *cursors = await scrub(world, *before)

    assert (word, mended, set(cursors)) == ("ok", 0, {"done"})
    assert await world.dump() == before


async def test_a_run_out_of_its_lane_is_put_back_and_bound_if_it_can_be(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.unlink(world.partition.prefix + "activeq:1", world.partition.prefix + "ready:x|")
    await world.enlist()
    assert await world.dispatches() == []

    assert (await scrub(world, "task:t1"))[:2] == ["ok", 1]

    assert [run.run for run in await world.dispatches()] == ["t1"]
    [event] = events(await world.dump())
    assert (event["kind"], event["what"], event["id"], event["app"]) == ("mended", "activeq", "t1", APP)


async def test_a_call_stops_at_its_bound_and_says_where_to_go_on(world: World) -> None:
    await world.submit(*(f"t{n}" for n in range(100)))
    await world.submit(*(f"u{n}" for n in range(100)))

    word, _mended, first, second, third = await scrub(world, "activeq:1", "task:t1", "task:t2", limit=20)

    assert word == "ok"
    assert first != "0"
    assert (second, third) == ("0", "0")


async def test_a_key_of_another_type_goes_and_a_record_of_another_type_is_corrupt(world: World) -> None:
    await world.submit("t1")
    client, prefix = world.partition.client, world.partition.prefix
    for name in (f"history:{HANDLER}", "task:t1"):
        await client.unlink(prefix + name)
        await client.set(prefix + name, "x")

    await scrub(world, f"history:{HANDLER}", "task:t1", "activeq:1")

    dump = await world.dump()
    assert (dump["task:t1"]["state"], dump["task:t1"]["reason"]) == ("faulted", "corrupt")
    assert list(dump["failed:?"]) == ["t1"]
    assert "activeq:1" not in dump


async def test_a_key_that_is_gone_by_now_is_nothing_to_look_at(world: World) -> None:
    before = await world.dump()

    assert await scrub(world, "task:t1", "due:x", "groups_of:a|") == ["ok", 0, "done", "done", "done"]

    assert await world.dump() == before


async def mends(world: World) -> list[str]:
    """What was mended so far, in order."""
    return [event["what"] for event in events(await world.dump()) if event["kind"] == "mended"]


async def test_a_name_that_is_no_lanes_goes(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.hset(world.partition.prefix + f"lanes:{HANDLER}", "nonsense", "98")

    assert (await scrub(world, f"lanes:{HANDLER}"))[:2] == ["ok", 1]

    assert await mends(world) == ["lanes"]
    assert (await world.dump())[f"lanes:{HANDLER}"] == {"\x1f": "1"}


async def test_a_lane_whose_record_is_written_again_counts_as_mended(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.hdel(world.partition.prefix + "lane:1", "labels")

    assert (await scrub(world, "lane:1"))[:2] == ["ok", 1]

    assert (await world.dump())["lane:1"] == {"handler": HANDLER, "labels": "", "attribute": ""}


@pytest.mark.parametrize("why", ["paused", "empty"])
async def test_a_lane_that_has_nothing_to_give_is_ready_for_nobody(world: World, why: str) -> None:
    await world.enlist(capacity=0)
    await world.submit("t1")
    [ready] = [name for name in await world.dump() if name.startswith("ready:")]
    await (world.call("pause", [(HANDLER, 1)]) if why == "paused" else world.cancel("t1"))
    await world.partition.client.zadd(world.partition.prefix + ready, {"1": T0})

    assert (await scrub(world, "lane:1"))[:2] == ["ok", 1]

    assert await mends(world) == ["ready"]
    assert ready not in await world.dump()


async def test_a_lane_that_says_it_is_of_another_handler_is_written_by_its_name(world: World) -> None:
    await world.submit("t1")
    before = await world.dump()
    await world.partition.client.hset(world.partition.prefix + "lane:1", mapping={"handler": "a/b/c", "labels": "x=y"})

    assert (await scrub(world, f"lanes:{HANDLER}"))[:2] == ["ok", 1]

    assert await mends(world) == ["lane"]
    assert (await world.dump())["lane:1"] == before["lane:1"]


async def test_a_key_that_nobody_owns_is_told(world: World) -> None:
    await scrub(world, "mystery")

    assert await world.events() == ["stray_key"]


async def made_no_hash(world: World, kind: str) -> str:
    """The name of the one key of this kind, which holds a text from now on."""
    client, prefix = world.partition.client, world.partition.prefix
    [name] = [name for name in await world.dump() if name.startswith(kind)]
    await client.unlink(prefix + name)
    await client.set(prefix + name, "x")
    return name


@pytest.mark.parametrize("index", [f"groups_of:{HANDLER}|", "session:s1"])
async def test_an_index_is_looked_at_though_the_group_it_names_is_no_hash(world: World, index: str) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    group = await made_no_hash(world, "group:")

    assert (await scrub(world, index))[0] == "ok"

    assert group not in await world.dump()
    await world.report(run)


@pytest.mark.parametrize("index", [f"triggers:{APP}", f"due:{APP}"])
async def test_an_index_is_looked_at_though_the_trigger_it_names_is_no_hash(world: World, index: str) -> None:
    await world.define(T0 + 1_000)
    trigger = await made_no_hash(world, "trigger:")

    assert (await scrub(world, index))[0] == "ok"

    assert trigger not in await world.dump()


async def test_tasks_whose_end_is_nonsense_are_remembered_from_now_on(world: World) -> None:
    """By those dates one would be forgotten at once, and the other never."""
    await world.submit("t1", "t2")
    await world.cancel("t1", "t2")
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(prefix + "task:t1", "ended", "0")
    await client.hset(prefix + "task:t2", "ended", "9999999999999")
    await client.unlink(prefix + f"failed:{APP}")

    await scrub(world, "task:t1", "task:t2")

    assert (await world.dump())[f"failed:{APP}"] == {"t1": float(world.now), "t2": float(world.now)}


MANY = tuple(f"{HANDLER}{number}" for number in range(2))
GROUP = group_id(APP, MANY, {})


async def half_open(world: World) -> None:
    """A group sees the lanes of one handler, and not yet those of the other."""
    for handler in MANY:
        items = [world.submission(f"{handler[-1]}t{n}", handler, attribute=f"n={n}") for n in range(60)]
        await world.call("submit", items)
    assert await world.enlist(handlers=MANY) == "more"


async def test_a_group_that_is_being_opened_is_left_as_it_is(world: World) -> None:
    await half_open(world)
    names = [name for name in await world.dump() if GROUP in name]
    world.pass_ms(59_999)

    word, mended, *cursors = await scrub(world, *names)

    assert (word, mended, set(cursors)) == ("ok", 0, {"done"})


async def test_a_group_whose_opening_nobody_went_on_with_goes(world: World) -> None:
    await half_open(world)
    names = [name for name in await world.dump() if GROUP in name or name.startswith("groups_of:")]
    world.pass_ms(60_000)

    await scrub(world, f"group:{GROUP}")
    await scrub(world, *names)

    dump = await world.dump()
    assert not [name for name in dump if GROUP in name or name.startswith("groups")]


async def test_a_group_that_is_being_closed_is_left_as_it_is(world: World) -> None:
    await half_open(world)
    assert await world.enlist(handlers=MANY) == "ok"
    await change(world, "HSET", f"group:{GROUP}", "opened", 1)
    await change(world, "HSET", "session:s1", "off", "left")
    await change(world, "SREM", f"groups_of:{MANY[1]}|", GROUP)

    assert (await scrub(world, f"group:{GROUP}"))[1] == 0


async def test_a_group_that_only_says_that_it_is_half_open_says_so_no_more(world: World) -> None:
    await world.enlist(handlers=MANY)
    before = await world.dump()
    await change(world, "HSET", f"group:{GROUP}", "opened", 1)

    assert (await scrub(world, f"group:{GROUP}"))[1] == 1

    after = await world.dump()
    assert [event["kind"] for event in events(after)] == ["mended"]
    assert {name: value for name, value in after.items() if not is_event_log(name)} == before


async def test_a_group_of_many_handlers_is_looked_at_by_several_calls(world: World) -> None:
    await world.enlist(handlers=MANY)
    await change(world, "SREM", f"groups_of:{MANY[1]}|", GROUP)

    assert await scrub(world, f"group:{GROUP}", limit=2) == ["ok", 0, "1"]
    assert await scrub(world, f"group:{GROUP}", limit=2, cursor="1") == ["ok", 1, "done"]


async def change(world: World, command: str, name: str, *rest: Any) -> None:
    await world.partition.client.execute_command(command, world.partition.prefix + name, *rest)
