"""lua/search.lua: tasks that are over, newest first, in several indexes as if they were one."""

from typing import Any

import pytest

from gojob_redis.engine.scripts import NoEpoch, OtherSchema
from tests.lua.test_keep import keep
from tests.lua.world import APP, HANDLER, T0, World

LATEST = 4_102_444_800_000
OTHER = HANDLER + "2"
EVERYWHERE = [(kind, handler) for handler in (HANDLER, OTHER) for kind in ("history", "pinned")] + [("failed", APP)]


async def search(world: World, items: Any = EVERYWHERE, *filters: str, **scalars: Any) -> list[Any]:
    given = {"from_ms": 0, "to_ms": LATEST, "place": "", "looks": 500, "most": 100} | scalars
    return await world.call("search", items, conditions="\x1f".join(filters), **given)


async def found(world: World, *filters: str, items: Any = EVERYWHERE, **scalars: Any) -> list[str]:
    """The ids that a search finds, in its order."""
    *_, rows = await search(world, items, *filters, **scalars)
    return [task.decode() for _time, _member, task in rows]


async def ended(
    world: World, *tasks: str, handler: str = HANDLER, outcome: str = "ok", failure: bytes = b"", **options: Any
) -> None:
    """Tasks that end one ms after the other."""
    await world.enlist(f"s-{handler[-1]}", handlers=(handler,), capacity=100, labels=_labels(options))
    for task in tasks:
        await world.submit(task, handler=handler, **options)
        await world.report(*await world.dispatches(), outcome=outcome, failure=failure)
        world.pass_ms(1)


def _labels(options: dict[str, Any]) -> dict[str, str]:
    return dict(pair.split("=") for pair in options.get("labels", "").split(",") if pair)


async def test_several_indexes_are_one_list_newest_first(world: World) -> None:
    await ended(world, "a")
    await ended(world, "b", handler=OTHER)
    await ended(world, "c", outcome="error")
    await ended(world, "d", "e")
    await keep(world, "a")

    reply = await search(world)

    assert reply[:4] == ["ok", 5, T0, "a"]
    assert reply[4] == [[b"%d" % (T0 + 4 - at), task.encode(), task.encode()] for at, task in enumerate("edcba")]
    assert await found(world, items=[("history", HANDLER)]) == ["e", "d"]
    assert await found(world, items=[("failed", APP)]) == ["c"]


@pytest.mark.parametrize(("looks", "most"), [(1, 100), (500, 1), (2, 100)])
async def test_a_search_goes_on_where_another_ended(world: World, looks: int, most: int) -> None:
    await world.enlist(capacity=100)
    for first in ("a", "b", "c"):
        await world.submit(*(f"{first}{number}" for number in range(3)))
        await world.report(*await world.dispatches())
        if first != "b":  # so that six end at one moment, and three before
            world.pass_ms(1)
    pages, place, to_ms = [], "", LATEST
    for _ in range(20):
        word, looked, to_ms, place, rows = await search(world, looks=looks, most=most, to_ms=to_ms, place=place)
        pages += [task.decode() for _time, _member, task in rows]
        assert looked <= looks
        assert len(rows) <= most
        if word == "ok":
            break

    assert pages == ["c2", "c1", "c0", "b2", "b1", "b0", "a2", "a1", "a0"]


async def test_a_search_that_finds_nothing_says_that_it_looked_at_nothing(world: World) -> None:
    assert await search(world) == ["ok", 0, 0, "", []]


async def test_nothing_older_or_younger_is_found(world: World) -> None:
    await ended(world, "a", "b", "c", "d")

    assert await found(world, from_ms=T0 + 1, to_ms=T0 + 2) == ["c", "b"]


async def test_a_search_reads_more_of_an_index_than_comes_at_once(world: World) -> None:
    await world.enlist(capacity=100)
    await world.submit(*(f"t{number:02}" for number in range(45)))
    await world.report(*await world.dispatches())

    assert await found(world) == [f"t{number:02}" for number in reversed(range(45))]


FILTERS = {
    "state=faulted": ["bad"],
    "state=canceled,faulted": ["gone", "bad"],
    "reason=error": ["bad"],
    "handler=send2": ["other"],
    "worker=worker-s-2": ["other"],
    "trigger=nightly": ["fired"],
    "parent=a": ["again"],
    "failure=d1": ["bad"],
    "failure=d": [],
    "label=env=gray": ["gray"],
    "label=env=gra": [],
    "label=x=1": ["gray"],
    f"from={T0 + 1}\x1fto={T0 + 2}": ["bad"],
    f"from={T0 + 5}": ["gone", "gray"],
    f"to={T0 + 1}": ["a"],
}


