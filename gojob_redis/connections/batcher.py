"""Group commit: what arrives while a call is in flight rides in the next one.

1. A ``Batcher`` stands before one verb of one partition. Idle, an item is sent in the same turn of the loop; busy,
   batches grow by themselves. Nothing ever waits for a batch to fill. At most one call is in flight, or ``flights`` of
   them where those after the first are full: then the engine works on the next one while we read the last answer.
2. A call carries at most 100 items and 256 KiB, shared evenly among the tenants (apps) that have something to send.
3. A call that fails because Redis is out of reach fails for all its items: nobody knows what happened, everybody may
   repeat. A call that fails by a script error is halved until the one bad item is found, and only that item fails.
4. An item that was accepted is sent, even if its caller has left: a report is worth more than its connection.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BrokenInvariant, GojobError, Unavailable
from gojob_redis.engine.scripts import ScriptFailed

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
    results: dict[int, Sequence[R | Exception]] = field(default_factory=dict)
    """By the number of the first item."""
    taken: int = 0
    settled: int = 0

    def settle(self, first: int, results: Sequence[R | Exception]) -> None:
        self.results[first] = results
        self.settled += len(results)
        if self.settled == len(self.items) and not self.done.done():
            self.done.set_result([result for at in sorted(self.results) for result in self.results[at]])

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class _Batch(Generic[I, R]):
    """What one call carries, and whose it is: slices of groups, each a group, its first item and their number."""

    items: list[I] = field(default_factory=list)
    slices: list[tuple[_Group[I, R], int, int]] = field(default_factory=list)

    def add(self, group: _Group[I, R], count: int) -> None:
        """Take the group's next items along."""
        self.items.extend(group.items[group.taken : group.taken + count])
        self.slices.append((group, group.taken, count))
        group.taken += count

    def settle(self, results: Sequence[R | Exception]) -> None:
        at = 0
        for group, first, count in self.slices:
            group.settle(first, results[at : at + count])
            at += count

    def fail(self, error: Exception) -> None:
        for group, first, count in self.slices:
            group.fail(error)
            group.settle(first, [error] * count)


