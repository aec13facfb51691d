"""lua/define.lua, remove.lua, plan.lua, fire.lua: slots become tasks, once."""

from typing import Any

import pytest

from gojob_redis.domain.ids import base36
from gojob_redis.domain.score import score_at
from gojob_redis.engine.scripts import NoEpoch
from tests.lua.world import APP, HANDLER, T0, World, lanes_hold

UID = "abcdefg"


def task_at(slot: int) -> str:
    return f"00f{UID}{base36(slot)}"


async def test_a_due_slot_becomes_one_task_with_an_id_made_of_trigger_and_slot(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, param=b"p")
    assert (await world.fire())[:4] == ["ok", 0, 0, T0 + 1_000]

    world.pass_ms(1_003)
    word, fired, skipped, next_due, _wall, _steady, lateness, low, _micros = await world.fire()

    assert (word, fired, skipped, next_due, lateness, low) == ("ok", 1, 0, T0 + 2_000, [3], [])
    task = await world.task(task_at(T0 + 1_000))
    assert (task["state"], task["param"], task["trigger"]) == ("created", "p", "t")
    assert await world.ledger() == [f"fired {T0 + 1_000} 3"]


async def test_firing_again_makes_nothing_new(world: World) -> None:
    await world.define(T0 + 1_000)
    world.pass_ms(1_000)
    await world.fire()
    before = await world.dump()

    assert (await world.fire())[1] == 0
    assert await world.dump() == before


async def test_a_slot_below_the_watermark_is_never_fired_again(world: World) -> None:
    """The guard of I2: the index says due, the watermark says it was."""
    await world.define(T0 + 1_000, T0 + 5_000)
    world.pass_ms(1_000)
    await world.fire()
    await world.partition.client.zadd(world.partition.prefix + f"due:{APP}", {UID: T0 + 1_000})
    await world.partition.client.zadd(world.partition.prefix + "due_heads", {APP: T0 + 1_000})

    assert (await world.fire())[1] == 0
    assert await world.ledger() == [f"fired {T0 + 1_000} 0"]


async def test_a_fired_task_is_bound_in_the_same_call(world: World) -> None:
    await world.enlist()
    await world.define(T0 + 1_000)
    world.pass_ms(1_000)

    await world.fire()

    assert [run.run for run in await world.dispatches()] == [task_at(T0 + 1_000)]


async def test_overlap_skip_skips_while_a_task_lives_and_says_so(world: World) -> None:
    await world.enlist()
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 3_000, overlap="skip")
    world.pass_ms(1_000)
    await world.fire()
    world.pass_ms(1_000)
    assert (await world.fire())[1:3] == [0, 1]
    [run] = await world.dispatches()
    await world.report(run)
    world.pass_ms(1_000)

    assert (await world.fire())[1:3] == [1, 0]
    assert await world.ledger() == [f"fired {T0 + 1_000} 0", f"skipped {T0 + 2_000} overlap", f"fired {T0 + 3_000} 0"]


async def test_a_run_that_waits_for_its_retry_is_live(world: World) -> None:
    await world.enlist()
    await world.define(T0 + 1_000, T0 + 2_000, overlap="skip", retries=3, retry_interval=60_000)
    world.pass_ms(1_000)
    await world.fire()
    [run] = await world.dispatches()
    await world.report(run, outcome="error")
    world.pass_ms(1_000)

    assert (await world.fire())[1:3] == [0, 1]


async def test_overlap_allow_fires_beside_what_runs(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, overlap="allow")
    world.pass_ms(2_000)

    assert (await world.fire())[1] + (await world.fire())[1] == 2


async def test_a_misfired_trigger_fires_the_newest_slot_and_one_range_entry_holds_the_others(world: World) -> None:
    slots = [T0 + 1_000 * n for n in range(1, 11)]
    await world.define(*slots, T0 + 600_000)
    world.pass_ms(100_000)

    assert (await world.fire())[1] == 1

    assert await world.ledger() == [f"coalesced {slots[8]} {slots[0]} 9 misfire", f"fired {slots[9]} 90000"]
    assert (await world.dump())[f"due:{APP}"] == {UID: T0 + 600_000}


async def test_a_misfired_agenda_that_ends_before_now_is_handed_to_the_planner(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, over=0)
    world.pass_ms(100_000)

    assert (await world.fire())[1] == 0

    dump = await world.dump()
    assert dump["unplanned"] == {UID: T0 + 100_000}
    assert dump[f"trigger:{UID}"]["planned"] == str(T0)
    assert f"due:{APP}" not in dump


