"""The one place where Redis clients are made, and where calls are repeated.

1. redis-py 8 on its own replays a call up to 10 times after a timeout, times blocking reads out, and raises when its
   pool is full. Here every client has explicit timeouts, a pool that waits, and no retries of its own.
2. Three clients: ``commands`` for verbs, ``blocking`` for ``XREAD BLOCK`` (its read timeout lies above the longest
   block), ``admin`` for set-up and checks (connections of its own, so it works when the others are busy).
3. ``repeat`` is our retry. Any exception of the client means *outcome unknown*, so only calls that are safe to repeat
   may go through it; all our scripts are. What it does not repeat are answers: a bug in a script, a full memory.
   Where another engine takes over when one fails (cluster, sentinel), a call waits 2 s for its answer instead of 5:
   a frozen primary must not hold its callers longer than the failover takes.
4. A mutating call is never cancelled: when its caller leaves or the deadline passes, the call runs on to its socket
   timeout, so no connection is torn down between a command and its reply.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import structlog
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gojob_redis.domain import limits
from gojob_redis.domain.errors import GojobError, Unavailable
from gojob_redis.engine import keys
from gojob_redis.engine.cluster import ClusterClient, Command
from gojob_redis.engine.errors import LEAKS, is_away, is_unknown_outcome
from gojob_redis.engine.packing import packing
from gojob_redis.engine.sentinel import SentinelPool
from gojob_redis.runtime.outage import Outage

log = structlog.get_logger()

T = TypeVar("T")
Client = Redis | RedisCluster
Mode = Literal["standalone", "cluster", "sentinel"]

CONNECT_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 5.0
FAILOVER_CONNECT_S = 1.0  # the same two where another engine takes over
FAILOVER_COMMAND_S = 2.0
BLOCK_MAX_S = 1.0  # the longest BLOCK a user of the blocking client may ask for
BLOCKING_CONNECTIONS = 2 * keys.MAX_PARTITIONS  # a cluster has one reader per partition, for inboxes and for wakes
POOL_WAIT_S = 5.0
REPEAT_S = limits.REDIS_DEADLINE_MS / 1000
ANSWER_S = limits.ANSWER_MS / 1000
RENEW_S = limits.RENEW_DEADLINE_MS / 1000
PAUSE_S = (0.02, 1.0)  # first and longest pause between two repeats
MEMORY_PAUSE_S = 10.0
OLDEST_ENGINE = (7, 0)


class MemoryFull(Unavailable):
    """The engine is at maxmemory and refused to take new work; work in flight goes on."""

    def __init__(self) -> None:
        super().__init__(
            "The engine is at maxmemory and takes no new work.",
            MEMORY_PAUSE_S,
            code="memory_full",
            hint="Raise maxmemory or shorten the retention of history; then repeat the same call.",
        )


class UnfitEngine(GojobError):
    """The engine is set up so that it would lose work, or is too old; nothing was written to it."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("unfit_engine", message, hint=hint)


# ---- making clients ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clients:
    """The three clients of a process."""

    commands: Client
    blocking: Client
    admin: Client
    outage: Outage = field(default_factory=lambda: Outage(is_away=is_away))

    @property
    def on_cluster(self) -> bool:
        """Whether the keys are spread over nodes, so that a blocking read reaches one partition only."""
        return isinstance(self.blocking, RedisCluster)

    async def aclose(self) -> None:
        """Wait for calls whose callers left, then close all connections."""
        await settled()
        for client in (self.commands, self.blocking, self.admin):
            await client.aclose()


async def connect(url: str, *, mode: Mode = "standalone") -> Clients:
    """Make the three clients; a cluster client reads the slot map here, the others connect when first used.

    url: ``redis://``, ``rediss://`` or ``unix://`` for one engine; ``redis://host:port,host:port`` for ``cluster``
    (some of its nodes: one of them has to answer); ``redis://host:port,host:port/service`` (the sentinels, and the
    service they watch) for ``sentinel``.
    """
    timeout_s = COMMAND_TIMEOUT_S if mode == "standalone" else FAILOVER_COMMAND_S
    clients = Clients(
        commands=open_client(url, mode, "commands", connections=32, timeout_s=timeout_s),
        blocking=open_client(
            url, mode, "blocking", connections=BLOCKING_CONNECTIONS, timeout_s=BLOCK_MAX_S + timeout_s
        ),
        admin=open_client(url, mode, "admin", connections=4, timeout_s=timeout_s),
        outage=Outage(address_of(url), is_away=is_away),
    )
    if mode == "cluster":
        try:
            for client in (clients.commands, clients.blocking, clients.admin):
                await client.initialize()
        except BaseException:
            await clients.aclose()
            raise
    return clients


