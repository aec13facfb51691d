"""huey: threads, results off, as its guide advises where nobody reads them. It removes a task before it runs it."""

import os
from datetime import datetime

from huey import RedisHuey

from bench.peers.apps.feeder import Feeder
from bench.peers.apps.tally import Tally

huey = RedisHuey("bench", url=os.environ["BENCH_URL"], results=False, utc=False)
tally = Tally()


@huey.task()
def noop() -> None:
    tally.mark()


@huey.task()
def stamp(number: int, due_ms: float) -> None:
    tally.note(number, due_ms)


async def fill(count: int) -> None:
    for _ in range(count):
        noop()


async def submit(number: int, due_ms: float) -> None:
    stamp(number, due_ms)


async def plan(number: int, due_ms: float) -> None:
    stamp.schedule((number, due_ms), eta=datetime.fromtimestamp(due_ms / 1000))


feeder = Feeder(fill, submit, plan)
