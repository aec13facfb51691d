"""The event log: what did not go as planned."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from gojob_redis import view
from gojob_redis.api.bodies import moment_in_query
from gojob_redis.api.dependencies import AskedLive, Cursor, InEdge, Limit, Needs, StrictRoute, forbidden
from gojob_redis.control.identities import Identity
from gojob_redis.domain import ids, limits, names
from gojob_redis.domain.errors import check_span
from gojob_redis.domain.events import EventKind
from gojob_redis.view import Event, EventFilter, Page

router = APIRouter(prefix="/v1", tags=["events"], route_class=StrictRoute)

Seeing = Annotated[Identity, Depends(Needs("see"))]
Namespace = Annotated[str, Query(description="only events of this namespace", max_length=64)]
App = Annotated[str, Query(description="only events of this app of the namespace", max_length=64)]
Kinds = Annotated[list[EventKind], Query(alias="kind", description="only these kinds", max_length=len(EventKind))]
Moment = Annotated[str, Query(description="ms since 1970, or RFC 3339 text with an offset", max_length=64)]


async def chosen(
    namespace: Namespace = "",
    app: App = "",
    handler: Annotated[str, Query(description="only events of handlers with this name", max_length=255)] = "",
    kinds: Kinds = [],  # noqa: B006  FastAPI copies it
    task: Annotated[str, Query(description="only events of this task", max_length=64)] = "",
    trigger: Annotated[str, Query(description="only events of this trigger: its name, or its uid", max_length=64)] = "",
    since: Annotated[Moment, Query(alias="from", description="only events from this moment on")] = "",
    to: Annotated[Moment, Query(description="only events before this moment")] = "",
    order: Annotated[Literal["newest", "oldest"], Query(description="which come first")] = "newest",
) -> EventFilter:
    """What the caller asks for."""
    if app:
        names.check_app(app)
    from_ms = moment_in_query(since, "from") if since else 0
    to_ms = moment_in_query(to, "to") if to else limits.LATEST_MS
    check_span(from_ms, to_ms)
    return EventFilter(
        kinds=frozenset(kinds),
        app=f"{namespace or 'default'}/{app}" if app else "",
        handler=names.check_handler(handler) if handler else "",
        task=ids.parse_task_id(task) if task else "",
        trigger=names.check_trigger(trigger) if trigger else "",
        from_ms=from_ms,
        to_ms=to_ms,
        is_oldest_first=order == "oldest",
    )


@router.get("/events")
async def list_events(
    edge: InEdge,
    who: Seeing,
    chosen: Annotated[EventFilter, Depends(chosen)],
    namespace: Namespace = "",
    live: AskedLive = False,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Page[Event]:
    """Events that this token covers; those of no app for a token that covers everything."""
    sees = seen_by(who, namespace, chosen.app)
    position = await edge.positions.now() if live and not cursor else None
    page = await view.events(edge.space, sees, chosen, cursor=cursor, limit=limit, position=position)
    return page if position is None else page.at(edge.positions.written(position))


def seen_by(who: Identity, namespace: str, app: str) -> Callable[[str], bool]:
    """Which apps' events are shown ("" is an event of no app); raises BadRequest ``forbidden``.

    namespace, app: only of these; an app as ``namespace/app``.
    """
    namespace = app.partition("/")[0] if app else namespace
    if namespace:
        names.check_namespace(namespace)
        name = app.partition("/")[2] or None
        if not who.covers(namespace, name):
            raise forbidden(who, "see", app or namespace)

    def sees(address: str) -> bool:
        if not address:
            return who.covers_everything and not namespace
        of_namespace, _, of_app = address.partition("/")
        return (not namespace or of_namespace == namespace) and who.covers(of_namespace, of_app)

    return sees
