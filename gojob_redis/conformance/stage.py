"""Where scenarios are played: a listening socket, the worker's process if it was given, the session between them."""

import asyncio
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gojob_redis.conformance.conversation import SOON_S, Conversation
from gojob_redis.conformance.process import Command
from gojob_redis.conformance.scenario import Failed
from gojob_sdk.protocol import MAX_FRAME_BYTES, SUBPROTOCOL

ARRIVES_S: Final = 10.0
"""For a worker that was started."""
COMES_AGAIN_S: Final = 40.0
"""For one that nobody restarts: idle, it may wait up to 30 s."""


class Stage:
    """The gateway's side of one worker.

    argv: what starts the worker; without it somebody else does.
    """

    def __init__(
        self,
        argv: Sequence[str] = (),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "",
        namespace: str = "default",
        app: str = "conformance",
    ) -> None:
        self.token = token or f"gj_worker_conformance_{secrets.token_hex(8)}"
        self.namespace = namespace
        self.app = app
        self.speaks = True
        """Whether the subprotocol is chosen; without it this is not a gateway."""
        self.is_shut = False
        """Whether handshakes are answered with 503."""
        self.handshakes: list[Request] = []
        self.first: Conversation | None = None
        self.command: Command | None = None
        self._argv = argv
        self._host, self._port = host, port
        self._server: Server | None = None
        self._session = ""
        self._conn = 0
        self._talk: Conversation | None = None
        self._arrivals: asyncio.Queue[Conversation] = asyncio.Queue()

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"http://{host}:{port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the worker is told."""
        return {"GOJOB_URL": self.url, "GOJOB_WORKER_TOKEN": self.token}

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._meet,
            self._host,
            self._port,
            compression=None,
            process_request=self._look,
            select_subprotocol=self._choose,
            max_size=MAX_FRAME_BYTES,
            ping_interval=None,
            close_timeout=0.5,
        )
        if self._argv:
            self.command = Command(self._argv, self.environment)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        if self.command is not None:
            await self.command.kill()
        self._server.close()
        await self._server.wait_closed()

    # --- connections --------------------------------------------------------------------------------------------------

    async def home(self) -> Conversation:
        """A welcomed connection of a worker that holds nothing: the one there is, or the next."""
        talk = self._talk
        if talk is None or not talk.is_open or not talk.welcomed:
            talk = await self.arrival()
            await self.welcome(talk)
        talk.mark = len(talk.heard)
        return talk

    async def arrival(
        self, within_s: float | None = None, expected: str = "a connection and its hello"
    ) -> Conversation:
        """The worker's next connection, with its hello read; it is not welcomed yet."""
        talk = await self.connection(within_s, expected)
        while talk.closed.is_set():  # it was given up before we looked
            talk = await self.connection(within_s, expected)
        await talk.until(lambda: bool(talk.heard), SOON_S, "hello as the first frame")
        self.first = self.first or talk
        self._talk = talk
        return talk

    async def connection(self, within_s: float | None = None, expected: str = "a connection") -> Conversation:
        """The worker's next connection; perhaps nothing was said yet, perhaps it is over."""
        if self.command is not None:
            await self.command.start()
        within_s = within_s or (COMES_AGAIN_S if self.command is None else ARRIVES_S)
        arriving = asyncio.create_task(self._arrivals.get())
        waiting: list[asyncio.Task[Any]] = [arriving]
        if self.command is not None:
            waiting.append(asyncio.create_task(self.command.ended()))
        try:
            await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if arriving.done():
                return arriving.result()
        finally:
            for task in waiting:
                task.cancel()
        raise Failed(f"{expected} within {within_s:g} s", self._no_arrival())

    async def welcome(self, talk: Conversation, *, resumed: bool | None = None, **changes: Any) -> None:
        """Welcome a worker as the gateways would that know its session, unless told otherwise."""
        is_known = talk.hello.get("session") == self._session != ""
        resumed = is_known if resumed is None else resumed
        if resumed:
            self._conn += 1
        else:
            self._session, self._conn = f"s-{secrets.token_hex(4)}", 1
        await talk.welcome(self._session, self._conn, resumed=resumed, **changes)

    async def none_arrives(self, seconds: float, expected: str) -> None:
        """See that the worker leaves us alone for a while."""
        before = len(self.handshakes)
        await asyncio.sleep(seconds)
        if len(self.handshakes) > before:
            raise Failed(expected, f"{len(self.handshakes) - before} new connection(s) within {seconds:g} s")

    async def begin_anew(self) -> None:
        """After a failure, or where a scenario wants a worker that never was connected: end what there is."""
        self.is_shut, self.speaks = False, True
        if self.command is not None:
            await self.command.kill()
        elif self._talk is not None and self._talk.is_open:
            await self._talk.hang_up()
        while not self._arrivals.empty():
            self._arrivals.get_nowait()
        self._talk = None

    # --- the socket ---------------------------------------------------------------------------------------------------

    def _look(self, socket: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        if self.is_shut:
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The gateway is restarting.\n")
        return None

    def _choose(self, socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol(SUBPROTOCOL) if self.speaks and SUBPROTOCOL in offered else None

    async def _meet(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        talk = Conversation(socket, socket.request)
        self._arrivals.put_nowait(talk)
        await talk.listen()

    def _no_arrival(self) -> str:
        if self.command is None or self.command.runs:
            return "nothing" if not self.handshakes else "no further connection"
        return "the end of the command: " + (" / ".join(self.command.output[-3:]) or "it wrote nothing")
