"""uvicorn's two protocols, with the limits that they do not have: what is read before anybody is known is bounded.

1. The head of a request has at most 8 KiB of URL and 32 KiB in 100 headers: beyond it, 414 or 431, and the connection
   is closed. No byte above these is kept.
2. Who sends chunks without content (extensions, trailers) gets no further than 64 KiB of them, and nobody more than 16
   requests ahead of the answers. What is left of a body that nobody reads is thrown away for 3 s.
3. A worker socket is read no further while its peer does not take what is written, pongs above all, nor while the
   gateway has not taken the message before. Frames are parsed 4 KiB at a time, and others have their turn every 2 ms.
   More than 100 pings and pongs in a second close it.
4. Deadlines stand in the connection's ``Guest`` (``crowd.py``).

``tests/unit/api/test_wire.py`` pins what is used of uvicorn: read it when an upgrade breaks it.
"""

import asyncio
import math
import secrets
import time
from functools import partial
from typing import Any, Final

import httptools
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from gojob_redis.api import proxy
from gojob_redis.api.crowd import Crowd, Guest
from gojob_redis.api.problem import problem
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest, GojobError

HEAD_BYTES: Final = limits.HEADERS_BYTES + limits.URL_BYTES
IDLE_BYTES: Final = 64 * limits.KIB
"""Bytes of a body in which there is no content."""
SLICE_BYTES: Final = 4 * limits.KIB
TURN_S: Final = 0.002
FRAGMENTS: Final = 1_000
CONTROLS: Final = 100
"""Pings and pongs of one socket in a second: 25 µs each."""
CLOSE_S: Final = 5.0
CLOSE_POLICY: Final = 1008
CLOSE_TOO_BIG: Final = 1009


class Refused(Exception):
    """Ends the parsing of a request that goes beyond its limits."""


class Flow(FlowControl):
    """uvicorn's flow control; what came is parsed before more is read."""

    def __init__(self, transport: asyncio.Transport, http: "Http") -> None:
        super().__init__(transport)
        self.http = http

    def resume_reading(self) -> None:
        if not self.http.rest:
            super().resume_reading()


