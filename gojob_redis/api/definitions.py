"""What becomes of a trigger's definition between the body of a request and ``planning/define.py``."""

from collections.abc import Mapping
from typing import Any

import msgpack

from gojob_redis import view
from gojob_redis.api.bodies import TriggerBody, attribute_of, labels_of, owner_of, pack, pack_shards, said_in
from gojob_redis.domain import limits, policies
from gojob_redis.domain.defaults import NO_DEFAULTS, Defaults, write_sources
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.states import TriggerState
from gojob_redis.planning.define import Definition
from gojob_redis.schedules import schedule
from gojob_redis.schedules.planned import utc_text
from gojob_redis.schedules.schedule import Cron, Every, Once, Schedule


def check_not_decided(rule: Schedule, existing: view.Trigger | None, is_new_rule: bool) -> None:
    """Refuse a new moment before one that was decided already: a trigger's slots never go back."""
    decided = existing.last_slot_ms if existing else None
    if isinstance(rule, Once) and is_new_rule and decided is not None and rule.at <= decided:
        raise BadRequest(
            "never_fires",
            f"The moment {utc_text(rule.at)} lies not after {utc_text(decided)}, the last that this trigger handled.",
            field="schedule.at",
            hint="Choose a later moment, define another trigger, or run this one by hand.",
        )


def note_on(rule: Schedule, now_ms: int, misfire_after_ms: int, *, fires: bool) -> str:
    """What the past means for a rule that holds from now on; nothing where all of it lies ahead."""
    if isinstance(rule, Once) and rule.at <= now_ms:
        if not fires:
            return f"Its moment {utc_text(rule.at)} is past; it does not fire."
        late_ms = now_ms - rule.at
        misfired = ", misfired" if late_ms > misfire_after_ms else ""
        return f"Its moment {utc_text(rule.at)} is past: it fires at once, {_length(late_ms)} late{misfired}."
    if isinstance(rule, Cron | Every) and rule.start_at is not None and rule.start_at < now_ms:
        return f"It starts in the past, at {utc_text(rule.start_at)}: slots before now are not made up for."
    return ""


def _length(ms: int) -> str:
    return f"{ms / limits.DAY_MS:.0f} days" if ms >= 2 * limits.DAY_MS else f"{ms / 1000:.0f} s"


def fields_of(app: str, name: str, handler: str, body: TriggerBody, defaults: Defaults = NO_DEFAULTS) -> dict[str, Any]:
    """Everything of a definition but its schedule and state; raises BadRequest."""
    shards, shard_params = pack_shards(body)
    own = said_in(body)
    return {
        "app": app,
        "name": name,
        "handler": handler,
        "param": pack(body.params, "params"),
        "labels": labels_of(body.labels),
        "attribute": attribute_of(body.require),
        "shards": shards,
        "shard_params": shard_params,
        "policies": policies.text_for("trigger", own, defaults.merged),
        "sources": write_sources(policies.sources(own, defaults.handler, defaults.namespace)),
        "defaults_rev": defaults.revision,
        "owner": owner_of(body.owner),
    }


def definition_of(
    fields: Mapping[str, Any],
    body: TriggerBody,
    rule: Schedule,
    *,
    paused: bool,
) -> Definition:
    values = body.model_dump(exclude={"revision", "allow_unknown"}, exclude_unset=True)
    stored = msgpack.packb({"said": values})
    return Definition(**fields, schedule=rule, state=state_of(body, paused), paused=paused, body=stored)


def state_of(body: TriggerBody, paused: bool) -> TriggerState:
    """The word for whether it would fire."""
    if not body.enabled:
        return TriggerState.DISABLED
    return TriggerState.PAUSED if paused else TriggerState.ACTIVE


def rule_of(fields: Mapping[str, Any], existing: view.Trigger | None, now_ms: int) -> Schedule:
    """The schedule, anchored at the trigger's creation: writing an ``every`` again does not move its grid."""
    stored = existing.schedule if existing else {}
    if fields.get("kind") == stored.get("kind") == "every" and not fields.get("start_at"):
        fields = {
            "anchor_at": stored["anchor_at"],
            **{key: value for key, value in fields.items() if value is not None},
        }
    return schedule.parse(fields, created_ms=now_ms)


def stored_in(trigger: view.Trigger) -> dict[str, Any]:
    """What this module gave to ``define``; nothing for a trigger that was defined otherwise."""
    stored = msgpack.unpackb(trigger.body, strict_map_key=False) if trigger.body else {}
    return stored if isinstance(stored, dict) else {}
