"""Connections that are opened and not used."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import psutil

from tests.attacks.attack import attack
from tests.faults.rig import Rig, wait

FILES = 1_024
MANY = 1_150
HALF = b"GET /livez HTTP/1.1\r\nHost: gojob"
ASK_S = 2.0


@attack("H2", "1,150 half requests, again and again, at 1,024 files: requests with a token that fail", bound="== 0")
async def half_requests(rig: Rig) -> float:
    """A client with a token is served, over a new connection for each request."""
    await rig.start(workers=0, triggers=0)
    gateway = rig.gateways[0]
    psutil.Process(gateway.pid).rlimit(psutil.RLIMIT_NOFILE, (FILES, FILES))
    await wait(2.0)  # it notices once a second how many files it may open
    with _crowd(gateway.port) as crowd:
        crowd.fill()
        failed = 0
        for _ in range(40):
            failed += not await asyncio.to_thread(_is_served, gateway.port, rig.system.admin_token)
            crowd.fill()
    return failed


@attack("H2-idle", "1,150 connections that say nothing, or half a request: how many are left after 15 s", bound="<= 0")
async def idle(rig: Rig) -> float:
    """A request head has to arrive within 10 s, and a client without a token may not pause for longer."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    with _crowd(port) as crowd:
        crowd.fill(says=(b"", HALF, b"GET /livez HTTP/1.1\r\nHost: gojob.test\r\n\r\n"))
        await wait(13.0)
        return crowd.left()


class _Crowd:
    """Many connections at once."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.all: list[socket.socket] = []

    def fill(self, says: tuple[bytes, ...] = (HALF,)) -> None:
        """As many connections as there should be, new ones for those that were closed."""
        open_ones = [each for each in self.all if _is_open(each)]
        self.all = open_ones
        for number in range(MANY - len(open_ones)):
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", self.port), 1)
                self.all.append(connection)
                connection.sendall(says[number % len(says)])

    def left(self) -> int:
        return sum(map(_is_open, self.all))


@contextlib.contextmanager
def _crowd(port: int) -> Iterator[_Crowd]:
    crowd = _Crowd(port)
    try:
        yield crowd
    finally:
        for each in crowd.all:
            each.close()


def _is_open(connection: socket.socket) -> bool:
    """Read what was answered; whether the connection still stands."""
    connection.setblocking(False)
    try:
        while data := connection.recv(65_536):
            del data
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_served(port: int, token: str) -> bool:
    """A request over a connection of its own, answered within 2 s."""
    request = f"GET /v1/info HTTP/1.1\r\nHost: gojob.test\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    until = time.monotonic() + ASK_S
    try:
        with socket.create_connection(("127.0.0.1", port), ASK_S) as connection:
            connection.settimeout(max(0.01, until - time.monotonic()))
            connection.sendall(request)
            return connection.recv(4_096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
