"""Matching: sessions announce seats, lanes hold tasks, and Lua binds the two where both meet.

1. ``enlist`` registers a session with its group: what the worker group serves, under which labels. From then on it
   waits for work, emptiest first.
2. Every verb that adds work or frees a seat binds in the same call; there is no loop that looks for pairs. ``match``
   is the rest of a call that stopped at its bound, and the repair of what should never be needed.
3. ``renew`` keeps a session alive and carries its capacity; ``resume`` gives it a new home or compares its seats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gojob_redis.domain import limits, verbs
from gojob_redis.engine.client import ANSWER_S, RENEW_S
from gojob_redis.engine.durability import Level
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.failure_log import FailureLog

REPAIR_S = 1.0
UNLISTED = -1
"""``started`` of a run that the engine has bound to the session, and of which its worker says nothing."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Whether a session came home: ``ok``, ``lost`` (it is over), ``moved`` or ``foreign`` (not this holder's)."""

    word: str
    conn: int
    verdicts: tuple[str, ...]
    """keep | fenced | gone, one per run in the order they were given."""


async def enlist(
    partition: Partition, enlistments: Sequence[verbs.Enlistment], may_have: str = ""
) -> list[verbs.EnlistWord]:
    """Register sessions; ``more`` wants the same call again.

    may_have: the quotas of namespaces, as scripts read them; "" = the usual ones.

    A group that serves many handlers is opened to their lanes piece by piece; it counts as known when all are open.
    """
    return (await partition.call(verbs.enlist(enlistments, quotas=may_have))).words


async def renew(partition: Partition, gateway: str, renewals: Sequence[verbs.Renewal]) -> list[verbs.RenewWord]:
    """Keep sessions alive.

    Raises Unavailable after 2 s: a renewal that is late is worth less than the next one.
    """
    return (await partition.call(verbs.renew(renewals, gateway=gateway), within_s=RENEW_S)).words


async def resume(
    partition: Partition,
    *,
    session: str,
    app: str,
    holder: str,
    gateway: str,
    conn: int,
    capacity: int,
    runs: Sequence[verbs.HeldRun],
) -> Resumed:
    """Bring a session home (``conn`` 0), or compare its seats with the worker's list. Source: lua/resume.lua.

    The list goes in pieces, so that no call is long: what only the engine has is told by the first, and follows at the
    end.
    """
    pieces = _pieces(runs) or [[]]
    verdicts: list[str] = []
    compare = 1
    for piece in pieces:
        call = verbs.resume(
            piece,
            session=session,
            app=app,
            holder=holder,
            gateway=gateway,
            conn=conn,
            capacity=capacity,
            compare=compare,
        )
        reply = await partition.call(call)
        if reply.status not in ("ok", "more"):
            return Resumed(reply.status, 0, ())
        if compare:
            pieces += _pieces(_unlisted(reply.unlisted, runs))
        verdicts += reply.words
        conn, compare = reply.conn, 0
    return Resumed("ok", conn, tuple(verdicts[: len(runs)]))


def _pieces(runs: Sequence[verbs.HeldRun]) -> list[Sequence[verbs.HeldRun]]:
    return [runs[first : first + limits.BATCH_ITEMS] for first in range(0, len(runs), limits.BATCH_ITEMS)]


def _unlisted(seats: str, runs: Sequence[verbs.HeldRun]) -> list[verbs.HeldRun]:
    """The seats (``run@attempt``, by blanks) of which the worker says nothing."""
    listed = {f"{run.run}@{run.attempt}" for run in runs}
    parts = [seat.rpartition("@") for seat in seats.split() if seat not in listed]
    return [verbs.HeldRun(run, int(attempt), "", UNLISTED) for run, _, attempt in parts]


async def leave(partition: Partition, gateway: str, sessions: Sequence[verbs.LeaveItem]) -> list[verbs.LeaveWord]:
    """End sessions that said goodbye; ``more`` wants the same call again."""
    return (await partition.call(verbs.leave(sessions, gateway=gateway))).words


async def drain(partition: Partition, app: str, session: str, *, drained: bool) -> verbs.DrainWord:
    """Keep a session from taking anything new, or let it take work again; ``gone`` when the app has no such session."""
    call = verbs.drain([verbs.DrainItem(app, session, int(drained))])
    return (await partition.call(call, within_s=ANSWER_S)).words[0]


async def disconnect(partition: Partition, app: str, session: str) -> bool:
    """End a session; False when the app has none of this name. Its runs go to others, 100 a call."""
    status = "rest"
    ended = False
    while status == "rest":
        status = (await partition.call(verbs.disconnect(app=app, session=session), within_s=ANSWER_S)).status
        ended = ended or status != "gone"
    return ended


async def pause(
    partition: Partition, handlers: Sequence[verbs.PauseItem], level: Level = Level.FAST
) -> list[verbs.PauseWord]:
    """Pause handlers (1) or let them go on (0)."""
    return (await partition.call(verbs.pause(handlers), within_s=ANSWER_S, level=level)).words


class Repair:
    """Binds lost wake-ups, one page of groups per partition and pass; each leaves an event."""

    def __init__(self, space: Partitions, *, failures: FailureLog | None = None) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.repaired = 0
        self._cursors = ["0"] * space.count

    async def run_once(self) -> float | None:
        """Look at the next page of groups everywhere; returns None for the usual interval."""
        by_cursor: dict[str, list[Partition]] = {}
        for partition in await self.space.holding(K.groups):
            by_cursor.setdefault(self._cursors[partition.number], []).append(partition)
        for cursor, partitions in by_cursor.items():
            replies = await self.space.call_in(partitions, verbs.match(cursor=cursor, repair=1))
            for partition, reply in zip(partitions, replies, strict=True):
                if isinstance(reply, Exception):
                    self.failures.failed("match", partition.number, reply)
                    continue
                self.failures.went_well("match", partition.number)
                self._cursors[partition.number] = reply.cursor
                self.repaired += reply.bound
        return None
