"""cluster_client on a real cluster with replicas: failover, slots that move, nodes that are added, crowds."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.exceptions import RedisError, TryAgainError

from examples.demo.topologies import ClusterSystem, Node
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine import keys, scripts
from gojob_redis.engine.client import Clients, connected, repeat, round_trip
from gojob_redis.engine.cluster import ClusterClient
from gojob_redis.engine.keys import K
from gojob_redis.engine.scripts import NoEpoch, verb

pytestmark = [pytest.mark.real, pytest.mark.cluster]

PREFIXES = keys.prefixes(16)
EPOCH = "test"
KEPT = 100
TAKEN_OVER_S = 20.0


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSystem]:
    """Three primaries with a replica each; these tests kill some and add another."""
    with ClusterSystem(tmp_path_factory.mktemp("cluster"), fsync="no", node_timeout_ms=1000) as system:
        system.start_engine()
        yield system


@pytest.fixture
async def clients(system: ClusterSystem) -> AsyncIterator[Clients]:
    await asyncio.to_thread(system.settled)
    async with connected(system.redis_url, mode="cluster") as clients:
        await clients.admin.flushall()
        for prefix in PREFIXES:
            await verb("bootstrap").call(clients.commands, prefix, now_ms=0, epoch=EPOCH, tell=0)
        yield clients


def home(system: ClusterSystem, index: int) -> Node:
    """Who serves a partition now."""
    return system.holder_of(slot(index))


def slot(index: int) -> int:
    return keys.slot_of(keys.tags(16)[index])


async def now(clients: Clients, index: int) -> object:
    return await verb("now").call(clients.commands, PREFIXES[index], now_ms=0)


async def answers(clients: Clients) -> list[bool]:
    """Which partitions answer in one round."""
    replies = await verb("now").pipelined(clients.commands, PREFIXES, now_ms=0)
    return [not isinstance(reply, Exception) for reply in replies]


# ---- failover --------------------------------------------------------------------------------------------------------


async def test_rounds_alone_find_the_new_primary_and_never_miss_a_healthy_one(
    system: ClusterSystem, clients: Clients
) -> None:
    lost = home(system, 0)
    healthy = [index for index in range(16) if home(system, index) is not lost]
    assert all(await answers(clients))

    await asyncio.to_thread(lost.kill)
    async with asyncio.timeout(TAKEN_OVER_S):
        while not all(seen := await answers(clients)):
            assert all(seen[index] for index in healthy)

    assert home(system, 0) is not lost
    system.revive(lost)


async def test_a_frozen_primary_does_not_hold_its_callers_longer_than_the_failover(
    system: ClusterSystem, clients: Clients
) -> None:
    frozen = home(system, 0)
    stream = K.wake(PREFIXES[0])
    reading = asyncio.ensure_future(clients.blocking.execute_command("XREAD", "BLOCK", 1000, "STREAMS", stream, "0"))
    await now(clients, 0)

    frozen.pause()
    calling = asyncio.ensure_future(repeat(lambda: now(clients, 0)))
    taken_over = asyncio.create_task(_until_elsewhere(system, 0, frozen))
    await taken_over
    done, _ = await asyncio.wait({calling, reading}, timeout=1.6)

    frozen.resume()
    assert done == {calling, reading}
    assert (await calling)[0] == b"ok"  # type: ignore[index]
    with pytest.raises(RedisError):
        await reading


async def _until_elsewhere(system: ClusterSystem, index: int, lost: Node) -> None:
    async with asyncio.timeout(TAKEN_OVER_S):
        while await asyncio.to_thread(home, system, index) is lost:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# ---- moving slots ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def half_moved(system: ClusterSystem, clients: Clients) -> AsyncIterator[tuple[Node, Node]]:
    """Partition 5 in the middle of its way, key by key: ``meta`` and some others have arrived, the rest has not."""
    for number in range(KEPT):
        await clients.commands.set(K.param(PREFIXES[5], str(number)), str(number))
    source, target = home(system, 5), home(system, 0)
    assert source is not target
    target.ask("CLUSTER", "SETSLOT", slot(5), "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot(5), "MIGRATING", target.id)
    moved = [K.param(PREFIXES[5], str(number)) for number in range(KEPT // 2)]
    source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", system.password, "KEYS", *moved)
    yield source, target
    await asyncio.to_thread(system.move_slot, slot(5), target)
    await asyncio.to_thread(system.move_slot, slot(5), source)


@pytest.mark.parametrize("meta_moved", [False, True])
async def test_no_script_runs_on_a_part_of_a_partition(
    system: ClusterSystem, clients: Clients, half_moved: tuple[Node, Node], meta_moved: bool
) -> None:
    source, target = half_moved
    if meta_moved:
        source.ask("MIGRATE", "127.0.0.1", target.port, K.meta(PREFIXES[5]), 0, 5000, "AUTH", system.password)

    for _ in range(20):
        with pytest.raises(TryAgainError):
            await now(clients, 5)
    [reply] = await verb("now").pipelined(clients.commands, [PREFIXES[5]], now_ms=0)

    assert isinstance(reply, TryAgainError)


class Never:
    """The type of no client."""


async def test_without_the_second_key_a_script_would_run_where_its_data_is_not(
    clients: Clients, half_moved: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "ClusterClient", Never)  # each call names one key, as on a single engine

    with pytest.raises(NoEpoch):
        await now(clients, 5)


async def test_a_call_waits_for_the_end_of_the_move(system: ClusterSystem, clients: Clients) -> None:
    source, target = home(system, 5), home(system, 0)
    target.ask("CLUSTER", "SETSLOT", slot(5), "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot(5), "MIGRATING", target.id)

    calling = asyncio.ensure_future(repeat(lambda: now(clients, 5)))
    with pytest.raises(Unavailable):
        await repeat(lambda: now(clients, 5), 0.3)
    await asyncio.to_thread(system.move_slot, slot(5), target)

    assert (await calling)[0] == b"ok"  # type: ignore[index]
    await asyncio.to_thread(system.move_slot, slot(5), source)


async def test_reads_find_every_key_on_either_side(clients: Clients, half_moved: tuple[Node, Node]) -> None:
    names = [K.param(PREFIXES[5], str(number)) for number in range(KEPT)]

    together = await round_trip(clients.commands, [("GET", name) for name in names])
    singly = await asyncio.gather(*(clients.commands.get(name) for name in names))

    assert together == singly == [str(number).encode() for number in range(KEPT)]


@pytest.mark.parametrize("atomic", [False, True])
async def test_an_added_node_is_found_by_whom_it_serves(system: ClusterSystem, clients: Clients, atomic: bool) -> None:
    assert all(await answers(clients))
    source = home(system, 9)
    added = system.add_node() if len(system.nodes) < 7 else system.nodes[6]
    calling = asyncio.ensure_future(_call_until(clients, moved := asyncio.Event()))

    if atomic:
        await asyncio.to_thread(system.move_slots_at_once, slot(9), slot(9), added)
    else:
        await asyncio.to_thread(system.move_slot, slot(9), added)
    moved.set()

    assert await calling > 0
    assert home(system, 9) is added
    assert all(await answers(clients))
    await asyncio.to_thread(system.move_slot, slot(9), source)


async def _call_until(clients: Clients, over: asyncio.Event) -> int:
    calls = 0
    while not over.is_set():
        await repeat(lambda: now(clients, 9))
        calls += 1
    return calls


# ---- crowds, and the map ---------------------------------------------------------------------------------------------


async def test_more_callers_than_connections_wait_their_turn(system: ClusterSystem) -> None:
    client = ClusterClient.from_url(system.redis_url.partition(",")[0], max_connections=2)
    names = [f"{prefix}x" for prefix in PREFIXES for _ in range(50)]

    assert await asyncio.gather(*(client.execute_command("GET", name) for name in names)) == [None] * len(names)
    await client.aclose()


async def test_a_doubted_map_is_not_read_by_every_call(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = clients.commands
    reads: list[float] = []
    read = client.nodes_manager.initialize

    async def counted(**options: Any) -> None:
        reads.append(asyncio.get_running_loop().time())
        await read(**options)

    monkeypatch.setattr(type(client.nodes_manager), "initialize", lambda _self, **options: counted(**options))
    for _ in range(200):
        client.doubt()
        await now(clients, 3)

    assert len(reads) <= 1 + (reads[-1] - reads[0]) / 0.2 if reads else True


async def test_a_cluster_that_is_away_as_a_whole_is_an_unknown_outcome() -> None:
    with pytest.raises(Unavailable):
        await repeat(_reach_nobody, 0.2)


async def _reach_nobody() -> None:
    async with connected("redis://127.0.0.1:1,127.0.0.1:2", mode="cluster"):
        pass
