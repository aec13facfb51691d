"""The scrubber: walks the whole keyspace, slowly, and mends what records and indexes do not agree about.

1. ``SCAN`` gives names; each is looked at in ``lua/scrub.lua``, where look and mend are one script. Nothing is decided
   here, so a name that is old by the time it is looked at costs a look and nothing else.
2. Records are the truth: an index entry without its record goes, a record that no index names is put back, and what
   hangs on a record that is gone goes with it. Each mend leaves an event ``mended``; one in health is a bug of ours.
3. It is slow on purpose: every key once in ten minutes, 100 names a pass in two calls, and a page of a large index
   every 20 ms.
   From the first thing it mends, the walk and the one that follows go at full speed, since damage comes in company.
   ``whole`` walks at once.
4. A script fails on an index that became another type. The batch is halved down to the one name that fails, which is
   left to the next walk: by then the index's own turn has come, and it was made anew.
5. Every replica walks, and looks at the partitions it is preferred for. Keys of other systems on the same engine are
   passed over; a key under one of our tags that no entry of the catalogue owns is told and left alone.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache
from typing import Any

import structlog

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.verbs import Look
from gojob_redis.engine.client import key_count
from gojob_redis.engine.keys import CATALOGUE, Key, owner_of
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.scripts import ScriptFailed

log = structlog.get_logger()

NAMES = limits.BATCH_ITEMS
"""Names looked at in one pass."""
CALLS = NAMES // limits.SCRUB_NAMES
"""Calls of one partition in one pass at most. What is left of a large index is left to the next."""
HURRIED_CALLS = 20 * CALLS
"""The same in a walk in a hurry."""
FASTEST_S, SLOWEST_S = 0.02, 5.0

EVENT_LOGS = frozenset({"events", "app_events", "event_counts", "event_apps", "faults"})
PASSED_OVER = frozenset({"meta", "alarms", "audits", "gateways", "handler", "removals", "removed", "wake"}) | EVENT_LOGS
"""Kinds that need no look: one per partition, trimmed when written, or looked at from their other side."""


@lru_cache
def _kinds() -> dict[str, Key]:
    """Entries of partitions by the first word of their names."""
    return {entry.pattern.partition(":")[0]: entry for entry in CATALOGUE.values() if entry.scope == "partition"}


def look_at(name: str) -> Look | None:
    """What a name below a partition's prefix has to be looked at for; None for what is passed over."""
    word, _, rest = name.partition(":")
    entry = _kinds().get(word)
    if entry is None or owner_of(b"{p}:" + name.encode("utf-8", "surrogateescape")) is None:
        return Look("unknown", "", "", "", name, "0")
    if entry.name in PASSED_OVER:
        return None
    one, _, two = rest.partition("|") if len(entry.params) == 2 else (rest, "", "")
    return Look(entry.name, entry.type, one, two, name, "0")


class Scrub:
    """Looks at 100 names a pass.

    prefers: whether this replica is the preferred one of a partition; the others' keys are left to them.
    whole_ms: the time in which every key is looked at once.
    """

    def __init__(
        self,
        space: Partitions,
        *,
        prefers: Callable[[Partition], bool] = lambda _partition: True,
        whole_ms: int = limits.SCRUB_WHOLE_MS,
    ) -> None:
        self.space = space
        self.prefers = prefers
        self.whole_ms = whole_ms
        self.looked = 0
        self.mended = 0
        self.rounds = 0
        """How often the whole keyspace was walked."""
        self._mended_before = 0
        self._hurry = False
        self._names: AsyncIterator[bytes] | None = None
        self._left: dict[Partition, deque[Look]] = {}
        self.keys = 0
        """Names in the whole keyspace when the present walk began."""
        self._partitions = {partition.prefix.encode(): partition for partition in space}

    async def run_once(self) -> float:
        """Look at the next names; returns the seconds until the next pass."""
        client: Any = self.space.clients.admin
        if self._names is None:
            self.keys = await key_count(client)
            await self._have_compiled()
            self._names = client.scan_iter(count=NAMES)
        ended = False
        if self._hurry or not self._left:
            try:
                ended = await self._take()
            except BaseException:
                self._names = None  # the walk begins anew: an engine that was away may be another one now
                raise
        for partition in list(self._left):
            await self._look(partition)
        if ended:
            self.rounds += 1
            self._names = None
            self._hurry = self.mended > self._mended_before
            self._mended_before = self.mended
        self._hurry |= self.mended > self._mended_before
        if self._left or self._hurry:
            return FASTEST_S
        return min(SLOWEST_S, max(FASTEST_S, self.whole_ms / 1000 * NAMES / max(1, self.keys)))

    async def whole(self) -> int:
        """Walk the whole keyspace once, now; returns how much was mended."""
        mended, goal = self.mended, self.rounds + 1 + (self._names is not None)
        while self.rounds < goal or self._left:
            await self.run_once()
            await asyncio.sleep(0)
        return self.mended - mended

    async def _have_compiled(self) -> None:
        """Have the engine compile the script in calls with nothing to look at: that takes as long as a call may."""
        preferred = [partition for partition in self.space if self.prefers(partition)]
        await self.space.call_in(preferred, verbs.scrub([], limit=0))

    async def _take(self) -> bool:
        """Take the next names from the walk; True when it ended."""
        assert self._names is not None
        for _ in range(NAMES):
            name = await anext(self._names, None)
            if name is None:
                return True
            self._note(name)
        return False

    def _note(self, name: bytes) -> None:
        at = name.find(b":") + 1
        partition = self._partitions.get(name[:at])
        if partition is None or not self.prefers(partition):
            return
        look = look_at(name[at:].decode("utf-8", "surrogateescape"))
        if look is not None:
            self._left.setdefault(partition, deque()).append(look)

    async def _look(self, partition: Partition) -> None:
        """Look at what was noted in one partition; large indexes page by page."""
        left = self._left[partition]
        once_each = math.ceil(len(left) / limits.SCRUB_NAMES)
        for _ in range(HURRIED_CALLS if self._hurry else min(once_each, CALLS)):
            batch = [left.popleft() for _ in range(min(len(left), limits.SCRUB_NAMES))]
            left.extend(await self._call(partition, batch))
            if not left:
                break
        if not left:
            del self._left[partition]

    async def _call(self, partition: Partition, batch: Sequence[Look]) -> list[Look]:
        items = [Look._make(part.encode("utf-8", "surrogateescape") for part in look) for look in batch]
        try:
            reply = await partition.call(verbs.scrub(items, limit=limits.SCRUB_MEMBERS))
        except ScriptFailed as error:
            if len(batch) == 1:
                log.warning("scrub.failed", partition=partition.number, key=batch[0].name, error=str(error))
                self.mended += 1  # so that the next walk comes soon
                return []
            half = len(batch) // 2
            return [*await self._call(partition, batch[:half]), *await self._call(partition, batch[half:])]
        self.looked += len(batch)
        self.mended += reply.mends
        if reply.mends:
            log.warning("scrub.mended", partition=partition.number, mended=reply.mends)
        looks = zip(batch, reply.cursors, strict=True)
        return [look._replace(cursor=cursor) for look, cursor in looks if cursor != "done"]
