"""What routes stand on: the one object they share, who may call them, and how JSON goes in and out."""

import re
from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Path, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BeforeValidator

from gojob_redis import view
from gojob_redis.api import body
from gojob_redis.api.known_handlers import KnownHandlers
from gojob_redis.api.long_poll import Waiting
from gojob_redis.api.problem import Problem
from gojob_redis.api.shares import paused, room_for_body
from gojob_redis.control.identities import Identities, Identity, Permission
from gojob_redis.control.namespaces import Levels
from gojob_redis.domain import ids, limits, names
from gojob_redis.domain.address import Address
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.quotas import Headcount
from gojob_redis.domain.verbs import Submission, Submitted
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.live.reader import Live
from gojob_redis.runtime.metrics import Metrics
from gojob_sdk.protocol import RUN_HEADER

Submit = Callable[[Partition, Sequence[Submission], str], Awaitable[Sequence[Submitted]]]
"""Takes tasks of one app (``namespace/app``) in: partition, submissions, app."""

Responses = dict[int | str, dict[str, Any]]

PROBLEMS: Responses = {
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
    levels: Levels
    """How safe a change has to be before it is answered; the gateway's own, where there is one."""
    name: str = "gateway"
    ready: Callable[[], str] = lambda: ""
    """"" when work may come, else why not."""
    handlers: KnownHandlers = field(init=False)
    apps: view.Apps = field(init=False)
    names: view.Names = field(init=False)
    forecast: view.Forecast = field(init=False)
    overviews: view.Overviews = field(init=False)
    positions: view.Positions = field(init=False)
    """For ``live`` of lists: `LivePosition`."""
    waiting: Waiting = field(init=False)
    live: Live = field(init=False)
    """Who listens to the stream."""
    polls: Headcount = field(default_factory=lambda: Headcount("polls", code="polls_full"), init=False)
    """Requests that wait for the end of a task."""
    turns: view.Turns = field(default_factory=view.Turns, init=False)
    """Of those whose answers are much work, by token."""
    looked: Future[str] | None = field(default=None, init=False)
    """The last look at the engine for ``/readyz``: why it is not ready."""
    looked_at: float = field(default=0.0, init=False)
    handlers_read_at: float = field(default=float("-inf"), init=False)
    """When the figures of handlers were read for ``/metrics``."""

    def __post_init__(self) -> None:
        self.handlers = KnownHandlers(self.space)
        self.apps = view.Apps(self.space)
        self.names = view.Names(self.apps)
        self.forecast = view.Forecast(self.apps)
        self.overviews = view.Overviews(self.forecast)
        self.positions = view.Positions(self.space)
        self.live = Live(self.space, self.identities.still_good)
        self.waiting = Waiting(self.space, self.metrics, self.identities.still_good)


def edge_of(request: Request) -> Edge:
    return cast(Edge, request.app.state.edge)


async def _edge_of(request: Request) -> Edge:
    """As a dependency it has to be async: for one that is not, each request goes through a thread and back."""
    return edge_of(request)


InEdge = Annotated[Edge, Depends(_edge_of)]


class StrictRequest(Request):
    """A request whose body has been read and parsed already."""

    def __init__(self, request: Request, body: bytes, parsed: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._body = body
        self._json = parsed


Handle = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """A route that refuses unknown query parameters, and reads a body only if it takes one, from who may send it."""

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, responses: Responses | None = None, **options: Any
    ) -> None:
        super().__init__(path, endpoint, responses=PROBLEMS | (responses or {}), **options)

    def get_route_handler(self) -> Handle:
        handle: Handle = super().get_route_handler()
        parameters = frozenset(_query_names(self.dependant))
        if self.body_field is not None:
            return self._with_body(handle, parameters)

        async def strict(request: Request) -> Response:
            _check_query(request, parameters)
            return await handle(request)

        return strict

    def _with_body(self, handle: Handle, parameters: Collection[str]) -> Handle:
        permit = permit_of(self.dependant)

        async def strict(request: Request) -> Response:
            permit.glance(request)
            _check_query(request, parameters)
            async with AsyncExitStack() as kept:
                async with paused(request.scope):
                    await kept.enter_async_context(room_for_body(request.scope, body.size_of(request)))
                    taken = await body.take(request)
                parsed = await body.parse(request.headers.get("content-type", ""), taken) if taken else None
                return await handle(StrictRequest(request, taken, parsed))

        return strict


def _query_names(dependant: Dependant) -> Iterator[str]:
    """The names of all query parameters that a route or what it depends on takes."""
    for parameter in dependant.query_params:
        yield parameter.alias
    for each in dependant.dependencies:
        yield from _query_names(each)


def _check_query(request: Request, parameters: Collection[str]) -> None:
    """Raise BadRequest ``unknown_parameter`` for one that is not among these: a typo must not widen what is asked."""
    for name in request.query_params:
        if name not in parameters:
            near = names.nearest(name, sorted(parameters))
            takes = f"It takes {', '.join(sorted(parameters)) or 'none'}."
            raise BadRequest(
                "unknown_parameter",
                f"This call has no query parameter {name[:80]!r}.",
                field=name[:80],
                hint=f"Did you mean {', '.join(near)}?" if near else takes,
            )


# ---- who may call ----------------------------------------------------------------------------------------------------


def identity_of(request: Request) -> Identity:
    """Who the guard found behind the token."""
    return cast(Identity, request.scope["state"]["identity"])


def forbidden(who: Identity, permission: Permission, where: str) -> BadRequest:
    return BadRequest(
        "forbidden",
        f"This token ({who.kind} {who.key_id}) lacks the permission '{permission}' in {where}.",
        field="Authorization",
        hint="Use a token whose kind and scope allow it; an administrator makes one.",
        status=403,
    )


async def _caller_of(request: Request) -> Identity:
    return identity_of(request)


Caller = Annotated[Identity, Depends(_caller_of)]
"""Beside a permission, for what depends on who asks."""


async def _turn_of(request: Request) -> view.Turn:
    return edge_of(request).turns.of(identity_of(request).key_id)


InTurn = Annotated[view.Turn, Depends(_turn_of)]


@dataclass(frozen=True, slots=True)
class Needs:
    """A route that belongs to no app: the caller has to hold this permission, in whatever namespace."""

    permission: Permission

    def glance(self, request: Request) -> None:
        """Refuse who may not, by what the token says: before any body is read, and without asking the engine."""
        who = identity_of(request)
        if not who.may(self.permission):
            raise forbidden(who, self.permission, "this installation")

    async def __call__(self, request: Request) -> Identity:
        self.glance(request)
        return identity_of(request)


@dataclass(frozen=True, slots=True)
class InApp:
    """A route below ``/apps/{namespace}/{app}``: gives ``namespace/app`` of a namespace that exists."""

    permission: Permission

    def glance(self, request: Request) -> None:
        """As that of Needs; the path is looked at, too."""
        who, path = identity_of(request), request.path_params
        if not who.may(self.permission):
            raise forbidden(who, self.permission, "any app")
        namespace, app = names.check_namespace(path["namespace"]), names.check_app(path["app"])
        if not who.may(self.permission, namespace, app):
            raise forbidden(who, self.permission, f"{namespace}/{app}")

    async def __call__(self, request: Request, namespace: str, app: str) -> str:
        self.glance(request)
        await edge_of(request).identities.check_namespace(namespace)
        return f"{namespace}/{app}"


@dataclass(frozen=True, slots=True)
class OfTask:
    """A route below ``/tasks/{task}``: gives the id of a task that the caller may see.

    A task of another namespace is as unknown as one that never was.
    """

    permission: Permission

    def glance(self, request: Request) -> None:
        """As that of Needs."""
        who = identity_of(request)
        if not who.may(self.permission):
            raise forbidden(who, self.permission, "any app")

    async def __call__(self, request: Request, task: str) -> str:
        self.glance(request)
        who, edge = identity_of(request), edge_of(request)
        ids.parse_task_id(task)
        if who.covers_everything:
            return task  # whether it exists, the route finds out with its own read
        address = Address.parse(await view.address_of(edge.space, task))
        if not who.may(self.permission, address.namespace, address.app_name):
            raise view.unknown_task(task)
        return task


Permit = Needs | InApp | OfTask


def permit_of(dependant: Dependant) -> Permit:
    """The permission that a route declares."""
    [permit] = _permits(dependant)
    return permit


def _permits(dependant: Dependant) -> Iterator[Permit]:
    for each in dependant.dependencies:
        if isinstance(each.call, (Needs, InApp, OfTask)):
            yield each.call
        yield from _permits(each)


# ---- parameters that many routes take --------------------------------------------------------------------------------

_DIGITS = re.compile(r"-?[0-9]{1,15}")


def _in_digits(value: object) -> object:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("a whole number is written in digits, at most 15")
    return value


Whole = Annotated[int, BeforeValidator(_in_digits)]
"""A number of a query, in ASCII digits: pydantic takes 1_0, +1 and 1.0 as well."""
HandlerName = Annotated[str, Path(description="name of the handler in its app", max_length=255)]
TriggerName = Annotated[str, Path(description="name of the trigger in its app", max_length=255)]
Cursor = Annotated[str, Query(description="`next` of the page before", max_length=200)]
Limit = Annotated[Whole, Query(ge=1, le=limits.PAGE_ITEMS)]


AskedLive = Annotated[
    bool, Query(description="say in `live` of the first page where the stream goes on; costs the engine for 15 s")
]


async def _position(edge: InEdge, cursor: Cursor = "", live: AskedLive = False) -> str:
    """Where a first page is read that is asked for ``live``; from then on scripts leave what they change."""
    return await edge.positions.everywhere() if live and not cursor else ""


LivePosition = Annotated[str, Depends(_position)]
"""Of the first page of a list, taken before it is read; "" unless ``live`` is asked for."""
TraceHeader = Annotated[
    str,
    Header(
        alias="traceparent",
        description="W3C Trace Context: the trace that the task belongs to; the body may say another.",
        max_length=limits.TRACEPARENT_CHARS,
    ),
]
RunHeader = Annotated[
    str,
    Header(
        alias=RUN_HEADER,
        description="The run that submits it, which becomes its parent: `RUN@ATTEMPT FENCE`, as it was assigned.",
        max_length=limits.RUN_PROOF_CHARS,
    ),
]
OnceKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        description="The same key within 24 h is the same task; with another body it is refused.",
        max_length=limits.IDEMPOTENCY_KEY_CHARS,
    ),
]
