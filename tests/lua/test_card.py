"""lua/lib/card.lua: what the list of triggers is filtered by, wherever a trigger changes."""

from tests.lua.world import APP, T0, World

UID = "abcdefg"


async def card(world: World, name: str = "t") -> list[str]:
    return str((await world.dump())[f"triggers:{APP}"][name]).split("\x1f")


async def test_a_definition_writes_what_its_trigger_is_found_by(world: World) -> None:
    await world.define(T0 + 1_000, owner="ann", rule="every\x1e5\x1e0", state="active")
    assert await card(world) == [UID, "active", "send", "ann", "every\x1e5\x1e0"]

    await world.define(active=0, owner="bob", rule="manual", state="paused")

    assert await card(world) == [UID, "paused", "send", "bob", "manual"]


async def test_a_trigger_without_further_slots_is_over_from_its_last_on(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000)
    world.pass_ms(1_000)
    await world.fire()
    assert (await card(world))[1] == "active"

    world.pass_ms(1_000)
    await world.fire()

    assert (await card(world))[1] == "over"
    assert (await world.dump())[f"trigger:{UID}"]["state"] == "over"


async def test_a_trigger_that_waits_for_the_planner_is_not_over(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    world.pass_ms(1_000)

    await world.fire()

    assert (await card(world))[1] == "active"


async def test_a_definition_without_slots_is_over_unless_it_is_run_by_hand(world: World) -> None:
    await world.define(rule="once\x1e5")
    assert (await card(world))[1] == "over"
    await world.define(rule="once\x1e5", active=0, state="disabled")
    assert (await card(world))[1] == "disabled"
    await world.define(rule="cron", over=0)
    assert (await card(world))[1] == "active"

    await world.define(rule="manual")

    assert (await card(world))[1] == "active"


async def test_a_moment_that_was_decided_before_leaves_its_trigger_over(world: World) -> None:
    await world.define(T0 + 1_000)
    world.pass_ms(1_000)
    await world.fire()

    await world.define(T0 + 1_000, rule="once\x1e5")

    assert (await card(world))[1] == "over"


async def test_a_plan_says_whether_its_trigger_is_over(world: World) -> None:
    await world.define(over=0, rule="cron")
    await world.call("plan", [(UID, 1, T0, "", T0, 2**50, 1, 0, 0, 0)])
    assert (await card(world))[1] == "over"

    await world.call("plan", [(UID, 1, T0, f"{T0 + 5}", T0 + 5, 2**50, 1, 0, 0, 0)])

    assert (await card(world))[1] == "active"


async def test_a_plan_that_adds_nothing_leaves_a_trigger_active_that_has_a_slot(world: World) -> None:
    await world.define(T0 + 1_000, over=0, rule="cron")

    await world.call("plan", [(UID, 1, T0 + 1_000, "", T0 + 1_000, 2**50, 1, 0, 0, 0)])

    assert (await card(world))[1] == "active"


async def test_a_plan_leaves_a_state_of_a_later_release_alone(world: World) -> None:
    await world.define(over=0, rule="cron", state="throttled")

    await world.call("plan", [(UID, 1, T0, "", T0, 2**50, 1, 0, 0, 0)])

    assert (await card(world))[1] == "throttled"


async def test_a_trigger_that_cannot_be_read_says_so(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.partition.client.hset(world.partition.prefix + f"trigger:{UID}", "labels", "no pair")
    await world.partition.client.hdel(world.partition.prefix + f"trigger:{UID}", "facts")
    world.pass_ms(1_000)

    await world.fire()

    assert (await card(world))[1] == "corrupt"


async def test_a_trigger_whose_name_is_gone_has_no_card_to_write(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.partition.client.hdel(world.partition.prefix + f"trigger:{UID}", "name", "facts")
    world.pass_ms(1_000)

    assert (await world.fire())[0] == "ok"

    assert (await card(world))[1] == "active"
