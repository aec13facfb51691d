"""lua/bulk_pause.lua, bulk_run.lua, bulk_remove.lua and bulk_list.lua: jobs on triggers."""

from typing import Any

import pytest

from gojob_redis.domain import limits
from tests.lua.world import APP, HANDLER, T0, World, lanes_hold

JOB = "j0abcdefg123456789"
FAR = T0 + 3_600_000


async def work(world: World, verb: str, *units: str, walks: int = 1, **changes: Any) -> tuple[str, int]:
    """One call: the state of the job, and how many ms it waits."""
    given = {
        "job": JOB, "scope": "default/", "walks": walks, "conditions": "", "as_of": T0 + 10_000, "first": 0, "last": 1,
    } | changes  # fmt: skip
    _word, state, _unit, waits, _looked = await world.call(verb, [(unit,) for unit in units or (APP,)], **given)
    return state, waits


async def pause(world: World, *units: str, **changes: Any) -> tuple[str, int]:
    return await work(world, "bulk_pause", *units, **{"paused": 1, **changes})


async def names(world: World, **changes: Any) -> list[str]:
    """The triggers that a job would be for."""
    given: dict[str, Any] = {
        "scope": "default/", "walks": 1, "conditions": "", "as_of": T0, "first": 0, "last": 0, "place": "",
    } | changes  # fmt: skip
    units = given.pop("units", (APP,))
    _word, _place, triggers = await world.call("bulk_list", [(unit,) for unit in units], **given)
    return [trigger.decode() for trigger in triggers]


async def several(world: World, *triggers: str, **options: Any) -> None:
    for number, name in enumerate(triggers):
        await world.define(FAR, name=name, uid=f"uid{number:04}", **{"rule": "cron", "over": 0, **options})


async def trigger(world: World, number: int = 0) -> dict[str, str]:
    found: dict[str, str] = (await world.dump())[f"trigger:uid{number:04}"]
    return found


async def progress(world: World, job: str = JOB) -> dict[str, str]:
    found: dict[str, str] = (await world.dump())[f"job:{job}"]
    return {name: value for name, value in found.items() if name not in ("at", "place")}


async def test_paused_triggers_fire_no_more_and_their_cards_say_so(world: World) -> None:
    await several(world, "a", "b")

    assert await pause(world) == ("done", 0)

    dump = await world.dump()
    assert (f"due:{APP}" in dump, "due_heads" in dump) == (False, False)
    assert [(await trigger(world, number))["active"] for number in (0, 1)] == ["0", "0"]
    assert dump[f"triggers:{APP}"]["a"].split("\x1f")[:2] == ["uid0000", "paused"]
    assert (await trigger(world))["revision"] == "2"
    assert (await trigger(world))["facts"].startswith("2\x1f")
    assert await progress(world) == {"state": "done", "next": "1", "matched": "2", "done": "2"}


async def test_what_came_due_before_the_pause_is_told_as_skipped(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 3_000, FAR, name="a", uid="uid0000", over=0)
    world.pass_ms(1_500)

    await pause(world)

    assert await world.ledger("uid0000") == [f"skipped {T0 + 1_000} edited"]
    assert (await trigger(world))["last_slot"] == str(T0 + 1_000)
    [entry] = (await world.dump())["tally"]
    assert entry["t"].endswith(f"\x1fkedited uid0000 {T0 + 1_000}")


async def test_a_trigger_whose_slots_are_not_planned_waits_for_the_planner(world: World) -> None:
    await world.define(T0 + 1_000, name="a", uid="uid0000", over=0)
    world.pass_ms(5_000)

    assert await pause(world) == ("running", 500)
    assert "uid0000" in (await world.dump())["unplanned"]
    assert "done" not in await progress(world)
    plan = ("uid0000", 1, T0 + 1_000, str(FAR), FAR, FAR, 0, 0, 0, 0)
    assert (await world.call("plan", [plan]))[1] in ("ok", "stale")
    found = await trigger(world)
    if found["planned"] != str(FAR):
        await world.call("plan", [("uid0000", 1, int(found["planned"]), str(FAR), FAR, FAR, 0, 0, 0, 0)])

    assert await pause(world) == ("done", 0)
    assert (await trigger(world))["state"] == "paused"


