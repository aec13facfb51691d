"""The worker process of the benchmarks: it counts as the workers of the peers do."""

import os
from typing import Any

from bench.peers.apps.tally import Tally
from gojob_sdk import Context, Worker

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


if __name__ == "__main__":
    worker.run()
