"""The limits of a connection, on real sockets; and what they stand on in uvicorn."""

import asyncio
import hashlib
import inspect
import json
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import httptools
import pytest
import uvicorn.protocols.http.flow_control as flow_control
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from gojob_redis.api import wire
from gojob_redis.api.crowd import Crowd
from gojob_redis.api.server import Server, listen
from gojob_redis.api.wire import CONTROLS, FRAGMENTS, Http, WorkerSocket
from gojob_redis.domain import limits
from tests.tools.waiting import until

GET = b"GET /hello HTTP/1.1\r\nHost: gojob.test\r\n"
WITHIN_S = 5.0


@dataclass(slots=True)
class Place:
    """A server whose app answers with what the test wants, and what it saw."""

    port: int
    server: Server
    seen: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    read: bool = False
    """Whether bodies are read."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing is answered before."""

    @property
    def crowd(self) -> Crowd:
        return self.server.crowd

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        self.seen.append(scope)
        if scope["type"] == "websocket":
            await self._converse(receive, send)
            return
        more = self.read
        while more:
            message = await receive()
            self.bodies.append(message.get("body", b""))
            more = message.get("more_body", False)
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def _converse(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            self.bodies.append(message["bytes"])
            await self.go_on.wait()

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, *pieces: bytes) -> tuple[int, bytes]:
        """Send bytes over a new connection and read until it is closed: the first answer's status, and all there is."""
        reader, writer = await self.dial()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(WITHIN_S):
                answer = await reader.read()
        finally:
            writer.close()
        return int(answer.split(b" ", 2)[1]), answer


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Place]:
    with listen("127.0.0.1", 0) as listening:
        place: Place

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await place.app(scope, receive, send)

        place = Place(listening.getsockname()[1], Server(app, Crowd(**options)))
        place.go_on.set()
        running = asyncio.create_task(place.server.serve([listening]))
        await place.server.up.wait()
        try:
            yield place
        finally:
            place.go_on.set()
            place.server.should_exit = True
            await running


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with serving() as place:
        yield place


def problem_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


# ---- the head of a request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b"Upgrade: websocket\r\nConnection: upgrade\r\n"])
@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (GET + b"X-A: " + b"a" * 40_000 + b"\r\n", 431, "headers_too_large"),
        (GET + b"X-A: " + b"a" * 60_000, 431, "headers_too_large"),
        (GET + b"a:b\r\n" * 100, 431, "headers_too_large"),
        (GET + b"a" * 60_000, 431, "headers_too_large"),
        (b"GET /" + b"a" * 8_192 + b" HTTP/1.1\r\n", 414, "url_too_long"),
        (b"GET /" + b"a" * 90_000, 414, "url_too_long"),
        (b"GET http://gojob.test/" + b"a" * 8_192 + b" HTTP/1.1\r\n", 414, "url_too_long"),
        (b"NONSENSE\r\n", 400, "bad_http"),
    ],
)
async def test_a_head_beyond_its_limits_is_answered_and_the_connection_closed(
    place: Place, head: bytes, status: int, code: str, more: bytes
) -> None:
    answered, answer = await place.ask(head + more + b"\r\n")

    assert answered == status
    assert problem_of(answer)["code"] == code
    assert b"connection: close" in answer
    assert b"content-type: application/problem+json" in answer
    assert place.seen == []


@pytest.mark.parametrize(
    "head",
    [
        GET + b"".join(b"x-%d: %s\r\n" % (number, b"a" * 300) for number in range(98)),
        b"GET /" + b"a" * 8_000 + b" HTTP/1.1\r\nHost: gojob.test\r\n",
        b"GET http://elsewhere/hello HTTP/1.1\r\nHost: gojob.test\r\n",
        b"GET /hello HTTP/1.0\r\n",
    ],
)
async def test_a_head_within_its_limits_is_served_also_byte_by_byte(place: Place, head: bytes) -> None:
    whole, _ = await place.ask(head + b"Connection: close\r\n\r\n")
    cut, _ = await place.ask(*(bytes([each]) for each in head + b"Connection: close\r\n\r\n"))

    assert (whole, cut) == (200, 200)


async def test_a_head_after_another_request_has_the_same_limits(place: Place) -> None:
    reader, writer = await place.dial()
    writer.write(GET + b"\r\n")
    await reader.readuntil(b"ok")

    writer.write(GET + b"X-A: " + b"a" * 60_000)

    assert b" 431 " in await reader.read()
    writer.close()