async def test_a_plan_continues_only_what_it_was_made_for(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    stale = (UID, 1, T0 + 5, f"{T0 + 9_000}", T0 + 9_000, 2**50, 1, 0, 0, 0)
    good = (UID, 1, T0 + 1_000, f"{T0 + 2_000},{T0 + 3_000}", T0 + 3_000, 2**50, 1, 0, 0, 0)

    assert (await world.call("plan", [stale]))[1:] == ["stale"]
    assert (await world.call("plan", [good]))[1:] == ["ok"]
    assert (await world.call("plan", [good]))[1:] == ["stale"]
    assert (await world.call("plan", [("unknown", *good[1:])]))[1:] == ["gone"]

    assert (await world.dump())[f"agenda:{UID}"] == [str(T0 + 2_000), str(T0 + 3_000)]


async def test_a_planned_gap_is_one_range_entry_and_its_newest_slot_fires(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    world.pass_ms(300_000)
    await world.fire()
    gap = (T0 + 1_000, T0 + 298_000, 298)
    item = (UID, 1, T0, f"{T0 + 299_000},{T0 + 400_000}", T0 + 400_000, 2**50, 1, *gap)

    assert (await world.call("plan", [item]))[1:] == ["ok"]
    assert (await world.dump())[f"trigger:{UID}"]["last_slot"] == str(T0 + 298_000)
    assert (await world.fire())[1] == 1

    assert await world.ledger() == [f"coalesced {T0 + 298_000} {T0 + 1_000} 298 misfire", f"fired {T0 + 299_000} 1000"]


async def test_a_low_agenda_is_offered_and_an_empty_one_stands_in_unplanned(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, low_at=T0 + 1_000, over=0)
    world.pass_ms(1_000)
    assert (await world.fire())[7] == [UID.encode()]
    world.pass_ms(1_000)
    await world.fire()

    assert (await world.dump())["unplanned"] == {UID: T0 + 2_000}


async def test_an_edit_takes_effect_at_once_and_keeps_the_identity(world: World) -> None:
    await world.define(T0 + 60_000)

    assert await world.define(T0 + 1_000, uid="zzzzzzz") == ["ok", UID, 2]

    dump = await world.dump()
    assert dump[f"due:{APP}"] == {UID: T0 + 1_000}
    assert dump["due_heads"] == {APP: T0 + 1_000}


async def test_an_edit_to_a_near_time_wakes_the_replicas(world: World) -> None:
    await world.define(T0 + 60_000)
    assert "wake" not in await world.dump()

    await world.define(T0 + 100)

    assert (await world.dump())["wake"] == [{"what": "due"}]


async def test_the_same_change_twice_is_one_change(world: World) -> None:
    assert await world.define(T0 + 1_000, change="same") == ["ok", UID, 1]
    before = await world.dump()

    assert await world.define(T0 + 1_000, change="same", uid="other77") == ["ok", UID, 1]
    assert await world.dump() == before


@pytest.mark.parametrize(("revision", "word"), [(0, "exists"), (7, "conflict")])
async def test_a_change_made_for_another_revision_is_refused_whole(world: World, revision: int, word: str) -> None:
    await world.define(T0 + 1_000)
    before = await world.dump()

    assert await world.define(T0 + 9_000, revision=revision) == [word, UID, 1]
    assert await world.dump() == before


async def test_slots_overtaken_by_an_edit_are_in_the_ledger(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 9_000)
    world.pass_ms(2_500)

    await world.define(T0 + 20_000)

    assert await world.ledger() == [f"skipped {T0 + 1_000} edited", f"skipped {T0 + 2_000} edited"]


async def test_a_disabled_trigger_has_no_slot_and_a_deleted_one_only_its_ledger(world: World) -> None:
    await world.define(T0 + 1_000)
    world.pass_ms(1_000)
    await world.fire()
    await world.define(active=0)
    assert f"due:{APP}" not in await world.dump()

    assert await world.call("remove", app=APP, name="t") == ["ok", UID]
    assert await world.call("remove", app=APP, name="t") == ["gone", ""]

    dump = await world.dump()
    assert not [name for name in dump if UID in name and not name.startswith(("ledger", "task", "removed"))]
    assert 0 < await world.partition.client.pttl(world.partition.prefix + f"ledger:{UID}") <= 30 * 86_400_000


async def test_one_app_with_a_storm_does_not_push_another_back(world: World) -> None:
    for number in range(30):
        await world.define(T0 + 1_000, name=f"t{number}", uid=f"storm{number:02d}")
    await world.define(T0 + 1_500, name="calm", uid="calm000", app="default/calm", handler="default/calm/h")
    world.pass_ms(2_000)

    await world.fire(limit=10)

    assert await world.ledger("calm000") == [f"fired {T0 + 1_500} 500"]


async def test_a_call_is_bounded_and_answers_more(world: World) -> None:
    for number in range(25):
        await world.define(T0 + 1_000, name=f"t{number}", uid=f"storm{number:02d}")
    world.pass_ms(1_000)

    words = [(reply[0], reply[1]) for reply in [await world.fire(limit=10) for _ in range(3)]]

    assert words == [("more", 10), ("more", 10), ("ok", 5)]


async def test_a_large_parameter_is_copied_so_that_an_edit_changes_no_fired_task(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, param=b"x" * 100)
    world.pass_ms(1_000)
    await world.fire()
    await world.define(T0 + 5_000, param=b"y")

    dump = await world.dump()
    assert dump[f"param:{task_at(T0 + 1_000)}"] == "x" * 100
    assert f"trigger_param:{UID}" not in dump


async def test_a_manual_run_is_in_the_ledger_and_counts_as_live(world: World) -> None:
    await world.define(T0 + 1_000, overlap="skip")

    await world.submit("by-hand", uid=UID, trigger="t")
    world.pass_ms(1_000)
    await world.fire()

    assert await world.ledger() == ["manual by-hand", f"skipped {T0 + 1_000} overlap"]


async def test_a_due_entry_without_its_trigger_is_dropped_and_leaves_an_event(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.partition.client.delete(world.partition.prefix + f"trigger:{UID}")
    world.pass_ms(1_000)

    await world.fire()

    assert f"due:{APP}" not in await world.dump()
    assert await world.events() == ["orphan_due"]


async def test_an_emptied_partition_answers_no_epoch(world: World) -> None:
    await world.partition.client.delete(world.partition.prefix + "meta")

    with pytest.raises(NoEpoch):
        await world.fire()


async def test_a_sharded_trigger_fires_sharded_tasks(world: World) -> None:
    await world.enlist(capacity=4)
    await world.define(T0 + 1_000, shards=3, shard_params=b"1:a,1:b,1:c,")
    world.pass_ms(1_000)

    await world.fire()

    assert len(await world.dispatches()) == 3
    assert (await world.dump())[f"shard_params:{task_at(T0 + 1_000)}"] == {"0": "a", "1": "b", "2": "c"}


async def test_an_edit_while_the_clock_is_set_back_lowers_no_watermark(world: World) -> None:
    """Else the slot that was fired before the step would be fired again, over the record of its task."""
    await world.define(T0 + 60_000)
    world.pass_ms(60_000)
    await world.fire()
    world.pass_ms(-60_000)
    await world.define(T0 + 10_000, T0 + 60_000)
    world.pass_ms(20_000)

    await world.define(T0 + 60_000)
    world.pass_ms(40_000)

    assert (await world.fire())[1] == 0
    assert await world.ledger() == [f"fired {T0 + 60_000} 0"]


async def test_a_range_of_missed_slots_begins_above_the_watermark(world: World) -> None:
    await world.define(T0 + 30_000)
    world.pass_ms(30_000)
    await world.fire()
    world.pass_ms(-30_000)
    await world.define(*(T0 + 10_000 * n for n in range(1, 7)))
    world.pass_ms(120_000)

    assert (await world.fire())[1] == 1

    coalesced = f"coalesced {T0 + 50_000} {T0 + 40_000} 2 misfire"
    assert await world.ledger() == [f"fired {T0 + 30_000} 0", coalesced, f"fired {T0 + 60_000} 60000"]


async def test_a_planned_gap_lowers_no_watermark(world: World) -> None:
    await world.define(T0 + 60_000, over=0)
    world.pass_ms(60_000)
    await world.fire()
    gap = (T0 + 10_000, T0 + 50_000, 5)
    item = (UID, 1, T0 + 60_000, f"{T0 + 70_000}", T0 + 70_000, 2**50, 1, *gap)

    assert (await world.call("plan", [item]))[1:] == ["ok"]

    assert (await world.dump())[f"trigger:{UID}"]["last_slot"] == str(T0 + 60_000)
    assert await world.ledger() == [f"fired {T0 + 60_000} 0"]


async def test_a_manual_run_of_a_deleted_trigger_begins_no_ledger(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.call("remove", app=APP, name="t")

    assert await world.submit("by-hand", uid=UID, trigger="t") == ["ok"]

    assert f"ledger:{UID}" not in await world.dump()


async def test_a_gap_is_not_planned_past_slots_that_were_not_handled_yet(world: World) -> None:
    """A replica that stood still planned from what it had read before: its gap would lift the watermark over them."""
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 3_000, over=0)
    world.pass_ms(300_000)
    gap = (T0 + 4_000, T0 + 298_000, 295)
    item = (UID, 1, T0 + 3_000, f"{T0 + 299_000}", T0 + 299_000, 2**50, 0, *gap)

    assert (await world.call("plan", [item]))[1:] == ["stale"]

    dump = await world.dump()
    assert dump["unplanned"] == {UID: T0 + 300_000}
    assert dump[f"trigger:{UID}"]["planned"] == str(T0)
    assert f"ledger:{UID}" not in dump
    assert f"due:{APP}" not in dump


async def test_a_rule_whose_slots_were_never_planned_is_not_replaced_before_they_are(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, over=0)
    world.pass_ms(2_000)

    assert await world.define(T0 + 9_000, over=0) == ["overtaken", UID, 1]

    dump = await world.dump()
    assert dump["unplanned"] == {UID: T0 + 2_000}
    assert dump[f"trigger:{UID}"]["planned"] == str(T0)
    item = (UID, 1, T0, f"{T0 + 2_000},{T0 + 3_000}", T0 + 3_000, 2**50, 0, T0 + 1_000, T0 + 1_000, 1)
    assert (await world.call("plan", [item]))[1:] == ["ok"]
    assert await world.define(T0 + 9_000, over=0) == ["ok", UID, 2]
    assert await world.ledger() == [f"coalesced {T0 + 1_000} {T0 + 1_000} 1 misfire", f"skipped {T0 + 2_000} edited"]


@pytest.mark.parametrize("options", [{"active": 0, "over": 0}, {"over": 1}])
async def test_a_rule_that_has_no_unplanned_slot_is_replaced_at_once(world: World, options: Any) -> None:
    await world.define(T0 + 1_000, **options)
    world.pass_ms(2_000)

    assert await world.define(T0 + 9_000) == ["ok", UID, 2]


async def forged_due(world: World, member: str, at: int) -> None:
    """An entry of the due index that should not be there."""
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(prefix + f"due:{APP}", {member: at})
    await client.zadd(prefix + "due_heads", {APP: at})


async def test_a_fired_task_carries_the_policies_of_its_trigger(world: World) -> None:
    await world.define(
        T0 + 1_000, shards=3, shard_params=b"1:a,1:b,1:c,", retries=2, retry_interval=3_000, run_limit=4_000,
        queue_limit=5_000, on_lost="fault", param=b"x" * 65, priority=7,
    )  # fmt: skip
    world.pass_ms(1_000)

    await world.fire()

    dump = await world.dump()
    task = task_at(T0 + 1_000)
    assert dump[f"task:{task}"] == {
        "state": "created", "place": "lane", "lane": "1", "made": str(T0 + 1_000), "trigger": "t", "param_size": "65",
        "shard_params": "1", "shards": "3", "retries": "2", "retry_interval": "3000", "run_limit": "4000",
        "on_lost": "fault", "queue_limit": "5000", "expires": str(T0 + 6_000), "priority": "7",
    }  # fmt: skip
    assert dump[f"deadlineq:{HANDLER}"] == {task: T0 + 6_000}
    assert dump["activeq:1"] == {task: score_at(T0 + 1_000, 7)}


@pytest.mark.parametrize(("shards", "said"), [(1, {}), (3, {"shards": "3"})])
async def test_a_plain_fired_task_carries_nothing_it_does_not_need(
    world: World, shards: int, said: dict[str, str]
) -> None:
    await world.define(T0 + 1_000, shards=shards)
    world.pass_ms(1_000)

    await world.fire()

    dump = await world.dump()
    task = {"state": "created", "place": "lane", "lane": "1", "made": str(T0 + 1_000), "trigger": "t", **said}
    assert dump[f"task:{task_at(T0 + 1_000)}"] == task
    assert f"deadlineq:{HANDLER}" not in dump
    assert "unplanned" not in dump


async def test_a_trigger_that_lacks_a_policy_fires_with_the_default(world: World) -> None:
    await world.define(T0 + 1_000)
    key = world.partition.prefix + f"trigger:{UID}"
    await world.partition.client.hdel(key, "shard_params")
    await world.partition.client.hset(key, "policies", "")
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1

    dump = await world.dump()
    assert "retries" not in dump[f"task:{task_at(T0 + 1_000)}"]
    assert dump["activeq:1"] == {task_at(T0 + 1_000): score_at(T0 + 1_000)}


async def test_a_task_that_was_retired_lives_no_more(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, overlap="skip")
    world.pass_ms(1_000)
    await world.fire()
    await world.cancel(task_at(T0 + 1_000))
    await world.partition.client.delete(world.partition.prefix + f"task:{task_at(T0 + 1_000)}")
    await world.partition.client.delete(world.partition.prefix + f"failed:{APP}")
    world.pass_ms(1_000)

    assert (await world.fire())[1:3] == [1, 0]


async def test_a_slot_without_a_lane_is_skipped_and_the_watermark_follows(world: World) -> None:
    for first in range(0, 256, 64):
        items = [world.submission(f"t{n}", labels=f"n={n}") for n in range(first, first + 64)]
        await world.call("submit", items)
    await world.define(T0 + 1_000, T0 + 2_000, labels="n=256")
    world.pass_ms(1_000)

    assert (await world.fire())[1:3] == [0, 1]

    assert await world.ledger() == [f"skipped {T0 + 1_000} lanes_full"]
    assert (await world.dump())[f"trigger:{UID}"]["last_slot"] == str(T0 + 1_000)


async def test_a_slot_whose_lane_is_full_is_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes_hold(2, monkeypatch)
    await world.submit("t1")
    await world.define(T0 + 1_000, uid="aaaaaaa", name="a")
    await world.define(T0 + 1_000, uid="bbbbbbb", name="b")
    world.pass_ms(1_000)

    assert (await world.fire())[1:3] == [1, 1]

    assert await world.ledger("bbbbbbb") == [f"skipped {T0 + 1_000} queue_full"]


async def test_a_misfired_slot_whose_agenda_reaches_beyond_now_is_fired_though_the_rule_goes_on(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 600_000, over=0)
    world.pass_ms(100_000)

    assert (await world.fire())[1] == 1

    assert await world.ledger() == [f"fired {T0 + 1_000} 99000"]


async def test_the_last_slot_of_a_rule_that_is_over_is_fired_however_late(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, over=1)
    world.pass_ms(100_000)

    assert (await world.fire())[1] == 1

    assert await world.ledger() == [f"coalesced {T0 + 1_000} {T0 + 1_000} 1 misfire", f"fired {T0 + 2_000} 98000"]
    assert "unplanned" not in await world.dump()


async def test_an_agenda_is_offered_only_when_it_is_low_and_the_rule_goes_on(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 3_000, T0 + 4_000, low_at=T0 + 2_000, over=0)
    world.pass_ms(1_000)
    assert (await world.fire())[7] == []
    world.pass_ms(1_000)
    assert (await world.fire())[7] == [UID.encode()]

    await world.define(T0 + 3_000, T0 + 4_000, low_at=T0 + 3_000, over=1)
    world.pass_ms(1_000)

    assert (await world.fire())[7] == []


async def test_a_due_entry_of_a_trigger_that_stopped_fires_nothing(world: World) -> None:
    await world.define(T0 + 1_000, active=0)
    await forged_due(world, UID, T0)

    assert (await world.fire())[1] == 0

    assert f"due:{APP}" not in await world.dump()
    assert await world.events() == ["orphan_due"]


async def test_a_due_entry_of_a_trigger_nobody_can_read_is_dropped(world: World) -> None:
    await world.partition.client.set(world.partition.prefix + f"trigger:{UID}", "garbage")
    await forged_due(world, UID, T0)

    assert (await world.fire())[1] == 0

    assert sorted(await world.events()) == ["corrupt", "orphan_due"]
    assert f"trigger:{UID}" not in await world.dump()


@pytest.mark.parametrize(
    ("field", "spoiled"),
    [
        ("name", b"\x00\xff"),
        ("name", None),
        ("handler", b"nan"),
        ("handler", b"default/shop/\x00\xff"),
        ("labels", b"nan"),
        ("labels", b"env=?"),
        ("labels", None),
        ("attribute", b"-1"),
        ("attribute", None),
        ("policies", None),
        ("policies", b"nan"),
        ("policies", b"priority=nan"),
        ("policies", b"priority=10"),
        ("policies", b"retries="),
        ("policies", b"on_lost=?"),
        ("policies", b"Retries=3"),
    ],
)
async def test_a_trigger_whose_words_nobody_could_have_written_fires_no_more(
    world: World, field: str, spoiled: bytes | None
) -> None:
    await world.define(T0 + 1_000, T0 + 2_000)
    client, name = world.partition.client, f"{world.partition.prefix}trigger:{UID}"
    await client.hdel(name, "facts", field)
    if spoiled is not None:
        await client.hset(name, field, spoiled)
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 0

    record = (await world.dump())[f"trigger:{UID}"]
    assert (record["active"], "facts" in record) == ("corrupt", False)
    assert await world.events() == ["corrupt", "orphan_due"]


async def test_a_policy_of_a_later_release_is_carried_along_and_changes_nothing(world: World) -> None:
    await world.define(T0 + 1_000, policies="retries=3 overlap=allow flow=fair:3,x priority=9")
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1

    task = await world.task(task_at(T0 + 1_000))
    assert (task["retries"], task["flow"]) == ("3", "fair:3,x")
    assert "overlap" not in task
    assert (await world.dump())["activeq:1"] == {task_at(T0 + 1_000): score_at(T0 + 1_000, 9)}


@pytest.mark.parametrize("word", ["overlap=replace_it", "on_lost=defer", "misfire=all"])
async def test_a_trigger_with_a_word_of_a_later_release_is_left_alone(world: World, word: str) -> None:
    await world.define(T0 + 1_000, policies=word)
    before = await world.dump()
    world.pass_ms(1_000)

    assert (await world.fire())[:2] == ["ok", 0]

    after = await world.dump()
    assert {name: after[name] for name in before if name not in ("meta", "due_heads")} == {
        name: value for name, value in before.items() if name not in ("meta", "due_heads")
    }
    assert await world.events() == ["unknown_word"]


async def test_a_policy_takes_the_place_of_nothing_that_a_record_says_itself(world: World) -> None:
    await world.define(T0 + 1_000, policies="state=running lane=9 shards=nan attempt=nan score=nan")
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1

    assert await world.task(task_at(T0 + 1_000)) == {
        "state": "created", "place": "lane", "lane": "1", "made": str(T0 + 1_000), "trigger": "t",
    }  # fmt: skip


@pytest.mark.parametrize("facts", [None, b"", b"nan", b"\x00\xff"])
async def test_facts_that_are_gone_or_nonsense_are_made_anew_from_the_fields(world: World, facts: bytes | None) -> None:
    await world.define(T0 + 1_000)
    client, name = world.partition.client, f"{world.partition.prefix}trigger:{UID}"
    before = await client.hget(name, "facts")
    await client.hdel(name, "facts")
    if facts is not None:
        await client.hset(name, "facts", facts)
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1

    assert await client.hget(name, "facts") == before


@pytest.mark.parametrize("field", ["last_slot", "low_at", "over"])
async def test_a_number_that_is_nothing_stops_no_other_trigger(world: World, field: str) -> None:
    await world.define(T0 + 1_000, T0 + 2_000)
    await world.define(T0 + 1_000, name="other", uid="ghijklm")
    await world.partition.client.hset(f"{world.partition.prefix}trigger:{UID}", field, "")
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 2


async def test_a_definition_by_a_release_that_knows_no_facts_is_what_fires(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.partition.client.hset(
        f"{world.partition.prefix}trigger:{UID}", mapping={"revision": 2, "handler": HANDLER + "2"}
    )
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1

    assert (await world.dump())["lane:1"]["handler"] == HANDLER + "2"


async def test_a_trigger_fires_as_it_was_defined_whatever_became_of_its_fields(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.partition.client.hset(f"{world.partition.prefix}trigger:{UID}", "handler", b"\x00\xff")
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1

    assert (await world.dump())["lane:1"]["handler"] == HANDLER


async def test_a_due_entry_of_a_task_that_is_nowhere_is_dropped(world: World) -> None:
    await forged_due(world, "task-nobody", T0)

    await world.fire()

    assert f"due:{APP}" not in await world.dump()
    assert await world.events() == ["orphan_due"]


async def test_a_due_entry_of_a_task_that_stands_elsewhere_is_dropped(world: World) -> None:
    await world.submit("task-one")
    await world.cancel("task-one")
    await forged_due(world, "task-one", T0)

    await world.fire()

    dump = await world.dump()
    assert (dump["task:task-one"]["state"], "activeq:1" in dump) == ("canceled", False)


async def test_a_delayed_task_nobody_can_read_is_faulted_at_its_time(world: World) -> None:
    await world.submit("task-one", at=T0 + 1_000)
    await world.partition.client.delete(world.partition.prefix + "task:task-one")
    await world.partition.client.set(world.partition.prefix + "task:task-one", "garbage")
    world.pass_ms(1_000)

    await world.fire()

    assert (await world.task("task-one"))["reason"] == "corrupt"


async def test_the_queue_limit_of_a_delayed_task_begins_at_its_time(world: World) -> None:
    await world.submit("task-one", at=T0 + 1_000, queue_limit=3_000)
    await world.submit("task-two", at=T0 + 1_000)
    assert f"deadlineq:{HANDLER}" not in await world.dump()
    await world.pass_steadily(1_000)

    await world.fire()

    assert (await world.dump())[f"deadlineq:{HANDLER}"] == {"task-one": T0 + 4_000}


async def test_a_head_that_moves_away_wakes_nobody(world: World) -> None:
    await world.define(T0 + 100, T0 + 200)
    assert len((await world.dump())["wake"]) == 1
    world.pass_ms(100)

    await world.fire()

    assert len((await world.dump())["wake"]) == 1


async def test_a_call_with_more_apps_than_room_stops_at_its_room(world: World) -> None:
    for number in range(3):
        app = f"default/app{number}"
        await world.define(T0 + 1_000, uid=f"app000{number}", app=app, handler=f"{app}/h")
    world.pass_ms(1_000)

    assert [(await world.fire(limit=2))[:2] for _ in range(2)] == [["more", 2], ["ok", 1]]


async def test_a_first_slot_that_came_while_it_was_planned_is_not_left_out_of_an_outage(world: World) -> None:
    """The gateway computes slots, then calls; a slot between the two is the trigger's first all the same."""
    await world.define(T0, T0 + 1_000, over=0)
    world.pass_ms(300_000)

    await world.fire()

    dump = await world.dump()
    assert dump["unplanned"] == {UID: T0 + 300_000}
    assert dump[f"trigger:{UID}"]["planned"] == str(T0 - 1)


async def test_a_call_that_took_long_leaves_the_rest_to_the_next(world: World) -> None:
    for number in range(12):
        await world.define(T0 + 1_000, name=f"t{number}", uid=f"uid00{number:02d}")
    world.pass_ms(1_000)

    replies = [(await world.call("fire", limit=50, cpu_us=0))[:2] for _ in range(4)]

    if await has_clock(world):
        assert replies == [["more", 5], ["more", 5], ["ok", 2], ["ok", 0]]
    else:
        assert replies == [["ok", 12], ["ok", 0], ["ok", 0], ["ok", 0]]


async def test_a_call_that_took_long_goes_on_to_no_other_app(world: World) -> None:
    for app in ("default/a", "default/b"):
        for number in range(5):
            await world.define(
                T0 + 1_000, name=f"t{number}", uid=f"{app[-1]}pp000{number}", app=app, handler=f"{app}/h"
            )
    world.pass_ms(1_000)

    replies = [(await world.call("fire", limit=50, cpu_us=0))[:2] for _ in range(2)]

    assert replies == ([["more", 5], ["ok", 5]] if await has_clock(world) else [["ok", 10], ["ok", 0]])


async def has_clock(world: World) -> bool:
    """Whether scripts of this engine can tell how long they have worked."""
    client: Any = world.partition.client
    return bool(
        await client.eval("return pcall(function() return os.clock() end) and 1 or 0", 1, world.partition.prefix)
    )
