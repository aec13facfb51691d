"""Triggers as lists: those of all apps that the caller may see, found by what they are, and those that were removed."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from gojob_redis import view
from gojob_redis.api.dependencies import Cursor, InApp, InEdge, Limit, LivePosition, StrictRoute
from gojob_redis.api.schedules import ScheduleAnswer, shown
from gojob_redis.api.scope import App, Namespace, Seeing, scope_of
from gojob_redis.domain import limits, names
from gojob_redis.domain.states import State, TriggerState
from gojob_redis.schedules import schedule
from gojob_redis.schedules.planned import PlannedTime, planned_time, zone_and_spec
from gojob_redis.view import Search
from gojob_redis.view.trigger_list import STATES

router = APIRouter(prefix="/v1", tags=["triggers"], route_class=StrictRoute)

STRIP: Final = 20
"""So many of the last ends of a trigger stand in its row."""

Handler = Annotated[str, Query(description="only triggers of this handler", max_length=64)]
Text = Annotated[
    str, Query(description="only triggers with this text in name, handler, owner or schedule", max_length=64)
]
Prefix = Annotated[str, Query(description="only triggers whose names begin so", max_length=64)]
Owner = Annotated[str, Query(description="only triggers of this owner", max_length=limits.OWNER_BYTES)]
States = Annotated[list[TriggerState], Query(description="only triggers in one of these states", max_length=6)]
NeverFired = Annotated[bool | None, Query(description="true: only those no slot of which was decided; false: others")]
Last = Annotated[
    Literal["run_to_completion", "faulted", "canceled"] | None,
    Query(description="only triggers whose last task ended so; it is known some seconds after the end"),
]
Include = Annotated[
    list[Literal["next", "last", "strip"]], Query(description="what is shown of each besides", max_length=4)
]
Facets = Annotated[
    list[Literal["state", "last"]], Query(description="what is counted on all that are sought", max_length=4)
]


class StripEnd(BaseModel):
    """How the task of one slot ended."""

    state: State
    slot_ms: int
    """To the second."""
    lateness_ms: int
    duration_ms: int


class TriggerRow(BaseModel):
    """A trigger in a list."""

    namespace: str
    app: str
    name: str
    uid: str
    handler: str
    state: TriggerState
    owner: str
    schedule: ScheduleAnswer
    revision: int
    last_slot_ms: int | None
    """The newest slot that was decided."""
    next: PlannedTime | None
    """When it fires next; with ``include=next``."""
    last: State | None
    """How its last task ended; with ``include=last`` or ``strip``."""
    strip: list[StripEnd] | None
    """How its last 20 tasks ended, the newest last; with ``include=strip``."""


class StateCount(BaseModel):
    """How many triggers are in a state."""

    state: TriggerState
    count: int


class TriggerFacets(BaseModel):
    """What was counted of the triggers that are sought, whatever their state, from this page on."""

    state: list[StateCount] | None
    faulted: int | None
    """Those whose last task faulted; with ``facets=last``."""
    is_whole: bool
    """False: there are more than the 10,000 that were looked at."""


class TriggerPage(BaseModel):
    """Some triggers, in the order of namespace, app and name."""

    items: list[TriggerRow]
    next: str | None
    """The cursor of the page that follows; a page may end before it is full."""
    looked_at: int
    """So many triggers were compared for this page"""
    among: int
    """of so many from its begin on."""
    facets: TriggerFacets | None
    live: str
    """Where the first page was read: ``/v1/stream?from=`` goes on from there."""


@router.get("/triggers")
async def list_triggers(
    edge: InEdge,
    who: Seeing,
    live: LivePosition,
    namespace: Namespace = "",
    app: App = "",
    handler: Handler = "",
    q: Text = "",
    prefix: Prefix = "",
    owner: Owner = "",
    state: States = [],  # noqa: B006  FastAPI copies it
    never_fired: NeverFired = None,
    last: Last = None,
    include: Include = [],  # noqa: B006
    facets: Facets = [],  # noqa: B006
    cursor: Cursor = "",
    limit: Limit = 100,
) -> TriggerPage:
    """The triggers that this token covers and that fit all that is said, by namespace, app and name.

    A page looks at 4,000 triggers at most, at 500 with ``never_fired`` or ``last`` (but
    ``faulted``): it may be short, or empty, and ``next`` goes
    on behind what was looked at.
    """
    scope = scope_of(who, namespace, app)
    if namespace:
        await edge.identities.check_namespace(namespace)
    if handler:
        names.check_handler(handler)
    search = Search(
        app=scope.app,
        prefix=prefix,
        q=q.lower(),
        handler=handler,
        owner=owner,
        states=frozenset(state),
        never_fired=never_fired,
        last=None if last is None else State(last),
    )
    ends = STRIP if "strip" in include else int("last" in include)
    page = await view.find_triggers(
        edge.apps, scope.sees, search, cursor=cursor, limit=limit, count=frozenset(facets), ends=ends
    )
    return TriggerPage(
        items=[_row(row, include) for row in page.rows],
        next=page.next,
        looked_at=page.looked_at,
        among=page.among,
        facets=_facets(page) if facets else None,
        live=live,
    )


@router.get("/apps/{namespace}/{app}/removed-triggers")
async def list_removed_triggers(
    edge: InEdge, app: Annotated[str, Depends(InApp("see"))], cursor: Cursor = "", limit: Limit = 100
) -> view.Page[view.Removed]:
    """The triggers that were deleted in the last 30 days, newest first; ``/slots?uid=`` gives their ledgers."""
    return await view.removed(edge.space, app, cursor=cursor, limit=limit)


def _facets(page: view.TriggerList) -> TriggerFacets:
    states = (
        None
        if page.states is None
        else [StateCount(state=each, count=page.states[each]) for each in sorted(page.states)]
    )
    return TriggerFacets(state=states, faulted=page.faulted, is_whole=page.are_all_counted)


def _row(row: view.TriggerRow, include: Sequence[str]) -> TriggerRow:
    namespace, _, app = row.app.partition("/")
    mapping = schedule.of_line(row.card.line)
    at_ms = row.next_ms if "next" in include else None
    ends = [
        StripEnd(state=STATES[end.state], slot_ms=end.slot_ms, lateness_ms=end.lateness_ms, duration_ms=end.duration_ms)
        for end in row.ends
    ]
    return TriggerRow(
        namespace=namespace,
        app=app,
        name=row.name,
        uid=row.card.uid,
        handler=row.card.handler,
        state=row.card.state,
        owner=row.card.owner,
        schedule=shown(mapping),
        revision=row.revision,
        last_slot_ms=row.last_slot_ms,
        next=None if at_ms is None else planned_time(at_ms, *zone_and_spec(mapping)),
        last=ends[-1].state if ends else None,
        strip=ends if "strip" in include else None,
    )
