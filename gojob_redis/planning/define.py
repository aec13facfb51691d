"""Triggers: define and remove them; what is defined has its first agenda already."""

import asyncio
from dataclasses import dataclass

import msgpack

from gojob_redis.domain import ids, quotas, verbs
from gojob_redis.domain.address import namespace_of
from gojob_redis.domain.errors import Conflict, GojobError
from gojob_redis.domain.quotas import USUAL, Quotas
from gojob_redis.domain.states import TriggerState
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.durability import Level
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.planning.planner import PLAN_FACTS, Agenda, Continuation, continuations, engine_time, plan_agenda
from gojob_redis.schedules.schedule import (
    Once,
    Schedule,
    as_line,
    as_mapping,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A trigger, checked and complete."""

    app: str
    """namespace/app"""
    name: str
    handler: str
    """namespace/app/handler"""
    schedule: Schedule
    state: TriggerState = TriggerState.ACTIVE
    """ACTIVE; or DISABLED, PAUSED: no slot is planned and none is missed."""
    paused: bool = False
    """Somebody paused it, perhaps besides disabling it."""
    owner: str = ""
    """Who or what made it, as it says itself."""
    param: bytes = b""
    labels: str = ""
    attribute: str = ""
    shards: int = 1
    shard_params: bytes = b""
    policies: str = ""
    """As ``policies.write`` makes it."""
    sources: str = ""
    """Who said each, as ``defaults.write_sources`` makes it; without it no change of a default is followed."""
    defaults_rev: str = ""
    """Revision of the defaults that went into them."""
    body: bytes = b""
    """What the user wrote, to be shown again; opaque here."""

    @property
    def active(self) -> bool:
        """Whether it fires."""
        return self.state is TriggerState.ACTIVE


@dataclass(frozen=True, slots=True)
class Defined:
    """A stored trigger: its identity, its revision, and when it fires next (ms)."""

    uid: str
    revision: int
    next_times: list[int]


DEFINE_TRIES = 5
"""How often a definition waits for the slots of the rule before."""


def begin_of(schedule: Schedule, now_ms: int) -> int:
    """From when on a schedule that somebody wants from now on has slots: a ``once`` in the past is made up for."""
    return min(now_ms, schedule.at - 1) if isinstance(schedule, Once) else now_ms


async def define(
    space: Partitions,
    definition: Definition,
    *,
    revision: int = -1,
    makes_up: bool = True,
    level: Level = Level.FAST,
    may_have: Quotas = USUAL,
) -> Defined:
    """Store a trigger and its agenda.

    revision: the one the caller has seen; 0 when it must be new, -1 for any.
    makes_up: whether a ``once`` in the past fires at once: not for a rule that held before, and was paused then.
    Slots of the rule before that came due and were not handled, as in an outage, enter the ledger first.
    Raises Conflict ``conflict`` or ``exists``, LimitReached.
    """
    partition = await space.of_app(definition.app, anew=True)
    change, uid = ids.new_session_id(), ids.new_trigger_uid()
    for _ in range(DEFINE_TRIES):
        now_ms = await engine_time(partition)
        agenda = plan_agenda(definition.schedule, begin_of(definition.schedule, now_ms) if makes_up else now_ms)
        call = verbs.define(
            app=definition.app,
            name=definition.name,
            uid=uid,
            change=change,
            revision=revision,
            active=int(definition.active),
            state=definition.state,
            paused=int(definition.paused),
            owner=definition.owner,
            rule=as_line(definition.schedule),
            handler=definition.handler,
            labels=definition.labels,
            attribute=definition.attribute,
            shards=definition.shards,
            shard_params=definition.shard_params,
            policies=definition.policies,
            sources=definition.sources,
            defaults_rev=definition.defaults_rev,
            param=definition.param,
            definition=_stored(definition, now_ms),
            times=",".join(map(str, agenda.times)),
            planned=agenda.planned,
            low_at=agenda.low_at,
            over=int(agenda.over),
            most=may_have.triggers_per_app,
            quotas=quotas.written({namespace_of(definition.app): may_have}),
        )
        stored = await partition.call(call, within_s=ANSWER_S, level=level)
        if stored.status == "taken":
            uid = ids.new_trigger_uid()
        elif stored.status == "overtaken":
            await _plan_to_its_end(partition, stored.uid)
        else:
            break
    if stored.status != "ok":
        raise _refusal(stored, definition, may_have)
    return Defined(stored.uid, stored.revision, agenda.times if definition.active else [])


def _stored(definition: Definition, now_ms: int) -> bytes:
    """What is shown of it again."""
    facts = {"schedule": as_mapping(definition.schedule), "body": definition.body, "changed_ms": now_ms}
    packed: bytes = msgpack.packb(facts)
    return packed


async def _plan_to_its_end(partition: Partition, uid: str) -> None:
    """Plan what came due under a rule that is about to be replaced, whatever its misfire limit."""
    [facts] = await partition.read([("HMGET", K.trigger(partition.prefix, uid), *PLAN_FACTS)])
    now_ms = await engine_time(partition)
    going_on = await asyncio.to_thread(continuations, [uid], [facts], now_ms, misfire_after=0)
    _definition, revision, planned, *_ = facts
    unreadable = [Continuation(int(revision or 0), int(planned or 0), Agenda([], int(planned or 0), 0, True)).item(uid)]
    await partition.call(verbs.plan(going_on or unreadable))


def _refusal(stored: verbs.DefineReply, definition: Definition, may_have: Quotas) -> GojobError:
    if stored.status.endswith("_full"):
        return quotas.refusal(stored.status, definition.app, may_have)
    return _conflict(stored.status, definition.name, stored.revision)


def _conflict(word: str, name: str, revision: int) -> Conflict:
    if word == "exists":
        return Conflict(
            "exists",
            f"Trigger {name!r} exists already, at revision {revision}.",
            field="name",
            hint="Take another name.",
        )
    return Conflict(
        "conflict",
        f"Trigger {name!r} is at revision {revision}, not at the one this change was made for.",
        field="revision",
        hint="Read the trigger again and repeat the change on what it says now.",
    )


async def remove(space: Partitions, app: str, name: str, level: Level = Level.FAST) -> bool:
    """Delete a trigger; False when there was none. Its tasks go on."""
    partition = await space.of_app(app)
    removed = await partition.call(verbs.remove(app=app, name=name), within_s=ANSWER_S, level=level)
    return removed.status == "ok"
