"""200 tasks a second over HTTP, for 10 s: how long after it was sent does a handler begin?"""

import asyncio
import time

import httpx2

from bench.rig import APP, percentile, rig

QUESTION = "200 tasks/s through HTTP, gateway and websocket for 10 s: submit to handler start"
GOALS = {"p50_ms": 1.5, "p99_ms": 4.0, "lost": 0.0}

RATE = 200
SECONDS = 10
CONNECTIONS = 8


def measure() -> dict[str, float]:
    with rig() as system:
        system.start_worker(concurrency=100)
        asyncio.run(_submit(str(system.http.base_url), system.system.admin_token))
        time.sleep(0.5)
        waits = system.ask("waits")
    return {
        "p50_ms": round(percentile(waits, 0.50), 2),
        "p99_ms": round(percentile(waits, 0.99), 2),
        "max_ms": round(max(waits), 2),
        "lost": RATE * SECONDS - len(waits),
    }


async def _submit(url: str, token: str) -> None:
    """Send at an even rate, whatever the answers do."""
    limits = httpx2.Limits(max_connections=CONNECTIONS)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30.0) as http:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(RATE * SECONDS):
                await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
                group.create_task(_send(http))


async def _send(http: httpx2.AsyncClient) -> None:
    answer = await http.post(f"{APP}/handlers/stamp/tasks", json={"params": {"sent_s": time.time()}})
    answer.raise_for_status()
