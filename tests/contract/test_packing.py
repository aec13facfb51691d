"""gojob_redis/engine/packing.py: hiredis and redis-py pack the same bytes, and every kind of client uses it."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import DataError

from gojob_redis.engine.client import connected
from gojob_redis.engine.packing import packing
from tests.tools.engines import Cluster, valkey

COMMANDS: list[tuple[Any, ...]] = [
    ("PING",),
    ("CONFIG GET", "maxmemory"),
    (b"CLIENT SETNAME", "me"),
    ("EVALSHA", "0" * 40, 1, "{p00aa}:", 0, b"\x00\xff\r\n", "übel", "", 1.5, -7, 10**18),
    ("SET", "key", memoryview(b"value")),
    ("SET", "key", b"x" * 100_000),
]


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[0]))
def test_the_bytes_are_those_of_redis_py(kind: Any, command: tuple[Any, ...]) -> None:
    assert b"".join(packing(kind)().pack_command(*command)) == b"".join(kind().pack_command(*command))


@pytest.mark.parametrize("value", [None, True, object()])
def test_what_cannot_be_sent_is_refused_as_redis_py_refuses_it(value: Any) -> None:
    with pytest.raises(DataError):
        packing(Connection)().pack_command("SET", "key", value)


@pytest.mark.parametrize(("port", "kind"), [(None, UnixDomainSocketConnection), (0, Connection)])
async def test_a_client_of_one_engine_packs_so(tmp_path: Path, port: int | None, kind: Any) -> None:
    with valkey(tmp_path, port) as engine:
        async with connected(engine.url) as clients:
            connection = await clients.commands.connection_pool.get_connection()  # type: ignore[union-attr]
            await clients.commands.connection_pool.release(connection)  # type: ignore[union-attr]

    assert type(connection) is packing(kind)


async def test_a_client_of_a_cluster_packs_so(cluster: Cluster) -> None:
    async with connected(cluster.url, mode="cluster") as clients:
        client: Any = clients.commands
        await client.set("key", "value")
        kinds = {node.connection_class for node in client.get_primaries()}

    assert kinds == {packing(Connection)}
