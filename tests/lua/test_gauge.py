"""lua/gauge.lua: what waits for handlers, in which of their lanes, and since when."""

from typing import Any

from gojob_redis.domain import limits
from gojob_redis.domain.score import PRIORITY_STEP
from tests.lua.world import APP, HANDLER, T0, World

OTHER = f"{APP}/report"


async def gauge(world: World, *handlers: str, idle: int = 0) -> list[Any]:
    return await world.call("gauge", [(handler,) for handler in handlers], idle=idle)


def lanes(reply: list[Any]) -> list[tuple[int, str, str, int]]:
    """Of each lane the number of its handler, its id, labels and attribute, and how many wait."""
    return [(at, lane.decode(), name.decode(), depth) for at, lane, name, depth, _head in reply[4]]


async def test_each_lane_with_work_is_told_with_its_depth_and_its_head(world: World) -> None:
    await world.enlist("s1", handlers=(OTHER,))
    await world.submit("t1", "t2")
    world.pass_ms(1_000)
    await world.submit("gray", labels="env=gray", attribute="host=db7", priority=9)

    reply = await gauge(world, HANDLER, OTHER)

    assert reply[:3] == ["ok", T0 + 1_000, 2]
    assert lanes(reply) == [(0, "1", "\x1f", 2), (0, "2", "env=gray\x1fhost=db7", 1)]
    heads = [int(float(head)) for *_rest, head in reply[4]]
    assert [head % PRIORITY_STEP for head in heads] == [T0, T0 + 1_000]
    assert reply[3] == [[b"0", b"", 2], [str(T0).encode(), b"", 0]]


async def test_idle_lanes_and_the_begin_of_a_pause_are_told_when_they_are_asked_for(world: World) -> None:
    await world.enlist("s1")
    await world.submit("t1")
    await world.call("pause", [(HANDLER, 1)])

    busy, idle = await gauge(world, HANDLER), await gauge(world, HANDLER, idle=1)

    assert (lanes(busy), lanes(idle)) == ([], [(0, "1", "\x1f", 0)])
    assert idle[4][0][4] == b""
    assert idle[3] == [[str(T0).encode(), str(T0).encode(), 1]]


async def test_a_handler_that_nobody_knows_has_nothing(world: World) -> None:
    assert await gauge(world, HANDLER) == ["ok", T0, 1, [[b"", b"", 0]], []]


async def test_a_call_ends_behind_the_handler_that_fills_it(world: World) -> None:
    handlers = [f"{APP}/h{number}" for number in range(4)]
    client: Any = world.partition.client
    for handler in handlers:
        full = {f"n={label}\x1f": label for label in range(limits.LANES_PER_HANDLER)}
        await client.hset(f"{world.partition.prefix}lanes:{handler}", mapping=full)

    word, _wall, gauged, rows, found = await gauge(world, *handlers, idle=1)

    assert (word, gauged, len(rows), len(found)) == ("more", 2, 2, 2 * limits.LANES_PER_HANDLER)
    assert (await gauge(world, *handlers[2:], idle=1))[0] == "ok"
    await world.empty()


async def test_keys_of_another_kind_hold_nothing(world: World) -> None:
    await world.submit("t1", "t2")
    prefix = world.partition.prefix
    client: Any = world.partition.client
    for name in ("activeq:1", f"handler:{HANDLER}"):
        await client.delete(f"{prefix}{name}")
        await client.set(f"{prefix}{name}", "x")

    assert lanes(await gauge(world, HANDLER, idle=1)) == [(0, "1", "\x1f", 0)]

    await client.delete(f"{prefix}lanes:{HANDLER}")
    await client.set(f"{prefix}lanes:{HANDLER}", "x")
    assert lanes(await gauge(world, HANDLER, idle=1)) == []
    await world.empty()


async def test_it_changes_nothing(world: World) -> None:
    await world.submit("t1")
    before = await world.dump()

    await gauge(world, HANDLER)

    assert await world.dump() == before
