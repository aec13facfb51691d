"""When it fails: what ended and what faulted, by hour of the day and day of the week, in the zone of whoever asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from gojob_redis.domain import limits
from gojob_redis.domain.tally import Sum
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.stats import Span, Step, span_of, sums_in

WEEK_MS: Final = 28 * limits.DAY_MS
"""Four weeks, unless somebody says from when."""


@dataclass(frozen=True, slots=True)
class Week:
    """The hours of a week: seven rows, Monday first, of 24 numbers each."""

    from_ms: int
    to_ms: int
    zone: str
    faulted: list[list[int]]
    ended: list[list[int]]
    """Tasks that completed or faulted."""


def week_span(now_ms: int, from_ms: int, to_ms: int) -> Span:
    """The span that was asked for, in half-hours; raises BadRequest ``bad_span``."""
    return span_of(now_ms, from_ms or (to_ms or now_ms) - WEEK_MS, to_ms, Step.HALF_HOUR)


async def week(space: Partitions, subject: str, span: Span, zone: ZoneInfo) -> Week:
    """The hours of the week of a handler or an app.

    A half-hour belongs to the hour in which it begins; in a zone that is a quarter of an hour off, so does its end.
    """
    by_half = (await sums_in(space, [subject], span))[subject]
    return week_of(by_half, span, zone)


def week_of(by_half: Mapping[int, Sum], span: Span, zone: ZoneInfo) -> Week:
    """The same from sums by the beginnings of half-hours."""
    faulted, ended = ([[0] * 24 for _ in range(7)] for _ in range(2))
    for at_ms, sums in by_half.items():
        local = datetime.fromtimestamp(at_ms / 1000, zone)
        failures = sums.total("faulted")
        faulted[local.weekday()][local.hour] += failures
        ended[local.weekday()][local.hour] += failures + sums.total("completed")
    return Week(span.from_ms, span.to_ms, zone.key, faulted, ended)