@asynccontextmanager
async def connected(url: str, *, mode: Mode = "standalone") -> AsyncIterator[Clients]:
    """``connect``, closed at the end of the block."""
    clients = await connect(url, mode=mode)
    try:
        yield clients
    finally:
        await clients.aclose()


def address_of(url: str) -> str:
    """Where an engine is, without what lets one in."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def node_client(
    host: str, port: int, *, timeout_s: float, tls: bool = False, login: dict[str, str] | None = None
) -> Client:
    """A client for one node, to look at it; login: a user name and a password, as the client names them."""
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "ssl": tls}
    return Redis(host=host, port=port, **options | (login or {}))


def open_client(url: str, mode: Mode, role: str, *, connections: int, timeout_s: float) -> Client:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S if mode == "standalone" else FAILOVER_CONNECT_S,
        "decode_responses": False,
        "protocol": 3,
        "client_name": f"gojob-{role}",
        "driver_info": None,
        # Off: Valkey answers the subscription with an error on every new connection.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "max_connections": connections,
        "retry": Retry(NoBackoff(), 0),
    }
    if mode == "cluster":
        client = _cluster(url, options | {"patience_s": timeout_s / 4 if role != "blocking" else BLOCK_MAX_S + 0.5})
        client.connection_kwargs["connection_class"] = packing(client.connection_kwargs["connection_class"])
        return client
    if mode == "sentinel":
        pool: BlockingConnectionPool = _sentinel_pool(url, options)
    else:
        pool = _single_pool(url, options)
    kind: Any = pool.connection_class
    pool.connection_class = packing(kind)
    return Redis.from_pool(pool)


def _single_pool(url: str, options: dict[str, Any]) -> BlockingConnectionPool:
    try:
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(url, timeout=POOL_WAIT_S, **options)
        pool.connection_class(**pool.connection_kwargs)  # it opens nothing, but knows which options there are
    except (ValueError, TypeError) as error:
        raise UnfitEngine(
            f"The address of the engine cannot be used: {error}.", hint="Look at what follows its ?."
        ) from None
    return pool


CLUSTER_URL = "A cluster url reads redis://host:port,host:port."
SENTINEL_URL = "A sentinel url reads redis://host:port,host:port/service."


def _cluster(url: str, options: dict[str, Any]) -> ClusterClient:
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return ClusterClient.from_url(url, pool_wait_s=POOL_WAIT_S, **options)  # type: ignore[return-value]
    nodes = [ClusterNode(host, port, "primary") for host, port in _addresses(hosts, CLUSTER_URL)]
    first = parts._replace(netloc=f"{login}{at}{nodes[0].host}:{nodes[0].port}").geturl()
    return ClusterClient.from_url(first, startup_nodes=nodes[1:], pool_wait_s=POOL_WAIT_S, **options)  # type: ignore[return-value]


def _addresses(hosts: str, hint: str) -> list[tuple[str, int]]:
    """Hosts and ports, separated by commas."""
    parts = [host.rpartition(":") for host in hosts.split(",")]
    if not all(host and port.isdigit() for host, _, port in parts):
        raise UnfitEngine(
            f"A host in {hosts!r} has no port.",
            hint=hint,
        )
    return [(host.strip("[]"), int(port)) for host, _, port in parts]


def _sentinel_pool(url: str, options: dict[str, Any]) -> SentinelPool:
    parts = urlsplit(url)
    hosts = _addresses(parts.netloc.rpartition("@")[2], SENTINEL_URL)
    service = parts.path.strip("/")
    if not service:
        raise UnfitEngine(
            f"{parts.path!r} after the hosts is not a service.",
            hint=SENTINEL_URL,
        )
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        hosts,
        sentinel_kwargs={
            "socket_timeout": FAILOVER_CONNECT_S,
            "socket_connect_timeout": FAILOVER_CONNECT_S,
            "retry": Retry(NoBackoff(), 0),  # or each sentinel that is down costs eleven attempts
        },
    )
    login = {"username": parts.username, "password": parts.password} if parts.password else {}
    options |= {"ssl": True} if parts.scheme == "rediss" else {}
    return SentinelPool(service, sentinel, timeout=POOL_WAIT_S, **login, **options)


async def round_trip(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Run commands that have a key each together; what one of them raised stands in its place.

    On a cluster that is one round trip per node, and a node out of reach hides no other. Raises what the client raised
    when the whole round failed, as it does on a single engine.
    """
    if isinstance(client, ClusterClient):
        return await client.round_trip(commands)
    async with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers


