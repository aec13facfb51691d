"""An attack: how one is registered, what it shows, and who stands by and must not notice.

    @attack("C1", "8 MiB of brackets on an open path: ms that another request waits", bound="<= 50", short=True)
    async def deep_body(rig: Rig) -> float: ...

Each attack has an installation of its own and returns one figure, which has to meet the bound. What it needs more than
one figure for is several attacks (``H1``, ``H1-memory``).
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psutil

from examples.demo.processes import Process
from tests.faults.rig import Rig, percentile
from tests.faults.scenario import meets

MIB = 1024 * 1024
Strike = Callable[[Rig], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack, and what may come of it.

    short: whether it belongs to the cheap half, which CI runs.  rig: arguments of the Rig it is given.
    """

    id: str
    what: str
    bound: str
    strike: Strike
    short: bool = False
    rig: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    attack: Attack
    figure: float | None = None
    seconds: float = 0.0
    error: str = ""
    skipped: str = ""
    """Why it could not be tried here."""

    @property
    def held(self) -> bool:
        return not self.error and not self.skipped and meets(self.figure, self.attack.bound)

    def as_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": self.attack.id,
            "what": self.attack.what,
            "figure": self.figure,
            "bound": self.attack.bound,
            "held": self.held,
            "seconds": round(self.seconds, 1),
        }
        why = {"error": self.error, "skipped": self.skipped}
        return document | {name: text for name, text in why.items() if text}


ATTACKS: list[Attack] = []


def attack(
    id: str, what: str, *, bound: str, short: bool = False, rig: Mapping[str, Any] | None = None
) -> Callable[[Strike], Strike]:
    """Register an attack."""

    def register(strike: Strike) -> Strike:
        ATTACKS.append(Attack(id, what, bound, strike, short, rig or {}))
        return strike

    return register


class Bystander:
    """A client that has no part in the attack: it asks over one connection, again and again, and times each request.

    A thread with a blocking socket, so that what is measured is the gateway, not the attacker's own loop. Paths under
    ``/v1`` are asked with the token.

        with Bystander(rig.gateways[0].port) as bystander:
            ...
        return bystander.worst_ms
    """

    def __init__(self, port: int, path: str = "/livez", token: str = "", every_s: float = 0.01) -> None:
        header = f"Authorization: Bearer {token}\r\n" if token else ""
        self.port = port
        self.every_s = every_s
        self.waits_ms: list[float] = []
        self.failed = 0
        """Requests that were refused, or whose connection broke."""
        self._request = f"GET {path} HTTP/1.1\r\nHost: gojob.test\r\n{header}\r\n".encode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    @property
    def worst_ms(self) -> float:
        return round(max(self.waits_ms, default=0.0), 1)

    @property
    def p99_ms(self) -> float:
        return round(percentile(self.waits_ms, 0.99), 1)

    def _run(self) -> None:
        connection: socket.socket | None = None
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self.port), 30)
                connection.sendall(self._request)
                if not _answered(connection):
                    self.failed += 1
            except OSError:
                self.failed += 1
                if connection is not None:
                    connection.close()
                connection = None
            self.waits_ms.append((time.perf_counter() - began) * 1000)
            self._stop.wait(self.every_s)
        if connection is not None:
            connection.close()


def _answered(connection: socket.socket) -> bool:
    """Read one answer with a Content-Length whole; whether its status is below 400. Raises OSError when it breaks."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = (int(lengths[0].partition(b":")[2]) if lengths else 0) - len(body)
    while left > 0:
        left -= len(_some(connection))
    return int(head.split(b" ", 2)[1]) < 400


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise OSError("the connection was closed")
    return data


class Memory:
    """How much more memory a process takes than when this was made, MiB; ``worst`` after ``watch``."""

    def __init__(self, process: Process) -> None:
        self._process = psutil.Process(process.pid)
        self._before = self._process.memory_info().rss
        self.worst_mb = 0.0

    def look(self) -> float:
        grew = (self._process.memory_info().rss - self._before) / MIB
        self.worst_mb = round(max(self.worst_mb, grew), 1)
        return grew

    @contextlib.asynccontextmanager
    async def watched(self, every_s: float = 0.05) -> Any:
        """Watch its memory while the block lasts."""

        async def watch() -> None:
            while True:
                self.look()
                await asyncio.sleep(every_s)

        watching = asyncio.create_task(watch())
        try:
            yield self
        finally:
            watching.cancel()
            self.look()