class Http(HttpToolsProtocol):
    """An HTTP connection."""

    guest: Guest

    def __init__(self, crowd: Crowd, **options: Any) -> None:
        super().__init__(**options)
        self.crowd = crowd
        self.ws_protocol_class = partial(WorkerSocket, self)  # type: ignore[assignment]
        self._in_head = True
        self._head_bytes = 0
        self._idle_bytes = 0
        self._deaf = False
        self.rest = b""
        """Chunks of a body that wait to be parsed."""
        self._header: bytes | None = None
        """What came of a PROXY header."""
        self._why: GojobError | None = None
        self._answered: RequestResponseCycle | None = None
        """The request that is answered now; ``cycle`` is the newest, which may wait behind it."""

    # --- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self)
        self.guest = self.crowd.join(transport)
        if self.crowd.proxy_protocol and self.guest.trusted:
            self._header = b""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._give_up_answer()
        self.crowd.leave(self.guest)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.guest.takes_nothing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.guest.takes_again()

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._header is not None:
            data = self._after_header(data)
            if not data:
                return
        if self.rest:
            self.rest += data
            return
        if self._in_head:
            if not self._head_bytes:
                self.guest.due = self.crowd.now + limits.HEAD_MS / 1000
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                fits = len(data) - (self._head_bytes - HEAD_BYTES)
                self._parse(data[:fits])
                if self._in_head:
                    self._refuse(_head_too_large() if len(self.url) <= limits.URL_BYTES else _url_too_long())
                data = data[fits:]
                if self._deaf or self.transport.is_closing():
                    return
        if len(data) > SLICE_BYTES and not self._in_head and self._is_chunked():
            self.rest = data
            self.flow.pause_reading()
            self._read_on()
        else:
            self._parse(data)

    def _read_on(self) -> None:
        """Parse some of the chunks that came: they may be tiny, and nobody may want them any more."""
        if self._deaf or self.transport.is_closing():
            self.rest = b""
            return
        piece, self.rest = self.rest[:SLICE_BYTES], self.rest[SLICE_BYTES:]
        self._parse(piece)
        if self.rest:
            self.loop.call_soon(self._read_on)
        elif len(self.cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _is_chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _ in self.headers)

    def _parse(self, data: bytes) -> None:
        """As uvicorn does it, but without a line of log for whatever anybody sends."""
        self._unset_keepalive_if_required()
        if not self._in_head:
            self._idle_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._why or _malformed())
        except httptools.HttpParserUpgrade:
            if self.cycle is not None and not self.cycle.response_complete:
                self._hang_up()  # the answer would be written into the socket
            elif self._should_upgrade():
                self.handle_websocket_upgrade()
        if self._idle_bytes > IDLE_BYTES:
            self._refuse(_no_content())

    def _after_header(self, data: bytes) -> bytes:
        """What comes after the PROXY header; nothing while it is not whole."""
        received = (self._header or b"") + data
        try:
            header = proxy.parse(received)
        except proxy.BadHeader:
            self._hang_up()
            return b""
        if header is None:
            self._header = received
            return b""
        self._header = None
        if header.address:
            self.guest.address = header.address
            self.guest.trusted = self.crowd.trusts(header.address)
            self.client = (header.address, 0)
        return received[header.size :]

    def _refuse(self, error: GojobError) -> None:
        """Answer what cannot be parsed any further, and close."""
        if self._deaf:
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer(error))
        self._hang_up()

    def _hang_up(self) -> None:
        self._deaf = True
        self._give_up_answer()
        self.transport.close()

    def _give_up_answer(self) -> None:
        """Nobody is there for what is being answered: writing it would be an error with a long traceback."""
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()

    # --- what the parser finds ------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > limits.URL_BYTES:
            self._stop(_url_too_long())

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head and len(self.headers) < limits.HEADERS:
            super().on_header(name, value)
        elif self._in_head:
            self._stop(_head_too_large())

    def on_headers_complete(self) -> None:
        if self._head_bytes > limits.HEADERS_BYTES and _size(self.headers) > limits.HEADERS_BYTES:
            self._stop(_head_too_large())
        if len(self.pipeline) >= limits.PIPELINED:
            self._stop(_too_many_ahead())
        self._in_head = False
        self._idle_bytes = 0
        self.guest.asking, self.guest.due = True, math.inf
        if self.guest.trusted:
            self._look_behind_proxy()
        self.scope["state"]["guest"] = self.guest
        super().on_headers_complete()
        if not self.pipeline:
            self._answered = self.cycle

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_bytes = self._idle_bytes = 0
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._await_next()

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._answered = self.pipeline[-1][0]
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_next()

    def _await_next(self) -> None:
        """Nothing is being served: give the next request, or the rest of this one, its time."""
        self.guest.asking = False
        if self._in_head:
            pause_ms = limits.KEEP_ALIVE_MS if self.guest.known or self.guest.trusted else limits.HEAD_MS
            self.guest.due = self.crowd.now + (limits.HEAD_MS if self._head_bytes else pause_ms) / 1000
        else:
            self.guest.due = self.crowd.now + limits.UNREAD_MS / 1000
            self._deaf = self._is_chunked()  # nobody pays for parsing what nobody wants
            if self._deaf:
                self.rest = b""
                self.flow.resume_reading()

    def _look_behind_proxy(self) -> None:
        chain = b",".join(value for name, value in self.headers if name == b"x-forwarded-for").decode("latin-1")
        if chain:
            self.crowd.forwarded(self.guest, chain)
            self.scope["client"] = (self.guest.address, 0)

    def _stop(self, why: GojobError) -> None:
        self._why = why
        raise Refused

    def handle_websocket_upgrade(self) -> None:
        self.guest.due = self.crowd.now + limits.HEAD_MS / 1000
        super().handle_websocket_upgrade()


