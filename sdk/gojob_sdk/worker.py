"""The worker: what a user registers handlers with and runs.

    worker = Worker(app="shop")

    @worker.handler("send")
    async def send(ctx: Context, order_id: int) -> str: ...

    worker.run()

How it hangs together: ``Connection`` (a thread of its own) moves frames between a gateway and the ``Session`` (which
seats are ours, what is still unacknowledged); ``Runner`` runs the handlers in the loop of ``serve`` or in threads.
"""

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar, Unpack, get_args

from gojob_sdk.config import WorkerSettings, load
from gojob_sdk.connection import Connection, ConnectionEvent, Happening
from gojob_sdk.errors import BadConfig, Refused
from gojob_sdk.events import Begin, Event, Interrupt, Regained
from gojob_sdk.handlers import Handler, handler_of
from gojob_sdk.load import LoadMeter
from gojob_sdk.logs import Captured, captured
from gojob_sdk.policies import Policies
from gojob_sdk.protocol import MAX_HANDLERS
from gojob_sdk.runner import Runner
from gojob_sdk.session import Identity, Session
from gojob_sdk.specs import DESCRIPTION_CHARS, VERSION_CHARS, packed_spec
from gojob_sdk.submitter import Submitter
from gojob_sdk.terminal import end_with_a_sentence, shown_log
from gojob_sdk.threads import Mailbox, new_loop
from gojob_sdk.version import __version__

LISTENERS_WITHIN_S = 1.0
SDK = f"gojob-sdk/{__version__} python/{sys.version_info.major}.{sys.version_info.minor}"

Target = TypeVar("Target", bound=Callable[..., Any])
Listener = Callable[[ConnectionEvent], Any]

log = logging.getLogger("gojob_sdk")


