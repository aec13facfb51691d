"""lua/retain.lua: how long a handler's ended tasks are kept."""

from tests.lua.world import HANDLER, World


async def test_a_setting_is_kept_beside_the_pause_and_taken_away(world: World) -> None:
    await world.call("pause", [(HANDLER, 1)])

    await world.call("retain", [(HANDLER, "done_ms", 5), (HANDLER, "failed_ms", 10**12), (HANDLER, "done_count", 0)])
    await world.call("retain", [(HANDLER, "done_ms", -1)])

    assert (await world.dump())[f"handler:{HANDLER}"] == {
        "paused": str(world.now), "failed_ms": "1000000000000", "done_count": "0",
    }  # fmt: skip
