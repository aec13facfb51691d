"""Connections to the primary that sentinels watch, and to no engine that was one.

redis-py asks the sentinels when it opens a connection, and never again. That leaves two ways to a former primary, which
takes writes for ten seconds and more after it thawed, until the sentinels have made it a replica and all of them are
lost: a connection that was not in use while it was frozen, and one that was opened before the failover and answered
after it. So the sentinels are asked

1. again once a new connection has been answered,
2. before a connection is handed out, if that was ``ASK_EVERY_S`` ago: one that leads elsewhere is opened anew; and
3. all at once: the word of the newest configuration counts. One that has not heard of a failover names the former
   primary for up to two seconds more.

Sentinels that do not answer change nothing, and hold nobody up: an installation outlives the loss of all of them.
"""

import asyncio
import time
from functools import lru_cache
from typing import Any

from redis.asyncio import BlockingConnectionPool, SentinelConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError

ASK_EVERY_S = 0.5
TOGETHER_S = 0.02
"""How long the first answer waits for the others: one sentinel whose host is gone must not hold up every call."""
PATIENCE_S = 0.5
"""How long a call waits for any answer before it goes where it went before."""


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Hands out connections to the primary of today; waits when it is exhausted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        kind: Any = self.connection_class
        self.connection_class = _verified(kind)
        self._asked_at = 0.0
        self._asking = asyncio.Lock()

    async def get_connection(self, *args: Any, **options: Any) -> AbstractConnection:
        """As redis-py's, to the primary. Raises what it raises."""
        await self._stay_informed()
        connection: Any = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
        if (connection.host, connection.port) != self.master_address:
            try:
                await connection.disconnect()
                await connection.connect()
            except BaseException:
                await self.release(connection)
                raise
        return connection  # type: ignore[no-any-return]

    async def get_master_address(self) -> tuple[str, int]:
        """Where the primary is. Raises MasterNotFoundError while no sentinel names one that is up."""
        states = await self._states()
        newest = max((state["config-epoch"] for state in states), default=0)
        for state in states:
            if state["config-epoch"] == newest and self.sentinel_manager.check_master_state(state, self.service_name):
                address = (state["ip"], state["port"])
                if self.master_address != address:
                    self.master_address = address
                    await self.disconnect(inuse_connections=False)
                return address
        raise MasterNotFoundError(f"No sentinel names a primary of {self.service_name!r} that is up.")

    async def _states(self) -> list[dict[str, Any]]:
        """What those sentinels know that answer within ``TOGETHER_S``, or else the first that does."""
        asked = [asyncio.ensure_future(each.sentinel_masters()) for each in self.sentinel_manager.sentinels]
        try:
            await asyncio.wait(asked, timeout=TOGETHER_S)
            while not (answers := [each for each in asked if each.done() and not each.exception()]):
                waiting = [each for each in asked if not each.done()]
                if not waiting:
                    break
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)  # what they raised is nobody's any more
        return [state for each in answers if (state := each.result().get(self.service_name))]

    async def _stay_informed(self) -> None:
        """Ask where the primary is, unless that was done just now; calls that come together ask once."""
        async with self._asking:
            if time.monotonic() - self._asked_at < ASK_EVERY_S:
                return
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.get_master_address()
            except (TimeoutError, RedisError, OSError):
                pass  # nobody knows better than we do
            self._asked_at = time.monotonic()

    async def aclose(self) -> None:
        """Close the connections, those to the sentinels too."""
        await super().aclose()
        await self.sentinel_manager.aclose()


class _Verified:
    """Goes before a connection class of redis-py that sentinels manage."""

    async def connect_to(self: Any, address: tuple[str, int]) -> None:
        """Connect, and ask once more: an engine that answers late may be the primary no more."""
        await super().connect_to(address)  # type: ignore[misc]
        if await self.connection_pool.get_master_address() != address:
            await self.disconnect()
            raise NotConnected(f"{address[0]}:{address[1]} was the primary when it was asked, and is it no more")


@lru_cache
def _verified(connection: type[Any]) -> type[Any]:
    return type(f"Verified{connection.__name__}", (_Verified, connection), {})
