"""``python -m bench.peers.apps.feed APP VERB ...``: ``fill COUNT``, ``pace RATE SECONDS``, ``plan COUNT FIRST STEP``.

Times are milliseconds. An app is imported, never run as a program: several peers name a task after its module.
The last line on standard output is JSON: how long it took, and for ``plan`` whether it was done in time.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

TOGETHER = 100
"""Calls under way at a time where a client can do that."""

Fill = Callable[[int], Awaitable[None]]
Submit = Callable[[int, float], Awaitable[object]]
Hook = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Feeder:
    """What a peer can be told.

    fill: queue so many no-op tasks.  stamp: queue one with its number and the moment (ms) it counts from.
    plan: have a task with this number begin at this moment (ms).
    """

    fill: Fill
    stamp: Submit
    plan: Submit | None = None
    begin: Hook | None = None
    end: Hook | None = None

    async def main(self, verb: str, *words: str) -> None:
        """Do what the command line says."""
        if self.begin:
            await self.begin()
        began = time.monotonic()
        if verb == "fill":
            await self.fill(int(words[0]))
        elif verb == "pace":
            await self._pace(int(words[0]), float(words[1]))
        elif verb == "plan" and self.plan:
            await self._plan(self.plan, int(words[0]), float(words[1]), float(words[2]))
        else:
            raise SystemExit(f"there is no {verb}")
        print(json.dumps({"seconds": round(time.monotonic() - began, 3), "ended_ms": time.time() * 1000}))
        if self.end:
            await self.end()

    async def _pace(self, rate: int, seconds: float) -> None:
        """One after the other, at an even rate."""
        began = time.monotonic() + 0.1
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await self.stamp(number, time.time() * 1000)

    async def _plan(self, plan: Submit, count: int, first_ms: float, step_ms: float) -> None:
        for first in range(0, count, TOGETHER):
            numbers = range(first, min(first + TOGETHER, count))
            await asyncio.gather(*(plan(number, first_ms + number * step_ms) for number in numbers))


async def together(count: int, submit: Callable[[], Awaitable[object]]) -> None:
    """Call so often, 100 at a time."""
    for first in range(0, count, TOGETHER):
        await asyncio.gather(*(submit() for _ in range(min(TOGETHER, count - first))))
