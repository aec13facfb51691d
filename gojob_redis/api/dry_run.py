"""What a definition of a trigger would do: all that is wrong with it, and what it would change. Nothing is written.

The schedules are computed in a thread; everything else is a handful of reads.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from pydantic import BaseModel, Field

from gojob_redis import view
from gojob_redis.api.bodies import TriggerBody, attribute_of, labels_of, owner_of, pack, pack_shards, said_in
from gojob_redis.api.definitions import check_not_decided, note_on, rule_of, state_of, stored_in
from gojob_redis.api.dependencies import Edge
from gojob_redis.api.drafts import Draft, Fault, pointer_to
from gojob_redis.api.known_handlers import ParamsInvalid
from gojob_redis.api.submissions import defaults_of
from gojob_redis.domain import limits, names, policies
from gojob_redis.domain.errors import Conflict, GojobError
from gojob_redis.domain.quotas import refusal
from gojob_redis.domain.states import TriggerState
from gojob_redis.planning.planner import engine_time
from gojob_redis.schedules import schedule
from gojob_redis.schedules.difference import Difference, difference
from gojob_redis.schedules.planned import PlannedTime, planned_times
from gojob_redis.schedules.schedule import Manual, Schedule

AHEAD_MS: Final = 7 * limits.DAY_MS
TIMES: Final = 10
SHOWN: Final = 20
"""Of the fires that are added, removed or moved, those that are listed; all are counted."""


class Change(BaseModel):
    """One field that gets another value."""

    pointer: str
    """Where in the body."""
    before: Any = Field(description="null for a new trigger")
    after: Any


class Moved(BaseModel):
    """A fire that is replaced by another of the same day."""

    before: PlannedTime
    after: PlannedTime


class FireChanges(BaseModel):
    """Fires of the next 7 days, under the old and the new definition."""

    until_ms: int
    """Up to here they were compared one by one: of each schedule 500 at most."""
    unchanged: int
    added_count: int
    removed_count: int
    moved_count: int
    added: list[PlannedTime]
    """The first 20; so below."""
    removed: list[PlannedTime]
    moved: list[Moved]
    before_behind: int
    """Behind ``until_ms`` the old definition fires so often within the 7 days,"""
    after_behind: int
    """the new one so often."""


class DryRun(BaseModel):
    """What would become of a trigger; nothing was changed."""

    errors: list[Fault]
    """All that is wrong; what follows is told as far as it can be."""
    is_new: bool
    revision: int
    """That it has now; 0 for a new one."""
    state: TriggerState
    """It would be in."""
    changes: list[Change]
    next_times: list[PlannedTime]
    note: str
    """What a moment that is past means."""
    fires: FireChanges | None
    workers: view.Serving | None
    """Who could take its tasks now; None where handler or labels are wrong."""
    crowd: view.Crowd
    """What else is due in the minutes of its next fires, in the apps that this token covers."""


async def dry_run(edge: Edge, sees: view.Sees, app: str, name: str, draft: Draft, asked: int | None) -> DryRun:
    """Look at a definition; asked: the revision that the change is made for, None for any."""
    rest = draft.rest(frozenset(DryRun.model_fields))
    draft.check("", lambda: names.check_trigger(name))
    existing = await view.find_trigger(edge.space, app, name)
    now_ms = await engine_time(edge.space[0])
    body, bad = rest if rest is not None else (None, set[str]())
    defaults: Mapping[str, policies.Value] = {}
    if body is not None:
        _check_fields(draft, body, bad, now_ms)
        defaults = await _check_handler(edge, draft, app, body, bad)
    await _check_place(edge, draft, app, existing, asked)
    rule = _rule(draft, body, bad, existing, now_ms)
    current = _current(existing) if existing else None
    is_paused = existing is not None and existing.paused
    state = state_of(body, is_paused) if body is not None else TriggerState.UNKNOWN
    effective = _effective(body, rule, defaults) if body is not None else {}
    old, new = _firing(existing), rule if rule is not None and state is TriggerState.ACTIVE else None
    is_changed = rule is not None and old != new
    times = await asyncio.to_thread(schedule.next_times, new, now_ms, TIMES) if new is not None else []
    compared = await asyncio.to_thread(difference, old, new, now_ms, now_ms + AHEAD_MS) if is_changed else None
    misfire_after_ms = int(effective.get("misfire_after_ms", limits.MISFIRE_AFTER_MS))
    return DryRun(
        errors=draft.faults,
        is_new=existing is None,
        revision=existing.revision if existing else 0,
        state=state,
        changes=_changes(current, effective, bad),
        next_times=planned_times(new, times) if new is not None else [],
        note=note_on(rule, now_ms, misfire_after_ms, fires=state is TriggerState.ACTIVE) if rule is not None else "",
        fires=_fires(old or Manual(), new or Manual(), compared) if compared is not None else None,
        workers=await _serving(edge, app, body, bad),
        crowd=await view.crowd(edge.apps, sees, app, existing.uid if existing else "", times),
    )


# ---- what is wrong ---------------------------------------------------------------------------------------------------


def _check_fields(draft: Draft, body: TriggerBody, bad: set[str], now_ms: int) -> None:
    """Note what the form of a body does not tell."""
    looks: Mapping[str, Any] = {
        "params": lambda: pack(body.params, "params"),
        "require": lambda: attribute_of(body.require),
        "shard_params": lambda: pack_shards(body),
        "owner": lambda: owner_of(body.owner),
    }
    for field, look in looks.items():
        if field not in bad:
            draft.check(pointer_to(field), look)
    each_label = [
        draft.check(pointer_to("labels", label), partial(names.check_labels, {label: value}))
        for label, value in body.labels.items()
    ]
    if all(each_label):
        draft.check("/labels", lambda: labels_of(body.labels))
    for policy, value in said_in(body).items():
        draft.check(pointer_to(policy), partial(policies.text_for, "trigger", {policy: value}, {}))
    if "schedule" not in bad and "schedule" in draft.raw:
        for refusal in schedule.problems(body.schedule, created_ms=now_ms):
            draft.note(pointer_to(*(refusal.field or "schedule").split(".")), refusal)


async def _check_handler(
    edge: Edge, draft: Draft, app: str, body: TriggerBody, bad: set[str]
) -> Mapping[str, policies.Value]:
    """Note a handler that nobody knows, and parameters that it does not take; returns its defaults of policies."""
    of_namespace = await edge.levels.defaults_of(app)
    if "handler" in bad or not draft.check("/handler", lambda: names.check_handler(body.handler)):
        return of_namespace
    handler = f"{app}/{body.handler}"
    try:
        facts = await edge.handlers.of(handler) if body.allow_unknown else await edge.handlers.check(handler)
    except GojobError as error:
        draft.note("/handler", error)
        return of_namespace
    if not body.allow_unknown and "params" not in bad:
        try:
            await edge.handlers.check_params(handler, facts, body.params)
        except ParamsInvalid as error:
            draft.note(error.pointer, error)
    return await defaults_of(edge, handler, facts)


async def _check_place(edge: Edge, draft: Draft, app: str, existing: view.Trigger | None, asked: int | None) -> None:
    """Note a revision that does not hold, and that an app has all the triggers that it may have."""
    revision = existing.revision if existing else 0
    if asked is not None and asked != revision:
        hint = "Read the trigger again and repeat the change on what it says now."
        error = Conflict(
            "conflict", f"The trigger is at revision {revision}, not at {asked}.", field="revision", hint=hint
        )
        draft.note("/revision", error)
    if existing is None:
        may_have = await edge.levels.quotas_of(app)
        if await view.count_triggers(edge.space, app) >= may_have.triggers_per_app:
            draft.note("", refusal("triggers_full", app, may_have))


def _rule(
    draft: Draft, body: TriggerBody | None, bad: set[str], existing: view.Trigger | None, now_ms: int
) -> Schedule | None:
    """The schedule, if it is right."""
    if body is None or "schedule" in bad or "schedule" not in draft.raw or schedule.problems(body.schedule):
        return None
    try:
        rule = rule_of(body.schedule, existing, now_ms)
        check_not_decided(rule, existing, existing is None or existing.schedule != schedule.as_mapping(rule))
    except GojobError as error:
        draft.note(pointer_to(*(error.field or "schedule").split(".")), error)
        return None
    return rule


# ---- what would change -----------------------------------------------------------------------------------------------


def _effective(
    body: TriggerBody, rule: Schedule | None, defaults: Mapping[str, policies.Value], text: str | None = None
) -> dict[str, Any]:
    """What a definition says, field by field; text: of the policies that hold."""
    if text is None:
        text = policies.text_for("trigger", said_in(body), defaults)
    fields = ("handler", "params", "labels", "require", "shards", "shard_params", "enabled", "description", "owner")
    written = {} if rule is None else {"schedule": schedule.as_mapping(rule)}
    return {**{field: getattr(body, field) for field in fields}, **written, **policies.read(text)}


def _current(existing: view.Trigger) -> dict[str, Any]:
    fields = stored_in(existing).get("said") or {"handler": existing.handler, "schedule": existing.schedule}
    rule = schedule.parse(existing.schedule)
    return _effective(TriggerBody(**fields), rule, {}, existing.policies)


def _changes(current: Mapping[str, Any] | None, effective: Mapping[str, Any], bad: set[str]) -> list[Change]:
    """Of a new trigger, what is not as usual."""
    before = current if current is not None else _effective(TriggerBody(handler="", schedule={}), None, {})
    return [
        Change(pointer=pointer_to(field), before=before.get(field) if current is not None else None, after=value)
        for field, value in effective.items()
        if field not in bad and before.get(field) != value
    ]


def _firing(existing: view.Trigger | None) -> Schedule | None:
    """The schedule by which a trigger fires now."""
    if existing is None or existing.state is not TriggerState.ACTIVE:
        return None
    return schedule.parse(existing.schedule)


def _fires(before: Schedule, after: Schedule, compared: Difference) -> FireChanges:
    moved = compared.moved[:SHOWN]
    olds, news = planned_times(before, [old for old, _ in moved]), planned_times(after, [new for _, new in moved])
    return FireChanges(
        until_ms=compared.until_ms,
        unchanged=compared.unchanged,
        added_count=len(compared.added),
        removed_count=len(compared.removed),
        moved_count=len(compared.moved),
        added=planned_times(after, compared.added[:SHOWN]),
        removed=planned_times(before, compared.removed[:SHOWN]),
        moved=[Moved(before=old, after=new) for old, new in zip(olds, news, strict=True)],
        before_behind=compared.before_behind,
        after_behind=compared.after_behind,
    )


async def _serving(edge: Edge, app: str, body: TriggerBody | None, bad: set[str]) -> view.Serving | None:
    if body is None or bad & {"handler", "labels", "require"}:
        return None
    try:
        handler = f"{app}/{names.check_handler(body.handler)}"
        return await view.serving(edge.space, handler, labels_of(body.labels), attribute_of(body.require))
    except GojobError:
        return None
