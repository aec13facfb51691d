"""A cache that keeps a value for some seconds, and reads it once for all who ask at the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

ITEMS: Final = 20_000

V = TypeVar("V")


class TtlCache(Generic[V]):
    """Values by name, kept for ``for_s`` seconds.

    most: how many there may be, or how much they may weigh together.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[V]],
        *,
        for_s: float,
        most: int = ITEMS,
        weigh: Callable[[V], int] = lambda value: 1,
    ) -> None:
        self._read = read
        self._for_s = for_s
        self._most = most
        self._weigh = weigh
        self._weight = 0
        self._held: dict[str, tuple[float, V]] = {}
        self._reading: dict[str, asyncio.Task[V]] = {}

    async def get(self, name: str) -> V:
        """The value, at most ``for_s`` old; however many ask at once, it is read once."""
        entry = self._held.get(name)
        if entry is not None and time.monotonic() < entry[0]:
            return entry[1]
        reading = self._reading.get(name)
        if reading is None:
            reading = self._reading[name] = asyncio.create_task(self._refresh(name))
            reading.add_done_callback(lambda task: self._over(name, task))
        return await asyncio.shield(reading)

    def _over(self, name: str, task: "asyncio.Task[V]") -> None:
        if self._reading.get(name) is task:
            del self._reading[name]
        if not task.cancelled():
            task.exception()  # retrieve it, so that asyncio does not complain when all callers have left

    async def _refresh(self, name: str) -> V:
        began = time.monotonic()
        value = await self._read(name)
        self._drop(name)
        self._weight += self._weigh(value)
        while self._held and self._weight > self._most:
            self._drop(next(iter(self._held)))
        self._held[name] = began + self._for_s, value
        return value

    def _drop(self, name: str) -> None:
        entry = self._held.pop(name, None)
        if entry is not None:
            self._weight -= self._weigh(entry[1])

    def held(self, name: str) -> V | None:
        """The value that was read last, however long ago."""
        entry = self._held.get(name)
        return entry[1] if entry else None

    def __contains__(self, name: str) -> bool:
        """Whether it was read before, however long ago."""
        return name in self._held

    def forget(self, name: str) -> None:
        """Read it again the next time."""
        self._drop(name)
        self._reading.pop(name, None)
