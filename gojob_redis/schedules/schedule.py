"""Schedules: when a trigger fires, and how that is written.

    Cron     a spec in a time zone                      {"kind": "cron", "spec": "30 2 * * *", "time_zone": "UTC"}
    Every    a fixed rate on a grid that never drifts   {"kind": "every", "every_ms": 60000}
    Once     one moment                                 {"kind": "once", "at": "2027-01-01T00:00:00Z"}
    Manual   never by itself                            {"kind": "manual"}

Moments (``at``, ``start_at``, ``end_at``, ``anchor_at``) are integer milliseconds UTC; ``parse`` also takes RFC 3339
text with an offset. Cron and Every may have a window: they fire from ``start_at`` to ``end_at``, both included.
Everywhere else a span is (after, until], so that spans laid end to end hold every slot once. No slot lies in or after
the year 2100. Nothing here reads a clock.

Time zones come from the tzdata package, not from the host, so that all replicas of one release agree.
"""

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from functools import lru_cache, partial
from importlib.resources import files
from itertools import islice
from typing import assert_never
from zoneinfo import ZoneInfo

from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.limits import EVERY_MAX_MS, EVERY_MIN_MS, LATEST_MS
from gojob_redis.domain.names import nearest
from gojob_redis.schedules.cron import CronSpec, compile_cron

PREVIEW = 3
"""So many slots are computed before a schedule is accepted."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Fires at the wall-clock times that a cron spec names; clock changes as told in ``gojob_redis.schedules.cron``."""

    spec: str
    time_zone: str
    start_at: int | None = None
    end_at: int | None = None

    def __post_init__(self) -> None:
        compile_cron(self.spec)
        check_time_zone(self.time_zone)
        _check_window(self.start_at, self.end_at)


@dataclass(frozen=True, slots=True)
class Every:
    """Fires on the grid ``anchor_at`` + n × ``every_ms``: after the anchor, or from ``start_at`` where that is set."""

    every_ms: int
    anchor_at: int
    start_at: int | None = None
    end_at: int | None = None

    def __post_init__(self) -> None:
        if not EVERY_MIN_MS <= self.every_ms <= EVERY_MAX_MS:
            raise BadRequest(
                "bad_interval",
                f"every_ms is {self.every_ms}; it has to lie between {EVERY_MIN_MS} and {EVERY_MAX_MS}.",
                field="schedule.every_ms",
                hint="Loop inside the handler for shorter intervals; use cron for longer ones.",
                limit=EVERY_MIN_MS if self.every_ms < EVERY_MIN_MS else EVERY_MAX_MS,
            )
        _check_moment(self.anchor_at, "anchor_at")
        _check_window(self.start_at, self.end_at)


@dataclass(frozen=True, slots=True)
class Once:
    """Fires at one moment."""

    at: int

    def __post_init__(self) -> None:
        _check_moment(self.at, "at")


@dataclass(frozen=True, slots=True)
class Manual:
    """Never fires by itself; its trigger holds handler, parameters and policies for runs asked for by hand."""


Schedule = Cron | Every | Once | Manual

KINDS: dict[str, type[Cron] | type[Every] | type[Once] | type[Manual]] = {
    "cron": Cron,
    "every": Every,
    "once": Once,
    "manual": Manual,
}
_MOMENTS = frozenset({"at", "anchor_at", "start_at", "end_at"})
_WHOLE = _MOMENTS | {"every_ms"}
BETWEEN = "\x1e"


# --- When -------------------------------------------------------------------------------------------------------------


def slots_after(schedule: Schedule, after_ms: int, until_ms: int | None = None) -> Iterator[int]:
    """Yield the slots in (after_ms, until_ms], in order, each computed when it is asked for."""
    after, until = _bounds(schedule, after_ms, until_ms)
    for slot in _slots(schedule, after):
        if slot > until:
            return
        yield slot


def next_times(schedule: Schedule, after_ms: int, count: int, until_ms: int | None = None) -> list[int]:
    """Return the first ``count`` slots in (after_ms, until_ms]; fewer where the schedule or its window ends."""
    return list(islice(slots_after(schedule, after_ms, until_ms), count))


