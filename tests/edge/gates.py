"""What can stand before calls: a gate, an engine that is away or stands still, a record that breaks the script."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from gojob_redis.connections.batcher import Batcher
from gojob_redis.domain import verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.scripts import Item, Reply, ScriptFailed, Value, Verb


class Gate:
    """Stands before a batcher's calls: they wait until it is opened."""

    def __init__(self, batcher: Batcher[Any, Any]) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()
        self._call: Callable[[list[Any]], Awaitable[Any]] = batcher.call
        batcher.call = self._wait

    def open(self) -> None:
        self._opened.set()

    async def _wait(self, items: list[Any]) -> Any:
        self.reached.set()
        await self._opened.wait()
        return await self._call(items)


class LateAnswer(Gate):
    """Stands behind a batcher's calls: they are made, and their answers wait until it is opened."""

    async def _wait(self, items: list[Any]) -> Any:
        answer = await self._call(items)
        self.reached.set()
        await self._opened.wait()
        return answer


class Failing:
    """So many calls get no answer."""

    def __init__(self, batcher: Batcher[Any, Any], times: int) -> None:
        self.left = times
        self._call: Callable[[list[Any]], Awaitable[Any]] = batcher.call
        batcher.call = self._fail

    async def _fail(self, items: list[Any]) -> Any:
        if self.left:
            self.left -= 1
            raise Unavailable("Redis gave no answer.", 0.01)
        return await self._call(items)


class Breaking:
    """The script raises whenever this run is in the call."""

    def __init__(self, batcher: Batcher[Any, Any], run: str) -> None:
        self._run = run
        self._call: Callable[[list[Any]], Awaitable[Any]] = batcher.call
        batcher.call = self._break

    async def _break(self, items: list[Any]) -> Any:
        if any(item.run == self._run for item in items):
            raise ScriptFailed("report failed at line 1")
        return await self._call(items)


def lose_an_answer(monkeypatch: pytest.MonkeyPatch, verb: str) -> list[str]:
    """The next call of this verb is made, and its answer lost; the verb is in the list once that has happened."""
    lost: list[str] = []
    real = Verb.call

    async def call(self: Verb, client: Any, prefix: str, items: Sequence[Item] = (), **scalars: Value) -> Reply:
        reply = await real(self, client, prefix, items, **scalars)
        if self.name == verb and not lost:
            lost.append(verb)
            raise ConnectionError("The connection broke before the answer came.")
        return reply

    monkeypatch.setattr(Verb, "call", call)
    return lost


class Standstill(Partitions):
    """Whoever comes home waits until it is opened; the rest of the engine goes on."""

    def __init__(self, space: Partitions) -> None:
        super().__init__(space.clients, space.count, space.now_ms)
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()
        self._all = tuple(_Still(self, number, prefix) for number, prefix in enumerate(self.prefixes))

    def open(self) -> None:
        self._opened.set()

    async def until_open(self) -> None:
        self.reached.set()
        await self._opened.wait()


class _Still(Partition):
    async def call(self, call: verbs.Call[Any], **options: Any) -> Any:
        if call.verb == "resume":
            assert isinstance(self.space, Standstill)
            await self.space.until_open()
        return await super().call(call, **options)
