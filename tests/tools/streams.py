"""Gateways' APIs on real sockets before one engine, and listeners to their streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from fastapi import FastAPI

from gojob_redis.api import create_app
from gojob_redis.api.server import Server, listen
from gojob_redis.control.identities import Identities
from gojob_redis.live.reader import Live
from tests.tools.served import Served

WITHIN_S = 10.0


@dataclass(slots=True)
class Gate:
    """One gateway's API on a port."""

    app: FastAPI
    url: str
    server: Server
    running: "asyncio.Task[None]"

    @property
    def live(self) -> Live:
        live: Live = self.app.state.edge.live
        return live

    async def stop(self) -> None:
        """End it in order."""
        self.live.close()
        self.server.should_exit = True
        await self.running


@asynccontextmanager
async def gate(served: Served) -> AsyncIterator[Gate]:
    """One more gateway before the engine of ``served``."""

    async def nothing(*_: object) -> list[Any]:
        return []

    app = create_app(served.space, Identities(served.space, remember_s=0.0), nothing)
    with listen("127.0.0.1", 0) as listening:
        server = Server(app)
        running = asyncio.create_task(server.serve([listening]))
        await server.up.wait()
        gate = Gate(app, f"http://127.0.0.1:{listening.getsockname()[1]}", server, running)
        try:
            yield gate
        finally:
            if not running.done():
                await gate.stop()


@dataclass(slots=True)
class Ear:
    """One stream that is listened to."""

    answer: httpx2.Response
    last_id: str = ""
    end: dict[str, Any] = field(default_factory=dict)
    retry_ms: int = 0
    _lines: AsyncIterator[str] | None = None
    _waiting: list[dict[str, Any]] = field(default_factory=list)

    async def event(self) -> dict[str, str]:
        """The fields of the next server-sent event."""
        if self._lines is None:
            self._lines = self.answer.aiter_lines()
        fields: dict[str, str] = {}
        async with asyncio.timeout(WITHIN_S):
            async for line in self._lines:
                if not line:
                    break
                name, _, value = line.partition(": ")
                fields[name] = value
        self.last_id = fields.get("id", self.last_id)
        self.retry_ms = int(fields.get("retry", self.retry_ms))
        return fields

    async def message(self) -> dict[str, Any]:
        """The next message; an empty one at the end, which is in ``end``."""
        while not self._waiting:
            fields = await self.event()
            if fields.get("event") == "end":
                self.end = json.loads(fields["data"])
                return {}
            if not fields:
                return {}
            if "data" in fields:
                self._waiting += json.loads(fields["data"])["messages"]
        return self._waiting.pop(0)

    async def until(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; what comes before it is passed over."""
        while (message := await self.message())["kind"] != kind:
            pass
        return message


class Ears:
    """Opens streams; all are closed at the end of the block."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stack = AsyncExitStack()
        self.ears: list[Ear] = []
        self.http = httpx2.AsyncClient(timeout=httpx2.Timeout(WITHIN_S, read=None))

    async def __aenter__(self) -> "Ears":
        await self.stack.enter_async_context(self.http)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def open(
        self, gate: Gate, topics: Sequence[str], *, kind: str = "admin", since: str = "", last_id: str = ""
    ) -> Ear:
        """Begin to listen; the answer may be a refusal."""
        headers = {"Authorization": f"Bearer {self.served.tokens[kind]}"}
        headers |= {"Last-Event-ID": last_id} if last_id else {}
        query: dict[str, Any] = {"topic": list(topics)} | ({"from": since} if since else {})
        request = self.http.stream("GET", f"{gate.url}/v1/stream", params=query, headers=headers)
        ear = Ear(await self.stack.enter_async_context(request))
        self.ears.append(ear)  # one that nobody keeps hangs up
        return ear

    async def listen(self, gate: Gate, *topics: str, **options: Any) -> Ear:
        """Listen from now on."""
        ear = await self.open(gate, topics, **options)
        assert ear.answer.status_code == 200, await ear.answer.aread()
        first = await ear.event()
        assert first.keys() in ({"id"}, {":"})  # topics that have no position begin with a comment
        return ear

    async def refused(self, gate: Gate, *topics: str, **options: Any) -> tuple[int, str]:
        """Status and code of a stream that is not begun."""
        ear = await self.open(gate, topics, **options)
        problem = json.loads(await ear.answer.aread())
        return ear.answer.status_code, problem["code"]
