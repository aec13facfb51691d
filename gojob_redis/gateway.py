"""The gateway: workers' sockets on one side, the engine on the other. It keeps nothing that a restart may not lose.

1. A worker's socket is served by ``connections/endpoint.py``: welcomed (``handshake.py``), conversing
   (``connection.py``), parted from.
2. What the engine says to a worker comes by ``connections/delivery.py``.
3. ``connections/health.py`` keeps sessions alive, and notices what is not.
4. What runs log stands in ``connections/logbook.py`` until it is packed.
5. ``submit`` takes tasks in beside the workers' reports, by group commit.
6. ``run`` ends by ``drain``, or by a broken invariant. An engine out of reach only makes its loops wait.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, Literal

import structlog
from starlette.websockets import WebSocket

from gojob_redis import relay
from gojob_redis.connections.counters import Counters
from gojob_redis.connections.delivery import Delivery
from gojob_redis.connections.endpoint import Endpoint
from gojob_redis.connections.handshake import Handshake, Identities
from gojob_redis.connections.health import Health
from gojob_redis.connections.logbook import Logbook
from gojob_redis.connections.registry import Registry
from gojob_redis.connections.settings import Bounds
from gojob_redis.connections.specs import TELL_S, Specs
from gojob_redis.domain import verbs
from gojob_redis.engine.client import REPEAT_S
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.loop import Loop

log = structlog.get_logger()

TRIM_S: Final = 0.25
PARTING_S: Final = 5.0
SUBMISSION_BYTES: Final = 400


class Gateway:
    """One replica's worker sockets.

    gateway_id: new for every process, never used again.
    identities: who may connect.
    allowed_origins: of browsers; a worker sends none.
    """

    def __init__(
        self,
        space: Partitions,
        gateway_id: str,
        identities: Identities,
        *,
        allowed_origins: Sequence[str] = (),
        bounds: Bounds | None = None,
    ) -> None:
        self.space = space
        self.id = gateway_id
        self.bounds = bounds or Bounds()
        self.clock = time.monotonic
        self.counters = Counters()
        self.registry = Registry()
        self.delivery = Delivery(space, gateway_id, self.registry, self.counters, self.clock)
        self.batchers = self.delivery.batchers
        self.logbook = Logbook(self.batchers, self.counters, self.clock)
        self.health = Health(space, gateway_id, self.registry, identities, self.bounds, self.clock)
        self.handshake = Handshake(self.batchers, self.registry, identities, self.bounds, allowed_origins)
        self.specs = Specs(self.clock)
        self.workers = Endpoint(
            self.handshake,
            self.batchers,
            self.logbook,
            self.registry,
            self.delivery,
            self.health,
            self.specs,
            self.counters,
            self.bounds,
            self.clock,
        )
        self._draining = False
        self._loops: list[Loop] = []

    @property
    def ready(self) -> bool:
        """Whether workers may be sent here."""
        return self.workers.is_open and not self.health.is_cut_off

    @property
    def sessions(self) -> int:
        """How many are at home here."""
        return len(self.registry.connections)

    def most(self, fact: Literal["cpu_percent", "memory_bytes"]) -> int:
        """The most of it that a worker at home here said its process takes; 0 when none said so."""
        sessions = (connection.session for connection in self.registry.connections.values())
        return max((session.load.get(fact, 0) for session in sessions if session.load), default=0)

    async def endpoint(self, websocket: WebSocket) -> None:
        """``GET /v1/worker``."""
        await self.workers.serve(websocket)

    async def submit(
        self, partition: Partition, submissions: Sequence[verbs.Submission], app: str
    ) -> list[verbs.Submitted]:
        """Take tasks in by group commit with whoever else submits; safe to repeat.

        Raises Unavailable (busy, closing, Redis away, memory full, not as safe as its namespace demands), ScriptFailed.
        """
        self.health.use(partition)
        sizes = [SUBMISSION_BYTES + len(one.param) + len(one.shard_params) for one in submissions]
        level = await self.batchers.levels.of(app)
        results = await self.batchers.submit(partition, level).put_many(submissions, tenant=app, sizes=sizes)
        submitted: list[verbs.Submitted] = []
        for result in results:
            if isinstance(result, Exception):
                raise result
            submitted.append(result)
        return submitted

    async def run(self) -> None:
        """Relay, renew and look after the sockets until ``drain``; raises an ExceptionGroup of BrokenInvariant."""
        loop = partial(Loop, outage=self.space.clients.outage)
        self._loops = [
            loop(self._tend, interval_s=self.bounds.stamp_s, name="gateway.tend"),
            loop(self.health.recheck, interval_s=self.bounds.recheck_s, name="gateway.recheck"),
            loop(self.specs.say_again, interval_s=TELL_S, name="gateway.specs"),
            loop(self.health.look_for_emptiness, interval_s=self.bounds.recheck_s, name="gateway.emptiness"),
            self.logbook.loop,
        ]
        for inbox in relay.readers(self.space, self.id):
            inbox.block_ms = self.bounds.block_ms
            self._loops.append(loop(partial(self.delivery.read, inbox), interval_s=0, name="gateway.relay"))
            self._loops.append(loop(inbox.trim, interval_s=TRIM_S, name="gateway.trim"))
        try:
            async with asyncio.TaskGroup() as tasks:
                self.delivery.tasks = tasks
                self.workers.is_open = not self._draining
                for each in self._loops:
                    tasks.create_task(each.run(), name=each.name)
        finally:
            self.workers.is_open = False
            self.delivery.tasks = None
            self.workers.cut_all()

    async def _tend(self) -> None:
        """Once a second."""
        if self.workers.broken is not None:
            raise self.workers.broken
        self.workers.refusals.tell()
        await self.health.tend()

    async def drain(self, within_s: float) -> None:
        """Send the workers elsewhere and end ``run``: nothing accepted is left unsent."""
        self._draining, self.workers.is_open = True, False
        began = self.clock()
        for connection in self.registry.connections.values():
            connection.ask_to_move("restarting", within_s)
        await self.workers.until_closed(within_s)
        self.workers.cut_all()
        await self.workers.until_closed(PARTING_S)
        for loop in self._loops:
            loop.stop()
        log.info("gateway.drained", seconds=round(self.clock() - began, 1), sockets_left=self.workers.sockets)
        try:
            async with asyncio.timeout(REPEAT_S):
                await self.logbook.close()
                await self.batchers.close()
        except TimeoutError:
            log.warning("gateway.unsent", counters_of_calls=self.batchers.counters_of_calls())
