"""How many bytes does a queued task take in the engine, a finished one, and 200 connected workers in a gateway?"""

import asyncio
from contextlib import AsyncExitStack

from websockets.asyncio.client import connect

from bench.rig import Rig, rig, rss_mb, wait_for
from gojob_sdk import protocol

QUESTION = "bytes per queued task without parameters, and per finished one; memory of a gateway with 200 workers"
GOALS = {"bytes_per_queued_task": 400.0, "bytes_per_finished_task": 450.0, "gateway_mb_with_200_workers": 100.0}

TASKS = 20_000
WORKERS = 200


def measure() -> dict[str, float]:
    with rig() as system:
        system.submit_noops(1)  # lane, handler and crews exist
        empty = system.used_memory()
        system.submit_noops(TASKS)
        queued = system.used_memory()
        system.submit_noops(TASKS, keys=True)
        keyed = system.used_memory()
        gateway = system.system.gateways[0]
        alone_mb = rss_mb(gateway)
        crowded_mb = asyncio.run(_crowd(system))
        system.start_worker(concurrency=500)
        wait_for(lambda: system.ended() >= 2 * TASKS + 1)
        finished = system.used_memory()
    return {
        "bytes_per_queued_task": round((queued - empty) / TASKS, 1),
        "bytes_more_with_idempotency_key": round((keyed - queued - (queued - empty)) / TASKS, 1),
        "bytes_per_finished_task": round((queued - empty) / TASKS + (finished - keyed) / (2 * TASKS), 1),
        "gateway_mb_alone": round(alone_mb, 1),
        "gateway_mb_with_200_workers": round(crowded_mb, 1),
        "kb_per_worker": round((crowded_mb - alone_mb) * 1024 / WORKERS, 1),
    }


async def _crowd(system: Rig) -> float:
    """The gateway's memory while 200 sockets of another app are open and have beaten once."""
    url = system.system.gateways[0].url.replace("http", "ws") + protocol.PATH
    headers = {"Authorization": f"Bearer {system.system.worker_token}"}
    async with AsyncExitStack() as stack:
        for number in range(WORKERS):
            socket = await stack.enter_async_context(
                connect(
                    url,
                    additional_headers=headers,
                    subprotocols=[protocol.SUBPROTOCOL],  # type: ignore[list-item]
                    compression=None,
                )
            )
            await socket.send(_hello(number))
            welcome = await socket.recv()
            assert isinstance(welcome, bytes)
            await socket.send(protocol.encode(protocol.Beat(type="beat", seq=1, held=0)))
            await socket.recv()
        return rss_mb(system.system.gateways[0])


def _hello(number: int) -> bytes:
    return protocol.encode(
        protocol.Hello(
            type="hello",
            protocol=protocol.PROTOCOL,
            sdk="bench",
            namespace="default",
            app="crowd",
            worker=f"crowd-{number}",
            host="bench",
            pid=number + 1,
            labels={},
            attributes=[],
            handlers=["noop"],
            capacity=10,
            held=[],
        )
    )
