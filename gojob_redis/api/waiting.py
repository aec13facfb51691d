"""Long polls: requests that wait for the end of a task share one poller per process.

Every 30 ms it reads the states of all tasks somebody waits for, one pipeline per partition and 500 tasks. So a waiting
request costs a field read, not a connection; and no task pays for nobody's waiting.
"""

import asyncio
from collections.abc import Iterator, Sequence

from gojob_redis import ids, limits, view
from gojob_redis.errors import Unavailable
from gojob_redis.loop import Loop
from gojob_redis.metrics import Metrics
from gojob_redis.model import TERMINAL
from gojob_redis.partitions import Partitions

EVERY_S = 0.03
LOOK_S = 0.5
"""A partition that does not answer holds up those that do for no longer than this."""
IDLE_S = 60.0
MOST = 10_000


class Waiting:
    """Who waits for which task."""

    def __init__(self, space: Partitions, metrics: Metrics, *, most: int = MOST) -> None:
        self.space = space
        self.metrics = metrics
        self.most = most
        self.loop = Loop(self.run_once, interval_s=IDLE_S, name="long polls", outage=space.clients.outage)
        self._events: dict[str, asyncio.Event] = {}
        self._waiters: dict[str, int] = {}
        self._closed = False

    async def until_over(self, task: str, timeout_s: float) -> None:
        """Wait until a task is over or gone, at most this long.

        Raises Unavailable when 10,000 wait already.
        """
        if self._closed:
            return
        if sum(self._waiters.values()) >= self.most:
            raise Unavailable(f"{self.most} requests wait for a task already.", 1.0, code="busy", hint="Ask again.")
        event = self._events.setdefault(task, asyncio.Event())
        self._waiters[task] = self._waiters.get(task, 0) + 1
        self.metrics.waiting.inc()
        self.loop.wake()
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self.metrics.waiting.dec()
            self._waiters[task] -= 1
            if not self._waiters[task]:
                self._waiters.pop(task)
                if self._events.get(task) is event:
                    del self._events[task]

    async def run_once(self) -> float | None:
        """Look at all tasks that somebody waits for; returns when to look again, None when nobody waits."""
        await asyncio.gather(*(self._look_at(partition, tasks) for partition, tasks in self._by_partition()))
        return EVERY_S if self._events else None

    async def _look_at(self, partition: int, tasks: Sequence[str]) -> None:
        """Let those go whose task is over; a partition out of reach is looked at again in the next pass."""
        try:
            states = await view.states_of(self.space, partition, tasks, within_s=LOOK_S)
        except Unavailable:
            return
        for task, state in zip(tasks, states, strict=True):
            if (not state or state in TERMINAL) and (event := self._events.pop(task, None)):
                event.set()

    def close(self) -> None:
        """Let everybody go, and nobody wait any more: the process ends."""
        self._closed = True
        for event in self._events.values():
            event.set()
        self.loop.stop()

    def _by_partition(self) -> Iterator[tuple[int, list[str]]]:
        found: dict[int, list[str]] = {}
        for task in self._events:
            found.setdefault(ids.partition_of(task), []).append(task)
        for partition, tasks in found.items():
            for first in range(0, len(tasks), limits.PAGE_ITEMS):
                yield partition, tasks[first : first + limits.PAGE_ITEMS]
