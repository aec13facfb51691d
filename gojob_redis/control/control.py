"""The control plane: the installation itself, its namespaces, and who may do what.

1. An *installation* is one epoch over a fixed number of partitions. ``bootstrap_or_open`` makes it at the very
   first start and opens it at every other. Each step is safe to repeat, and ``bootstrapped`` is written last: a process
   that dies in the middle, or several that start at once, leave something the next one completes.
2. An installation is made once and never again by itself. A partition without its epoch, or partitions without their
   installation, mean that data was lost; starting on it would be a silent, empty scheduler.
3. A token is ``gj_<kind>_<key id>_<secret>``. Only the key id and the SHA-256 of the token are stored, so nothing here
   can give a token back. 256 random bits need no slow hash.
4. ``Identities`` remembers what it read for at most 5 s: so long may a revoked token still be let in, and so seldom
   does a request cost a read. There is no anonymous access.
5. What it remembers it finds by the whole token, not by its key id, and what is refused goes one way: so nobody learns
   from the time of an answer whether a key id exists. Tokens that were never let in are looked up a few at a time.
"""

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar, cast

import structlog

from gojob_redis.domain import names, quotas
from gojob_redis.domain.errors import BadRequest, GojobError, NotFound, Refused, Unavailable, bad_cursor
from gojob_redis.domain.ids import base36
from gojob_redis.domain.limits import PAGE_ITEMS
from gojob_redis.domain.quotas import USUAL, Quotas
from gojob_redis.engine.client import ANSWER_S, repeat, round_trip
from gojob_redis.engine.durability import Level, check_level, check_start
from gojob_redis.engine.keys import CONTROL, FIRST_SCHEMA, SCHEMA, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.scripts import NoEpoch, OtherSchema, verb
from gojob_sdk.protocol import CLOSE_BAD_TOKEN, CLOSE_FORBIDDEN

log = structlog.get_logger()

V = TypeVar("V")

DEFAULT_NAMESPACE: Final = "default"
NAMESPACES: Final = 10_000
TOKENS: Final = 10_000
DESCRIPTION_CHARS: Final = 1_024
SUGGESTED_AMONG: Final = 200
"""Namespaces that a mistyped one is compared with."""
TOKEN_CHARS: Final = 200

Kind = Literal["admin", "api", "worker"]
Permission = Literal["see", "operate", "edit", "admin", "work"]

PERMISSIONS: Final[dict[Kind, frozenset[Permission]]] = {
    "admin": frozenset({"see", "operate", "edit", "admin"}),
    "api": frozenset({"see", "operate", "edit"}),
    "worker": frozenset({"work"}),
}
"""see: read · operate: submit, run, cancel, pause · edit: triggers · admin: tokens, namespaces · work: the socket."""


class WrongInstallation(GojobError):
    """The engine holds another installation than this process was set up for; nothing was written."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("wrong_installation", message, hint=hint)


class NotBootstrapped(GojobError):
    """The engine is empty, and this process was told not to found anything; nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "not_bootstrapped",
            "The engine holds no installation, and this process may not bootstrap one (redis.bootstrap = never).",
            hint="If there was one, its data was lost: restore it, or look whether this is the right engine. "
            "If there was none, or the loss is accepted: run 'gojob bootstrap' once.",
        )


# ---- the installation ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Installation:
    """What every process has to agree on."""

    epoch: str
    partitions: int
    schema: int
    fresh: bool
    """True in the one process that completed the bootstrap."""


