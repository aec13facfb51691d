"""One process: which roles it plays, in which order they start, and in which order they end.

Start: the embedded engine, if this process has one → clients → wait until the engine answers and is fit → bootstrap
or open the installation → loops of the roles → HTTP, which is ready last.

End, by SIGTERM or SIGINT: not ready any more → streams end and go on elsewhere → the gateway sends its workers
elsewhere and finishes what was accepted → the trigger's loops end their passes → long polls are let go, HTTP closes →
clients → the embedded engine. Exit 0.
A second signal skips the waiting. uvicorn's own signal handling is off: it would close the sockets at once.

Tokens are always on, so any address may be bound.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gojob_redis.control.identities import Identities
from gojob_redis.control.installation import Installation, bootstrap_or_open
from gojob_redis.control.namespaces import check_durability
from gojob_redis.control.tokens import Issued, Kind, create_token, first_admin
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest, GojobError, Refused
from gojob_redis.domain.ids import base36
from gojob_redis.engine.client import Clients, check_engine, connect
from gojob_redis.engine.embedded import Engine, running
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.partitions import Partitions
from gojob_redis.replica import TriggerReplica
from gojob_redis.runtime import gc_policy, private
from gojob_redis.runtime.config import Settings
from gojob_redis.runtime.loop import Loop
from gojob_redis.runtime.metrics import Metrics

# A trigger replica without HTTP starts without a web framework, so these are imported where they are used.
if TYPE_CHECKING:
    from fastapi import FastAPI

    from gojob_redis.api.server import Server
    from gojob_redis.gateway import Gateway

log = structlog.get_logger()

ENGINE_WAIT_S: Final = 1.0
ENGINE_TOLD_S: Final = 60
ENGINE_WATCH_S: Final = 0.5
GARBAGE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What this process is to be.

    directory: of the embedded engine; None for an engine elsewhere, named by the settings.
    port: of HTTP; None for a trigger role without it.
    """

    settings: Settings
    gateway: bool = False
    trigger: bool = False
    directory: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = limits.HTTP_PORT
    drain_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What to tell the user once everything runs."""

    url: str
    redis_url: str
    admin_token: str = field(default="", repr=False)
    """Of an embedded engine; or, once, of a new installation."""
    worker_token: str = field(default="", repr=False)
    fresh: bool = False
    attached: bool = False
    """The embedded engine was running already."""


@dataclass(slots=True)
class Draining:
    """Whether the end has begun."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """End; asked twice: without waiting."""
        (self.hurried if self.asked.is_set() else self.asked).set()


# ---- the process -----------------------------------------------------------------------------------------------------


async def run(plan: Plan, announce: Callable[[Ready], None], draining: Draining | None = None) -> None:
    """Play the roles until a signal; raises GojobError when it cannot start, BrokenInvariant when it must stop."""
    draining = draining or Draining()
    name = f"{socket.gethostname()[:32]}-{os.getpid()}-{base36(secrets.randbelow(36**6), 6)}"
    with _signals(draining):
        async with AsyncExitStack() as stack:
            listening = stack.enter_context(_listening(plan))
            engine = await stack.enter_async_context(_engine(plan)) if plan.directory else None
            redis_url = engine.url if engine else engine_url(plan.settings)
            clients = await stack.enter_async_context(_clients(plan.settings, redis_url, draining))
            if clients is None:
                return
            space = Partitions(clients, plan.settings.redis.partitions)
            installation = await _open(space, plan)
            await check_durability(space)
            log.info("node.begins", name=name, gateway=plan.gateway, trigger=plan.trigger, epoch=installation.epoch)
            attached = engine is not None and engine.attached
            ready = Ready(_url_of(plan, listening), redis_url, fresh=installation.fresh, attached=attached)
            ready = await _tokens(space, plan, ready)
            roles = Roles(space, plan, name, draining, listening, engine)
            stack.enter_context(gc_policy.paced())
            await roles.run(lambda: announce(ready))
    log.info("node.ends", name=name)


class Roles:
    """The roles of one process, and the order in which they end."""

    def __init__(
        self,
        space: Partitions,
        plan: Plan,
        name: str,
        draining: Draining,
        listening: socket.socket | None,
        engine: Engine | None,
    ) -> None:
        self.plan = plan
        self.draining = draining
        self.listening = listening
        self.metrics = Metrics()
        self.identities = Identities(space)
        self.gateway = self._gateway(space) if plan.gateway else None
        observe = self.metrics.observe_lateness
        self.replica = TriggerReplica(space, name, observe_lateness=observe) if plan.trigger else None
        watch = _Watch(engine).run_once if engine else None
        self.watch = Loop(watch, interval_s=ENGINE_WATCH_S, name="engine.watch") if watch else None
        self.garbage = Loop(gc_policy.Garbage().run_once, interval_s=GARBAGE_S, name="node.garbage")
        self._count()
        self.app = self._app(space, name) if listening else None
        self.server = self._server(self.app) if self.app else None

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until a signal, or until one of them breaks."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.garbage.run(), name="garbage")
            if self.watch:
                group.create_task(self.watch.run(), name="engine.watch")
            if self.gateway:
                group.create_task(self.gateway.run(), name="gateway")
            if self.replica:
                group.create_task(self.replica.run(), name="trigger")
            if self.server and self.listening:
                group.create_task(self.server.serve(sockets=[self.listening]), name="http")
                await self.server.up.wait()
            ready()
            await self.draining.asked.wait()
            await self._drain()

    async def _drain(self) -> None:
        """End everything in order; see the module's head."""
        log.info("node.drains", within_s=self.plan.drain_s)
        if self.app:
            self.app.state.edge.live.close()
        if self.gateway:
            await self._drain_gateway(self.gateway)
        if self.replica:
            self.replica.stop()
        if self.server and self.app:
            self.app.state.edge.waiting.close()
            self.server.should_exit = True
        if self.watch:
            self.watch.stop()
        self.garbage.stop()

    async def _drain_gateway(self, gateway: "Gateway") -> None:
        drain = asyncio.create_task(gateway.drain(self.plan.drain_s), name="gateway.drain")
        hurried = asyncio.create_task(self.draining.hurried.wait())
        await asyncio.wait({drain, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not drain.done():
            drain.cancel()
            await asyncio.wait({drain})
            await gateway.drain(0)

    def _ready(self) -> str:
        if self.draining.asked.is_set():
            return "draining"
        return "" if self.gateway is None or self.gateway.ready else "engine out of reach"

    def _gateway(self, space: Partitions) -> "Gateway":
        from gojob_redis.gateway import Gateway

        gateway_id = f"g{base36(secrets.randbelow(36**9), 9)}"
        origins = self.plan.settings.gateway.allowed_origins
        return Gateway(space, gateway_id, self.identities, allowed_origins=origins)

    def _server(self, app: "FastAPI") -> "Server":
        from gojob_redis.api.crowd import Crowd
        from gojob_redis.api.server import Server

        settings = self.plan.settings.gateway
        crowd = Crowd(
            settings.strangers, settings.strangers_per_address, settings.trusted_proxies, settings.proxy_protocol
        )
        self.metrics.read_gauge(
            "gojob_connections", "Connections, worker sockets among them.", lambda: len(crowd.guests)
        )
        self.metrics.read_gauge("gojob_strangers", "Connections without a token.", lambda: len(crowd.strangers))
        self.metrics.read_counter("gojob_connections_ended", "Ended by us.", lambda: dict(crowd.closed), "why")
        return Server(app, crowd)

    def _app(self, space: Partitions, name: str) -> "FastAPI":
        from gojob_redis.api import create_app, create_probe_app

        if self.gateway is None:
            return create_probe_app(space, self.identities, metrics=self.metrics, name=name, ready=self._ready)
        app = create_app(
            space,
            self.identities,
            self.gateway.submit,
            self.gateway.endpoint,
            metrics=self.metrics,
            levels=self.gateway.batchers.levels,
            name=name,
            ready=self._ready,
        )
        listeners = app.state.edge.live.listeners
        self.metrics.read_gauge("gojob_streams", "Streams that are listened to.", lambda: len(listeners))
        app.openapi()  # built once, and the routes with it: 0.1 s in which the first stranger would hold up everybody
        return app

    def _count(self) -> None:
        """Show what the roles count themselves."""
        metrics = self.metrics
        if gateway := self.gateway:
            metrics.read_gauge("gojob_sessions", "Worker sessions at home here.", lambda: gateway.sessions)
            metrics.read_buckets(
                "gojob_task_wait_seconds", "First dispatch minus creation of a task.", gateway.counters.task_wait
            )
            metrics.read_buckets(
                "gojob_run_duration_seconds", "End minus start of a run.", gateway.counters.run_duration
            )
            metrics.read_buckets(
                "gojob_worker_lag_seconds",
                "Heartbeats by how long the worker's loop stood.",
                gateway.counters.worker_lag,
            )
            about = "Of the workers at home here: the most that one takes."
            metrics.read_gauge("gojob_worker_cpu_percent_max", about, lambda: gateway.most("cpu_percent"))
            metrics.read_gauge("gojob_worker_memory_bytes_max", about, lambda: gateway.most("memory_bytes"))
            metrics.read_counter("gojob_gateway", "What the gateway did.", lambda: _numbers(gateway.counters), "what")
            about = "Reports by verdict and outcome."
            metrics.read_counter("gojob_reports", about, lambda: _pairs(gateway.counters.reports), "verdict", "outcome")
            metrics.read_counter(
                "gojob_sockets_cut", "Sockets ended by us.", lambda: _words(gateway.counters.cut), "code"
            )
            metrics.read_counter("gojob_engine_calls", "Calls of a verb.", lambda: _by_verb(gateway, 2), "verb")
            metrics.read_counter("gojob_engine_items", "Items in these calls.", lambda: _by_verb(gateway, 3), "verb")
            metrics.read_gauge(
                "gojob_engine_queued", "Items that wait for a call.", lambda: _by_verb(gateway, 4), "verb"
            )
        if replica := self.replica:
            metrics.read_counter("gojob_slots_fired", "Slots that became tasks.", lambda: replica.fire.fired)
            metrics.read_counter("gojob_slots_skipped", "Slots skipped with a reason.", lambda: replica.fire.skipped)
            metrics.read_counter(
                "gojob_visits_failed",
                "Visits of a partition that failed.",
                lambda: dict(replica.failures.counts),
                "verb",
            )
            metrics.read_loops(replica.loops)


def _numbers(counters: object) -> dict[str, float]:
    """The plain numbers of some counters, by name."""
    values = {each.name: getattr(counters, each.name) for each in fields(counters)}  # type: ignore[arg-type]
    return {name: value for name, value in values.items() if isinstance(value, int)}


def _pairs(counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], float]:
    return dict(counts)


def _words(counts: Mapping[int, int]) -> dict[str, float]:
    return {str(code): count for code, count in counts.items()}


def _by_verb(gateway: "Gateway", column: int) -> dict[str, float]:
    """One column of the group commit's tallies, added up over the partitions."""
    totals: dict[str, float] = {}
    for counters in gateway.batchers.counters_of_calls():
        totals[counters[0]] = totals.get(counters[0], 0) + float(counters[column])
    return totals


@contextmanager
def _signals(draining: Draining) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, draining.ask)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def _listening(plan: Plan) -> Iterator[socket.socket | None]:
    if plan.port is None:
        yield None
        return
    from gojob_redis.api.server import listen

    with listen(plan.host, plan.port) as listening:
        yield listening


