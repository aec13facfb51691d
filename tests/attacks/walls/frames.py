"""What a worker with a good token can send over its socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gojob_sdk import protocol
from tests.attacks.attack import attack
from tests.faults.rig import ADDRESS, APP, Rig

HANDLERS, WITH_LANES, LANES = 600, 60, 255

SHOW_LANES = """
for n = 1, tonumber(ARGV[3]) do
  local id = redis.call('HINCRBY', ARGV[1] .. 'meta', 'lane_seq', 1)
  redis.call('HSET', ARGV[1] .. 'lanes:' .. ARGV[2], '\\31n=' .. n, id)
  redis.call('HSET', ARGV[1] .. 'lane:' .. id, 'handler', ARGV[2], 'labels', '', 'attribute', 'n=' .. n)
  redis.call('ZADD', ARGV[1] .. 'activeq:' .. id, 1, 'nobody')
end
"""
"""As many tasks as there are lanes would take minutes; what an announcement looks at is the lanes."""


@attack("H4-hello", "a worker group of 600 handlers with up to 255 lanes: ms of the slowest script", bound="<= 5")
async def hello(rig: Rig) -> float:
    """A new worker group is opened to its lanes piece by piece, and closed so."""
    await rig.start(workers=0, triggers=0)
    handlers = [f"h{number:03}" for number in range(HANDLERS)]
    async with worker(rig):
        pass  # the app has a partition
    for handler in handlers[:WITH_LANES]:
        rig.engine.eval(SHOW_LANES, 1, rig.prefix + "meta", rig.prefix, f"{ADDRESS}/{handler}", LANES)
    with scripts(rig) as slowest:
        async with worker(rig, handlers=handlers) as socket:
            await socket.send(packed("leave"))
            await socket.wait_closed()
    return slowest.ms


# ---- a worker that speaks raw frames ---------------------------------------------------------------------------------


def packed(type: str, **fields: Any) -> bytes:
    """A frame, whatever the protocol thinks of it."""
    data: bytes = msgpack.packb({"type": type, **fields})
    return data


def greeting(**changes: Any) -> dict[str, Any]:
    """The fields of a hello."""
    fields: dict[str, Any] = {
        "protocol": protocol.VERSIONS[0], "sdk": "raw", "namespace": "default", "app": APP, "worker": "w1",
        "host": "here", "pid": 1, "labels": {}, "attributes": [], "handlers": ["work"], "capacity": 10, "held": [],
    }  # fmt: skip
    return fields | changes


@contextlib.asynccontextmanager
async def worker(rig: Rig, **changes: Any) -> AsyncIterator[ClientConnection]:
    """A socket that was welcomed."""
    async with connected(rig, rig.system.worker_token) as socket:
        await socket.send(packed("hello", **greeting(**changes)))
        async with asyncio.timeout(15):
            answer = msgpack.unpackb(await socket.recv(decode=False))
        assert answer["type"] == "welcome", answer
        yield socket


def connected(rig: Rig, token: str) -> connect:
    """A socket that has said nothing yet."""
    return connect(
        f"ws://127.0.0.1:{rig.gateways[0].port}{protocol.PATH}",
        subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
        ping_interval=None,
        max_size=None,
    )


class Slowest:
    ms = 0.0


@contextlib.contextmanager
def scripts(rig: Rig) -> Iterator[Slowest]:
    """How long the slowest script of the block kept the engine; nobody takes the core from it meanwhile."""
    rig.prefer_engine()
    slowest = Slowest()
    rig.engine.config_set("slowlog-log-slower-than", 1_000)
    rig.engine.config_set("slowlog-max-len", 10_000)
    rig.engine.slowlog_reset()
    yield slowest
    calls = [call for call in rig.engine.slowlog_get(10_000) if call["command"].upper().startswith(b"EVAL")]
    slowest.ms = round(max((call["duration"] for call in calls), default=0) / 1_000, 1)
