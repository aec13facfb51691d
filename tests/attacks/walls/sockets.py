"""Worker sockets whose peer sends, and does not read."""

import asyncio
import select
import socket
import time
from typing import Any

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from gojob_sdk import protocol
from tests.attacks.attack import MIB, Bystander, Memory, attack
from tests.faults.rig import Rig, wait

PINGS = Frame(Opcode.PING, b"a" * 125).serialize(mask=True) * 5_000
TINY = Frame(Opcode.PING, b"").serialize(mask=True) * 50_000
FLOOD_S = 5.0


@attack("H5", "pings without end from a worker that reads nothing: MiB the gateway grows", bound="<= 5", short=True)
async def pings(rig: Rig) -> float:
    """The gateway stops reading a socket while the worker does not read its answers."""
    await rig.start(workers=0, triggers=0)
    grown = Memory(rig.gateways[0])
    async with grown.watched():
        await _flood(await _dial(rig), PINGS)
    return grown.worst_mb


@attack("H5-pace", "tiny pings without end from a worker that reads: ms that somebody else waits", bound="<= 50")
async def pace(rig: Rig) -> float:
    """Frames are parsed in small portions."""
    await rig.start(workers=0, triggers=0)
    with Bystander(rig.gateways[0].port) as bystander:
        await wait(0.5)
        await asyncio.to_thread(_flood_raw, rig)
        await wait(0.5)
    return bystander.worst_ms


@attack("H5-descriptor", "a worker that takes 20 MB and reads nothing: s until its descriptor is free", bound="<= 15")
async def descriptor(rig: Rig) -> float:
    """A worker that does not read is disconnected, with everything that waits for it."""
    await rig.start(workers=0, triggers=0)
    process = psutil.Process(rig.gateways[0].pid)
    worker = await _dial(rig)
    worker.transport.pause_reading()
    port = worker.local_address[1]
    began = time.monotonic()
    for _ in range(4):
        await rig.submitter.burst(25, params="x" * 200_000)
    while any(each.raddr and each.raddr.port == port for each in process.net_connections()):
        if time.monotonic() - began > 40:
            break
        await wait(0.1)
    return round(time.monotonic() - began, 1)


async def _dial(rig: Rig) -> ClientConnection:
    """An open socket of a worker that has said nothing yet; its pongs are read by nobody."""
    worker = await connect(
        f"ws://127.0.0.1:{rig.gateways[0].port}{protocol.PATH}",
        subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
        additional_headers={"Authorization": f"Bearer {rig.system.worker_token}"},
        compression=None,
        ping_interval=None,
    )
    hello: dict[str, Any] = {
        "type": "hello",
        "protocol": protocol.VERSIONS[-1],
        "sdk": "attack",
        "namespace": "default",
        "app": "faults",
        "worker": "attacker",
        "host": "here",
        "pid": 1,
        "labels": {},
        "attributes": [],
        "handlers": ["work"],
        "capacity": 100,
        "held": [],
    }
    await worker.send(protocol.encode(hello))  # type: ignore[arg-type]
    await worker.recv()
    return worker


async def _flood(worker: ClientConnection, data: bytes) -> None:
    """Send for 5 s as fast as the gateway takes it, and read nothing."""
    worker.transport.pause_reading()
    until = time.monotonic() + FLOOD_S
    while time.monotonic() < until and not worker.transport.is_closing():
        if worker.transport.get_write_buffer_size() < 4 * MIB:
            worker.transport.write(data)
        await asyncio.sleep(0.005)


def _flood_raw(rig: Rig) -> None:
    """Send tiny pings for 5 s, and throw the pongs away unparsed: this process also measures."""
    head = (
        f"GET {protocol.PATH} HTTP/1.1\r\nHost: gojob.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: {protocol.SUBPROTOCOL}\r\nAuthorization: Bearer {rig.system.worker_token}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", rig.gateways[0].port), 10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4_096).startswith(b"HTTP/1.1 101")
        connection.setblocking(False)
        until = time.monotonic() + FLOOD_S
        while time.monotonic() < until:
            select.select([connection], [], [], 0.001)
            try:
                connection.send(TINY)
                connection.recv(MIB)
            except BlockingIOError:
                continue
            except OSError:
                return  # no hello came: it hung up
