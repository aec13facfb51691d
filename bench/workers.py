"""The worker process of the benchmarks: it counts as the workers of the peers do."""

import asyncio
import logging
import os
import time
from typing import Any

from bench.peers.apps.tally import Tally
from gojob_sdk import Context, Worker

log = logging.getLogger("bench.orders")

worker = Worker()
tally = Tally()


@worker.handler("noop")
async def noop() -> None:
    """Nothing but being counted."""
    tally.mark()


handlers = int(os.environ["BENCH_HANDLERS"])
for number in range(handlers) if handlers > 1 else ():
    worker.handler(f"noop-{number}")(noop)


@worker.handler("load")
async def load(data: Any) -> None:
    """The same with a payload."""
    tally.mark()


@worker.handler("stamp")
async def stamp(number: int, due_ms: float) -> None:
    """How long ago this was sent, by the clock of the same machine."""
    tally.note(number, due_ms)


@worker.handler("tick")
async def tick(ctx: Context, number: int) -> None:
    """What triggers fire: the number tells trigger and slot."""
    if ctx.slot is not None:
        tally.note(number * 1_000_000 + ctx.slot // 1000 % 1_000_000, ctx.slot)


@worker.handler("chatter")
async def chatter(lines_each_second: int, seconds: float) -> None:
    """Log at an even rate."""
    began, logged = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * lines_each_second)
        for number in range(logged, due):
            log.info("GET https://api.example.com/v1/orders/%d 200 in %d ms", number * 7919 % 1_000_003, number % 90)
        logged = due
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    worker.run()
