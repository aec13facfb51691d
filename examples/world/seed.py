"""Write the world into an empty engine: the past first, then what is planned, then who is there."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from examples.world import schedules
from examples.world.past import Clock, Past, pasts
from examples.world.plan import NAMESPACES, Size, TimeStep, World, steps
from gojob_redis.control.installation import bootstrap_or_open
from gojob_redis.control.namespaces import put_namespace
from gojob_redis.domain import limits
from gojob_redis.engine.client import Clients
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.maintenance.fold import Fold

TOLD_EVERY_S: Final = 2.0
KEPT: Final = {
    "done_ms": 90 * limits.DAY_MS,
    "done_count": 1_000_000,
    "failed_ms": 90 * limits.DAY_MS,
    "failed_count": 1_000_000,
}
"""So that the retention leaves all of the past."""
Say = Callable[[str], None]


async def seed(clients: Clients, size: Size, say: Say) -> World:
    """Write it; the last hour of the past is the one before this call."""
    world = World(size)
    now_ms = int(time.time() * 1000)
    first_ms = (now_ms // limits.HOUR_MS - size.days * 24) * limits.HOUR_MS
    space = Partitions(clients, limits.PARTITIONS, now_ms=lambda: first_ms)
    await bootstrap_or_open(space, intended=True)
    for namespace in NAMESPACES:
        await put_namespace(space, namespace, kept=KEPT)
    partitions = await pasts(space, world, first_ms)
    await asyncio.gather(*(past.begin() for past in partitions))
    old = schedules.old(world)
    await schedules.define_all(space, iter(old), first_ms)
    submitted = max(0, size.tasks - schedules.fired_by(old, size))
    await _write_past(clients, partitions, list(steps(first_ms, size, submitted)), say)
    await asyncio.gather(*(past.end() for past in partitions))
    today = Partitions(clients, limits.PARTITIONS)
    say(f"{size.triggers:,} triggers")
    await schedules.define_all(today, schedules.new(world, size.triggers - len(old), now_ms), now_ms)
    return world


async def _write_past(clients: Clients, partitions: list[Past], parts: list[TimeStep], say: Say) -> None:
    """Step after step, all partitions at once; the tasks of each are shared out by weight. Days are added up."""
    told_s, total = time.monotonic(), sum(past.weight for past in partitions)
    clock = Clock(parts[0].began_ms)
    fold = Fold(Partitions(clients, limits.PARTITIONS, now_ms=clock))
    for at, (began_ms, length_ms, tasks) in enumerate(parts):
        shares = [round(tasks * past.weight / total) for past in partitions]
        shares[0] += tasks - sum(shares)
        await asyncio.gather(
            *(past.step(began_ms, length_ms, max(0, share)) for past, share in zip(partitions, shares, strict=True))
        )
        ends_day = at + 1 == len(parts) or parts[at + 1].began_ms % limits.DAY_MS == 0
        if ends_day:
            clock.reach(max(past.clock.ms for past in partitions))
            await _fold(fold)
            for past in partitions:
                past.clock.reach(clock.ms)
        if time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            ended, share = sum(past.ended for past in partitions), at / len(parts)
            say(f"{share:.0%} of the past, {ended:,} tasks")


async def _fold(fold: Fold) -> None:
    """Add up all that happened so far; what is not over yet, the last ten minutes, is left."""
    keys = [K.unrolled(prefix) for prefix in fold.space.prefixes]
    before = -1
    while True:
        more = await fold.run_once()
        left = sum(await fold.space.read_all([("ZCARD", key) for key in keys]))
        if more is None and left == before:
            return
        before = left
