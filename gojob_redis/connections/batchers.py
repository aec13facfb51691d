"""Group commit for the gateway: one batcher per (verb, partition, durability level), made when it is first needed.

What waits for a replica or a disk never travels with what does not: a namespace pays for its own level only. Only
a reply that does not wait brings hints: those of the others come by the inbox, as soon as they are there.

Renewals and starts are built when their call is sent, not when they were put: a renewal then carries the true age and
the newest capacity, and a start that its report has overtaken is left out (see ``session.py``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gojob_redis import match, task
from gojob_redis.connections.batcher import QUEUE_ITEMS, Batcher
from gojob_redis.connections.session import HeldStart, Session
from gojob_redis.control.namespaces import Levels
from gojob_redis.domain import verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.durability import Level
from gojob_redis.engine.partitions import Partition, Partitions

RENEWALS: Final = 50_000
"""Two of every session a gateway may have: a lease must not end because others wait before it."""
FLIGHTS: Final = 2
"""Calls of a verb under way where one does not have to follow the other."""
CLOSING_PAUSE_S: Final = 1.0
ITEM_BYTES: Final = 200
"""About what an item takes besides its payload."""


@dataclass(slots=True)
class Batchers:
    """The batchers of one gateway.

    clock: monotonic, in seconds.
    deliver: takes the hints for this gateway that came with a reply of a partition, as the engine wrote them.
    """

    space: Partitions
    gateway: str
    clock: Callable[[], float]
    deliver: Callable[[Partition, Sequence[bytes]], None]
    levels: Levels = field(init=False)
    _batchers: dict[tuple[str, Partition, Level], Batcher[Any, Any]] = field(default_factory=dict)
    _closed: bool = False

    def __post_init__(self) -> None:
        self.levels = Levels(self.space)

    def enlist(self, partition: Partition) -> Batcher[verbs.Enlistment, verbs.EnlistWord]:
        return self._batcher("enlist", partition, self._enlist)

    def renew(self, partition: Partition) -> Batcher[Session, verbs.RenewWord]:
        """Takes sessions. A call lasts 2 s at most; it answers ok | differs | moved | lost."""
        return self._batcher("renew", partition, self._renew, queue_items=RENEWALS)

    def leave(self, partition: Partition) -> Batcher[verbs.LeaveItem, verbs.LeaveWord]:
        return self._batcher("leave", partition, self._leave)

    def start(self, partition: Partition, level: Level = Level.FAST) -> Batcher[HeldStart, verbs.StartWord]:
        """Takes held starts; one that a report overtook is answered ``late`` without a call."""
        return self._batcher("start", partition, _start, level)

    def report(self, partition: Partition, level: Level = Level.FAST) -> Batcher[verbs.Report, verbs.ReportWord]:
        return self._batcher("report", partition, self._report, level, flights=FLIGHTS)

    def release(self, partition: Partition) -> Batcher[verbs.Release, verbs.ReleaseWord]:
        return self._batcher("release", partition, task.release)

    def acknowledge(self, partition: Partition) -> Batcher[verbs.Heard, verbs.AcknowledgeWord]:
        return self._batcher("acknowledge", partition, task.acknowledge)

    def note(self, partition: Partition) -> Batcher[verbs.Note, verbs.NoteWord]:
        return self._batcher("note", partition, task.note)

    def submit(self, partition: Partition, level: Level = Level.FAST) -> Batcher[verbs.Submission, verbs.Submitted]:
        return self._batcher("submit", partition, self._submit, level, flights=FLIGHTS)

    async def close(self) -> None:
        """Refuse new items and send all that were accepted."""
        self._closed = True
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))

    def counters_of_calls(self) -> list[tuple[str, int, int, int, int]]:
        """For the metrics: verb, partition, calls, items sent, items waiting."""
        return [
            (verb, partition.number, batcher.calls, batcher.sent, batcher.queued)
            for (verb, partition, _level), batcher in self._batchers.items()
        ]

    async def _enlist(
        self, partition: Partition, enlistments: Sequence[verbs.Enlistment]
    ) -> Sequence[verbs.EnlistWord]:
        return await match.enlist(partition, enlistments, self.levels.written({one.app for one in enlistments}))

    async def _leave(self, partition: Partition, sessions: Sequence[verbs.LeaveItem]) -> Sequence[verbs.LeaveWord]:
        return await match.leave(partition, self.gateway, sessions)

    async def _renew(self, partition: Partition, sessions: Sequence[Session]) -> Sequence[verbs.RenewWord]:
        now = self.clock()
        return await match.renew(partition, self.gateway, [session.renewal(now) for session in sessions])

    async def _report(
        self, partition: Partition, reports: Sequence[verbs.Report], level: Level = Level.FAST
    ) -> Sequence[verbs.ReportWord]:
        reply = await task.report(partition, reports, level, reply_to=self._reply_to(level))
        await self._hand_on(partition, reply, level)
        return reply.words

    async def _submit(
        self, partition: Partition, submissions: Sequence[verbs.Submission], level: Level = Level.FAST
    ) -> Sequence[verbs.Submitted]:
        may_have = self.levels.written({one.app for one in submissions})
        reply = await task.submit(partition, submissions, level, reply_to=self._reply_to(level), may_have=may_have)
        await self._hand_on(partition, reply, level)
        return reply.each

    def _reply_to(self, level: Level) -> str:
        """Which gateway gets hints with the reply: none where the reply waits."""
        return self.gateway if level is Level.FAST else ""

    async def _hand_on(self, partition: Partition, reply: verbs.ReportReply | verbs.SubmitReply, level: Level) -> None:
        """Hand on the hints that came with a reply, and only then bind what the call left."""
        if self._reply_to(level):
            self.deliver(partition, reply.hints)
            if reply.status == "more":
                await partition.match_rest()

    def _batcher(
        self,
        verb: str,
        partition: Partition,
        call: Callable[..., Awaitable[Sequence[Any]]],
        level: Level = Level.FAST,
        queue_items: int = QUEUE_ITEMS,
        flights: int = 1,
    ) -> Batcher[Any, Any]:
        batcher = self._batchers.get((verb, partition, level))
        if batcher is None:
            if self._closed:
                raise Unavailable("This gateway is closing.", CLOSING_PAUSE_S, code="closing")
            more = () if level is Level.FAST else (level,)
            name = " ".join([*(one.value for one in more), f"{verb} in partition {partition.number}"])
            batcher = Batcher(
                lambda items: call(partition, items, *more),
                name,
                queue_items=queue_items,
                flights=flights,
            )
            self._batchers[verb, partition, level] = batcher
        return batcher


async def _start(partition: Partition, starts: Sequence[HeldStart], level: Level = Level.FAST) -> list[verbs.StartWord]:
    unreported = [held_start for held_start in starts if not held_start.reported]
    words = await task.start(partition, [held_start.start for held_start in unreported], level) if unreported else []
    recorded = dict(zip(map(id, unreported), words, strict=True))
    return [recorded.get(id(held_start), "late") for held_start in starts]
