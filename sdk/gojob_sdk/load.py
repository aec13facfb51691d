"""What a worker's process takes of its machine, and how late the loop of its handlers is: told with each heartbeat."""

import asyncio
import os
import sys
import time
from pathlib import Path

from gojob_sdk.protocol import MAX_LAG_MS, Load

LOOK_S = 0.5
"""How often the loop is looked at: it is busy while it is late for that."""
STATM = Path("/proc/self/statm")


class LoadMeter:
    """Measures one process and one loop. ``read`` may be called from any thread; the others in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._read_at, self._cpu_s = time.monotonic(), time.process_time()
        self._due = self._read_at + LOOK_S
        self._latest_s = 0.0
        """The longest delay since it was read."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due = time.monotonic() + LOOK_S
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._latest_s = max(self._latest_s, time.monotonic() - self._due)
        self.start()

    def read(self) -> Load:
        """What there was since it was read last; a loop that stands still now counts, too."""
        now, cpu_s = time.monotonic(), time.process_time()
        lag_s, self._latest_s = max(self._latest_s, now - self._due, 0.0), 0.0
        passed_s = max(now - self._read_at, 0.001)
        load = Load(
            cpu_percent=round(100 * (cpu_s - self._cpu_s) / passed_s), lag_ms=min(round(lag_s * 1000), MAX_LAG_MS)
        )
        self._read_at, self._cpu_s = now, cpu_s
        memory_bytes = resident_bytes()
        if memory_bytes is not None:
            load["memory_bytes"] = memory_bytes
        return load


def resident_bytes() -> int | None:
    """The memory of this process: what is resident now, or where that is not told, what was at most; None: unknown."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return most_bytes()


def most_bytes() -> int | None:
    """The most memory that this process had; None: unknown."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
