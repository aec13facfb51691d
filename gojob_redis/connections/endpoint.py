"""``GET /v1/worker``: the life of one socket, from the handshake to the parting.

A socket that closes without goodbye keeps its session: what was never written goes back at once, its capacity becomes
0, and the lease runs on until the worker comes home here or elsewhere.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from gojob_redis.connections.batchers import ITEM_BYTES, Batchers
from gojob_redis.connections.close import HangUp, hang_up, restarting
from gojob_redis.connections.connection import Connection
from gojob_redis.connections.counters import Counters
from gojob_redis.connections.delivery import Delivery
from gojob_redis.connections.handshake import Handshake, Identity
from gojob_redis.connections.health import Health
from gojob_redis.connections.logbook import Logbook
from gojob_redis.connections.refusals import Refusals
from gojob_redis.connections.registry import Registry
from gojob_redis.connections.session import Phase, Session
from gojob_redis.connections.settings import Bounds
from gojob_redis.connections.specs import Specs
from gojob_redis.domain.errors import BrokenInvariant, GojobError, Unavailable, leaves
from gojob_redis.engine.errors import TROUBLE, tell
from gojob_sdk import protocol

log = structlog.get_logger()

BUSY_PAUSE_S: Final = 1.0


class Endpoint:
    """The sockets of one gateway.

    handshake: who is let in, and as which session.
    delivery: takes back what was never written.
    """

    def __init__(
        self,
        handshake: Handshake,
        batchers: Batchers,
        logbook: Logbook,
        registry: Registry,
        delivery: Delivery,
        health: Health,
        specs: Specs,
        counters: Counters,
        bounds: Bounds,
        clock: Callable[[], float],
    ) -> None:
        self.handshake = handshake
        self.batchers = batchers
        self.logbook = logbook
        self.registry = registry
        self.delivery = delivery
        self.health = health
        self.specs = specs
        self.counters = counters
        self.bounds = bounds
        self.clock = clock
        self.refusals = Refusals(clock)
        self.is_open = False
        """Whether workers are let in."""
        self.sockets = 0
        self.broken: BrokenInvariant | None = None
        """What a socket met after which nothing may go on."""
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    async def serve(self, websocket: WebSocket) -> None:
        """Identify, welcome, converse, part."""
        identity = await self.handshake.identify(websocket)
        if isinstance(identity, JSONResponse):
            self.counters.refused += 1
            await websocket.send_denial_response(identity)
            return
        await websocket.accept(subprotocol=protocol.SUBPROTOCOL)
        connection = Connection(
            websocket,
            Session(self.clock()),
            self.batchers,
            self.logbook,
            self.bounds,
            self.counters,
            self.clock,
            self._wall_ms,
            self.specs,
        )
        self.sockets += 1
        self._all_closed.clear()
        try:
            why = await self._converse(connection, identity)
            await asyncio.gather(connection.socket.say_goodbye(why), self._part(connection, why))
        finally:
            self.registry.disconnect(connection)
            self.specs.part(connection)
            connection.leaving.close()
            self.sockets -= 1
            if not self.sockets:
                self._all_closed.set()

    async def _converse(self, connection: Connection, identity: Identity) -> HangUp:
        """Let in, welcome, converse until the connection ends; returns why it did."""
        endings: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._admit(connection, identity)
                tasks.create_task(connection.write())
                if connection.spec_set is not None:
                    tasks.create_task(self.specs.greet(connection))
                await connection.read(tasks)
        except* (HangUp, GojobError, WebSocketDisconnect) as group:
            endings = leaves(group)
        why = next((ending for ending in endings if not isinstance(ending, WebSocketDisconnect)), None)
        if isinstance(why, BrokenInvariant):
            self.broken = why
        if isinstance(why, GojobError):
            if connection.session.phase is not Phase.LIVE:
                self.counters.refused += 1
            if self.refusals.is_first(why.code, connection.socket.address) or isinstance(why, BrokenInvariant):
                tell(
                    "socket.refused",
                    why,
                    code=why.code,
                    session=connection.session.id,
                    address=connection.socket.address,
                )
            return hang_up(why)
        return why if isinstance(why, HangUp) else HangUp(1000)

    async def _admit(self, connection: Connection, identity: Identity) -> None:
        """Welcome the worker, unless this gateway is closing or full."""
        if not self.is_open:
            raise restarting()
        if self.sockets > self.bounds.sessions:
            message = f"This gateway has {self.bounds.sessions} sockets."
            raise Unavailable(message, BUSY_PAUSE_S, code="busy", hint="Try another replica.")
        await self.handshake.admit(connection, identity)
        self.health.watch(connection.partition)

    async def _part(self, connection: Connection, why: HangUp) -> None:
        """Settle with the engine what the closed socket leaves behind."""
        session = connection.session
        ours = self.registry.disconnect(connection)
        unwritten = connection.give_up()
        if session.id:
            log.info("socket.closed", session=session.id, code=why.code, unwritten=len(unwritten))
        if ours and session.phase is Phase.LIVE and why.code != protocol.CLOSE_MOVED:
            await asyncio.gather(
                self._bind_no_more(connection), self.delivery.give_back(connection.partition, unwritten)
            )
        elif unwritten:  # so it said hello
            await self.delivery.give_back(connection.partition, unwritten)

    async def _bind_no_more(self, connection: Connection) -> None:
        """The session has no socket: until it comes home, here or elsewhere, its capacity is 0."""
        session = connection.session
        session.go()
        try:
            await self.batchers.renew(connection.partition).put(session, tenant=session.app, size=ITEM_BYTES)
        except TROUBLE as error:
            tell("session.not_renewed", error, session=session.id)

    def cut_all(self) -> None:
        """Close every socket; the workers connect elsewhere."""
        for connection in self.registry.connections.values():
            connection.cut(restarting())

    async def until_closed(self, within_s: float) -> None:
        """Wait until no socket is left, at most this long."""
        try:
            async with asyncio.timeout(within_s):
                await self._all_closed.wait()
        except TimeoutError:
            return

    def _wall_ms(self) -> int:
        return self.batchers.space.now_ms() or int(time.time() * 1000)
