"""What happens, as it happens: one connection that comes back by itself where it broke.

    for message in client.stream("events", "tasks:default/shop"):
        print(message.topic, message.data)

A batch comes whole or not at all, and its id says where to go on: so nothing is missed and nothing comes twice,
whatever gateway answers next. ``resync`` is the one exception: read the list again.
"""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from gojob_sdk.errors import ClientError, Unreachable

SILENT_S = 40.0
"""A stream that says nothing for so long is broken: every 15 s there is a heartbeat."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
LINE_BYTES = 8 * 1024 * 1024
BUSY_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Message:
    """Something that happened.

    kind: events, task, tasks, queues, stats, log or resync.
    data: what is told, by the names of the API.
    """

    topic: str
    kind: str
    data: Mapping[str, Any] = field(repr=False)


class Stream:
    """An iterator over messages; ``close`` it, use it as a context manager, or read it to the end of your program.

    position: where to go on; ``live`` of a list, or ``position`` of another stream.
    give_up_s: how long to try while no gateway answers; then Unreachable.
    """

    def __init__(
        self, urls: Sequence[str], token: str, topics: Sequence[str], *, position: str = "", give_up_s: float = 15.0
    ) -> None:
        self.position = position
        self._urls = list(urls)
        self._token = token
        self._topics = topics
        self._give_up_s = give_up_s
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None
        self._pause_s = 0.0
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more; any thread may say so. Who reads is woken, and closes what it reads from."""
        self._closed.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def __iter__(self) -> Iterator[Message]:
        """Raises ClientError when the stream is refused or its token is revoked, Unreachable when nobody answers."""
        give_up_at = time.monotonic() + self._give_up_s
        while not self._closed.is_set():
            trouble: Exception
            try:
                for batch in self._batches(self._open()):
                    give_up_at = time.monotonic() + SILENT_S + self._give_up_s
                    yield from batch
                trouble = Unreachable("The stream ended.")
                self._pause_s = self._pause_s or FIRST_PAUSE_S
            except ClientError as error:
                if error.status not in BUSY_STATUSES:
                    raise
                trouble = error
            except (OSError, http.client.HTTPException, ValueError) as error:
                trouble = Unreachable(f"{', '.join(self._urls)} did not answer: {str(error) or type(error).__name__}")
            finally:
                self._hang_up()
            if self._closed.is_set():
                return
            if time.monotonic() >= give_up_at:
                raise trouble
            self._wait()

    def _wait(self) -> None:
        """Before the next attempt, which asks the next gateway."""
        self._urls.append(self._urls.pop(0))
        self._closed.wait(self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)

    def _open(self) -> http.client.HTTPResponse:
        parts = urlsplit(self._urls[0])
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = make(str(parts.hostname), parts.port, timeout=SILENT_S)
        query = urlencode([("topic", topic) for topic in self._topics])
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream"}
        headers |= {"Last-Event-ID": self.position} if self.position else {}
        self._connection.request("GET", f"{parts.path.rstrip('/')}/v1/stream?{query}", headers=headers)
        self._socket = self._connection.sock
        if self._closed.is_set():  # by another thread, which did not see the socket yet
            raise Unreachable("The stream was closed.")
        response = self._response = self._connection.getresponse()
        if response.status != 200:
            raise ClientError(response.status, _object(response.read()))
        self._pause_s = 0.0
        return response

    def _batches(self, response: http.client.HTTPResponse) -> Iterator[list[Message]]:
        """The messages of each event; also of one without any."""
        for event in _events(response):
            if event.get("event") == "end":
                end = _object(event.get("data", "").encode())
                self._pause_s = float(event.get("retry", 100)) / 1000
                if end.get("code") == "bad_token":
                    raise ClientError(401, end)
                return
            messages = _object(event["data"].encode())["messages"] if "data" in event else []
            self.position = event.get("id", self.position)
            yield [Message(each["topic"], each["kind"], each) for each in messages]

    def _hang_up(self) -> None:
        for each in (self._response, self._connection):
            if each is not None:
                each.close()
        self._response = self._connection = self._socket = None


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """The fields of each server-sent event; one that is cut off is none."""
    fields: dict[str, str] = {}
    while line := response.readline(LINE_BYTES):
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif fields:
            yield fields
            fields = {}


def _object(content: bytes) -> dict[str, Any]:
    answer = json.loads(content or b"{}")
    if not isinstance(answer, dict):
        raise ValueError("what came is not what a gateway sends")
    return answer
