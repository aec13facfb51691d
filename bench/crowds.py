"""Many idle or instant workers in this process, whose loop runs in a thread; an SDK worker is a process of its own."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from bench.rig import Rig, wait_for
from tests.faults.crowd import Crowd

TOGETHER: Final = 250
CLOSE_S: Final = 30.0


@contextmanager
def crowd(
    system: Rig, apps: Sequence[str], count: int, *, capacity: int = 10, instant: bool = False
) -> Iterator[list[Crowd]]:
    """So many connected workers of each app, for its handler ``crowd``; they hang up after the block.

    instant: they report what they are given at once, else they hold it.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ports = [gateway.port for gateway in system.system.gateways]
    crowds = [Crowd(ports, system.system.worker_token, app, capacity=capacity, instant=instant) for app in apps]
    try:
        for each in crowds:
            for first in range(0, count, TOGETHER):
                goal = min(first + TOGETHER, count)
                loop.call_soon_threadsafe(each.add, goal - first)
                wait_for(lambda each=each, goal=goal: each.home >= goal)  # type: ignore[misc]
        yield crowds
    finally:
        for each in crowds:
            asyncio.run_coroutine_threadsafe(each.close(), loop).result(CLOSE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_S)
        loop.close()
