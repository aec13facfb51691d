"""redis_client on a real engine: what the client library does when the engine stands still, dies, or is full."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError, TimeoutError

from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine import client as redis_client
from gojob_redis.engine import scripts
from gojob_redis.engine.client import Client, MemoryFull, connected, repeat
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.scripts import Verb
from tests.tools.waiting import until

pytestmark = pytest.mark.real

PREFIX = "{p00pp}:"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine of the test's own, because it is going to suffer."""
    with Engine(tmp_path / "data", fsync="always") as engine:
        yield engine
        engine.resume()


@pytest.fixture
async def hasty(engine: Engine) -> AsyncIterator[Client]:
    """A client as production makes it, but with a short read timeout."""
    client = redis_client.open_client(engine.url, "standalone", "commands", connections=4, timeout_s=0.1)
    yield client
    await client.aclose()


def counting(tmp_path: Path, flags: str = "") -> Verb:
    path = tmp_path / "count.lua"
    path.write_text(
        f"-- Count its own runs.\n-- REPLY  ok\n{flags}redis.call('INCR', KEYS[1] .. 'n')\nreturn {{'ok'}}\n"
    )
    return scripts.load(path, tmp_path)


def counted(attempts: list[int], verb: Verb, client: Client) -> Callable[[], Awaitable[object]]:
    def attempt() -> Awaitable[object]:
        attempts.append(1)
        return verb.call(client, PREFIX)

    return attempt


async def test_a_call_that_timed_out_is_not_replayed_by_the_library(
    engine: Engine, hasty: Client, tmp_path: Path
) -> None:
    verb = counting(tmp_path)
    await verb.call(hasty, PREFIX)

    engine.pause()
    with pytest.raises(TimeoutError):
        await verb.call(hasty, PREFIX)
    engine.resume()

    async with connected(engine.url) as clients:
        assert await clients.commands.get(PREFIX + "n") == b"2"


async def test_repeat_outlasts_a_pause_of_the_engine(engine: Engine, hasty: Client, tmp_path: Path) -> None:
    verb = counting(tmp_path)
    await verb.call(hasty, PREFIX)

    engine.pause()
    attempts: list[int] = []
    waiting = asyncio.ensure_future(repeat(counted(attempts, verb, hasty)))
    await until(lambda: len(attempts) == 3)
    engine.resume()

    assert await waiting == [b"ok"]


async def test_repeat_outlasts_a_crash_of_the_engine(engine: Engine, tmp_path: Path) -> None:
    verb = counting(tmp_path)
    async with connected(engine.url) as clients:
        await verb.call(clients.commands, PREFIX)

        await asyncio.to_thread(engine.kill)
        attempts: list[int] = []
        waiting = asyncio.ensure_future(repeat(counted(attempts, verb, clients.commands)))
        await until(lambda: len(attempts) == 3)
        await asyncio.to_thread(engine.start)

        assert await waiting == [b"ok"]
        assert await clients.commands.get(PREFIX + "n") == b"2"


async def test_a_dead_engine_is_unavailable_at_the_deadline(engine: Engine, tmp_path: Path) -> None:
    async with connected(engine.url) as clients:
        await asyncio.to_thread(engine.kill)
        began = time.monotonic()

        with pytest.raises(Unavailable):
            await repeat(lambda: clients.commands.ping(), deadline_s=0.3)
        assert time.monotonic() - began < 1


async def test_a_blocking_read_outlasts_the_timeout_of_commands(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "COMMAND_TIMEOUT_S", 0.1)
    monkeypatch.setattr(redis_client, "BLOCK_MAX_S", 0.5)
    async with connected(engine.url) as clients:
        assert not await clients.blocking.xread({"s": "$"}, block=400)


async def test_more_callers_than_connections_wait_their_turn(hasty: Client) -> None:
    assert await asyncio.gather(*(hasty.ping() for _ in range(100))) == [True] * 100


async def test_a_full_engine_refuses_new_work_and_lets_the_old_finish(engine: Engine, tmp_path: Path) -> None:
    async with connected(engine.url) as clients:
        await clients.admin.config_set("maxmemory", "1mb")
        refused = counting(tmp_path)
        with pytest.raises(OutOfMemoryError):
            await refused.call(clients.commands, PREFIX)
        with pytest.raises(MemoryFull):
            await repeat(lambda: refused.call(clients.commands, PREFIX))

        allowed = counting(tmp_path, "-- FLAGS  allow-oom\n")
        assert await allowed.call(clients.commands, PREFIX) == [b"ok"]
