"""What every request passes before a route sees it: an id, and a token.

1. ``X-Request-Id``: the caller's, if it looks like one, else ours. It comes back with every answer.
2. Everything but the health checks and the documentation needs a token, also what does not exist: who has none learns
   nothing about the routes.
3. Nothing here reads the body: only a route that takes one does, after its caller's permission was looked at.
4. It waits for a place among the requests of its token or address (``shares.py``).
"""

import re
import secrets
import time
from typing import Final, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gojob_redis.api.problem import problem
from gojob_redis.api.shares import Shares
from gojob_redis.control.identities import Identities
from gojob_redis.domain.errors import GojobError
from gojob_redis.runtime.metrics import Metrics

HEALTH: Final = ("/livez", "/readyz")
"""Paths that never wait: a balancer asks them, from the address of everybody behind it."""
OPEN: Final = (*HEALTH, "/docs", "/redoc", "/openapi.json", "/static-offline-docs")
"""Paths without a token: health for the balancer, and documentation that is the same for everybody."""

STREAM: Final = "/v1/stream"
"""It lasts as long as somebody listens."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guest(Protocol):
    """The connection that a request came over (``crowd.Guest``)."""

    address: str

    def show_token(self) -> None:
        """It has shown a valid token."""


class Guard:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, *, identities: Identities, metrics: Metrics) -> None:
        self.app = app
        self.identities = identities
        self.metrics = metrics
        self.shares = Shares()

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
            if scope["path"] in HEALTH:
                await self.app(scope, receive, answer)
            else:
                async with self.shares.place(await self._whose(scope, headers), scope):
                    await self.app(scope, receive, answer)
        except GojobError as error:
            if error.status in (401, 403):
                self.metrics.denials.labels(error.code).inc()
            await problem(error, request_id=request_id)(scope, receive, answer)
        self._count(scope, answer.status, time.perf_counter() - began)

    async def _whose(self, scope: Scope, headers: Headers) -> str:
        """The key id of the token, whose identity stands in the state from now on; of who needs none, the address."""
        guest: Guest | None = scope["state"].get("guest")
        if _is_open(scope["path"]):
            return guest.address if guest is not None else ""
        identity = scope["state"]["identity"] = await self.identities.of_api(headers.get("authorization"))
        if guest is not None:
            guest.show_token()
        return identity.key_id

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(scope["method"] if route != "other" else "any", route, str(status)).inc()
        if scope["path"] != STREAM and not scope.get("query_string", b"").startswith(b"wait="):
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
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in OPEN)
