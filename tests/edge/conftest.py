"""Gateways on real sockets before the real engine: uvicorn in this process, and workers that speak raw frames."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gojob_redis import task
from gojob_redis.api.server import Server
from gojob_redis.connections.settings import Bounds
from gojob_redis.domain import ids, verbs
from gojob_redis.domain.errors import NotFound, Refused
from gojob_redis.engine.client import connected
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.partitions import Partitions
from gojob_redis.gateway import Gateway
from gojob_sdk import protocol
from tests import invariants
from tests.conftest import EPOCH, no_leaks
from tests.lua.world import with_policies
from tests.tools import keyspace
from tests.tools.waiting import until

APP = "default/shop"
HANDLER = f"{APP}/send"
WITHIN_S = 5.0
QUICK = {"block_ms": 50}

Frame = dict[str, Any]


# ---- who may connect -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holder:
    """A token that opens some apps."""

    key_id: str
    apps: tuple[str, ...]

    def may_work(self, namespace: str, app: str) -> bool:
        return f"{namespace}/{app}" in self.apps


@dataclass(slots=True)
class Tokens:
    """Identities by their header."""

    holders: dict[str, Holder] = field(
        default_factory=lambda: {
            "Bearer one": Holder("one", (APP, "unknown/shop")),
            "Bearer two": Holder("two", (APP,)),
            "Bearer theirs": Holder("theirs", ("other/shop",)),
        }
    )

    async def of_worker(self, authorization: str | None) -> Holder:
        holder = self.holders.get(authorization or "")
        if holder is None:
            raise Refused("bad_token", "Nobody knows this token.", protocol.CLOSE_BAD_TOKEN, "Make one.")
        return holder

    async def still_good(self, key_id: str) -> bool:
        return any(holder.key_id == key_id for holder in self.holders.values())

    async def check_namespace(self, name: str) -> str:
        if name == "unknown":
            raise NotFound("unknown_namespace", "There is no namespace 'unknown'.", field="namespace", hint="Make it.")
        return name


# ---- a worker that speaks raw frames ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Worker:
    """One socket of a worker."""

    socket: ClientConnection
    welcome: Frame = field(default_factory=dict)

    @property
    def session(self) -> str:
        return str(self.welcome["session"])

    async def send(self, type: str, **fields: Any) -> None:
        await self.send_bytes(msgpack.packb({"type": type, **fields}))

    async def send_bytes(self, data: bytes) -> None:
        await self.socket.send(data)

    async def next(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(WITHIN_S):
            data = await self.socket.recv()
        assert isinstance(data, bytes)
        frame = protocol.decode_gateway(data)
        assert frame is not None
        return dict(frame)

    async def receive(self, type: str) -> Frame:
        """The next frame, which has to be of this type."""
        frame = await self.next()
        assert frame["type"] == type, frame
        return frame

    async def frames(self, *types: str) -> dict[str, Frame]:
        """The next frames by type, in whatever order they come."""
        got = {frame["type"]: frame for frame in [await self.next() for _ in types]}
        assert got.keys() == set(types), got
        return got

    async def words(self, count: int = 1) -> list[str]:
        """So many verdicts, in however many frames; only their words. A question for the list may come before them."""
        got: list[str] = []
        while len(got) < count:
            frame = await self.next()
            assert frame["type"] in ("verdict", "sync"), frame
            got += [one["verdict"] for one in frame.get("runs", ())]
        assert len(got) == count
        return got

    async def tasks(self, count: int = 1) -> list[Frame]:
        """So many assignments, in however many frames."""
        got: list[Frame] = []
        while len(got) < count:
            got += (await self.receive("assign"))["runs"]
        assert len(got) == count
        return got

    async def hello(self, **changes: Any) -> Frame:
        """Say hello; the answer is the welcome."""
        await self.send("hello", **(greeting() | changes))
        self.welcome = await self.receive("welcome")
        return self.welcome

    async def renew(self, seq: int = 1, held: int = 0) -> None:
        """One heartbeat, answered."""
        await self.send("renew", seq=seq, held=held)
        assert await self.receive("renewed") == {"type": "renewed", "seq": seq}

    async def report(self, *assignments: Frame, outcome: str = "ok", **fields: Any) -> None:
        said = {"outcome": outcome, "started_ms": 1_000, "ended_ms": 1_005} | fields
        outcomes = [ref(assignment) | said for assignment in assignments]
        await self.send("report", outcomes=outcomes)

    async def refusal(self) -> tuple[int, Frame]:
        """The close code, and the error frame before it (empty when there was none)."""
        error: Frame = {}
        with suppress(ConnectionClosed):
            async with asyncio.timeout(WITHIN_S):
                while True:
                    data = await self.socket.recv()
                    assert isinstance(data, bytes)
                    frame = protocol.decode_gateway(data)
                    if frame is not None and frame["type"] == "error":
                        error = dict(frame)
        assert self.socket.close_code is not None
        return self.socket.close_code, error


def greeting() -> Frame:
    """A hello that is welcome."""
    return {
        "protocol": 2,
        "sdk": "raw",
        "namespace": "default",
        "app": "shop",
        "worker": "w1",
        "host": "here",
        "pid": 1,
        "labels": {},
        "attributes": [],
        "handlers": ["send"],
        "capacity": 10,
        "held": [],
    }


def ref(assignment: Frame) -> Frame:
    """How a worker names the attempt it was given."""
    return {name: assignment[name] for name in ("run", "attempt", "fence")}


def held(assignment: Frame, *, started: bool = True) -> Frame:
    """How a worker lists what it holds."""
    return ref(assignment) | {"started": started}


# ---- the edge --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Edge:
    """Gateways behind one server, one engine, and workers that connect to them."""

    space: Partitions
    port: int
    server: Server
    stack: AsyncExitStack
    tokens: Tokens = field(default_factory=Tokens)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    running: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    async def gateway(self, name: str = "g1", *, origins: tuple[str, ...] = (), **bounds: Any) -> Gateway:
        """Start one more gateway."""
        gateway = Gateway(self.space, name, self.tokens, allowed_origins=origins, bounds=Bounds(**(QUICK | bounds)))
        self.gateways[name] = gateway
        self.running[name] = asyncio.create_task(gateway.run())
        await until(lambda: gateway.ready)
        self.stack.push_async_callback(self.stop, gateway)
        return gateway

    async def stop(self, gateway: Gateway) -> None:
        """Drain a gateway, if it was not, and see it end."""
        running = self.running.pop(gateway.id, None)
        if running is not None:
            await gateway.drain(0)
            await running

    async def finished(self, gateway: Gateway) -> None:
        """Wait for a gateway that ends by itself."""
        async with asyncio.timeout(WITHIN_S):
            await self.running.pop(gateway.id)

    async def connect(self, gateway: str = "g1", *, token: str = "one", **options: Any) -> Worker:
        """Open a socket; nothing is said yet."""
        socket = await connect(
            f"ws://127.0.0.1:{self.port}/{gateway}",
            subprotocols=options.pop("subprotocols", [Subprotocol(protocol.SUBPROTOCOL)]),
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            close_timeout=1,
            **options,
        )
        self.stack.push_async_callback(socket.close)
        return Worker(socket)

    async def worker(self, gateway: str = "g1", *, token: str = "one", **changes: Any) -> Worker:
        """A welcome worker."""
        worker = await self.connect(gateway, token=token)
        await worker.hello(**changes)
        return worker

    async def submit(self, count: int = 1, **fields: Any) -> list[str]:
        """Put tasks in, past the gateways; their ids."""
        made = [
            verbs.Submission(ids.submitted_id(0, 1_800_000_000_000), HANDLER, APP, **with_policies(fields))
            for _ in range(count)
        ]
        return [one.task for one in (await task.submit(self.space[0], made)).each]

    async def dump(self) -> keyspace.Keyspace:
        return await keyspace.dump(self.space.clients.commands, self.space.prefixes[0])

    async def task(self, run: str) -> dict[str, str]:
        found: dict[str, str] = (await self.dump()).get(f"task:{run}", {})
        return found

    async def seats(self, session: str) -> set[str]:
        taken: set[str] = (await self.dump()).get(f"held:{session}", set())
        return taken

    async def until(self, reached: Any, *, within_s: float = WITHIN_S) -> None:
        """Wait for what the engine shows: an async condition, looked at again and again."""
        async with asyncio.timeout(within_s):
            while not await reached():  # noqa: ASYNC110  the engine rings no event of ours
                await asyncio.sleep(0.002)


@asynccontextmanager
async def _serving(gateways: dict[str, Gateway]) -> AsyncIterator[tuple[int, Server]]:
    """One server for all gateways; yields its port, too."""

    async def endpoint(websocket: WebSocket) -> None:
        await gateways[websocket.path_params["gateway"]].endpoint(websocket)

    app = Starlette(routes=[WebSocketRoute("/{gateway}", endpoint)])
    server = Server(app)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield listening.getsockname()[1], server
    finally:
        server.should_exit = True
        await serving
        listening.close()


@pytest.fixture
async def edge(valkey: Engine) -> AsyncIterator[Edge]:
    """An emptied engine with one partition, and a server; the invariants are read when the test is over."""
    gateways: dict[str, Gateway] = {}
    async with connected(valkey.url) as clients:
        await clients.commands.flushall()
        space = Partitions(clients, 1)
        await space[0].call(verbs.bootstrap(epoch=EPOCH, tell=0))
        async with _serving(gateways) as (port, server), AsyncExitStack() as stack:
            edge = Edge(space, port, server, stack, gateways=gateways)
            yield edge
        broken = invariants.violations(await edge.dump())
        assert not broken, "\n".join(broken)
        await no_leaks(clients.commands)
