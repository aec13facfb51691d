"""Hints on their way from the engine to the sockets: read, completed, delivered, or given back.

They come with the replies to our own submissions and reports, and by the inboxes. Each is handed to the connection that
it is meant for (``registry.py``); an assignment whose session is not here any more is given back.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import groupby
from typing import Final

from gojob_redis import relay
from gojob_redis.connections.batchers import ITEM_BYTES, Batchers
from gojob_redis.connections.counters import Counters
from gojob_redis.connections.large_params import Payloads
from gojob_redis.connections.registry import Registry
from gojob_redis.domain import verbs
from gojob_redis.domain.address import app_of
from gojob_redis.domain.hints import Assignment, Hint
from gojob_redis.engine.errors import TROUBLE, EngineError, tell
from gojob_redis.engine.partitions import Partition, Partitions

READ_PAUSE_S: Final = 0.1
FETCHES: Final = 4
"""Round trips for large parameters at the same time; further ones wait, with no more than their assignments."""


class Delivery:
    """Hands hints to the connections of one gateway."""

    def __init__(
        self,
        space: Partitions,
        gateway: str,
        registry: Registry,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.space = space
        self.registry = registry
        self.counters = counters
        self.batchers = Batchers(space, gateway, clock, self._hand_on)
        self.payloads = Payloads(clock)
        self.tasks: asyncio.TaskGroup | None = None
        """Where work beside the loops runs; None while the gateway does not."""
        self._fetching = asyncio.Semaphore(FETCHES)

    async def read(self, inbox: relay.Inbox) -> float:
        """Read the inboxes once and hand everything on; returns the pause before the next read."""
        outage = self.space.clients.outage
        try:
            read = await inbox.read()
        except (EngineError, OSError) as error:
            if not outage.failed(id(inbox), error):
                raise
            return READ_PAUSE_S  # reading again is safe, and the loop's growing pause would cost too much afterwards
        outage.worked(id(inbox))
        for partition, hints in read:
            self.dispatch(partition, hints)
        return 0.0

    def _hand_on(self, partition: Partition, values: Sequence[bytes]) -> None:
        """Hand on what came with the reply to a call of our own."""
        self.dispatch(partition, relay.hints(values))

    def dispatch(self, partition: Partition, hints: Iterable[Hint]) -> None:
        """Hand hints on; those with a large parameter follow when it was fetched."""
        large: list[Assignment] = []
        homeless: list[Assignment] = []
        for hint in hints:
            if isinstance(hint, Assignment) and hint.fetch:
                large.append(hint)
            elif not self.registry.deliver(hint) and isinstance(hint, Assignment):
                homeless.append(hint)
        if large:
            self._spawn(self._fetch(partition, large))
        if homeless:
            self._spawn(self.give_back(partition, homeless))

    async def _fetch(self, partition: Partition, assignments: Sequence[Assignment]) -> None:
        """Complete assignments and hand them on; what cannot be had now comes back after the accept limit."""
        try:
            async with self._fetching:
                complete = await self.payloads.complete(partition, assignments)
        except TROUBLE as error:
            tell("payload.not_fetched", error, partition=partition.number, count=len(assignments))
            return
        await self.give_back(partition, [hint for hint in complete if not self.registry.deliver(hint)])

    async def give_back(self, partition: Partition, unwritten: Sequence[Assignment]) -> None:
        """Hand back what was never written to a socket, unless its session is at home elsewhere by now."""
        self.counters.unwritten += len(unwritten)
        for app, hints in groupby(unwritten, lambda hint: app_of(hint.handler)):
            releases = [
                verbs.Release(hint.session, hint.run, hint.attempt, hint.fence, "unwritten", hint.conn)
                for hint in hints
            ]
            sizes = [ITEM_BYTES] * len(releases)
            try:
                await self.batchers.release(partition).put_many(releases, tenant=app, sizes=sizes)
            except TROUBLE as error:
                tell("release.failed", error, partition=partition.number, count=len(releases))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something beside the loop that asked for it; it handles its own failures."""
        if self.tasks is None:
            work.close()
        else:
            self.tasks.create_task(work)