# ---- repeating calls -----------------------------------------------------------------------------------------------

_running_on: set[asyncio.Future[Any]] = set()


async def repeat(call: Callable[[], Awaitable[T]], deadline_s: float = REPEAT_S) -> T:
    """Make the call, and make it again while the client cannot say what became of it.

    call: makes one attempt; it must be safe to repeat.
    Raises Unavailable when the deadline passed (the last attempt may still take effect), MemoryFull at once when the
    engine refused for lack of memory; every other error of the call itself leaves unchanged.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    pause, longest = PAUSE_S
    while True:
        try:
            return await _unbroken(call(), began + deadline_s - clock())
        except OutOfMemoryError as error:
            raise MemoryFull from error
        except (RedisError, OSError, EOFError, *LEAKS) as error:
            if not is_unknown_outcome(error):
                raise
            wait = pause * random.uniform(0.5, 1.0)
            if clock() + wait >= began + deadline_s:
                raise Unavailable(
                    f"Redis gave no answer for {deadline_s:g} s ({type(error).__name__}: {error}).", longest
                ) from error
        await asyncio.sleep(wait)
        pause = min(2 * pause, longest)


async def _unbroken(attempt: Awaitable[T], timeout_s: float) -> T:
    """Wait for the attempt without ever cancelling it."""
    task = asyncio.ensure_future(attempt)
    try:
        await asyncio.wait({task}, timeout=max(timeout_s, 0))
    finally:
        if not task.done():
            _running_on.add(task)
            task.add_done_callback(_forget)
    if not task.done():
        raise Unavailable("Redis gave no answer before the deadline.", PAUSE_S[1])
    return task.result()


def _forget(task: asyncio.Future[Any]) -> None:
    _running_on.discard(task)
    if not task.cancelled():
        task.exception()  # read, so that asyncio does not report it


async def settled() -> None:
    """Wait for the calls whose callers left; each ends by its socket timeout."""
    here = asyncio.get_running_loop()
    if mine := [task for task in _running_on if task.get_loop() is here]:
        await asyncio.wait(mine, timeout=COMMAND_TIMEOUT_S + CONNECT_TIMEOUT_S)


# ---- looking at the engine -----------------------------------------------------------------------------------------


async def check_engine(client: Client) -> None:
    """Refuse an engine that would lose work, and warn about one that could.

    Raises UnfitEngine; every message names the node and the remedy.
    """
    for name, node in await _nodes(client):
        info: dict[str, Any] = await node.execute_command("INFO")
        version = str(info.get("redis_version", "0.0"))
        policy = str(info.get("maxmemory_policy", "unknown"))
        clustered = bool(info.get("cluster_enabled"))
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_ENGINE:
            raise UnfitEngine(
                f"{name} speaks Redis {version}.",
                hint=f"Use Valkey, or Redis {'.'.join(map(str, OLDEST_ENGINE))} or newer.",
            )
        if policy != "noeviction":
            raise UnfitEngine(
                f"{name} has maxmemory-policy {policy}, so it would drop tasks when its memory is full.",
                hint="Run CONFIG SET maxmemory-policy noeviction, and write it into the engine's configuration file.",
            )
        if clustered != isinstance(client, RedisCluster):
            raise UnfitEngine(
                f"{name} is {'a' if clustered else 'not a'} cluster node, which redis.mode contradicts.",
                hint=f"Set redis.mode to {'cluster' if clustered else 'standalone or sentinel'}.",
            )
        if not info.get("aof_enabled"):
            log.warning("engine.no_aof", node=name, risk="a restart loses the work since the last snapshot")


async def memory_used(client: Client) -> float:
    """The share of maxmemory that is in use, at the fullest primary; 0.0 where there is no limit."""
    shares = [0.0]
    for _name, node in await _nodes(client):
        info: dict[str, Any] = await node.execute_command("INFO", "memory")
        limit = int(info.get("maxmemory", 0))
        if limit:
            shares.append(int(info["used_memory"]) / limit)
    return max(shares)


async def key_count(client: Client) -> int:
    """How many keys there are, on all nodes."""
    if not isinstance(client, RedisCluster):
        return int(await client.dbsize())
    answer: Any = await client.dbsize(target_nodes=RedisCluster.PRIMARIES)
    return sum(answer.values()) if isinstance(answer, dict) else int(answer)


async def _nodes(client: Client) -> list[tuple[str, Any]]:
    if isinstance(client, RedisCluster):
        await client.initialize()
        return [(node.name, node) for node in client.get_primaries()]
    return [("the engine", client)]
