"""Identities: who is behind a request, and what they may do. There is no anonymous access.

1. ``Identities`` remembers what it read for at most 5 s: so long may a revoked token still be let in, and so seldom
   does a request cost a read.
2. What it remembers it finds by the whole token, not by its key id, and what is refused goes one way: so nobody learns
   from the time of an answer whether a key id exists. Tokens that were never let in are looked up a few at a time."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from gojob_redis.control.namespaces import list_namespaces
from gojob_redis.control.records import LOOK_UP_S, REMEMBER_S
from gojob_redis.control.tokens import NOBODY, TOKEN, TOKEN_CHARS, Kind, TokenFacts, digest_of, expired, facts_of
from gojob_redis.domain import names
from gojob_redis.domain.errors import BadRequest, NotFound, Refused, Unavailable
from gojob_redis.engine.client import repeat
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.runtime.ttl_cache import TtlCache
from gojob_sdk.protocol import CLOSE_BAD_TOKEN, CLOSE_FORBIDDEN

SUGGESTED_AMONG: Final = 200
"""Namespaces that a mistyped one is compared with."""
Permission = Literal["see", "operate", "edit", "admin", "work"]
PERMISSIONS: Final[dict[Kind, frozenset[Permission]]] = {
    "admin": frozenset({"see", "operate", "edit", "admin"}),
    "api": frozenset({"see", "operate", "edit"}),
    "worker": frozenset({"work"}),
}
"""see: read · operate: submit, run, cancel, pause · edit: triggers · admin: tokens, namespaces · work: the socket."""
STRANGERS: Final = 4
"""Look-ups under way of tokens that were not let in before; further ones wait, and nobody else does."""
REFUSED: Final = 1_000
REFUSED_S: Final = 1.0
"""How many refused tokens are remembered, and how long."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and what they may do."""

    key_id: str
    kind: Kind
    scope: tuple[str, ...]
    expires_ms: int = 0

    @property
    def covers_everything(self) -> bool:
        return "*" in self.scope

    def may(self, permission: Permission, namespace: str | None = None, app: str | None = None) -> bool:
        """Whether this is allowed; without a namespace: whether it is allowed anywhere at all."""
        if permission not in PERMISSIONS[self.kind]:
            return False
        return namespace is None or self.covers(namespace, app)

    def may_work(self, namespace: str, app: str) -> bool:
        """Whether a worker of this app may connect with this token."""
        return self.may("work", namespace, app)

    def covers(self, namespace: str, app: str | None = None) -> bool:
        """Whether the scope holds this app; without an app: the namespace, or an app of it."""
        if self.covers_everything or namespace in self.scope:
            return True
        if app is not None:
            return f"{namespace}/{app}" in self.scope
        return any(entry.startswith(f"{namespace}/") for entry in self.scope)


def bad_token(why: str) -> BadRequest:
    return BadRequest("bad_token", why, field="Authorization", hint="Send 'Authorization: Bearer gj_…'.", status=401)


