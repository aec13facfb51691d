"""The connection's thread: keeps one websocket to some gateway, and moves frames between it and the session.

1. Thread and loop are its own, so a handler that blocks its loop cannot cost the lease.
2. A reader hands frames to the session and its events on; a writer sends what the session flushes. Both look at the
   session only in this thread.
3. Two alarms, moved forward when needed, stand for all timers: one for the session's ``tick``, one for its ``flush``.
4. The connect loop is written here and not ``async for socket in connect(...)``, because that cannot go round several
   addresses, nor choose its pauses by what the session holds, nor back off from a gateway that accepts and hangs up.
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Literal, NoReturn

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError, WebSocketException
from websockets.typing import Subprotocol

from gojob_sdk.context import Notebook
from gojob_sdk.errors import Refused
from gojob_sdk.events import Begin, Event, Interrupt, Moved, Regained, Silent, Welcomed
from gojob_sdk.events import Refused as RefusedEvent
from gojob_sdk.protocol import (
    FINAL_CLOSE_CODES,
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    BadFrame,
    Error,
    Outcome,
    decode_gateway,
    encode,
)
from gojob_sdk.session import Link, Session
from gojob_sdk.threads import Mailbox, new_loop

OPEN_WITHIN_S = 10.0
CLOSE_WITHIN_S = 2.0
HOLDING_PAUSE_S = 1.0
IDLE_PAUSE_S = 30.0
LET_PAST_S = (1.0, 3.0)
REFUSED_PAUSE_S = 30.0
NOTES_EVERY_S = 0.05
TELL_AGAIN_S = 60.0
SHOWN_HANDLERS = 10

log = logging.getLogger("gojob_sdk")

# CLOCK_BOOTTIME also counts while the machine sleeps, as the engine that ends our lease does.
clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)

Happening = Literal["connected", "reconnecting", "reconnected", "disconnected"]


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """What happened to the connection, for ``worker.on``."""

    name: Happening
    url: str
    session: str | None
    reason: str = ""


class Alarm:
    """Calls back once at the earliest moment asked for; asking for a later one costs nothing."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._at = inf
        self._timer: asyncio.TimerHandle | None = None

    def by(self, moment: float) -> None:
        if moment < self._at:
            self.clear()
            self._at = moment
            self._timer = asyncio.get_running_loop().call_later(max(0.0, moment - clock()), self._over)

    def clear(self) -> None:
        self._at = inf
        if self._timer is not None:
            self._timer.cancel()

    def _over(self) -> None:
        self._at = inf
        self._ring()