@dataclass(slots=True, eq=False)
class Batcher(Generic[I, R]):
    """Turns single items into batched calls.

    call: sends a batch and returns one result per item, in order; it does its own repeating.
    flights: how many calls may be under way; more than one only where it does not matter which one comes first.
    """

    call: Callable[[list[I]], Awaitable[Sequence[R]]]
    name: str
    max_items: int = limits.BATCH_ITEMS
    max_bytes: int = limits.BATCH_BYTES
    queue_items: int = QUEUE_ITEMS
    queue_bytes: int = QUEUE_BYTES
    flights: int = 1
    calls: int = field(default=0, init=False)
    sent: int = field(default=0, init=False)
    queued: int = field(default=0, init=False)
    _queued_bytes: int = field(default=0, init=False)
    _tenants: dict[str, deque[_Group[I, R]]] = field(default_factory=dict, init=False)
    _pumps: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _closed: bool = field(default=False, init=False)

    async def put(self, item: I, *, tenant: str, size: int) -> R:
        """Send one item and return its result.

        tenant: who it is sent for; tenants share each call evenly.  size: about how many bytes it takes.
        Raises Unavailable when the queue is full or Redis stayed out of reach, ScriptFailed when this item broke the
        script.
        """
        [result] = await self._enqueue([item], [size], tenant)
        if isinstance(result, Exception):
            raise result
        return result

    async def put_many(self, items: Sequence[I], *, tenant: str, sizes: Sequence[int]) -> list[R | Exception]:
        """Send items together and return one result each; an item that broke the script has its exception instead.

        Raises Unavailable for all of them when one of their calls got no answer.
        """
        return await self._enqueue(items, sizes, tenant) if items else []

    async def close(self) -> None:
        """Refuse new items and send all that was accepted."""
        self._closed = True
        while self._pumps:
            await asyncio.wait(self._pumps)

    def _enqueue(self, items: Sequence[I], sizes: Sequence[int], tenant: str) -> asyncio.Future[list[R | Exception]]:
        volume = sum(sizes)
        if self._closed:
            raise Unavailable(f"{self.name} is closing.", BUSY_PAUSE_S, code="closing")
        if self.queued + len(items) > self.queue_items or self._queued_bytes + volume > self.queue_bytes:
            raise Unavailable(f"{self.name} is busy: {self.queued} items wait for Redis.", BUSY_PAUSE_S, code="busy")
        group: _Group[I, R] = _Group(items, sizes, asyncio.get_running_loop().create_future())
        self._tenants.setdefault(tenant, deque()).append(group)
        self.queued += len(items)
        self._queued_bytes += volume
        self._take_off()
        return group.done

    def _take_off(self) -> None:
        """Begin one more call if it may be sent beside those under way."""
        if self._may_send(beside=len(self._pumps)):
            pump = asyncio.get_running_loop().create_task(self._run(), name=f"batch {self.name}")
            self._pumps.add(pump)
            pump.add_done_callback(self._stopped)

    def _may_send(self, beside: int) -> bool:
        """Whether the next call may be sent beside so many others."""
        is_full = self.queued >= self.max_items or self._queued_bytes >= self.max_bytes
        return bool(self._tenants) and (beside == 0 or (is_full and beside < self.flights))

    async def _run(self) -> None:
        """Send batch after batch as long as they may be sent; the last pump sends whatever is queued."""
        while self._may_send(beside=len(self._pumps) - 1):
            batch = self._take()
            self._take_off()
            try:
                results = await self._attempt(batch.items)
            except GojobError as error:
                batch.fail(error)
            except BaseException as error:
                batch.fail(self._broken_by(error))
                raise
            else:
                batch.settle(results)
        # Before the task is done: a caller that just got its result may put the next item before the callbacks run.
        self._pumps.discard(cast("asyncio.Task[None]", asyncio.current_task()))

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

    def _take(self) -> _Batch[I, R]:
        """The next batch: each waiting tenant gives an even share, and what one leaves the others fill."""
        batch: _Batch[I, R] = _Batch()
        space = self.max_bytes
        names = list(self._tenants)
        while names and len(batch.items) < self.max_items:
            share = max(1, (self.max_items - len(batch.items)) // len(names))
            still: list[str] = []
            for name in names:
                most = min(share, self.max_items - len(batch.items))
                count, volume = self._take_from(name, most, space, batch)
                space -= volume
                if count == most > 0 and name in self._tenants:
                    still.append(name)
            names = still
        self.queued -= len(batch.items)
        self.sent += len(batch.items)
        return batch

    def _take_from(self, name: str, most: int, space: int, batch: _Batch[I, R]) -> tuple[int, int]:
        """Move up to ``most`` items of one tenant to the batch; a tenant that gave something goes to the back."""
        tenant = self._tenants[name]
        count = volume = 0
        while tenant and count < most:
            group = tenant[0]
            number, size = self._fitting(group, most - count, space - volume, alone=not batch.items)
            if not number:
                break
            batch.add(group, number)
            count, volume = count + number, volume + size
            if group.taken == len(group.items):
                tenant.popleft()
        if count:
            self._queued_bytes -= volume
            del self._tenants[name]
            if tenant:
                self._tenants[name] = tenant
        return count, volume

    @staticmethod
    def _fitting(group: _Group[I, R], most: int, space: int, *, alone: bool) -> tuple[int, int]:
        """How many of the group's next items fit, and their bytes; one too large for any batch travels alone."""
        number = volume = 0
        for size in group.sizes[group.taken : group.taken + most]:
            if volume + size > space and not (alone and number == 0):
                break
            number, volume = number + 1, volume + size
        return number, volume

    def _stopped(self, pump: asyncio.Task[None]) -> None:
        """A pump ended; if the last one broke or was cancelled, nobody may be left waiting."""
        self._pumps.discard(pump)
        if self._pumps or not self._tenants:
            return
        reason = self._broken_by(None if pump.cancelled() else pump.exception())
        for tenant in self._tenants.values():
            for group in tenant:
                group.fail(reason)
        self._tenants.clear()
        self.queued = self._queued_bytes = 0

    def _broken_by(self, error: BaseException | None) -> Exception:
        return error if isinstance(error, Exception) else Unavailable(f"{self.name} was stopped.", BUSY_PAUSE_S)
