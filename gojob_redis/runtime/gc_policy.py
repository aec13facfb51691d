"""When Python collects cyclic garbage, so that ten thousand sockets do not cost half of a gateway's time.

1. A full collection takes 0.6 µs an object, a second with 10,000 sockets, and stops everything else meanwhile. By
   default, Python runs one whenever the process has grown by a quarter: 13 times while 10,000 workers reconnect.
2. So a full collection waits until the process has doubled (``GROWTH``, ``FLOOR``). Garbage then never takes more
   memory than what is in use. Young objects are collected by their number, as usual, but in fewer and larger portions.
3. Objects that were loaded when the process began stay for its life. They are frozen once and never collected.
"""

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

log = structlog.get_logger()

YOUNG: Final = 2_000
"""New objects before Python checks them for garbage, which takes 0.2 ms."""
MIDDLE: Final = 10
NEVER: Final = 2**31 - 1
GROWTH: Final = 2.0
FLOOR: Final = 500_000
"""Blocks of memory, about 50 MB: so that a small process collects rarely, too."""


class Garbage:
    """Decides when to run a full collection."""

    def __init__(self) -> None:
        self.looks = 0
        self._enough = enough()

    async def run_once(self) -> None:
        """Run a full collection if the process has grown enough since the last one."""
        if sys.getallocatedblocks() < self._enough:
            return
        began = time.perf_counter()
        freed = gc.collect()
        self.looks += 1
        self._enough = enough()
        log.debug("garbage.collected", found=freed, ms=round((time.perf_counter() - began) * 1000))


def enough() -> int:
    return int(sys.getallocatedblocks() * GROWTH) + FLOOR


@contextmanager
def paced() -> Iterator[None]:
    """Leave full collections to the loop of a ``Garbage`` while the block lasts."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
