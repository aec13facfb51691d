"""The installation itself: its namespaces, its tokens, what it is."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from gojob_redis import __version__
from gojob_redis.api.bodies import NamespaceBody, TokenBody
from gojob_redis.api.dependencies import Cursor, InEdge, Limit, Needs, StrictRoute, forbidden
from gojob_redis.control import namespaces, tokens
from gojob_redis.control.identities import Identity
from gojob_redis.control.namespaces import Namespace
from gojob_redis.control.tokens import TokenFacts
from gojob_redis.domain import names
from gojob_redis.domain.errors import NotFound
from gojob_redis.engine.durability import Level
from gojob_redis.schedules import schedule
from gojob_redis.view import Page
from gojob_redis.view.records import clock_of

router = APIRouter(prefix="/v1", route_class=StrictRoute)

Seeing = Annotated[Identity, Depends(Needs("see"))]
Admin = Annotated[Identity, Depends(Needs("admin"))]


class Info(BaseModel):
    """What answers here."""

    version: str
    gateway: str
    partitions: int
    time_zones: str
    engine_time_ms: int


class TokenAnswer(BaseModel):
    """A token as it is stored: enough to know it, not to use it."""

    key_id: str
    kind: str
    name: str
    scope: list[str]
    made_ms: int
    expires_ms: int


class NewToken(TokenAnswer):
    """A token that was just made."""

    token: str
    """Shown this once."""


@router.get("/info", tags=["installation"])
async def show_info(edge: InEdge, who: Seeing) -> Info:
    """Versions and sizes."""
    clock = await clock_of(edge.space[0])
    return Info(
        version=__version__,
        gateway=edge.name,
        partitions=edge.space.count,
        time_zones=schedule.time_zone_version(),
        engine_time_ms=clock.wall,
    )


@router.get("/namespaces", tags=["installation"])
async def list_namespaces(edge: InEdge, who: Seeing, cursor: Cursor = "", limit: Limit = 100) -> Page[Namespace]:
    """The namespaces that this token covers, about so many a page, by name in each."""
    page, after = await namespaces.list_namespaces(edge.space, cursor, limit)
    return Page([namespace for namespace in page if who.covers(namespace.name)], after or None)


@router.get("/namespaces/{namespace}", tags=["installation"])
async def show_namespace(edge: InEdge, who: Seeing, namespace: str) -> Namespace:
    """One namespace."""
    names.check_namespace(namespace)
    if not who.covers(namespace):
        raise forbidden(who, "see", namespace)
    await edge.identities.check_namespace(namespace)
    stored = await namespaces.find_namespace(edge.space, namespace)
    if stored is None:
        raise NotFound("unknown_namespace", f"There is no namespace {namespace!r}.", field="namespace", hint="")
    return stored


@router.put("/namespaces/{namespace}", tags=["installation"])
async def put_namespace(edge: InEdge, who: Admin, namespace: str, body: NamespaceBody | None = None) -> Namespace:
    """Make a namespace, or change what is named of it. ``default`` is there from the start.

    A durability that the engine is not set up for is refused; gateways go by what is new within 5 s.
    """
    body = body or NamespaceBody()
    level = Level(body.durability) if body.durability else None
    kept = body.retention.model_dump(exclude_unset=True) if body.retention else {}
    changed = await namespaces.put_namespace(
        edge.space, namespace, body.description, level, body.limits, body.defaults, kept
    )
    edge.levels.forget(namespace)
    return changed


@router.get("/tokens", tags=["installation"])
async def list_tokens(edge: InEdge, who: Admin, cursor: Cursor = "", limit: Limit = 100) -> Page[TokenAnswer]:
    """All tokens, about so many a page, oldest first in each."""
    page, after = await tokens.list_tokens(edge.space, cursor, limit)
    return Page([TokenAnswer(**_shown(facts)) for facts in page], after or None)


@router.post("/tokens", status_code=201, tags=["installation"])
async def create_token(edge: InEdge, who: Admin, body: TokenBody) -> NewToken:
    """Make a token; two for one holder are fine, so that they can be exchanged without a gap."""
    issued = await tokens.create_token(
        edge.space, body.kind, name=body.name, scope=body.scope, expires_ms=body.expires_ms
    )
    return NewToken(**_shown(issued.facts), token=issued.token)


@router.delete("/tokens/{key_id}", status_code=204, tags=["installation"])
async def revoke_token(edge: InEdge, who: Admin, key_id: str) -> None:
    """Revoke a token; within 5 s nobody lets it in, and within 10 s its sockets are closed."""
    await tokens.revoke_token(edge.space, key_id)


def _shown(facts: TokenFacts) -> dict[str, Any]:
    return {
        "key_id": facts.key_id,
        "kind": facts.kind,
        "name": facts.name,
        "scope": list(facts.scope),
        "made_ms": facts.made_ms,
        "expires_ms": facts.expires_ms,
    }
