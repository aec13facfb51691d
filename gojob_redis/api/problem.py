"""Errors as ``application/problem+json`` (RFC 9457): always with a stable ``code``, ``field`` and ``hint`` if any."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gojob_redis.domain.errors import BadRequest, GojobError, NotFound, Unavailable
from gojob_redis.domain.names import nearest
from gojob_redis.engine.errors import is_away

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
SHOWN_ERRORS = 20
SHOWN_CHARS = 200


class Problem(BaseModel):
    """The body of every error."""

    type: str = Field(description="`urn:gojob:problem:<code>`")
    title: str
    status: int
    detail: str = Field(description="what happened and why")
    code: str = Field(description="stable, for programs")
    field: str | None = Field(default=None, description="what was wrong with it, such as `tasks[3].labels`")
    hint: str | None = Field(default=None, description="what to do")
    pointer: str | None = Field(
        default=None, description="where in the body, as a JSON pointer, such as `/params/order_id`"
    )
    limit: int | str | None = None
    retry_after_s: float | None = None
    request_id: str | None = None


def problem(error: GojobError, *, request_id: str = "", more: Mapping[str, Any] | None = None) -> Response:
    """The answer for an error."""
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.retryable:
        headers["Retry-After"] = "1"
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gojob"'
    body = {**error.as_problem(), **(more or {}), "request_id": request_id}
    return Response(to_json(body), error.status, headers, MEDIA_TYPE)


def install(app: FastAPI, known_fields: Sequence[str], answered: Collection[str], routes: Sequence[BaseRoute]) -> None:
    """Make the app answer every error as a problem.

    known_fields: names of body fields, to suggest what a mistyped one was meant to be.
    answered: names of fields of answers, for those who send back what they were told.
    routes: those of the API, to tell which methods a path takes.
    """
    methods = [(route.path_regex, route.methods or set()) for route in routes if isinstance(route, Route)]

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, GojobError)
        if error.status >= 500 and not is_away(error):
            say = log.debug if error.code.endswith("_full") else log.warning  # who asks too much fills no log
            say("http.failed", code=error.code, error=str(error), path=request.url.path)
        return problem(error, request_id=request_id_of(request))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error, known_fields, answered, request_id_of(request))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = problem(_of_http(error, request), request_id=request_id_of(request))
        if error.status_code == 405:
            taken = set().union(*(names for path, names in methods if path.fullmatch(request.url.path)))
            answer.headers["Allow"] = ", ".join(sorted(taken)) or (error.headers or {}).get("Allow", "GET")
        return answer

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("http.broke", path=request.url.path, exc_info=error)
        return problem(Unexpected(), request_id=request_id_of(request))

    app.add_exception_handler(GojobError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


class Unexpected(GojobError):
    """A bug of ours; what it was stays in our log."""

    def __init__(self) -> None:
        super().__init__(
            "internal", "The server failed to answer this request.", hint="Report it with the X-Request-Id."
        )


def request_id_of(request: Request) -> str:
    """The id that the guard gave this request."""
    request_id: str = request.scope.get("state", {}).get("request_id", "")
    return request_id


def _of_http(error: HTTPException, request: Request) -> GojobError:
    path = request.url.path[:SHOWN_CHARS]
    if error.status_code == 404:
        return NotFound("unknown_route", f"There is nothing at {path}.", field="path", hint="See /docs for the routes.")
    if error.status_code == 405:
        return BadRequest(
            "method_not_allowed",
            f"{path} does not take {request.method}.",
            field="method",
            hint="See /docs for the routes.",
            status=405,
        )
    return BadRequest("bad_request", str(error.detail), hint="See /docs.", status=error.status_code)


def _invalid(
    error: RequestValidationError, known_fields: Sequence[str], answered: Collection[str], request_id: str
) -> Response:
    field_errors = [field_error(each, known_fields, answered) for each in error.errors()[:SHOWN_ERRORS]]
    field, message, hint = field_errors[0]
    first = BadRequest("bad_request", message, field=field or None, hint=hint)
    errors = [{"field": field, "detail": message} for field, message, _hint in field_errors]
    return problem(first, request_id=request_id, more={"errors": errors} if len(field_errors) > 1 else None)


def field_error(
    error: Mapping[str, Any], known_fields: Sequence[str], answered: Collection[str]
) -> tuple[str, str, str]:
    field = path_of(error["loc"])
    kind, text = error["type"], str(error["msg"])[:SHOWN_CHARS]
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])[:SHOWN_CHARS]
        if name in answered or name in known_fields:
            return (
                field,
                f"{name!r} cannot be set here{'; it stands in answers' * (name in answered)}.",
                "Leave it out.",
            )
        likely = nearest(name, known_fields)
        hint = f"Did you mean {' or '.join(likely)}?" if likely else "Leave it out; see /docs."
        return field, f"There is no field {name!r} here.", hint
    if kind == "missing":
        return field, f"{field or 'The body'} is missing.", "Add it; see /docs."
    return field, f"{field or 'The body'}: {text}.", "See /docs for what is allowed."


def path_of(location: Sequence[str | int]) -> str:
    """``("body", "tasks", 3, "labels")`` → ``tasks[3].labels``."""
    written = ""
    for part in location[1:] if location and location[0] in ("body", "query", "path", "header") else location:
        written += f"[{part}]" if isinstance(part, int) else f".{part}" if written else part
    return written[:SHOWN_CHARS]
