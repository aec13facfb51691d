"""Decides a second time whether a moment is a slot, for the audit: slowly, and independently of the first way.

It reads a rule from its text and asks of one moment after the other whether the rule names it. Nothing is computed
ahead, and nothing is shared with ``cron.py``, croniter or ``schedule.slots_after``: it does not repeat their mistakes.
Only the zone's data are the same. A rule that comes here passed the grammar, so nothing is checked again.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from gojob_redis.schedules.schedule import check_time_zone

_ALIASES = {
    "@YEARLY": "0 0 1 1 *", "@ANNUALLY": "0 0 1 1 *", "@MONTHLY": "0 0 1 * *", "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *", "@MIDNIGHT": "0 0 * * *", "@HOURLY": "0 * * * *",
}  # fmt: skip
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SECOND = timedelta(seconds=1)


def is_slot(rule: Mapping[str, Any], moment_ms: int) -> bool:
    """Whether a stored rule names this moment."""
    if rule.get("start_at") is not None and moment_ms < rule["start_at"]:
        return False
    if rule.get("end_at") is not None and moment_ms > rule["end_at"]:
        return False
    match rule["kind"]:
        case "once":
            return bool(moment_ms == rule["at"])
        case "every":
            since = moment_ms - int(rule["anchor_at"])
            return since % int(rule["every_ms"]) == 0 and (rule.get("start_at") is not None or since > 0)
        case "cron":
            return moment_ms % 1000 == 0 and _cron_names(rule["spec"], check_time_zone(rule["time_zone"]), moment_ms)
    return False


def slots_between(rule: Mapping[str, Any], after_ms: int, until_ms: int, looks: int) -> Iterator[int]:
    """The slots in (after_ms, until_ms] as far as so many looks reach: of a cron one a minute, or one a second."""
    match rule["kind"]:
        case "cron":
            step = 60_000 if _fields(rule["spec"])[0] == "0" else 1_000
        case "every":
            step = int(rule["every_ms"])
        case _:
            return
    first = after_ms + step - (after_ms - int(rule.get("anchor_at", 0))) % step
    for moment in range(first, min(until_ms, first + step * (looks - 1)) + 1, step):
        if is_slot(rule, moment):
            yield moment


@lru_cache(maxsize=256)
def _fields(spec: str) -> tuple[str, ...]:
    """Second, minute, hour, day, month, weekday."""
    text = spec.strip().upper()
    parts = _ALIASES.get(text, text).replace("?", "*").split()
    return ("0", *parts) if len(parts) == 5 else tuple(parts)


def _cron_names(spec: str, zone: ZoneInfo, moment_ms: int) -> bool:
    """A job whose second, minute or hour begins with ``*`` follows elapsed time; any other one the walls it names.

    Of two equal walls only the first counts for the latter, and the end of a gap stands for all that it skips.
    """
    fields = _fields(spec)
    shown = datetime.fromtimestamp(moment_ms // 1000, zone)
    wall = shown.replace(tzinfo=None, fold=0)
    if any(field.startswith("*") for field in fields[:3]):
        return _matches(fields, wall)
    if shown.fold == 0 and _matches(fields, wall):
        return True
    before = datetime.fromtimestamp(moment_ms // 1000 - 1, zone).replace(tzinfo=None, fold=0)
    skipped = before + _SECOND
    while skipped < wall:
        if _matches(fields, skipped):
            return True
        skipped += _SECOND
    return False


def _matches(fields: tuple[str, ...], wall: datetime) -> bool:
    second, minute, hour, day, month, weekday = fields
    if not (_has(second, wall.second, 59) and _has(minute, wall.minute, 59) and _has(hour, wall.hour, 23)):
        return False
    if not _has(month, wall.month, 12, _MONTHS, 1):
        return False
    is_day, is_weekday = _is_day(day, wall), _is_weekday(weekday, wall)
    if day.startswith("*") or weekday.startswith("*"):
        return is_day and is_weekday
    return is_day or is_weekday


def _has(field: str, value: int, high: int, words: tuple[str, ...] = (), low: int = 0) -> bool:
    """Whether a field of numbers and names holds a value."""
    return any(_item_has(item, value, high, words, low) for item in field.split(","))


def _item_has(item: str, value: int, high: int, words: tuple[str, ...], low: int) -> bool:
    base, _, step = item.partition("/")
    if base == "*":
        first, last = low, high
    elif "-" in base:
        left, _, right = base.partition("-")
        first, last = _value(left, words, low), _value(right, words, low)
        if words is _DAYS and last < first:
            last += 7
    else:
        first = _value(base, words, low)
        last = high if step else first
    return first <= value <= last and (value - first) % int(step or 1) == 0


def _value(text: str, words: tuple[str, ...], low: int) -> int:
    return words.index(text) + low if text in words else int(text)


def _is_day(field: str, wall: datetime) -> bool:
    length = (wall.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    for item in field.split(","):
        if item == "L":
            matches = wall.day == length.day
        elif "W" in item:
            day = length.day if item == "LW" else min(int(item.strip("W")), length.day)
            matches = wall.day == _working_day(wall, day, length.day)
        else:
            matches = _item_has(item, wall.day, 31, (), 1)
        if matches:
            return True
    return False


def _working_day(wall: datetime, goal: int, last: int) -> int:
    """The day from Monday to Friday that is nearest to one, in the same month."""
    near = [day for day in range(goal - 2, goal + 3) if 1 <= day <= last and wall.replace(day=day).weekday() < 5]
    return min(near, key=lambda day: abs(day - goal))


def _is_weekday(field: str, wall: datetime) -> bool:
    today = wall.isoweekday() % 7
    for item in field.split(","):
        base, _, nth = item.partition("#")
        if nth:
            matches = _value(base, _DAYS, 0) % 7 == today and (wall.day - 1) // 7 + 1 == int(nth)
        elif "L" in item:
            matches = _value(item.strip("L"), _DAYS, 0) % 7 == today and (wall + timedelta(days=7)).month != wall.month
        else:
            matches = any(_item_has(item, each, 6, _DAYS, 0) for each in (today, today + 7))
        if matches:
            return True
    return False
