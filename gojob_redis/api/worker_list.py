"""Workers as a list: those of all apps that the caller may see."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query

from gojob_redis import view
from gojob_redis.api.dependencies import Cursor, InEdge, Limit, LivePosition, StrictRoute
from gojob_redis.api.scope import App, Namespace, Seeing, label_pairs, scope_of
from gojob_redis.domain import limits, names
from gojob_redis.domain.states import WorkerState
from gojob_redis.view import WorkerFact, WorkerList, WorkerSearch

router = APIRouter(prefix="/v1", tags=["handlers and workers"], route_class=StrictRoute)

Handler = Annotated[str, Query(description="only workers that serve this handler", max_length=64)]
Text = Annotated[str, Query(description="only workers with this text in name or host", max_length=64)]
Labels = Annotated[list[str], Query(description="only workers with these labels, each as name=value", max_length=8)]
InState = Annotated[WorkerState | None, Query(description="only workers in this state")]
Facets = Annotated[
    list[WorkerFact], Query(description="what workers are counted by, on all of these apps", max_length=6)
]
By = Annotated[
    str,
    Query(
        description="put those that fit together by app, version, host, sdk, labels, state, or label:NAME: in `groups`",
        pattern=rf"^({'|'.join(WorkerFact)}|label:[A-Za-z0-9._/-]{{1,{limits.LABEL_CHARS}}})?$",
    ),
]


@router.get("/workers")
async def list_workers(
    edge: InEdge,
    who: Seeing,
    live: LivePosition,
    namespace: Namespace = "",
    app: App = "",
    handler: Handler = "",
    label: Labels = [],  # noqa: B006  FastAPI copies it
    state: InState = None,
    q: Text = "",
    facets: Facets = [],  # noqa: B006
    group_by: By = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> WorkerList:
    """The connected workers of the apps that this token covers, by namespace, app and session.

    A page looks at 1,000 workers at most: it may be short, or empty, and ``next`` goes on behind what was looked at.
    """
    scope = scope_of(who, namespace, app)
    if namespace:
        await edge.identities.check_namespace(namespace)
    if handler:
        names.check_handler(handler)
    search = WorkerSearch(app=scope.app, handler=handler, labels=label_pairs(label), state=state, q=q.lower())
    page = await view.find_workers(edge.apps, scope.sees, search, cursor=cursor, limit=limit)
    counted = await view.count_workers(edge.apps, scope.sees, scope.app, facets) if facets else []
    groups = await view.group_workers(edge.apps, scope.sees, search, group_by) if group_by else None
    return replace(page, live=live, facets=counted, groups=groups)
