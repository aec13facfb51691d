"""One search for everything: ids and names of tasks, triggers, handlers and workers, and keys of tasks."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from gojob_redis import view
from gojob_redis.api.dependencies import InEdge, Needs, StrictRoute, Whole
from gojob_redis.api.scope import scope_of
from gojob_redis.control.identities import Identity
from gojob_redis.domain import limits

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)

RESULTS = 50

Text = Annotated[
    str,
    Query(
        description="an id, a key of tasks or its first three letters or more, or a part of a name in any case",
        min_length=1,
        max_length=limits.KEY_CHARS,
    ),
]
Namespace = Annotated[str, Query(description="only what is in this namespace", max_length=64)]


class SearchAnswer(BaseModel):
    """What was found: ids, 5 tasks with this key or one that begins with it, then names.

    Of these the same name is first, then those that begin so, those with a word that does, and others.
    """

    items: list[view.Result]
    is_whole: bool
    """False: this gateway does not hold the names of all apps, because it just started or they are too many."""


@router.get("/search")
async def search(
    edge: InEdge,
    who: Annotated[Identity, Depends(Needs("see"))],
    q: Text,
    namespace: Namespace = "",
    limit: Annotated[Whole, Query(ge=1, le=RESULTS)] = 20,
) -> SearchAnswer:
    """What this token covers and has this id or key, or this text in its name: tasks, triggers, handlers, workers.

    A name that was made in the last seconds may be missing.
    """
    sees = scope_of(who, namespace, "").sees
    if namespace:
        await edge.identities.check_namespace(namespace)
    items = await view.search(edge.space, edge.names, sees, q, limit=limit)
    return SearchAnswer(items=items, is_whole=edge.names.is_whole)
