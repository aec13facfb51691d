"""Write the world into an empty engine: the past first, then what is planned, then who is there."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from examples.world import schedules
from examples.world.past import Past, pasts
from examples.world.plan import Size, World, per_hour
from gojob_redis.control.installation import bootstrap_or_open
from gojob_redis.domain import limits
from gojob_redis.engine.client import Clients
from gojob_redis.engine.partitions import Partitions

TOLD_EVERY_S: Final = 2.0
Say = Callable[[str], None]


async def seed(clients: Clients, size: Size, say: Say) -> World:
    """Write it; the last hour of the past is the one before this call."""
    world = World(size)
    now_ms = int(time.time() * 1000)
    hours = size.days * 24
    first_ms = (now_ms // limits.HOUR_MS - hours) * limits.HOUR_MS
    space = Partitions(clients, limits.PARTITIONS, now_ms=lambda: first_ms)
    await bootstrap_or_open(space, intended=True)
    partitions = await pasts(space, world, first_ms)
    await asyncio.gather(*(past.begin() for past in partitions))
    old = schedules.old(world)
    await schedules.define_all(space, iter(old), first_ms)
    submitted = max(0, size.tasks - schedules.fired_by(old, size))
    await _write_past(partitions, submitted, first_ms, hours, say)
    await asyncio.gather(*(past.end() for past in partitions))
    today = Partitions(clients, limits.PARTITIONS)
    say(f"{size.triggers:,} triggers")
    await schedules.define_all(today, schedules.new(world, size.triggers - len(old), now_ms), now_ms)
    return world


async def _write_past(partitions: list[Past], tasks: int, first_ms: int, hours: int, say: Say) -> None:
    """Hour after hour, all partitions at once; each hour's tasks are shared out by weight."""
    told_s, total = time.monotonic(), sum(past.weight for past in partitions)
    of_day = [hour % 24 for hour in range(hours)]
    for hour, number in enumerate(per_hour(tasks, of_day)):
        began_ms = first_ms + hour * limits.HOUR_MS
        shares = [round(number * past.weight / total) for past in partitions]
        shares[0] += number - sum(shares)
        await asyncio.gather(*(past.hour(began_ms, share) for past, share in zip(partitions, shares, strict=True)))
        if time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            ended = sum(past.ended for past in partitions)
            say(f"day {hour // 24 + 1} of {hours // 24}: {ended:,} tasks")