class WorkerSocket(WebSocketsSansIOProtocol):
    """A websocket that applies flow control to whatever its peer sends."""

    def __init__(self, http: Http, **options: Any) -> None:
        super().__init__(**options)
        self.guest = http.guest
        self.close_timeout = CLOSE_S
        self._client = http.scope["client"]
        self._rest = bytearray()
        self._again: asyncio.Handle | None = None
        self._second, self._controls = 0.0, 0

    def handle_connect(self, event: Request) -> None:
        self.client = self._client
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["state"]["guest"] = self.guest

    def start_keepalive(self) -> None:
        """The app has accepted the socket: it stays until one side closes it."""
        self.guest.due = math.inf
        super().start_keepalive()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest.clear()
        super().connection_lost(exc)
        self.guest.crowd.leave(self.guest)

    # --- flow control ---------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self.guest.takes_nothing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.guest.takes_again()
        self._read_on()

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE_BYTES and not self._rest:
            super().data_received(data)
        else:
            self._rest += data
            self._read_on()

    async def send(self, message: ASGISendEvent) -> None:
        """A refusal is an answer: uvicorn logs each as an application that forgot to answer."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._read_on()
        return message

    def _read_on(self) -> None:
        """Parse what came, while the app takes its messages and the peer its answers; then read more of it."""
        self._again = None
        began = time.perf_counter()
        while self._rest and self._may_read():
            piece = bytes(self._rest[:SLICE_BYTES])
            del self._rest[:SLICE_BYTES]
            super().data_received(piece)
            if self._rest and time.perf_counter() - began > TURN_S:
                if self._again is None:
                    self._again = self.loop.call_soon(self._read_on)
                break
        if self._rest or not self._may_read():
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _may_read(self) -> bool:
        return self.writable.is_set() and not self.read_paused and not self.transport.is_closing()

    # --- frames that cost, and say nothing ------------------------------------------------------------------------

    def handle_ping(self) -> None:
        if not self._is_flooded():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if not self._is_flooded():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self._fail(CLOSE_TOO_BIG, "too many fragments")

    def _is_flooded(self) -> bool:
        """Whether there were too many pings and pongs within one look at the crowd; the socket is closed then."""
        if self._second != self.guest.crowd.now:
            self._second, self._controls = self.guest.crowd.now, 0
        self._controls += 1
        if self._controls <= CONTROLS:
            return False
        if not self.close_sent:
            self._fail(CLOSE_POLICY, "too many pings")
        return True

    def _fail(self, code: int, reason: str) -> None:
        self.conn.fail(code, reason)
        self.handle_parser_exception()


# ---- refusals --------------------------------------------------------------------------------------------------------


def answer(error: GojobError) -> bytes:
    """A whole response, for a request that never becomes one."""
    response = problem(error, request_id=secrets.token_hex(8))
    headers = [*response.raw_headers, (b"connection", b"close"), (b"x-content-type-options", b"nosniff")]
    lines = [name + b": " + value + b"\r\n" for name, value in headers]
    return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)])


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _head_too_large() -> BadRequest:
    return BadRequest(
        "headers_too_large",
        f"The headers of a request have at most {limits.HEADERS_BYTES // limits.KIB} KiB and {limits.HEADERS} lines.",
        field="headers",
        hint="Send fewer or shorter ones; look for a cookie that grew.",
        limit=limits.HEADERS_BYTES,
        status=431,
    )


def _url_too_long() -> BadRequest:
    return BadRequest(
        "url_too_long",
        f"A URL has at most {limits.URL_BYTES // limits.KIB} KiB.",
        field="url",
        hint="Ask for less at once.",
        limit=limits.URL_BYTES,
        status=414,
    )


def _no_content() -> BadRequest:
    return BadRequest(
        "bad_http",
        f"{IDLE_BYTES // limits.KIB} KiB of the body came without content: chunk extensions, or trailers.",
        field="body",
        hint="Send the body in plain chunks, or with a Content-Length.",
    )


def _too_many_ahead() -> BadRequest:
    return BadRequest(
        "too_many_ahead",
        f"At most {limits.PIPELINED} requests may be sent ahead of their answers.",
        hint="Wait for answers, or use more connections.",
        limit=limits.PIPELINED,
        status=429,
    )


def _malformed() -> BadRequest:
    return BadRequest("bad_http", "This is not HTTP.", hint="Look at what the client or a proxy before us sends.")
