"""Bodies on paths that need no token."""

import asyncio
import socket

from tests.attacks.attack import MIB, Bystander, attack
from tests.faults.rig import Rig, wait


@attack("C1", "8 MiB of brackets on an open path: ms that a request of somebody else waits", bound="<= 50", short=True)
async def brackets(rig: Rig) -> float:
    """Nobody without a token has a body read."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    with Bystander(port) as bystander:
        await wait(0.5)
        for _ in range(3):
            await asyncio.to_thread(_post, port, "/docs/x:batch", b"[" * (8 * MIB))
        await wait(0.5)
    return bystander.worst_ms


def _post(port: int, path: str, body: bytes) -> None:
    """Send a request whole, whatever the server thinks of it, and read until it hangs up or has answered."""
    head = f"POST {path} HTTP/1.1\r\nHost: gojob.test\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        try:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            connection.recv(65_536)
        except OSError:
            return  # it hung up, which is an answer
