"""dramatiq: its Redis broker and default middleware, without Prometheus."""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.apps.feeder import Feeder
from bench.peers.apps.tally import Tally

broker = RedisBroker(url=os.environ["BENCH_URL"])
dramatiq.set_broker(broker)
tally = Tally()


@dramatiq.actor
def noop() -> None:
    tally.mark()


@dramatiq.actor
def stamp(number: int, due_ms: float) -> None:
    tally.note(number, due_ms)


async def fill(count: int) -> None:
    for _ in range(count):
        noop.send()


async def submit(number: int, due_ms: float) -> None:
    stamp.send(number, due_ms)


async def plan(number: int, due_ms: float) -> None:
    stamp.send_with_options(args=(number, due_ms), delay=max(0, int(due_ms - time.time() * 1000)))


feeder = Feeder(fill, submit, plan)
