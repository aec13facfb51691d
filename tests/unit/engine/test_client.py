"""redis_client: what is repeated, what is an answer, and how the clients are set up."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    DataError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine import client as redis_client
from gojob_redis.engine.client import MemoryFull, UnfitEngine, address_of, check_engine, connect, repeat
from gojob_redis.engine.errors import is_unknown_outcome
from gojob_redis.engine.scripts import NoEpoch, ScriptFailed
from tests.tools.waiting import until


class Call:
    """Raises the given errors, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.attempts = 0

    async def __call__(self) -> str:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "PAUSE_S", (0.001, 0.002))


def leak() -> Exception:
    """An AttributeError out of the client's own code, as it leaves it while slots move."""
    try:
        Redis.from_url(None)  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError) as error:
        return error
    raise AssertionError


UNKNOWN = [
    ConnectionError("closed"),
    TimeoutError("slow"),
    BusyLoadingError("loading"),
    ReadOnlyError("replica"),
    ClusterDownError("down"),
    MovedError("42 127.0.0.1:1"),
    ResponseError("BUSY Redis is busy running a script"),
    ResponseError("MISCONF Errors writing to the AOF file"),
    OSError("no route"),
    EOFError(),
    leak(),
]
ANSWERS = [
    ResponseError("WRONGTYPE Operation against a key"),
    ResponseError("user_script:1: attempt to index a nil value"),
    DataError("cannot encode"),
    ScriptFailed("broke"),
    NoEpoch("emptied"),
    TypeError("ours"),
    AttributeError("ours"),
]


def name(error: Exception) -> str:
    return f"{type(error).__name__} {error}"


@pytest.mark.parametrize("error", UNKNOWN, ids=name)
async def test_an_unknown_outcome_is_repeated(error: Exception) -> None:
    call = Call(error, error)

    assert is_unknown_outcome(error)
    assert await repeat(call) == "done"
    assert call.attempts == 3


@pytest.mark.parametrize("error", ANSWERS, ids=name)
async def test_an_answer_is_not_repeated(error: Exception) -> None:
    call = Call(error)

    with pytest.raises(type(error)):
        await repeat(call)
    assert call.attempts == 1


async def test_a_full_memory_is_told_at_once() -> None:
    call = Call(OutOfMemoryError("command not allowed"))

    with pytest.raises(MemoryFull) as caught:
        await repeat(call)
    assert call.attempts == 1
    assert caught.value.code == "memory_full"


async def test_repeating_ends_at_the_deadline_and_names_the_last_error() -> None:
    call = Call(*[ConnectionError("closed")] * 10_000)

    with pytest.raises(Unavailable, match=r"gave no answer for 0\.05 s \(ConnectionError: closed\)") as caught:
        await repeat(call, deadline_s=0.05)
    assert call.attempts > 3
    assert caught.value.retryable


async def test_a_call_that_hangs_ends_at_the_deadline_and_runs_on() -> None:
    finished: list[str] = []
    may_end = asyncio.Event()

    async def call() -> None:
        await may_end.wait()
        finished.append("call")

    with pytest.raises(Unavailable, match="before the deadline"):
        await repeat(call, deadline_s=0.01)

    may_end.set()
    await redis_client.settled()
    assert finished == ["call"]


async def test_a_caller_that_leaves_does_not_cancel_the_call() -> None:
    finished: list[str] = []
    inside, may_end = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        inside.set()
        await may_end.wait()
        finished.append("call")

    caller = asyncio.ensure_future(repeat(call))
    await inside.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    may_end.set()
    await until(lambda: finished)


async def test_a_late_error_of_an_abandoned_call_is_not_reported() -> None:
    may_end = asyncio.Event()

    async def call() -> None:
        await may_end.wait()
        raise ConnectionError("closed")

    with pytest.raises(Unavailable):
        await repeat(call, deadline_s=0.01)
    may_end.set()
    await redis_client.settled()


# ---- how clients are made ------------------------------------------------------------------------------------------


async def test_no_client_repeats_by_itself_or_waits_for_ever() -> None:
    clients = await connect("redis://127.0.0.1:1")

    for client in (clients.commands, clients.blocking, clients.admin):
        assert isinstance(client, Redis)
        pool: Any = client.connection_pool
        made = pool.make_connection()
        assert isinstance(pool, BlockingConnectionPool)
        assert pool.timeout == redis_client.POOL_WAIT_S
        assert made.retry.get_retries() == 0
        assert made.socket_timeout is not None
        assert made.socket_connect_timeout == redis_client.CONNECT_TIMEOUT_S
        assert made.protocol == 3
        assert type(made._parser).__name__ == "_AsyncHiredisParser"
    blocking: Any = clients.blocking
    assert blocking.connection_pool.make_connection().socket_timeout > redis_client.BLOCK_MAX_S
    await clients.aclose()


async def test_a_sentinel_client_asks_the_sentinels_and_waits_for_a_connection() -> None:
    clients = await connect("redis://:word@127.0.0.1:1,127.0.0.1:2/main", mode="sentinel")

    client: Any = clients.commands
    pool = client.connection_pool
    assert BlockingConnectionPool in type(pool).__mro__
    assert pool.timeout == redis_client.POOL_WAIT_S
    assert all(sentinel.get_retry().get_retries() == 0 for sentinel in pool.sentinel_manager.sentinels)
    assert pool.service_name == "main"
    assert len(pool.sentinel_manager.sentinels) == 2
    assert pool.connection_kwargs["password"] == "word"
    with pytest.raises(ConnectionError):
        await client.ping()
    await clients.aclose()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis://127.0.0.1/main"])
async def test_a_sentinel_url_without_service_or_port_is_refused(url: str) -> None:
    with pytest.raises(UnfitEngine, match="A sentinel url reads"):
        await connect(url, mode="sentinel")


async def test_a_cluster_client_is_made_without_own_repeats() -> None:
    client = redis_client.open_client("redis://127.0.0.1:1", "cluster", "commands", connections=8, timeout_s=1)

    assert isinstance(client, RedisCluster)
    assert client.retry.get_retries() == 0
    assert client.connection_kwargs["socket_timeout"] == 1
    await client.aclose()


# ---- the check of the engine ---------------------------------------------------------------------------------------


class Engine:
    """Answers INFO."""

    def __init__(self, **facts: object) -> None:
        self.facts = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction", "aof_enabled": 1} | facts

    async def execute_command(self, *_: str) -> dict[str, object]:
        return self.facts


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"redis_version": "6.2.14"}, "Use Valkey, or Redis 7.0 or newer"),
        ({"maxmemory_policy": "allkeys-lru"}, "CONFIG SET maxmemory-policy noeviction"),
        ({"cluster_enabled": 1}, "Set redis.mode to cluster"),
    ],
)
async def test_an_unfit_engine_is_refused_with_the_remedy(facts: dict[str, object], complaint: str) -> None:
    engine: Any = Engine(**facts)

    with pytest.raises(UnfitEngine, match=complaint):
        await check_engine(engine)


async def test_an_engine_without_append_only_file_is_warned_about(log_lines: Callable[[], list[str]]) -> None:
    engine: Any = Engine(aof_enabled=0)

    await check_engine(engine)

    assert log_lines() == ["engine.no_aof"]


def test_the_address_of_an_engine_holds_no_password() -> None:
    assert address_of("rediss://user:secret@h:1/0?password=secret") == "rediss://h:1/0"
    assert address_of("unix:///run/engine.sock") == "unix:///run/engine.sock"
