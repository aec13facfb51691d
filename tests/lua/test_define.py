"""lua/define.lua, plan.lua, remove.lua: what a trigger is, and which slots it is going to have."""

from tests.lua.world import APP, T0, World

UID = "abcdefg"
DAY = 86_400_000


async def test_a_change_made_for_the_revision_that_holds_is_taken(world: World) -> None:
    await world.define(T0 + 1_000)

    assert await world.define(T0 + 2_000, revision=1) == ["ok", UID, 2]


async def test_a_change_to_a_trigger_that_is_not_there_is_a_conflict(world: World) -> None:
    assert await world.define(T0 + 1_000, revision=3) == ["conflict", "", 0]
    assert set(await world.dump()) == {"meta"}


async def test_only_a_trigger_that_skips_overlaps_knows_its_live_tasks(world: World) -> None:
    await world.define(T0 + 1_000, overlap="skip")
    assert (await world.dump())[f"trigger:{UID}"]["live"] == ""

    await world.define(T0 + 1_000, T0 + 2_000, overlap="allow")
    world.pass_ms(1_000)
    await world.fire()

    assert "live" not in (await world.dump())[f"trigger:{UID}"]


async def test_a_trigger_that_is_not_active_has_no_slot_whatever_was_planned(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, active=0)

    dump = await world.dump()
    assert (f"due:{APP}" in dump, f"agenda:{UID}" in dump) == (False, False)


async def test_the_watermark_follows_the_slots_that_an_edit_overtook(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 9_000)
    world.pass_ms(2_500)

    await world.define(T0 + 20_000)

    assert (await world.dump())[f"trigger:{UID}"]["last_slot"] == str(T0 + 2_000)


async def test_a_parameter_that_grows_leaves_the_record(world: World) -> None:
    await world.define(T0 + 1_000, param=b"small")
    await world.define(T0 + 1_000, param=b"x" * 65)

    dump = await world.dump()
    assert dump[f"trigger_param:{UID}"] == "x" * 65
    assert "param" not in dump[f"trigger:{UID}"]


async def test_a_ledger_keeps_1000_entries_and_30_days(world: World) -> None:
    await world.define(T0 + 1_000)
    entries = {f"fired {T0 - 40 * DAY + number} 0": T0 - 40 * DAY + number for number in range(5)}
    entries |= {f"fired {T0 - 10_000 + number} 0": T0 - 10_000 + number for number in range(1_100)}
    await world.partition.client.zadd(world.partition.prefix + f"ledger:{UID}", entries)

    await world.define(T0 + 2_000)

    ledger = (await world.dump())[f"ledger:{UID}"]
    assert (len(ledger), min(ledger.values())) == (1_000, T0 - 10_000 + 100)


async def test_entries_older_than_30_days_go_however_few_they_are(world: World) -> None:
    await world.define(T0 + 1_000)
    old = {f"fired {T0 - 31 * DAY} 0": T0 - 31 * DAY, f"fired {T0 - 29 * DAY} 0": T0 - 29 * DAY}
    await world.partition.client.zadd(world.partition.prefix + f"ledger:{UID}", old)

    await world.define(T0 + 2_000)

    assert await world.ledger() == [f"fired {T0 - 29 * DAY} 0"]


async def test_an_edit_drops_the_agenda_it_replaces(world: World) -> None:
    await world.define(T0 + 200_000, T0 + 300_000)
    await world.define(T0 + 400_000)

    assert f"agenda:{UID}" not in await world.dump()


async def test_a_deleted_trigger_waits_for_no_planner(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, over=0)
    world.pass_ms(100_000)
    await world.fire()
    assert UID in (await world.dump())["unplanned"]

    await world.call("remove", app=APP, name="t")

    assert "unplanned" not in await world.dump()


async def test_a_deleted_trigger_shows_no_head(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000)

    await world.call("remove", app=APP, name="t")

    dump = await world.dump()
    assert not [name for name in dump if name.startswith(("due", "agenda", "trigger"))]


async def test_a_plan_without_slots_changes_only_what_it_says(world: World) -> None:
    await world.define(over=0)

    assert (await world.call("plan", [(UID, 1, T0, "", T0, 2**50, 1, 0, 0, 0)]))[1:] == ["ok"]

    dump = await world.dump()
    assert dump[f"trigger:{UID}"]["over"] == "1"
    assert f"due:{APP}" not in dump


