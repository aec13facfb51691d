"""Apps that have nothing any more are forgotten, so that they do not count among those a namespace may have.

1. An app goes that has no trigger, no worker, no task and no history: its last figures are 60 days old. Its partition
   says so, and in the same script lets its handlers and queues go (``lua/forget.lua``): what comes before keeps the
   app, what comes after begins anew. Then it loses its place in the control plane (``lua/unplace.lua``).
2. Its partition follows from its name, so whoever still remembers it is right. An app that is elsewhere stays.
3. Between the two steps, or later from a process that remembers the partition, work may come: each pass records all
   apps that have handlers or slots and no place.
4. One replica does it, some apps in each pass.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final
from zlib import crc32

import structlog

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.address import app_of, namespace_of
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.client import repeat
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.failure_log import FailureLog

log = structlog.get_logger()

FORGET_APPS_S: Final = 60.0
CALL_S: Final = 1.0


class Forget:
    """Forgets apps that have nothing any more.

    comes_first: whether this replica does it.
    """

    def __init__(
        self,
        space: Partitions,
        *,
        comes_first: Callable[[], bool] = lambda: True,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.comes_first = comes_first
        self.failures = failures or FailureLog()
        self.forgotten = 0
        self._cursor = 0

    async def run_once(self) -> None:
        """Look at the next apps, and record those that have lost their place."""
        if not self.comes_first():
            return
        by_partition = await self._next_apps()
        for partition in self.space:
            try:
                await self._forget(partition, by_partition.get(partition.number, []))
                await self._record(partition)
            except (GojobError, EngineError, OSError) as error:
                self.failures.failed("forget", partition.number, error)
            else:
                self.failures.went_well("forget", partition.number)

    async def _next_apps(self) -> dict[int, list[str]]:
        """Some apps by their partition, those that were placed by hand left out."""
        client: Any = self.space.clients.commands
        scan = partial(client.hscan, K.apps(CONTROL), self._cursor, count=limits.FORGET_APPS)
        self._cursor, apps = await repeat(scan, CALL_S)
        by_partition: dict[int, list[str]] = {}
        for name, place in apps.items():
            app, number = name.decode(), int(place)
            if number == crc32(app.encode()) % self.space.count:
                by_partition.setdefault(number, []).append(app)
        return by_partition

    async def _forget(self, partition: Partition, apps: Sequence[str]) -> None:
        for some in _batches(apps):
            reply = await partition.call(verbs.forget([verbs.ForgetItem(app) for app in some]), within_s=CALL_S)
            for app, word in zip(some, reply.words, strict=True):
                if word == "gone":
                    call = verbs.unplace(app=app, namespace=namespace_of(app), partition=partition.number)
                    await self.space.call_control(call)
                    self.forgotten += 1
                    log.info("app.forgotten", app=app)

    async def _record(self, partition: Partition) -> None:
        """Record the apps of a partition that have handlers or slots and no place."""
        client: Any = self.space.clients.commands
        apps: dict[str, None] = {}
        async for handler, _announced in client.zscan_iter(K.handlers(partition.prefix)):
            apps[app_of(handler.decode())] = None
        async for app, _due in client.zscan_iter(K.due_heads(partition.prefix)):
            apps[app.decode()] = None
        for some in _batches([app for app in apps if app]):
            places = await client.hmget(K.apps(CONTROL), *some)
            for app, place in zip(some, places, strict=True):
                if place is None:
                    most = limits.APPS
                    call = verbs.place(
                        app=app, namespace=namespace_of(app), partition=partition.number, most=most, most_all=most
                    )
                    await self.space.call_control(call)


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), limits.BATCH_ITEMS):
        yield names[first : first + limits.BATCH_ITEMS]