class Identities:
    """Answers who is behind an ``Authorization`` header, and whether a namespace exists."""

    def __init__(self, space: Partitions, *, remember_s: float = REMEMBER_S) -> None:
        self.space = space
        self._keys: TtlCache[TokenFacts | None] = TtlCache(self._read_key, for_s=remember_s)
        self._tokens: TtlCache[TokenFacts | None] = TtlCache(self._read_token, for_s=remember_s)
        self._refused: dict[str, float] = {}
        """Until when, by the whole token's digest."""
        self._strangers = asyncio.Semaphore(STRANGERS)
        self._namespaces: TtlCache[bool] = TtlCache(self._read_namespace, for_s=remember_s)

    async def of_api(self, authorization: str | None) -> Identity:
        """The identity behind a request; raises BadRequest ``bad_token`` (401), Unavailable when Redis is away."""
        identity, why = await self._identify(authorization)
        if identity is None:
            raise bad_token(why)
        return identity

    async def of_worker(self, authorization: str | None) -> Identity:
        """The identity behind a worker's socket.

        Raises Refused ``bad_token`` (close code 4401), or ``forbidden`` (4403) for a token of another kind.
        """
        identity, why = await self._identify(authorization)
        if identity is None:
            raise Refused(
                "bad_token",
                why,
                CLOSE_BAD_TOKEN,
                "Send 'Authorization: Bearer gj_worker_…'; 'gojob token create worker' makes one.",
                field="Authorization",
            )
        if not identity.may("work"):
            raise Refused(
                "forbidden",
                f"A token of kind {identity.kind} does not open a worker socket.",
                CLOSE_FORBIDDEN,
                "Use a token of kind worker.",
                field="Authorization",
            )
        return identity

    async def still_good(self, key_id: str) -> bool:
        """Whether the token that was let in is still there: for sockets, whose header is not sent again."""
        facts = await self._keys.get(key_id)
        return facts is not None and not expired(facts)

    async def check_namespace(self, name: str) -> str:
        """Return the name of a namespace that exists; raises ``bad_name``, NotFound ``unknown_namespace``."""
        names.check_namespace(name)
        if await self._namespaces.get(name):
            return name
        self._namespaces.forget(name)
        some, _cursor = await list_namespaces(self.space, limit=SUGGESTED_AMONG)
        likely = names.nearest(name, (namespace.name for namespace in some))
        raise NotFound(
            "unknown_namespace",
            f"There is no namespace {name!r}.",
            field="namespace",
            hint=f"Did you mean {' or '.join(likely)}?"
            if likely
            else "An administrator makes it with PUT /v1/namespaces.",
        )

    async def _identify(self, authorization: str | None) -> tuple[Identity | None, str]:
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        if not token:
            return None, "The request carries no token."
        shape = TOKEN.fullmatch(token) if len(token) <= TOKEN_CHARS else None
        if scheme.lower() != "bearer" or shape is None:
            return None, "The Authorization header is not a bearer token of this system."
        facts = await self._facts_of(f"{shape[1]} {shape[2]} {digest_of(token)}")
        if facts is None:
            return None, "The token is unknown or was revoked."
        if expired(facts):
            return None, "The token has expired."
        return Identity(facts.key_id, facts.kind, facts.scope, facts.expires_ms), ""

    async def _facts_of(self, token: str) -> TokenFacts | None:
        """What is stored about a token (kind, key id and digest of the whole), if it is one."""
        if self._refused.get(token, 0.0) > time.monotonic():
            return None
        facts = await self._tokens.get(token)
        if facts is None:
            self._tokens.forget(token)
            self._refused.pop(token, None)
            while len(self._refused) >= REFUSED:
                del self._refused[next(iter(self._refused))]
            self._refused[token] = time.monotonic() + REFUSED_S
        return facts

    async def _read_token(self, token: str) -> TokenFacts | None:
        """Takes the same way and the same time whether it is the key id that is wrong, or the secret."""
        kind, key_id, digest = token.split(" ")
        if token in self._tokens:
            record = await self.record_of(key_id)
        else:
            async with self._turn():
                record = await self.record_of(key_id)
        facts = facts_of(key_id, record or NOBODY)
        agrees = hmac.compare_digest(digest, facts.digest) and facts.kind == kind
        return facts if record and agrees else None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The turn of one who was never let in; raises Unavailable when it does not come in time."""
        try:
            async with asyncio.timeout(LOOK_UP_S):
                await self._strangers.acquire()
        except TimeoutError:
            raise Unavailable("Too many unknown tokens wait to be looked up.", LOOK_UP_S, code="busy") from None
        try:
            yield
        finally:
            self._strangers.release()

    async def _read_key(self, key_id: str) -> TokenFacts | None:
        record = await self.record_of(key_id)
        return facts_of(key_id, record) if record else None

    async def record_of(self, key_id: str) -> bytes | None:
        control: Any = self.space.clients.commands
        record: bytes | None = await repeat(lambda: control.hget(K.tokens(CONTROL), key_id), LOOK_UP_S)
        return record

    async def _read_namespace(self, name: str) -> bool:
        control: Any = self.space.clients.commands
        return bool(await repeat(lambda: control.hexists(K.namespaces(CONTROL), name), LOOK_UP_S))
