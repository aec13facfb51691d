"""How the tasks of one trigger ended: the last of them, each day, and which triggers of an app are in trouble."""

import re
from dataclasses import dataclass
from datetime import date

from gojob_redis.domain import limits
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.domain.tally import unpack_ends
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.view.pages import Page
from gojob_redis.view.records import number, text

_EPOCH_DAY = date(1970, 1, 1).toordinal()
TROUBLED_AT_ONCE = 500
_SCANNED = re.compile("[0-9]{0,20}")


@dataclass(frozen=True, slots=True)
class EndRow:
    """How one of the last tasks ended."""

    state: str
    """completed, faulted or canceled."""
    slot_ms: int
    """To the second."""
    lateness_ms: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class DayRow:
    """What became of the slots of one day."""

    date: str
    """In the trigger's own time zone, such as 2026-11-28."""
    completed: int
    faulted: int
    canceled: int
    skipped: int
    missed: int
    """Slots that share an entry of the ledger with others; they count on the day of the newest of them."""


@dataclass(frozen=True, slots=True)
class TriggerStats:
    """How the tasks of a trigger ended."""

    uid: str
    troubled: bool
    """The last task faulted."""
    ends: list[EndRow]
    """At most 200, newest first."""
    days: list[DayRow]
    """Of the last year, newest first; a day on which nothing happened is left out."""


@dataclass(frozen=True, slots=True)
class Troubled:
    """A trigger whose last task faulted."""

    app: str
    name: str
    uid: str


async def trigger_stats(partition: Partition, uid: str) -> TriggerStats:
    """How the tasks of a trigger ended, by its uid."""
    prefix = partition.prefix
    [raw, ring] = await partition.read([("HGET", K.meta(prefix), "raw"), ("GET", K.ring(prefix, uid))])
    last = number(raw) // limits.STATS_BLOCK_MS + 1
    blocks = range(last, last - limits.STATS_DAYS_MS // limits.STATS_BLOCK_MS - 2, -1)
    answers = await partition.read([("HGETALL", K.days(prefix, uid, str(block))) for block in blocks])
    counts: dict[int, dict[str, int]] = {}
    for answer in answers:
        for name, value in answer.items():
            field = text(name)
            if field[:-1].isdigit():
                counts.setdefault(int(field[:-1]), {})[field[-1]] = number(value)
    ends = [EndRow(end.state, end.slot_ms, end.lateness_ms, end.duration_ms) for end in unpack_ends(ring or b"")]
    ends = ends[-limits.RING_ENDS :][::-1]
    return TriggerStats(
        uid=uid,
        troubled=bool(ends) and ends[0].state == "faulted",
        ends=ends,
        days=[_day(day, counts[day]) for day in sorted(counts, reverse=True)],
    )


def _day(day: int, counts: dict[str, int]) -> DayRow:
    local = date.fromordinal(_EPOCH_DAY + day).isoformat()
    return DayRow(local, *(counts.get(letter, 0) for letter in ("c", "f", "x", "k", "m")))


async def troubled(partition: Partition, app: str, cursor: str) -> Page[Troubled]:
    """The triggers of an app whose last task faulted, in no order; pages may be short."""
    prefix = partition.prefix
    if not _SCANNED.fullmatch(cursor) or int(cursor or 0) >= 2**64:
        raise bad_cursor(cursor)
    place = int(cursor or 0)
    [(after, members)] = await partition.read([("SSCAN", K.troubled(prefix, app), place, "COUNT", TROUBLED_AT_ONCE)])
    uids = [text(member) for member in members]
    names = await partition.read([("HGET", K.trigger(prefix, uid), "name") for uid in uids])
    rows = [Troubled(app, text(name), uid) for uid, name in zip(uids, names, strict=True) if name]
    return Page(rows, text(after) if int(after) else None)
