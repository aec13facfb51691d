"""Past and future on one axis: what happened to each handler or app, and what is planned for it.

1. What happened comes from the statistics, what is planned from the forecast. They meet at the next whole minute, so no
   fire is counted twice.
2. A row is one handler or app. The 50 with the most on the axis are shown. Where there are so many that not all of them
   can be read, those with the most tasks ever are. Rows that are triggers come in pages by name instead
   (``trigger_rows.py``).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.states import SlotWord
from gojob_redis.domain.tally import Sum
from gojob_redis.view.apps import Sees
from gojob_redis.view.forecast import Forecast, Planned, Steps, summed
from gojob_redis.view.queues import handler_names
from gojob_redis.view.stats import Span, Step, handlers_announced, span_of, sums_in, total_sums
from gojob_redis.view.trigger_rows import TriggerLine, TriggerRow, trigger_page

SUMS_READ: Final = 10_000
"""So many buckets of the past one answer reads."""


class RowOf(StrEnum):
    """What a row is."""

    HANDLER = "handler"
    APP = "app"
    TRIGGER = "trigger"


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A handler, an app or a trigger; each list has a number for every step from ``from_ms`` on.

    What ended is told by when it ended; of a trigger, by its slot.
    """

    namespace: str
    app: str
    handler: str
    completed: list[int]
    faulted: list[int]
    canceled: list[int]
    skipped: list[int]
    missed: list[int]
    """Slots that were too old, and are covered by a newer one that was fired."""
    planned: list[int]
    trigger: TriggerLine | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened, and what is planned."""

    from_ms: int
    to_ms: int
    step: Step
    now_ms: int
    planned_from_ms: int
    """What is planned is told from here on: the next whole minute."""
    triggers: int
    """Active triggers with a schedule, of all that was asked for."""
    covered: int
    """Those of them whose fires are in ``planned``."""
    planned: list[int]
    """All planned fires, also of rows that are not shown."""
    fired: list[int]
    """All fires of the past; of many handlers or apps, of those that were read."""
    rows: list[TimelineRow]
    """At most 50, those with the most first, and one without anything is left out; triggers by name."""
    is_whole: bool
    """Whether every row is shown that has something."""
    next: str | None = None
    """The cursor of the page that follows, of triggers."""


def axis_of(now_ms: int, from_ms: int, to_ms: int, step: Step | None) -> Span:
    """The axis that was asked for, in whole steps; an hour back and an hour ahead unless it is said.

    Raises BadRequest ``bad_span``, ``too_many_buckets``.
    """
    from_ms, to_ms = from_ms or now_ms - limits.HOUR_MS, to_ms or now_ms + limits.HOUR_MS
    if to_ms > now_ms + limits.FORECAST_AHEAD_MS or from_ms >= to_ms:
        raise BadRequest(
            "bad_span",
            f"From {from_ms} to {to_ms} is no span that ends within 7 days from now.",
            field="to" if from_ms < to_ms else "from",
            hint="Ask for a span that ends at most 7 days ahead.",
        )
    if step is None:
        fits = (
            each
            for each in Step
            if now_ms - from_ms <= each.kept_ms and (to_ms - from_ms) // each.ms < limits.TIMELINE_BUCKETS
        )
        step = next(fits, Step.HALF_HOUR)
    first, last = max(from_ms, now_ms - step.kept_ms) // step.ms, -(-to_ms // step.ms)
    if first < last <= first + limits.TIMELINE_BUCKETS:
        return Span(first * step.ms, last * step.ms, step)
    if first >= last:
        span_of(now_ms, from_ms, to_ms, step)  # says why: nothing is kept so long
    raise BadRequest(
        "too_many_buckets",
        f"That is {last - first} steps; a time line has {limits.TIMELINE_BUCKETS} at most.",
        field="step",
        hint="Ask for a longer step or a shorter span.",
    )


async def timeline(
    forecast: Forecast, sees: Sees, only: str, handler: str, axis: Span, by: RowOf, now_ms: int, cursor: str = ""
) -> Timeline:
    """What happened and is planned on this axis.

    only: this app (``namespace/app``), or "" for all that the caller may see.
    handler: only this one of the app (``namespace/app/handler``).
    cursor: of a page of triggers; raises BadRequest ``bad_cursor``.
    """
    if by is RowOf.TRIGGER:
        return await _of_triggers(forecast, sees, only, handler, axis, now_ms, cursor)
    by = RowOf.HANDLER if handler else by
    planned, subjects = await asyncio.gather(
        forecast.planned(sees, only, max(axis.from_ms, _soon(now_ms)), axis.to_ms, axis.step.ms),
        _subjects(forecast, sees, only, handler, by),
    )
    if handler:
        planned.by_handler = {handler: planned.by_handler.get(handler, {})}
    ahead = _by_row(planned, by)
    subjects, are_all = await _busiest(forecast, subjects, ahead, axis)
    past = await _past(forecast, subjects, axis, now_ms)
    volumes = {subject: _volume(past.get(subject, {}), ahead.get(subject, {})) for subject in {*subjects, *ahead}}
    ranked = sorted((each for each, volume in volumes.items() if volume), key=lambda each: (-volumes[each], each))
    shown = ranked[: limits.TIMELINE_ROWS]
    return _told(
        axis,
        now_ms,
        planned,
        past,
        [_row(subject, past.get(subject, {}), ahead.get(subject, {}), axis) for subject in shown],
        is_whole=are_all and len(shown) == len(ranked),
    )


async def _of_triggers(
    forecast: Forecast, sees: Sees, only: str, handler: str, axis: Span, now_ms: int, cursor: str
) -> Timeline:
    """A page of triggers by name; all fires are those of their handler, or of their apps."""
    ahead = Span(max(axis.from_ms, _soon(now_ms)), axis.to_ms, axis.step)
    page = await trigger_page(forecast, sees, only, name_of(handler), axis, ahead, cursor)
    planned = await forecast.planned(sees, only, ahead.from_ms, ahead.to_ms, axis.step.ms)
    if handler:
        planned.by_handler = {handler: planned.by_handler.get(handler, {})}
    subjects = await _subjects(forecast, sees, only, handler, RowOf.APP)
    past = await _past(forecast, subjects[: max(1, SUMS_READ // axis.buckets)], axis, now_ms)
    rows = [_trigger_row(each, page.planned.by_handler.get(each.address, {}), axis) for each in page.rows]
    return _told(
        axis,
        now_ms,
        planned,
        past,
        rows,
        is_whole=page.next is None and not cursor and page.planned.covered == page.planned.triggers,
        next_cursor=page.next,
    )


def _soon(now_ms: int) -> int:
    """The next whole minute, from which on fires are planned."""
    return (now_ms // limits.MINUTE_MS + 1) * limits.MINUTE_MS


def _told(
    axis: Span,
    now_ms: int,
    planned: Planned,
    past: Mapping[str, Mapping[int, Sum]],
    rows: list[TimelineRow],
    *,
    is_whole: bool,
    next_cursor: str | None = None,
) -> Timeline:
    """The answer, with what all its rows have in common."""
    return Timeline(
        from_ms=axis.from_ms,
        to_ms=axis.to_ms,
        step=axis.step,
        now_ms=now_ms,
        planned_from_ms=_soon(now_ms),
        triggers=planned.triggers,
        covered=planned.covered,
        planned=dense(planned.whole, axis),
        fired=_fired(past, axis),
        rows=rows,
        is_whole=is_whole,
        next=next_cursor,
    )


def _trigger_row(each: TriggerRow, ahead: Steps, axis: Span) -> TimelineRow:
    """A trigger on the axis, by its slots; a gap of several counts where it ends."""
    by_step: dict[str, Steps] = {word: {} for word in PAST}
    counted = [(end.state, end.slot_ms, 1) for end in each.line.ran]
    counted += [
        ("skipped" if gap.word is SlotWord.SKIPPED else "missed", gap.to_ms, gap.slots) for gap in each.line.gaps
    ]
    for word, at_ms, count in counted:
        step = at_ms // axis.step.ms
        by_step[word][step] = by_step[word].get(step, 0) + count
    counts = {word: dense(steps, axis) for word, steps in by_step.items()}
    return _row_of(f"{app_of(each.address)}/{each.handler}", counts, dense(ahead, axis), each.line)


def _fired(past: Mapping[str, Mapping[int, Sum]], axis: Span) -> list[int]:
    counts: Steps = {}
    for by_bucket in past.values():
        for at, sums in by_bucket.items():
            step = at // axis.step.ms
            counts[step] = counts.get(step, 0) + sums.total("fired")
    return dense(counts, axis)


async def _subjects(forecast: Forecast, sees: Sees, only: str, handler: str, by: RowOf) -> list[str]:
    """The handlers or apps that may have something in the past."""
    space = forecast.apps.space
    if handler:
        return [handler]
    if by is RowOf.APP:
        return [app for app, _partition in await forecast.apps.seen(sees, only=only)][: limits.SEARCH_APPS]
    if only:
        return [f"{only}/{name}" for name in await handler_names(space, only, "", limits.METRIC_HANDLERS_READ)]
    return [each for each in await handlers_announced(space) if sees(app_of(each))]


def _by_row(planned: Planned, by: RowOf) -> dict[str, Steps]:
    if by is RowOf.HANDLER:
        return planned.by_handler
    by_app: dict[str, list[Steps]] = {}
    for handler, own in planned.by_handler.items():
        by_app.setdefault(app_of(handler), []).append(own)
    return {app: summed(rows) for app, rows in by_app.items()}


async def _busiest(
    forecast: Forecast, subjects: Sequence[str], ahead: Mapping[str, Steps], axis: Span
) -> tuple[list[str], bool]:
    """Those with the most planned, then those with the most tasks ever: as many as can be read, and whether all are."""
    both = list(dict.fromkeys([*sorted(ahead, key=lambda each: -sum(ahead[each].values())), *subjects]))
    room = max(limits.TIMELINE_ROWS, SUMS_READ // axis.buckets)
    if len(both) <= room:
        return both, True
    planned, rest = both[: limits.TIMELINE_ROWS], both[limits.TIMELINE_ROWS : limits.SEARCH_APPS]
    sums = await total_sums(forecast.apps.space, rest)
    busiest = sorted(rest, key=lambda each: -sums[each].total("started"))
    return [*planned, *busiest][:room], False


async def _past(forecast: Forecast, subjects: Sequence[str], axis: Span, now_ms: int) -> dict[str, dict[int, Sum]]:
    to_ms = min(axis.to_ms, -(-now_ms // axis.step.ms) * axis.step.ms)
    if axis.from_ms >= to_ms:
        return {}
    return await sums_in(forecast.apps.space, subjects, Span(axis.from_ms, to_ms, axis.step))


PAST: Final = ("completed", "faulted", "canceled", "skipped", "missed")


def _volume(past: Mapping[int, Sum], ahead: Steps) -> int:
    return sum(ahead.values()) + sum(each.total(word) for each in past.values() for word in PAST)


def _row(subject: str, past: Mapping[int, Sum], ahead: Steps, axis: Span) -> TimelineRow:
    starts = range(axis.from_ms, axis.to_ms, axis.step.ms)
    counts = {word: [past[at].total(word) if at in past else 0 for at in starts] for word in PAST}
    return _row_of(subject, counts, dense(ahead, axis))


def _row_of(
    subject: str, counts: Mapping[str, list[int]], planned: list[int], trigger: TriggerLine | None = None
) -> TimelineRow:
    namespace, app, handler = (*subject.split("/"), "")[:3]
    completed, faulted, canceled, skipped, missed = (counts[word] for word in PAST)
    return TimelineRow(namespace, app, handler, completed, faulted, canceled, skipped, missed, planned, trigger)


def dense(counts: Steps, axis: Span) -> list[int]:
    """A number for each step of the axis."""
    first = axis.from_ms // axis.step.ms
    return [counts.get(first + at, 0) for at in range(axis.buckets)]
