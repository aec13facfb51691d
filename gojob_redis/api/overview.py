"""The overview: how it goes, in one answer."""

from typing import Annotated

from fastapi import APIRouter, Query

from gojob_redis import view
from gojob_redis.api.bodies import moment_in
from gojob_redis.api.dependencies import InEdge, StrictRoute
from gojob_redis.api.scope import App, Namespace, Seeing, scope_of
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest
from gojob_redis.planning.planner import engine_time
from gojob_redis.view import Overview, Step

router = APIRouter(prefix="/v1", tags=["statistics"], route_class=StrictRoute)

Moment = Annotated[str, Query(max_length=64)]


@router.get("/overview")
async def show_overview(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    since: Annotated[Moment, Query(alias="from", description="ms or RFC 3339; an hour before `to` unless set")] = "",
    to: Annotated[Moment, Query(description="ms or RFC 3339; now unless set")] = "",
    step: Annotated[Step | None, Query(description="the shortest that is kept so long, unless set")] = None,
) -> Overview:
    """How it goes: what runs and waits, what ended and how, who works, what is planned, slow, failing or in trouble."""
    scope = scope_of(who, namespace, app)
    now_ms = await engine_time(edge.space[0])
    span = view.span_of(now_ms, moment_in(since, "from"), moment_in(to, "to"), step)
    if span.buckets > limits.OVERVIEW_BUCKETS:
        raise BadRequest(
            "too_many_buckets",
            f"That is {span.buckets} steps; an overview has {limits.OVERVIEW_BUCKETS} at most.",
            field="step",
            hint="Ask for a longer step or a shorter span.",
        )
    return await edge.overviews.of(scope.sees, scope.app, span)
