"""Namespaces: units of isolation and permission, and what is set for each of them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gojob_redis.control.records import LOOK_UP_S, REMEMBER_S, engine_time_ms, page
from gojob_redis.domain import names, policies, quotas, retention
from gojob_redis.domain.address import namespace_of
from gojob_redis.domain.defaults import of_namespace
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.limits import PAGE_ITEMS
from gojob_redis.domain.quotas import USUAL, Quotas
from gojob_redis.domain.retention import Retention
from gojob_redis.engine.client import ANSWER_S, repeat
from gojob_redis.engine.durability import Level, check_level, check_start
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.runtime.ttl_cache import TtlCache

NAMESPACES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Namespace:
    """A unit of isolation and permission."""

    name: str
    description: str
    made_ms: int
    durability: Level = Level.FAST
    limits: Quotas = USUAL
    """How much of what it may have."""
    defaults: dict[str, policies.Value] = field(default_factory=dict)
    """Policies of its tasks and triggers that do not say otherwise, where they are not the usual ones."""
    retention: Retention = retention.USUAL
    """How long its ended tasks are kept."""


async def put_namespace(
    space: Partitions,
    name: str,
    description: str | None = None,
    durability: Level | None = None,
    may_have: Mapping[str, int] | None = None,
    defaults: Mapping[str, policies.Value | None] | None = None,
    kept: Mapping[str, int | None] | None = None,
) -> Namespace:
    """Make a namespace, or change what is set for it: what is not named stays.

    Raises BadRequest ``bad_name``, ``too_many_namespaces``, ``unknown_limit``, ``bad_limit``,
    ``unknown_policy``, ``bad_policy``, ``unknown_setting``, ``bad_setting``, CannotGive when the engine is not
    set up for the level.
    """
    names.check_namespace(name)
    control: Any = space.clients.commands
    key = K.namespaces(CONTROL)
    namespace = await find_namespace(space, name)
    if namespace is None and await repeat(lambda: control.hlen(key)) >= NAMESPACES:
        raise BadRequest(
            "too_many_namespaces",
            f"There are {NAMESPACES} namespaces already.",
            field="namespace",
            hint="Use apps or labels to tell things apart.",
            limit=NAMESPACES,
        )
    namespace = namespace or Namespace(name, "", await engine_time_ms(control))
    changed = replace(
        namespace,
        description=namespace.description if description is None else description,
        durability=durability or namespace.durability,
        limits=namespace.limits.changed(may_have or {}),
        defaults=policies.changed_defaults(namespace.defaults, defaults or {}),
        retention=namespace.retention.changed(retention.checked(kept or {})),
    )
    if durability is not None:
        await repeat(lambda: check_level(space.clients.admin, durability), ANSWER_S)
    await repeat(lambda: control.hset(key, name, _namespace_record(changed)))
    if defaults is not None:  # also where they are what they were: the call before may have ended between the two
        await repeat(lambda: control.incr(K.defaults_changes(CONTROL)))
    return changed


async def find_namespace(space: Partitions, name: str, within_s: float = ANSWER_S) -> Namespace | None:
    """What is set for a namespace; None when there is no such namespace."""
    control: Any = space.clients.commands
    record = await repeat(lambda: control.hget(K.namespaces(CONTROL), name), within_s)
    return _namespace(name, record) if record else None


async def list_namespaces(space: Partitions, cursor: str = "", limit: int = PAGE_ITEMS) -> tuple[list[Namespace], str]:
    """About so many namespaces, by name in each page, and the cursor of the next page, "" at the end."""
    records, after = await page(space, K.namespaces(CONTROL), cursor, limit)
    return sorted((_namespace(name, value) for name, value in records.items()), key=lambda each: each.name), after


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
        of_namespace(value),
        retention.of_record(value),
    )


def _namespace_record(namespace: Namespace) -> str:
    facts: dict[str, Any] = {"description": namespace.description, "made_ms": namespace.made_ms}
    if namespace.durability is not Level.FAST:
        facts["durability"] = namespace.durability.value
    if namespace.limits.moved:
        facts["limits"] = namespace.limits.moved
    if namespace.defaults:
        facts["defaults"] = namespace.defaults
    if namespace.retention.moved:
        facts["retention"] = namespace.retention.moved
    return json.dumps(facts)


class Levels:
    """What is set for namespaces: how safe what is acknowledged has to be, and how much there may be of what.

    It is remembered for at most 5 s.
    """

    def __init__(self, space: Partitions, *, remember_s: float = REMEMBER_S) -> None:
        self.space = space
        self._known: TtlCache[Namespace | None] = TtlCache(self._read, for_s=remember_s)

    async def of(self, address: str) -> Level:
        """The level of a namespace, an app or a handler; raises Unavailable when Redis is away."""
        namespace = await self._known.get(namespace_of(address))
        return namespace.durability if namespace else Level.FAST

    async def quotas_of(self, address: str) -> Quotas:
        """How much the namespace of an app or a handler may have; raises Unavailable when Redis is away."""
        namespace = await self._known.get(namespace_of(address))
        return namespace.limits if namespace else USUAL

    async def defaults_of(self, address: str) -> Mapping[str, policies.Value]:
        """Policies where nothing else is said; raises Unavailable when Redis is away."""
        namespace = await self._known.get(namespace_of(address))
        return namespace.defaults if namespace else {}

    async def retention_of(self, address: str) -> Retention:
        """How long ended tasks are kept; raises Unavailable when Redis is away."""
        namespace = await self._known.get(namespace_of(address))
        return namespace.retention if namespace else retention.USUAL

    def held(self, address: str) -> Quotas:
        """The same, as far as it was asked for before."""
        namespace = self._known.held(namespace_of(address))
        return namespace.limits if namespace else USUAL

    def forget(self, namespace: str) -> None:
        """Read it again the next time: it was changed here."""
        self._known.forget(namespace)

    def written(self, apps: Iterable[str]) -> str:
        """How much the namespaces of these apps may have, as scripts read it."""
        return quotas.written({namespace_of(app): self.held(app) for app in apps})

    async def _read(self, name: str) -> Namespace | None:
        return await find_namespace(self.space, name, LOOK_UP_S)