async def bootstrap_or_open(
    space: Partitions, *, expected: str = "", may_bootstrap: bool = True, intended: bool = False
) -> Installation:
    """Make the installation if there is none, else check that it is this one and whole.

    expected: the epoch that the caller saw here before, if it remembers one.
    may_bootstrap: False to refuse an engine that is empty.
    intended: somebody wants a new one, so a bootstrap is nothing to warn of.
    Raises WrongInstallation for another number of partitions, OtherSchema for data of a schema that is not ours,
    NoEpoch when a partition lost its data, NotBootstrapped.
    """
    control: Any = space.clients.admin
    # First the partitions, then the installation, which is written before them: so this order cannot mistake one that
    # is under way for a loss.
    epochs = await _epochs(space)
    held = await _installation(control)
    if not held:
        if any(epochs):
            raise NoEpoch(
                "The engine holds partitions but no installation: the control data was lost. "
                "Restore the engine's data; or, if the loss is accepted, empty the engine and start anew."
            )
        if expected:
            raise NoEpoch(
                f"The engine is empty, but it held the installation {expected}. Restore the engine's data; "
                "or, if the loss is accepted, remove installation.json from the data directory."
            )
        if not may_bootstrap:
            raise NotBootstrapped
    if "epoch" not in held:  # it is written last of the three
        _check_installation(held, space.count)
        held = await _claim(space)
    _check_installation(held, space.count)
    epoch = held["epoch"]
    fresh = False
    if "bootstrapped" in held:
        _check_epochs(space, epoch, await _epochs(space))
    else:
        await _bootstrap_partitions(space, epoch)
        now_ms = await _now_ms(control)
        made = json.dumps({"description": "", "made_ms": now_ms})
        await repeat(lambda: control.hsetnx(K.namespaces(CONTROL), DEFAULT_NAMESPACE, made))
        fresh = bool(await repeat(lambda: control.hsetnx(K.installation(CONTROL), "bootstrapped", str(now_ms))))
        told = {"epoch": epoch, "partitions": space.count, "by_us": fresh}
        if intended:
            log.info("installation.bootstrapped", **told)
            return Installation(epoch, space.count, int(held["schema"]), fresh)
        log.warning(
            "installation.bootstrapped",
            **told,
            meaning="The engine was empty, so this is a new installation without any trigger, task or token. If there "
            "was one before, its data was lost: stop all roles, restore it, and set GOJOB_REDIS__BOOTSTRAP=never.",
        )
    return Installation(epoch, space.count, int(held["schema"]), fresh)


async def _installation(control: Any) -> dict[str, str]:
    held = await repeat(lambda: control.hgetall(K.installation(CONTROL)))
    return {name.decode(): value.decode() for name, value in held.items()}


async def _claim(space: Partitions) -> dict[str, str]:
    """Write what is not there yet; whoever comes first in each field decides it for all."""
    control: Any = space.clients.admin
    key = K.installation(CONTROL)
    wanted = {"partitions": str(space.count), "schema": str(SCHEMA), "epoch": secrets.token_hex(8)}
    for name, value in wanted.items():
        await repeat(partial(control.hsetnx, key, name, value))
    return await _installation(control)


def _check_installation(held: dict[str, str], partitions: int) -> None:
    stored = int(held.get("partitions", partitions))
    if stored != partitions:
        raise WrongInstallation(
            f"This installation has {stored} partitions, and this process was told {partitions}.",
            hint=f"Set redis.partitions (GOJOB_REDIS__PARTITIONS) to {stored}; the number is fixed by the first start.",
        )
    _check_schema("This installation", held.get("schema", FIRST_SCHEMA if "epoch" in held else SCHEMA))


def _check_schema(where: str, stored: str | bytes | int) -> None:
    if int(stored) != SCHEMA:
        raise OtherSchema(where, int(stored))


async def _epochs(space: Partitions) -> list[str]:
    """The epoch of every partition, "" for one that has none; raises OtherSchema."""
    asked = [("HMGET", K.meta(prefix), "epoch", "schema") for prefix in space.prefixes]

    async def attempt() -> list[list[bytes | None]]:
        answers = await round_trip(space.clients.admin, asked)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    held = await repeat(attempt)
    for partition, (epoch, schema) in enumerate(held):
        if epoch:
            _check_schema(f"Partition {partition}", schema or FIRST_SCHEMA)
    return [(epoch or b"").decode() for epoch, _schema in held]


def _check_epochs(space: Partitions, epoch: str, found: Sequence[str]) -> None:
    for partition, held in enumerate(found):
        if held == epoch:
            continue
        state = f"has the epoch of another installation ({held})" if held else "has no epoch, so its data was lost"
        raise NoEpoch(
            f"Partition {partition} of {space.count} ({space.prefixes[partition]}) {state}. Restore the engine's data. "
            f"Only if the loss is accepted: HDEL {K.installation(CONTROL)} bootstrapped, then the next start makes "
            "it anew."
        )


