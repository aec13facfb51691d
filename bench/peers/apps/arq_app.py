"""arq, tuned: uvloop, 500 jobs at a time, a look at the queue every 10 ms, not 500; results kept, as by default."""

import os
from datetime import UTC, datetime
from typing import Any

import uvloop
from arq import ArqRedis, create_pool, run_worker
from arq.connections import RedisSettings

from bench.peers.apps.feeder import Feeder, together
from bench.peers.apps.tally import Tally

settings = RedisSettings.from_dsn(os.environ["BENCH_URL"])
tally = Tally()
uvloop.install()


async def noop(ctx: dict[str, Any]) -> None:
    tally.mark()


async def stamp(ctx: dict[str, Any], number: int, due_ms: float) -> None:
    tally.note(number, due_ms)


class WorkerSettings:
    """What the worker reads."""

    functions = (noop, stamp)
    redis_settings = settings
    max_jobs = 500
    poll_delay = 0.01


class Sender:
    """Holds the pool, which can only be made while a loop runs."""

    pool: ArqRedis

    async def begin(self) -> None:
        self.pool = await create_pool(settings)

    async def fill(self, count: int) -> None:
        await together(count, lambda: self.pool.enqueue_job("noop"))

    async def submit(self, number: int, due_ms: float) -> None:
        await self.pool.enqueue_job("stamp", number, due_ms)

    async def plan(self, number: int, due_ms: float) -> None:
        due = datetime.fromtimestamp(due_ms / 1000, tz=UTC)
        await self.pool.enqueue_job("stamp", number, due_ms, _defer_until=due)


sender = Sender()
feeder = Feeder(sender.fill, sender.submit, sender.plan, begin=sender.begin)

if __name__ == "__main__":
    run_worker(WorkerSettings)  # its own command would log every job
