"""lua/follow.lua: a trigger goes by other defaults, and nothing else of it moves."""

from typing import Any

import pytest

from tests.lua.world import T0, World

UID = "abcdefg"
TRIGGER = f"trigger:{UID}"


async def follow(world: World, *, uid: str = UID, revision: int = 1, seen: str = "", **options: str) -> str:
    said = {"policies": "priority=7 overlap=allow", "sources": "priority=handler", "defaults_rev": "d2"} | options
    reply = await world.call("follow", [(uid, revision, seen, said["policies"], said["sources"], said["defaults_rev"])])
    return str(reply[1])


def told(dump: dict[str, Any]) -> dict[str, str]:
    return {name: dump[TRIGGER].get(name, "") for name in ("policies", "sources", "defaults_rev")}


async def test_policies_follow_and_neither_revision_nor_slots_move(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000)
    before = await world.dump()

    assert await follow(world) == "ok"

    after = await world.dump()
    assert told(after) == {
        "policies": "priority=7 overlap=allow", "sources": "priority=handler", "defaults_rev": "d2",
    }  # fmt: skip
    changed = {name for name in after[TRIGGER] if after[TRIGGER][name] != before[TRIGGER].get(name)}
    assert changed == {"policies", "sources", "defaults_rev", "facts"}
    assert {name: value for name, value in after.items() if name not in (TRIGGER, "meta")} == {
        name: value for name, value in before.items() if name not in (TRIGGER, "meta")
    }


async def test_what_fires_then_goes_by_them(world: World) -> None:
    await world.define(T0 + 1_000)
    await follow(world)
    world.pass_ms(1_000)

    await world.fire()

    [task] = [value for name, value in (await world.dump()).items() if name.startswith("task:")]
    assert task["priority"] == "7"


@pytest.mark.parametrize(("before", "after", "live"), [("allow", "", ""), ("skip", "overlap=allow", None)])
async def test_a_trigger_that_skips_overlaps_from_now_on_knows_its_live_tasks(
    world: World, before: str, after: str, live: str | None
) -> None:
    await world.define(T0 + 1_000, overlap=before)

    await follow(world, policies=after)

    assert (await world.dump())[TRIGGER].get("live") == live


async def test_live_tasks_that_are_known_stay_known(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, overlap="skip")
    world.pass_ms(1_000)
    await world.fire()
    live = (await world.dump())[TRIGGER]["live"]
    assert live

    await follow(world, policies="priority=7")

    assert (await world.dump())[TRIGGER]["live"] == live


async def test_what_somebody_changed_meanwhile_stays(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.define(T0 + 1_000, priority="3")
    before = await world.dump()

    assert await follow(world, revision=1) == "stale"

    assert await world.dump() == before


async def test_defaults_that_were_read_earlier_do_not_go_over_newer_ones(world: World) -> None:
    await world.define(T0 + 1_000)
    await follow(world, defaults_rev="d3")
    before = await world.dump()

    assert await follow(world, seen="", defaults_rev="d2") == "stale"
    assert await world.dump() == before

    assert await follow(world, seen="d3", defaults_rev="d4") == "ok"


async def test_a_trigger_that_was_removed_stays_so(world: World) -> None:
    assert await follow(world, revision=0) == "gone"
    assert set(await world.dump()) == {"meta"}


async def test_it_may_be_said_twice(world: World) -> None:
    await world.define(T0 + 1_000)
    await follow(world)
    before = await world.dump()

    assert await follow(world) == "stale"

    assert await world.dump() == before


async def test_one_that_cannot_follow_holds_no_other_back(world: World) -> None:
    await world.define(T0 + 1_000)

    items = [("nothing", 1, "", "", "", "d2"), (UID, 1, "", "priority=7", "priority=namespace", "d2")]

    assert await world.call("follow", items) == ["ok", "gone", "ok"]


async def test_a_definition_says_who_said_what(world: World) -> None:
    await world.define(T0 + 1_000, sources="retries=trigger", defaults_rev="d1")

    dump = await world.dump()
    assert (dump[TRIGGER]["sources"], dump[TRIGGER]["defaults_rev"]) == ("retries=trigger", "d1")

    await world.define(T0 + 1_000)

    dump = await world.dump()
    assert (dump[TRIGGER]["sources"], dump[TRIGGER]["defaults_rev"]) == ("", "")
