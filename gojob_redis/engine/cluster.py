"""redis-py's cluster client, without the habits that turn one node's trouble into everybody's.

1. redis-py refreshes its map of the cluster only after single commands; a pipeline that meets a dead node raises as a
   whole and learns nothing. Here ``round_trip`` asks each node for itself: what one of them raised stands in the place
   of its own answers, and any failed connection makes the next call read the map anew.
2. redis-py closes every connection, also those others are using, when a slot is not served or moved for the fifth
   time. Here a redirection is followed and the map corrected, nothing else; what has to wait is told to the caller,
   who repeats (``client.repeat``). Its RedisClusterException is no RedisError; here it is a ConnectionError.
3. redis-py sends ASKING on one connection and the command on the next free one. Here both go out together.
4. redis-py raises when a node has no free connection. Here the caller waits, as it does on one engine.
5. A map is read at most every 250 ms, however many calls fail, and from any node that answers, not from the one that
   just failed. redis-py also asks the first primary for its command table, and gives up when that one is dead.
6. A frozen node closes no connection. While a call is under way for longer than it should take, the map is read again
   and again; once another node has taken over, the connections to the old one are closed, and their calls repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import Any, Final

from redis._parsers import AsyncCommandsParser
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import TimeoutError as NoAnswer

REDIRECTS: Final = 8
REFRESH_S: Final = 0.25
SPARE: Final = 2
"""A node may have this many times the connections that calls may take: redirected calls come on top."""
UNROUTED: Final = (AttributeError, LookupError, TypeError)
"""What redis-py raises when its map has no node for a slot or an address."""

_FIRST_KEY = """
    GET SET DEL TYPE HGET HGETALL HMGET HSET HSETNX HDEL HEXISTS HLEN HKEYS LRANGE SMEMBERS SCARD SISMEMBER
    ZADD ZCARD ZRANGE ZRANGEBYSCORE ZREM ZREMRANGEBYSCORE ZSCAN ZSCORE XADD XLEN XRANGE XREVRANGE XTRIM
