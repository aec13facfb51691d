"""Planned times as people read them: in the schedule's own zone, and what the clock change of that day does to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from gojob_redis.schedules.cron import compile_cron
from gojob_redis.schedules.schedule import Cron, Schedule, check_time_zone


class Mark(StrEnum):
    """What a change of the clock does to a planned time."""

    NONE = "none"
    GAP = "gap"
    """The time that the schedule names is skipped that day; it fires when the skipped hour ends."""
    FOLD = "fold"
    """The wall clock shows this time twice that day; the offset tells which of both it is."""


@dataclass(frozen=True, slots=True)
class PlannedTime:
    """A moment at which a schedule fires."""

    at_ms: int
    utc: str
    local: str
    """In the schedule's time zone, with its offset."""
    offset: str
    """Of that zone at this moment, such as ``+02:00``."""
    mark: Mark


def zone_and_spec(mapping: Mapping[str, str | int]) -> tuple[str, str]:
    """Of a schedule as it is stored: those that ``planned_time`` takes."""
    return (str(mapping["time_zone"]), str(mapping["spec"])) if mapping.get("kind") == "cron" else ("UTC", "")


def planned_times(rule: Schedule, times: Sequence[int]) -> list[PlannedTime]:
    """Slots of a schedule as people read them."""
    zone, spec = (rule.time_zone, rule.spec) if isinstance(rule, Cron) else ("UTC", "")
    return [planned_time(at_ms, zone, spec) for at_ms in times]


def planned_time(at_ms: int, zone: str = "UTC", spec: str = "") -> PlannedTime:
    """A slot as people read it; zone and spec are those of a cron schedule, and were checked."""
    local = datetime.fromtimestamp(at_ms / 1000, check_time_zone(zone))
    text, offset = f"{local:%a %Y-%m-%d %H:%M:%S %Z (%z)}", local.isoformat(timespec="seconds")[19:]
    return PlannedTime(at_ms, utc_text(at_ms), text, offset, _mark(spec, local))


def utc_text(at_ms: int) -> str:
    """A moment as ``2027-01-31T09:00:00Z``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _mark(spec: str, local: datetime) -> Mark:
    if not spec:
        return Mark.NONE
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        return Mark.FOLD
    before = datetime.fromtimestamp(local.timestamp() - 1, local.tzinfo)
    if (local.utcoffset() or timedelta()) <= (before.utcoffset() or timedelta()):
        return Mark.NONE
    names = compile_cron(spec)
    is_named = local.hour in names.hours and local.minute in names.minutes and local.second in names.seconds
    return Mark.NONE if is_named else Mark.GAP
