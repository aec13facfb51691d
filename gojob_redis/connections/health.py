"""What a gateway does to keep its sessions alive, and how it notices that it or its engine is not.

1. Once a second ``tend`` stamps this gateway as heard, renews sessions that were heard but did not renew, tells workers
   to move when a partition did not answer for ``unreachable_s``, and cuts sockets that went silent.
2. ``recheck`` cuts the sockets of tokens that were revoked. ``look_for_emptiness`` visits every partition, also those
   without a session: an idle gateway notices an emptied engine, too.
"""

from collections.abc import Callable, Collection
from typing import Final

import structlog

from gojob_redis.connections.close import hang_up, restarting
from gojob_redis.connections.connection import Connection
from gojob_redis.connections.handshake import Identities
from gojob_redis.connections.registry import Registry
from gojob_redis.connections.session import Phase, Session
from gojob_redis.connections.settings import Bounds
from gojob_redis.domain import verbs
from gojob_redis.domain.errors import BrokenInvariant, Refused, Unavailable
from gojob_redis.engine.client import RENEW_S, repeat
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_sdk import protocol

log = structlog.get_logger()

UNREACHABLE_PAUSE_S: Final = 2.0
USED_S: Final = 60.0


class Health:
    """The partitions that one gateway uses, and the connections that it tends.  clock: monotonic, in seconds."""

    def __init__(
        self,
        space: Partitions,
        gateway: str,
        registry: Registry,
        identities: Identities,
        bounds: Bounds,
        clock: Callable[[], float],
    ) -> None:
        self.space = space
        self.gateway = gateway
        self.registry = registry
        self.identities = identities
        self.bounds = bounds
        self.clock = clock
        self.tended_at = 0.0
        self._heard: dict[Partition, float] = {}
        """When each partition in use answered last."""
        self._used: dict[Partition, float] = {}
        """When something was submitted to it last."""
        self._unreachable: set[Partition] = set()

    @property
    def is_cut_off(self) -> bool:
        """Whether no partition answers; one unreachable node of a cluster is no reason to send all workers away."""
        return bool(self._unreachable) and self._heard.keys() <= self._unreachable

    @property
    def _connections(self) -> Collection[Connection]:
        return self.registry.connections.values()

    def watch(self, partition: Partition) -> None:
        """Keep an eye on a partition from now on."""
        self._heard.setdefault(partition, self.clock())

    def use(self, partition: Partition) -> None:
        """Keep an eye on a partition that is used; raises Unavailable at once when it is known to be away."""
        now = self.clock()
        heard_at = self._heard.setdefault(partition, now)
        self._used[partition] = now
        if partition in self._unreachable:
            raise Unavailable(f"The engine has not answered for {now - heard_at:.0f} s.", UNREACHABLE_PAUSE_S)

    async def tend(self) -> None:
        """Once a second: see the module's head, 1."""
        now = self.clock()
        self._forget_partitions(now)
        self._look_for_unreachable(now)
        self.look_for_silence(now)
        for connection in self._connections:
            if self._is_late(connection.session, now):
                connection.exchange.renew_late()
        await self._stamp()

    def _forget_partitions(self, now: float) -> None:
        """Those without a session here, without a submission for a minute, and not known to be away."""
        self._used = {partition: at for partition, at in self._used.items() if now - at < USED_S}
        used = {connection.partition for connection in self._connections} | self._used.keys() | self._unreachable
        for partition in self._heard.keys() - used:
            del self._heard[partition]

    def _look_for_unreachable(self, now: float) -> None:
        """Tell the workers of a partition that does not answer to try another gateway: perhaps only we are cut off."""
        for partition, heard_at in self._heard.items():
            if partition not in self._unreachable and now - heard_at > self.bounds.unreachable_s:
                self._unreachable.add(partition)
                log.debug("partition.unreachable", partition=partition.number, seconds=round(now - heard_at, 1))
                for connection in self._connections:
                    if connection.partition is partition:
                        connection.ask_to_move("engine out of reach", 0)

    def look_for_silence(self, now: float) -> None:
        """Cut sockets whose lease is over; not when it was us who stood still."""
        paused = now - self.tended_at > 3 * self.bounds.stamp_s
        self.tended_at = now
        if paused:
            return
        for connection in self._connections:
            if now - connection.session.heard_at > self.bounds.lease_ms / 1000:
                connection.cut(restarting("The worker was not heard for as long as its lease lasts."))

    def _is_late(self, session: Session, now: float) -> bool:
        """Whether the worker was heard, but did not renew its session in time."""
        return (
            session.phase is Phase.LIVE
            and session.heard_at > session.renewed_at
            and now - session.renewed_at > self.bounds.renew_s + self.bounds.stamp_s
        )

    async def _stamp(self) -> None:
        """Show the engine that this gateway lives, wherever it has sessions."""
        partitions = list(self._heard)
        if not partitions:
            return
        try:
            replies = await repeat(
                lambda: self.space.call_in(partitions, verbs.renew([], gateway=self.gateway)), RENEW_S
            )
        except Unavailable:
            return
        now = self.clock()
        for partition, reply in zip(partitions, replies, strict=True):
            if isinstance(reply, BrokenInvariant):
                raise reply
            if not isinstance(reply, Exception) and partition in self._heard:
                self._heard[partition] = now
                self._unreachable.discard(partition)

    async def look_for_emptiness(self) -> None:
        """Raise BrokenInvariant where a partition lost its data."""
        for reply in await self.space.call_in(list(self.space), verbs.now()):
            if isinstance(reply, BrokenInvariant):
                raise reply

    async def recheck(self) -> None:
        """Cut the sockets of tokens that were revoked."""
        for key_id in {connection.key_id for connection in self._connections}:
            try:
                good = await self.identities.still_good(key_id)
            except Unavailable:
                continue
            if not good:
                self._cut_token(key_id)

    def _cut_token(self, key_id: str) -> None:
        why = Refused("bad_token", "The token was revoked or has expired.", protocol.CLOSE_BAD_TOKEN, "Use another.")
        for connection in self._connections:
            if connection.key_id == key_id:
                connection.cut(hang_up(why))
