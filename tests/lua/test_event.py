"""lib/event.lua: each app's events in a stream of its own, floods counted, old ones forgotten."""

from typing import Any

from gojob_redis.engine.keys import K
from tests.lua.world import APP, HANDLER, World
from tests.tools.keyspace import Keyspace

MINUTE_MS = 60_000
OTHER = f"{APP}/mail"


async def fail(world: World, number: int, *, handler: str = HANDLER) -> None:
    """So many tasks of a handler end as faulted: they were cancelled by nobody and their worker gives up at once."""
    session = f"s{world.nonces}"
    await world.enlist(session, handlers=(handler,), capacity=100)
    for first in range(0, number, 50):
        tasks = [f"00{session}x{first + n}" for n in range(min(50, number - first))]
        await world.submit(*tasks, handler=handler)
        runs = await world.dispatches()
        assert await world.report(*runs, outcome="error", disposition="final") == ["accepted"] * len(tasks)
    await world.leave(session)


async def fold(world: World, *items: tuple[Any, ...], turn: int = 0) -> None:
    await world.call("fold", items, turn=turn, upto="", entries=0)


def of_app(dump: Keyspace, kind: str = "faulted", app: str = APP) -> list[dict[str, Any]]:
    return [event for event in dump.get(f"events:{app}", []) if event["kind"] == kind]


async def test_an_event_of_an_app_stands_in_the_app_s_stream_and_nowhere_else(world: World) -> None:
    await fail(world, 1)

    dump = await world.dump()
    [event] = dump[f"events:{APP}"]
    assert (event["kind"], event["reason"], event["handler"]) == ("faulted", "error", HANDLER)
    assert "events" not in dump
    assert dump["event_apps"] == {APP: world.now}


async def test_an_event_belongs_to_the_app_of_its_handler_whatever_it_says_after_it(world: World) -> None:
    await world.submit("t1", param=b"x" * 65)
    await world.partition.client.unlink(K.param(world.partition.prefix, "t1"))

    await world.call("scrub", [("task", "hash", "t1", "", "task:t1", "0")], limit=10)

    dump = await world.dump()
    assert [(event["handler"], event["why"]) for event in of_app(dump, "corrupt")] == [(HANDLER, "its payload is gone")]
    assert "events" not in dump


async def test_what_names_no_app_stands_in_the_partition_s_stream(world: World) -> None:
    await world.partition.client.zadd(K.gateways(world.partition.prefix), {"g9": 1})

    await world.reap()

    dump = await world.dump()
    assert [event["kind"] for event in dump["events"]] == ["gateway_forgotten"]
    assert not [name for name in dump if name.startswith("events:")]


async def test_over_a_hundred_of_one_kind_and_handler_in_a_minute_become_one_counted_entry(world: World) -> None:
    await fail(world, 130)
    await fail(world, 1, handler=OTHER)

    found = of_app(await world.dump())
    counted = [event for event in found if "count" in event]
    assert [event["count"] for event in counted] == ["30"]
    assert counted[0]["handler"] == HANDLER
    assert counted[0]["since"] == str(world.now // MINUTE_MS * MINUTE_MS)
    assert len(found) == 100 + 1 + 1


async def test_canceled_tasks_are_told_with_what_was_added_up(world: World) -> None:
    told = ("canceled", HANDLER, "t1", b"by a person", world.now - 1_500)

    await fold(world, told)
    await fold(world, told)

    assert of_app(await world.dump(), "canceled") == [
        {
            "kind": "canceled", "wall": str(world.now), "task": "t1", "reason": "by a person",
            "ended": str(world.now - 1_500), "handler": HANDLER,
        }
    ]  # fmt: skip


async def test_events_that_are_told_together_are_counted_with_those_told_singly(world: World) -> None:
    singly = [("canceled", HANDLER, f"t{number}", b"canceled", world.now) for number in range(100)]

    await fold(world, *singly, ("canceled_more", HANDLER, "", b"", 50))
    await fold(world, singly[0], ("canceled_more", HANDLER, "", b"", 7), turn=1)

    found = of_app(await world.dump(), "canceled")
    assert [event["count"] for event in found if "count" in event] == ["58"]
    assert len(found) == 101


async def test_the_next_minute_is_counted_anew(world: World) -> None:
    await fail(world, 101)
    world.pass_ms(MINUTE_MS)

    await fail(world, 2)

    found = of_app(await world.dump())
    assert len(found) == 100 + 1 + 2
    assert [event["count"] for event in found if "count" in event] == ["1"]


async def test_the_counts_of_a_minute_go_by_themselves(world: World) -> None:
    await fail(world, 1)

    client, prefix = world.partition.client, world.partition.prefix
    counts = K.event_counts(prefix, APP, str(world.now // MINUTE_MS))
    assert 0 < await client.pttl(counts) <= 2 * MINUTE_MS
    week_ms = 7 * 86_400_000
    assert week_ms - MINUTE_MS < await client.pttl(K.app_events(prefix, APP)) <= week_ms


async def test_events_older_than_a_week_are_forgotten(world: World) -> None:
    client, prefix = world.partition.client, world.partition.prefix
    await client.xadd(K.app_events(prefix, APP), {"kind": "faulted", "wall": "1"}, id="1-1")
    await client.zadd(K.event_apps(prefix), {"default/long": world.now - 8 * 86_400_000, "default/new": world.now})

    await fail(world, 1)

    dump = await world.dump()
    assert len(of_app(dump)) == 1
    assert set(dump["event_apps"]) == {APP, "default/new"}


async def test_with_trace_everything_stands_in_the_partition_s_stream_whole(world: World) -> None:
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(K.meta(prefix), "trace", "1")

    await fail(world, 130)

    dump = await world.dump()
    assert len([event for event in dump["events"] if event["kind"] == "faulted"]) == 130
    assert len(of_app(dump)) == 101


async def test_faulted_tasks_are_counted_by_reason(world: World) -> None:
    await fail(world, 3)
    await world.submit("00late", queue_limit=10)
    await world.pass_steadily(20)

    await world.expire()

    assert (await world.dump())["faults"] == {"error": "3", "expired": "1"}
