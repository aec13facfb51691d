"""lua/seats.lua: how many seats sessions have and how many are taken, read in one call."""

from tests.lua.world import World


async def test_each_session_is_told_with_its_seats_and_one_that_is_gone_as_gone(world: World) -> None:
    await world.enlist("s1", capacity=1)
    await world.submit("p0s1")
    await world.enlist("s2", capacity=5)
    before = await world.dump()

    reply = await world.call("seats", [("s1",), ("nobody",), ("s2",)])

    assert reply == ["ok", "ok", 1, 1, "gone", 0, 0, "ok", 5, 0]
    assert await world.dump() == before
