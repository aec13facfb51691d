"""200 tasks a second over HTTP, for 10 s: how long after it was sent does a handler begin?

The sender writes requests by hand: a comfortable client takes longer for a request than the whole way to the handler.
"""

import asyncio
import json
import time
from urllib.parse import urlsplit

from bench.rig import APP, percentile, rig

QUESTION = "200 tasks/s through HTTP, gateway and websocket for 10 s: submit to handler start"
GOALS = {"p50_ms": 1.5, "p99_ms": 4.0, "lost": 0.0}

RATE = 200
SECONDS = 10
CONNECTIONS = 8
CREATED = b"HTTP/1.1 201"


def measure() -> dict[str, float]:
    with rig() as system:
        system.start_worker(concurrency=100)
        asyncio.run(_submit(str(system.http.base_url), system.system.admin_token))
        waits = system.ask("waits")
    return {
        "p50_ms": round(percentile(waits, 0.50), 2),
        "p99_ms": round(percentile(waits, 0.99), 2),
        "max_ms": round(max(waits), 2),
        "lost": RATE * SECONDS - len(waits),
    }


async def _submit(url: str, token: str) -> None:
    """Send at an even rate; each connection sends every eighth request."""
    began = time.monotonic() + 0.1
    async with asyncio.TaskGroup() as group:
        for first in range(CONNECTIONS):
            group.create_task(_send(url, token, began, range(first, RATE * SECONDS, CONNECTIONS)))


async def _send(url: str, token: str, began: float, numbers: range) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for number in numbers:
        await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
        body = json.dumps({"params": {"sent_s": time.time()}})
        writer.write(
            f"POST {APP}/handlers/stamp/tasks HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(CREATED):
            raise RuntimeError(head.decode())
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0].partition(b":")[2]))
    writer.close()
