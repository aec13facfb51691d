"""Long polls: requests that wait for the end of a task share one poller per process.

Every 30 ms it reads the states of all tasks somebody waits for, one pipeline per partition and 500 tasks. So a waiting
request costs a field read, not a connection; and no task pays for nobody's waiting.

Every 4 s it looks at the tokens of those who wait: a revoked one is told within the 10 s that are promised for it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

from gojob_redis import view
from gojob_redis.control.identities import bad_token
from gojob_redis.domain import limits
from gojob_redis.domain.errors import Unavailable
from gojob_redis.domain.states import TERMINAL
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.loop import Loop
from gojob_redis.runtime.metrics import Metrics

EVERY_S = 0.03
LOOK_S = 0.5
"""A partition that does not answer holds up those that do for no longer than this."""
IDLE_S = 60.0
MOST = 10_000
RECHECK_S = 0.4 * limits.TOKEN_REVOKED_MS / 1000
"""The identities may remember an answer for half of what is promised."""


class Waiting:
    """Who waits for which task."""

    def __init__(
        self,
        space: Partitions,
        metrics: Metrics,
        still_good: Callable[[str], Awaitable[bool]],
        *,
        most: int = MOST,
        recheck_s: float = RECHECK_S,
    ) -> None:
        self.space = space
        self.still_good = still_good
        self.recheck_s = recheck_s
        self.metrics = metrics
        self.most = most
        self.loop = Loop(self.run_once, interval_s=IDLE_S, name="long polls", outage=space.clients.outage)
        self._events: dict[str, dict[str, asyncio.Event]] = {}
        """By task and token: who waits with one token for one task shares an event."""
        self._waiters: Counter[tuple[str, str]] = Counter()
        self._rechecked_at = 0.0
        self._closed = False

    @property
    def count(self) -> int:
        """How many requests wait now."""
        return self._waiters.total()

    @property
    def is_closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed

    async def until_over(self, task: str, timeout_s: float, key_id: str) -> None:
        """Wait until a task is over or gone, at most this long.

        key_id: the token of who waits.
        Raises Unavailable when 10,000 wait already, BadRequest ``bad_token`` when the token was revoked meanwhile.
        """
        if self._closed:
            return
        if self.count >= self.most:
            raise Unavailable(f"{self.most} requests wait for a task already.", 1.0, code="busy", hint="Ask again.")
        event = self._events.setdefault(task, {}).setdefault(key_id, asyncio.Event())
        self._waiters[task, key_id] += 1
        self.metrics.waiting.inc()
        self.loop.wake()
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self.metrics.waiting.dec()
            self._leave(task, key_id, event)
        if not await self.still_good(key_id):
            raise bad_token("The token was revoked or has expired while the request waited.")

    def _leave(self, task: str, key_id: str, event: asyncio.Event) -> None:
        self._waiters[task, key_id] -= 1
        if not self._waiters[task, key_id]:
            del self._waiters[task, key_id]
            if self._events.get(task, {}).get(key_id) is event:
                self._let_go(task, key_id)

    def _let_go(self, task: str, key_id: str) -> None:
        self._events[task].pop(key_id).set()
        if not self._events[task]:
            del self._events[task]

    async def run_once(self) -> float | None:
        """Look at all tasks that somebody waits for; returns when to look again, None when nobody waits."""
        await asyncio.gather(*(self._look_at(partition, tasks) for partition, tasks in self._by_partition()))
        now = time.monotonic()
        if now - self._rechecked_at >= self.recheck_s:
            self._rechecked_at = now
            await self._look_at_tokens()
        return EVERY_S if self._events else None

    async def _look_at(self, partition: Partition, tasks: Sequence[str]) -> None:
        """Let those go whose task is over; a partition out of reach is looked at again in the next pass."""
        try:
            states = await view.states_of(partition, tasks, within_s=LOOK_S)
        except Unavailable:
            return
        for task, state in zip(tasks, states, strict=True):
            if not state or state in TERMINAL:
                for event in self._events.pop(task, {}).values():
                    event.set()

    async def _look_at_tokens(self) -> None:
        """Let those go whose token was revoked."""
        for key_id in {key_id for _, key_id in self._waiters}:
            try:
                good = await self.still_good(key_id)
            except Unavailable:
                continue
            for task in [] if good else [task for task, keys in self._events.items() if key_id in keys]:
                self._let_go(task, key_id)

    def close(self) -> None:
        """Let everybody go, and nobody wait any more: the process ends."""
        self._closed = True
        for keys in self._events.values():
            for event in keys.values():
                event.set()
        self.loop.stop()

    def _by_partition(self) -> Iterator[tuple[Partition, list[str]]]:
        by_partition: dict[Partition, list[str]] = {}
        for task in self._events:
            by_partition.setdefault(self.space.of_task(task), []).append(task)
        for partition, tasks in by_partition.items():
            for first in range(0, len(tasks), limits.PAGE_ITEMS):
                yield partition, tasks[first : first + limits.PAGE_ITEMS]
