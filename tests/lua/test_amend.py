"""lua/amend.lua: what an audit found is written down, told, and mended."""

from typing import Any

import pytest

from gojob_redis.domain.ids import base36
from tests.lua.world import APP, T0, World
from tests.tools.keyspace import events

UID = "abcdefg"
SLOT = T0 + 1_000


async def fired(world: World) -> None:
    """A trigger that fired twice and stands at its third slot."""
    await world.define(SLOT, T0 + 2_000, T0 + 90_000, over=0)
    world.pass_ms(2_000)
    await world.fire()
    await world.fire()


async def amend(world: World, *found: tuple[Any, ...], revision: int = 1, audited: str = "", uid: str = UID) -> Any:
    return (await world.call("amend", [(uid, revision, audited, *each) for each in found]))[1:]


async def take_away(world: World, slot: int) -> None:
    await world.partition.client.zremrangebyscore(world.partition.prefix + f"ledger:{UID}", slot, slot)


async def test_a_slot_whose_task_exists_was_fired(world: World) -> None:
    await fired(world)
    before = await world.ledger()
    await take_away(world, SLOT)

    assert await amend(world, ("missed", SLOT, SLOT, 1, f"00f{UID}{base36(SLOT)}")) == ["ok"]

    assert await world.ledger() == before


async def test_a_slot_without_a_task_is_missed_and_is_not_fired(world: World) -> None:
    await fired(world)
    await take_away(world, SLOT)

    await amend(world, ("hole", SLOT, SLOT, 1, ""), ("missed", SLOT, SLOT, 1, "00fnone"))
    await world.fire()

    assert await world.ledger() == [f"skipped {SLOT} hole", f"fired {T0 + 2_000} 0"]
    [event] = events(await world.dump())
    assert event == {
        "kind": "ledger_hole", "wall": str(T0 + 2_000), "app": APP, "trigger": "t", "uid": UID, "slot": str(SLOT),
        "last": str(SLOT), "count": "1", "detail": "",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["missed", "gap"])
async def test_a_slot_that_has_an_entry_or_can_still_be_handled_gets_none(world: World, kind: str) -> None:
    await fired(world)
    before = await world.ledger()

    await amend(world, (kind, SLOT, SLOT, 1, ""), (kind, T0 + 90_000, T0 + 90_000, 1, ""))

    assert await world.ledger() == before


async def test_a_run_by_hand_takes_no_slot(world: World) -> None:
    await fired(world)
    await take_away(world, SLOT)
    await world.partition.client.zadd(world.partition.prefix + f"ledger:{UID}", {"manual 00s1": SLOT})

    await amend(world, ("missed", SLOT, SLOT, 1, "00fnone"))

    assert sorted(await world.ledger())[1:] == ["manual 00s1", f"skipped {SLOT} hole"]


async def test_a_long_gap_is_one_range(world: World) -> None:
    await fired(world)
    await take_away(world, SLOT)

    await amend(world, ("gap", T0 + 500, SLOT, 7, ""))

    assert (await world.ledger())[0] == f"coalesced {SLOT} {T0 + 500} 7 hole"


async def test_doubles_and_strays_are_told(world: World) -> None:
    await fired(world)

    await amend(world, ("double", SLOT, SLOT, 1, "fired"), ("stray", SLOT, SLOT, 1, "skipped"))

    assert await world.events() == ["ledger_double", "ledger_stray"]


async def test_a_slot_that_two_readings_differ_about_is_told_and_nothing_is_mended(world: World) -> None:
    await fired(world)
    before = await world.ledger()

    assert await amend(world, ("disputed", SLOT, SLOT, 1, "why")) == ["ok"]

    assert await world.events() == ["ledger_disputed"]
    assert await world.ledger() == before


async def test_an_audit_of_what_moved_since_is_refused(world: World) -> None:
    await fired(world)
    before = await world.dump()

    assert await amend(world, ("hole", SLOT, SLOT, 1, ""), revision=2) == ["stale"]
    assert await amend(world, ("hole", SLOT, SLOT, 1, ""), audited=str(T0)) == ["stale"]
    assert await amend(world, ("hole", SLOT, SLOT, 1, ""), uid="zzzzzzz") == ["gone"]
    assert await world.dump() == before


async def test_what_one_audit_found_is_written_though_its_comparison_is_written_first(world: World) -> None:
    await fired(world)

    assert await amend(
        world, ("compared", T0 + 2_000, T0 + 2_000, 2, str(T0 + 90_000)), ("hole", SLOT, SLOT, 1, "")
    ) == ["ok", "ok"]  # fmt: skip


@pytest.mark.parametrize("found", [("missed", SLOT, SLOT, 1, "00fnone"), ("gap", T0 + 500, SLOT, 7, "")])
async def test_what_an_audit_adds_counts_among_what_it_has_seen(world: World, found: tuple[Any, ...]) -> None:
    await fired(world)
    await take_away(world, SLOT)

    await amend(world, found, ("compared", T0 + 2_000, T0 + 2_000, 1, str(T0 + 90_000)))

    trigger = (await world.dump())[f"trigger:{UID}"]
    assert (trigger["kept"], trigger["seen"].split()[-1]) == ("2", "2")


async def test_an_agenda_is_planned_anew_only_if_it_still_stands_where_it_was_seen(world: World) -> None:
    await fired(world)

    await amend(world, ("skipped_over", SLOT, T0 + 3_000, 1, ""), ("skipped_over", 0, T0 + 3_000, 1, ""))
    assert "unplanned" not in await world.dump()
    await amend(world, ("skipped_over", T0 + 90_000, T0 + 3_000, 1, "why"))

    dump = await world.dump()
    assert dump["unplanned"] == {UID: T0 + 2_000}
    assert not {f"due:{APP}", "due_heads"} & dump.keys()
    assert dump[f"trigger:{UID}"]["planned"] == str(T0 + 2_000)
    assert [event["kind"] for event in events(dump)] == ["not_scheduled"]


async def test_a_trigger_the_planner_has_is_left_to_it(world: World) -> None:
    await world.define(SLOT, over=0)
    world.pass_ms(1_000)
    await world.fire()
    before = await world.dump()
    assert "unplanned" in before

    await amend(world, ("skipped_over", 0, T0 + 3_000, 1, ""))

    assert await world.dump() == before


async def test_a_disabled_trigger_is_not_planned(world: World) -> None:
    await world.define(SLOT, active=0)

    await amend(world, ("skipped_over", 0, SLOT, 1, ""))

    assert "unplanned" not in await world.dump()


async def test_what_was_not_compared_to_its_end_has_its_turn_at_once(world: World) -> None:
    await fired(world)
    await world.call("audit", limit=100, entries=1_000, every=5_000, grace=0, overdue=5_000)

    await amend(world, ("compared", T0 + 2_000, SLOT, 2, str(T0 + 90_000)))

    dump = await world.dump()
    assert dump["audits"] == {UID: T0 + 2_000}
    facts = dump[f"trigger:{UID}"]
    assert (facts["audited"], facts["kept"], facts["seen"]) == (str(SLOT), "1", "")
