"""Write the world into an empty engine: the past first, then what is planned.

A process for each core writes its share of the partitions. They meet in the engine only, and it writes no file
meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Final

import uvloop

from examples.world import schedules
from examples.world.past import Past, pasts
from examples.world.plan import NAMESPACES, Size, World
from gojob_redis.control.installation import bootstrap_or_open
from gojob_redis.control.namespaces import put_namespace
from gojob_redis.domain import limits
from gojob_redis.engine.client import connected
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions

LOOK_S: Final = 5.0
KEPT: Final = {
    "done_ms": 90 * limits.DAY_MS,
    "done_count": 1_000_000,
    "failed_ms": 90 * limits.DAY_MS,
    "failed_count": 1_000_000,
}
"""So that the retention leaves all of the past."""
Say = Callable[[str], None]


async def seed(url: str, size: Size, say: Say, *, processes: int = 1) -> World:
    """Write it; the last hour of the past is the one before this call."""
    world = World(size)
    now_ms = int(time.time() * 1000)
    async with connected(url) as clients:
        space = Partitions(clients, limits.PARTITIONS)
        await clients.admin.config_set("appendonly", "no")
        began_ms = (now_ms // limits.DAY_MS - size.days) * limits.DAY_MS
        past = Partitions(clients, limits.PARTITIONS, now_ms=lambda: began_ms)
        await bootstrap_or_open(past, intended=True)
        for namespace in NAMESPACES:
            await put_namespace(past, namespace, kept=KEPT)
        shares = _shared_out(await pasts(past, world, began_ms), processes)
        write = partial(_write, url, size, began_ms, now_ms)
        telling = asyncio.create_task(_tell(space, world, say))
        if processes == 1:
            await _written(url, size, began_ms, now_ms, shares[0])
        else:
            await _in_processes(write, shares)
        telling.cancel()
        await clients.admin.config_set("appendonly", "yes")
    return world


def _shared_out(all_pasts: Sequence[Past], processes: int) -> list[list[int]]:
    """The numbers of the partitions of each process, so that each has about as much to do."""
    shares: list[list[int]] = [[] for _ in range(processes)]
    weights = [0.0] * processes
    for past in sorted(all_pasts, key=lambda each: -each.weight):
        least = weights.index(min(weights))
        shares[least].append(past.partition.number)
        weights[least] += past.weight
    return [share for share in shares if share]


async def _in_processes(write: Callable[[Sequence[int]], None], shares: Sequence[Sequence[int]]) -> None:
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(len(shares), get_context("spawn")) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, write, share) for share in shares))


def _write(url: str, size: Size, began_ms: int, now_ms: int, share: Sequence[int]) -> None:
    """In a process of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_written(url, size, began_ms, now_ms, share))


async def _written(url: str, size: Size, began_ms: int, now_ms: int, share: Sequence[int]) -> None:
    """These partitions."""
    world = World(size)
    async with connected(url) as clients:
        past = Partitions(clients, limits.PARTITIONS, now_ms=lambda: began_ms)
        every = await pasts(past, world, began_ms)
        mine = [each for each in every if each.partition.number in share]
        apps = frozenset(app for each in mine for app in each.apps)
        await asyncio.gather(*(each.begin() for each in mine))
        old = schedules.old(world)
        await schedules.define_all(past, (each for each in old if each.handler.app in apps), began_ms)
        submitted = max(0, size.tasks - schedules.fired_by(old, size))
        whole = sum(each.weight for each in every)
        await asyncio.gather(*(each.go(began_ms, round(submitted * each.weight / whole)) for each in mine))
        await asyncio.gather(*(each.end() for each in mine))
        new = schedules.new(world, size.triggers - len(old), now_ms)
        today = Partitions(clients, limits.PARTITIONS)
        await schedules.define_all(today, (each for each in new if each.handler.app in apps), now_ms)


async def _tell(space: Partitions, world: World, say: Say) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        tasks, triggers = await counted(space, world)
        say(f"{tasks:,} tasks, {triggers:,} triggers")


async def counted(space: Partitions, world: World) -> tuple[int, int]:
    """How many tasks are over, and how many triggers there are."""
    homes = {app: (await space.of_app(app)).prefix for app in world.apps}
    asked = [("ZCARD", K.history(homes[handler.app], handler.address)) for handler in world.handlers]
    asked += [("ZCARD", K.failed(prefix, app)) for app, prefix in homes.items()]
    names = [("ZCARD", K.trigger_names(prefix, app)) for app, prefix in homes.items()]
    return sum(await space.read_all(asked)), sum(await space.read_all(names))
