"""Headers and URLs without end."""

import asyncio
import socket
from collections.abc import Iterator

from tests.attacks.attack import MIB, Bystander, Memory, attack
from tests.faults.rig import Rig, wait

HEAD = b"GET /livez HTTP/1.1\r\nHost: gojob.test\r\n"
UPGRADE = b"GET /v1/worker HTTP/1.1\r\nHost: gojob.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
ENDS = 431, 414
MOST = 300 * MIB


@attack("H1", "300 MiB of headers: MiB that are taken before the gateway hangs up", bound="<= 8")
async def headers(rig: Rig) -> float:
    """A head is read up to its limit; the rest stays in the system's buffers."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    return max(
        [await asyncio.to_thread(_pour, port, head, b"X-A: " + b"a" * 4_000 + b"\r\n") for head in (HEAD, UPGRADE)]
    )


@attack("H1-tiny", "millions of tiny headers: ms that a request of somebody else waits", bound="<= 50")
async def tiny_headers(rig: Rig) -> float:
    """A hundred headers are accepted at most."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    with Bystander(port) as bystander:
        await wait(0.3)
        await asyncio.gather(*(asyncio.to_thread(_pour, port, HEAD, b"a:b\r\n" * 10_000) for _ in range(8)))
        await wait(0.3)
    return bystander.worst_ms


@attack("H1-memory", "24 times headers, URLs and trailers without end: MiB the gateway grows", bound="<= 1")
async def memory(rig: Rig) -> float:
    """Nothing above the limit is kept in memory."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    pours = [
        (HEAD, b"X-A: " + b"a" * 4_000 + b"\r\n"),
        (HEAD, b"a:b\r\n" * 1_000),
        (HEAD + b"X-A: ", b"a" * 60_000),
        (UPGRADE, b"a:b\r\n" * 1_000),
        (b"GET /", b"a" * 60_000),
        (b"POST /livez HTTP/1.1\r\nHost: gojob.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a:b\r\n" * 1_000),
    ]

    async def all_at_once() -> None:
        await asyncio.gather(*(asyncio.to_thread(_pour, port, head, more) for head, more in pours * 4))

    await all_at_once()  # buffers that are taken once, and used again
    grown = Memory(rig.gateways[0])
    async with grown.watched():
        await all_at_once()
        await wait(0.5)
    return grown.worst_mb


@attack(
    "H1-url",
    "heads beyond a limit that are not answered 431 or 414, as a problem, and closed",
    bound="== 0",
    short=True,
)
async def answered(rig: Rig) -> float:
    """A client with a cookie that is too large gets an answer that says so."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    return sum([not await asyncio.to_thread(_is_refused, port, head) for head in _too_large()])


def _too_large() -> Iterator[bytes]:
    for begin in (HEAD, UPGRADE):
        yield begin + b"X-A: " + b"a" * 33_000 + b"\r\n\r\n"
        yield begin + b"a: b\r\n" * 100 + b"\r\n"
        yield begin.replace(b" HTTP", b"?" + b"a" * 8_192 + b" HTTP") + b"\r\n"


def _is_refused(port: int, head: bytes) -> bool:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(head)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    return int(answer.split(b" ", 2)[1]) in ENDS and b"application/problem+json" in answer


def _pour(port: int, head: bytes, more: bytes) -> float:
    """Send a head that does not end until the gateway hangs up; MiB that could be sent."""
    sent = len(head)
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        try:
            connection.sendall(head)
            while sent < MOST:
                connection.sendall(more)
                sent += len(more)
        except OSError:
            pass
    return round(sent / MIB, 1)
