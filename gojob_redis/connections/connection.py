"""One worker's socket: a reader, a writer, and what carries intents to the engine and its words back.

1. The reader takes one frame after the other and starts one asyncio task for it, whatever the number of its items; at
   most ``WINDOW`` are under way, then the reader waits, and TCP makes the worker wait. While the engine works on one
   batch the next one is already being read.
2. The writer sends what waits in ``outbound``. A socket that takes no frame for ``write_s``, or lets ``queue_bytes``
   gather, is a slow reader and is cut off.
3. A connection ends by an exception that leaves its TaskGroup: ``HangUp`` when we close, WebSocketDisconnect when the
   worker did. Whoever wants to end it from outside calls ``cut``; the writer raises it.
4. What the engine did not answer in time is asked again until the socket ends: a report needs its verdict, and a
   start that was never recorded would be given to somebody else. The worker repeats all of it on its next connection.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NoReturn, Protocol, TypeVar

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected, WebSocketState

from gojob_redis import match
from gojob_redis.connections.batcher import Batcher
from gojob_redis.connections.batchers import ITEM_BYTES, Batchers
from gojob_redis.connections.close import CLOSE_NORMAL, HangUp, moved, restarting, slow_reader
from gojob_redis.connections.counters import Counters
from gojob_redis.connections.send_queue import Kind, Outbound
from gojob_redis.connections.session import (
    Acknowledge,
    Hello,
    Intent,
    Leave,
    Note,
    Phase,
    Release,
    Renew,
    Report,
    Resume,
    Session,
    Start,
    disowned,
)
from gojob_redis.connections.settings import Bounds
from gojob_redis.domain import hints, limits
from gojob_redis.domain.errors import (
    Refused,
    Unavailable,
)
from gojob_redis.engine.durability import Level
from gojob_redis.engine.errors import tell
from gojob_redis.engine.scripts import ScriptFailed
from gojob_sdk import protocol

log = structlog.get_logger()
WINDOW: Final = 8
"""Frames of one socket that wait for the engine at the same time."""
LIGHT: Final = (Renew, Acknowledge, Note)
"""What no work stands behind. It is read at a pace, as is what is ignored."""
LIGHT_PER_S: Final = 200.0
LIGHT_BURST: Final = 400.0
LIGHT_BYTES: Final = 4 * limits.KIB
"""So many bytes of such a frame count as one more."""
RENEWALS: Final = 2
"""Renewals of one session that may wait: while the engine is slow, more would only make it slower."""
UNSEATED_S: Final = 0.2
"""How long an assignment waits for the verdict that frees its seat: a replica may be away that has to confirm it."""
GOODBYE_S: Final = 2.0
I = TypeVar("I")  # noqa: E741  an item
Insisted = Literal["start", "report", "release"]
"""Verbs that are asked again until they are answered."""


class Guest(Protocol):
    """The connection below a socket (``api.crowd.Guest``)."""

    def show_token(self) -> None:
        """It has shown a valid token."""

    def abort(self) -> None:
        """Close at once, whatever waits to be written."""


@dataclass(slots=True, eq=False)
class Connection:
    """A worker's connection. The gateway admits it, then ``read`` and ``write`` run until it ends."""

    websocket: WebSocket
    session: Session
    batchers: Batchers
    bounds: Bounds
    counters: Counters
    clock: Callable[[], float]
    wall_ms: Callable[[], int]
    partition: int = -1
    key_id: str = ""
    leaving: ExitStack = field(default_factory=ExitStack)
    """What is given back when the socket is gone."""
    early: list[hints.Hint] = field(default_factory=list)
    """Hints that overtook the answer that makes this connection the session's."""
    outbound: Outbound = field(default_factory=Outbound)
    unseated: deque[tuple[float, hints.Assignment]] = field(default_factory=deque)
    """Assignments to seats whose report the worker does not know to be answered yet, and since when they wait."""
    _credit: float = LIGHT_BURST
    _paced_at: float = 0.0
    _renewals: int = 0
    """How many wait for the engine."""
    _tasks: asyncio.TaskGroup | None = None
    _window: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WINDOW))
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: HangUp | None = None
    _deadline: asyncio.Timeout | None = None
    _patience: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """Where the socket comes from."""
        client = self.websocket.client
        return client.host if client else ""

    # --- reading --------------------------------------------------------------------------------------------------

    async def read_hello(self) -> protocol.Hello:
        """The first frame; raises Refused when it does not come in time."""
        try:
            async with asyncio.timeout(self.bounds.hello_s):
                while True:
                    intent = self._take(await self._receive())
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
        self._tasks = tasks
        while True:
            data = await self._receive()
            intent = self._take(data)
            if intent is None or isinstance(intent, LIGHT):
                await self._pace(len(data))
            match intent:
                case None:
                    pass
                case Resume():
                    await self._resume(intent)
                case Leave():
                    await self._leave()
                    raise HangUp(CLOSE_NORMAL)
                case _:
                    await self._window.acquire()
                    tasks.create_task(self._carry(intent))

    async def _pace(self, size: int) -> None:
        """Read no more for a while when too much came of what no work stands behind."""
        now = self.clock()
        self._credit = min(LIGHT_BURST, self._credit + (now - self._paced_at) * LIGHT_PER_S) - 1 - size / LIGHT_BYTES
        self._paced_at = now
        if self._credit < 0:
            await asyncio.sleep(-self._credit / LIGHT_PER_S)

    async def _receive(self) -> bytes:
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"], message.get("reason"))
        data: bytes | None = message.get("bytes")
        if data is None:
            raise Refused(
                "bad_frame",
                "A text message came; every frame is a binary one.",
                protocol.CLOSE_BAD_FRAME,
                "Send MessagePack.",
            )
        return data

    def _take(self, data: bytes) -> Intent | None:
        self.counters.frames_in += 1
        self.counters.bytes_in += len(data)
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
                    self._ask_for_seats()

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

    def _seat(self) -> None:
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

    def ask_to_move(self, reason: str, within_s: float) -> None:
        """Ask the worker to connect elsewhere and go on working."""
        move: protocol.Move = {"type": "move", "reason": reason, "within_ms": int(within_s * 1000)}
        self.tell("move", move)

    def cut(self, why: HangUp) -> None:
        """End the connection from outside; a frame that is being sent is given up."""
        if self._ending is not None:
            return
        self._ending = why
        self.counters.cut[why.code] = self.counters.cut.get(why.code, 0) + 1
        self._wake.set()
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())

    async def write(self) -> NoReturn:
        """Send what waits until the connection ends."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ending is None and (frame := self.outbound.take()) is not None:
                await self._send(frame)
            if self._ending is not None:
                raise self._ending

    async def _send(self, frame: bytes) -> None:
        try:
            async with asyncio.timeout(self.bounds.write_s) as self._deadline:
                await self.websocket.send_bytes(frame)
        except TimeoutError:
            raise self._ending or slow_reader() from None
        except RuntimeError as error:  # how the server says that it hung up already
            raise WebSocketDisconnect(1006, str(error)) from None
        finally:
            self._deadline = None
        self.counters.frames_out += 1
        self.counters.bytes_out += len(frame)

    async def say_goodbye(self, why: HangUp) -> None:
        """Send the error and close, if the socket takes it; else its descriptor goes at once."""
        if self.websocket.client_state is WebSocketState.DISCONNECTED:
            return
        reason = why.error["code"] if why.error else ""
        with suppress(TimeoutError, WebSocketDisconnect, WebSocketDisconnected, RuntimeError):
            async with asyncio.timeout(GOODBYE_S):
                if why.error is not None:
                    await self.websocket.send_bytes(protocol.encode(why.error))
                await self.websocket.close(why.code, reason)
                return
        guest: Guest | None = self.websocket.scope.get("state", {}).get("guest")
        if guest is not None:
            guest.abort()

    # --- to the engine and back -----------------------------------------------------------------------------------

    async def _carry(self, intent: Intent) -> None:
        """Take one frame's intent to the engine, and what it says to the worker."""
        try:
            match intent:
                case Report():
                    await self._report(intent)
                case Start():
                    await self._start(intent)
                case Renew():
                    await self._renew(intent)
                case Release():
                    await self._release(intent)
                case Acknowledge():
                    await self._acknowledge(intent)
                case Note():
                    await self._note(intent)
        finally:
            self._window.release()

    async def _start(self, intent: Start) -> None:
        # Only a start that its run waits for is acknowledged; the others are news, which a report brings again.
        acknowledged = self.session.confirms(intent.starts)
        sizes = [ITEM_BYTES] * len(intent.starts)
        words = await self._insist("start", intent.starts, sizes, acknowledged=acknowledged)
        self.counters.started += len(words)
        self.tell("start", *self.session.started(intent.starts, words))

    async def _report(self, intent: Report) -> None:
        reports = intent.reports
        sizes = [ITEM_BYTES + len(one.value) for one in reports]
        words = await self._insist("report", reports, sizes, acknowledged=True)
        self.counters.reported += len(words)
        self.counters.reports.update((word, one.outcome) for word, one in zip(words, reports, strict=True))
        for lasted_ms in intent.lasted_ms:
            self.counters.run_duration.observe(lasted_ms / 1000)
        self.tell("report", *self.session.answered([(one.run, one.attempt) for one in reports], words))
        self._seat()

    async def _release(self, intent: Release) -> None:
        releases = intent.releases
        words = await self._insist("release", releases, [ITEM_BYTES] * len(releases), acknowledged=False)
        self.session.released()
        self.tell("release", *self.session.answered([(one.run, one.attempt) for one in releases], words))
        self._seat()

    async def _acknowledge(self, intent: Acknowledge) -> None:
        canceled = intent.canceled
        await self._try(self.batchers.acknowledge(self.partition), canceled, [ITEM_BYTES] * len(canceled))

    async def _note(self, intent: Note) -> None:
        sizes = [ITEM_BYTES + len(note.text) for note in intent.notes]
        if not await self._try(self.batchers.note(self.partition), intent.notes, sizes):
            self.counters.notes_dropped += len(intent.notes)

    async def _renew(self, intent: Renew) -> None:
        if self._renewals == RENEWALS:
            return  # no answer: what waits already renews the session when its turn comes
        began = self.clock()
        self._renewals += 1
        try:
            word = await self.batchers.renew(self.partition).put(self.session, tenant=self.session.app, size=ITEM_BYTES)
        except (Unavailable, ScriptFailed) as error:
            tell("session.not_renewed", error, session=self.session.id)
            return  # no answer: the worker's lease counts on from the last one
        finally:
            self._renewals -= 1
        self.counters.waited("renew", self.clock() - began)
        match self.session.renewed(word):
            case "moved":
                self.cut(moved())
            case "lost":
                self._lost()
            case meaning:
                if meaning == "sync":
                    self._ask_for_seats()
                if intent.seq is not None:
                    renewed: protocol.Renewed = {"type": "renewed", "seq": intent.seq}
                    self.tell("renewed", renewed)

    def _lost(self) -> None:
        """The engine ended the session; the worker gets a new one when it connects again."""
        if self.session.phase is Phase.LOST:
            self.cut(restarting("The session is over, and the worker did not connect again when it was told."))
        else:
            self.session.phase = Phase.LOST
            self.ask_to_move("lost", 0)

    def _ask_for_seats(self) -> None:
        self.counters.syncs += 1
        sync: protocol.Sync = {"type": "sync"}
        self.tell("sync", sync)

    async def _resume(self, intent: Resume) -> None:
        """Compare seats. Nothing else of this socket is under way meanwhile, so neither side changes its list."""
        for _ in range(WINDOW):
            await self._window.acquire()
        held = self.session.resumable(intent.held)
        try:
            resumed = await match.resume(
                self.batchers.space,
                self.partition,
                session=self.session.id,
                app=self.session.app,
                holder=self.key_id,
                gateway=self.batchers.gateway,
                conn=self.session.conn,
                capacity=self.session.capacity,
                held=held,
            )
        except (Unavailable, ScriptFailed) as error:
            tell("session.not_resumed", error, session=self.session.id)
            return
        finally:
            for _ in range(WINDOW):
                self._window.release()
        match resumed.word:
            case "ok":
                self.tell("start", *disowned(held, resumed.verdicts))
            case "lost":
                self._lost()
            case _:
                self.cut(moved())

    async def _leave(self) -> None:
        """End the session; what one call cannot give back the trigger replicas do."""
        leaving = self.session.id, self.session.conn
        try:
            await self.batchers.leave(self.partition).put(leaving, tenant=self.session.app, size=ITEM_BYTES)
        except (Unavailable, ScriptFailed) as error:
            tell("session.not_left", error, session=self.session.id)

    def renew_late(self) -> None:
        """Renew what the worker does not: it was heard by something else."""
        if self._tasks is None or self._renewals:
            return
        renewing = self._renew(Renew(None))
        try:
            self._tasks.create_task(renewing)
        except RuntimeError:  # the connection is ending, and its group takes no more tasks
            renewing.close()

    async def _insist(
        self, verb: Insisted, items: Sequence[Any], sizes: Sequence[int], *, acknowledged: bool
    ) -> list[str]:
        """One word each; asks again while the engine is out of reach, until the socket ends.

        acknowledged: whether the worker forgets what it sent, so that the level of its namespace counts.
        """
        began, app = self.clock(), self.session.app
        while True:
            try:
                level = await self.batchers.levels.of(app) if acknowledged else Level.FAST
                results = await self._batcher(verb, level).put_many(items, tenant=app, sizes=sizes)
            except Unavailable as error:
                await asyncio.sleep(error.retry_after_s)
            else:
                self.counters.waited(verb, self.clock() - began)
                return [self._word(result) for result in results]

    def _batcher(self, verb: Insisted, level: Level) -> Batcher[Any, str]:
        match verb:
            case "start":
                return self.batchers.start(self.partition, level)
            case "report":
                return self.batchers.report(self.partition, level)
            case "release":
                return self.batchers.release(self.partition)

    async def _try(self, batcher: Batcher[I, str], items: Sequence[I], sizes: Sequence[int]) -> bool:
        """Send what is not worth a repeat; whether it was."""
        try:
            await batcher.put_many(items, tenant=self.session.app, sizes=sizes)
        except Unavailable:
            return False
        return True

    def _word(self, result: str | Exception) -> str:
        """A record that broke the script is out of this worker's hands: ``gone`` is final."""
        if isinstance(result, str):
            return result
        log.error("item.failed", session=self.session.id, error=str(result))
        return "gone"