class Worker:
    """One process of a worker group: serves handlers of one app until it is stopped.

    Large, because it is all that a service sees: registering, running in three ways, stopping, listening.

    Every setting may come from an argument, from the environment (``GOJOB_URL``, ``GOJOB_WORKER_TOKEN``,
    ``GOJOB_TOKEN``, ``GOJOB_WORKER__<NAME>``), or, with ``from_file``, from a file; the first that gives it counts.

    url: of a gateway or a balancer before several; several, comma separated, are tried in turn.
    api_token: of kind api, for what handlers submit with ``ctx.submit``; the token of the worker opens its socket only.
    concurrency: most runs at a time, over all handlers.
    log_level: from which on ``logging`` of a handler is kept with its run: debug, info, warning, error, or off.
    final: exception types that are never retried, besides FinalError.
    """

    def __init__(
        self,
        *,
        app: str | None = None,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        attributes: Iterable[str] | None = None,
        concurrency: int | None = None,
        url: str | None = None,
        token: str | None = None,
        api_token: str | None = None,
        name: str | None = None,
        drain_s: float | None = None,
        disable: bool | None = None,
        log_level: Captured | None = None,
        final: tuple[type[BaseException], ...] = (),
        file: Path | str | None = None,
    ) -> None:
        arguments = {
            "app": app,
            "namespace": namespace,
            "labels": labels,
            "attributes": None if attributes is None else tuple(attributes),
            "concurrency": concurrency,
            "url": url,
            "token": token,
            "api_token": api_token,
            "name": name,
            "drain_s": drain_s,
            "disable": disable,
            "log_level": log_level,
        }
        try:
            self.settings: WorkerSettings = load(arguments, file=Path(file) if file else None)
        except BadConfig:
            end_with_a_sentence()
            raise
        self._final = final
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, list[Listener]] = {name: [] for name in get_args(Happening)}
        self._listening: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._started = False
        self._stop_within_s: float | None = None
        self._stopping: Callable[[float], None] | None = None
        self._error: BaseException | None = None

    @classmethod
    def from_file(cls, path: Path | str, **arguments: Any) -> Self:
        """A worker set up by the ``[worker]`` table of a TOML file."""
        return cls(file=path, **arguments)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What was registered, by name."""
        return self._handlers

    # --- registering --------------------------------------------------------------------------------------------------

    def handler(
        self, name: str, *, version: str = "", description: str = "", **defaults: Unpack[Policies]
    ) -> Callable[[Target], Target]:
        """Register the function or class below under this name; see ``add``."""

        def register(target: Target) -> Target:
            self.add(name, target, version=version, description=description, **defaults)
            return target

        return register

    def add(
        self,
        name: str,
        handler: object,
        *,
        version: str = "",
        description: str = "",
        **defaults: Unpack[Policies],
    ) -> None:
        """Register a function, a class with ``do(ctx)`` (built anew for every run) or an object with ``do(ctx)``.

        version: of the handler, for people.
        description: for people; the docstring unless given.
        defaults: policies of its tasks and triggers where these do not say otherwise.
        Raises BadConfig when the name is taken, or when the handler's signature cannot be served.
        """
        if self._started:
            raise BadConfig(f"handler {name!r} comes too late: add all handlers before the worker starts")
        if name in self._handlers:
            raise BadConfig(f"handler {name!r} is registered twice in this process")
        if len(self._handlers) == MAX_HANDLERS:
            raise BadConfig(f"handler {name!r} is one too many: a worker serves at most {MAX_HANDLERS}")
        plain = handler_of(name, handler)
        facts = replace(
            plain.facts,
            version=version[:VERSION_CHARS],
            description=description[:DESCRIPTION_CHARS] or plain.facts.description,
            defaults=defaults,
        )
        self._handlers[name] = replace(plain, facts=facts)

    def on(self, happening: Happening, listener: Listener) -> None:
        """Call this with a ConnectionEvent, in the handlers' loop, whenever the connection does that."""
        if happening not in self._listeners:
            raise BadConfig(f"{happening!r} never happens; choose from {', '.join(self._listeners)}")
        self._listeners[happening].append(listener)

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve in this thread until SIGTERM or SIGINT, then drain; a second signal stops at once.

        What becomes of the connection is shown on stderr, unless logging is set up. Raises Refused when the gateway
        will not have this worker at all; where nobody catches it, the process says why and ends with exit code 2.
        """
        try:
            with shown_log(), _signals(self._on_signal), asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self.serve())
        except (BadConfig, Refused):
            end_with_a_sentence()
            raise

    def start(self) -> None:
        """Serve in the background, in a thread and loop of its own."""
        self._thread = threading.Thread(target=self._run_in_thread, name="gojob-handlers", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until a worker begun by ``start`` has stopped; False when that takes longer. Raises as ``run`` does."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        if self._error is not None:
            raise self._error
        return True

    def stop(self, drain_s: float | None = None) -> None:
        """Begin to drain and return: nothing new, hand back what was not begun, wait for the rest, say goodbye.

        May be called from any thread, and again with less time.
        """
        within_s = self.settings.drain_s if drain_s is None else drain_s
        self._stop_within_s = within_s
        if self._stopping is not None:
            self._stopping(within_s)

    async def serve(self) -> None:
        """Serve with async handlers in the running loop, until ``stop``; cancelling it stops at once."""
        self._start_once()
        enabled = {name: handler for name, handler in self._handlers.items() if self.settings.serves(name)}
        if self.settings.disable or not enabled:
            log.warning("this worker is disabled by its settings and does nothing until it is stopped")
            await self._serve_nothing()
        else:
            await self._serve_handlers(enabled)

    async def _serve_nothing(self) -> None:
        stopped = asyncio.Event()
        mailbox: Mailbox[float] = Mailbox(asyncio.get_running_loop(), lambda calls: stopped.set())
        self._stop_by(mailbox.put)
        await stopped.wait()

    async def _serve_handlers(self, enabled: Mapping[str, Handler]) -> None:
        over, meter = asyncio.Event(), LoadMeter(asyncio.get_running_loop())
        connection = Connection(
            Session(self._identity(enabled)),
            self.settings.socket_urls,
            self.settings.token.get_secret_value(),
            on_event=lambda event: _pass_on(event, runner),
            on_happening=lambda event: runner.call_soon(lambda: self._tell(event)),
            on_over=lambda: runner.call_soon(over.set),
            measure=meter.read,
        )
        submitter = Submitter(self.settings)
        runner = Runner(
            enabled,
            concurrency=self.settings.concurrency,
            final=self._final,
            notebook=connection.notebook,
            submitter=submitter,
            ended=connection.finish,
            loop=asyncio.get_running_loop(),
        )
        meter.start()
        with (
            contextlib.closing(meter),
            contextlib.closing(submitter),
            captured(connection.notebook, self.settings.log_level),
        ):
            await self._serve_over(connection, runner, over)

    async def _serve_over(self, connection: Connection, runner: Runner, over: asyncio.Event) -> None:
        connection.start()
        self._stop_by(connection.drain)
        try:
            await over.wait()
        finally:
            connection.drain(0)
            for run in runner.running:
                log.warning("gave up run %s of %s: it did not end in time", run.ctx.run_instance_id, run.handler.name)
            await runner.close()
            await asyncio.to_thread(connection.join)
            if self._listening:
                await asyncio.wait(self._listening, timeout=LISTENERS_WITHIN_S)
        if connection.error is not None:
            raise connection.error

    def _stop_by(self, stop: Callable[[float], None]) -> None:
        """Let ``stop`` do this from now on, also when it was called before."""
        self._stopping = stop
        if self._stop_within_s is not None:
            stop(self._stop_within_s)

    def _start_once(self) -> None:
        if self._started:
            raise BadConfig("a worker can be started only once; make another one")
        if not self._handlers:
            raise BadConfig("this worker has no handlers; register at least one with @worker.handler(name)")
        self._started = True

    def _identity(self, enabled: Mapping[str, Handler]) -> Identity:
        settings = self.settings
        specs = {name: packed_spec(name, handler.facts) for name, handler in enabled.items()}
        return Identity(
            namespace=settings.namespace,
            app=settings.app,
            worker=settings.name,
            host="".join(filter(str.isprintable, socket.gethostname()))[:255],
            pid=os.getpid(),
            sdk=SDK,
            handlers=tuple(sorted(enabled)),
            specs={name: spec for name, spec in specs.items() if spec},
            concurrency=settings.concurrency,
            labels=settings.labels,
            attributes=settings.attributes,
        )

    def _run_in_thread(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self.serve())
        except BaseException as error:  # noqa: BLE001 - raised again by wait()
            self._error = error
            log.error("the worker ended: %s", error)

    def _on_signal(self) -> None:
        """The first signal drains, the second does not wait."""
        self.stop(None if self._stop_within_s is None else 0)

    def _tell(self, event: ConnectionEvent) -> None:
        for listener in self._listeners[event.name]:
            task = asyncio.get_running_loop().create_task(_call(listener, event))
            self._listening.add(task)
            task.add_done_callback(self._listening.discard)


async def _call(listener: Listener, event: ConnectionEvent) -> None:
    try:
        answer = listener(event)
        if inspect.isawaitable(answer):
            await answer
    except Exception:
        log.exception("a listener for %r failed", event.name)


def _pass_on(event: Event, runner: Runner) -> None:
    match event:
        case Begin():
            runner.begin(event.assignments)
        case Interrupt():
            runner.interrupt(event.cause, event.keys)
        case Regained():
            runner.regain(event.keys)


@contextlib.contextmanager
def _signals(call: Callable[[], None]) -> Iterator[None]:
    """Call this on SIGTERM and SIGINT, even while an async handler blocks the loop; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def receive(number: int, frame: FrameType | None) -> None:
        call()

    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
