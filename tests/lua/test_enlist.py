"""lua/enlist.lua: who announces itself, and what it may take at once."""

from typing import Any

import pytest

from gojob_redis.domain.names import group_id
from tests import invariants
from tests.lua.world import APP, HANDLER, T0, World

OTHER = HANDLER + "2"


def group_sum(*announced: str) -> str:
    """What lib/seat.lua computes."""
    text = " ".join(announced)
    total = len(text)
    for letter in text.encode():
        total = (total * 31 + letter) % 2**32
    return str(total)


async def test_an_announcement_writes_who_it_is_and_where_it_is_found(world: World) -> None:
    await world.enlist(capacity=2, attributes=("gpu=1", "host=db7"), labels={"env": "gray"})

    dump = await world.dump()
    group = group_id(APP, (HANDLER,), {"env": "gray"})
    assert dump.pop("meta")
    assert dump == {
        "session:s1": {
            "app": APP, "group": group, "attributes": "gpu=1,host=db7", "capacity": "2", "gateway": "g1", "conn": "1",
            "holder": "key", "name": "worker-s1", "facts": "", "since": str(T0),
        },
        f"sessions:{APP}": {"s1"},
        "leases": {"s1": T0 + 15_000},
        "gateways": {"g1": T0},
        "handlers": {HANDLER: T0},
        f"app_handlers:{APP}": {HANDLER: 0},
        "groups": {group},
        f"group:{group}": {
            "app": APP, "handlers": HANDLER, "labels": "env=gray", "sum": group_sum(APP, HANDLER, "env=gray"),
        },
        f"group_sessions:{group}": {"s1"},
        f"groups_of:{HANDLER}|env=gray": {group},
        f"waiting:{group}|": {"s1": 0},
        f"waiting:{group}|gpu=1": {"s1": 0},
        f"waiting:{group}|host=db7": {"s1": 0},
    }  # fmt: skip


async def test_at_most_16_groups_serve_a_handler_and_the_known_ones_go_on_growing(world: World) -> None:
    for number in range(16):
        assert await world.enlist(f"s{number}", handlers=(HANDLER, f"{OTHER}{number}")) == "ok"
    before = await world.dump()

    assert await world.enlist("one-more", handlers=(HANDLER, OTHER)) == "worker_groups_full"
    assert await world.dump() == before

    assert await world.enlist("known", handlers=(HANDLER, f"{OTHER}0")) == "ok"


async def test_a_new_group_sees_no_lane_that_is_empty_or_paused_or_of_other_labels_or_unknown(world: World) -> None:
    await world.submit("t1")
    await world.cancel("t1")
    await world.submit("t2", handler=OTHER)
    await world.call("pause", [(OTHER, 1)])
    await world.submit("t3", labels="env=gray")
    await world.partition.client.hset(world.partition.prefix + f"lanes:{HANDLER}", "x=y\x1f", "99")

    assert await world.enlist(handlers=(HANDLER, OTHER)) == "ok"

    assert not [name for name in await world.dump() if name.startswith("ready:")]
    assert await world.dispatches() == []


async def test_a_new_group_takes_what_requires_an_attribute_it_offers(world: World) -> None:
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
    return await world.call("enlist", [enlistment(session, (HANDLER,), capacity)])


def enlistment(session: str, handlers: tuple[str, ...], capacity: int = 0) -> tuple[Any, ...]:
    """One item."""
    group = group_id(APP, handlers, {})
    return (session, APP, group, " ".join(handlers), "", "", capacity, "g1", 1, "key", "name", b"")


@pytest.mark.parametrize("why", ["labels", "paused"])
async def test_a_new_group_sees_no_lane_that_it_does_not_serve_or_that_is_paused(world: World, why: str) -> None:
    """Without a seat nothing is matched, so a lane that does not belong there would stay shown."""
    await world.submit("t1", labels="env=gray" if why == "labels" else "")
    if why == "paused":
        await world.call("pause", [(HANDLER, 1)])

    await world.enlist(capacity=0)

    assert not [name for name in await world.dump() if name.startswith("ready:")]


async def test_a_group_that_is_written_anew_gives_its_work_to_the_sessions_it_has(world: World) -> None:
    await world.enlist("s1")
    group, (client, prefix) = group_id(APP, (HANDLER,), {}), (world.partition.client, world.partition.prefix)
    await client.hdel(prefix + f"group:{group}", "labels")
    await client.unlink(prefix + f"groups_of:{HANDLER}|")
    await world.submit("t1")
    assert await world.dispatches() == []

    await world.enlist("s2", capacity=0)

    assert [run.session for run in await world.dispatches()] == ["s1"]


# ---- a group that serves many lanes ----------------------------------------------------------------------------------

MANY = tuple(f"{HANDLER}{number}" for number in range(3))
GROUP = group_id(APP, MANY, {})


