"""Which fires a change of a schedule adds, takes away and moves."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from itertools import groupby, islice

from gojob_redis.domain import limits
from gojob_redis.schedules.schedule import Cron, Schedule, check_time_zone, count_between, slots_after


@dataclass(slots=True)
class Difference:
    """Two schedules side by side. Slots are ms."""

    until_ms: int
    """So far they were compared slot by slot; what comes behind is only counted."""
    added: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    moved: list[tuple[int, int]] = field(default_factory=list)
    """From and to, within one day."""
    unchanged: int = 0
    before_behind: int = 0
    """Slots of the old schedule behind ``until_ms``."""
    after_behind: int = 0


def difference(before: Schedule | None, after: Schedule | None, now_ms: int, until_ms: int) -> Difference:
    """Compare the slots in (now, until]; None has none. Of each schedule 500 slots are computed at most.

    On each day, in the zone of the new schedule, what is gone and what is new are paired in order: they were moved.
    """
    olds, old_end = _slots(before, now_ms, until_ms)
    news, new_end = _slots(after, now_ms, until_ms)
    end = min(old_end, new_end)
    olds, news = [slot for slot in olds if slot <= end], [slot for slot in news if slot <= end]
    result = Difference(end, unchanged=len(set(olds) & set(news)))
    zones: list[tzinfo] = [check_time_zone(rule.time_zone) for rule in (after, before) if isinstance(rule, Cron)]
    zone = [*zones, UTC][0]
    gone = _by_day(sorted(set(olds) - set(news)), zone)
    new = _by_day(sorted(set(news) - set(olds)), zone)
    for day in sorted(gone.keys() | new.keys()):
        old, own = gone.get(day, []), new.get(day, [])
        result.moved += zip(old, own, strict=False)
        result.removed += old[len(own) :]
        result.added += own[len(old) :]
    result.before_behind = count_between(before, end, until_ms) if before else 0
    result.after_behind = count_between(after, end, until_ms) if after else 0
    return result


def _slots(rule: Schedule | None, now_ms: int, until_ms: int) -> tuple[list[int], int]:
    """The first slots, and until when they are all."""
    slots: Iterator[int] = slots_after(rule, now_ms, until_ms) if rule else iter(())
    computed = list(islice(slots, limits.COMPARED_SLOTS + 1))
    if len(computed) <= limits.COMPARED_SLOTS:
        return computed, until_ms
    return computed[:-1], computed[-1] - 1


def _by_day(slots: list[int], zone: tzinfo) -> dict[date, list[int]]:
    def day_of(slot: int) -> date:
        return datetime.fromtimestamp(slot / 1000, zone).date()

    return {day: list(own) for day, own in groupby(slots, day_of)}
