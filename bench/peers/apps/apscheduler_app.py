"""APScheduler on Redis: it runs its jobs itself, in threads of the process that schedules. ``worker`` is that process.

Its planner has to hold a scheduler, too, which stays paused: only then are jobs written without being run.
"""

import os
import signal
from datetime import UTC, datetime
from urllib.parse import urlsplit

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

from bench.peers.apps.feeder import Feeder
from bench.peers.apps.tally import Tally

GRACE_S = 3_600
THREADS = 10
tally = Tally()


def stamp(number: int, due_ms: float) -> None:
    tally.note(number, due_ms)


def _scheduler() -> BackgroundScheduler:
    address = urlsplit(os.environ["BENCH_URL"])
    return BackgroundScheduler(
        jobstores={"default": RedisJobStore(host=address.hostname, port=address.port)},
        executors={"default": ThreadPoolExecutor(THREADS)},
        job_defaults={"misfire_grace_time": GRACE_S},
        timezone=UTC,
    )


planner = _scheduler()


async def begin() -> None:
    planner.start(paused=True)


async def nothing(*_: float) -> None:
    raise SystemExit("it has no queue")


async def plan(number: int, due_ms: float) -> None:
    due = datetime.fromtimestamp(due_ms / 1000, tz=UTC)
    planner.add_job("bench.peers.apps.apscheduler_app:stamp", DateTrigger(due), args=(number, due_ms))


feeder = Feeder(nothing, nothing, plan, begin=begin)


def work() -> None:
    """Run what is due until told to end."""
    scheduler = _scheduler()
    scheduler.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    work()
