"""Sends tasks one by one over HTTP at an even rate.

Requests are written by hand: a comfortable client takes longer for a request than the whole way to the handler.
"""

import asyncio
import json
import time
from typing import Final
from urllib.parse import urlsplit

from bench.question import Failed
from bench.rig import BENCH, NAMESPACE, Rig, wait_for

CONNECTIONS: Final = 8
CREATED: Final = b"HTTP/1.1 201"
LOOK_S: Final = 0.0005
BEHIND_S: Final = 0.1
"""The first request is sent so long after the connections were asked for."""


def waits(system: Rig, rate: int, seconds: float, *, first: int = 0, app: str = BENCH) -> list[float]:
    """Send ``stamp`` tasks, numbered from first; how long each took from its sending to its start, in ms."""
    numbers = range(first, first + round(rate * seconds))
    asyncio.run(_pace(system, app, rate, numbers))
    late_by_number: dict[int, float] = {}

    def all_came() -> bool:
        late_by_number.update((number, late) for number, late in system.notes if number in numbers)
        return len(late_by_number) == len(numbers)

    wait_for(all_came, look_s=0.1)
    return [late_by_number[number] for number in numbers]


def one_by_one(system: Rig, count: int) -> None:
    """Send ``stamp`` tasks, each as soon as the one before has begun."""
    asyncio.run(_one_by_one(system, count))


async def _one_by_one(system: Rig, count: int) -> None:
    connection = await _connect(system)
    before = system.counted.count
    for number in range(1, count + 1):
        await _post(system, *connection, BENCH, number)
        while system.counted.count < before + number:  # noqa: ASYNC110  another process counts
            await asyncio.sleep(LOOK_S)
    connection[1].close()


async def _pace(system: Rig, app: str, rate: int, numbers: range) -> None:
    """Each connection sends every eighth task."""
    began = time.monotonic() + BEHIND_S
    async with asyncio.TaskGroup() as group:
        for connection in range(CONNECTIONS):
            group.create_task(_send(system, app, rate, began, numbers, connection))


async def _send(system: Rig, app: str, rate: int, began: float, numbers: range, connection: int) -> None:
    reader, writer = await _connect(system)
    for at in range(connection, len(numbers), CONNECTIONS):
        await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
        await _post(system, reader, writer, app, numbers[at])
    writer.close()


async def _connect(system: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(str(system.http.base_url))
    return await asyncio.open_connection(address.hostname, address.port)


async def _post(system: Rig, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: str, number: int) -> None:
    """Submit one task; returns when it is answered."""
    body = json.dumps({"params": {"number": number, "due_ms": time.time() * 1000}})
    writer.write(
        f"POST {NAMESPACE}/{app}/handlers/stamp/tasks HTTP/1.1\r\nHost: bench\r\n"
        f"Authorization: Bearer {system.system.admin_token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(CREATED):
        raise Failed(head.decode())
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0].partition(b":")[2]))
