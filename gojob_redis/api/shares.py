"""Everybody's share of the loop: who asks much over many connections waits for himself.

1. At most 8 requests of one token are under way at the same time, and of one address on paths that need no token. The
   loop gives each of them a step in turn, so somebody else's request waits for 8 steps at most, however many
   connections the first one has. One process is busy with fewer, so nobody gets less done.
2. Further ones wait in order, at most 1,000; beyond that they are told to come again.
3. A request that waits for something else (the rest of its body, the end of a task) gives its place back meanwhile.
   Those that wait for the end of a task have a limit of their own, and are not counted among those that wait.
4. At most 4 requests of one token have a body of over 64 KiB: those of the others are not read.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Scope

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest

_STATE: Final = "place"


@dataclass(slots=True, eq=False)
class Place:
    """The place of one request among those of its token or address."""

    shares: "Shares"
    whose: str
    places: asyncio.Semaphore
    bodies: asyncio.Semaphore
    taken: bool = False

    async def take(self) -> None:
        """Wait for it."""
        await self.places.acquire()
        self.taken = True

    def give_back(self) -> None:
        """Leave it to the next; twice is once."""
        if self.taken:
            self.taken = False
            self.places.release()


@dataclass(slots=True)
class Shares:
    """The places of all who have requests under way."""

    at_once: int = limits.REQUESTS_AT_ONCE
    waiting: int = limits.REQUESTS_WAITING
    asked: dict[str, int] = field(default_factory=dict)
    """Requests that have a place, gave it back for a while, or wait for one."""
    away: Counter[str] = field(default_factory=Counter)
    """Of these, those that wait for something with a limit of its own."""
    _places: dict[str, tuple[asyncio.Semaphore, asyncio.Semaphore]] = field(default_factory=dict)

    @asynccontextmanager
    async def place(self, whose: str, scope: Scope) -> AsyncIterator[None]:
        """Wait for a place and have it for the block; raises BadRequest ``too_many_requests`` (429).

        whose: key id of the token, or the address.
        """
        asked = self.asked.get(whose, 0)
        if asked - self.away[whose] >= self.at_once + self.waiting:
            raise _too_many(asked - self.away[whose])
        self.asked[whose] = asked + 1
        if not asked:
            self._places[whose] = asyncio.Semaphore(self.at_once), asyncio.Semaphore(limits.LARGE_BODIES)
        place = scope["state"][_STATE] = Place(self, whose, *self._places[whose])
        try:
            await place.take()
            yield
        finally:
            place.give_back()
            self.asked[whose] -= 1
            if not self.asked[whose]:
                del self.asked[whose], self._places[whose], self.away[whose]


@asynccontextmanager
async def paused(scope: Scope, *, away: bool = False) -> AsyncIterator[None]:
    """Give the place of this request back for the block, if it has one, and wait for one after it.

    away: it waits for something that has a limit of its own.
    """
    place: Place | None = scope.get("state", {}).get(_STATE)
    if place is None:
        yield
        return
    place.give_back()
    place.shares.away[place.whose] += away
    try:
        yield
    finally:
        place.shares.away[place.whose] -= away
        await place.take()  # also when it was given up: what answers it then runs in its place, and one soon comes free


@asynccontextmanager
async def room_for_body(scope: Scope, size: int) -> AsyncIterator[None]:
    """Wait until a body of this size may be read, and keep it for the block."""
    place: Place | None = scope.get("state", {}).get(_STATE)
    if place is None or size <= limits.LARGE_BODY_BYTES:
        yield
    else:
        async with place.bodies:
            yield


def _too_many(asked: int) -> BadRequest:
    return BadRequest(
        "too_many_requests",
        f"{asked} requests of this token or address are waiting already.",
        hint="Wait for answers before you ask more, and submit many tasks in one request.",
        limit=asked,
        status=429,
    )
