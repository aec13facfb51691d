"""Statistics: what happened, as numbers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gojob_redis import view
from gojob_redis.api.bodies import moment_in
from gojob_redis.api.dependencies import (
    Cursor,
    Edge,
    InApp,
    InEdge,
    Limit,
    StrictRoute,
    TriggerName,
)
from gojob_redis.api.scope import App, Namespace, Scope, Seeing, scope_of
from gojob_redis.domain import limits, names
from gojob_redis.domain.errors import BadRequest, bad_cursor
from gojob_redis.planning.planner import engine_time
from gojob_redis.schedules.schedule import check_time_zone
from gojob_redis.view import FailureGroup, Page, Series, Step, Totals, TriggerStats, Troubled, VersionMark, Week

router = APIRouter(prefix="/v1", tags=["statistics"], route_class=StrictRoute)

SeenApp = Annotated[str, Depends(InApp("see"))]
Handler = Annotated[str, Query(description="only this handler of the app", max_length=64)]
Moment = Annotated[str, Query(max_length=64)]
READS = 20_000
"""Buckets that one answer reads at most."""


FAILING_APPS = 20
"""Apps on one page of failures."""


class Alike(StrEnum):
    """What failures are counted together."""

    FINGERPRINT = "fingerprint"


class GroupBy(StrEnum):
    """What gets a series of its own."""

    HANDLER = "handler"
    APP = "app"


@dataclass(frozen=True, slots=True)
class StatsAnswer:
    """What happened from one moment to another."""

    from_ms: int
    to_ms: int
    step: Step
    stats_gap: int
    """Calls of scripts whose effects were lost before they were added up, in the whole installation, ever."""
    items: list[Series]
    next: str | None
    versions: list[VersionMark]
    """Of the one handler that was named: when its versions came, the newest first."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The handlers and apps that a caller asked for and may see."""

    subjects: list[str]
    whole: str
    """What they are together."""
    next: str | None = None


