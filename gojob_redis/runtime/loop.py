"""From ``run_once`` to a supervised loop: interval, jitter, backoff, wake-up, stop, and the counters.

1. A role's duty is a ``run_once`` that does one bounded batch. The loop calls it, and knows nothing else.
2. This is the only place that catches every exception: a pass that fails is logged and tried again after a growing
   pause, so one fault never ends a duty; that the engine is away is told once for all of them (``outage.py``). A
   ``BrokenInvariant`` does end it: going on could only do damage.
3. A stop never cuts a pass short, because a pass writes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from gojob_redis.domain.errors import BrokenInvariant, GojobError
from gojob_redis.runtime.outage import Outage

log = structlog.get_logger()

PAUSE_S = (0.1, 10.0)  # first and longest pause after a failed pass


@dataclass(slots=True)
class Counters:
    """What a loop has done; read by the metrics."""

    runs: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    busy_s: float = 0.0


class Loop:
    """Calls ``run_once`` until ``stop``.

    run_once: one pass; returns the seconds until the next one (0: at once), or None for the usual interval.
    jitter: share of the interval by which it varies, so that replicas drift apart.
    outage: where it tells that the engine is away, instead of logging that itself.
    """

    def __init__(
        self,
        run_once: Callable[[], Awaitable[float | None]],
        *,
        interval_s: float,
        name: str,
        jitter: float = 0.1,
        outage: Outage | None = None,
    ) -> None:
        self.run_once = run_once
        self.interval_s = interval_s
        self.jitter = jitter
        self.name = name
        self.outage = outage or Outage()
        self.counters = Counters()
        self._bell = asyncio.Event()  # rung by wake and by stop
        self._stop = asyncio.Event()

    def wake(self) -> None:
        """Run the next pass now, or right after the one that is running."""
        self._bell.set()

    def stop(self) -> None:
        """End ``run`` after the pass that is running."""
        self._stop.set()
        self._bell.set()

    async def run(self) -> None:
        """Run passes until ``stop``; raises BrokenInvariant when a pass did."""
        while not self._stop.is_set():
            self._bell.clear()
            pause = await self.one_pass()
            _heed_cancellation()
            if self.counters.failures_in_a_row:
                await _wait(self._stop, pause)
            else:
                await _wait(self._bell, pause)

    async def one_pass(self) -> float:
        """Run one pass, whatever it raises. Returns the seconds until the next one; raises BrokenInvariant."""
        clock = asyncio.get_running_loop().time
        counters = self.counters
        began = clock()
        counters.runs += 1
        try:
            delay = await self.run_once()
        except BrokenInvariant as error:
            log.critical("loop.broken", loop=self.name, error=str(error))
            raise
        except Exception as error:  # noqa: BLE001  the one supervisor
            return self._failed(error)
        finally:
            counters.busy_s += clock() - began
        if counters.failures_in_a_row:
            if not self.outage.worked(self):
                log.info("loop.recovered", loop=self.name, failures=counters.failures_in_a_row)
            counters.failures_in_a_row = 0
        if delay is None:
            return self.interval_s * random.uniform(1 - self.jitter, 1 + self.jitter)
        return delay

    def _failed(self, error: Exception) -> float:
        counters = self.counters
        first, longest = PAUSE_S
        counters.failures += 1
        counters.failures_in_a_row += 1
        doubled = first * 2.0 ** min(counters.failures_in_a_row - 1, 16)
        pause = min(longest, doubled) * random.uniform(0.5, 1.0)
        if not self.outage.failed(self, error):
            surprising = counters.failures_in_a_row == 1 and not isinstance(error, GojobError)
            log.warning(
                "loop.failed",
                loop=self.name,
                failures=counters.failures_in_a_row,
                again_in_s=round(pause, 3),
                error=f"{type(error).__name__}: {error}",
                exc_info=error if surprising else None,
            )
        return pause


def _heed_cancellation() -> None:
    """End the task if it was cancelled and the pass went on all the same; raises CancelledError.

    ``asyncio.wait_for`` of Python 3.11 loses a cancellation that comes in the moment its work is done, and redis-py
    writes every command under it. A loop that went on would keep the whole process from its end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most this long; gives the other tasks a turn in any case."""
    if seconds <= 0 or event.is_set():
        await asyncio.sleep(0)
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