@pytest.mark.parametrize("line", FILTERS)
async def test_each_filter_lets_through_what_is_wanted(world: World, line: str) -> None:
    await ended(world, "a")
    await ended(world, "bad", outcome="error", failure=b"d1\x1dE\x1dno\x1d")
    await ended(world, "other", handler=OTHER)
    await ended(world, "fired", trigger="nightly")
    await ended(world, "again", parent="a")
    await world.submit("gray", labels="env=gray,x=1")
    await world.enlist("s-g", labels={"env": "gray", "x": "1"})
    await world.report(*await world.dispatches())
    world.pass_ms(1)
    await world.submit("gone", labels="env=blue")
    await world.cancel("gone")

    items = [*EVERYWHERE, ("failed", "default/other")]
    if line.startswith("handler"):
        items = [("history", OTHER), ("failed", APP)]
    assert await found(world, line, items=items) == FILTERS[line]


async def test_all_filters_have_to_hold(world: World) -> None:
    await ended(world, "a", parent="x")
    await ended(world, "b", trigger="t", parent="x")
    await ended(world, "c", trigger="t")

    assert await found(world, "trigger=t", "parent=x", "state=run_to_completion", "handler=send") == ["b"]


async def test_a_task_counts_by_when_it_ended_not_by_when_it_was_made(world: World) -> None:
    await world.submit("a")
    world.pass_ms(5)
    await world.cancel("a")

    assert await found(world, f"from={T0 + 5}", f"to={T0 + 6}") == ["a"]
    assert await found(world, f"to={T0 + 5}") == []


async def test_a_label_and_a_handler_are_compared_both(world: World) -> None:
    for handler, labels in ((HANDLER, "env=gray"), (OTHER, "env=gray"), (HANDLER, "env=blue")):
        await world.submit(f"{handler[-1]}-{labels}", handler=handler, labels=labels)
        await world.cancel(f"{handler[-1]}-{labels}")

    assert await found(world, "handler=send", "label=env=gray") == [f"{HANDLER[-1]}-env=gray"]


async def test_the_ledger_of_a_trigger_tells_its_tasks_by_their_slots(world: World) -> None:
    await world.define(T0 + 1, T0 + 2, T0 + 3, uid="abcdefg", name="t")
    for _ in range(3):
        world.pass_ms(1)
        await world.fire()
    await world.submit("by-hand", trigger="t", uid="abcdefg")
    slots = sorted(name.removeprefix("task:") for name in await world.dump() if name.startswith("task:0"))
    await world.cancel(slots[1])

    assert await found(world, items=[("ledger", "abcdefg")]) == ["by-hand", *reversed(slots)]
    assert await found(world, "state=canceled", items=[("ledger", "abcdefg")]) == [slots[1]]


async def test_slots_that_were_skipped_are_no_tasks(world: World) -> None:
    await world.define(T0 + 1, T0 + 2, uid="abcdefg", name="t", overlap="skip")
    for _ in range(2):
        world.pass_ms(1)
        await world.fire()

    reply = await search(world, [("ledger", "abcdefg")])
    assert (reply[1], len(reply[4])) == (2, 1)


async def test_what_cannot_be_read_is_not_found(world: World) -> None:
    await ended(world, "a", "b", "c")
    client, prefix = world.partition.client, world.partition.prefix
    await client.unlink(f"{prefix}task:a", f"{prefix}task:b")
    await client.set(f"{prefix}task:b", "x")
    await client.hset(f"{prefix}task:c", "lane", "99")

    assert await found(world, "state=run_to_completion") == ["c"]
    assert await found(world, "label=env=gray") == []
    await client.set(f"{prefix}lane:99", "x")
    assert await found(world, "label=env=gray") == []
    await client.hdel(f"{prefix}task:c", "lane")
    assert await found(world, "label=env=gray") == []

    await client.unlink(f"{prefix}lane:99", f"{prefix}task:b")


async def test_a_task_whose_lane_is_gone_is_found_where_no_lane_is_asked_for(world: World) -> None:
    await ended(world, "a")
    await ended(world, "b", outcome="error")
    for task in ("a", "b"):
        await world.partition.client.hset(f"{world.partition.prefix}task:{task}", "lane", "99")

    assert await found(world) == ["b", "a"]
    assert await found(world, "handler=send", items=[("history", HANDLER), ("failed", APP)]) == ["a"]


async def test_a_search_changes_nothing(world: World) -> None:
    await ended(world, "a")
    before = await world.dump()
    world.pass_ms(10_000)

    await search(world, EVERYWHERE, "state=faulted")

    assert await world.dump() == before


async def test_no_search_goes_through_an_emptied_partition(world: World) -> None:
    await world.partition.client.unlink(world.partition.prefix + "meta")

    with pytest.raises(NoEpoch):
        await search(world)


async def test_no_search_goes_through_data_of_another_schema(world: World) -> None:
    await world.partition.client.hset(world.partition.prefix + "meta", "schema", "99")

    with pytest.raises(OtherSchema):
        await search(world)
