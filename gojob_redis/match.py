"""Matching: sessions announce seats, lanes hold tasks, and Lua binds the two where both meet.

1. ``enlist`` registers a session with its group: what the worker group serves, under which labels. From then on it
   waits for work, emptiest first.
2. Every verb that adds work or frees a seat binds in the same call; there is no loop that looks for pairs. ``match``
   is the rest of a call that stopped at its bound, and the repair of what should never be needed.
3. ``renew`` keeps a session alive and carries its capacity; ``resume`` gives it a new home or compares its seats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gojob_redis.domain import items, limits
from gojob_redis.engine.client import ANSWER_S, RENEW_S, REPEAT_S
from gojob_redis.engine.durability import Level
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions, words
from gojob_redis.runtime.failure_log import FailureLog

REPAIR_S = 1.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """Whether a session came home: ``ok``, ``lost`` (it is over), ``moved`` or ``foreign`` (not this holder's)."""

    word: str
    conn: int
    verdicts: tuple[str, ...]
    """keep | fenced | gone, one per run in the order they were given."""


async def enlist(
    space: Partitions, partition: int, enlistments: Sequence[items.Enlistment], may_have: str = ""
) -> list[str]:
    """Register sessions: one word each, ok | worker_groups_full | handlers_full; ``more`` wants the same call again.

    may_have: the quotas of namespaces, as scripts read them; "" = the usual ones. Source: lua/enlist.lua.

    A group that serves many handlers is opened to their lanes piece by piece; it counts as known when all are open.
    """
    return words(await space.call_and_match("enlist", partition, enlistments, quotas=may_have))


async def renew(space: Partitions, partition: int, gateway: str, renewals: Sequence[items.Renewal]) -> list[str]:
    """Keep sessions alive: one word each, ok | differs | moved | lost.

    Raises Unavailable after 2 s: a renewal that is late is worth less than the next one. Source: lua/renew.lua.
    """
    return words(await space.call_and_match("renew", partition, renewals, within_s=RENEW_S, gateway=gateway))


async def resume(
    space: Partitions,
    partition: int,
    *,
    session: str,
    app: str,
    holder: str,
    gateway: str,
    conn: int,
    capacity: int,
    held: Sequence[items.HeldRun],
) -> Resumed:
    """Bring a session home (``conn`` 0), or compare its seats with the worker's list. Source: lua/resume.lua.

    The list goes in pieces, so that no call is long: what only the engine has is told by the first, and follows at the
    end.
    """
    pieces = _pieces(held) or [[]]
    verdicts: list[str] = []
    compare = 1
    for piece in pieces:
        reply = await space.call_and_match(
            "resume",
            partition,
            piece,
            session=session,
            app=app,
            holder=holder,
            gateway=gateway,
            conn=conn,
            capacity=capacity,
            compare=compare,
        )
        word = reply[0].decode()
        if word not in ("ok", "more"):
            return Resumed(word, 0, ())
        if compare:
            pieces += _pieces(_unlisted(reply[2], held))
        verdicts += [verdict.decode() for verdict in reply[3:]]
        conn, compare = int(reply[1]), 0
    return Resumed("ok", conn, tuple(verdicts[: len(held)]))


def _pieces(runs: Sequence[items.HeldRun]) -> list[Sequence[items.HeldRun]]:
    return [runs[first : first + limits.BATCH_ITEMS] for first in range(0, len(runs), limits.BATCH_ITEMS)]


def _unlisted(seats: bytes, held: Sequence[items.HeldRun]) -> list[items.HeldRun]:
    """The seats (``run@attempt``, by blanks) of which the worker says nothing."""
    listed = {f"{run.run}@{run.attempt}" for run in held}
    parts = [seat.rpartition("@") for seat in seats.decode("utf-8", "surrogateescape").split() if seat not in listed]
    return [items.HeldRun(run, int(attempt), "", items.UNLISTED) for run, _, attempt in parts]


async def leave(space: Partitions, partition: int, gateway: str, sessions: Sequence[tuple[str, int]]) -> list[str]:
    """End sessions that said goodbye: one word each, ok | moved | gone; ``more`` wants the same call again."""
    return words(await space.call_and_match("leave", partition, sessions, gateway=gateway))


async def pause(
    space: Partitions, partition: int, handlers: Sequence[tuple[str, int]], level: Level = Level.FAST
) -> list[str]:
    """Pause handlers (1) or let them go on (0): ok | already. Source: lua/pause.lua."""
    return words(await space.call_and_match("pause", partition, handlers, within_s=ANSWER_S, level=level))


async def match(
    space: Partitions, partition: int, *, cursor: str = "0", repair: bool = False, within_s: float = REPEAT_S
) -> tuple[bool, str, int]:
    """Bind what can be bound in one page of groups: whether more is left, the next cursor, how many were bound."""
    reply = await space.call("match", partition, cursor=cursor, repair=int(repair), within_s=within_s)
    return reply[0] == b"more", reply[1].decode(), int(reply[2])


class Repair:
    """Binds lost wake-ups, one page of groups per partition and pass; each leaves an event."""

    def __init__(self, space: Partitions, *, failures: FailureLog | None = None) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.repaired = 0
        self._cursors = ["0"] * space.count

    async def run_once(self) -> float | None:
        """Look at the next page of groups everywhere; returns None for the usual interval."""
        by_cursor: dict[str, list[int]] = {}
        for partition in await self.space.holding(K.groups):
            by_cursor.setdefault(self._cursors[partition], []).append(partition)
        for cursor, partitions in by_cursor.items():
            replies = await self.space.call_in(partitions, "match", cursor=cursor, repair=1)
            for partition, reply in zip(partitions, replies, strict=True):
                if isinstance(reply, Exception):
                    self.failures.failed("match", partition, reply)
                    continue
                self.failures.went_well("match", partition)
                self._cursors[partition] = reply[1].decode()
                self.repaired += int(reply[2])
        return None
