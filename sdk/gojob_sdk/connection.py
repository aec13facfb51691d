"""The connection's thread: keeps a session connected to some gateway until it is drained.

1. Thread and loop are its own, so a handler that blocks its loop cannot cost the lease. Other threads reach it through
   mailboxes only.
2. ``websocket`` opens and closes, ``pump`` moves the frames, ``reconnect`` says when and where to try again.
3. The connect loop is written here and not ``async for socket in connect(...)``, because that cannot go round several
   addresses, nor choose its pauses by what the session holds, nor back off from a gateway that accepts and hangs up.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from gojob_sdk.errors import Refused
from gojob_sdk.events import Begin, Event, Interrupt, Moved, Regained, Silent, Welcomed
from gojob_sdk.events import Refused as RefusedEvent
from gojob_sdk.protocol import Error, Load, Outcome
from gojob_sdk.pump import Pump, clock
from gojob_sdk.reconnect import Reconnect
from gojob_sdk.session import Link, Session
from gojob_sdk.threads import Mailbox, new_loop
from gojob_sdk.websocket import OPEN_ERRORS, SOCKET_ERRORS, Failure, close_socket, closed, not_opened, open_socket

SHOWN_HANDLERS = 10

log = logging.getLogger("gojob_sdk")

Happening = Literal["connected", "reconnecting", "reconnected", "disconnected"]


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """What happened to the connection, for ``worker.on``."""

    name: Happening
    url: str
    session: str | None
    reason: str = ""


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
        measure: Callable[[], Load],
    ) -> None:
        self.error: BaseException | None = None
        self._session = session
        self._token = token
        self._on_event = on_event
        self._on_happening = on_happening
        self._on_over = on_over
        self._loop = new_loop()
        self._over = asyncio.Event()
        self._calls: Mailbox[Callable[[], object]] = Mailbox(self._loop, _call_all)
        self._pump = Pump(
            session,
            on_event=self._handle,
            on_drained=self._over.set,
            call_soon=self._calls.put,
            measure=measure,
        )
        self._outcomes: Mailbox[Outcome] = Mailbox(self._loop, self._pump.finish)
        self._reconnect = Reconnect(urls)
        self._refusal: Error | None = None
        """Why the gateway of the present or last connection hung up, if it said so."""
        self._thread = threading.Thread(target=self._run, name="gojob-connection", daemon=True)
        self.notebook = self._pump.notebook

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
        reconnect = self._reconnect
        while not self._over.is_set():
            failure = await self._connect_once()
            self._went_offline(failure.reason)
            if failure.final and not reconnect.was_welcome:
                raise Refused(failure.reason)
            pause_s = reconnect.pause_s(final=failure.final, idle=self._session.idle, refusal=self._refusal)
            level = reconnect.loudness(failure.reason, final=failure.final, now=clock())
            log.log(level, "%s; next attempt in %.1f s", failure.reason, pause_s)
            await asyncio.sleep(pause_s)
            reconnect.next_url()
            self._happened("reconnecting", failure.reason)

    async def _connect_once(self) -> Failure:
        """Connect and converse until that fails."""
        self._refusal = None
        url = self._reconnect.url
        try:
            socket = await open_socket(url, self._token)
        except OPEN_ERRORS as error:
            return not_opened(url, error)
        try:
            await self._pump.converse(socket)
        except SOCKET_ERRORS as error:
            return closed(url, socket, error, self._refusal)
        finally:
            await close_socket(socket, leave=self._over.is_set() and self._session.link is Link.ONLINE)

    def _went_offline(self, reason: str) -> None:
        if self._session.link is Link.ONLINE:
            self._happened("disconnected", reason)
        self._session.offline()

    def _drain(self, within_s: float) -> None:
        seats = self._session.seats
        if not seats.draining:
            log.info("draining: %d running, for at most %g s", seats.held, within_s)
        self._loop.call_later(within_s, self._over.set)
        self._pump.drain()

    # --- events -------------------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event:
            case Begin() | Interrupt() | Regained():
                self._on_event(event)
            case Welcomed():
                self._welcome(event)
            case Moved():
                self._reconnect.moved()
                self._pump.leave_within(event.within_s / 2)
            case Silent():
                log.warning("%s has not answered for too long", self._reconnect.url)
                self._pump.abort()
            case RefusedEvent():
                self._refusal = event.error

    def _welcome(self, event: Welcomed) -> None:
        self._log_welcome(event)
        self._happened("reconnected" if self._reconnect.was_welcome else "connected")
        self._reconnect.welcomed()

    def _log_welcome(self, event: Welcomed) -> None:
        session, url = self._session, self._reconnect.url
        if event.resumed:
            log.info("resumed session %s at %s: %d running", event.session, url, session.seats.held)
            return
        who = session.identity
        more = len(who.handlers) - SHOWN_HANDLERS
        serves = ", ".join(who.handlers[:SHOWN_HANDLERS]) + (f" and {more} more" if more > 0 else "")
        where = f"{who.namespace}/{who.app} with {who.concurrency} seats"
        log.info("connected to %s as session %s: serves %s of %s", url, event.session, serves, where)

    def _happened(self, name: Happening, reason: str = "") -> None:
        self._on_happening(ConnectionEvent(name, self._reconnect.url, self._session.id, reason))


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()
