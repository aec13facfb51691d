"""The gateway: workers' sockets on one side, the engine on the other. It keeps nothing that a restart may not lose.

1. ``endpoint`` is the life of one socket: welcomed (``handshake.py`` of ``connections/``), conversing
   (``connection.py``), parted from.
2. Hints come with the answers to our own submissions and reports, and by the relay loop, which reads the inboxes. Each
   is handed to the connection it is meant for (``registry.py``); an assignment whose session is not here any more is
   given back.
3. The tending loop, once a second: stamp this gateway as heard, renew sessions that were heard but did not renew, tell
   workers to move when a partition did not answer for ``unreachable_s``, cut sockets that went silent.
4. A socket that closes without goodbye keeps its session: what was never written goes back at once, its capacity
   becomes 0, and the lease runs on until the worker comes home here or elsewhere.
5. ``run`` ends by ``drain``, or by a broken invariant. An engine out of reach only makes its loops wait.
"""

import asyncio
import time
from collections.abc import Collection, Coroutine, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Final

import structlog
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from gojob_redis import relay
from gojob_redis.connections.batchers import ITEM_BYTES, Batchers
from gojob_redis.connections.close import HangUp, hang_up, restarting
from gojob_redis.connections.connection import Connection
from gojob_redis.connections.counters import Counters
from gojob_redis.connections.handshake import Handshake, Identities, Identity
from gojob_redis.connections.large_params import Payloads
from gojob_redis.connections.refusals import Refusals
from gojob_redis.connections.registry import Registry
from gojob_redis.connections.session import Phase, Session
from gojob_redis.connections.settings import Bounds
from gojob_redis.domain import verbs
from gojob_redis.domain.errors import BrokenInvariant, GojobError, Refused, Unavailable, leaves
from gojob_redis.domain.hints import Assignment, Hint
from gojob_redis.engine.client import RENEW_S, REPEAT_S, repeat
from gojob_redis.engine.errors import EngineError, tell
from gojob_redis.engine.partitions import Partitions
from gojob_redis.runtime.loop import Loop
from gojob_sdk import protocol

log = structlog.get_logger()

RELAY_PAUSE_S: Final = 0.1
TRIM_S: Final = 0.25
FETCHES: Final = 4
"""Round trips for large parameters at the same time; further ones wait, with no more than their assignments."""
BUSY_PAUSE_S: Final = 1.0
DARK_PAUSE_S: Final = 2.0
USED_S: Final = 60.0
PARTING_S: Final = 5.0
SUBMISSION_BYTES: Final = 400

