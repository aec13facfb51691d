"""lua/count_over.lua: how many tasks that are over share a state, a handler and a failure."""

from typing import Any

import pytest

from gojob_redis.engine.scripts import NoEpoch
from tests.lua.test_keep import keep
from tests.lua.test_search import EVERYWHERE, LATEST, OTHER, ended
from tests.lua.world import APP, HANDLER, T0, World

FAILURE = b"d1\x1dE\x1dno\x1d"


async def count(world: World, *filters: str, items: Any = EVERYWHERE, **scalars: Any) -> list[Any]:
    given = {"from_ms": 0, "to_ms": LATEST, "place": "", "looks": 500} | scalars
    return await world.call("count_over", items, conditions="\x1f".join(filters), **given)


def read(rows: Any) -> dict[tuple[str, ...], int]:
    """How many tasks have which state, handler and failure, each of which comes once."""
    counts = {tuple(word.decode() for word in facts): number for *facts, number in rows}
    assert len(counts) == len(rows)
    return counts


async def counted(world: World, *filters: str, **options: Any) -> dict[tuple[str, ...], int]:
    return read((await count(world, *filters, **options))[4])


async def shop(world: World) -> None:
    await ended(world, "a", "b")
    await ended(world, "c", handler=OTHER)
    await ended(world, "d", "e", outcome="error", failure=FAILURE)
    await ended(world, "f", outcome="error")
    await world.submit("gray", labels="env=gray")
    await world.cancel("gray")
    await keep(world, "b")


ALL: dict[tuple[str, ...], int] = {
    ("run_to_completion", HANDLER, ""): 2,
    ("run_to_completion", OTHER, ""): 1,
    ("faulted", HANDLER, "d1"): 2,
    ("faulted", HANDLER, ""): 1,
}


async def test_tasks_of_several_indexes_are_counted_by_what_they_share(world: World) -> None:
    await shop(world)

    reply = await count(world, "state=run_to_completion,faulted")

    assert reply[:4] == ["ok", 7, T0, "a"]
    assert read(reply[4]) == ALL


@pytest.mark.parametrize("looks", [1, 3])
async def test_a_count_goes_on_where_another_ended(world: World, looks: int) -> None:
    await shop(world)
    counts, place, to_ms = dict.fromkeys(ALL, 0), "", LATEST
    for _ in range(10):
        word, looked, to_ms, place, rows = await count(
            world, "state=run_to_completion,faulted", looks=looks, to_ms=to_ms, place=place
        )
        assert looked <= looks
        for facts, number in read(rows).items():
            counts[facts] += number
        if word == "ok":
            break

    assert word == "ok"
    assert counts == ALL


FILTERS = {
    "state=faulted": 3,
    "failure=d1": 2,
    "label=env=gray": 1,
    "state=canceled": 1,
    "state=faulted\x1ffailure=d1\x1freason=error": 2,
    "failure=d1\x1flabel=env=gray": 0,
    f"to={T0 + 1}": 1,
    "worker=worker-s-2": 1,
}


@pytest.mark.parametrize("line", FILTERS)
async def test_only_what_a_filter_lets_through_is_counted(world: World, line: str) -> None:
    await shop(world)

    assert sum((await counted(world, line)).values()) == FILTERS[line]


async def test_in_an_index_of_its_handler_no_lane_is_compared(world: World) -> None:
    await shop(world)
    items = [("history", HANDLER), ("pinned", HANDLER), ("failed", APP)]
    send = {facts: number for facts, number in ALL.items() if facts[1] == HANDLER}
    assert await counted(world, "handler=send", items=items) == send | {("canceled", HANDLER, ""): 1}
    await world.partition.client.hset(f"{world.partition.prefix}task:a", "lane", "99")
    await world.partition.client.hset(f"{world.partition.prefix}task:f", "lane", "99")

    counts = await counted(world, "handler=send", items=items)

    assert counts[("run_to_completion", "", "")] == 1
    assert ("faulted", "", "") not in counts


async def test_nothing_older_or_younger_is_counted(world: World) -> None:
    await shop(world)

    assert await counted(world, from_ms=T0 + 1, to_ms=T0 + 2) == {
        ("run_to_completion", HANDLER, ""): 1,
        ("run_to_completion", OTHER, ""): 1,
    }


async def test_what_cannot_be_read_is_not_counted_and_a_handler_nobody_knows_is_none(world: World) -> None:
    await ended(world, "a", "b", "c", "d")
    client, prefix = world.partition.client, world.partition.prefix
    await client.unlink(f"{prefix}task:a", f"{prefix}task:b")
    await client.set(f"{prefix}task:b", "x")
    await client.hset(f"{prefix}task:c", "lane", "99")
    await client.hdel(f"{prefix}task:d", "lane")

    reply = await count(world)

    assert reply[:2] == ["ok", 4]
    assert read(reply[4]) == {("run_to_completion", "", ""): 2}
    await client.unlink(f"{prefix}task:b")


async def test_the_slots_of_a_trigger_are_counted_as_their_tasks(world: World) -> None:
    await world.define(T0 + 1, T0 + 2, T0 + 3, uid="abcdefg", name="t", overlap="skip")
    for _ in range(3):
        world.pass_ms(1)
        await world.fire()
    await world.submit("by-hand", trigger="t", uid="abcdefg")

    reply = await count(world, items=[("ledger", "abcdefg")])

    assert reply[1] == 4
    assert read(reply[4]) == {("created", HANDLER, ""): 2}


async def test_a_count_changes_nothing(world: World) -> None:
    await shop(world)
    before = await world.dump()
    world.pass_ms(10_000)

    await count(world)

    assert await world.dump() == before


async def test_nobody_counts_in_an_emptied_partition(world: World) -> None:
    await world.partition.client.unlink(world.partition.prefix + "meta")

    with pytest.raises(NoEpoch):
        await count(world)
