"""Tokens: made, listed and revoked.

A token is ``gj_<kind>_<key id>_<secret>``. Only the key id and the SHA-256 of the token are stored, so nothing here can
give a token back. 256 random bits need no slow hash."""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import structlog

from gojob_redis.control.records import engine_time_ms, page
from gojob_redis.domain import names
from gojob_redis.domain.errors import BadRequest, NotFound
from gojob_redis.domain.ids import base36
from gojob_redis.domain.limits import PAGE_ITEMS
from gojob_redis.engine.client import repeat
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions

log = structlog.get_logger()

TOKENS: Final = 10_000
TOKEN_CHARS: Final = 200
Kind = Literal["admin", "api", "worker"]
TOKEN = re.compile(r"gj_(admin|api|worker)_([0-9a-z]{10})_([0-9a-z]{50})")
_SCOPE_HINT = "Use *, a namespace, or namespace/app."


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What is stored about a token; the token itself is not."""

    key_id: str
    kind: Kind
    digest: str = field(repr=False)
    name: str
    scope: tuple[str, ...]
    made_ms: int
    expires_ms: int
    """0 = never."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token: the only time it can be read."""

    token: str = field(repr=False)
    facts: TokenFacts


def check_scope(scope: Sequence[str], field: str = "scope") -> tuple[str, ...]:
    """Return the scope sorted and each entry once; raises BadRequest ``bad_scope``."""
    for at, entry in enumerate(scope):
        namespace, slash, app = entry.partition("/")
        try:
            if entry != "*":
                names.check_namespace(namespace)
                if slash:
                    names.check_app(app)
        except BadRequest as error:
            raise BadRequest(
                "bad_scope", f"{field} has {entry[:80]!r}: {error.message}", field=f"{field}[{at}]", hint=_SCOPE_HINT
            ) from None
    if not scope:
        raise BadRequest("bad_scope", f"{field} is empty.", field=field, hint=_SCOPE_HINT)
    return tuple(sorted(set(scope)))


async def create_token(
    space: Partitions, kind: Kind, *, name: str = "", scope: Sequence[str] = ("*",), expires_ms: int = 0
) -> Issued:
    """Make a token; raises BadRequest ``bad_scope``, ``too_many_tokens``, ``bad_moment``."""
    control: Any = space.clients.commands
    checked = check_scope(scope)
    if kind == "admin" and checked != ("*",):
        raise BadRequest(
            "bad_scope",
            "An admin token is not limited to namespaces.",
            field="scope",
            hint="Leave the scope out, or make an api token.",
        )
    now_ms = await engine_time_ms(control)
    if expires_ms and expires_ms <= now_ms:
        raise BadRequest(
            "bad_moment", "The token would have expired already.", field="expires_ms", hint="Give later ms."
        )
    if await repeat(lambda: control.hlen(K.tokens(CONTROL))) >= TOKENS:
        raise BadRequest(
            "too_many_tokens",
            f"There are {TOKENS} tokens already.",
            field="token",
            hint="Revoke those that expired or that nobody uses.",
            limit=TOKENS,
        )
    key_id = base36(secrets.randbelow(36**10), 10)
    token = f"gj_{kind}_{key_id}_{base36(secrets.randbits(256), 50)}"
    facts = TokenFacts(key_id, kind, digest_of(token), name, checked, now_ms, expires_ms)
    await repeat(lambda: control.hset(K.tokens(CONTROL), key_id, record_of(facts)))
    log.info("token.created", key_id=key_id, kind=kind, name=name, scope=checked)
    return Issued(token, facts)


async def list_tokens(space: Partitions, cursor: str = "", limit: int = PAGE_ITEMS) -> tuple[list[TokenFacts], str]:
    """About so many tokens, oldest first in each page, and the cursor of the next page, "" at the end."""
    records, after = await page(space, K.tokens(CONTROL), cursor, limit)
    facts = [facts_of(key_id, value) for key_id, value in records.items()]
    return sorted(facts, key=lambda each: (each.made_ms, each.key_id)), after


async def revoke_token(space: Partitions, key_id: str) -> None:
    """Forget a token; raises NotFound ``unknown_token``."""
    control: Any = space.clients.commands
    if not await repeat(lambda: control.hdel(K.tokens(CONTROL), key_id)):
        raise NotFound(
            "unknown_token",
            f"There is no token {key_id[:80]!r}.",
            field="key_id",
            hint="List the tokens to see theirs.",
        )
    log.info("token.revoked", key_id=key_id)


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def record_of(facts: TokenFacts) -> str:
    return json.dumps(
        {
            "kind": facts.kind,
            "digest": facts.digest,
            "name": facts.name,
            "scope": facts.scope,
            "made_ms": facts.made_ms,
            "expires_ms": facts.expires_ms,
        }
    )


NOBODY: Final = record_of(TokenFacts("", "api", digest_of(""), "", ("*",), 0, 0)).encode()
"""In the place of a record that does not exist."""


def facts_of(key_id: str, record: bytes) -> TokenFacts:
    fields = json.loads(record)
    return TokenFacts(
        key_id,
        cast(Kind, fields["kind"]),
        fields["digest"],
        fields["name"],
        tuple(fields["scope"]),
        fields["made_ms"],
        fields["expires_ms"],
    )


def expired(facts: TokenFacts) -> bool:
    """By this host's clock: a token is no slot, and seconds do not matter."""
    return bool(facts.expires_ms) and time.time() * 1000 >= facts.expires_ms


_CLAIM = "first_admin"


async def first_admin(space: Partitions) -> Issued | None:
    """Make the first admin token, once per installation; None when that happened before.

    A process that dies between the claim and the print leaves a token nobody knows: whoever can reach the engine makes
    another with ``gojob token create admin --redis URL``.
    """
    control: Any = space.clients.admin
    if not await repeat(lambda: control.hsetnx(K.installation(CONTROL), _CLAIM, "1")):
        return None
    return await create_token(space, "admin", name="made at the first start")
