"""``python -m examples.world`` makes the world and shows it until Ctrl-C; ``--scale 0.01`` makes a hundredth of it."""

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path

from examples.demo.processes import System
from examples.world.plan import Size
from examples.world.present import Present
from examples.world.seed import seed
from gojob_redis.domain import limits
from gojob_redis.engine.client import connected
from gojob_redis.engine.partitions import Partitions

GATEWAYS = 2


def main() -> None:
    """Seed, start, stay."""
    parser = argparse.ArgumentParser(prog="python -m examples.world", description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="how much of it: 1 = 100,000 triggers, 1,000,000 tasks"
    )
    parser.add_argument("--seed-only", action="store_true", help="say how long it took, and end")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="gojob-world-", ignore_cleanup_errors=True) as directory,
        System(Path(directory)) as system,
        contextlib.suppress(KeyboardInterrupt),
    ):
        asyncio.run(_show(system, Size().scaled(options.scale), stay=not options.seed_only))


async def _show(system: System, size: Size, *, stay: bool) -> None:
    began_s = time.monotonic()
    print(
        f"{size.triggers:,} triggers, {size.tasks:,} tasks in {size.days} days, {size.sessions:,} sessions", flush=True
    )
    system.start_engine()
    say = lambda text: print(f"  {text}", flush=True)  # noqa: E731
    world = await seed(system.redis_url, size, say, processes=os.cpu_count() or 1)
    async with connected(system.redis_url) as clients:
        present = Present(Partitions(clients, limits.PARTITIONS), world)
        await present.begin()
        used = (await clients.admin.info("memory"))["used_memory"]
        print(f"seeded in {time.monotonic() - began_s:.0f} s, {used / limits.MIB:,.0f} MiB in the engine", flush=True)
        if not stay:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(present.live())
            await asyncio.to_thread(_start, system)
            print(f"{system.gateways[0].url}/docs with the token {system.admin_token}; Ctrl-C ends it", flush=True)


def _start(system: System) -> None:
    """The processes that serve it."""
    for _ in range(GATEWAYS):
        system.start_gateway()
    system.start_trigger()
    system.ready()
    system.make_tokens()


if __name__ == "__main__":
    main()