async def test_what_goes_on_is_planned_anew_from_now_on(world: World) -> None:
    await several(world, "a")
    await pause(world)
    world.pass_ms(60_000)

    assert await pause(world, paused=0, job="jresume", as_of=T0 + 90_000) == ("done", 0)

    found = await trigger(world)
    assert (found["active"], found["state"], found["paused"]) == ("1", "active", "0")
    assert (found["planned"], found["changed"]) == (str(world.now), str(world.now))
    assert (await world.dump())["unplanned"] == {"uid0000": world.now}


async def test_a_disabled_trigger_stays_so_and_a_manual_one_has_no_plan(world: World) -> None:
    await several(world, "a", active=0, state="disabled")
    await world.define(name="b", uid="uid0001", rule="manual")

    await pause(world)
    assert [(await trigger(world, number))["state"] for number in (0, 1)] == ["disabled", "paused"]
    await pause(world, paused=0, job="jresume")

    assert [(await trigger(world, number))["state"] for number in (0, 1)] == ["disabled", "active"]
    assert [(await trigger(world, number))["paused"] for number in (0, 1)] == ["0", "0"]
    assert [(await trigger(world, number))["active"] for number in (0, 1)] == ["0", "1"]
    assert "unplanned" not in await world.dump()


async def test_what_is_as_it_is_to_be_is_told_and_left_alone(world: World) -> None:
    await several(world, "a", "b")
    await world.partition.client.hset(world.partition.prefix + "trigger:uid0001", "active", "corrupt")

    await pause(world, paused=0)

    assert (await trigger(world))["revision"] == "1"
    found = await progress(world)
    assert (found["why skipped already"], found["why skipped corrupt"]) == ("1", "1")


async def test_ids_are_taken_where_the_job_may_and_what_is_gone_or_newer_is_told(world: World) -> None:
    await several(world, "a", "b")
    await world.define(FAR, name="foreign", uid="uid0008", app="other/shop", handler="other/shop/send", over=0)
    world.pass_ms(5)
    await world.define(FAR, name="new", uid="uid0009", over=0)

    ids = (f"{APP}/a", f"{APP}/none", f"{APP}/new", "other/shop/foreign", "nonsense", "default/nonsense")
    assert await pause(world, *ids, walks=0, as_of=T0) == ("done", 0)

    assert [(await trigger(world, number))["state"] for number in (0, 1, 9)] == ["paused", "active", "active"]
    found = await progress(world)
    assert (found["done"], found["why skipped gone"], found["why skipped too_new"]) == ("1", "4", "1")


async def test_a_filter_asks_the_card(world: World) -> None:
    await several(world, "mail-de", "mail-fr", owner="ops", rule="30 8 * * *")
    await world.define(FAR, name="other", uid="uid0009", handler=f"{APP}/Other", active=0, state="disabled", over=0)

    assert await names(world) == [f"{APP}/{name}" for name in ("mail-de", "mail-fr", "other")]
    assert await names(world, conditions="prefix=mail-d") == [f"{APP}/mail-de"]
    assert await names(world, conditions="handler=Other") == [f"{APP}/other"]
    assert await names(world, conditions="owner=ops") == [f"{APP}/mail-de", f"{APP}/mail-fr"]
    assert await names(world, conditions="state=disabled,paused") == [f"{APP}/other"]
    for text, count in (("-fr", 1), ("8 * *", 2), ("ops", 2), ("other", 1), ("nothing", 0)):
        assert len(await names(world, conditions=f"q={text}")) == count
    assert await names(world, conditions="q=mail\x1fprefix=mail-f\x1fowner=ops") == [f"{APP}/mail-fr"]
    assert await names(world, walks=0, units=(f"{APP}/other", f"{APP}/none")) == [f"{APP}/other"]


