"""Tasks across apps, by what is known of them."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gojob_redis import view
from gojob_redis.api.bodies import moment_in_query
from gojob_redis.api.dependencies import Cursor, InEdge, Limit, LivePosition, StrictRoute
from gojob_redis.api.scope import App, Namespace, Scope, Seeing, label_pairs, scope_of
from gojob_redis.control.identities import Identity
from gojob_redis.domain import ids, limits, names
from gojob_redis.domain.address import Address
from gojob_redis.domain.errors import BadRequest, check_span
from gojob_redis.domain.fingerprint import check_fingerprint
from gojob_redis.domain.states import State
from gojob_redis.view import TaskFacet, TaskFact, TaskPage, TaskSearch

router = APIRouter(prefix="/v1", tags=["tasks"], route_class=StrictRoute)

States = Annotated[
    list[State],
    Query(alias="state", description="one or more states; all of them unless set", max_length=len(State)),
]
Labels = Annotated[
    list[Annotated[str, Query(max_length=129)]],
    Query(alias="label", description="a label that it requires, `env=gray`", max_length=limits.LABELS_PER_TASK),
]
Facets = Annotated[
    list[TaskFact],
    Query(description="what tasks are counted by, of all that are sought; exact to 10,000", max_length=len(TaskFact)),
]
Moment = Annotated[str, Query(max_length=64)]


@dataclass(frozen=True, slots=True)
class FacetedTasks(TaskPage):
    """Tasks that were found, how far the page looked, and how many there are of what kind."""

    facets: list[TaskFacet] = field(default_factory=list)


class Sort(StrEnum):
    """Which tasks come first."""

    NEWEST = "newest"
    SLOWEST = "slowest"


async def asked_for(
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    handler: Annotated[str, Query(description="only of this handler of the app", max_length=255)] = "",
    trigger: Annotated[str, Query(description="only of this trigger of the app", max_length=255)] = "",
    worker: Annotated[str, Query(description="only those that this worker had last", max_length=255)] = "",
    states: States = [],  # noqa: B006  FastAPI copies it
    reason: Annotated[str, Query(description="such as `error`, `timeout` or `lost`", max_length=64)] = "",
    error: Annotated[
        str,
        Query(description="a fingerprint: only those that faulted so; without key and parent", max_length=64),
    ] = "",
    labels: Labels = [],  # noqa: B006  FastAPI copies it
    since: Annotated[
        Moment,
        Query(
            alias="from",
            description="ended, or while it is not over was made, at this moment or later: ms since 1970, or RFC 3339",
        ),
    ] = "",
    to: Annotated[Moment, Query(description="the same, before this moment")] = "",
) -> tuple[Scope, TaskSearch]:
    """What the caller asks for."""
    scope = scope_of(who, namespace, app)
    for what, name in (("handler", handler), ("trigger", trigger)):
        if name and not app:
            raise BadRequest("bad_request", f"{what} is set without app.", field="app", hint="Add app=NAME.")
    from_ms = moment_in_query(since, "from") if since else 0
    to_ms = moment_in_query(to, "to") if to else limits.LATEST_MS
    check_span(from_ms, to_ms)
    chosen = TaskSearch(
        app=scope.app,
        handler=f"{scope.app}/{names.check_handler(handler)}" if handler else "",
        trigger=names.check_trigger(trigger) if trigger else "",
        worker=_plain(worker, "worker"),
        states=frozenset(states or State),
        reason=_plain(reason, "reason"),
        error=check_fingerprint(error, "error") if error else "",
        labels=label_pairs(labels, most=limits.LABELS_PER_TASK),
        from_ms=from_ms,
        to_ms=to_ms,
    )
    return scope, chosen


@router.get("/tasks")
async def list_tasks(
    edge: InEdge,
    asked: Annotated[tuple[Scope, TaskSearch], Depends(asked_for)],
    live: LivePosition,
    parent: Annotated[
        str,
        Query(
            description="only those that runs of this task submitted, or that repeat it, newest first; without label",
            max_length=64,
        ),
    ] = "",
    key: Annotated[
        str, Query(description="only those with this key, newest first; without label", max_length=limits.KEY_CHARS)
    ] = "",
    sort: Annotated[
        Sort, Query(description="`slowest`: of the longest 50 of each handler and hour of a day")
    ] = Sort.NEWEST,
    facets: Facets = [],  # noqa: B006  FastAPI copies it
    cursor: Cursor = "",
    limit: Limit = 100,
) -> FacetedTasks:
    """Tasks that this token covers: first those that are not over, where they stand, then the others, newest first.

    Those of a trigger come by their slots, newest first. A page looks at about 4,000 tasks and says in ``looked`` how
    far it came: it may be short, or empty, while ``next`` goes on.

    The slowest are those that took longest from their first attempt to their end, among the 50 that are kept of each
    handler and hour for a day; ``looked.back_to_ms`` says from when on, later than that where there are many handlers.
    """
    scope, chosen = asked
    if scope.namespace:
        await edge.identities.check_namespace(scope.namespace)
    if parent:
        await _check_seen(edge, scope.who, ids.parse_task_id(parent, "parent"))
    if key or parent:
        _refuse_beside_key(labels=chosen.labels and sort is Sort.NEWEST, facets=facets, error=chosen.error)
    chosen = replace(chosen, parent=parent, key=_plain(key, "key"))
    if chosen.trigger and not (key or parent) and sort is Sort.NEWEST:
        _partition, uid = await view.uid_of(edge.space, chosen.app, chosen.trigger)
        chosen = replace(chosen, uid=uid)
    find = view.find_tasks if sort is Sort.NEWEST else view.slow_tasks
    page = await find(edge.space, chosen, scope.sees, cursor=cursor, limit=limit)
    counted = await view.count_tasks(edge.space, chosen, scope.sees, facets) if facets else []
    return FacetedTasks(page.items, page.next, live, page.looked, counted)


def _refuse_beside_key(*, labels: object, facets: object, error: object) -> None:
    """The tasks of a key, and the children of a task, are read one by one, and compared by what their rows show."""
    for what, is_set in (("label", labels), ("facets", facets), ("error", error)):
        if is_set:
            why = f"{what} does not go with key or parent."
            raise BadRequest("bad_request", why, field=what, hint="Leave it out.")


async def _check_seen(edge: InEdge, who: Identity, task: ids.TaskId) -> None:
    """Raise NotFound ``unknown_task`` for a task that the caller may not see."""
    address = Address.parse(await view.address_of(edge.space, task))
    if not who.covers(address.namespace, address.app_name):
        raise view.unknown_task(task)


def _plain(text: str, field: str) -> str:
    """A text that is compared as it is."""
    if text and not text.isprintable():
        raise BadRequest("bad_request", f"{field} is no plain text.", field=field, hint="Leave control characters out.")
    return text
