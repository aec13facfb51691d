"""Which handlers were ever announced, and which parameters they take: what cannot be run is refused before it waits.

1. Work for a mistyped name would wait for a worker that never comes.
2. Parameters are taken if they fit the schema of any live version. Where no live version told one, they are not looked
   at. What is known of a handler is remembered for 10 s; before anything is refused, it is read again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gojob_redis import view
from gojob_redis.domain import limits, policies
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import BadRequest, NotFound
from gojob_redis.domain.names import nearest
from gojob_redis.domain.schema import Misfit, Schema, compiled
from gojob_redis.engine.partitions import Partitions
from gojob_redis.runtime.ttl_cache import TtlCache
from gojob_redis.view import HandlerFacts

REMEMBER_S = 10.0
SPEC_S = 3_600.0
AGAIN_S = 1.0
"""A handler whose parameters are refused is read again at most this often."""


class ParamsInvalid(BadRequest):
    """Parameters that no live version of their handler takes. ``pointer`` is where, as a JSON pointer into the body."""

    def __init__(self, handler: str, misfit: Misfit, at: str, may_skip: bool) -> None:
        path = f"{at}params"
        shown = f"See what it takes with GET /v1/apps/{app_of(handler)}/handlers/{name_of(handler)}"
        super().__init__(
            "params_invalid",
            f"{path}{misfit.pointer} {misfit.why}.",
            field=path,
            hint=f"{shown}, or set allow_unknown to leave that to the worker." if may_skip else f"{shown}.",
            status=422,
        )
        self.pointer = f"/{path.replace('[', '/').replace('].', '/')}{misfit.pointer}"

    def as_problem(self) -> dict[str, object]:
        return {**super().as_problem(), "pointer": self.pointer}


@dataclass(frozen=True, slots=True)
class ReadySpec:
    """What a version told, ready for use."""

    schema: Schema | None = None
    defaults: Mapping[str, policies.Value] = field(default_factory=dict)


def _weight(ready: ReadySpec) -> int:
    return 1 + (ready.schema.nodes if ready.schema is not None else 0)


class KnownHandlers:
    """Answers what is known of a handler; one that was announced stays so for a while without asking."""

    def __init__(self, space: Partitions) -> None:
        self.space = space
        self._known: TtlCache[HandlerFacts] = TtlCache(partial(view.handler_facts, space), for_s=REMEMBER_S)
        self._read_again: TtlCache[HandlerFacts] = TtlCache(partial(view.handler_facts, space), for_s=AGAIN_S)
        self._told: TtlCache[ReadySpec] = TtlCache(
            self._read_told, for_s=SPEC_S, most=limits.SCHEMA_NODES_READY, weigh=_weight
        )

    async def of(self, handler: str) -> HandlerFacts:
        """What is known of a handler, announced or not."""
        facts = await self._known.get(handler)
        if not facts.announced:
            self._known.forget(handler)  # it may be a moment later
        return facts

    async def lately(self, handler: str) -> HandlerFacts:
        """What was known of it a second ago at most, so that a thousand tasks of an unknown one ask once."""
        return await self._read_again.get(handler)

    def forget(self, handler: str) -> None:
        """Read it again the next time."""
        self._known.forget(handler)
        self._read_again.forget(handler)

    async def check(self, handler: str, *, field: str = "handler") -> HandlerFacts:
        """Raises NotFound ``unknown_handler`` with the nearest names for one that was not announced in 30 days."""
        facts = await self.of(handler)
        if facts.announced:
            return facts
        name = name_of(handler)
        likely = nearest(name, await view.handlers_near(self.space, handler))
        raise NotFound(
            "unknown_handler",
            f"No worker of {app_of(handler)} announced a handler {name!r} in the last 30 days.",
            field=field,
            hint=f"Did you mean {' or '.join(likely)}?"
            if likely
            else "Start a worker that serves it, or set allow_unknown.",
            status=422,
        )

    async def check_params(
        self, handler: str, facts: HandlerFacts, params: Any, at: str = "", *, may_skip: bool = True
    ) -> None:
        """Raises ParamsInvalid for what fits no live version.

        at: where the task stands in the body, such as ``tasks[3].``.
        may_skip: whether the body may say ``allow_unknown``.
        """
        if not facts.live or await self._misfit(handler, facts, params) is None:
            return
        facts = await self._read_again.get(handler)
        misfit = await self._misfit(handler, facts, params)
        if misfit is not None:
            raise ParamsInvalid(handler, misfit, at, may_skip)
        self._known.forget(handler)

    async def _misfit(self, handler: str, facts: HandlerFacts, params: Any) -> Misfit | None:
        """Why parameters do not fit the newest version; None where they fit a version, or one takes anything."""
        newest: Misfit | None = None
        for digest in facts.live:
            schema = (await self._told_by(handler, digest)).schema
            misfit = schema.misfit(params) if schema is not None else None
            if misfit is None:
                return None
            newest = newest or misfit
        return newest

    async def defaults(self, handler: str, facts: HandlerFacts) -> Mapping[str, policies.Value]:
        """The policies that the newest live version sets where nothing else is said; of none that lives, the last."""
        return (await self._told_by(handler, facts.holds)).defaults if facts.holds else {}

    async def _told_by(self, handler: str, digest: str) -> ReadySpec:
        return await self._told.get(f"{app_of(handler)}|{digest}")

    async def _read_told(self, name: str) -> ReadySpec:
        app, _, digest = name.partition("|")
        spec = await view.spec_of(self.space, app, digest) or {}
        try:
            schema = await asyncio.to_thread(compiled, spec["params"]) if "params" in spec else None
        except ValueError:
            schema = None
        return ReadySpec(schema, policies.lawful("handler", spec.get("defaults", {})))
