"""The fold: every 2 s what the scripts wrote down is added up, and taken away.

1. The scripts add nothing up (``lua/lib/tally.lua``). Here a few entries are read, and the sums that they change; the
   new sums go back by ``lua/fold.lua``, which writes them only if nobody else has written meanwhile, and trims the
   entries in the same script. A replica that dies, or two that fold at once, neither lose nor double anything.
2. It fills minutes. Ten minutes that are over are *rolled*: added up from the minutes, into the day of ten minutes and
   the day of half-hours of each handler and app. That writes the same however often it is done.
3. The preferred replica of a partition folds it. The others look whether it does, and fold what it leaves for 10 s.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgpack
import structlog

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import BadRequest, GojobError
from gojob_redis.domain.tally import TEN_MS, End, Failures, Sum, Tallied, pack_end
from gojob_redis.domain.verbs import FoldItem
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.sums import failures_in, pack, pack_day, pack_sum, unpack, unpack_day, unpack_sum
from gojob_redis.maintenance.versions import Versions
from gojob_redis.runtime.failure_log import FailureLog
from gojob_redis.schedules.schedule import check_time_zone

log = structlog.get_logger()

FOLD_S = 2.0
LEFT_S = 10.0
"""What the preferred replica did not fold for so long, another one does."""
CALLS = 50
"""Of one partition in one pass."""
ENTRIES = 200
"""Of the tally that are read at a time."""
CALL_S = 2.0
ROLL_AFTER_MS = 10 * limits.SECOND_MS
"""How long after their end ten minutes are rolled: by then what happened in them has been folded."""
ZONES = 100_000
DAY = limits.DAY_MS

LETTERS = {"completed": "c", "faulted": "f", "canceled": "x"}
FACTS = ("fold_turn", "folded", "raw")


class Fold:
    """Adds up what happened in all partitions."""

    def __init__(
        self,
        space: Partitions,
        *,
        prefers: Callable[[Partition], bool] = lambda _partition: True,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.prefers = prefers
        self.failures = failures or FailureLog()
        self.folded = 0
        """Entries."""
        self.gap = 0
        """Entries that were lost before anybody added them up."""
        self._left: dict[Partition, tuple[bytes | None, float]] = {}
        self._zones: dict[str, str] = {}
        self._versions = Versions(CALL_S)

    async def run_once(self) -> float | None:
        """Fold what there is in every partition; returns 0 when one of them has more."""
        commands: list[tuple[str | int, ...]] = []
        for prefix in self.space.prefixes:
            commands += [
                ("HMGET", K.meta(prefix), *FACTS),
                ("EXISTS", K.tally(prefix)),
                ("ZRANGE", K.unrolled(prefix), 0, 0),
            ]
        answers = await self.space.read_all(commands)
        more = False
        for partition in self.space:
            first = 3 * partition.number
            (turn, _folded, raw), has_entries, tens = answers[first : first + 3]
            if not (has_entries or tens) or not self._is_mine(partition, turn):
                continue
            try:
                more |= await self._fold_all(partition)
                if tens and (int(tens[0]) + 1) * TEN_MS + ROLL_AFTER_MS <= int(raw or 0):
                    await self.roll(partition, int(tens[0]))
            except (GojobError, EngineError, OSError) as error:
                self.failures.failed("fold", partition.number, error)
            else:
                self.failures.went_well("fold", partition.number)
        return 0.0 if more else None

    def _is_mine(self, partition: Partition, turn: bytes | None) -> bool:
        if self.prefers(partition):
            self._left.pop(partition, None)
            return True
        now_s = time.monotonic()
        before, since_s = self._left.get(partition, (b"", now_s))
        if before != turn:
            self._left[partition] = turn, now_s
            return False
        return now_s - since_s >= LEFT_S

    async def _fold_all(self, partition: Partition) -> bool:
        """Fold entry by entry until there is none; whether there may be more."""
        for _ in range(CALLS):
            if not await self.fold(partition):
                return False
        return True

    async def fold(self, partition: Partition) -> bool:
        """Fold the next entries of one partition in one call; whether there may be more."""
        prefix = partition.prefix
        [[turn, folded, _raw]] = await partition.read([("HMGET", K.meta(prefix), *FACTS)], within_s=CALL_S)
        first = folded or b"-"
        [rows] = await partition.read([("XRANGE", K.tally(prefix), first, "+", "COUNT", ENTRIES)], within_s=CALL_S)
        if not rows:
            return False
        tallied, entries, upto = taken(rows)
        items = await self.items_of(partition, tallied)
        call = verbs.fold(items, turn=int(turn or 0), upto=upto, entries=entries)
        reply = await partition.call(call, within_s=CALL_S)
        if reply.status == "stale":
            return False
        self.folded += entries
        if reply.gap:
            self.gap += reply.gap
            log.warning("stats.gap", partition=partition.number, entries=reply.gap)
        if tallied.unread:
            log.warning("stats.unread", partition=partition.number, items=tallied.unread)
        await asyncio.sleep(0)
        return entries < len(rows) or len(rows) == ENTRIES

    async def items_of(self, partition: Partition, tallied: Tallied) -> list[FoldItem]:
        """All that these entries change, with its new values."""
        items = await self._sums(partition, tallied)
        items += await self._slowest(partition, tallied)
        items += await self._failures(partition, tallied)
        items += [
            FoldItem("ring", uid, tallied.apps[uid], b"".join(map(pack_end, ends)), 0)
            for uid, ends in tallied.ends.items()
        ]
        zones = await self._zones_of(partition, set(tallied.apps))
        return [*items, *days_of(tallied, zones), *events_of(tallied)]

    async def _sums(self, partition: Partition, tallied: Tallied) -> list[FoldItem]:
        prefix = partition.prefix
        minutes = list(tallied.subjects())
        subjects: dict[str, Sum] = {}
        for _minute, subject, sums in minutes:
            subjects.setdefault(subject, Sum()).add(sums)
        commands: list[tuple[str | int, ...]] = [
            ("HGET", K.minute(prefix, str(minute)), subject) for minute, subject, _sums in minutes
        ]
        commands += [("GET", K.totals(prefix, subject)) for subject in subjects]
        before = await partition.read(commands, within_s=CALL_S)
        items = []
        for (minute, subject, sums), value in zip(minutes, before, strict=False):
            items.append(FoldItem("minute", str(minute), subject, added(value, sums), 0))
        for (subject, sums), value in zip(subjects.items(), before[len(minutes) :], strict=True):
            items.append(FoldItem("total", subject, "", added(value, sums), 0))
        tens = sorted({minute * limits.MINUTE_MS // TEN_MS for minute, _subject, _sums in minutes})
        return items + [FoldItem("unrolled", str(ten), "", b"", 0) for ten in tens]

    async def _slowest(self, partition: Partition, tallied: Tallied) -> list[FoldItem]:
        names = list(tallied.slowest)
        commands = [("GET", K.slowest(partition.prefix, handler, str(hour))) for handler, hour in names]
        before = await partition.read(commands, within_s=CALL_S)
        items = []
        for (handler, hour), value in zip(names, before, strict=True):
            longest_before = [(ms, task) for ms, task in unpack(value) or ()]
            longest = sorted([*longest_before, *tallied.slowest[handler, hour]], reverse=True)[: limits.STATS_SLOWEST]
            if longest != longest_before:
                items.append(FoldItem("slowest", handler, str(hour), pack(longest), 0))
        return items

    async def _failures(self, partition: Partition, tallied: Tallied) -> list[FoldItem]:
        """Count failures; a new kind takes the place of the one that was seen longest ago where there are too many."""
        by_app: dict[str, dict[str, Failures]] = {}
        for (handler, digest), failures in (await self._versioned(partition, tallied)).items():
            by_app.setdefault(app_of(handler), {})[f"{name_of(handler)} {digest}"] = failures
        keys = [K.failures(partition.prefix, app) for app in by_app]
        answers = await partition.read([("HGETALL", key) for key in keys], within_s=CALL_S)
        items = []
        for (app, new), answer in zip(by_app.items(), answers, strict=True):
            kept = {name.decode(): failures_in(value) for name, value in answer.items()}
            for name, failures in new.items():
                kept.setdefault(name, Failures(failures.type, failures.message)).add(failures)
            surplus = sorted(kept, key=lambda name: kept[name].last_ms)[: -limits.FAILURES_PER_APP]
            items += [FoldItem("failure", app, name, pack(kept[name].packed()), 0) for name in new]
            items += [FoldItem("forgotten", app, name, b"", 0) for name in surplus]
        return items

    async def _versioned(self, partition: Partition, tallied: Tallied) -> dict[tuple[str, str], Failures]:
        """The failures with the handlers' own versions in place of what their workers told."""
        asked = {
            (handler, seen.digest)
            for (handler, _), own in tallied.failures.items()
            for seen in (own.first_in, own.last_in)
        }
        versions = await self._versions.of(partition, asked)
        return {
            (handler, digest): replace(
                own, first_in=versions[handler, own.first_in.digest], last_in=versions[handler, own.last_in.digest]
            )
            for (handler, digest), own in tallied.failures.items()
        }

    async def _zones_of(self, partition: Partition, uids: set[str]) -> dict[str, str]:
        """The time zones of triggers: of a cron rule its own, of any other UTC."""
        unknown = [uid for uid in uids if uid not in self._zones]
        if len(self._zones) + len(unknown) > ZONES:
            self._zones.clear()
            unknown = list(uids)
        commands = [("HGET", K.trigger(partition.prefix, uid), "definition") for uid in unknown]
        for uid, definition in zip(unknown, await partition.read(commands, within_s=CALL_S), strict=True):
            self._zones[uid] = _zone_in(definition)
        return {uid: self._zones[uid] for uid in uids}

    # ---- rolling -------------------------------------------------------------------------------------------------

    async def roll(self, partition: Partition, ten: int) -> None:
        """Add up ten minutes, and write them into the days of all they belong to."""
        prefix = partition.prefix
        [[turn, *_rest]] = await partition.read([("HMGET", K.meta(prefix), *FACTS)], within_s=CALL_S)
        minutes = [("HGETALL", K.minute(prefix, str(10 * ten + at))) for at in range(10)]
        sums: dict[str, Sum] = {}
        for answer in await partition.read(minutes, within_s=CALL_S):
            for subject, value in answer.items():
                sums.setdefault(subject.decode(), Sum()).add(unpack_sum(value))
        names, at_turn = sorted(sums), int(turn or 0)
        for first in range(0, max(1, len(names)), limits.ROLL_SUBJECTS):
            some = names[first : first + limits.ROLL_SUBJECTS]
            items = await self._rolled(partition, ten, {name: sums[name] for name in some})
            if first + limits.ROLL_SUBJECTS >= len(names):
                items.append(FoldItem("rolled", str(ten), "", b"", 0))
            reply = await partition.call(verbs.fold(items, turn=at_turn), within_s=CALL_S)
            if reply.status == "stale":
                return
            at_turn += 1
            await asyncio.sleep(0)

    async def _rolled(self, partition: Partition, ten: int, sums: dict[str, Sum]) -> list[FoldItem]:
        day, at = divmod(ten, DAY // TEN_MS)
        half = at // 3
        prefix = partition.prefix
        commands = [("GET", key(prefix, name, str(day))) for name in sums for key in (K.tens, K.halves)]
        before = await partition.read(commands, within_s=CALL_S)
        items = []
        for number, (name, own) in enumerate(sums.items()):
            tens, halves = (unpack_day(value) for value in before[2 * number : 2 * number + 2])
            tens[at] = own.packed()
            whole = Sum()
            for part in range(3 * half, 3 * half + 3):
                if part in tens:
                    whole.add(Sum.of(tens[part]))
            halves[half] = whole.packed()
            items += [
                FoldItem("tens", name, str(day), pack_day(tens), 0),
                FoldItem("halves", name, str(day), pack_day(halves), 0),
            ]
        return items


def taken(rows: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> tuple[Tallied, int, str]:
    """What the first of these entries add up to, as many as one call writes; their number; and the id after them."""
    tallied, size, entries = Tallied(), 0, 0
    for _id, fields in rows:
        entry = fields.get(b"t", b"")
        tallied.take(entry)
        entries, size = entries + 1, size + len(entry)
        if size >= limits.FOLD_BYTES or len(tallied) >= limits.FOLD_ITEMS:
            break
    ms, _, number = rows[entries - 1][0].decode().partition("-")
    return tallied, entries, f"{ms}-{int(number) + 1}"


def days_of(tallied: Tallied, zones: dict[str, str]) -> list[FoldItem]:
    """How many tasks of each trigger ended how, and slots were skipped or missed, by the local day of their slot.

    Slots that were missed together count on the day of the newest.
    """
    counts: Counter[tuple[str, int, str]] = Counter()
    for uid, ends in tallied.ends.items():
        counts.update((uid, _local_day(end, zones[uid]), LETTERS[end.state]) for end in ends)
    counts.update((uid, _local_day(slot, zones[uid]), "k") for uid, slot in tallied.skips)
    for uid, newest, count in tallied.misses:
        counts[uid, _local_day(newest, zones[uid]), "m"] += count
    per_block = limits.STATS_BLOCK_MS // DAY
    return [
        FoldItem("day", uid, str(day // per_block), f"{day}{letter}".encode(), count)
        for (uid, day, letter), count in counts.items()
    ]


def events_of(tallied: Tallied) -> list[FoldItem]:
    """The canceled tasks, for the event log: of each handler some one by one, the number of all others."""
    items: list[FoldItem] = []
    most = limits.EVENTS_EACH_MINUTE
    for subject, canceled in tallied.canceled.items():
        handler = "?" if subject.startswith("?") else subject
        items += [FoldItem("canceled", handler, each.task, each.reason, each.ended_ms) for each in canceled[:most]]
        if len(canceled) > most:
            items.append(FoldItem("canceled_more", handler, "", b"", len(canceled) - most))
    return items


def _local_day(at: End | int, zone: str) -> int:
    """Days since 1970 of the local date."""
    moment = datetime.fromtimestamp((at if isinstance(at, int) else at.slot_ms) / 1000, UTC)
    if zone:
        moment = moment.astimezone(check_time_zone(zone))
    return moment.toordinal() - _EPOCH_DAY


_EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


def _zone_in(definition: bytes | None) -> str:
    try:
        zone = str(msgpack.unpackb(definition or b"")["schedule"].get("time_zone") or "")
        check_time_zone(zone or "UTC")
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException, BadRequest):
        return ""
    return zone


def added(before: bytes | None, more: Sum) -> bytes:
    """A packed sum with another one added."""
    if not before:
        return pack_sum(more)
    sums = unpack_sum(before)
    sums.add(more)
    return pack_sum(sums)
