"""Planned times as people read them: in the schedule's own zone, and what the clock change of that day does to them."""

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


def planned_time(rule: Schedule, at_ms: int) -> PlannedTime:
    """A slot of a schedule as people read it."""
    zone = check_time_zone(rule.time_zone) if isinstance(rule, Cron) else UTC
    local = datetime.fromtimestamp(at_ms / 1000, zone)
    text, offset = f"{local:%a %Y-%m-%d %H:%M:%S %Z (%z)}", local.isoformat(timespec="seconds")[19:]
    return PlannedTime(at_ms, utc_text(at_ms), text, offset, _mark(rule, local))


def utc_text(at_ms: int) -> str:
    """A moment as ``2027-01-31T09:00:00Z``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _mark(rule: Schedule, local: datetime) -> Mark:
    if not isinstance(rule, Cron):
        return Mark.NONE
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        return Mark.FOLD
    before = datetime.fromtimestamp(local.timestamp() - 1, local.tzinfo)
    if (local.utcoffset() or timedelta()) <= (before.utcoffset() or timedelta()):
        return Mark.NONE
    spec = compile_cron(rule.spec)
    is_named = local.hour in spec.hours and local.minute in spec.minutes and local.second in spec.seconds
    return Mark.NONE if is_named else Mark.GAP