def count_between(schedule: Schedule, after_ms: int, until_ms: int) -> int:
    """Count the slots in (after_ms, until_ms] without visiting them: for the range entry of a long gap."""
    after, until = _bounds(schedule, after_ms, until_ms)
    if after >= until:
        return 0
    match schedule:
        case Cron():
            return compile_cron(schedule.spec).count(check_time_zone(schedule.time_zone), after // 1000, until // 1000)
        case Every(every_ms, anchor_at):
            return (until - anchor_at) // every_ms - (after - anchor_at) // every_ms
        case Once() | Manual():
            return len(next_times(schedule, after_ms, 1, until_ms))
        case _:
            assert_never(schedule)


def spread_between(schedule: Schedule, after_ms: int, until_ms: int, step_ms: int) -> dict[int, int]:
    """How many slots each step of (after_ms, until_ms] has, by its number since 1970; none for a step without.

    step_ms: whole minutes.
    """
    after, until = _bounds(schedule, after_ms, until_ms)
    counts: dict[int, int] = {}
    if after >= until:
        return counts
    match schedule:
        case Cron():
            zone = check_time_zone(schedule.time_zone)
            for minute_s, count in compile_cron(schedule.spec).by_minute(zone, after // 1000, until // 1000):
                step = minute_s * 1000 // step_ms
                counts[step] = counts.get(step, 0) + count
        case Every(every_ms) if every_ms < step_ms:
            for step in range((after + 1) // step_ms, until // step_ms + 1):
                begin = step * step_ms - 1
                if count := count_between(schedule, max(after, begin), min(until, begin + step_ms)):
                    counts[step] = count
        case Every() | Once() | Manual():
            for slot in slots_after(schedule, after_ms, until_ms):
                counts[slot // step_ms] = counts.get(slot // step_ms, 0) + 1
        case _:
            assert_never(schedule)
    return counts


def latest_between(schedule: Schedule, after_ms: int, until_ms: int) -> int | None:
    """Return the newest slot in (after_ms, until_ms], None when there is none: what a misfired trigger makes up for."""
    after, until = _bounds(schedule, after_ms, until_ms)
    latest: int | None = None
    while after < until:  # halve the span that can hold it: about 25 steps for a year
        middle = (after + until) // 2
        slot = next(slots_after(schedule, middle, until), None)
        if slot is None:
            until = middle
        else:
            latest = after = slot
    return latest


def _bounds(schedule: Schedule, after_ms: int, until_ms: int | None) -> tuple[int, int]:
    """Narrow (after, until] to the schedule's window."""
    until = LATEST_MS - 1 if until_ms is None else min(until_ms, LATEST_MS - 1)
    after = max(after_ms, -1)
    if isinstance(schedule, Once | Manual):
        return after, until
    if schedule.start_at is not None:
        after = max(after, schedule.start_at - 1)
    elif isinstance(schedule, Every):
        after = max(after, schedule.anchor_at)
    return after, until if schedule.end_at is None else min(until, schedule.end_at)


def _slots(schedule: Schedule, after_ms: int) -> Iterator[int]:
    match schedule:
        case Cron():
            spec: CronSpec = compile_cron(schedule.spec)
            for slot_s in spec.slots(check_time_zone(schedule.time_zone), after_ms // 1000):
                yield slot_s * 1000
        case Every(every_ms, anchor_at):
            slot = after_ms + every_ms - (after_ms - anchor_at) % every_ms
            while True:
                yield slot
                slot += every_ms
        case Once(at):
            if at > after_ms:
                yield at
        case Manual():
            return
        case _:
            assert_never(schedule)


# --- How it is written ------------------------------------------------------------------------------------------------


def parse(mapping: object, *, created_ms: int = 0) -> Schedule:
    """Read a schedule as a user or a stored trigger writes it, and make sure that it fires.

    created_ms: engine time at which the trigger is made. It anchors an ``every`` without ``start_at``, and a window
    that holds no slot after it is refused; 0 anchors at the epoch (whole minutes for a minute). A ``once`` in the past
    is not refused: the misfire policy decides about it.
    Raises BadRequest ``bad_schedule``, ``bad_cron``, ``bad_time_zone``, ``bad_interval``, ``bad_moment``,
    ``never_fires``.
    """
    if not isinstance(mapping, Mapping):
        raise _bad("schedule", f"The schedule is a {type(mapping).__name__}, not a mapping.", 'Send {"kind": …, …}.')
    given = {key: value for key, value in mapping.items() if value is not None}
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise _bad("schedule.kind", f"The schedule's kind is {kind!r}.", f"Use one of {', '.join(KINDS)}.")
    schedule_type = KINDS[kind]
    _check_keys(kind, given, [field.name for field in fields(schedule_type)])
    moments = {key: _moment(value, key) for key, value in given.items() if key in _MOMENTS}
    match kind:
        case "cron":
            schedule: Schedule = Cron(_text(given, "spec"), _text(given, "time_zone"), **moments)
        case "every":
            moments.setdefault("anchor_at", moments.get("start_at", created_ms))
            schedule = Every(_whole(given, "every_ms"), **moments)
        case "once":
            if "at" not in moments:
                raise _bad("schedule.at", "The schedule does not say at which moment.", "Set 'at'.")
            schedule = Once(**moments)
        case _:
            schedule = Manual()
    _check_fires(schedule, created_ms)
    return schedule


def problems(mapping: object, *, created_ms: int = 0) -> list[BadRequest]:
    """Everything that is wrong with a schedule, where ``parse`` tells what it meets first."""
    refusals: dict[tuple[str, str], BadRequest] = {}
    for check in _checks(mapping, created_ms):
        try:
            check()
        except BadRequest as refusal:
            refusals.setdefault((refusal.code, refusal.field or ""), refusal)
    return list(refusals.values())


def _checks(mapping: object, created_ms: int) -> Iterator[Callable[[], object]]:
    yield lambda: parse(mapping, created_ms=created_ms)
    if not isinstance(mapping, Mapping):
        return
    given = {key: value for key, value in mapping.items() if value is not None}
    if given.get("kind") == "cron":
        yield lambda: compile_cron(_text(given, "spec"))
        yield lambda: check_time_zone(_text(given, "time_zone"))
    elif given.get("kind") == "every":
        yield lambda: Every(_whole(given, "every_ms"), 0)
    for name in sorted(_MOMENTS & given.keys()):
        yield partial(_check_written, given[name], name)


def _check_written(moment: object, name: str) -> None:
    _check_moment(_moment(moment, name), name)


def as_mapping(schedule: Schedule) -> dict[str, str | int]:
    """Write a schedule so that ``parse`` reads the same one; what is not set is left out."""
    kind = type(schedule).__name__.lower()
    values = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    return {"kind": kind, **{name: value for name, value in values.items() if value is not None}}


def as_line(schedule: Schedule) -> str:
    """Write a schedule as one line, which ``of_line`` reads: its kind, then its values in order."""
    values = (getattr(schedule, field.name) for field in fields(schedule))
    return BETWEEN.join([type(schedule).__name__.lower(), *("" if value is None else str(value) for value in values)])


def of_line(line: str) -> dict[str, str | int]:
    """What ``as_mapping`` says of the schedule in a line; kind ``unknown`` for one that cannot be read here."""
    kind, *values = line.split(BETWEEN)
    parts = fields(KINDS[kind]) if kind in KINDS else ()
    texts = {part.name: value for part, value in zip(parts, values, strict=False) if value}
    is_whole = all(texts[name].isdecimal() for name in texts.keys() & _WHOLE)
    is_there = all(part.name in texts or part.default is not MISSING for part in parts)
    if kind not in KINDS or not (is_whole and is_there) or not _zone(texts.get("time_zone", "UTC")):
        return {"kind": "unknown"}
    return {"kind": kind, **{name: int(value) if name in _WHOLE else value for name, value in texts.items()}}


def check_time_zone(name: object, field: str = "schedule.time_zone") -> ZoneInfo:
    """Return the zone of an IANA name; raises BadRequest ``bad_time_zone`` with the nearest names."""
    if isinstance(name, str) and (zone := _zone(name)):
        return zone
    shown = repr(name)[:80]
    raise BadRequest(
        "bad_time_zone",
        f"{field} {shown} is not an IANA time zone." if name else f"{field} is empty.",
        field=field,
        hint=_time_zone_hint(name if isinstance(name, str) else ""),
    )


def time_zone_version() -> str:
    """Name the edition of the time-zone database, such as ``2026f``: an agenda made with another one is stale."""
    return str(importlib.import_module("tzdata").IANA_VERSION)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    if name not in _zone_names():
        return None
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text("ascii").split()) - {"Factory"}


_ALIASES = {
    "acst": "Australia/Adelaide",
    "aest": "Australia/Sydney",
    "akst": "America/Anchorage",
    "ast": "America/Halifax or Asia/Riyadh",
    "awst": "Australia/Perth",
    "bangalore bengaluru chennai delhi hyderabad mumbai new_delhi": "Asia/Kolkata",
    "barcelona": "Europe/Madrid",
    "beijing chengdu guangzhou hangzhou nanjing peking shenzhen wuhan": "Asia/Shanghai",
    "boston miami atlanta philadelphia washington": "America/New_York",
    "brt": "America/Sao_Paulo",
    "bst": "Europe/London or Asia/Dhaka",
    "cest": "Europe/Berlin",
    "cologne frankfurt hamburg munich stuttgart": "Europe/Berlin",
    "cst": "America/Chicago or Asia/Shanghai",
    "cdt dallas houston austin": "America/Chicago",
    "eest": "Europe/Helsinki",
    "est edt": "America/New_York",
    "geneva": "Europe/Zurich",
    "hanoi saigon": "Asia/Ho_Chi_Minh",
    "hkt": "Asia/Hong_Kong",
    "ist": "Asia/Kolkata, Europe/Dublin or Asia/Jerusalem",
    "jst osaka kyoto": "Asia/Tokyo",
    "kst": "Asia/Seoul",
    "mdt": "America/Denver",
    "milan": "Europe/Rome",
    "msk": "Europe/Moscow",
    "nzst nzdt wellington": "Pacific/Auckland",
    "pkt islamabad": "Asia/Karachi",
    "pst pdt san_francisco seattle": "America/Los_Angeles",
    "sgt": "Asia/Singapore",
    "west": "Europe/Lisbon",
    "wib": "Asia/Jakarta",
}
"""What people write for a time zone, by the names of the database: abbreviations, and cities it does not have."""


@lru_cache(maxsize=1)
def zones_by_alias() -> dict[str, str]:
    return {alias: names for aliases, names in _ALIASES.items() for alias in aliases.split()}


_OFFSET = re.compile(r"(?:utc|gmt)?([+-])0?([0-9]{1,2})(?::?00)?")


def _time_zone_hint(name: str) -> str:
    typed = name[:80].strip().replace(" ", "_")
    if alias := zones_by_alias().get(typed.casefold().rpartition("/")[2]):
        return f"Did you mean {alias}?"
    if offset := _OFFSET.fullmatch(typed.casefold()):
        turned = "-" if offset[1] == "+" else "+"
        if f"Etc/GMT{turned}{offset[2]}" in _zone_names():
            side = "ahead of" if offset[1] == "+" else "behind"
            return f"Name a city's zone, such as Asia/Shanghai; Etc/GMT{turned}{offset[2]} is {offset[2]} h {side} UTC."
    # Few are looked at while the machine is busy: those that begin alike come first.
    zones = sorted(_zone_names(), key=lambda zone: (zone[:4].casefold() != typed[:4].casefold(), zone))
    by_city = {zone.rpartition("/")[2]: zone for zone in reversed(zones)}
    likely = dict.fromkeys([*nearest(typed, zones), *(by_city[city] for city in nearest(typed, reversed(by_city)))])
    if likely:
        return f"Did you mean {' or '.join(list(likely)[:3])}?"
    return "Use a name such as Europe/Berlin, Asia/Shanghai or UTC."


# --- Checks -----------------------------------------------------------------------------------------------------------


def _check_fires(schedule: Schedule, created_ms: int) -> None:
    if isinstance(schedule, Once | Manual) or next_times(schedule, created_ms, PREVIEW):
        return
    raise BadRequest(
        "never_fires",
        "The schedule has no slot left between its start and its end.",
        field="schedule.end_at",
        hint="Move end_at so that at least one slot lies in the window.",
    )


def _check_keys(kind: str, given: Mapping[object, object], allowed: list[str]) -> None:
    for key in given:
        if key not in allowed:
            likely = nearest(str(key), allowed) or allowed
            remedy = f"Did you mean {' or '.join(likely)}?" if allowed else "Leave it out."
            raise _bad("schedule", f"A schedule of kind {kind!r} has no {str(key)[:80]!r}.", remedy)


def _check_window(start_at: int | None, end_at: int | None) -> None:
    for moment, name in ((start_at, "start_at"), (end_at, "end_at")):
        if moment is not None:
            _check_moment(moment, name)
    if start_at is not None and end_at is not None and end_at < start_at:
        raise _bad("schedule.end_at", f"end_at ({end_at}) lies before start_at ({start_at}).", "Swap them.")


def _check_moment(moment_ms: int, name: str) -> None:
    if not 0 <= moment_ms < LATEST_MS:
        raise BadRequest(
            "bad_moment",
            f"{name} is {moment_ms}, which is not between 1970 and 2100.",
            field=f"schedule.{name}",
            hint="Give milliseconds (not seconds) since 1970 in UTC.",
            limit=LATEST_MS,
        )


def _moment(value: object, name: str) -> int:
    """Read ms, or RFC 3339 text with an offset."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    hint = "Give milliseconds since 1970, or text such as 2027-01-31T09:00:00+01:00."
    if not isinstance(value, str):
        raise BadRequest("bad_moment", f"{name} is a {type(value).__name__}.", field=f"schedule.{name}", hint=hint)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        why = "is not a moment" if moment is None else "has no offset from UTC"
        raise BadRequest("bad_moment", f"{name} {value[:80]!r} {why}.", field=f"schedule.{name}", hint=hint)
    return round(moment.timestamp() * 1000)


def _text(given: Mapping[object, object], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        problem = "missing" if value is None else f"{str(value)[:80]!r}, not text"
        raise _bad(f"schedule.{name}", f"The schedule's {name} is {problem}.", f"Set {name!r}.")
    return value


def _whole(given: Mapping[object, object], name: str) -> int:
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        problem = "missing" if value is None else f"{str(value)[:80]!r}, not a whole number"
        raise _bad(f"schedule.{name}", f"The schedule's {name} is {problem}.", f"Set {name!r}, in ms.")
    return value


def _bad(field: str, message: str, hint: str) -> BadRequest:
    return BadRequest("bad_schedule", message, field=field, hint=hint)
