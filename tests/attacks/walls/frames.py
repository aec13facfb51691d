"""What a worker with a good token can send over its socket."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from gojob_sdk import protocol
from tests.attacks.attack import Bystander, attack
from tests.faults.rig import ADDRESS, APP, Rig, wait

HANDLERS, WITH_LANES, LANES = 600, 60, 255
PASS_S = 11.0
"""A trigger replica has looked at everything once by then."""

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
    """A new worker group is joined to its lanes in small steps, and removed in small steps."""
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


@attack(
    "H4-lanes", "a pass over the history of 39 handlers with 255 lanes each: ms of the slowest script", bound="<= 5"
)
async def lanes(rig: Rig) -> float:
    """The retention of old tasks visits the lanes in small steps; an app has at most 10,000 of them."""
    await rig.start(workers=0)
    tasks = {"tasks": [{"require": f"n={lane}", "allow_unknown": True} for lane in range(LANES)]}
    for number in range(39):
        await asyncio.to_thread(
            rig.request, "POST", f"/v1/apps/{ADDRESS}/handlers/h{number:03}/tasks:batch", json=tasks
        )
    with scripts(rig) as slowest:
        await wait(PASS_S)
    return slowest.ms


@attack("H4-held", "a worker that lists 4,000 runs: ms of the slowest script", bound="<= 5")
async def held(rig: Rig) -> float:
    """A list of held runs is compared in small steps, even if it lists runs that were never bound."""
    await rig.start(workers=0, triggers=0)
    async with worker(rig) as socket:
        session = socket.welcome["session"]
    runs = [
        {"run": f"00s0{n:016}", "attempt": 1, "fence": "1764000000000-abcdefgh", "started": True}
        for n in range(protocol.MAX_HELD)
    ]
    with scripts(rig) as slowest:
        async with worker(rig, session=session, held=runs):
            pass
        async with worker(rig, session=session, held=[]) as socket:
            assert socket.welcome["resumed"]
    return slowest.ms


@attack(
    "H4-frames", "a MiB of what is ignored in every frame: p99 ms that a request of somebody else waits", bound="<= 50"
)
async def ignored(rig: Rig) -> float:
    """Entries that no field needs are not unpacked."""
    await rig.start(workers=0, triggers=0)
    lists = b"\xdd" + (1_000_000).to_bytes(4, "big") + b"\x90" * 1_000_000
    frame = b"\x83" + msgpack.packb("mood") + lists + packed("renew", seq=1)[1:]
    return await flooded(rig, [frame], seconds=5)


@attack("H4-unknown", "frames of unknown types: how many are taken", bound="<= 20")
async def unknown(rig: Rig) -> float:
    """A few unknown frames are ignored, since a newer worker may send them; many are refused."""
    await rig.start(workers=0, triggers=0)
    async with worker(rig) as socket:
        for taken in range(1_000):
            await socket.send(packed("praise"))
            await socket.send(packed("renew", seq=taken, held=0))
            if msgpack.unpackb(await socket.recv())["type"] == "error":
                break
        await socket.wait_closed()
    assert socket.close_code == protocol.CLOSE_BAD_FRAME, socket.close_code
    return taken


@attack("H4-notes", "one worker floods with every kind of frame: p99 ms that another request waits", bound="<= 50")
async def flood(rig: Rig) -> float:
    """Frames without a purpose are read at a few a second."""
    await rig.start(workers=0, triggers=0)
    keys = [{"run": f"00s0{n:016}", "attempt": 1} for n in range(100)]
    line = {"at": 1, "level": "info", "text": "x"}
    frames = [
        packed("renew", seq=1, held=3),
        packed("acknowledge", runs=keys),
        packed("note", entries=[key | {"log": [line] * 10} for key in keys]),
        packed("resume", runs=[]),
    ]
    return await flooded(rig, frames, seconds=5)


@attack(
    "A9-name",
    "names of workers that could forge a field or reach a terminal: how many are let in",
    bound="== 0",
    short=True,
)
async def names(rig: Rig) -> float:
    """A name is a name."""
    await rig.start(workers=0, triggers=0)
    let_in = 0
    for name in ("w\x1fadmin", "w\x1b[2J", "w\nx", "", " w", "w" * 300):
        with contextlib.suppress(AssertionError, ConnectionClosed):
            async with worker(rig, worker=name):
                let_in += 1
    return let_in


@attack("A9-log", "500 sockets that are refused: lines in the log", bound="<= 5")
async def logged(rig: Rig) -> float:
    """The first refusal of a kind is logged, the others are counted."""
    await rig.start(workers=0, triggers=0)
    log = rig.gateways[0].log
    before = len(log.read_text("utf-8").splitlines())
    for number in range(500):
        token = rig.system.worker_token if number % 2 else "gj_worker_nobody_knows"
        with contextlib.suppress(ConnectionClosed, InvalidStatus):
            async with connected(rig, token) as socket:
                await socket.send(packed("hello", **greeting(app="Not A Name")))
                await socket.recv()
    return len(log.read_text("utf-8").splitlines()) - before


async def flooded(rig: Rig, frames: Sequence[bytes], *, seconds: float) -> float:
    """How long somebody else waits (p99) while one worker sends these again and again, as fast as it can."""
    port = rig.gateways[0].port

    async def send(socket: Worker) -> None:
        with contextlib.suppress(ConnectionClosed):
            for frame in itertools.cycle(frames):
                await socket.send(frame)

    async def read(socket: Worker) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()

    async with worker(rig) as socket:
        with Bystander(port, "/v1/namespaces", rig.system.admin_token) as bystander:
            halves = [asyncio.create_task(send(socket)), asyncio.create_task(read(socket))]
            await asyncio.sleep(seconds)
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)
    assert not bystander.failed, bystander.failed
    return bystander.p99_ms


# ---- a worker that speaks raw frames ---------------------------------------------------------------------------------


def packed(type: str, **fields: Any) -> bytes:
    """A frame that need not be valid."""
    data: bytes = msgpack.packb({"type": type, **fields})
    return data


def greeting(**changes: Any) -> dict[str, Any]:
    """The fields of a hello."""
    fields: dict[str, Any] = {
        "protocol": protocol.VERSIONS[0], "sdk": "raw", "namespace": "default", "app": APP, "worker": "w1",
        "host": "here", "pid": 1, "labels": {}, "attributes": [], "handlers": ["work"], "capacity": 10, "held": [],
    }  # fmt: skip
    return fields | changes


class Worker(ClientConnection):
    """A socket, and what it was welcomed with."""

    welcome: dict[str, Any]


@contextlib.asynccontextmanager
async def worker(rig: Rig, **changes: Any) -> AsyncIterator[Worker]:
    """A socket that was welcomed."""
    async with connected(rig, rig.system.worker_token) as socket:
        assert isinstance(socket, Worker)
        await socket.send(packed("hello", **greeting(**changes)))
        async with asyncio.timeout(15):
            socket.welcome = msgpack.unpackb(await socket.recv(decode=False))
        assert socket.welcome["type"] == "welcome", socket.welcome
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
        create_connection=Worker,
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
