"""What routes stand on: the one object they share, who may call them, and how JSON goes in and out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Path, Query, Request, Response
from fastapi.routing import APIRoute

from gojob_redis import ids, limits, names, view
from gojob_redis.api.guard import PARSED
from gojob_redis.api.known import KnownHandlers
from gojob_redis.api.problem import Problem
from gojob_redis.api.waiting import Waiting
from gojob_redis.control import Identities, Identity, Levels, Permission
from gojob_redis.errors import BadRequest
from gojob_redis.metrics import Metrics
from gojob_redis.partitions import Partitions
from gojob_redis.quotas import Headcount
from gojob_redis.task import Submission, Submitted

Submit = Callable[[int, Sequence[Submission], str], Awaitable[Sequence[Submitted]]]
"""Takes tasks of one app (``namespace/app``) in: partition, submissions, app."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "Refused; `code` says why, `hint` what to do."},
    "5XX": {"model": Problem, "description": "Not done now; repeating the same call is safe."},
}


@dataclass(slots=True)
class Edge:
    """What all routes of one gateway share."""

    space: Partitions
    identities: Identities
    submit: Submit
    metrics: Metrics
    name: str = "gateway"
    ready: Callable[[], str] = lambda: ""
    """"" when work may come, else why not."""
    handlers: KnownHandlers = field(init=False)
    waiting: Waiting = field(init=False)
    polls: Headcount = field(default_factory=lambda: Headcount("polls", code="polls_full"), init=False)
    """Requests that wait for the end of a task."""
    turns: view.Turns = field(default_factory=view.Turns, init=False)
    """Of those whose answers are much work, by token."""
    levels: Levels = field(init=False)
    """How safe a change has to be before it is answered."""

    def __post_init__(self) -> None:
        self.handlers = KnownHandlers(self.space)
        self.waiting = Waiting(self.space, self.metrics)
        self.levels = Levels(self.space)


def edge_of(request: Request) -> Edge:
    return cast(Edge, request.app.state.edge)


async def _edge_of(request: Request) -> Edge:
    """As a dependency it has to be async: for one that is not, each request goes through a thread and back."""
    return edge_of(request)


InEdge = Annotated[Edge, Depends(_edge_of)]


class StrictRequest(Request):
    """A request whose JSON the guard has parsed already."""

    async def json(self) -> Any:
        return self.scope[PARSED]


class StrictRoute(APIRoute):
    """A route whose body is what the guard parsed."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


# ---- who may call ----------------------------------------------------------------------------------------------------


def identity_of(request: Request) -> Identity:
    """Who the guard found behind the token."""
    return cast(Identity, request.scope["state"]["identity"])


def forbidden(who: Identity, permission: Permission, where: str) -> BadRequest:
    return BadRequest(
        "forbidden",
        f"This token ({who.kind} {who.key_id}) may not {permission} in {where}.",
        field="Authorization",
        hint="Use a token whose kind and scope allow it; an administrator makes one.",
        status=403,
    )


async def _identity_of(request: Request) -> Identity:
    return identity_of(request)


Caller = Annotated[Identity, Depends(_identity_of)]


async def _turn_of(request: Request) -> view.Turn:
    return edge_of(request).turns.of(identity_of(request).key_id)


InTurn = Annotated[view.Turn, Depends(_turn_of)]


@dataclass(frozen=True, slots=True)
class Needs:
    """A route that belongs to no app: the caller has to hold this permission, in whatever namespace."""

    permission: Permission

    async def __call__(self, request: Request) -> Identity:
        who = identity_of(request)
        if not who.may(self.permission):
            raise forbidden(who, self.permission, "this installation")
        return who


@dataclass(frozen=True, slots=True)
class InApp:
    """A route below ``/apps/{namespace}/{app}``: gives ``namespace/app`` of a namespace that exists."""

    permission: Permission

    async def __call__(self, request: Request, namespace: str, app: str) -> str:
        who, edge = identity_of(request), edge_of(request)
        if not who.may(self.permission):
            raise forbidden(who, self.permission, "any app")
        names.check_namespace(namespace)
        names.check_app(app)
        if not who.may(self.permission, namespace, app):
            raise forbidden(who, self.permission, f"{namespace}/{app}")
        await edge.identities.check_namespace(namespace)
        return f"{namespace}/{app}"


@dataclass(frozen=True, slots=True)
class OfTask:
    """A route below ``/tasks/{task}``: gives the id of a task that the caller may see.

    A task of another namespace is as unknown as one that never was.
    """

    permission: Permission

    async def __call__(self, request: Request, task: str) -> str:
        who, edge = identity_of(request), edge_of(request)
        if not who.may(self.permission):
            raise forbidden(who, self.permission, "any app")
        ids.parse_task_id(task)
        if who.covers_everything:
            return task  # whether it exists, the route finds out with its own read
        namespace, app, _handler = (await view.address_of(edge.space, task)).split("/")
        if not who.may(self.permission, namespace, app):
            raise view.unknown_task(task)
        return task


# ---- parameters that many routes take --------------------------------------------------------------------------------

HandlerName = Annotated[str, Path(description="name of the handler in its app", max_length=255)]
TriggerName = Annotated[str, Path(description="name of the trigger in its app", max_length=255)]
Cursor = Annotated[str, Query(description="`next` of the page before", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=limits.PAGE_ITEMS)]
OnceKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        description="The same key within 24 h is the same task; with another body it is refused.",
        max_length=limits.IDEMPOTENCY_KEY_CHARS,
    ),
]