async def lanes_with_work(world: World, lanes: int = 60, handlers: tuple[str, ...] = MANY) -> None:
    """So many lanes of each handler have work that needs an attribute nobody offers."""
    for handler in handlers:
        items = [world.submission(f"{handler[-1]}t{n}", handler, attribute=f"n={n}") for n in range(lanes)]
        assert set((await world.call("submit", items))[1::2]) == {"ok"}


def shown(dump: Any, group: str) -> int:
    """How many lanes a group sees."""
    return sum(len(lanes) for name, lanes in dump.items() if name.startswith(f"ready:{group}|"))


async def test_a_group_is_opened_to_a_hundred_lanes_a_call_and_known_when_it_sees_all(world: World) -> None:
    await lanes_with_work(world)
    seen = []

    for word in ("more", "more", "ok"):
        assert await world.enlist(handlers=MANY) == word
        dump = await world.dump()
        seen.append(shown(dump, GROUP))
        assert not invariants.violations(dump)
        assert ("session:s1" in dump) == (GROUP in dump.get("groups", ())) == (word == "ok")

    assert seen == [60, 120, 180]
    assert dump[f"group:{GROUP}"].keys() == {"app", "handlers", "labels", "sum"}


async def test_whoever_announces_the_same_goes_on_with_a_group_that_is_half_open(world: World) -> None:
    await lanes_with_work(world)
    assert await world.enlist("s1", handlers=MANY) == "more"
    assert await world.enlist("s2", handlers=MANY) == "more"

    assert await world.enlist("s3", handlers=MANY) == "ok"
    assert await world.enlist("s1", handlers=MANY) == "ok"


async def test_work_that_comes_while_a_group_is_opened_is_seen(world: World) -> None:
    await lanes_with_work(world)
    assert await world.enlist(handlers=MANY) == "more"
    await world.submit("early", handler=MANY[0])
    await world.submit("late", handler=MANY[2])

    while await world.enlist(handlers=MANY, capacity=2) != "ok":
        pass

    assert {run.run for run in await world.dispatches()} == {"early", "late"}


async def test_lanes_of_other_labels_are_not_read_for_a_group(world: World) -> None:
    items = [world.submission(f"t{n}", labels=f"zone={n}") for n in range(90)]
    await world.call("submit", items)
    await world.submit("mine", labels="zone=1")

    assert await world.enlist(labels={"zone": "1"}, capacity=2) == "ok"

    assert {run.run for run in await world.dispatches()} == {"t1", "mine"}


async def test_a_group_of_many_handlers_is_opened_by_the_call_after_the_one_that_had_room_for_it(
    world: World,
) -> None:
    handlers = tuple(f"{HANDLER}{number:03}" for number in range(300))
    await world.submit("t1", handler=handlers[0])

    assert await world.enlist(handlers=handlers) == "more"
    assert await world.enlist(handlers=handlers) == "ok"

    assert [run.run for run in await world.dispatches()] == ["t1"]


async def test_a_call_takes_announcements_of_a_thousand_handlers(world: World) -> None:
    handlers = tuple(f"{HANDLER}{number:03}" for number in range(300))
    assert [await world.enlist(handlers=handlers) for _ in range(2)] == ["more", "ok"]
    item = list(enlistment("s2", handlers))

    reply = await world.call("enlist", [[session, *item[1:]] for session in ("s2", "s3", "s4", "s5")])

    assert reply == ["ok", "ok", "ok", "ok", "more"]


async def test_a_group_is_refused_before_anything_is_opened_to_it(world: World) -> None:
    await lanes_with_work(world)
    for number in range(16):
        assert await world.enlist(f"s{number}", handlers=(MANY[2], f"{OTHER}{number}")) == "ok"
    before = await world.dump()

    assert await world.enlist("late", handlers=MANY) == "worker_groups_full"

    assert await world.dump() == before


async def test_a_group_that_finds_a_handler_taken_while_it_is_opened_leaves_nothing_behind(world: World) -> None:
    await lanes_with_work(world)
    before = await world.dump()
    assert await world.enlist("late", handlers=MANY) == "more"
    for number in range(16):
        assert await world.enlist(f"s{number}", handlers=(MANY[2], f"{OTHER}{number}")) == "ok"

    words = [await world.enlist("late", handlers=MANY) for _ in range(2)]

    assert words == ["more", "worker_groups_full"]
    dump = await world.dump()
    assert f"group:{GROUP}" not in dump
    assert not [name for name, groups in dump.items() if name.startswith("groups_of:") and GROUP in groups]
    for name in (f"activeq:{lane}" for lane in range(1, 181)):
        assert dump[name] == before[name]


async def test_a_worker_with_more_handlers_than_a_call_announces_is_announced_alone(world: World) -> None:
    handlers = tuple(f"{HANDLER}{number:04}" for number in range(1_001))

    words = [await world.enlist("s1", handlers=handlers) for _ in range(5)]

    assert (words[0], words[-1]) == ("more", "ok")
