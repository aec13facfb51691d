"""lua/touch.lua: every call writes, so that the wait behind it covers all that was written before."""

from tests.lua.world import T0, World


async def test_every_call_writes(world: World) -> None:
    await world.call("touch")
    assert (await world.dump())["meta"]["touched"] == str(T0)
    world.pass_ms(1)

    await world.call("touch")

    assert (await world.dump())["meta"]["touched"] == str(T0 + 1)