async def _bootstrap_partitions(space: Partitions, epoch: str) -> None:
    script = verb("bootstrap")
    for partition, prefix in enumerate(space.prefixes):
        tell = int(partition == 0)
        call = partial(script.call, space.clients.admin, prefix, now_ms=space.now_ms(), epoch=epoch, tell=tell)
        word, held = await repeat(call)
        if word == b"kept" and held.decode() != epoch:
            raise WrongInstallation(
                f"{prefix} belongs to the installation {held.decode()}, not to {epoch}.",
                hint="Two installations cannot share one engine; give each its own.",
            )


async def _now_ms(client: Any) -> int:
    seconds, microseconds = await repeat(client.time)
    return int(seconds) * 1000 + int(microseconds) // 1000


_CURSOR = re.compile(r"[0-9]{1,20}")

# ---- namespaces ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Namespace:
    """A unit of isolation and permission."""

    name: str
    description: str
    made_ms: int
    durability: Level = Level.FAST
    limits: Quotas = USUAL
    """How much of what it may have."""


async def put_namespace(
    space: Partitions,
    name: str,
    description: str | None = None,
    durability: Level | None = None,
    may_have: Mapping[str, int] | None = None,
) -> Namespace:
    """Make a namespace, or change what is set for it: what is not named stays.

    Raises BadRequest ``bad_name``, ``too_many_namespaces``, ``unknown_limit``, ``bad_limit``, CannotGive when the
    engine is not set up for the level.
    """
    names.check_namespace(name)
    control: Any = space.clients.commands
    key = K.namespaces(CONTROL)
    known = await find_namespace(space, name)
    if known is None and await repeat(lambda: control.hlen(key)) >= NAMESPACES:
        raise BadRequest(
            "too_many_namespaces",
            f"There are {NAMESPACES} namespaces already.",
            field="namespace",
            hint="Use apps or labels to tell things apart.",
            limit=NAMESPACES,
        )
    known = known or Namespace(name, "", await _now_ms(control))
    changed = replace(
        known,
        description=known.description if description is None else description,
        durability=durability or known.durability,
        limits=known.limits.changed(may_have or {}),
    )
    if durability is not None:
        await repeat(lambda: check_level(space.clients.admin, durability), ANSWER_S)
    await repeat(lambda: control.hset(key, name, _namespace_record(changed)))
    return changed


async def find_namespace(space: Partitions, name: str, within_s: float = ANSWER_S) -> Namespace | None:
    """What is set for a namespace; None when there is no such namespace."""
    control: Any = space.clients.commands
    held = await repeat(lambda: control.hget(K.namespaces(CONTROL), name), within_s)
    return _namespace(name, held) if held else None


async def list_namespaces(space: Partitions, cursor: str = "", limit: int = PAGE_ITEMS) -> tuple[list[Namespace], str]:
    """About so many namespaces, by name in each page, and the cursor of the next page, "" at the end."""
    held, after = await _page(space, K.namespaces(CONTROL), cursor, limit)
    return sorted((_namespace(name, value) for name, value in held.items()), key=lambda known: known.name), after


async def _page(space: Partitions, key: str, cursor: str, limit: int) -> tuple[dict[str, bytes], str]:
    """Some fields of a hash. One that is small comes whole; one that grows meanwhile may show a field twice."""
    if cursor and not _CURSOR.fullmatch(cursor):
        raise bad_cursor(cursor)
    control: Any = space.clients.commands
    after, held = await repeat(lambda: control.hscan(key, int(cursor or 0), count=limit), ANSWER_S)
    return {name.decode(): value for name, value in held.items()}, str(after) if int(after) else ""


async def check_durability(space: Partitions) -> None:
    """Raise UnfitEngine when the engine cannot give any more what a namespace was promised."""
    levels: dict[str, Level] = {}
    cursor, more = "", True
    while more:
        namespaces, cursor = await list_namespaces(space, cursor)
        levels |= {namespace.name: namespace.durability for namespace in namespaces}
        more = bool(cursor)
    await repeat(lambda: check_start(space.clients.admin, sorted(levels.items())))


def _namespace(name: str, value: bytes) -> Namespace:
    facts = json.loads(value)
    return Namespace(
        name,
        str(facts["description"]),
        int(facts["made_ms"]),
        Level(facts.get("durability", Level.FAST.value)),
        quotas.of_record(value),
    )


def _namespace_record(namespace: Namespace) -> str:
    facts: dict[str, Any] = {"description": namespace.description, "made_ms": namespace.made_ms}
    if namespace.durability is not Level.FAST:
        facts["durability"] = namespace.durability.value
    if namespace.limits.moved:
        facts["limits"] = namespace.limits.moved
    return json.dumps(facts)


