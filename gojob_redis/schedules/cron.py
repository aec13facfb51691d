"""Cron: a strict grammar, and the moments that a spec names in a time zone.

croniter does the calendar. What is added here, and why:

1. **Nothing is guessed.** croniter takes ``1-1`` for "every", wraps ``22-2`` around, takes ``R`` for a random minute
   and reads a step beyond the range as its first value. Such specs are refused with the way to write what was
   probably meant. What passes is handed to croniter with every range written out as a list: its reading of ranges
   never matters.
2. **Two kinds of spec, as in Vixie and Debian cron.** If the second, minute or hour field begins with ``*`` the job
   follows *elapsed* time: it goes on through a repeated hour and has no slot in a skipped one. Otherwise it is a
   *fixed-time* job: it fires once for every wall-clock time that it names, in a repeated hour only the first time,
   and what falls into a skipped hour fires once, at the moment that hour ends (``30 2`` at 03:00). croniter sees only
   wall clocks, never a zone: it would fire fixed-time jobs twice in autumn, move elapsed ones out of the gap in
   spring, and lose some of those in a repeated half hour (``*/25 1`` on Lord Howe Island).
3. **Day and weekday** both restricted means *either*; when one of them begins with ``*`` it means *both* (Vixie's
   rule, ``implement_cron_bug``).

Walls are seconds that a wall clock shows, counted as if it were UTC; moments are real UTC seconds.
"""

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from gojob_redis.domain.errors import BadRequest, BrokenInvariant
from gojob_redis.domain.limits import CRON_CHARS

CRON_FIELD = "schedule.spec"
_DAY_S = 86_400
_REFERENCE_S = 1_704_067_200  # 2024-01-01; cron knows no years, so any moment answers whether a spec ever fires

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


_SECOND = _Field("second", 0, 59)
_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"))
_WEEKDAY = _Field("day of week", 0, 6, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))
_FIELDS = (_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)

_NUMBER = re.compile(r"[0-9]{1,2}")
_NEAREST_WEEKDAY = re.compile(r"(?:W([0-9]{1,2})|([0-9]{1,2})W)")
_LAST_WEEKDAY = re.compile(r"(?:L([0-9A-Z]+)|([0-9A-Z]+)L)")


