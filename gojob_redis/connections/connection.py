"""One worker's connection: a reader, a writer, and the assignments that wait for a seat.

1. The reader takes one frame after the other and starts one asyncio task for it (``exchange.py``); at most ``WINDOW``
   are under way, then the reader waits, and TCP makes the worker wait. While the engine works on one batch the next one
   is already being read.
2. The writer sends what waits in ``outbound``. A socket that takes no frame for ``write_s``, or lets ``queue_bytes``
   gather, is a slow reader and is cut off.
3. A connection ends by an exception that leaves its TaskGroup: ``HangUp`` when we close, WebSocketDisconnect when the
   worker did. Whoever wants to end it from outside calls ``cut``; the writer raises it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from starlette.websockets import WebSocket

from gojob_redis.connections.batchers import Batchers
from gojob_redis.connections.close import CLOSE_NORMAL, HangUp, moved, slow_reader
from gojob_redis.connections.counters import Counters
from gojob_redis.connections.exchange import Exchange
from gojob_redis.connections.logbook import Logbook
from gojob_redis.connections.send_queue import Kind, Outbound
from gojob_redis.connections.session import (
    Acknowledge,
    Described,
    Hello,
    Intent,
    Leave,
    Note,
    Renew,
    Resume,
    Session,
)
from gojob_redis.connections.settings import Bounds
from gojob_redis.connections.socket import Socket
from gojob_redis.connections.specs import Specs, SpecSet
from gojob_redis.domain import hints, limits
from gojob_redis.domain.errors import Refused
from gojob_redis.engine.partitions import Partition
from gojob_sdk import protocol

LIGHT: Final = (Renew, Acknowledge, Note, Described)
"""What no work stands behind. It is read at a pace, as is what is ignored."""
LIGHT_PER_S: Final = 200.0
LIGHT_BURST: Final = 400.0
LIGHT_BYTES: Final = 16 * limits.KIB
"""So many bytes of such a frame count as one more."""
UNSEATED_S: Final = 0.2
"""How long an assignment waits for the verdict that frees its seat: a replica may be away that has to confirm it."""


@dataclass(slots=True, eq=False)
class Connection:
    """A worker's connection. The gateway admits it, then ``read`` and ``write`` run until it ends."""

    websocket: WebSocket
    session: Session
    batchers: Batchers
    logbook: Logbook
    bounds: Bounds
    counters: Counters
    clock: Callable[[], float]
    wall_ms: Callable[[], int]
    specs: Specs
    partition: Partition = field(init=False)
    key_id: str = ""
    spec_set: SpecSet | None = None
    """What the worker tells of its handlers, if anything."""
    awaited: dict[str, bool] = field(default_factory=dict)
    """The specs it was asked for, and whether its answer is still to come."""
    leaving: ExitStack = field(default_factory=ExitStack)
    """What is given back when the socket is gone."""
    early: list[hints.Hint] = field(default_factory=list)
    """Hints that overtook the answer that makes this connection the session's."""
    outbound: Outbound = field(default_factory=Outbound)
    unseated: deque[tuple[float, hints.Assignment]] = field(default_factory=deque)
    """Assignments to seats whose report the worker does not know to be answered yet, and since when they wait."""
    socket: Socket = field(init=False)
    exchange: Exchange = field(init=False)
    _credit: float = LIGHT_BURST
    _paced_at: float = 0.0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _patience: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.socket = Socket(self.websocket, self.counters, self.bounds.write_s)
        self.exchange = Exchange(self, self.session, self.batchers, self.logbook, self.counters, self.clock)

    # --- reading --------------------------------------------------------------------------------------------------

    async def read_hello(self) -> protocol.Hello:
        """The first frame; raises Refused when it does not come in time."""
        try:
            async with asyncio.timeout(self.bounds.hello_s):
                while True:
                    intent = self._take(await self.socket.receive())
                    if isinstance(intent, Hello):
                        return intent.frame
        except TimeoutError:
            raise Refused(
                "hello_timeout",
                f"No hello within {self.bounds.hello_s:g} s.",
                protocol.CLOSE_HELLO_TIMEOUT,
                "Send it first.",
            ) from None

    async def read(self, tasks: asyncio.TaskGroup) -> NoReturn:
        """Take frames until the connection ends."""
        exchange = self.exchange
        exchange.tasks = tasks
        while True:
            data = await self.socket.receive()
            intent = self._take(data)
            if intent is None or isinstance(intent, LIGHT):
                await self._pace(len(data))
            match intent:
                case None:
                    pass
                case Resume():
                    await exchange.resume(intent)
                case Described():
                    tasks.create_task(self.specs.take(self, intent.specs))
                case Leave():
                    await exchange.leave()
                    raise HangUp(CLOSE_NORMAL)
                case _:
                    await exchange.window.acquire()
                    tasks.create_task(exchange.carry(intent))

    async def _pace(self, size: int) -> None:
        """Read no more for a while when too much came of what no work stands behind."""
        now = self.clock()
        self._credit = min(LIGHT_BURST, self._credit + (now - self._paced_at) * LIGHT_PER_S) - 1 - size / LIGHT_BYTES
        self._paced_at = now
        if self._credit < 0:
            await asyncio.sleep(-self._credit / LIGHT_PER_S)

    def _take(self, data: bytes) -> Intent | None:
        return self.session.receive(data, self.clock(), self.wall_ms())

    # --- writing --------------------------------------------------------------------------------------------------

    def tell(self, kind: Kind, *items: Any) -> None:
        """Queue something for the worker; see ``Outbound.put``."""
        self.outbound.put(kind, *items)
        if self.outbound.size > self.bounds.queue_bytes:
            self.cut(slow_reader())
        self._wake.set()

    def take(self, hint: hints.Hint) -> None:
        """Pass a hint from the engine on to the worker."""
        match hint:
            case hints.Assignment():
                if self.unseated or not self.session.has_room():
                    self._wait_for_seat(hint)
                else:
                    self._assign(hint)
            case hints.Cancel():
                self.counters.canceled += 1
                self.tell("cancel", hint)
            case hints.Moved():
                self.cut(moved())
            case hints.Sync():
                if self.session.request_sync():
                    self.exchange.ask_for_seats()

    def _assign(self, hint: hints.Assignment) -> None:
        self.session.assigned(hint)
        self.counters.assigned += 1
        if hint.attempt == 1:
            self.counters.task_wait.observe(max(0, self.wall_ms() - hint.made) / 1000)
        self.tell("assign", hint)

    def _wait_for_seat(self, hint: hints.Assignment) -> None:
        """Keep an assignment until the verdict that frees its seat is told, or was waited for long enough."""
        self.unseated.append((self.clock(), hint))
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(UNSEATED_S, self._lose_patience)

    def seat_waiting(self) -> None:
        """Send assignments as far as the worker has seats for them by its own count."""
        while self.unseated and self.session.has_room():
            self._assign(self.unseated.popleft()[1])

    def _lose_patience(self) -> None:
        """Send assignments that waited for too long."""
        self._patience = None
        now = self.clock()
        while self.unseated and now - self.unseated[0][0] >= UNSEATED_S:
            self._assign(self.unseated.popleft()[1])
        if self.unseated:
            wait_s = UNSEATED_S - (now - self.unseated[0][0])
            self._patience = asyncio.get_running_loop().call_later(wait_s, self._lose_patience)

    def give_up(self) -> list[hints.Assignment]:
        """Forget what waits to be sent; returns the assignments that were never written."""
        unseated, early = self.unseated, self.early
        self.unseated, self.early = deque(), []
        unwritten = self.outbound.give_up()
        unwritten += [hint for _, hint in unseated]
        return unwritten + [hint for hint in early if isinstance(hint, hints.Assignment)]

    def ask_for_specs(self, digests: Sequence[str]) -> None:
        """Ask what these digests stand for."""
        self.tell("describe", *digests)

    def ask_to_move(self, reason: str, within_s: float) -> None:
        """Ask the worker to connect elsewhere and go on working."""
        move: protocol.Move = {"type": "move", "reason": reason, "within_ms": int(within_s * 1000)}
        self.tell("move", move)

    def cut(self, why: HangUp) -> None:
        """End the connection from outside; a frame that is being sent is given up."""
        if self.socket.cut(why):
            self._wake.set()

    async def write(self) -> NoReturn:
        """Send what waits until the connection ends."""
        socket = self.socket
        while True:
            await self._wake.wait()
            self._wake.clear()
            while socket.ending is None and (frame := self.outbound.take()) is not None:
                await socket.send(frame)
            if socket.ending is not None:
                raise socket.ending
