"""scripts and clients on a real cluster of three: one partition, one slot, one script."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster

from gojob_redis.engine import keys, scripts
from gojob_redis.engine.client import Clients, check_engine, connected, repeat
from gojob_redis.engine.scripts import ScriptFailed, Verb
from tests.tools import keyspace
from tests.tools.engines import Cluster

pytestmark = [pytest.mark.real, pytest.mark.cluster]

PREFIXES = keys.prefixes(16)


@pytest.fixture
async def clients(cluster: Cluster) -> AsyncIterator[Clients]:
    async with connected(cluster.url, mode="cluster") as clients:
        await clients.commands.flushall()
        yield clients


@pytest.fixture
def verb(tmp_path: Path) -> Verb:
    path = tmp_path / "try.lua"
    path.write_text(
        "-- Write two keys of the partition.\n-- ARGV   foreign str\n-- REPLY  ok\n--        prefix str\n"
        "--!include keys\n"
        "redis.call('SET', key.task('a'), 1)\nredis.call('SET', key.task('b'), 2)\n"
        "if foreign ~= '' then redis.call('SET', foreign, 3) end\n"
        "return {'ok', KEYS[1]}\n"
    )
    return scripts.load(path, tmp_path)


async def test_a_script_may_touch_every_key_of_its_partition(clients: Clients, verb: Verb) -> None:
    for prefix in PREFIXES:
        assert await verb.call(clients.commands, prefix, foreign="") == [b"ok", prefix.encode()]

    dumped = await keyspace.dump(clients.commands)
    assert dumped == {f"{prefix}task:{task}": value for prefix in PREFIXES for task, value in (("a", "1"), ("b", "2"))}


@pytest.mark.parametrize("foreign", ["{p01qp}:task:x", "{p15pz}:task:x"])
async def test_a_script_that_touches_a_foreign_slot_is_refused(clients: Clients, verb: Verb, foreign: str) -> None:
    with pytest.raises(ScriptFailed, match=r"^try failed at try\.lua:8: "):
        await verb.call(clients.commands, PREFIXES[0], foreign=foreign)


async def test_one_pipeline_reaches_all_partitions_also_after_a_flush(clients: Clients, verb: Verb) -> None:
    for _ in range(2):
        replies = await verb.pipelined(clients.commands, PREFIXES, foreign="")
        assert replies == [[b"ok", prefix.encode()] for prefix in PREFIXES]
        await clients.admin.script_flush()
        assert await verb.call(clients.commands, PREFIXES[5], foreign="") == [b"ok", PREFIXES[5].encode()]
        await clients.admin.script_flush()


async def test_each_node_of_a_cluster_is_checked(clients: Clients) -> None:
    await check_engine(clients.admin)

    assert isinstance(clients.admin, RedisCluster)
    node = clients.admin.get_primaries()[2]
    await node.execute_command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(Exception, match=f"{node.name} has maxmemory-policy allkeys-lru"):
        await check_engine(clients.admin)
    await node.execute_command("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_partitions_spread_over_the_nodes(cluster: Cluster) -> None:
    homes = [cluster.holder_of(tag).port for tag in keys.tags(16)]

    assert sorted(homes.count(engine.port) for engine in cluster.engines) == [5, 5, 6]


async def test_a_crashed_node_delays_its_partitions_and_no_other(
    cluster: Cluster, clients: Clients, verb: Verb
) -> None:
    tags = keys.tags(16)
    dead = cluster.holder_of(tags[0])
    elsewhere = next(prefix for tag, prefix in zip(tags, PREFIXES, strict=True) if cluster.holder_of(tag) is not dead)

    await asyncio.to_thread(dead.kill)
    replies = await verb.pipelined(clients.commands, [PREFIXES[0], elsewhere], foreign="")
    waiting = asyncio.ensure_future(repeat(lambda: verb.call(clients.commands, PREFIXES[0], foreign="")))
    await asyncio.to_thread(dead.start)

    assert isinstance(replies[0], Exception)
    assert replies[1] == [b"ok", elsewhere.encode()]
    assert await waiting == [b"ok", PREFIXES[0].encode()]