class Connection:
    """Keeps a session connected until it is drained."""

    def __init__(
        self,
        session: Session,
        urls: list[str],
        token: str,
        *,
        on_event: Callable[[Event], None],
        on_happening: Callable[[ConnectionEvent], None],
        on_over: Callable[[], None],
    ) -> None:
        self.error: BaseException | None = None
        self.notebook = Notebook(self._note_written)
        self._session = session
        self._urls = urls
        self._url = urls[0]
        self._token = token
        self._on_event = on_event
        self._on_happening = on_happening
        self._on_over = on_over
        self._loop = new_loop()
        self._calls: Mailbox[Callable[[], object]] = Mailbox(self._loop, self._call_all)
        self._outcomes: Mailbox[Outcome] = Mailbox(self._loop, self._finish)
        self._notes_pending = False
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._tick_alarm = Alarm(self._tick)
        self._flush_alarm = Alarm(self._wake.set)
        self._socket: ClientConnection | None = None
        self._attempts = 0
        self._welcomed = False
        self._refusal: Error | None = None
        self._reconnect_now = False
        self._told: dict[str, float] = {}
        """Why there was no connection lately, and when that was told."""
        self._leaving: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="gojob-connection", daemon=True)

    # --- from other threads -------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        self._thread.join(timeout_s)

    def finish(self, outcomes: list[Outcome]) -> None:
        """Report how runs ended."""
        self._outcomes.put_all(outcomes)

    def drain(self, within_s: float) -> None:
        """Take nothing new, wait so long for what runs, say goodbye. May be called again with less; signal safe."""
        self._calls.put(partial(self._drain, within_s))

    def _note_written(self) -> None:
        if not self._notes_pending:
            self._notes_pending = True
            self._calls.put(self._collect_notes_soon)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the worker
            self.error = error
        finally:
            self._on_over()

    async def _main(self) -> None:
        connecting = asyncio.create_task(self._stay_connected())
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait((connecting, over), return_when=asyncio.FIRST_COMPLETED)
        connecting.cancel()
        over.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connecting
        self._went_offline("stopped")
        log.info("stopped")

    async def _stay_connected(self) -> None:
        while not self._over.is_set():
            reason, refused = await self._connect_once()
            self._went_offline(reason)
            if refused and not self._welcomed:
                raise Refused(reason)
            pause_s = self._pause_s(refused)
            log.log(self._loudness(reason, refused), "%s; next attempt in %.1f s", reason, pause_s)
            await asyncio.sleep(pause_s)
            self._url = self._urls[(self._urls.index(self._url) + 1) % len(self._urls)]
            self._happened("reconnecting", reason)

    def _loudness(self, reason: str, refused: bool) -> int:
        """How loud to tell why there is no connection: the same reason once a minute."""
        now = clock()
        self._told = {told: at for told, at in self._told.items() if now - at < TELL_AGAIN_S}
        if reason in self._told:
            return logging.DEBUG
        self._told[reason] = now
        return logging.ERROR if refused else logging.WARNING

    def _went_offline(self, reason: str) -> None:
        if self._session.link is Link.ONLINE:
            self._happened("disconnected", reason)
        self._session.offline()

    def _pause_s(self, refused: bool) -> float:
        """At once after a move, as told by a busy gateway, within 1 s when runs depend on it, ever longer when idle.

        Whoever lost the connection idle first lets those past whose runs depend on it: perhaps all lost it at once.
        Then the pause is longer after each round of all addresses: one that is down says nothing about the next one.
        """
        self._attempts += 1
        if self._reconnect_now:
            self._reconnect_now = False
            return 0.0
        if refused:
            return REFUSED_PAUSE_S
        if self._refusal is not None and "retry_ms" in self._refusal:
            pause_s = self._refusal["retry_ms"] / 1000 * random.uniform(0.75, 1.25)
            return pause_s if self._session.idle else min(pause_s, HOLDING_PAUSE_S)
        if not self._session.idle:
            return random.uniform(0, HOLDING_PAUSE_S)
        if self._welcomed and self._attempts == 1:
            return random.uniform(*LET_PAST_S)
        rounds = (self._attempts - 1) // len(self._urls)
        if not rounds:
            return random.uniform(0, HOLDING_PAUSE_S)
        return random.uniform(0, min(IDLE_PAUSE_S, 2.0 ** (rounds + 1)))

    async def _connect_once(self) -> tuple[str, bool]:
        """Connect and converse until it ends; why it ended, and whether trying again is hopeless."""
        self._refusal = None
        try:
            socket = await self._connect()
        except InvalidStatus as error:
            status = error.response.status_code
            return f"{self._url} answered HTTP {status}{_hint_of(status)}", status in (401, 403)
        except (OSError, TimeoutError, WebSocketException, EOFError) as error:
            return f"{self._url} cannot be reached: {str(error) or type(error).__name__}", False
        try:
            await self._converse(socket)
        except (OSError, TimeoutError, WebSocketException, BadFrame) as error:
            return self._why_closed(socket, error), socket.close_code in FINAL_CLOSE_CODES
        finally:
            await self._hang_up(socket)

    async def _connect(self) -> ClientConnection:
        socket = await connect(
            self._url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {self._token}"},
            compression=None,
            open_timeout=OPEN_WITHIN_S,
            close_timeout=CLOSE_WITHIN_S,
            ping_interval=None,  # our renewals are the keepalive, and they are answered after Redis committed
            max_size=MAX_FRAME_BYTES,
            write_limit=2 * MAX_FRAME_BYTES,
        )
        if socket.subprotocol != SUBPROTOCOL:
            await socket.close()
            raise NegotiationError(f"it does not speak {SUBPROTOCOL}; is this the address of a gojob gateway?")
        return socket

    def _why_closed(self, socket: ClientConnection, error: Exception) -> str:
        if self._refusal is not None:
            refusal = self._refusal
            return f"{self._url} refused us, {refusal['code']}: {refusal['message']} {refusal['hint']}".rstrip()
        return f"{self._url} is gone: {socket.close_reason or error}"

    async def _converse(self, socket: ClientConnection) -> NoReturn:
        """Read and write until either ends, which only an exception can do."""
        self._socket = socket
        await socket.send(encode(self._session.hello(clock())))
        self._arm()
        halves = [asyncio.create_task(self._read_all(socket)), asyncio.create_task(self._write_all(socket))]
        try:
            done, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
        done.pop().result()
        raise AssertionError("reading and writing have no end of their own")

    async def _hang_up(self, socket: ClientConnection) -> None:
        self._socket = None
        if self._over.is_set() and self._session.link is Link.ONLINE:
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await socket.send(encode({"type": "leave"}))
        await socket.close()

    # --- reading and writing ------------------------------------------------------------------------------------------

    async def _read_all(self, socket: ClientConnection) -> NoReturn:
        while True:
            data = await socket.recv(decode=False)
            frame = decode_gateway(data)
            if frame is not None:
                self._handle(self._session.receive(frame, clock()))
                self._look_around()

    async def _write_all(self, socket: ClientConnection) -> NoReturn:
        session = self._session
        while True:
            self._wake.clear()
            if session.link is Link.ONLINE and self.notebook:
                session.note(self.notebook.take())
            for frame in session.flush(clock()):
                await socket.send(encode(frame))
            self._flush_alarm.by(session.flush_at)
            await self._wake.wait()

    def _look_around(self) -> None:
        """Set the alarms by the session's new state, wake the writer if it has something, end if all is drained."""
        session = self._session
        self._arm()
        if session.sendable:
            self._wake.set()
        if session.drained:
            self._over.set()

    def _arm(self) -> None:
        self._tick_alarm.by(self._session.tick_at)
        self._flush_alarm.by(self._session.flush_at)

    def _tick(self) -> None:
        self._handle(self._session.tick(clock()))
        self._look_around()

    # --- events and calls ---------------------------------------------------------------------------------------------

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Begin() | Interrupt() | Regained():
                    self._on_event(event)
                case Welcomed():
                    self._welcome(event)
                case Moved():
                    self._move(event)
                case Silent():
                    log.warning("%s has not answered for too long", self._url)
                    self._drop_socket()
                case RefusedEvent():
                    self._refusal = event.error

    def _welcome(self, event: Welcomed) -> None:
        self._tell_welcome(event)
        self._told.clear()
        self._happened("reconnected" if self._welcomed else "connected")
        self._welcomed = True
        self._attempts = 0

    def _tell_welcome(self, event: Welcomed) -> None:
        if event.resumed:
            log.info("resumed session %s at %s: %d running", event.session, self._url, self._session.seats.held)
            return
        who = self._session.identity
        more = len(who.handlers) - SHOWN_HANDLERS
        serves = ", ".join(who.handlers[:SHOWN_HANDLERS]) + (f" and {more} more" if more > 0 else "")
        where = f"{who.namespace}/{who.app} with {who.concurrency} seats"
        log.info("connected to %s as session %s: serves %s of %s", self._url, event.session, serves, where)

    def _move(self, event: Moved) -> None:
        """Leave this replica at some moment of the time it gives us, so that not all leave together."""
        self._reconnect_now = True
        self._loop.call_later(random.uniform(0, event.within_s / 2), self._leave, self._socket)

    def _leave(self, socket: ClientConnection | None) -> None:
        """Close a connection in good order, if it is still the one we have."""
        if socket is not None and socket is self._socket:
            self._leaving = self._loop.create_task(socket.close())

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()

    def _finish(self, outcomes: list[Outcome]) -> None:
        self._session.finish(outcomes)
        self._look_around()

    def _drain(self, within_s: float) -> None:
        if not self._session.seats.draining:
            log.info("draining: %d running, for at most %g s", self._session.seats.held, within_s)
        self._session.drain(clock())
        self._loop.call_later(within_s, self._over.set)
        self._look_around()

    def _collect_notes_soon(self) -> None:
        self._loop.call_later(NOTES_EVERY_S, self._collect_notes)

    def _collect_notes(self) -> None:
        self._notes_pending = False
        self._wake.set()

    def _call_all(self, calls: list[Callable[[], object]]) -> None:
        for call in calls:
            call()

    def _happened(self, name: Happening, reason: str = "") -> None:
        self._on_happening(ConnectionEvent(name, self._url, self._session.id, reason))


def _hint_of(status: int) -> str:
    return {
        401: ": the token is missing or wrong; set GOJOB_WORKER_TOKEN",
        403: ": this token may not connect workers of this app",
        404: ": there is no worker socket at this address",
    }.get(status, "")
