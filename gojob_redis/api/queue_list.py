"""Queues as a list: what waits in all apps that the caller may see."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query

from gojob_redis import view
from gojob_redis.api.dependencies import Cursor, InEdge, Limit, LivePosition, StrictRoute
from gojob_redis.api.scope import App, Namespace, Seeing, label_pairs, scope_of
from gojob_redis.domain import names
from gojob_redis.view import QueueList, QueueOrder, QueuesBy, QueueSearch

router = APIRouter(prefix="/v1", tags=["handlers and workers"], route_class=StrictRoute)

Handler = Annotated[str, Query(description="only the handler of this name", max_length=255)]
Text = Annotated[str, Query(description="only handlers with this text in their name", max_length=64)]
Labels = Annotated[
    list[str], Query(description="only what waits for workers with these labels, each as name=value", max_length=8)
]
Waiting = Annotated[
    bool | None, Query(description="true: only queues in which something waits; false: only empty ones")
]
Paused = Annotated[bool | None, Query(description="true: only queues that are paused; false: only others")]
Order = Annotated[QueueOrder, Query(description="which come first: those with the most work, the oldest, or by name")]
By = Annotated[QueuesBy, Query(description="what a row is; rates and workers are told of apps, not of labels")]


@router.get("/queues")
async def list_queues(
    edge: InEdge,
    who: Seeing,
    live: LivePosition,
    namespace: Namespace = "",
    app: App = "",
    handler: Handler = "",
    q: Text = "",
    label: Labels = [],  # noqa: B006  FastAPI copies it
    waiting: Waiting = None,
    paused: Paused = None,
    sort: Order = QueueOrder.BACKLOG,
    group_by: By = QueuesBy.HANDLER,
    cursor: Cursor = "",
    limit: Limit = 100,
) -> QueueList:
    """What waits for handlers, and why: backlog, its age, rates, lanes, who serves it and how many workers it wants.

    By backlog and age, 2,000 handlers are compared at most, and ``is_whole`` says whether these are all; by name, pages
    go through all of them.
    """
    scope = scope_of(who, namespace, app)
    if namespace:
        await edge.identities.check_namespace(namespace)
    if handler:
        names.check_handler(handler)
    search = QueueSearch(scope.app, handler, q.lower(), label_pairs(label), waiting, paused)
    page = await view.find_queues(edge.apps, scope.sees, search, sort, group_by, cursor=cursor, limit=limit)
    return replace(page, live=live)
