"""lua/describe.lua: what workers tell of their handlers is told once, and which versions are in use."""

from tests.lua.world import APP, HANDLER, T0, World

SPEC = f"spec:{APP}|d1"
SPECS = f"specs:{HANDLER}"
DAY_MS = 86_400_000


async def describe(world: World, *items: tuple[str, str, bytes]) -> list[str]:
    return (await world.call("describe", [(APP, handler, digest, spec) for handler, digest, spec in items]))[1:]


async def test_a_version_is_unknown_until_it_is_told(world: World) -> None:
    assert await describe(world, (HANDLER, "d1", b"")) == ["unknown"]
    dump = await world.dump()
    assert SPEC not in dump
    assert SPECS not in dump

    assert await describe(world, (HANDLER, "d1", b"told")) == ["ok"]

    dump = await world.dump()
    assert (dump[SPEC], dump[SPECS]) == ("told", {"d1": f"{T0} {T0}"})


async def test_a_version_that_is_heard_again_keeps_when_it_came(world: World) -> None:
    await describe(world, (HANDLER, "d1", b"told"))
    world.pass_ms(60_000)

    assert await describe(world, (HANDLER, "d1", b"")) == ["ok"]

    assert (await world.dump())[SPECS] == {"d1": f"{T0} {T0 + 60_000}"}


async def test_what_belongs_to_no_handler_is_only_kept(world: World) -> None:
    assert await describe(world, ("", "d1", b"told")) == ["ok"]

    dump = await world.dump()
    assert dump[SPEC] == "told"
    assert not any(name.startswith("specs:") for name in dump)


async def test_both_end_30_days_after_they_were_heard_last(world: World) -> None:
    await describe(world, (HANDLER, "d1", b"told"))
    client, prefix = world.partition.client, world.partition.prefix
    for name in (SPEC, SPECS):
        await client.pexpire(prefix + name, 5_000)

    await describe(world, (HANDLER, "d1", b""))

    for name in (SPEC, SPECS):
        assert 29 * DAY_MS < await client.pttl(prefix + name) <= 30 * DAY_MS


async def test_of_seventeen_versions_the_one_that_was_heard_longest_ago_goes(world: World) -> None:
    for number in range(16):
        await describe(world, (HANDLER, f"d{number}", b"told"))
        world.pass_ms(1)
    await describe(world, (HANDLER, "d0", b""))

    await describe(world, (HANDLER, "d16", b"told"))

    assert (await world.dump())[SPECS].keys() == {"d0", *(f"d{number}" for number in range(2, 17))}


async def test_versions_that_somebody_turned_into_a_text_begin_anew(world: World) -> None:
    await world.partition.client.set(world.partition.prefix + SPECS, "spoiled")

    assert await describe(world, (HANDLER, "d1", b"told")) == ["ok"]

    assert (await world.dump())[SPECS] == {"d1": f"{T0} {T0}"}
    assert await world.events() == ["corrupt"]


async def test_times_that_nobody_could_have_written_begin_anew(world: World) -> None:
    await world.partition.client.hset(world.partition.prefix + SPECS, "d1", "spoiled")

    await describe(world, (HANDLER, "d1", b"told"))

    assert (await world.dump())[SPECS] == {"d1": f"{T0} {T0}"}


async def told(world: World) -> str | None:
    when: str | None = (await world.dump())["meta"].get("told")
    return when


async def test_a_version_that_is_new_or_comes_back_is_told_to_the_triggers(world: World) -> None:
    await describe(world, (HANDLER, "d1", b"told"))
    first = await told(world)
    assert first

    world.pass_ms(180_000)
    await describe(world, (HANDLER, "d1", b""))
    assert await told(world) == first

    world.pass_ms(180_001)
    await describe(world, (HANDLER, "d1", b""))
    back = await told(world)
    assert back not in (None, first)

    await describe(world, (HANDLER, "d2", b"told"), (HANDLER, "d1", b""))
    assert await told(world) not in (back, first)


async def test_what_belongs_to_no_handler_or_is_unknown_tells_the_triggers_nothing(world: World) -> None:
    await describe(world, ("", "d1", b"told"), (HANDLER, "d2", b""))

    assert await told(world) is None