async def test_a_plan_for_another_revision_or_a_trigger_that_stopped_is_stale(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    item = (UID, 2, T0 + 1_000, f"{T0 + 2_000}", T0 + 2_000, 2**50, 1, 0, 0, 0)
    assert (await world.call("plan", [item]))[1:] == ["stale"]

    await world.define(T0 + 1_000, over=0, active=0)

    assert (await world.call("plan", [item]))[1:] == ["stale"]


async def test_a_plan_takes_its_trigger_out_of_unplanned_also_when_it_is_gone(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    world.pass_ms(1_000)
    await world.fire()
    item = (UID, 1, T0 + 1_000, f"{T0 + 2_000}", T0 + 2_000, 2**50, 1, 0, 0, 0)
    await world.partition.client.zadd(world.partition.prefix + "unplanned", {"nobody7": 1})

    assert (await world.call("plan", [item, ("nobody7", *item[1:])]))[1:] == ["ok", "gone"]

    assert "unplanned" not in await world.dump()


async def test_a_plan_keeps_the_ledger_within_its_bounds(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    await world.partition.client.zadd(world.partition.prefix + f"ledger:{UID}", {"fired 1 0": 1})

    await world.call("plan", [(UID, 1, T0 + 1_000, f"{T0 + 2_000}", T0 + 2_000, 2**50, 1, 0, 0, 0)])

    assert await world.ledger() == []


async def test_what_is_handed_to_the_planner_by_an_edit_shows_no_head(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    world.pass_ms(2_000)

    assert (await world.define(T0 + 9_000, over=0))[0] == "overtaken"

    assert "due_heads" not in await world.dump()


async def test_only_what_was_forgotten_is_counted(world: World) -> None:
    await world.define(T0 + 1_000)

    await world.define(T0 + 2_000)

    assert "trimmed" not in (await world.dump())[f"trigger:{UID}"]


async def test_a_uid_that_another_trigger_has_is_taken_and_changes_nothing(world: World) -> None:
    await world.define(T0 + 1_000)
    before = await world.dump()

    assert await world.define(T0 + 2_000, name="other") == ["taken", "", 0]

    assert await world.dump() == before


async def test_a_uid_is_taken_as_long_as_the_ledger_of_its_trigger_is_kept(world: World) -> None:
    await world.define(T0 + 1_000)
    world.pass_ms(1_000)
    await world.fire()
    await world.call("remove", app=APP, name="t")

    assert await world.define(T0 + 9_000, name="other") == ["taken", "", 0]


async def test_a_uid_is_taken_as_long_as_it_is_known_whose_trigger_it_was(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.call("remove", app=APP, name="t")
    assert (await world.dump())[f"removed:{UID}"] == {
        "app": APP,
        "name": "t",
        "at": str(T0),
        "card": f"{UID}\x1factive\x1fsend\x1f\x1f",
    }
    assert 0 < await world.partition.client.pttl(world.partition.prefix + f"removed:{UID}") <= 30 * 86_400_000

    assert await world.define(T0 + 9_000, name="other") == ["taken", "", 0]


async def test_a_slot_in_the_past_fires_and_the_rule_holds_from_before_it(world: World) -> None:
    await world.define(T0 - 600_000)

    await world.fire()

    assert await world.ledger() == [f"fired {T0 - 600_000} 600000"]
    assert (await world.dump())[f"trigger:{UID}"]["changed"] == str(T0 - 600_001)


async def test_a_slot_in_the_past_that_was_decided_is_not_made_up_for(world: World) -> None:
    await world.define(T0 + 1_000)
    world.pass_ms(1_000)
    await world.fire()
    world.pass_ms(1_000)

    await world.define(T0 + 500)
    dump = await world.dump()
    assert f"due:{APP}" not in dump
    assert dump[f"trigger:{UID}"]["changed"] == str(world.now)

    await world.define(T0 + 1_500)
    assert (await world.dump())[f"due:{APP}"] == {UID: T0 + 1_500}


async def test_the_names_of_an_app_are_listed_in_order_as_long_as_they_are_taken(world: World) -> None:
    await world.define(T0 + 1_000, name="b")
    await world.define(T0 + 1_000, name="a", uid="bcdefgh")
    await world.define(T0 + 2_000, name="a", uid="cdefghi")
    assert (await world.dump())[f"trigger_names:{APP}"] == {"a": 0, "b": 0}

    await world.call("remove", app=APP, name="a")

    assert (await world.dump())[f"trigger_names:{APP}"] == {"b": 0}


async def test_removed_triggers_are_listed_for_30_days_the_newest_10000(world: World) -> None:
    key = world.partition.prefix + f"removals:{APP}"
    await world.partition.client.zadd(key, {f"old{number}": T0 - 40 * DAY for number in range(3)})
    await world.partition.client.zadd(key, {f"new{number}": T0 - 1_000 + number // 100 for number in range(10_000)})
    await world.define(T0 + 1_000)

    await world.call("remove", app=APP, name="t")

    removals = (await world.dump())[f"removals:{APP}"]
    assert (len(removals), removals[UID], "new0" in removals) == (10_000, T0, False)
    assert not [uid for uid in removals if uid.startswith("old")]
    assert await world.partition.client.pttl(key) > 29 * DAY


async def test_a_trigger_that_is_only_run_by_hand_is_active_without_a_slot(world: World) -> None:
    await world.define(rule="manual", over=1)

    assert (await world.dump())[f"trigger:{UID}"]["state"] == "active"