TROUBLE = (GojobError, EngineError)


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
        self.identities = identities
        self.bounds = bounds or Bounds()
        self.clock = time.monotonic
        self.batchers = Batchers(space, gateway_id, self.clock, self._deliver)
        self.payloads = Payloads(space, self.clock)
        self.counters = Counters()
        self.registry = Registry()
        self._handshake = Handshake(self.batchers, self.registry, identities, self.bounds, allowed_origins)
        self._open = 0
        self._closed = asyncio.Event()
        self._closed.set()
        self._heard: dict[int, float] = {}
        self._used: dict[int, float] = {}
        self._unreachable: set[int] = set()
        self._refusals = Refusals(self.clock)
        self._tended_at = 0.0
        self._running = False
        self._draining = False
        self._broken: BrokenInvariant | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._loops: list[Loop] = []
        self._fetching = asyncio.Semaphore(FETCHES)

    @property
    def ready(self) -> bool:
        """Whether workers may be sent here; one unreachable node of a cluster is no reason to send all of them away."""
        is_cut_off = bool(self._unreachable) and self._heard.keys() <= self._unreachable
        return self._running and not self._draining and not is_cut_off

    @property
    def sessions(self) -> int:
        """How many are at home here."""
        return len(self.registry.connections)

    @property
    def _connections(self) -> Collection[Connection]:
        return self.registry.connections.values()

    async def submit(self, partition: int, submissions: Sequence[verbs.Submission], app: str) -> list[verbs.Submitted]:
        """Take tasks in by group commit with whoever else submits; safe to repeat.

        Raises Unavailable (busy, closing, Redis away, memory full, not as safe as its namespace demands), ScriptFailed.
        """
        self._look_at(partition)
        sizes = [SUBMISSION_BYTES + len(one.param) + len(one.shard_params) for one in submissions]
        level = await self.batchers.levels.of(app)
        results = await self.batchers.submit(partition, level).put_many(submissions, tenant=app, sizes=sizes)
        submitted: list[verbs.Submitted] = []
        for result in results:
            if isinstance(result, Exception):
                raise result
            submitted.append(result)
        return submitted

    def _look_at(self, partition: int) -> None:
        """Keep an eye on a partition that is used; raises Unavailable at once when it is known to be away."""
        now = self.clock()
        heard_at = self._heard.setdefault(partition, now)
        self._used[partition] = now
        if partition in self._unreachable:
            raise Unavailable(f"The engine has not answered for {now - heard_at:.0f} s.", DARK_PAUSE_S)

    # --- one socket -----------------------------------------------------------------------------------------------

    async def endpoint(self, websocket: WebSocket) -> None:
        """``GET /v1/worker``: the life of one socket."""
        identity = await self._handshake.identify(websocket)
        if isinstance(identity, JSONResponse):
            self.counters.refused += 1
            await websocket.send_denial_response(identity)
            return
        await websocket.accept(subprotocol=protocol.SUBPROTOCOL)
        connection = Connection(
            websocket, Session(self.clock()), self.batchers, self.bounds, self.counters, self.clock, self._wall_ms
        )
        self._open += 1
        self._closed.clear()
        try:
            why = await self._converse(connection, identity)
            await asyncio.gather(connection.say_goodbye(why), self._part(connection, why))
        finally:
            self.registry.disconnect(connection)
            connection.leaving.close()
            self._open -= 1
            if not self._open:
                self._closed.set()

    async def _converse(self, connection: Connection, identity: Identity) -> HangUp:
        """Let in, welcome, converse until the connection ends; returns why it did."""
        endings: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._admit(connection, identity)
                tasks.create_task(connection.write())
                await connection.read(tasks)
        except* (HangUp, GojobError, WebSocketDisconnect) as group:
            endings = leaves(group)
        why = next((ending for ending in endings if not isinstance(ending, WebSocketDisconnect)), None)
        if isinstance(why, BrokenInvariant):
            self._broken = why
        if isinstance(why, GojobError):
            if connection.session.phase is not Phase.LIVE:
                self.counters.refused += 1
            if self._refusals.is_first(why.code, connection.address) or isinstance(why, BrokenInvariant):
                tell("socket.refused", why, code=why.code, session=connection.session.id, address=connection.address)
            return hang_up(why)
        return why if isinstance(why, HangUp) else HangUp(1000)

    async def _admit(self, connection: Connection, identity: Identity) -> None:
        """Welcome the worker, unless this gateway is closing or full."""
        if self._draining or not self._running:
            raise restarting()
        if self._open > self.bounds.sessions:
            message = f"This gateway has {self.bounds.sessions} sockets."
            raise Unavailable(message, BUSY_PAUSE_S, code="busy", hint="Try another replica.")
        await self._handshake.admit(connection, identity)
        self._heard.setdefault(connection.partition, self.clock())

    async def _part(self, connection: Connection, why: HangUp) -> None:
        """Settle with the engine what the closed socket leaves behind."""
        session = connection.session
        ours = self.registry.disconnect(connection)
        unwritten = connection.give_up()
        if session.id:
            log.info("socket.closed", session=session.id, code=why.code, unwritten=len(unwritten))
        if ours and session.phase is Phase.LIVE and why.code != protocol.CLOSE_MOVED:
            await asyncio.gather(self._bind_no_more(connection), self._give_back(connection.partition, unwritten))
        else:
            await self._give_back(connection.partition, unwritten)

    async def _bind_no_more(self, connection: Connection) -> None:
        """The session has no socket: until it comes home, here or elsewhere, its capacity is 0."""
        session = connection.session
        session.go()
        try:
            await self.batchers.renew(connection.partition).put(session, tenant=session.app, size=ITEM_BYTES)
        except TROUBLE as error:
            tell("session.not_renewed", error, session=session.id)

    # --- from the engine ------------------------------------------------------------------------------------------

    async def _relay(self, inbox: relay.Inbox) -> float:
        """Read the inboxes once and hand everything on; returns the pause before the next read."""
        try:
            read = await inbox.read()
        except (EngineError, OSError) as error:
            if not self.space.clients.outage.failed(id(inbox), error):
                raise
            return RELAY_PAUSE_S  # reading again is safe, and the loop's growing pause would cost too much afterwards
        self.space.clients.outage.worked(id(inbox))
        for partition, hints in read:
            self._dispatch(partition, hints)
        return 0.0

    def _deliver(self, partition: int, values: Sequence[bytes]) -> None:
        """Hand on what came with the answer of a call of our own."""
        self._dispatch(partition, relay.hints(values))

    def _dispatch(self, partition: int, hints: Iterable[Hint]) -> None:
        """Hand hints on; those with a large parameter follow when it was fetched."""
        large: list[Assignment] = []
        homeless: list[Assignment] = []
        for hint in hints:
            if isinstance(hint, Assignment) and hint.fetch:
                large.append(hint)
            elif not self.registry.deliver(hint) and isinstance(hint, Assignment):
                homeless.append(hint)
        if large:
            self._spawn(self._fetch(partition, large))
        if homeless:
            self._spawn(self._give_back(partition, homeless))

    async def _fetch(self, partition: int, assignments: Sequence[Assignment]) -> None:
        """Complete assignments and hand them on; what cannot be had now comes back after the accept limit."""
        try:
            async with self._fetching:
                complete = await self.payloads.complete(partition, assignments)
        except TROUBLE as error:
            tell("payload.not_fetched", error, partition=partition, count=len(assignments))
            return
        await self._give_back(partition, [hint for hint in complete if not self.registry.deliver(hint)])

    async def _give_back(self, partition: int, unwritten: Sequence[Assignment]) -> None:
        """Hand back what was never written to a socket, unless its session is at home elsewhere by now."""
        self.counters.unwritten += len(unwritten)
        for app, hints in groupby(unwritten, lambda hint: hint.handler.rpartition("/")[0]):
            releases = [
                verbs.Release(hint.session, hint.run, hint.attempt, hint.fence, "unwritten", hint.conn)
                for hint in hints
            ]
            try:
                await self.batchers.release(partition).put_many(
                    releases, tenant=app, sizes=[ITEM_BYTES] * len(releases)
                )
            except TROUBLE as error:
                tell("release.failed", error, partition=partition, count=len(releases))

    # --- the loops ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Relay, renew and look after the sockets until ``drain``; raises an ExceptionGroup of BrokenInvariant."""
        loop = partial(Loop, outage=self.space.clients.outage)
        self._loops = [
            loop(self._tend, interval_s=self.bounds.stamp_s, name="gateway.tend"),
            loop(self._recheck, interval_s=self.bounds.recheck_s, name="gateway.recheck"),
            loop(self._look_for_emptiness, interval_s=self.bounds.recheck_s, name="gateway.emptiness"),
        ]
        for inbox in relay.readers(self.space, self.id):
            inbox.block_ms = self.bounds.block_ms
            self._loops.append(loop(partial(self._relay, inbox), interval_s=0, name="gateway.relay"))
            self._loops.append(loop(inbox.trim, interval_s=TRIM_S, name="gateway.trim"))
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._running = True
                for each in self._loops:
                    tasks.create_task(each.run(), name=each.name)
        finally:
            self._running = False
            self._tasks = None
            self._cut_all()

    async def _tend(self) -> None:
        """Once a second: see the module's head, 3."""
        if self._broken is not None:
            raise self._broken
        now = self.clock()
        self._forget_partitions(now)
        self._look_for_unreachable(now)
        self._look_for_silence(now)
        self._refusals.tell()
        for connection in self._connections:
            if self._is_late(connection.session, now):
                connection.renew_late()
        await self._stamp()

    def _forget_partitions(self, now: float) -> None:
        """Those without a session here, without a submission for a minute, and not known to be away."""
        self._used = {partition: at for partition, at in self._used.items() if now - at < USED_S}
        used = {connection.partition for connection in self._connections} | self._used.keys() | self._unreachable
        for partition in self._heard.keys() - used:
            del self._heard[partition]

    def _look_for_unreachable(self, now: float) -> None:
        """Tell the workers of a partition that does not answer to try another gateway: perhaps only we are cut off."""
        for partition, heard_at in self._heard.items():
            if partition not in self._unreachable and now - heard_at > self.bounds.unreachable_s:
                self._unreachable.add(partition)
                log.debug("partition.unreachable", partition=partition, seconds=round(now - heard_at, 1))
                for connection in self._connections:
                    if connection.partition == partition:
                        connection.ask_to_move("engine out of reach", 0)

    def _look_for_silence(self, now: float) -> None:
        """Cut sockets whose lease is over; not when it was us who stood still."""
        paused = now - self._tended_at > 3 * self.bounds.stamp_s
        self._tended_at = now
        if paused:
            return
        for connection in self._connections:
            if now - connection.session.heard_at > self.bounds.lease_ms / 1000:
                connection.cut(restarting("The worker was not heard for as long as its lease lasts."))

    def _is_late(self, session: Session, now: float) -> bool:
        """Whether the worker was heard, but did not renew its session in time."""
        return (
            session.phase is Phase.LIVE
            and session.heard_at > session.renewed_at
            and now - session.renewed_at > self.bounds.renew_s + self.bounds.stamp_s
        )

    async def _stamp(self) -> None:
        """Show the engine that this gateway lives, wherever it has sessions."""
        partitions = list(self._heard)
        if not partitions:
            return
        try:
            replies = await repeat(lambda: self.space.call_in(partitions, verbs.renew([], gateway=self.id)), RENEW_S)
        except Unavailable:
            return
        now = self.clock()
        for partition, reply in zip(partitions, replies, strict=True):
            if isinstance(reply, BrokenInvariant):
                raise reply
            if not isinstance(reply, Exception) and partition in self._heard:
                self._heard[partition] = now
                self._unreachable.discard(partition)

    async def _look_for_emptiness(self) -> None:
        """Visit every partition, also those without a session: an idle gateway notices an emptied engine, too."""
        for reply in await self.space.call_in(range(self.space.count), verbs.now()):
            if isinstance(reply, BrokenInvariant):
                raise reply

    async def _recheck(self) -> None:
        """Cut the sockets of tokens that were revoked."""
        for key_id in {connection.key_id for connection in self._connections}:
            try:
                good = await self.identities.still_good(key_id)
            except Unavailable:
                continue
            if not good:
                self._cut_token(key_id)

    def _cut_token(self, key_id: str) -> None:
        why = Refused("bad_token", "The token was revoked or has expired.", protocol.CLOSE_BAD_TOKEN, "Use another.")
        for connection in self._connections:
            if connection.key_id == key_id:
                connection.cut(hang_up(why))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something beside the loop that asked for it; it handles its own failures."""
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(work)

    # --- the end --------------------------------------------------------------------------------------------------

    async def drain(self, within_s: float) -> None:
        """Send the workers elsewhere and end ``run``: nothing accepted is left unsent."""
        self._draining = True
        began = self.clock()
        for connection in self._connections:
            connection.ask_to_move("restarting", within_s)
        await self._until_closed(within_s)
        self._cut_all()
        await self._until_closed(PARTING_S)
        for loop in self._loops:
            loop.stop()
        log.info("gateway.drained", seconds=round(self.clock() - began, 1), sockets_left=self._open)
        try:
            async with asyncio.timeout(REPEAT_S):
                await self.batchers.close()
        except TimeoutError:
            log.warning("gateway.unsent", counters_of_calls=self.batchers.counters_of_calls())

    def _cut_all(self) -> None:
        for connection in self._connections:
            connection.cut(restarting())

    async def _until_closed(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._closed.wait()
        except TimeoutError:
            return

    def _wall_ms(self) -> int:
        return self.space.now_ms() or int(time.time() * 1000)