# ---- tokens ----------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"gj_(admin|api|worker)_([0-9a-z]{10})_([0-9a-z]{50})")
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
    now_ms = await _now_ms(control)
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
    facts = TokenFacts(key_id, kind, _digest(token), name, checked, now_ms, expires_ms)
    await repeat(lambda: control.hset(K.tokens(CONTROL), key_id, _token_record(facts)))
    log.info("token.created", key_id=key_id, kind=kind, name=name, scope=checked)
    return Issued(token, facts)


async def list_tokens(space: Partitions, cursor: str = "", limit: int = PAGE_ITEMS) -> tuple[list[TokenFacts], str]:
    """About so many tokens, oldest first in each page, and the cursor of the next page, "" at the end."""
    held, after = await _page(space, K.tokens(CONTROL), cursor, limit)
    facts = [_token_facts(key_id, value) for key_id, value in held.items()]
    return sorted(facts, key=lambda known: (known.made_ms, known.key_id)), after


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


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _token_record(facts: TokenFacts) -> str:
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


_NOBODY: Final = _token_record(TokenFacts("", "api", _digest(""), "", ("*",), 0, 0)).encode()
"""In the place of a record that does not exist."""


def _token_facts(key_id: str, record: bytes) -> TokenFacts:
    held = json.loads(record)
    return TokenFacts(
        key_id,
        cast(Kind, held["kind"]),
        held["digest"],
        held["name"],
        tuple(held["scope"]),
        held["made_ms"],
        held["expires_ms"],
    )


# ---- identities ------------------------------------------------------------------------------------------------------

REMEMBER_S: Final = 5.0
REMEMBERED: Final = 20_000
LOOK_UP_S: Final = 3.0
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


class Remembered(Generic[V]):
    """What was read, for a few seconds."""

    def __init__(
        self, read: Callable[[str], Awaitable[V]], *, for_s: float = REMEMBER_S, most: int = REMEMBERED
    ) -> None:
        self._read = read
        self._for_s = for_s
        self._most = most
        self._held: dict[str, tuple[float, V]] = {}
        self._reading: dict[str, asyncio.Task[V]] = {}

    async def get(self, name: str) -> V:
        """The value, at most ``for_s`` old; however many ask at once, it is read once."""
        held = self._held.get(name)
        if held is not None and time.monotonic() < held[0]:
            return held[1]
        reading = self._reading.get(name)
        if reading is None:
            reading = self._reading[name] = asyncio.create_task(self._refresh(name))
            reading.add_done_callback(lambda task: self._over(name, task))
        return await asyncio.shield(reading)

    def _over(self, name: str, task: "asyncio.Task[V]") -> None:
        if self._reading.get(name) is task:
            del self._reading[name]
        if not task.cancelled():
            task.exception()  # read, for those who asked may all have left

    async def _refresh(self, name: str) -> V:
        began = time.monotonic()
        value = await self._read(name)
        self._held.pop(name, None)
        while len(self._held) >= self._most:
            del self._held[next(iter(self._held))]
        self._held[name] = began + self._for_s, value
        return value

    def held(self, name: str) -> V | None:
        """The value that was read last, however long ago."""
        held = self._held.get(name)
        return held[1] if held else None

    def __contains__(self, name: str) -> bool:
        """Whether it was read before, however long ago."""
        return name in self._held

    def forget(self, name: str) -> None:
        """Read it again the next time."""
        self._held.pop(name, None)
        self._reading.pop(name, None)


def bad_token(why: str) -> BadRequest:
    return BadRequest("bad_token", why, field="Authorization", hint="Send 'Authorization: Bearer gj_…'.", status=401)