async def test_more_requests_than_may_be_sent_ahead_end_the_connection(place: Place) -> None:
    place.go_on.clear()
    reader, writer = await place.dial()
    writer.write((GET + b"\r\n") * 1_000)
    assert await reader.read() == b""
    writer.close()
    place.go_on.set()

    assert len(place.seen) <= 1


async def test_a_few_requests_may_be_sent_ahead(place: Place) -> None:
    reader, writer = await place.dial()
    writer.write((GET + b"\r\n") * limits.PIPELINED)

    for _ in range(limits.PIPELINED):
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()


UPGRADE = (
    b"GET /v1/worker HTTP/1.1\r\nHost: gojob.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    "sent",
    [(GET + b"\r\n") * 2, (GET + b"\r\n") * (limits.PIPELINED + 2), GET + b"\r\n" + UPGRADE],
    ids=["two", "too many", "an upgrade"],
)
def test_nobody_writes_what_nobody_awaits_any_more(caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    async def go_while_one_is_answered() -> None:
        async with serving() as place:
            place.go_on.clear()
            _reader, writer = await place.dial()
            writer.write(sent)
            await until(lambda: bool(place.seen))
            for guest in list(place.crowd.guests):
                guest.abort()
            await until(lambda: not place.crowd.guests)

            place.go_on.set()
            await until(lambda: not place.server.server_state.tasks)
            assert len(place.seen) == 1
            writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # its transports refuse to be written to
        runner.run(go_while_one_is_answered())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# ---- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filler",
    [b"1;" + b"x" * 70_000, b"1;x=y\r\n" + b"a\r\n0\r\n" + b"t: " + b"x" * 700_000, b"0\r\n" + b"a:b\r\n" * 20_000],
)
async def test_chunks_without_content_lead_nowhere(place: Place, filler: bytes) -> None:
    place.read = True
    place.go_on.clear()
    reader, writer = await place.dial()
    writer.write(b"POST / HTTP/1.1\r\nHost: gojob.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    await until(lambda: bool(place.seen))

    with suppress(ConnectionError):
        writer.write(filler)
        await writer.drain()
        assert await reader.read() == b""

    await until(lambda: not place.crowd.guests)
    assert len(place.seen[0]["headers"]) == 2
    writer.close()


async def test_who_waits_to_be_asked_for_his_body_is_not_asked_for_one_that_nobody_reads(place: Place) -> None:
    body = b"Content-Length: 9\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"

    status, answer = await place.ask(b"POST / HTTP/1.1\r\nHost: gojob.test\r\n" + body)

    assert (status, b"100 Continue" in answer) == (200, False)


async def test_trailers_are_not_taken_for_headers(place: Place) -> None:
    place.read = True
    chunked = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\nAuthorization: x\r\n\r\n"

    status, _ = await place.ask(b"POST / HTTP/1.1\r\nHost: gojob.test\r\n" + chunked)

    assert (status, b"".join(place.bodies)) == (200, b"hi")
    assert b"authorization" not in dict(place.seen[0]["headers"])


async def test_who_sends_a_body_that_nobody_reads_gets_his_answer_and_may_go_on(place: Place) -> None:
    reader, writer = await place.dial()
    for _ in range(2):
        writer.write(b"POST / HTTP/1.1\r\nHost: gojob.test\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 3_000_000)
        await writer.drain()
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_body_that_nobody_reads_and_that_does_not_end_is_cut_short(place: Place) -> None:
    reader, writer = await place.dial()
    writer.write(b"POST / HTTP/1.1\r\nHost: gojob.test\r\nContent-Length: 3000000\r\n\r\n")
    await reader.readuntil(b"ok")
    [guest] = place.crowd.guests

    assert guest.due <= place.crowd.now + limits.UNREAD_MS / 1000
    writer.close()


# ---- deadlines -------------------------------------------------------------------------------------------------------


async def test_each_state_of_a_connection_has_its_deadline(place: Place) -> None:
    place.crowd.look()
    place.go_on.clear()
    reader, writer = await place.dial()
    await until(lambda: len(place.crowd.guests) == 1)
    [guest] = place.crowd.guests
    now, head_s = place.crowd.now, limits.HEAD_MS / 1000
    assert guest.due == now + head_s

    writer.write(GET + b"\r\n")
    await until(lambda: bool(place.seen))
    assert guest.due == float("inf")

    guest.show_token()
    place.go_on.set()
    await reader.readuntil(b"ok")
    assert guest.due >= now + limits.KEEP_ALIVE_MS / 1000

    writer.write(GET)
    await until(lambda: guest.due <= place.crowd.now + head_s)
    guest.due = now
    place.crowd.look()
    assert await reader.read() == b""
    writer.close()
    await until(lambda: not place.crowd.guests)


async def test_a_stranger_pauses_no_longer_than_a_head_may_take(place: Place) -> None:
    reader, writer = await place.dial()
    writer.write(GET + b"\r\n")
    await reader.readuntil(b"ok")

    [guest] = place.crowd.guests
    assert guest.due <= place.crowd.now + limits.HEAD_MS / 1000
    writer.close()


async def test_an_open_socket_has_no_deadline(place: Place) -> None:
    async with connect(f"ws://127.0.0.1:{place.port}/", compression=None) as peer:
        [guest] = place.crowd.guests
        await peer.send(b"here")
        await until(lambda: place.bodies == [b"here"])

        assert guest.due == float("inf")


# ---- who is behind a proxy -------------------------------------------------------------------------------------------


async def test_a_forwarded_address_counts_only_from_a_trusted_proxy() -> None:
    for proxies, client in (([], "127.0.0.1"), ([ip_network("127.0.0.1/32")], "203.0.113.7")):
        async with serving(proxies=proxies) as place:
            await place.ask(GET + b"X-Forwarded-For: 1.1.1.1, 203.0.113.7\r\nConnection: close\r\n\r\n")
            assert place.seen[0]["client"][0] == client


async def test_a_proxy_header_names_the_client_and_nobody_else_may_send_one() -> None:
    header = b"PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\n"
    async with serving(proxies=[ip_network("127.0.0.1/32")], proxy_protocol=True) as place:
        status, _ = await place.ask(header[:20], header[20:] + GET + b"Connection: close\r\n\r\n")
        assert (status, place.seen[0]["client"][0]) == (200, "203.0.113.7")
        reader, writer = await place.dial()
        writer.write(GET + b"\r\n")
        assert await reader.read() == b""
        writer.close()
    async with serving(proxy_protocol=True) as place:
        assert (await place.ask(header + GET + b"\r\n"))[0] == 400


# ---- sockets ---------------------------------------------------------------------------------------------------------


async def test_a_socket_whose_peer_does_not_read_is_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONTROLS", 10_000_000)
    async with connect(f"ws://127.0.0.1:{place.port}/", compression=None) as peer:
        peer.transport.pause_reading()
        [guest] = place.crowd.guests
        pings = Frame(Opcode.PING, b"a" * 100).serialize(mask=True) * 1_000
        sent = 0
        while sent < 400 and not peer.transport.get_write_buffer_size():
            peer.transport.write(pings)
            sent += 1
            await asyncio.sleep(0)
        await until(lambda: guest.stuck < float("inf"))

        buffered: Any = guest.transport.get_write_buffer_size()
        assert buffered < 200_000
        peer.transport.resume_reading()
        await until(lambda: guest.stuck == float("inf"))
        await peer.send(b"still here")
        await until(lambda: place.bodies == [b"still here"])


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
async def test_a_flood_of_pings_ends_the_socket_and_one_now_and_then_does_not(place: Place, opcode: Opcode) -> None:
    async with connect(f"ws://127.0.0.1:{place.port}/", compression=None) as peer:
        for _ in range(3):
            peer.transport.write(Frame(opcode, b"").serialize(mask=True) * CONTROLS)
            await peer.send(b"next")
            await until(lambda: place.bodies.pop() == b"next" if place.bodies else False)
            place.crowd.look()

        peer.transport.write(Frame(opcode, b"").serialize(mask=True) * (CONTROLS + 1))

        with pytest.raises(ConnectionClosed):
            await peer.recv()
        assert peer.close_code == 1008


async def test_messages_wait_outside_until_the_gateway_has_taken_those_before(place: Place) -> None:
    place.go_on.clear()
    async with connect(f"ws://127.0.0.1:{place.port}/", compression=None) as peer:
        [guest] = place.crowd.guests
        socket: Any = guest.transport.get_protocol()
        peer.transport.write(Frame(Opcode.BINARY, b"x").serialize(mask=True) * 50_000)
        await until(lambda: bool(place.bodies))
        assert socket.queue.qsize() < 2_000

        place.go_on.set()
        await until(lambda: len(place.bodies) == 50_000)


async def test_a_message_of_too_many_fragments_ends_the_socket(place: Place) -> None:
    async with connect(f"ws://127.0.0.1:{place.port}/", compression=None) as peer:
        peer.transport.write(Frame(Opcode.BINARY, b"x", fin=False).serialize(mask=True))
        peer.transport.write(Frame(Opcode.CONT, b"", fin=False).serialize(mask=True) * FRAGMENTS)

        with pytest.raises(ConnectionClosed):
            await peer.recv()
        assert peer.close_code == 1009


async def test_a_large_message_arrives_whole(place: Place) -> None:
    async with connect(f"ws://127.0.0.1:{place.port}/", compression=None) as peer:
        await peer.send(bytes(1_000_000))
        await peer.send(b"next")

        await until(lambda: place.bodies == [bytes(1_000_000), b"next"])


# ---- what this stands on ---------------------------------------------------------------------------------------------

COPIED = {
    HttpToolsProtocol.data_received: "02c2572f1df5",
    WebSocketsSansIOProtocol.receive: "150d41c7f477",
}
"""What ``wire.py`` does again in its own words, by the digest of uvicorn's."""

READ = {
    HttpToolsProtocol.__init__: "264f2f067596",
    HttpToolsProtocol.connection_made: "ba1915817ccf",
    HttpToolsProtocol.connection_lost: "21bb5222b359",
    HttpToolsProtocol.handle_websocket_upgrade: "f5384e926c8c",
    HttpToolsProtocol.on_message_begin: "0efab6f9456c",
    HttpToolsProtocol.on_url: "4670fe11c5fd",
    HttpToolsProtocol.on_header: "374f1e380c06",
    HttpToolsProtocol.on_headers_complete: "7e259152e5aa",
    HttpToolsProtocol.on_body: "415b4cef19fb",
    HttpToolsProtocol.on_message_complete: "377f9122ee6f",
    HttpToolsProtocol.on_response_complete: "5684fd801d06",
    RequestResponseCycle.send: "cfc844910295",
    RequestResponseCycle.receive: "817bd782de41",
    flow_control.FlowControl: "126debcdaa89",
    WebSocketsSansIOProtocol.__init__: "cdad078596a7",
    WebSocketsSansIOProtocol.connection_made: "453e89b605d1",
    WebSocketsSansIOProtocol.connection_lost: "44a325646ee1",
    WebSocketsSansIOProtocol.data_received: "0d468d6299c9",
    WebSocketsSansIOProtocol.handle_connect: "fa2597da918d",
    WebSocketsSansIOProtocol.handle_cont: "e8b49500b8a7",
    WebSocketsSansIOProtocol.handle_parser_exception: "c9a2f0badacc",
    WebSocketsSansIOProtocol.handle_pong: "5090e4d3bc69",
    WebSocketsSansIOProtocol.handle_ping: "6c1b6ea533af",
    WebSocketsSansIOProtocol.send_receive_event_to_app: "935390da9a9c",
    WebSocketsSansIOProtocol.send: "560baa5c639d",
    WebSocketsSansIOProtocol.start_keepalive: "1cef887fe248",
}
"""What it overrides or relies on."""


def digest_of(code: Any) -> str:
    return hashlib.sha256(textwrap.dedent(inspect.getsource(code)).encode()).hexdigest()[:12]


@pytest.mark.parametrize("code", [*COPIED, *READ], ids=lambda code: code.__qualname__)
def test_uvicorn_is_as_it_was_when_its_limits_were_written(code: Any) -> None:
    assert digest_of(code) == (COPIED | READ)[code], (
        f"uvicorn changed {code.__qualname__}. "
        f"{'gojob_redis/api/wire.py does the same in its own words' if code in COPIED else 'wire.py stands on it'}: "
        "read what changed, see that every test of this file still means what it says, run "
        "'make attack ONLY=C1,H1,H2,H5', then write the new digest here."
    )


def test_nothing_that_is_overridden_has_gone() -> None:
    for ours, theirs in ((Http, HttpToolsProtocol), (WorkerSocket, WebSocketsSansIOProtocol)):
        public = {name for name in vars(ours) if not name.startswith("_") and callable(getattr(ours, name))}
        assert public <= set(dir(theirs)), f"{theirs.__name__} has lost {public - set(dir(theirs))}"


def test_a_callback_that_raises_ends_the_parsing() -> None:
    class Stops:
        headers = 0

        def on_header(self, _name: bytes, _value: bytes) -> None:
            self.headers += 1
            raise ValueError

    stops = Stops()
    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(stops).feed_data(GET + b"a: b\r\n" * 10 + b"\r\n")
    assert stops.headers == 1
