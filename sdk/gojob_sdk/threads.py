"""What crosses between threads: batches into a loop, and blocking handlers out of it."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of uvloop where it is installed (``gojob-sdk[fast]``), else of asyncio."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Mailbox(Generic[Item]):
    """Hands items to a loop from any thread or signal handler: one wake-up for all that came since it last looked.

    No locks: a deque and a flag suffice. ``put`` adds before it looks at the flag, ``_open`` clears the flag before it
    looks for items; the worst that can happen is one wake-up that finds nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[list[Item]], None]) -> None:
        self._loop = loop
        self._take = take
        self._items: deque[Item] = deque()
        self._woken = False

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._wake()

    def put_all(self, items: list[Item]) -> None:
        self._items.extend(items)
        self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to read it
                self._loop.call_soon_threadsafe(self._open)

    def _open(self) -> None:
        self._woken = False
        items = [self._items.popleft() for _ in range(len(self._items))]
        if items:
            self._take(items)


class Threads:
    """Threads for blocking handlers, made when first needed, at most one per run.

    Unlike those of ``concurrent.futures`` they are daemons: a handler that never returns cannot keep a drained process
    from ending.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle: deque[None] = deque()

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job that never raises; only one thread may call this."""
        self._jobs.put(job)
        try:
            self._idle.pop()
        except IndexError:
            if self._count < self._most:
                self._count += 1
                threading.Thread(target=self._work, name=f"gojob-handler-{self._count}", daemon=True).start()

    def close(self) -> None:
        """Let every thread end after the job it has."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job
            self._idle.append(None)
