"""What every request passes before a route sees it: an id, a token, and a body that is safe to parse.

1. ``X-Request-Id``: the caller's, if it looks like one, else ours. It comes back with every answer.
2. Everything but the health checks and the documentation needs a token, also what does not exist: who has none learns
   nothing about the routes.
3. The body is read whole, at most 1 MiB (bulk 8 MiB) and within 30 s. How deep its JSON is nested is counted on the
   bytes, before a parser recurses over them; then it is parsed once, strictly: no NaN, no lone surrogates.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic_core import from_json
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gojob_redis import limits
from gojob_redis.api.problem import problem
from gojob_redis.control import Identities
from gojob_redis.errors import BadRequest, GojobError
from gojob_redis.metrics import Metrics

OPEN: Final = ("/livez", "/readyz", "/docs", "/redoc", "/openapi.json", "/static-offline-docs")
"""Paths without a token: health for the balancer, and documentation that is the same for everybody."""
PARSED: Final = "gojob.json"
READ_BODY_S: Final = 30.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BULK = ":batch"


class Guard:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, *, identities: Identities, metrics: Metrics) -> None:
        self.app = app
        self.identities = identities
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id"))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        answer = _Answer(send, request_id, private=not _is_open(scope["path"]))
        began = time.perf_counter()
        try:
            if not _is_open(scope["path"]):
                state["identity"] = await self.identities.of_api(headers.get("authorization"))
            body = await _read_body(scope, headers, receive)
            if body and scope["method"] in ("POST", "PUT", "PATCH"):
                scope[PARSED] = parse_json(headers.get("content-type", ""), body)
        except GojobError as error:
            if error.status in (401, 403):
                self.metrics.denials.labels(error.code).inc()
            await problem(error, request_id=request_id)(scope, receive, answer)
        else:
            await self.app(scope, _replay(body, receive), answer)
        self._count(scope, answer.status, time.perf_counter() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(scope["method"] if route != "other" else "any", route, str(status)).inc()
        if not scope.get("query_string", b"").startswith(b"wait="):
            self.metrics.request_seconds.observe(seconds)


class _Answer:
    """``send``, with the headers that every answer has."""

    def __init__(self, send: Send, request_id: str, *, private: bool) -> None:
        self.status = 500
        self._send = send
        self._request_id = request_id
        self._private = private

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            if self._private:
                headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


def _request_id(given: str | None) -> str:
    return given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _is_open(path: str) -> bool:
    return any(path == known or path.startswith(f"{known}/") for known in OPEN)


async def _read_body(scope: Scope, headers: Headers, receive: Receive) -> bytes:
    limit = limits.BULK_BODY_BYTES if scope["path"].endswith(_BULK) else limits.BODY_BYTES
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    break
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise BadRequest(
            "slow_body",
            f"The body did not arrive within {READ_BODY_S:g} s.",
            field="body",
            hint="Send it faster, or in smaller requests.",
            status=408,
        ) from None
    return b"".join(chunks)


def _too_large(limit: int) -> BadRequest:
    return BadRequest(
        "too_large",
        f"The body is larger than {limit // limits.MIB} MiB.",
        field="body",
        hint="Send fewer tasks at once, and large data by reference.",
        limit=limit,
        status=413,
    )


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body that was read, once; after it, what really comes (the disconnect)."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


# ---- JSON ------------------------------------------------------------------------------------------------------------

_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_TEXT = re.compile(rb'"[^"]*"')
_INNERMOST = re.compile(rb"\[\]|\{\}")


def parse_json(content_type: str, body: bytes) -> Any:
    """The body's JSON; raises BadRequest ``not_json`` (415), ``too_deep``, ``bad_json``."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise BadRequest(
            "not_json",
            f"The body is {kind[:80]}, not application/json.",
            field="Content-Type",
            hint="Send 'Content-Type: application/json'.",
            status=415,
        )
    check_depth(body)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(
            "bad_json", f"The body is not JSON: {error}.", field="body", hint="Send one JSON object, in UTF-8."
        ) from None


def check_depth(body: bytes, depth: int = limits.JSON_DEPTH) -> None:
    """Refuse JSON that is nested deeper, without parsing it; every step runs in C over the whole body.

    First the escapes go, then all but quotes and brackets, then what stands between quotes; what is left is peeled from
    the inside, one level a pass. Brackets that never close are left too, but those are for the parser to report.
    """
    if body.count(b"[") + body.count(b"{") <= depth:
        return
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_STRUCTURE)
    left = _TEXT.sub(b"", bare)
    for _ in range(depth):
        if not left:
            return
        left = _INNERMOST.sub(b"", left)
    if left.count(b"[") + left.count(b"{") > 0 and (_INNERMOST.search(left) or len(left) > depth):
        raise BadRequest(
            "too_deep",
            f"The body is nested deeper than {depth} levels.",
            field="body",
            hint="Flatten it.",
            limit=depth,
        )
