"""lua/lib/finish.lua: how long a run waits for its next attempt."""

from typing import Any

import pytest

from tests.lua.world import APP, HANDLER, World

TRIES = 6


async def delays(world: World, task: str, tries: int = TRIES, **policies: Any) -> list[int]:
    """From each failure of a task to its next attempt, ms."""
    await world.submit(task, retries=tries, **policies)
    waited = []
    for _ in range(tries):
        [run] = await world.dispatches()
        failed_at = world.now
        assert await world.report(run, outcome="error") == ["accepted"]
        at = (await world.dump())[f"deadlineq:{HANDLER}"][task]
        waited.append(at - failed_at)
        await world.partition.client.hset(f"{world.partition.prefix}meta", mapping={"raw": at, "steady": at})
        world.now = at
        await world.renew("s1")
        await world.expire()
    [run] = await world.dispatches()
    await world.report(run)
    return waited


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({}, [1_000] * TRIES),
        ({"retry_factor": 2}, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]),
        ({"retry_factor": 1.5}, [1_000, 1_500, 2_250, 3_375, 5_062, 7_593]),
        ({"retry_factor": 2, "retry_max_interval": 5_000}, [1_000, 2_000, 4_000, 5_000, 5_000, 5_000]),
        ({"retry_max_interval": 300}, [300] * TRIES),
    ],
)
async def test_each_interval_is_longer_by_the_factor_up_to_its_bound(
    world: World, policies: dict[str, Any], expected: list[int]
) -> None:
    await world.enlist()

    assert await delays(world, "t1", retry_interval=1_000, **policies) == expected


async def test_no_interval_is_longer_than_the_longest_that_may_be_said(world: World) -> None:
    await world.enlist()

    waited = await delays(world, "t1", tries=4, retry_interval=3_000_000_000, retry_factor=100)

    assert waited == [3_000_000_000, 300_000_000_000, 316_224_000_000, 316_224_000_000]


async def test_jitter_stays_in_its_bounds_and_differs_from_run_to_run_and_from_try_to_try(world: World) -> None:
    await world.enlist()

    first = await delays(world, "t1", retry_interval=10_000, retry_jitter=0.2)
    other = await delays(world, "t2", retry_interval=10_000, retry_jitter=0.2)

    assert all(8_000 <= delay <= 12_000 for delay in (*first, *other))
    assert len({*first, *other}) == 2 * TRIES


async def test_a_repetition_decides_the_same(world: World) -> None:
    await world.enlist()
    first = await delays(world, "t1", retry_interval=10_000, retry_factor=2, retry_jitter=1)

    await world.partition.client.delete(f"{world.partition.prefix}task:t1", f"{world.partition.prefix}attempts:t1")
    await world.partition.client.delete(f"{world.partition.prefix}failed:{APP}")

    assert await delays(world, "t1", retry_interval=10_000, retry_factor=2, retry_jitter=1) == first
    assert all(0 <= delay <= 2 * 10_000 * 2**tried for tried, delay in enumerate(first))