"""
FIRST_KEY: Final = frozenset(_FIRST_KEY.split())
"""Commands whose only key is their first argument."""

DOUBTS: Final = (ConnectionError, NoAnswer, OSError, ClusterDownError)
"""What a call raises when its node is not where the map says, or not there at all."""

Command = Sequence[Any]


def key_of(args: Command) -> Any:
    """The key that decides where a command of ours goes; None for a command redis-py has to place."""
    command = args[0]
    if command in ("EVALSHA", "EVAL"):
        return args[3]
    if command in FIRST_KEY:
        return args[1]
    if command == "XREAD":
        return args[args.index("STREAMS") + 1]
    return None


class ClusterClient(RedisCluster):
    """A client for a cluster.

    max_connections: how many calls may be under way at one node.  pool_wait_s: how long a call waits for its turn.
    patience_s: how long a call takes in health, at most.
    """

    def __init__(
        self, *, max_connections: int, pool_wait_s: float = 5.0, patience_s: float = 0.5, **options: Any
    ) -> None:
        super().__init__(
            max_connections=SPARE * max_connections, reinitialize_steps=0, require_full_coverage=False, **options
        )
        self.commands_parser = _LazyParser()
        self._connections = max_connections
        self._pool_wait_s = pool_wait_s
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._failed: str | None = None
        self._read_at = float("-inf")
        self._patience_s = patience_s
        self._under_way: dict[object, tuple[float, ClusterNode]] = {}
        self._watch: asyncio.Task[None] | None = None

    # --- the map --------------------------------------------------------------------------------------------------

    async def initialize(self, *_: Any, **__: Any) -> "ClusterClient":
        """Read the map, if it is doubted and was not read just now; raises ConnectionError when no node answers."""
        if not self._initialize or (self.get_default_node() and monotonic() - self._read_at < REFRESH_S):
            return self
        self._read_at = monotonic()
        primaries = self.get_primaries()
        try:
            await super().initialize(last_failed_node_name=self._failed)
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error
        still = {node.name for node in self.get_primaries()}
        await asyncio.gather(*(node.disconnect() for node in primaries if node.name not in still))
        return self

    async def aclose(self) -> None:
        """Close all connections."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
            self._watch = None
        self._initialize = True  # redis-py leaves the connections open when the map is doubted
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")

    async def _watch_calls(self) -> None:
        """Doubt the map while a call takes too long; ends when none is under way."""
        while self._under_way:
            await asyncio.sleep(self._patience_s / 2)
            began, node = next(iter(self._under_way.values()), (monotonic(), None))  # the oldest
            if monotonic() - began > self._patience_s:
                self.doubt(node)
                with suppress(RedisError, OSError):
                    await self.initialize()

    def doubt(self, failed: ClusterNode | None = None) -> None:
        """The map may be wrong: the next call reads it, and asks the node that failed last."""
        self._initialize = True
        if failed is not None:
            self._failed = failed.name

    def node_of(self, key: Any) -> ClusterNode:
        """The primary that serves a key's slot; raises ConnectionError when there is none."""
        slot = self.keyslot(key)
        nodes = self.nodes_manager.slots_cache.get(slot)
        if not nodes:
            self.doubt()
            raise ConnectionError(f"No node serves slot {slot}.")
        return nodes[0]

    # --- calls ----------------------------------------------------------------------------------------------------

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command at the primary of its key; one that redis-py has to place goes its way."""
        await self.initialize()
        key = None if "target_nodes" in kwargs else key_of(args)
        if key is not None:
            return await self._execute_command(self.node_of(key), *args, **kwargs)
        try:
            return await super().execute_command(*args, **kwargs)
        except RedisClusterException as error:
            raise ConnectionError(str(error)) from error

    async def round_trip(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands with one key each (their first argument), in one round trip per node.

        What one of them raised stands in its place.
        """
        await self.initialize()
        sent = [PipelineCommand(position, *command) for position, command in enumerate(commands)]
        shares: dict[ClusterNode, list[PipelineCommand]] = {}
        for one in sent:
            try:
                shares.setdefault(self.node_of(key_of(one.args) or one.args[1]), []).append(one)
            except ConnectionError as error:
                one.result = error
        await asyncio.gather(*(self._round_at(node, share) for node, share in shares.items()))
        return [one.result for one in sent]

    async def together(self, key: Any, commands: Sequence[Command]) -> list[Any]:
        """Run commands on one connection to the primary of a key; what one of them raised stands in its place.

        A redirection is raised, after the map was corrected: it must not be followed command by command.
        """
        await self.initialize()
        node = self.node_of(key)
        sent = [PipelineCommand(position, *command) for position, command in enumerate(commands)]
        with self._doubting(node):
            async with self._room(node):
                await node.execute_pipeline(sent)
        for one in sent:
            if isinstance(one.result, DOUBTS):
                self.doubt(node)
            elif isinstance(one.result, AskError):  # MovedError is one
                if isinstance(one.result, MovedError):
                    with self._doubting():
                        await self.nodes_manager.move_slot(one.result)
                raise one.result
        return [one.result for one in sent]

    async def _round_at(self, node: ClusterNode, share: list[PipelineCommand]) -> None:
        try:
            with self._doubting(node):
                async with self._room(node):
                    await node.execute_pipeline(share)
        except (RedisError, OSError, *UNROUTED) as error:
            for one in share:
                one.result = error
        for one in share:
            if isinstance(one.result, DOUBTS):
                self.doubt(node)
            elif isinstance(one.result, AskError):  # MovedError is one
                one.result = await self._redirected(node, one.args)

    async def _redirected(self, node: ClusterNode, args: Command) -> Any:
        try:
            return await self._execute_command(node, *args)
        except (RedisError, OSError, *UNROUTED) as error:
            return error

    async def _execute_command(self, target_node: ClusterNode, *args: Any, **kwargs: Any) -> Any:
        """One command at one node, and at those it is sent to from there."""
        node, asking = target_node, False
        for _ in range(REDIRECTS):
            try:
                with self._doubting(node):
                    async with self._room(node):
                        if asking:
                            return await _asking(node, args)
                        return await node.execute_command(*args, **kwargs)
            except MovedError as moved:
                with self._doubting():
                    await self.nodes_manager.move_slot(moved)
                    node, asking = self.nodes_manager.slots_cache[moved.slot_id][0], False
            except AskError as ask:
                node, asking = self._node_at(ask.host, ask.port), True
        raise ConnectionError(f"{args[0]} was redirected {REDIRECTS} times.")

    def _node_at(self, host: str, port: int) -> ClusterNode:
        """The node at this address, which may be new to us."""
        node = self.get_node(host, port)
        if node is None:
            node = ClusterNode(host, port, "primary", **self.connection_kwargs)
            self.nodes_manager.set_nodes(self.nodes_manager.nodes_cache, {node.name: node})
        return node

    @contextmanager
    def _doubting(self, node: ClusterNode | None = None) -> Iterator[None]:
        try:
            yield
        except (*DOUBTS, *UNROUTED):
            self.doubt(node)
            raise

    @asynccontextmanager
    async def _room(self, node: ClusterNode) -> AsyncIterator[None]:
        """One of the connections of a node; raises ConnectionError when none became free in time."""
        room = self._rooms.get(node.name)
        if room is None:
            room = self._rooms[node.name] = asyncio.Semaphore(self._connections)
        try:
            async with asyncio.timeout(self._pool_wait_s if room.locked() else None):
                await room.acquire()
        except TimeoutError as error:
            raise ConnectionError(f"All {self._connections} connections to {node.name} are busy.") from error
        call = object()
        self._under_way[call] = monotonic(), node
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_calls(), name="cluster watch")
        try:
            yield
        finally:
            del self._under_way[call]
            room.release()


class _LazyParser(AsyncCommandsParser):
    """Asks for the command table only when a command comes whose keys nobody here knows."""

    async def initialize(self, node: ClusterNode | None = None) -> None:
        if node is not None:
            self.node = node
        else:
            await super().initialize()


async def _asking(node: ClusterNode, args: Command) -> Any:
    """The command with ASKING before it, on one connection."""
    both = [PipelineCommand(0, "ASKING"), PipelineCommand(1, *args)]
    await node.execute_pipeline(both)
    for one in both:
        if isinstance(one.result, Exception):
            raise one.result
    return both[1].result
