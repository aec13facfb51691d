"""What happened, as numbers: by handler, app or namespace, in minutes, ten minutes or half-hours.

1. The fold (``maintenance/fold.py``) writes minutes as they come, and adds ten minutes and half-hours up when they are
   over. So what it did not add up yet is read from the minutes here, whatever the step, but not what is older than
   ``RECENT_MS``.
2. A bucket in which nothing happened is not there, and no answer has one.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest, check_span
from gojob_redis.domain.tally import HALF_MS, TEN_MS, Spread, Sum
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.sums import unpack_day, unpack_sum
from gojob_redis.view.records import homes_of, number, text

RECENT_MS = 2 * limits.HOUR_MS
READ_AT_ONCE = 500
DECODED_AT_ONCE = 300


class Step(StrEnum):
    """How long a bucket is."""

    MINUTE = "1m"
    TEN_MINUTES = "10m"
    HALF_HOUR = "30m"

    @property
    def ms(self) -> int:
        return {"1m": limits.MINUTE_MS, "10m": TEN_MS, "30m": HALF_MS}[self.value]

    @property
    def kept_ms(self) -> int:
        """How long it is known what happened in such a bucket."""
        kept = {"1m": limits.STATS_MINUTES_MS, "10m": limits.STATS_TENS_MS, "30m": limits.STATS_HALVES_MS}
        return kept[self.value]


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, and in which steps."""

    from_ms: int
    to_ms: int
    step: Step

    @property
    def buckets(self) -> int:
        return (self.to_ms - self.from_ms) // self.step.ms


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took. Percentiles are right to a tenth."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: int | None
    max_task: str
    """The task that took longest, where that is known."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in some time. Tasks are submitted, fired, and end; attempts are started, retried and lost."""

    submitted: int
    fired: int
    started: int
    completed: int
    faulted: int
    canceled: int
    retried: int
    lost: int
    rejected: int
    unaccepted: int
    missed: int
    """Slots that were too old, and are covered by a newer one that was fired."""
    skipped: int
    faulted_by: dict[str, int]
    skipped_by: dict[str, int]
    failure_rate: float | None
    """Faulted of those that ended on their own."""
    wait: Times
    """From when a task could begin to its first attempt."""
    lateness: Times
    """From a slot to its fire."""
    duration: Times
    """From the first attempt of a task to its end."""
    last_ended_ms: int | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened from a moment on, for one step."""

    from_ms: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Series:
    """What happened to a handler, an app, or all that was asked for."""

    namespace: str
    app: str
    handler: str
    figures: Figures
    in_per_s: float
    """Tasks submitted and fired."""
    out_per_s: float
    """Tasks that ended."""
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class Totals:
    """All that ever happened to a handler or an app, and what is under way."""

    namespace: str
    app: str
    handler: str
    unfinished: int
    """Tasks that did not end yet."""
    running: int
    """Attempts that run now."""
    figures: Figures


def times_of(spread: Spread) -> Times:
    count = spread.count
    if not count:
        return Times(0, None, None, None, None, None, "")
    p50, p95, p99 = (round(spread.quantile(share) or 0.0, 1) for share in (0.5, 0.95, 0.99))
    return Times(count, round(spread.sum_ms / count, 1), p50, p95, p99, spread.max_ms, spread.max_task)


def figures_of(sums: Sum) -> Figures:
    total = sums.total
    ended = total("completed") + total("faulted")
    return Figures(
        submitted=total("submitted"),
        fired=total("fired"),
        started=total("started"),
        completed=total("completed"),
        faulted=total("faulted"),
        canceled=total("canceled"),
        retried=total("retried"),
        lost=total("lost"),
        rejected=total("rejected"),
        unaccepted=total("unaccepted"),
        missed=total("missed"),
        skipped=total("skipped"),
        faulted_by=sums.reasons("faulted"),
        skipped_by=sums.reasons("skipped"),
        failure_rate=round(total("faulted") / ended, 4) if ended else None,
        wait=times_of(sums.wait),
        lateness=times_of(sums.lateness),
        duration=times_of(sums.duration),
        last_ended_ms=sums.last_ended_ms or None,
    )


def span_of(now_ms: int, from_ms: int, to_ms: int, step: Step | None) -> Span:
    """The span that was asked for, in whole steps, as far back as they are kept; the last hour unless it is said.

    Raises BadRequest ``bad_span``, ``too_many_buckets``.
    """
    to_ms = min(to_ms or now_ms, now_ms)
    from_ms = from_ms or to_ms - limits.HOUR_MS
    if step is None:
        step = next((each for each in Step if now_ms - from_ms <= each.kept_ms), Step.HALF_HOUR)
    first = max(from_ms, now_ms - step.kept_ms) // step.ms
    last = -(-to_ms // step.ms)
    check_span(from_ms, to_ms)
    if first >= last:
        raise BadRequest(
            "bad_span",
            f"From {from_ms} to {to_ms} nothing is kept in steps of {step}.",
            field="from",
            hint=f"Steps of {step} are kept for {step.kept_ms // limits.HOUR_MS} h; ask for a longer step.",
        )
    span = Span(first * step.ms, last * step.ms, step)
    if span.buckets > limits.STATS_BUCKETS:
        raise BadRequest(
            "too_many_buckets",
            f"That is {span.buckets} buckets; an answer has {limits.STATS_BUCKETS} at most.",
            field="step",
            hint="Ask for a longer step or a shorter span.",
        )
    return span


# ---- reading ---------------------------------------------------------------------------------------------------------


async def sums_in(space: Partitions, subjects: Sequence[str], span: Span) -> dict[str, dict[int, Sum]]:
    """What happened to handlers and apps, by subject and beginning of the bucket; what is not there did not happen."""
    homes = await homes_of(space, subjects)
    sums: dict[str, dict[int, Sum]] = {subject: {} for subject in subjects}
    recent = dict.fromkeys(homes, span.from_ms)
    if span.step is not Step.MINUTE:
        recent = await _recent(space, homes, span)
        await _stored(space, homes, span, recent, sums)
    await _minutes(space, homes, span, recent, sums)
    return sums


async def _recent(space: Partitions, places: Iterable[int], span: Span) -> dict[int, int]:
    """From when on the minutes of each partition are read: the half-hour of the first ten minutes not added up yet."""
    asked = [("HGET", K.meta(space.prefixes[0]), "raw")]
    asked += [("ZRANGE", K.unrolled(space.prefixes[place]), 0, 0) for place in places]  # type: ignore[misc]
    raw, *answers = await space.read_all(asked)
    recent = {}
    for place, tens in zip(places, answers, strict=True):
        first_ms = int(tens[0]) * TEN_MS if tens else span.to_ms
        first_ms = max(first_ms, number(raw) - RECENT_MS) // HALF_MS * HALF_MS
        recent[place] = max(span.from_ms, min(span.to_ms, first_ms))
    return recent


async def _now(space: Partitions) -> int:
    [raw] = await space.read_all([("HGET", K.meta(space.prefixes[0]), "raw")])
    return number(raw)


async def _minutes(
    space: Partitions,
    homes: Mapping[int, Sequence[str]],
    span: Span,
    from_ms: Mapping[int, int],
    sums: dict[str, dict[int, Sum]],
) -> None:
    end = -(-span.to_ms // limits.MINUTE_MS)
    asked = [
        (minute, subjects, space.prefixes[place])
        for place, subjects in homes.items()
        for minute in range(from_ms[place] // limits.MINUTE_MS, end)
    ]
    async for (minute, subjects, _prefix), answer in _answered(
        space, asked, lambda each: ("HMGET", K.minute(each[2], str(each[0])), *each[1])
    ):
        at = minute * limits.MINUTE_MS // span.step.ms * span.step.ms
        for subject, value in zip(subjects, answer, strict=True):
            if value is not None:
                sums[subject].setdefault(at, Sum()).add(unpack_sum(value))


async def _stored(
    space: Partitions,
    homes: Mapping[int, Sequence[str]],
    span: Span,
    to_ms: Mapping[int, int],
    sums: dict[str, dict[int, Sum]],
) -> None:
    key = K.tens if span.step is Step.TEN_MINUTES else K.halves
    first = span.from_ms // limits.DAY_MS
    asked = [
        (day, subject, place)
        for place, own in homes.items()
        for subject in own
        for day in range(first, -(-to_ms[place] // limits.DAY_MS))
    ]
    async for (day, subject, place), value in _answered(
        space, asked, lambda each: ("GET", key(space.prefixes[each[2]], each[1], str(each[0])))
    ):
        for part, packed in unpack_day(value).items():
            at = day * limits.DAY_MS + part * span.step.ms
            if span.from_ms <= at < to_ms[place]:
                sums[subject][at] = Sum.of(packed)


async def _answered(space: Partitions, asked: Sequence[Any], command: Any) -> Any:
    """What was asked for with its answer, some at a time, so that nobody else waits for all."""
    for first in range(0, len(asked), READ_AT_ONCE):
        some = asked[first : first + READ_AT_ONCE]
        answers = await space.read_all([command(each) for each in some])
        for at, (each, answer) in enumerate(zip(some, answers, strict=True)):
            yield each, answer
            if at % DECODED_AT_ONCE == DECODED_AT_ONCE - 1:
                await asyncio.sleep(0)


# ---- answers ---------------------------------------------------------------------------------------------------------


async def stats(
    space: Partitions, subjects: Sequence[str], span: Span, *, together: str | None = None, buckets: bool = True
) -> list[Series]:
    """What happened to each of these handlers and apps; or, with the name of all of them, to all together."""
    by_subject = await sums_in(space, subjects, span)
    if together is not None:
        by_subject = {together: joined(by_subject.values())}
    return [_series(subject, by_bucket, span, buckets) for subject, by_bucket in by_subject.items()]


def joined(several: Iterable[Mapping[int, Sum]]) -> dict[int, Sum]:
    """What happened to several together, by the beginning of the bucket."""
    together: dict[int, Sum] = {}
    for by_bucket in several:
        for at, sums in by_bucket.items():
            together.setdefault(at, Sum()).add(sums)
    return together


def _series(subject: str, by_bucket: Mapping[int, Sum], span: Span, buckets: bool) -> Series:
    whole = Sum()
    for sums in by_bucket.values():
        whole.add(sums)
    figures = figures_of(whole)
    seconds = (span.to_ms - span.from_ms) / 1000
    namespace, app, handler = (*subject.split("/"), "", "")[:3]
    return Series(
        namespace=namespace,
        app=app,
        handler=handler,
        figures=figures,
        in_per_s=round((figures.submitted + figures.fired) / seconds, 3),
        out_per_s=round((figures.completed + figures.faulted + figures.canceled) / seconds, 3),
        buckets=[Bucket(at, figures_of(by_bucket[at])) for at in sorted(by_bucket)] if buckets else [],
    )


async def totals(space: Partitions, subjects: Sequence[str]) -> list[Totals]:
    """All that ever happened to these handlers and apps; zeros for one to which nothing did."""
    return [_totals(subject, sums) for subject, sums in (await total_sums(space, subjects)).items()]


async def total_sums(space: Partitions, subjects: Sequence[str]) -> dict[str, Sum]:
    """The same, as sums."""
    homes = await homes_of(space, subjects)
    asked = [(subject, space.prefixes[place]) for place, own in homes.items() for subject in own]
    sums = {subject: Sum() for subject in subjects}
    async for (subject, _prefix), value in _answered(space, asked, lambda each: ("GET", K.totals(each[1], each[0]))):
        sums[subject] = unpack_sum(value)
    return sums


def _totals(subject: str, sums: Sum) -> Totals:
    figures = figures_of(sums)
    namespace, app, handler = (*subject.split("/"), "", "")[:3]
    return Totals(
        namespace=namespace,
        app=app,
        handler=handler,
        unfinished=max(0, figures.submitted + figures.fired - figures.completed - figures.faulted - figures.canceled),
        running=max(0, figures.started - sums.total("stopped")),
        figures=figures,
    )


async def handlers_announced(space: Partitions) -> list[str]:
    """The handlers that were announced last."""
    most = limits.METRIC_HANDLERS_READ // space.count + 1
    answers = await space.read_all([("ZRANGE", K.handlers(prefix), 0, most - 1, "REV") for prefix in space.prefixes])
    return [text(handler) for answer in answers for handler in answer]


async def gaps(space: Partitions) -> int:
    """How many calls of scripts were never added up, in all."""
    answers = await space.read_all([("HGET", K.meta(prefix), "stats_gap") for prefix in space.prefixes])
    return sum(map(number, answers))


async def apps_of(space: Partitions, namespace: str, after: str, limit: int) -> list[str]:
    """``namespace/app`` of the known apps after one, in order; of all namespaces where none is named."""
    client: Any = space.clients.commands
    match = f"{namespace}/*" if namespace else "*"
    names = {text(name) async for name, _place in client.hscan_iter(K.apps(CONTROL), match=match, count=1_000)}
    return sorted(name for name in names if name > after)[:limit]
