"""Sentinel mode: the clients ask the sentinels where the primary is, and find the new one when it changes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.exceptions import RedisError

from examples.demo.topologies import Node, SentinelSystem
from gojob_redis.engine import keys
from gojob_redis.engine.client import Clients, check_engine, connected, repeat
from gojob_redis.engine.keys import K
from gojob_redis.engine.scripts import verb
from gojob_redis.engine.sentinel import ASK_EVERY_S
from tests.tools.waiting import until

pytestmark = pytest.mark.real

PREFIX = keys.prefixes(16)[0]
TAKEN_OVER_S = 20.0


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSystem]:
    """A primary, a replica and three sentinels; the primary is lost in every test."""
    with SentinelSystem(tmp_path_factory.mktemp("sentinel"), fsync="no", down_after_ms=500) as system:
        system.start_engine()
        yield system


@pytest.fixture
async def clients(system: SentinelSystem) -> AsyncIterator[Clients]:
    await asyncio.to_thread(system.settled)
    async with connected(system.redis_url, mode="sentinel") as clients:
        await check_engine(clients.admin)
        await verb("bootstrap").call(clients.commands, PREFIX, now_ms=0, epoch="test", tell=0)
        yield clients


async def now(clients: Clients) -> list[object]:
    return await verb("now").call(clients.commands, PREFIX, now_ms=0)


async def write_until_elsewhere(system: SentinelSystem, clients: Clients, lost: Node) -> None:
    async with asyncio.timeout(TAKEN_OVER_S):
        while await asyncio.to_thread(system.primary) is lost:
            try:
                await now(clients)
            except RedisError:
                await asyncio.sleep(0.02)


def holds_as_replica(engine: Node, stream: str) -> bool:
    """Whether an engine that was the primary has become a replica, and has the one entry that was written since."""
    try:
        return bool(engine.ask("ROLE")[0] == "slave" and engine.ask("XLEN", stream) == 1)
    except RedisError:  # it loads the data of the new one
        return False


async def test_calls_find_the_new_primary_after_a_crash(system: SentinelSystem, clients: Clients) -> None:
    lost = system.primary()
    await now(clients)

    lost.kill()
    assert (await repeat(lambda: now(clients)))[0] == b"ok"

    assert system.primary() is not lost
    system.revive(lost)


async def test_a_frozen_primary_is_left_and_not_written_to_when_it_wakes(
    system: SentinelSystem, clients: Clients
) -> None:
    lost = system.primary()
    stream = K.wake(PREFIX)

    lost.pause()
    try:
        await write_until_elsewhere(system, clients, lost)
        assert (await repeat(lambda: now(clients)))[0] == b"ok"
    finally:
        lost.resume()
    await repeat(lambda: clients.commands.xadd(stream, {"x": "1"}))
    read = await repeat(lambda: clients.blocking.execute_command("XREAD", "BLOCK", 100, "STREAMS", stream, "0"))

    assert read
    await until(lambda: holds_as_replica(lost, stream), TAKEN_OVER_S)


async def test_a_connection_that_was_idle_all_the_while_does_not_write_to_a_former_primary(
    system: SentinelSystem, clients: Clients
) -> None:
    lost, stream = system.primary(), f"{PREFIX}idle"
    await clients.admin.ping()

    lost.pause()
    try:
        await write_until_elsewhere(system, clients, lost)
        await asyncio.sleep(ASK_EVERY_S)
    finally:
        lost.resume()
    await clients.admin.xadd(stream, {"x": "1"})

    await until(lambda: holds_as_replica(lost, stream), TAKEN_OVER_S)


async def test_a_connection_that_was_answered_after_the_failover_is_not_used(system: SentinelSystem) -> None:
    await asyncio.to_thread(system.settled)
    lost, stream = system.primary(), f"{PREFIX}late"

    async with connected(system.redis_url, mode="sentinel") as clients:
        lost.pause()
        try:
            opened = asyncio.ensure_future(clients.admin.xadd(stream, {"x": "0"}))
            await until(lambda: system.primary() is not lost, TAKEN_OVER_S)
        finally:
            lost.resume()
        with pytest.raises(RedisError):
            await opened
        await repeat(lambda: clients.admin.xadd(stream, {"x": "1"}))

    await until(lambda: holds_as_replica(lost, stream), TAKEN_OVER_S)
