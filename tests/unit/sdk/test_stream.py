"""stream: batches come whole and once, over connections that break."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import pytest

from gojob_sdk import Client, ClientError, Unreachable
from gojob_sdk import stream as stream_module


class Server(ThreadingHTTPServer):
    """Each connection is answered by the next of ``answers``: a problem, or the bytes of a stream that then breaks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers: list[bytes | tuple[int, dict[str, Any]]] = []
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.released = threading.Event()
        self.released.set()
        """A connection is closed when it was answered and this is set."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answering(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Last-Event-ID"], self.headers["Authorization"]))
        answer = self.server.answers.pop(0) if self.server.answers else (503, {"code": "draining"})
        self.send_response(200 if isinstance(answer, bytes) else answer[0])
        self.end_headers()
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer[1]).encode())
        self.server.released.wait(10)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(stream_module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(stream_module, "LONGEST_PAUSE_S", 0.01)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def batch(position: str, *numbers: int) -> bytes:
    messages = [{"topic": "events", "kind": "events", "items": [{"id": number}]} for number in numbers]
    return f"id: {position}\ndata: {json.dumps({'messages': messages})}\n\n".encode()


def numbers(stream: stream_module.Stream, count: int) -> list[int]:
    return [message.data["items"][0]["id"] for message in islice(stream, count)]


def test_it_goes_on_where_a_connection_broke_and_a_batch_that_was_cut_comes_again_whole(server: Server) -> None:
    server.answers = [batch("a", 1, 2) + batch("b", 3)[:-20], b"id: a2\n\n", batch("c", 3, 4)]

    with Client(server.url, "secret").stream("events", "tasks:default/shop", position="z") as stream:
        assert numbers(stream, 4) == [1, 2, 3, 4]
        assert stream.position == "c"

    path = "/v1/stream?topic=events&topic=tasks%3Adefault%2Fshop"
    assert server.requests == [(path, came, "Bearer secret") for came in ("z", "a", "a2")]


def test_a_gateway_that_ends_sends_it_to_another(server: Server) -> None:
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.answers = [batch("a", 1) + b'retry: 1\nevent: end\ndata: {"code": "draining"}\n\n']
        other.answers = [batch("b", 2)]

        with Client(f"{server.url},{other.url}", "secret").stream("events") as stream:
            assert numbers(stream, 2) == [1, 2]

        assert other.requests == [("/v1/stream?topic=events", "a", "Bearer secret")]
        other.shutdown()
        thread.join()


def test_what_is_refused_is_not_asked_again(server: Server) -> None:
    server.answers = [(400, {"code": "bad_topic", "detail": "no"})]

    with pytest.raises(ClientError) as refused:
        next(iter(Client(server.url, "secret").stream("nonsense")))

    assert (refused.value.code, len(server.requests)) == ("bad_topic", 1)


def test_a_token_that_was_revoked_meanwhile_ends_it(server: Server) -> None:
    server.answers = [batch("a", 1) + b'event: end\ndata: {"code": "bad_token", "detail": "revoked"}\n\n']
    stream = Client(server.url, "secret").stream("events")

    with pytest.raises(ClientError) as refused:
        numbers(stream, 2)

    assert (refused.value.status, refused.value.code) == (401, "bad_token")


def test_it_gives_up_when_nobody_answers_for_long(server: Server) -> None:
    with pytest.raises(ClientError) as busy:
        next(iter(Client(server.url, "secret", give_up_s=0.05).stream("events")))
    assert busy.value.code == "draining"
    assert len(server.requests) > 1

    with pytest.raises(Unreachable):
        next(iter(Client("http://127.0.0.1:1", "secret", give_up_s=0.05).stream("events")))


def test_one_that_was_closed_ends(server: Server) -> None:
    server.answers = [batch("a", 1, 2)]
    stream = Client(server.url, "secret").stream("events")

    heard = []
    for message in stream:
        heard.append(message.topic)
        stream.close()

    assert heard == ["events", "events"]


def test_another_thread_may_close_one_that_waits(server: Server) -> None:
    server.answers = [batch("a", 1)]
    server.released.clear()
    stream = Client(server.url, "secret").stream("events")
    first = threading.Event()

    def listen() -> list[str]:
        topics = []
        for message in stream:
            topics.append(message.topic)
            first.set()
        return topics

    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(listen)
        assert first.wait(5)
        stream.close()
        try:
            assert listening.result(5) == ["events"]
        finally:
            server.released.set()
