"""lua/bootstrap.lua, now.lua and lib/clock.lua: the beginning of a partition, and its two clocks."""

import pytest

from gojob_redis.engine.keys import SCHEMA
from gojob_redis.engine.scripts import OtherSchema
from tests.lua.world import T0, World

YEAR_2020 = 1_577_836_800_000


async def test_a_partition_that_has_an_epoch_keeps_it(world: World) -> None:
    before = await world.dump()

    assert await world.call("bootstrap", epoch="another", tell=0) == ["kept", "test"]

    assert await world.dump() == before


async def test_both_clocks_begin_at_the_time_of_the_bootstrap(world: World) -> None:
    await world.partition.client.delete(world.partition.prefix + "meta")

    assert await world.call("bootstrap", epoch="anew", tell=0) == ["ok", "anew"]

    assert (await world.dump())["meta"] == {"epoch": "anew", "schema": "2", "raw": str(T0), "steady": str(T0)}


async def test_a_bootstrap_leaves_an_event_where_it_is_asked_to(world: World) -> None:
    for tell, told in ((0, []), (1, ["bootstrapped"])):
        await world.partition.client.delete(world.partition.prefix + "meta")
        await world.call("bootstrap", epoch="anew", tell=tell)
        assert await world.events() == told


async def test_without_a_time_of_its_own_a_call_asks_the_engine(world: World) -> None:
    await world.partition.client.delete(world.partition.prefix + "meta")
    await world.partition.call("bootstrap", now_ms=0, epoch="anew", tell=0)

    _ok, wall, steady = await world.partition.call("now", now_ms=0)

    assert YEAR_2020 < int((await world.dump())["meta"]["raw"]) <= wall
    assert YEAR_2020 < steady <= wall


async def test_a_clock_that_moved_less_than_100_ms_is_not_written(world: World) -> None:
    before = await world.dump()
    world.pass_ms(99)

    assert await world.call("now") == ["ok", T0 + 99, T0 + 99]
    assert await world.dump() == before

    world.pass_ms(1)
    await world.call("now")
    assert (await world.dump())["meta"]["raw"] == str(T0 + 100)


@pytest.mark.parametrize(
    ("stored", "schema", "code"),
    [
        (str(SCHEMA + 1), SCHEMA + 1, "newer_schema"),
        ("1", 1, "older_schema"),
        (None, 1, "older_schema"),
        ("nonsense", 1, "older_schema"),
    ],
)
async def test_data_of_another_schema_is_not_touched(world: World, stored: str | None, schema: int, code: str) -> None:
    await world.enlist()
    meta = world.partition.prefix + "meta"
    await world.partition.client.hdel(meta, "schema")
    if stored is not None:
        await world.partition.client.hset(meta, "schema", stored)
    before = await world.dump()
    world.pass_ms(1_000)

    with pytest.raises(OtherSchema, match=f"schema {schema}") as stopped:
        await world.submit("t1")

    assert stopped.value.code == code
    assert await world.dump() == before


def test_who_meets_another_schema_is_told_what_to_do() -> None:
    assert OtherSchema("It", SCHEMA + 1).hint == "Start the release that wrote it, or a newer one."
    assert (OtherSchema("It", 1).hint or "").startswith("There is no conversion.")


async def test_a_gap_of_more_than_a_second_is_marked_as_a_jump(world: World) -> None:
    world.pass_ms(1_000)
    await world.call("now")
    assert "jumped_at" not in (await world.dump())["meta"]

    world.pass_ms(1_001)
    await world.call("now")

    assert (await world.dump())["meta"]["jumped_at"] == str(T0 + 2_000)
