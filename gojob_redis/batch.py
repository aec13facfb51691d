"""Group commit: what arrives while a call is in flight rides in the next one.

1. A ``Batcher`` stands before one verb of one partition and has at most one call in flight. Idle, an item is sent in
   the same turn of the loop; busy, batches grow by themselves. Nothing ever waits for a batch to fill.
2. A call carries at most 100 items and 256 KiB, shared evenly among the lanes (apps) that have something to send.
3. A call that fails because Redis is out of reach fails for all its items: nobody knows what happened, everybody may
   repeat. A call that fails by a script error is halved until the one bad item is found, and only that item fails.
4. An item that was accepted is sent, even if its caller has left: a report is worth more than its connection.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gojob_redis import limits
from gojob_redis.errors import BrokenInvariant, GojobError, Unavailable
from gojob_redis.scripts import ScriptFailed

I = TypeVar("I")  # noqa: E741  an item
R = TypeVar("R")

QUEUE_ITEMS = 10_000
QUEUE_BYTES = 64 * limits.MIB
BUSY_PAUSE_S = 1.0

# Failures that belong to one item of a batch, not to all of them.
OWN_FAULT = (ScriptFailed, TypeError)


@dataclass(slots=True, eq=False)
class _Group(Generic[I, R]):
    """What one caller put at once; it has one future, however many calls its items take."""

    items: Sequence[I]
    sizes: Sequence[int]
    done: asyncio.Future[list[R | Exception]]
    results: list[R | Exception] = field(default_factory=list)
    taken: int = 0

    def settle(self, results: Sequence[R | Exception]) -> None:
        self.results.extend(results)  # slices of a group are sent in order
        if len(self.results) == len(self.items) and not self.done.done():
            self.done.set_result(self.results)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Batcher(Generic[I, R]):
    """Turns single items into batched calls.

    call: sends a batch and returns one result per item, in order; it does its own repeating.
    """

    call: Callable[[list[I]], Awaitable[Sequence[R]]]
    name: str
    max_items: int = limits.BATCH_ITEMS
    max_bytes: int = limits.BATCH_BYTES
    queue_items: int = QUEUE_ITEMS
    queue_bytes: int = QUEUE_BYTES
    calls: int = field(default=0, init=False)
    sent: int = field(default=0, init=False)
    queued: int = field(default=0, init=False)
    _queued_bytes: int = field(default=0, init=False)
    _lanes: dict[str, deque[_Group[I, R]]] = field(default_factory=dict, init=False)
    _flying: list[tuple[_Group[I, R], int]] = field(default_factory=list, init=False)
    _pump: asyncio.Task[None] | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    async def put(self, item: I, *, lane: str, size: int) -> R:
        """Send one item and return its result.

        lane: who it is sent for; lanes share each call evenly.  size: about how many bytes it takes.
        Raises Unavailable when the queue is full or Redis stayed out of reach, ScriptFailed when this item broke the
        script.
        """
        [result] = await self._enqueue([item], [size], lane)
        if isinstance(result, Exception):
            raise result
        return result

    async def put_many(self, items: Sequence[I], *, lane: str, sizes: Sequence[int]) -> list[R | Exception]:
        """Send items together and return one result each; an item that broke the script has its exception instead.

        Raises Unavailable for all of them when one of their calls got no answer.
        """
        return await self._enqueue(items, sizes, lane) if items else []

    async def close(self) -> None:
        """Refuse new items and send all that was accepted."""
        self._closed = True
        if self._pump is not None:
            await asyncio.wait({self._pump})

    def _enqueue(self, items: Sequence[I], sizes: Sequence[int], lane: str) -> asyncio.Future[list[R | Exception]]:
        volume = sum(sizes)
        if self._closed:
            raise Unavailable(f"{self.name} is closing.", BUSY_PAUSE_S, code="closing")
        if self.queued + len(items) > self.queue_items or self._queued_bytes + volume > self.queue_bytes:
            raise Unavailable(f"{self.name} is busy: {self.queued} items wait for Redis.", BUSY_PAUSE_S, code="busy")
        loop = asyncio.get_running_loop()
        group: _Group[I, R] = _Group(items, sizes, loop.create_future())
        self._lanes.setdefault(lane, deque()).append(group)
        self.queued += len(items)
        self._queued_bytes += volume
        if self._pump is None:
            self._pump = loop.create_task(self._run(), name=f"batch {self.name}")
            self._pump.add_done_callback(self._stopped)
        return group.done

    async def _run(self) -> None:
        """Send batch after batch until nothing is queued."""
        while self._lanes:
            batch = self._take()
            try:
                results = await self._attempt(batch)
            except GojobError as error:
                self._fail_flying(error)
            else:
                self._settle_flying(results)
        # Before the task is done: a caller that just got its result may put the next item before the callbacks run.
        self._pump = None

    async def _attempt(self, batch: list[I]) -> Sequence[R | Exception]:
        self.calls += 1
        try:
            results = await self.call(batch)
        except OWN_FAULT as error:
            if len(batch) == 1:
                return [error]
            middle = len(batch) // 2
            return [*await self._attempt(batch[:middle]), *await self._attempt(batch[middle:])]
        if len(results) != len(batch):
            raise BrokenInvariant(f"{self.name} gave {len(results)} results for {len(batch)} items")
        return results

    def _take(self) -> list[I]:
        """The next batch: each waiting lane gives an even share, and what one leaves the others fill."""
        batch: list[I] = []
        space = self.max_bytes
        names = list(self._lanes)
        while names and len(batch) < self.max_items:
            share = max(1, (self.max_items - len(batch)) // len(names))
            still: list[str] = []
            for name in names:
                wanted = min(share, self.max_items - len(batch))
                count, volume = self._take_from(name, wanted, space, batch)
                space -= volume
                if count == wanted > 0 and name in self._lanes:
                    still.append(name)
            names = still
        self.queued -= len(batch)
        self.sent += len(batch)
        return batch

    def _take_from(self, name: str, wanted: int, space: int, batch: list[I]) -> tuple[int, int]:
        """Move up to ``wanted`` items of one lane to the batch; a lane that gave something goes to the back."""
        lane = self._lanes[name]
        count = volume = 0
        while lane and count < wanted:
            group = lane[0]
            number, size = self._fitting(group, wanted - count, space - volume, alone=not batch)
            if not number:
                break
            batch.extend(group.items[group.taken : group.taken + number])
            self._flying.append((group, number))
            group.taken += number
            count, volume = count + number, volume + size
            if group.taken == len(group.items):
                lane.popleft()
        if count:
            self._queued_bytes -= volume
            del self._lanes[name]
            if lane:
                self._lanes[name] = lane
        return count, volume

    @staticmethod
    def _fitting(group: _Group[I, R], wanted: int, space: int, *, alone: bool) -> tuple[int, int]:
        """How many of the group's next items fit, and their bytes; one too large for any batch travels alone."""
        number = volume = 0
        for size in group.sizes[group.taken : group.taken + wanted]:
            if volume + size > space and not (alone and number == 0):
                break
            number, volume = number + 1, volume + size
        return number, volume

    def _settle_flying(self, results: Sequence[R | Exception]) -> None:
        flying, self._flying, at = self._flying, [], 0
        for group, count in flying:
            group.settle(results[at : at + count])
            at += count

    def _fail_flying(self, error: Exception) -> None:
        flying, self._flying = self._flying, []
        for group, count in flying:
            group.fail(error)
            group.settle([error] * count)

    def _stopped(self, pump: asyncio.Task[None]) -> None:
        """The pump ended; if it broke or was cancelled, nobody may be left waiting."""
        if self._pump is not pump:
            return
        self._pump = None
        error = None if pump.cancelled() else pump.exception()
        reason = error if isinstance(error, Exception) else Unavailable(f"{self.name} was stopped.", BUSY_PAUSE_S)
        self._fail_flying(reason)
        for lane in self._lanes.values():
            for group in lane:
                group.fail(reason)
        self._lanes.clear()
        self.queued = self._queued_bytes = 0
