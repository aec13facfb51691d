"""Who is let in first when many workers come at once.

1. A hello costs the engine a call. At most ``AT_ONCE`` are with it, so that leases are renewed and work goes on while
   ten thousand workers come home.
2. Sessions that hold runs go first: their lease is running, and whoever waits behind them only waits for work.
3. The others wait in a queue that is bounded in length and time. Who does not fit is told to come again after a while
   that grows with the queue, and differs from worker to worker.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gojob_redis.domain.errors import Unavailable

AT_ONCE: Final = 16
"""Half of the connections to the engine: a call of the other kinds always finds one."""
QUEUE: Final = 4_000
PATIENCE_S: Final = 8.0
"""The SDK waits 10 s for its welcome; what is answered later is thrown away."""
AGAIN_S: Final = (1.0, 30.0)
QUICK: Final = 200
"""Sessions a second that come home on a slow machine; says how long a queue takes."""

Turn = asyncio.Future[None]


class Admission:
    """Turns at the engine for hellos."""

    def __init__(self, *, at_once: int = AT_ONCE, queue: int = QUEUE, patience_s: float = PATIENCE_S) -> None:
        self.at_once = at_once
        self.queue = queue
        self.patience_s = patience_s
        self.turned_away = 0
        self._inside = 0
        self._holders: deque[Turn] = deque()
        self._others: deque[Turn] = deque()

    @property
    def waiting(self) -> int:
        """How many stand in the queue."""
        return len(self._holders) + len(self._others)

    @asynccontextmanager
    async def turn(self, *, holding: bool) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the block.

        holding: whether the session has runs. Raises Unavailable ``busy`` when the queue is full or stands still.
        """
        if self._inside < self.at_once:
            self._inside += 1
        else:
            await self._wait(self._holders if holding else self._others)
        try:
            yield
        finally:
            self._hand_on()

    async def _wait(self, queue: deque[Turn]) -> None:
        if queue is self._others and self.waiting >= self.queue:
            raise self._busy()
        turn: Turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(self.patience_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._hand_on()
            else:
                queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _hand_on(self) -> None:
        """Give the turn to whoever is next."""
        for queue in (self._holders, self._others):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._inside -= 1

    def _busy(self) -> Unavailable:
        self.turned_away += 1
        first, longest = AGAIN_S
        again_s = random.uniform(first, min(longest, first + 2 * self.waiting / QUICK))
        return Unavailable(
            f"{self.waiting} workers are waiting to be let in.",
            round(again_s, 3),
            code="busy",
            hint="Come again after the time that is told, here or at another replica.",
        )