class Identities:
    """Answers who is behind an ``Authorization`` header, and whether a namespace exists."""

    def __init__(self, space: Partitions, *, remember_s: float = REMEMBER_S) -> None:
        self.space = space
        self._keys: Remembered[TokenFacts | None] = Remembered(self._read_key, for_s=remember_s)
        self._tokens: Remembered[TokenFacts | None] = Remembered(self._read_token, for_s=remember_s)
        self._refused: dict[str, float] = {}
        """Until when, by the whole token's digest."""
        self._strangers = asyncio.Semaphore(STRANGERS)
        self._namespaces: Remembered[bool] = Remembered(self._read_namespace, for_s=remember_s)

    async def of_api(self, authorization: str | None) -> Identity:
        """The identity behind a request; raises BadRequest ``bad_token`` (401), Unavailable when Redis is away."""
        found, why = await self._identify(authorization)
        if found is None:
            raise bad_token(why)
        return found

    async def of_worker(self, authorization: str | None) -> Identity:
        """The identity behind a worker's socket.

        Raises Refused ``bad_token`` (close code 4401), or ``forbidden`` (4403) for a token of another kind.
        """
        found, why = await self._identify(authorization)
        if found is None:
            raise Refused(
                "bad_token",
                why,
                CLOSE_BAD_TOKEN,
                "Send 'Authorization: Bearer gj_worker_…'; 'gojob token create worker' makes one.",
                field="Authorization",
            )
        if not found.may("work"):
            raise Refused(
                "forbidden",
                f"A token of kind {found.kind} does not open a worker socket.",
                CLOSE_FORBIDDEN,
                "Use a token of kind worker.",
                field="Authorization",
            )
        return found

    async def still_good(self, key_id: str) -> bool:
        """Whether the token that was let in is still there: for sockets, whose header is not sent again."""
        facts = await self._keys.get(key_id)
        return facts is not None and not _expired(facts)

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
        shape = _TOKEN.fullmatch(token) if len(token) <= TOKEN_CHARS else None
        if scheme.lower() != "bearer" or shape is None:
            return None, "The Authorization header is not a bearer token of this system."
        facts = await self._facts_of(f"{shape[1]} {shape[2]} {_digest(token)}")
        if facts is None:
            return None, "The token is unknown or was revoked."
        if _expired(facts):
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
            held = await self._record_of(key_id)
        else:
            async with self._turn():
                held = await self._record_of(key_id)
        facts = _token_facts(key_id, held or _NOBODY)
        agrees = hmac.compare_digest(digest, facts.digest) and facts.kind == kind
        return facts if held and agrees else None

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
        held = await self._record_of(key_id)
        return _token_facts(key_id, held) if held else None

    async def _record_of(self, key_id: str) -> bytes | None:
        control: Any = self.space.clients.commands
        held: bytes | None = await repeat(lambda: control.hget(K.tokens(CONTROL), key_id), LOOK_UP_S)
        return held

    async def _read_namespace(self, name: str) -> bool:
        control: Any = self.space.clients.commands
        return bool(await repeat(lambda: control.hexists(K.namespaces(CONTROL), name), LOOK_UP_S))


class Levels:
    """What is set for namespaces: how safe what is acknowledged has to be, and how much there may be of what.

    It is remembered for at most 5 s.
    """

    def __init__(self, space: Partitions, *, remember_s: float = REMEMBER_S) -> None:
        self.space = space
        self._known: Remembered[Namespace | None] = Remembered(self._read, for_s=remember_s)

    async def of(self, address: str) -> Level:
        """The level of a namespace, an app or a handler; raises Unavailable when Redis is away."""
        known = await self._known.get(address.partition("/")[0])
        return known.durability if known else Level.FAST

    async def quotas_of(self, address: str) -> Quotas:
        """How much the namespace of an app or a handler may have; raises Unavailable when Redis is away."""
        known = await self._known.get(address.partition("/")[0])
        return known.limits if known else USUAL

    def held(self, address: str) -> Quotas:
        """The same, as far as it was asked for before."""
        known = self._known.held(address.partition("/")[0])
        return known.limits if known else USUAL

    def forget(self, namespace: str) -> None:
        """Read it again the next time: it was changed here."""
        self._known.forget(namespace)

    def written(self, apps: Iterable[str]) -> str:
        """How much the namespaces of these apps may have, as scripts read it."""
        return quotas.written({app.partition("/")[0]: self.held(app) for app in apps})

    async def _read(self, name: str) -> Namespace | None:
        return await find_namespace(self.space, name, LOOK_UP_S)


def _expired(facts: TokenFacts) -> bool:
    """By this host's clock: a token is no slot, and seconds do not matter."""
    return bool(facts.expires_ms) and time.time() * 1000 >= facts.expires_ms


# ---- the first tokens ------------------------------------------------------------------------------------------------

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
