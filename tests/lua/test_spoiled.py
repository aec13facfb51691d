"""Records and indexes that somebody changed by hand: no verb fails on them, and none runs for ever."""

import pytest

from gojob_redis.names import crew_id
from tests.lua.world import APP, HANDLER, World

CREW = crew_id(APP, (HANDLER,), {})


async def test_a_ready_lane_of_a_crew_that_does_not_serve_it_is_passed_over(world: World) -> None:
    """Without the guard it stands at the head for ever, and the script never ends."""
    await world.submit("t1")
    await world.enlist(handlers=(f"{APP}/other",))
    other = crew_id(APP, (f"{APP}/other",), {})
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(prefix + f"ready:{other}|", {"1": 1})

    await world.call("match", cursor="0", repair=1)

    assert f"ready:{other}|" not in await world.dump()
    assert await world.dispatches() == []


async def test_a_lane_without_a_record_is_known_by_its_name(world: World) -> None:
    await world.submit("t1", queue_limit=1_000)
    await world.partition.client.unlink(world.partition.prefix + "lane:1")

    await world.enlist()

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert (await world.dump())["lane:1"] == {"handler": HANDLER, "labels": "", "attribute": ""}


async def test_a_run_of_a_lane_that_nothing_knows_faults(world: World) -> None:
    await world.submit("t1", queue_limit=1_000)
    client, prefix = world.partition.client, world.partition.prefix
    await client.unlink(prefix + "lane:1", prefix + f"lanes:{HANDLER}", prefix + "activeq:1")
    await world.pass_steadily(1_000)

    await world.expire()

    assert (await world.task("t1"))["reason"] == "corrupt"


@pytest.mark.parametrize(
    "spoil", [{"conn": "x"}, {"gateway": None}, {"crew": None}, "gone", "a string"], ids=lambda each: str(each)
)
async def test_the_runs_of_a_session_nobody_can_read_go_on_when_its_lease_ends(world: World, spoil: object) -> None:
    await world.enlist()
    await world.submit("t1")
    client, key = world.partition.client, world.partition.prefix + "session:s1"
    if isinstance(spoil, dict):
        for name, value in spoil.items():
            await (client.hset(key, name, value) if value else client.hdel(key, name))
    else:
        await client.unlink(key)
        if spoil == "a string":
            await client.set(key, "x")
    await world.pass_steadily(15_001)

    await world.bury()
    await client.unlink(world.partition.prefix + f"waiting:{CREW}|")

    dump = await world.dump()
    assert dump["task:t1"]["place"] == "lane"
    assert not {"session:s1", "held:s1", "leases"} & dump.keys()


@pytest.mark.parametrize("field", ["attempt", "fence", "session", "place", "tries", "score"])
async def test_a_bound_run_nobody_can_act_on_faults(world: World, field: str) -> None:
    await world.enlist()
    await world.submit("t1")
    key = world.partition.prefix + "task:t1"
    await world.partition.client.hset(key, field, "nan")
    if field in ("fence", "session"):
        await world.partition.client.hdel(key, field)
    await world.pass_steadily(5_001, renew=("s1",))

    await world.expire()

    assert (await world.task("t1"))["reason"] == "corrupt"


async def test_what_is_over_stays_as_it_is(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.report(*await world.dispatches())
    await world.partition.client.hset(world.partition.prefix + "task:t1", "tries", "nan")

    assert await world.cancel("t1") == ["already"]

    assert (await world.task("t1"))["state"] == "run_to_completion"
