"""The time line: what happened and what is planned."""

from typing import Annotated

from fastapi import APIRouter, Query

from gojob_redis import view
from gojob_redis.api.bodies import moment_in
from gojob_redis.api.dependencies import InEdge, StrictRoute
from gojob_redis.api.scope import App, Namespace, Seeing, scope_of
from gojob_redis.domain import names
from gojob_redis.domain.errors import BadRequest, bad_cursor
from gojob_redis.planning.planner import engine_time
from gojob_redis.view import RowOf, Step, Timeline

router = APIRouter(prefix="/v1", tags=["statistics"], route_class=StrictRoute)

Moment = Annotated[str, Query(max_length=64)]


@router.get("/timeline")
async def show_timeline(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    handler: Annotated[str, Query(description="only this handler of the app", max_length=255)] = "",
    since: Annotated[Moment, Query(alias="from", description="ms or RFC 3339; an hour ago unless set")] = "",
    to: Annotated[Moment, Query(description="ms or RFC 3339; an hour ahead unless set, at most 7 days")] = "",
    step: Annotated[Step | None, Query(description="the shortest that is kept so long, unless set")] = None,
    by: Annotated[RowOf, Query(description="what a row is")] = RowOf.HANDLER,
    cursor: Annotated[str, Query(description="`next` of the page before, of triggers", max_length=256)] = "",
) -> Timeline:
    """Past and future on one axis: what ended and was skipped, and how many fires are planned, in steps.

    Triggers come in pages of 50 by name, each with its last 200 slots one by one.
    """
    scope = scope_of(who, namespace, app)
    if cursor and by is not RowOf.TRIGGER:
        raise bad_cursor(cursor)
    if handler and not app:
        raise BadRequest("missing", "handler needs its app.", field="app", hint="Add app=NAME.")
    address = f"{scope.app}/{names.check_handler(handler)}" if handler else ""
    now_ms = await engine_time(edge.space[0])
    axis = view.axis_of(now_ms, moment_in(since, "from"), moment_in(to, "to"), step)
    return await view.timeline(edge.forecast, scope.sees, scope.app, address, axis, by, now_ms, cursor)
