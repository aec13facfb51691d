"""taskiq: its list broker (at most once) or its stream broker (acknowledged), as BENCH_BROKER says; uvloop.

Its blocking reads are longer than the socket timeout that redis-py has by default, so that is off.
"""

import os

from taskiq_redis import ListQueueBroker, RedisStreamBroker

from bench.peers.apps.feeder import Feeder, together
from bench.peers.apps.tally import Tally

BROKERS = {"list": ListQueueBroker, "stream": RedisStreamBroker}
broker = BROKERS[os.environ["BENCH_BROKER"]](url=os.environ["BENCH_URL"], socket_timeout=None)
tally = Tally()


@broker.task
async def noop() -> None:
    tally.mark()


@broker.task
async def stamp(number: int, due_ms: float) -> None:
    tally.note(number, due_ms)


async def fill(count: int) -> None:
    await together(count, noop.kiq)


feeder = Feeder(fill, stamp.kiq, begin=broker.startup, end=broker.shutdown)