@router.get("/stats")
async def show_stats(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    handler: Handler = "",
    since: Annotated[Moment, Query(alias="from", description="ms or RFC 3339; an hour before `to` unless set")] = "",
    to: Annotated[Moment, Query(description="ms or RFC 3339; now unless set")] = "",
    step: Annotated[Step | None, Query(description="the shortest that is kept so long, unless set")] = None,
    group_by: Annotated[GroupBy | None, Query(description="a series for each handler of the app, or each app")] = None,
    buckets: Annotated[bool, Query(description="false: only the sums of the whole span")] = True,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> StatsAnswer:
    """How much happened, how long it waited and took, in steps of a minute, ten minutes or half an hour."""
    span = view.span_of(await engine_time(edge.space[0]), moment_in(since, "from"), moment_in(to, "to"), step)
    asked = await _asked(edge, scope_of(who, namespace, app), handler, group_by, cursor, limit)
    if len(asked.subjects) * (span.buckets if span.step is Step.MINUTE else 1 + span.buckets // 8) > READS:
        raise BadRequest(
            "too_many_buckets",
            f"That is {span.buckets} buckets of {len(asked.subjects)} handlers or apps.",
            field="step",
            hint="Ask for a longer step, a shorter span, fewer with limit, or one app.",
        )
    items = await view.stats(
        edge.space, asked.subjects, span, together=None if group_by else asked.whole, buckets=buckets
    )
    if buckets and sum(len(item.buckets) for item in items) > limits.STATS_BUCKETS:
        raise BadRequest(
            "too_many_buckets",
            f"An answer has {limits.STATS_BUCKETS} buckets at most.",
            field="step",
            hint="Ask with buckets=false, for a longer step, or for fewer with limit.",
        )
    versions = await view.version_marks(edge.space, asked.subjects[0]) if handler else []
    gap = await view.stats_gaps(edge.space)
    return StatsAnswer(span.from_ms, span.to_ms, span.step, gap, items, asked.next, versions)


@router.get("/stats/week")
async def show_week(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    handler: Handler = "",
    since: Annotated[Moment, Query(alias="from", description="ms or RFC 3339; four weeks before `to` unless set")] = "",
    to: Annotated[Moment, Query(description="ms or RFC 3339; now unless set")] = "",
    zone: Annotated[str, Query(description="the IANA time zone of the hours", max_length=64)] = "UTC",
) -> Week:
    """When tasks of an app or a handler fail: what ended and what faulted, by hour of the day and day of the week."""
    scope = scope_of(who, namespace, app)
    if not scope.app:
        raise BadRequest("missing", "The hours of a week are those of an app.", field="app", hint="Add app=NAME.")
    span = view.week_span(await engine_time(edge.space[0]), moment_in(since, "from"), moment_in(to, "to"))
    subject = f"{scope.app}/{names.check_handler(handler)}" if handler else scope.app
    return await view.week(edge.space, subject, span, check_time_zone(zone, "zone"))


@router.get("/stats/totals")
async def show_totals(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    handler: Handler = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Page[Totals]:
    """All that ever happened, and what is under way: of one handler, of the handlers of an app, or of apps."""
    group_by = None if handler else GroupBy.HANDLER if app else GroupBy.APP
    asked = await _asked(edge, scope_of(who, namespace, app), handler, group_by, cursor, limit)
    return Page(await view.totals(edge.space, asked.subjects), asked.next)


@router.get("/apps/{namespace}/{app}/triggers/{name}/stats")
async def show_trigger_stats(edge: InEdge, app: SeenApp, name: TriggerName) -> TriggerStats:
    """How the last 200 tasks of a trigger ended, and how many on each day of the last year."""
    names.check_trigger(name)
    partition, uid = await view.uid_of(edge.space, app, name)
    return await view.trigger_stats(partition, uid)


@router.get("/apps/{namespace}/{app}/troubled")
async def list_troubled(edge: InEdge, app: SeenApp, cursor: Cursor = "") -> Page[Troubled]:
    """The triggers whose last task faulted."""
    partition = await view.home(edge.space, app)
    return Page([], None) if partition is None else await view.troubled(partition, app, cursor)


@router.get("/failures")
async def list_failures(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    handler: Handler = "",
    by: Annotated[Alike, Query(description="what is counted together")] = Alike.FINGERPRINT,
    cursor: Cursor = "",
) -> Page[FailureGroup]:
    """What failed, those alike together, the last seen first: of one app, or of apps in pages of 20 by name."""
    asked = await _asked(edge, scope_of(who, namespace, app), "", None if app else GroupBy.APP, cursor, FAILING_APPS)
    return Page(await view.failures(edge.space, asked.subjects, handler and names.check_handler(handler)), asked.next)


async def _asked(edge: Edge, scope: Scope, handler: str, group_by: GroupBy | None, cursor: str, limit: int) -> _Asked:
    """Raises BadRequest for a handler that is none, a group that makes no sense here, ``bad_cursor``."""
    if handler and not scope.app:
        raise BadRequest("missing", "handler needs its app.", field="app", hint="Add app=NAME.")
    if handler:
        address = f"{scope.app}/{names.check_handler(handler)}"
        return _Asked([address], address)
    if cursor and not _goes_on(cursor, scope, group_by):
        raise bad_cursor(cursor)
    if group_by is GroupBy.HANDLER:
        if not scope.app:
            raise BadRequest(
                "missing", "group_by=handler needs an app.", field="app", hint="Add app=NAME, or group by app."
            )
        handlers = await view.handler_names(edge.space, scope.app, cursor, limit + 1)
        more = handlers[limit - 1] if len(handlers) > limit else None
        return _Asked([f"{scope.app}/{name}" for name in handlers[:limit]], scope.app, more)
    if scope.app:
        return _Asked([scope.app], scope.app)
    seen = [each for each in await view.apps_of(edge.space, scope.namespace, cursor, limits.APPS) if scope.sees(each)]
    if group_by is None:
        return _Asked(seen, scope.namespace)
    return _Asked(seen[:limit], scope.namespace, seen[limit - 1] if len(seen) > limit else None)


def _goes_on(cursor: str, scope: Scope, group_by: GroupBy | None) -> bool:
    """Whether a cursor is the name that a page of handlers, or of apps, ended with."""
    parts = cursor.split("/")
    try:
        if group_by is GroupBy.HANDLER:
            return bool(names.check_handler(cursor))
        return not scope.app and len(parts) == 2 and all(map(names.check_app, parts))
    except BadRequest:
        return False
