"""A gateway that does exactly what a test says, on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gojob_sdk import Worker
from gojob_sdk.protocol import SUBPROTOCOL, Renew, decode_worker, encode
from tests.unit.sdk import frames

DEADLINE_S = 10.0


class Conversation:
    """One connection of a worker. Renewals are answered unless the test wants to; everything else waits for it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.answers_renewals = True
        self.renewals = 0
        self.closed = asyncio.Event()
        self._frames: asyncio.Queue[Any] = asyncio.Queue()

    async def listen(self) -> None:
        try:
            async for data in self.socket:
                assert isinstance(data, bytes)
                frame = decode_worker(data)
                assert frame is not None
                if frame["type"] == "renew":
                    await self._renew(frame)
                else:
                    self._frames.put_nowait(frame)
        except ConnectionClosed:
            pass
        finally:
            self.closed.set()

    async def _renew(self, frame: Renew) -> None:
        if "seq" in frame:
            self.renewals += 1
            if self.answers_renewals:
                await self.send({"type": "renewed", "seq": frame["seq"]})
        if "capacity" in frame:
            self._frames.put_nowait({"type": "renew", "capacity": frame["capacity"]})

    async def send(self, frame: Any) -> None:
        await self.socket.send(encode(frame))

    async def expect(self, *words: str) -> Any:
        """The next frame, which must be of one of these types."""
        async with asyncio.timeout(DEADLINE_S):
            frame = await self._frames.get()
        assert frame["type"] in words, frame
        return frame

    async def skip_to(self, word: str) -> Any:
        """The next frame of this type, whatever comes before."""
        async with asyncio.timeout(DEADLINE_S):
            while (frame := await self._frames.get())["type"] != word:
                pass
        return frame

    async def welcome(self, **about: Any) -> Any:
        """Read the hello and welcome the worker, with a fast heartbeat."""
        hello = await self.expect("hello")
        await self.send(frames.welcome(**{"heartbeat_ms": 50, "lease_ms": 10_000, **about}))
        return hello

    async def accept(self, report: Any) -> None:
        for outcome in report["outcomes"]:
            await self.send(frames.verdict("report", "accepted", outcome["run"]))

    async def outcome(self) -> Any:
        """The only outcome of the next report, accepted."""
        report = await self.skip_to("report")
        await self.accept(report)
        [outcome] = report["outcomes"]
        return outcome


class Gateway:
    """Listens on a port of its own and hands every connection to the test."""

    def __init__(
        self,
        *,
        refuse: Callable[[ServerConnection, Request], Response | None] | None = None,
        speaks: str = SUBPROTOCOL,
    ) -> None:
        self._refuse = refuse
        self._speaks = Subprotocol(speaks)
        self._server: Server | None = None
        self._conversations: asyncio.Queue[Conversation] = asyncio.Queue()
        self.requests: list[Request] = []

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._converse,
            "127.0.0.1",
            0,
            subprotocols=[self._speaks],
            compression=None,
            process_request=self._look,
            select_subprotocol=self._choose,
            close_timeout=0.1,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def conversation(self) -> Conversation:
        """The next connection that a worker opened."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._conversations.get()

    async def welcomed(self, **about: Any) -> Conversation:
        """The next connection, welcomed."""
        conversation = await self.conversation()
        await conversation.welcome(**about)
        return conversation

    def _look(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return self._refuse(socket, request) if self._refuse else None

    def _choose(self, socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return self._speaks if self._speaks in offered else None

    async def _converse(self, socket: ServerConnection) -> None:
        conversation = Conversation(socket)
        self._conversations.put_nowait(conversation)
        await conversation.listen()


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    """Start a worker, and stop it at once at the end."""
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(0)
        assert await asyncio.to_thread(worker.wait, DEADLINE_S)