async def test_a_call_takes_100_and_the_next_goes_on_behind_them(world: World) -> None:
    await several(world, *(f"t{number:03}" for number in range(130)), rule="manual", most=1_000, owner="ops")
    for number in range(200, 220):
        await world.define(FAR, name=f"a{number}", uid=f"uid{number:04}", rule="manual", most=1_000)

    assert await work(world, "bulk_remove", conditions="owner=ops") == ("running", 0)
    assert len((await world.dump())[f"triggers:{APP}"]) == 50
    assert await work(world, "bulk_remove", conditions="owner=ops") == ("done", 0)
    assert len((await world.dump())[f"triggers:{APP}"]) == 20
    assert await work(world, "bulk_remove", job="jrest") == ("done", 0)

    dump = await world.dump()
    assert not {f"triggers:{APP}", f"trigger_names:{APP}", "trigger:uid0000", "due_heads"} & dump.keys()
    assert (await progress(world))["done"] == "130"


async def test_each_trigger_is_run_once_for_a_job(world: World) -> None:
    await several(world, "a", param=b"p" * 100, shards=2, shard_params=b"1:x,1:y,")
    await world.define(name="b", uid="uid0001", active=0, state="disabled", param=b"small", overlap="skip")

    await work(world, "bulk_run")
    await work(world, "bulk_run", f"{APP}/a", walks=0, job=JOB, first=1)

    dump = await world.dump()
    tasks = {fields["trigger"]: (name, fields) for name, fields in dump.items() if name.startswith("task:")}
    assert set(tasks) == {"a", "b"}
    name, fields = tasks["a"]
    task = name.removeprefix("task:")
    assert (fields["shards"], fields["param_size"], dump[f"shard_params:{task}"]) == ("2", "100", {"0": "x", "1": "y"})
    assert f"manual {task}" in await world.ledger("uid0000")
    task = tasks["b"][0].removeprefix("task:")
    assert tasks["b"][1]["param"] == "small"
    assert dump["trigger:uid0001"]["live"].split() == [task]
    assert list(dump["tally"])[-1]["t"] == f"{T0}\x1e{HANDLER}\x1fu\x1fu"


async def test_a_run_that_comes_again_makes_nothing_twice(world: World) -> None:
    await several(world, "a")
    unit = f"{APP}/a"

    await work(world, "bulk_run", unit, unit, walks=0)

    assert len([name for name in await world.dump() if name.startswith("task:")]) == 1
    found = await progress(world)
    assert (found["done"], found["why skipped duplicate"]) == ("1", "1")


async def test_a_call_copies_no_more_than_it_may_at_once(world: World) -> None:
    await several(world, "a", "b", "c", param=b"p" * (limits.BATCH_BYTES // 2))

    assert await work(world, "bulk_run", f"{APP}/a", f"{APP}/b", f"{APP}/c", walks=0) == ("running", 0)

    assert (await progress(world))["done"] == "2"


async def test_a_name_that_no_trigger_has_is_passed_over(world: World) -> None:
    await several(world, "b")
    client, index = world.partition.client, f"{world.partition.prefix}trigger_names:{APP}"
    await client.zadd(index, {"a": 0})

    assert await names(world) == [f"{APP}/b"]

    await client.zrem(index, "a")


async def test_a_trigger_that_cannot_be_run_is_told_as_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await several(world, "a", "b", "c")
    client, prefix = world.partition.client, world.partition.prefix
    await client.hdel(f"{prefix}trigger:uid0000", "handler", "facts")
    await client.hset(f"{prefix}lanes:{HANDLER}", mapping={f"n={number}\x1f": "9" for number in range(255)})
    await world.submit("other")
    lanes_hold(1, monkeypatch)
    await world.define(FAR, name="d", uid="uid0003", labels="n=256", rule="cron", over=0)

    await work(world, "bulk_run")

    found = await progress(world)
    failed = {name: value for name, value in found.items() if name.startswith("why failed")}
    assert failed == {"why failed corrupt": "1", "why failed queue_full": "2", "why failed lanes_full": "1"}
    await client.hdel(f"{prefix}lanes:{HANDLER}", *(f"n={number}\x1f" for number in range(255)))


async def test_a_paused_job_on_triggers_does_nothing(world: World) -> None:
    await several(world, "a")
    await world.call("steer_job", job=JOB, state="paused", revision=1)

    for verb, options in (("bulk_pause", {"paused": 1}), ("bulk_run", {}), ("bulk_remove", {})):
        assert await work(world, verb, **options) == ("paused", 0)

    assert (await trigger(world))["revision"] == "1"
