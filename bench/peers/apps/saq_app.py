"""saq: 100 jobs at a time, uvloop; results are kept for ten minutes, as by default."""

import os
from typing import Any

import uvloop
from saq import Queue

from bench.peers.apps.feeder import Feeder, together
from bench.peers.apps.tally import Tally

queue = Queue.from_url(os.environ["BENCH_URL"])
tally = Tally()
uvloop.install()


async def noop(ctx: dict[str, Any]) -> None:
    tally.mark()


async def stamp(ctx: dict[str, Any], *, number: int, due_ms: float) -> None:
    tally.note(number, due_ms)


settings = {"queue": queue, "functions": [noop, stamp], "concurrency": 100}


async def fill(count: int) -> None:
    await together(count, lambda: queue.enqueue("noop"))


async def submit(number: int, due_ms: float) -> None:
    await queue.enqueue("stamp", number=number, due_ms=due_ms)


async def plan(number: int, due_ms: float) -> None:
    await queue.enqueue("stamp", number=number, due_ms=due_ms, scheduled=due_ms / 1000)


feeder = Feeder(fill, submit, plan, begin=queue.connect, end=queue.disconnect)
