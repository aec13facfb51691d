"""lua/enlist.lua: who announces itself, and what it may take at once."""

from typing import Any

import pytest

from gojob_redis.names import crew_id
from tests.lua.world import APP, HANDLER, T0, World

OTHER = HANDLER + "2"


def crew_sum(*announced: str) -> str:
    """What lib/seat.lua computes."""
    text = " ".join(announced)
    total = len(text)
    for letter in text.encode():
        total = (total * 31 + letter) % 2**32
    return str(total)


async def test_an_announcement_writes_who_it_is_and_where_it_is_found(world: World) -> None:
    await world.enlist(capacity=2, attributes=("gpu=1", "host=db7"), labels={"env": "gray"})

    dump = await world.dump()
    crew = crew_id(APP, (HANDLER,), {"env": "gray"})
    assert dump.pop("meta")
    assert dump == {
        "session:s1": {
            "app": APP, "crew": crew, "attributes": "gpu=1,host=db7", "capacity": "2", "gateway": "g1", "conn": "1",
            "holder": "key", "name": "worker-s1", "facts": "", "since": str(T0),
        },
        f"sessions:{APP}": {"s1"},
        "leases": {"s1": T0 + 15_000},
        "gateways": {"g1": T0},
        "handlers": {HANDLER: T0},
        f"app_handlers:{APP}": {HANDLER: 0},
        "crews": {crew},
        f"crew:{crew}": {
            "app": APP, "handlers": HANDLER, "labels": "env=gray", "sum": crew_sum(APP, HANDLER, "env=gray"),
        },
        f"crew_sessions:{crew}": {"s1"},
        f"crews_of:{HANDLER}|env=gray": {crew},
        f"waiting:{crew}|": {"s1": 0},
        f"waiting:{crew}|gpu=1": {"s1": 0},
        f"waiting:{crew}|host=db7": {"s1": 0},
    }  # fmt: skip


async def test_at_most_16_crews_serve_a_handler_and_the_known_ones_go_on_growing(world: World) -> None:
    for number in range(16):
        assert await world.enlist(f"s{number}", handlers=(HANDLER, f"{OTHER}{number}")) == "ok"
    before = await world.dump()

    assert await world.enlist("one-more", handlers=(HANDLER, OTHER)) == "crews_full"
    assert await world.dump() == before

    assert await world.enlist("known", handlers=(HANDLER, f"{OTHER}0")) == "ok"


async def test_a_new_crew_sees_no_lane_that_is_empty_or_paused_or_of_other_labels_or_unknown(world: World) -> None:
    await world.submit("t1")
    await world.cancel("t1")
    await world.submit("t2", handler=OTHER)
    await world.call("pause", [(OTHER, 1)])
    await world.submit("t3", labels="env=gray")
    await world.partition.client.hset(world.partition.prefix + f"lanes:{HANDLER}", "x=y\x1f", "99")

    assert await world.enlist(handlers=(HANDLER, OTHER)) == "ok"

    assert not [name for name in await world.dump() if name.startswith("ready:")]
    assert await world.dispatches() == []


async def test_a_new_crew_takes_what_requires_an_attribute_it_offers(world: World) -> None:
    await world.submit("t1", attribute="host=db7")

    await world.enlist(attributes=("host=db7",), capacity=0)

    [ready] = [name for name in await world.dump() if name.startswith("ready:")]
    assert ready.endswith("|host=db7")


async def test_a_call_that_did_all_answers_ok_and_one_that_stopped_at_100_binds_more(world: World) -> None:
    assert (await announce(world, "s0", capacity=0))[0] == "ok"
    for first in range(0, 150, 50):
        await world.submit(*(f"t{n}" for n in range(first, first + 50)))

    assert (await announce(world, "s1", capacity=150))[0] == "more"
    assert (await world.call("match", cursor="0", repair=0))[0] == "ok"


async def announce(world: World, session: str, capacity: int) -> list[Any]:
    """The whole reply of an announcement."""
    item = (session, APP, crew_id(APP, (HANDLER,), {}), HANDLER, "", "", capacity, "g1", 1, "key", "name", b"")
    return await world.call("enlist", [item])


@pytest.mark.parametrize("why", ["labels", "paused"])
async def test_a_new_crew_sees_no_lane_that_it_does_not_serve_or_that_is_paused(world: World, why: str) -> None:
    """Without a seat nothing is matched, so a lane that does not belong there would stay shown."""
    await world.submit("t1", labels="env=gray" if why == "labels" else "")
    if why == "paused":
        await world.call("pause", [(HANDLER, 1)])

    await world.enlist(capacity=0)

    assert not [name for name in await world.dump() if name.startswith("ready:")]


async def test_a_crew_that_is_written_anew_gives_its_work_to_the_sessions_it_has(world: World) -> None:
    await world.enlist("s1")
    crew, (client, prefix) = crew_id(APP, (HANDLER,), {}), (world.partition.client, world.partition.prefix)
    await client.hdel(prefix + f"crew:{crew}", "labels")
    await client.unlink(prefix + f"crews_of:{HANDLER}|")
    await world.submit("t1")
    assert await world.dispatches() == []

    await world.enlist("s2", capacity=0)

    assert [run.session for run in await world.dispatches()] == ["s1"]