def _url_of(plan: Plan, listening: socket.socket | None) -> str:
    if listening is None:
        return ""
    from gojob_redis.api.server import address_of

    return address_of(plan.host, listening)


# ---- the engine ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _engine(plan: Plan) -> AsyncIterator[Engine]:
    assert plan.directory is not None
    os.umask(private.UMASK)
    async with running(Engine(plan.directory, port=plan.settings.redis.port)) as engine:
        log.info("engine.up", url=engine.address, directory=str(engine.directory))
        yield engine


class _Watch:
    """Starts the embedded engine again when it died."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def run_once(self) -> None:
        if not self.engine.alive():
            log.error("engine.died", directory=str(self.engine.directory))
            await asyncio.to_thread(self.engine.start)
            log.info("engine.up", url=self.engine.address)


def engine_url(settings: Settings) -> str:
    if settings.redis.url is None:
        raise BadRequest(
            "no_engine",
            "No Redis is named.",
            field="redis.url",
            hint="Pass --redis URL or set GOJOB_REDIS__URL; 'gojob dev' brings an engine of its own.",
        )
    return settings.redis.url.get_secret_value()


async def bootstrap(settings: Settings) -> Installation:
    """Make an installation on purpose, or open the one that is there; plays no role."""
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(_clients(settings, engine_url(settings), Draining()))
        assert clients is not None
        return await bootstrap_or_open(Partitions(clients, settings.redis.partitions), intended=True)


@asynccontextmanager
async def _clients(settings: Settings, url: str, draining: Draining) -> AsyncIterator[Clients | None]:
    """Clients of an engine that answers and is fit; None when the end came before."""
    waited = 0
    while not draining.asked.is_set():
        clients: Clients | None = None
        try:
            clients = await connect(url, mode=settings.redis.mode)
            await check_engine(clients.admin)
        except (EngineError, OSError) as error:
            if waited % ENGINE_TOLD_S == 0:
                log.warning("engine.waiting", waited_s=waited, error=f"{type(error).__name__}: {error}")
            if clients:
                await clients.aclose()
            await _pause(draining.asked, ENGINE_WAIT_S)
            waited += 1
            continue
        except GojobError:
            if clients:
                await clients.aclose()
            raise
        try:
            yield clients
        finally:
            await clients.aclose()
        return
    yield None


async def _pause(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


# ---- the installation, and the tokens of an embedded one -------------------------------------------------------------


async def _open(space: Partitions, plan: Plan) -> Installation:
    """Bootstrap or open it; a data directory remembers which one it held, so that an emptied engine is noticed."""
    if plan.directory is None:
        return await bootstrap_or_open(space, may_bootstrap=plan.settings.redis.bootstrap == "auto")
    record = plan.directory / "installation.json"
    stored = private.read(record)
    expected = json.loads(stored)["epoch"] if stored else ""
    installation = await bootstrap_or_open(space, expected=expected, intended=not stored)
    private.write(record, json.dumps({"epoch": installation.epoch}) + "\n")
    return installation


async def _tokens(space: Partitions, plan: Plan, ready: Ready) -> Ready:
    """The tokens to tell: those kept beside an embedded engine, or the first admin token of a new installation."""
    if plan.directory is not None:
        admin = await _kept_token(space, "admin", plan.directory / "admin.token")
        worker = await _kept_token(space, "worker", plan.directory / "worker.token")
        return replace(ready, admin_token=admin, worker_token=worker)
    issued = await first_admin(space) if plan.gateway else None
    return replace(ready, admin_token=issued.token if issued else "")


async def _kept_token(space: Partitions, kind: Kind, path: Path) -> str:
    """The token in this file; a new one if there is none, or if it was revoked. Who owns the file owns the engine."""
    identities = Identities(space)
    look_up = identities.of_worker if kind == "worker" else identities.of_api
    if token := private.read(path):
        try:
            await look_up(f"Bearer {token}")
        except (BadRequest, Refused):
            log.warning("token.replaced", path=str(path))
        else:
            return token
    issued: Issued | None = await first_admin(space) if kind == "admin" else None
    issued = issued or await create_token(space, kind, name=f"kept in {path.name}")
    private.write(path, issued.token + "\n")
    return issued.token
