"""The event log: what did not go as planned."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gojob_redis import view
from gojob_redis.api.dependencies import Cursor, InEdge, Limit, Needs, StrictRoute, forbidden
from gojob_redis.control.identities import Identity
from gojob_redis.domain import names
from gojob_redis.view import Event, Page

router = APIRouter(prefix="/v1", tags=["events"], route_class=StrictRoute)

Seeing = Annotated[Identity, Depends(Needs("see"))]
Namespace = Annotated[str, Query(description="only events of this namespace", max_length=64)]
App = Annotated[str, Query(description="only events of this app of the namespace", max_length=64)]
Kind = Annotated[str, Query(description="only this kind, such as `lost` or `ledger_hole`", max_length=64)]


@router.get("/events")
async def list_events(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    app: App = "",
    kind: Kind = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Page[Event]:
    """Events that this token covers, newest first; those of no app for a token that covers everything."""
    if app and not namespace:
        namespace = "default"
    if namespace:
        names.check_namespace(namespace)
        if not who.covers(namespace):
            raise forbidden(who, "see", namespace)
    if app:
        names.check_app(app)
        if not who.covers(namespace, app):
            raise forbidden(who, "see", f"{namespace}/{app}")

    def sees(address: str) -> bool:
        if not address:
            return "*" in who.scope and not namespace
        of_namespace, _, of_app = address.partition("/")
        return (not namespace or of_namespace == namespace) and who.covers(of_namespace, of_app)

    address_of_app = f"{namespace}/{app}" if app else ""
    return await view.events(edge.space, sees, kind=kind, app=address_of_app, cursor=cursor, limit=limit)
