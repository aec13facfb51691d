"""One ASGI app: the HTTP API, its documentation, and the worker socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from types import ModuleType
from typing import Any, Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from gojob_redis import __version__
from gojob_redis.api import (
    admin,
    bulk,
    events,
    health,
    logs,
    overview,
    problem,
    queue_list,
    queues,
    search,
    stats,
    stream,
    task_search,
    tasks,
    timeline,
    trigger_lists,
    triggers,
    worker_list,
)
from gojob_redis.api.bodies import FIELDS
from gojob_redis.api.dependencies import Edge, Submit
from gojob_redis.api.guard import Guard
from gojob_redis.control.identities import Identities
from gojob_redis.control.namespaces import Levels
from gojob_redis.engine.partitions import Partitions
from gojob_redis.runtime.metrics import Metrics
from gojob_redis.view import Task
from gojob_sdk.protocol import PATH as WORKER_PATH

ANSWERED: Final = frozenset(
    {*triggers.TriggerAnswer.model_fields, *admin.NewToken.model_fields, *(each.name for each in fields(Task))}
)
"""Fields of answers that people send back."""

ROUTES: Final = (
    health,
    search,
    tasks,
    task_search,
    logs,
    trigger_lists,
    triggers,
    queues,
    queue_list,
    worker_list,
    stats,
    timeline,
    overview,
    events,
    bulk,
    stream,
    admin,
)
"""Every module with routes of a gateway."""

Endpoint = Callable[[WebSocket], Awaitable[None]] | ASGIApp

ABOUT = """\
A distributed job scheduler with Redis at its centre.

Every request carries `Authorization: Bearer gj_…`. Errors are RFC 9457 problems with a stable `code`. Times are
milliseconds since 1970. Lists come in pages: pass `next` as `cursor`.
"""


def create_app(
    space: Partitions,
    identities: Identities,
    submit: Submit,
    gateway_endpoint: Endpoint | None = None,
    *,
    metrics: Metrics | None = None,
    levels: Levels | None = None,
    name: str = "gateway",
    ready: Callable[[], str] = lambda: "",
) -> FastAPI:
    """The app of a gateway.

    submit: takes tasks of one app in, by group commit.
    gateway_endpoint: answers the worker socket; none leaves that route out.
    levels: the gateway's, so that a namespace is read once for both.
    ready: "" when work may come, else why not.
    """
    edge = Edge(space, identities, submit, metrics or Metrics(), levels or Levels(space), name, ready)
    app = _app(edge, *ROUTES)
    if gateway_endpoint is not None:
        app.router.routes.insert(0, WebSocketRoute(WORKER_PATH, gateway_endpoint))
    return app


def create_probe_app(
    space: Partitions,
    identities: Identities,
    *,
    metrics: Metrics,
    name: str = "trigger",
    ready: Callable[[], str] = lambda: "",
) -> FastAPI:
    """The app of a trigger replica: health and numbers only."""

    async def nothing(*_: object) -> list[Any]:
        return []

    return _app(Edge(space, identities, nothing, metrics, Levels(space), name, ready), health)


def _app(edge: Edge, *parts: ModuleType) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(edge.waiting.loop.run(), name="long polls")
            group.create_task(edge.live.loop.run(), name="live")
            group.create_task(edge.live.queues.run(), name="live queues")
            group.create_task(edge.live.logs.loop.run(), name="live logs")
            group.create_task(edge.live.figures.loop.run(), name="live figures")
            try:
                yield
            finally:
                edge.live.close()
                edge.waiting.close()

    app = FastAPIOffline(
        title="gojob-redis",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # a redirect would lead to whatever the Host header says
    )
    for part in parts:
        _take(part, app)
    described = app.openapi
    app.openapi = lambda: _with_bounds(_with_problems(described()))  # type: ignore[method-assign]
    app.state.edge = edge
    app.add_middleware(Guard, identities=edge.identities, metrics=edge.metrics)
    problem.install(app, FIELDS, ANSWERED, [route for part in parts for route in part.router.routes])
    return app


def _take(part: ModuleType, app: FastAPI) -> None:
    """Serve the routes of a module as it made them; ``include_router`` makes each anew, in the first requests."""
    app.router.routes.extend(part.router.routes)


def description() -> dict[str, Any]:
    """The OpenAPI document of a gateway, made without one."""
    app = FastAPI(title="gojob-redis", version=__version__, description=ABOUT)
    for part in ROUTES:
        _take(part, app)
    return _with_bounds(_with_problems(app.openapi()))


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The document with errors as what they are sent as; FastAPI declares them as what the route answers."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                declared: dict[str, Any] = next(iter(content.values()), {})
                if declared.get("schema", {}).get("$ref", "").endswith("/Problem"):
                    response["content"] = {problem.MEDIA_TYPE: declared}
    return document


BOUNDS: Final = {"ge": "minimum", "le": "maximum"}


def _with_bounds(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the bounds of numbers under their names; pydantic names them its own way behind a validator."""
    for operations in document["paths"].values():
        for parameter in (each for operation in operations.values() for each in operation.get("parameters", ())):
            for schema in (parameter["schema"], *parameter["schema"].get("anyOf", ())):
                for ours, name in BOUNDS.items():
                    if ours in schema:
                        schema[name] = schema.pop(ours)
    return document
