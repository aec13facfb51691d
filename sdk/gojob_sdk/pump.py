"""The pump: moves frames between the session and the socket it has at the moment, and calls the session on time.

1. A reader hands frames to the session and its events on; a writer sends what the session flushes.
2. Two alarms, moved forward when needed, stand for all timers: one for the session's ``tick``, one for its ``flush``.

Everything here runs in the connection's loop, except the note book, which any thread may write.
"""

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import NoReturn

from websockets.asyncio.client import ClientConnection

from gojob_sdk.context import Notebook
from gojob_sdk.events import Event
from gojob_sdk.protocol import Load, Outcome, decode_gateway, encode
from gojob_sdk.session import Link, Session

NOTES_EVERY_S = 0.05
NOTES_BYTES = 128 << 10
"""Lines that are sent in this time at most. A gateway reads no faster, and what is behind them would wait, too."""

# CLOCK_BOOTTIME also counts while the machine sleeps, as the engine that ends our lease does.
clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


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


class Pump:
    """Keeps a session supplied with frames and time, over one socket after the other."""

    def __init__(
        self,
        session: Session,
        *,
        on_event: Callable[[Event], None],
        on_drained: Callable[[], None],
        call_soon: Callable[[Callable[[], object]], None],
        measure: Callable[[], Load],
    ) -> None:
        """call_soon: calls something in the connection's loop, from any thread; measure: what a heartbeat tells."""
        self.notebook = Notebook(self._note_written)
        self._session = session
        self._on_event = on_event
        self._on_drained = on_drained
        self._call_soon = call_soon
        self._measure = measure
        self._socket: ClientConnection | None = None
        self._closing: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._tick_alarm = Alarm(self._tick)
        self._flush_alarm = Alarm(self._wake.set)
        self._notes_pending = False
        self._notes_left = NOTES_BYTES

    # --- the socket ---------------------------------------------------------------------------------------------------

    async def converse(self, socket: ClientConnection) -> NoReturn:
        """Read and write until either ends, which only an exception can do."""
        self._socket = socket
        try:
            await socket.send(encode(self._session.hello(clock())))
            self._arm()
            await self._read_and_write(socket)
        finally:
            self._socket = None
        raise AssertionError("reading and writing have no end of their own")

    async def _read_and_write(self, socket: ClientConnection) -> None:
        halves = [asyncio.create_task(self._read_all(socket)), asyncio.create_task(self._write_all(socket))]
        try:
            done, _ = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
        done.pop().result()

    async def _read_all(self, socket: ClientConnection) -> NoReturn:
        while True:
            data = await socket.recv(decode=False)
            frame = decode_gateway(data)
            if frame is not None:
                self._pass_on(self._session.receive(frame, clock()))

    async def _write_all(self, socket: ClientConnection) -> NoReturn:
        session = self._session
        while True:
            self._wake.clear()
            if session.link is Link.ONLINE and self.notebook:
                self._take_notes()
            for frame in session.flush(clock()):
                if frame["type"] == "renew" and "seq" in frame:
                    frame["load"] = self._measure()
                await socket.send(encode(frame))
            self._flush_alarm.by(session.flush_at)
            await self._wake.wait()

    def leave_within(self, within_s: float) -> None:
        """Close this connection in good order at some moment of this time, so that not all workers leave together."""
        asyncio.get_running_loop().call_later(random.uniform(0, within_s), self._leave, self._socket)

    def _leave(self, socket: ClientConnection | None) -> None:
        if socket is not None and socket is self._socket:
            self._closing = asyncio.get_running_loop().create_task(socket.close())

    def abort(self) -> None:
        """Give up this connection at once, without waiting for the other side."""
        if self._socket is not None:
            self._socket.transport.abort()

    # --- the session --------------------------------------------------------------------------------------------------

    def finish(self, outcomes: list[Outcome]) -> None:
        """Report how runs ended."""
        self._session.finish(outcomes)
        self._look_around()

    def drain(self) -> None:
        """Take nothing new and hand back what was not begun."""
        self._session.drain(clock())
        self._look_around()

    def _tick(self) -> None:
        self._pass_on(self._session.tick(clock()))

    def _pass_on(self, events: list[Event]) -> None:
        for event in events:
            self._on_event(event)
        self._look_around()

    def _look_around(self) -> None:
        """Set the alarms by the session's new state, wake the writer if it has something, say so if all is drained."""
        session = self._session
        self._arm()
        if session.sendable:
            self._wake.set()
        if session.drained:
            self._on_drained()

    def _arm(self) -> None:
        self._tick_alarm.by(self._session.tick_at)
        self._flush_alarm.by(self._session.flush_at)

    # --- notes --------------------------------------------------------------------------------------------------------

    def _take_notes(self) -> None:
        """Send what was noted, as far as that may be sent now; all of it with the goodbye."""
        session, before = self._session, self.notebook.bytes
        session.note(self.notebook.take(before if session.drained else self._notes_left))
        self._notes_left -= before - self.notebook.bytes
        if self.notebook and not self._notes_pending:
            self._notes_pending = True
            self._collect_notes_soon()

    def _note_written(self) -> None:
        """Let the writer look at the note book soon; called from any thread."""
        if not self._notes_pending:
            self._notes_pending = True
            self._call_soon(self._collect_notes_soon)

    def _collect_notes_soon(self) -> None:
        asyncio.get_running_loop().call_later(NOTES_EVERY_S, self._collect_notes)

    def _collect_notes(self) -> None:
        self._notes_pending, self._notes_left = False, NOTES_BYTES
        self._wake.set()
