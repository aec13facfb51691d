"""celery: threads, results off, and the prefetch that its guide advises for short tasks."""

import os
from datetime import UTC, datetime

from celery import Celery

from bench.peers.apps.feeder import Feeder
from bench.peers.apps.tally import Tally

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=128, broker_connection_retry_on_startup=True)
tally = Tally()


@app.task(name="noop")
def noop() -> None:
    tally.mark()


@app.task(name="stamp")
def stamp(number: int, due_ms: float) -> None:
    tally.note(number, due_ms)


async def fill(count: int) -> None:
    for _ in range(count):
        noop.delay()


async def submit(number: int, due_ms: float) -> None:
    stamp.delay(number, due_ms)


async def plan(number: int, due_ms: float) -> None:
    stamp.apply_async((number, due_ms), eta=datetime.fromtimestamp(due_ms / 1000, tz=UTC))


feeder = Feeder(fill, submit, plan)