class _Wrong(Exception):
    """A spec breaks the grammar: why, and what to write instead."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@dataclass(frozen=True, slots=True, eq=False)
class CronSpec:
    """A spec that passed the grammar and fires at some time; made by ``compile_cron``."""

    text: str
    fixed: bool
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    dates: str
    """The fields of day, month and weekday, written out."""
    _walls: croniter

    def slots(self, zone: ZoneInfo, after_s: int) -> Iterator[int]:
        """Yield the moments after ``after_s``, in order; ends when none follows within 50 years."""
        walk = self._fixed_slots if self.fixed else self._elapsed_slots
        last = after_s
        for slot in walk(zone, after_s):
            if slot <= last:
                raise BrokenInvariant(f"cron {self.text!r} in {zone.key} steps back from {last} to {slot}")
            last = slot
            yield slot

    def count(self, zone: ZoneInfo, after_s: int, until_s: int) -> int:
        """Count the moments in (after_s, until_s] in about 50 µs per day that has some, however many it has."""
        base = after_s - 2 * _DAY_S  # far enough that a clock change just before after_s is seen
        return self._count_from(zone, base, until_s) - self._count_from(zone, base, after_s)

    def by_minute(self, zone: ZoneInfo, after_s: int, until_s: int) -> Iterator[tuple[int, int]]:
        """Yield each minute of (after_s, until_s] that has moments, and how many; one may come twice.

        It takes about 50 µs, and 0.3 µs for each of them, where to go through the moments takes 70 µs for each.
        """
        before: int | None = None
        for low, high, offset in _segments(zone, after_s - 2 * _DAY_S, until_s):
            walls_after = low + offset
            if self.fixed and before is not None:  # as in _count_from
                if offset > before:
                    if low >= after_s and self._count_walls(low + before, low + 1 + offset):
                        yield low + 1, 1
                    walls_after += 1
                else:
                    walls_after = low + before
            before = offset
            for wall, count in self._wall_minutes(max(walls_after, after_s + offset), high + offset):
                yield wall - offset, count

    def _wall_minutes(self, after: int, until: int) -> Iterator[tuple[int, int]]:
        """Yield each minute of (after, until] that has walls, and how many."""
        for day in range((after + 1) // _DAY_S, until // _DAY_S + 1):
            if after >= until or not _is_named(self.dates, day):
                continue
            for hour in self.hours:
                begin = day * _DAY_S + hour * 3600
                if begin > until or begin + 3599 <= after:
                    continue
                for wall in (begin + minute * 60 for minute in self.minutes):
                    if after < wall and wall + 59 <= until:
                        yield wall, len(self.seconds)
                    elif count := sum(after < wall + second <= until for second in self.seconds):
                        yield wall, count

    def _fixed_slots(self, zone: ZoneInfo, after_s: int) -> Iterator[int]:
        """Each wall once: the first of two in a repeated hour, the end of the gap for a skipped one."""
        last = after_s
        for wall in self._walls_after(_wall_of(zone, after_s)):
            slot = _first_moment_of(zone, wall)
            if slot > last:
                last = slot
                yield slot

    def _elapsed_slots(self, zone: ZoneInfo, after_s: int) -> Iterator[int]:
        """Every moment whose wall the spec names, so both of two in a repeated hour."""
        low = after_s
        while True:
            offset = _offset(zone, low + 1)
            for wall in self._walls_after(low + offset):
                slot = wall - offset
                same = _last_with_offset(zone, low + 1, slot, offset)
                low = same
                if same < slot:
                    break  # the clock changes before: look again from there
                yield slot
            else:
                return

    def _walls_after(self, wall: int) -> Iterator[int]:
        walk = copy.copy(self._walls)  # its position is its own; what it was compiled to is shared and never written
        walk.set_current(float(wall))
        while True:
            try:
                yield int(walk.get_next(float))
            except CroniterBadDateError:
                return

    def _count_from(self, zone: ZoneInfo, base_s: int, until_s: int) -> int:
        total = 0
        before: int | None = None
        for low, high, offset in _segments(zone, base_s, until_s):
            walls_after = low + offset
            if self.fixed and before is not None:
                if offset > before:  # all that was skipped, and what is named at its end, is one slot
                    total += min(1, self._count_walls(low + before, low + 1 + offset))
                    walls_after += 1
                else:  # walls that were shown before the clock went back
                    walls_after = low + before
            total += self._count_walls(walls_after, high + offset)
            before = offset
        return total

    def _count_walls(self, after: int, until: int) -> int:
        """Count the walls in (after, until] day by day: the times of a day are the same on each day that is named."""
        total = 0
        while (wall := next(self._walls_after(after), None)) is not None and wall <= until:
            day = wall // _DAY_S * _DAY_S
            total += self._count_of_day(min(until - day, _DAY_S - 1)) - self._count_of_day(after - day)
            after = day + _DAY_S - 1
        return total

    def _count_of_day(self, second_of_day: int) -> int:
        """Count the times of one plain day from its start up to and with ``second_of_day``."""
        if second_of_day < 0:
            return 0
        minute_of_day, second = divmod(second_of_day, 60)
        hour, minute = divmod(minute_of_day, 60)
        total = sum(h < hour for h in self.hours) * len(self.minutes) * len(self.seconds)
        if hour in self.hours:
            total += sum(m < minute for m in self.minutes) * len(self.seconds)
            if minute in self.minutes:
                total += sum(s <= second for s in self.seconds)
        return total


@lru_cache(maxsize=4096)
def compile_cron(spec: str) -> CronSpec:
    """Check a spec of 5 fields, of 6 (seconds first), or an alias such as ``@hourly``; remembers the last 4,096.

    Raises BadRequest ``bad_cron``, also for a spec that never fires (the 30th of February).
    """
    try:
        return _compile(spec)
    except _Wrong as wrong:
        shown = spec if len(spec) <= CRON_CHARS else f"{spec[:CRON_CHARS]}…"
        raise BadRequest(
            "bad_cron", f"Cron {shown!r} is refused: {wrong.why}.", field=CRON_FIELD, hint=wrong.hint
        ) from None


def _compile(spec: str) -> CronSpec:
    if len(spec) > CRON_CHARS:
        raise _Wrong(f"it has {len(spec)} characters, more than {CRON_CHARS}", "Split it into several triggers.")
    texts = _split(spec)
    expanded = [_expand(field, text) for field, text in zip(_FIELDS, texts, strict=True)]
    _check_days(texts[3], texts[5])
    walls = croniter(" ".join(e.text for e in expanded), 0.0, second_at_beginning=True, implement_cron_bug=True)
    compiled = CronSpec(
        text=" ".join(spec.split()),
        fixed=not any(text.startswith("*") for text in texts[:3]),
        seconds=expanded[0].values,
        minutes=expanded[1].values,
        hours=expanded[2].values,
        dates=" ".join(each.text for each in expanded[3:]),
        _walls=walls,
    )
    if next(compiled._walls_after(_REFERENCE_S), None) is None:
        raise _Wrong("no date matches it, so it never fires", "Name a day that its months have.")
    return compiled


@lru_cache(maxsize=65_536)
def _is_named(dates: str, day: int) -> bool:
    """Whether these fields of day, month and weekday name a day, counted from 1970."""
    if dates == "* * *":
        return True
    midnights = croniter(f"0 0 0 {dates}", day * _DAY_S - 1.0, second_at_beginning=True, implement_cron_bug=True)
    return int(midnights.get_next(float)) == day * _DAY_S


def _split(spec: str) -> list[str]:
    """Return the six fields in capital letters, ``?`` written as ``*``."""
    text = spec.strip(" \t")
    if text.startswith("@"):
        if text.lower() not in _ALIASES:
            aliases = ", ".join(sorted(_ALIASES))
            raise _Wrong(f"{text.split()[0]} is not an alias", f"Use one of {aliases}, or a schedule of kind 'every'.")
        text = _ALIASES[text.lower()]
    fields = re.split(r"[ \t]+", text.upper())
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        count = len(fields) if text else 0
        raise _Wrong(
            f"it has {count} fields",
            "Write 5 fields (minute hour day month weekday) or 6, the second first; for years use start_at and end_at.",
        )
    for at in (3, 5):
        fields[at] = "*" if fields[at] == "?" else fields[at]
    return fields


def _check_days(day: str, weekday: str) -> None:
    """Refuse the combinations of day and weekday that croniter does not read as either the one or the other."""
    if ("#" in weekday or "L" in weekday) and day != "*":
        raise _Wrong("'#' or 'L' in the day of week does not combine with a day of month", "Use two triggers.")
    if "W" in day and weekday != "*":
        raise _Wrong("'W' in the day of month does not combine with a day of week", "Use two triggers.")


@dataclass(frozen=True, slots=True)
class _Expanded:
    text: str
    """The field as croniter gets it: every range a list."""
    values: tuple[int, ...]


def _expand(field: _Field, text: str) -> _Expanded:
    items = text.split(",")
    special = [_special(field, item) for item in items]
    if any(special):
        _check_special(field, items, special)
    texts: list[str] = []
    values: set[int] = set()
    for item, own in zip(items, special, strict=True):
        item_values = [] if own else _values(field, item, alone=len(items) == 1)
        values.update(item_values)
        texts.append(own or (item if item.startswith("*") else ",".join(map(str, sorted(set(item_values))))))
    return _Expanded(",".join(texts), tuple(sorted(values)))


def _special(field: _Field, item: str) -> str:
    """Return an item of the day fields that is no number as croniter writes it, "" for any other item."""
    if field is _DAY:
        if item == "L":
            return "L"
        if item == "LW":
            return "31W"  # croniter takes the nearest weekday to the last day of a shorter month
        if match := _NEAREST_WEEKDAY.fullmatch(item):
            return f"{_number(field, match[1] or match[2], item)}W"
    if field is _WEEKDAY:
        weekday, hash_, nth = item.partition("#")
        if hash_:
            if nth not in ("1", "2", "3", "4", "5"):
                raise _Wrong(
                    f"{item} names no 1st to 5th day of a month",
                    "Write MON#1 to MON#5, or MONL.",
                )
            return f"{_number(field, weekday, item) % 7}#{nth}"
        if match := _LAST_WEEKDAY.fullmatch(item):
            return f"L{_number(field, match[1] or match[2], item) % 7}"
    return ""


def _check_special(field: _Field, items: Sequence[str], special: Sequence[str]) -> None:
    if field is _WEEKDAY and not all(special):
        raise _Wrong("the day of week mixes '#' or 'L' with plain days", "Use two triggers.")
    if field is _DAY and len(items) > 1 and any("W" in own for own in special):
        raise _Wrong("'W' stands in a list", "Give it a trigger of its own.")


def _values(field: _Field, item: str, *, alone: bool) -> list[int]:
    """Return the values that an item of numbers and names means."""
    base, slash, step_text = item.partition("/")
    if base == "*":
        if not alone and not slash:
            raise _Wrong(f"the {field.name} has '*' in a list, which makes the rest meaningless", "Write '*' alone.")
        low, high = field.low, field.high
    elif "-" in base:
        low, high = _range(field, base)
    else:
        low = _number(field, base, item)
        high = field.high if slash else low
        if slash and field is _WEEKDAY:
            raise _Wrong(f"{item} does not say on which day the week ends", f"Write the range: {base}-SAT/{step_text}.")
    step = _step(field, item, step_text, high - low) if slash else 1
    numbers = range(low, high + 1, step)
    return [value % 7 for value in numbers] if field is _WEEKDAY else list(numbers)


def _range(field: _Field, base: str) -> tuple[int, int]:
    low_text, _, high_text = base.partition("-")
    low, high = _number(field, low_text, base), _number(field, high_text, base)
    if field is _WEEKDAY and high == 0 and low != 0:
        high = 7  # a week may end with Sunday, though it is numbered 0
    if low == high or (field is _WEEKDAY and low % 7 == high % 7):
        raise _Wrong(f"the range {base} has equal ends", f"Write {low_text} for that one, or '*' for all.")
    if low > high:
        first, last = (field.words[0], field.words[-1]) if field.words else (str(field.low), str(field.high))
        raise _Wrong(
            f"the range {base} runs backwards",
            f"Write it as two: {_span(low_text, last)},{_span(first, high_text)}.",
        )
    return low, high


def _span(low_text: str, high_text: str) -> str:
    return low_text if low_text == high_text else f"{low_text}-{high_text}"


def _step(field: _Field, item: str, text: str, width: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) == 0:
        raise _Wrong(f"{item} has no step of 1 or more", "Write for example */5.")
    if int(text) > width:
        raise _Wrong(
            f"the step of {item} leads beyond the last {field.name}, so only its first value would remain",
            "Write that value, or a schedule of kind 'every' for longer intervals.",
        )
    return int(text)


def _number(field: _Field, text: str, item: str) -> int:
    if text in field.words:
        return field.words.index(text) + field.low
    highest = 7 if field is _WEEKDAY else field.high
    if not _NUMBER.fullmatch(text):
        names = f", or {field.words[0]} to {field.words[-1]}" if field.words else ""
        raise _Wrong(f"{item!r} is not a {field.name}", f"Write a number from {field.low} to {highest}{names}.")
    if not field.low <= int(text) <= highest:
        raise _Wrong(f"{item!r} is out of range for the {field.name}", f"Write a number from {field.low} to {highest}.")
    return int(text)


# --- Walls and moments ------------------------------------------------------------------------------------------------


def _offset(zone: ZoneInfo, moment_s: int) -> int:
    """How far the wall is ahead of UTC, in seconds."""
    offset = datetime.fromtimestamp(moment_s, zone).utcoffset()
    assert offset is not None
    return offset.days * _DAY_S + offset.seconds


def _wall_of(zone: ZoneInfo, moment_s: int) -> int:
    return moment_s + _offset(zone, moment_s)


def _at_wall(zone: ZoneInfo, wall: int) -> datetime:
    """Put a wall into its zone: the first of two in a repeated hour."""
    return datetime.fromtimestamp(wall, UTC).replace(tzinfo=zone)


def _first_moment_of(zone: ZoneInfo, wall: int) -> int:
    """Return the first moment at which the wall clock shows ``wall``, or the end of the gap that skips it."""
    while True:
        moment = int(_at_wall(zone, wall).timestamp())
        if _wall_of(zone, moment) == wall:
            return moment
        wall += 60 - wall % 60  # gaps end on a whole minute; most have 60 of them, the longest (Samoa, 2011) 1,440


def _segments(zone: ZoneInfo, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """Cut (low, high] where the clock changes, into (low, high, offset)."""
    while low < high:
        offset = _offset(zone, low + 1)
        end = _last_with_offset(zone, low + 1, high, offset)
        yield low, end, offset
        low = end


def _last_with_offset(zone: ZoneInfo, at: int, until: int, offset: int) -> int:
    """Return the last moment up to ``until`` before the clock next changes; the offset at ``at`` is known.

    Looks once a day: no zone ever changed its clock and changed it back within one.
    """
    while at < until:
        following = min(at + _DAY_S, until)
        if _offset(zone, following) == offset:
            at = following
            continue
        while following - at > 1:
            middle = (at + following) // 2
            if _offset(zone, middle) == offset:
                at = middle
            else:
                following = middle
        return at
    return until
