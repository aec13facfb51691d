"""lua/reap.lua: sessions whose lease ended, in as many calls as it takes."""

from tests.lua.world import World


async def crowded(world: World) -> None:
    """A session with more runs than one call gives back."""
    await world.enlist(capacity=150)
    for first in range(0, 150, 50):
        await world.submit(*(f"t{number}" for number in range(first, first + 50)))


async def test_a_lost_session_is_told_of_once_also_when_it_takes_several_calls(world: World) -> None:
    await crowded(world)
    await world.pass_steadily(15_000)

    words = [(await world.reap())[0] for _ in range(2)]

    assert words == ["more", "ok"]
    assert (await world.events()).count("session_lost") == 1


async def test_a_session_that_said_goodbye_is_not_lost_also_when_it_takes_several_calls(world: World) -> None:
    await crowded(world)
    assert await world.leave() == "more"

    await world.reap()

    assert "session:s1" not in await world.dump()
    assert "session_lost" not in await world.events()
