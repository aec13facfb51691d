"""Request bodies of clients without a token, with a token of the wrong kind, and with the right one."""

import asyncio
import socket

from tests.attacks.attack import MIB, Bystander, Memory, attack
from tests.faults.rig import Rig, wait


@attack("C1", "8 MiB of brackets on an open path: ms that a request of somebody else waits", bound="<= 50", short=True)
async def brackets(rig: Rig) -> float:
    """The gateway reads no body of a client without a token."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    with Bystander(port) as bystander:
        await wait(0.5)
        for _ in range(3):
            await asyncio.to_thread(_post, port, "/docs/x:batch", b"[" * (8 * MIB))
        await wait(0.5)
    return bystander.worst_ms


@attack("C1-worker", "8 MiB of brackets with a worker's token: ms that somebody else waits", bound="<= 50")
async def of_a_worker(rig: Rig) -> float:
    """Nor does it read one of a client whose token is of another kind."""
    await rig.start(workers=0, triggers=0)
    return await _while(rig, [(rig.system.worker_token, b"[" * (8 * MIB))] * 3)


@attack("C1-nested", "8 MiB bodies of whatever is slow to parse: ms that somebody else waits", bound="<= 50")
async def odd(rig: Rig) -> float:
    """For a client that may send bodies, the number of values is limited, too."""
    await rig.start(workers=0, triggers=0)
    keys = b",".join(b'"%x":0' % number for number in range(8 * MIB // 12))
    bodies = [
        b"[" * (8 * MIB),
        b"[" * 32 + b"[]," * (2 * MIB),
        b'{"tasks":[' + b"{}," * (2 * MIB) + b"{}]}",
        b"{" + keys + b"}",
        b'{"tasks":[{' + keys[:400_000].rpartition(b",")[0] + b"}]}",
        b'{"tasks":[' + b",".join([b'{"params":[' + b"0," * 90 + b"0]}"] * 1_000) + b"]}",
        b'{"tasks":[{"key":"k","params":[' + b"0," * 90_000 + b"0]}]}",
        b'{"tasks":[{"params":{' + keys[:500_000].rpartition(b",")[0] + b"}}]}",
        b'{"tasks":["' + b"\\u00e9" * MIB + b'"]}',
        b'{"tasks":["' + b'\\"' * (3 * MIB) + b'"]}',
        b'{"tasks":["' + b"\\\\" * (3 * MIB) + b'"]}',
        b'"a' * (4 * MIB),
        b"[" + (b"9" * 4_000 + b",") * 2_000 + b"0]",
        b'{"tasks":[' + b",".join([b'{"shard_params":[' + b"[[]]," * 9_900 + b"0]}"] * 3) + b"]}",
    ]
    return await _while(rig, [(rig.system.admin_token, body) for body in bodies])


@attack("C1-chunks", "bodies in chunks of one byte, from nine strangers: ms that somebody else waits", bound="<= 50")
async def tiny_chunks(rig: Rig) -> float:
    """A body that is not read costs nothing to discard."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    head = b"POST /docs/x:batch HTTP/1.1\r\nHost: gojob.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Bystander(port) as bystander:
        await wait(0.5)
        await asyncio.gather(*(asyncio.to_thread(send_all, port, head + b"1\r\na\r\n" * 500_000) for _ in range(9)))
        await wait(0.5)
    return bystander.worst_ms


@attack("C1-memory", "40 bodies of 8 MiB from one token, all but their ends: MiB that the gateway grows", bound="<= 64")
async def many_large(rig: Rig) -> float:
    """Only a few bodies are read at the same time; the other senders wait."""
    await rig.start(workers=0, triggers=0)
    port = rig.gateways[0].port
    head = (
        f"POST /v1/apps/default/faults/handlers/work/tasks:batch HTTP/1.1\r\nHost: gojob.test\r\n"
        f"Authorization: Bearer {rig.system.admin_token}\r\nContent-Length: {8 * MIB}\r\n\r\n"
    )
    grown = Memory(rig.gateways[0])
    async with grown.watched():
        senders = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(40)]
        for sender in senders:
            sender.write(head.encode() + b" " * (8 * MIB - 1))
        await wait(3)
        for sender in senders:
            sender.transport.abort()
    return grown.worst_mb


async def _while(rig: Rig, posts: list[tuple[str, bytes]]) -> float:
    """The longest that a bystander waits while these bodies come one after the other."""
    port = rig.gateways[0].port
    with Bystander(port) as bystander:
        await wait(0.5)
        for token, body in posts:
            await asyncio.to_thread(_post, port, "/v1/apps/default/faults/handlers/work/tasks:batch", body, token)
        await wait(0.5)
    return bystander.worst_ms


def _post(port: int, path: str, body: bytes, token: str = "") -> None:
    """Send a whole request, even if the server refuses it, and read until it closes the connection or answers."""
    head = f"POST {path} HTTP/1.1\r\nHost: gojob.test\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    authorization = f"\r\nAuthorization: Bearer {token}" if token else ""
    send_all(port, (head + authorization).encode() + b"\r\n\r\n" + body)


def send_all(port: int, data: bytes) -> bytes:
    """Send bytes over a new connection. Returns the first bytes of the answer; none if the server closed it."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        try:
            connection.sendall(data)
            return connection.recv(65_536)
        except OSError:
            return b""  # it hung up, which is an answer
