"""Triggers: define, look, pause, run by hand, and what became of their slots."""

from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, create_model

from gojob_redis import view
from gojob_redis.api.bodies import (
    PreviewBody,
    RunBody,
    TriggerBody,
    moment_of,
    pack,
    said_in,
)
from gojob_redis.api.definitions import (
    check_not_decided,
    definition_of,
    fields_of,
    note_on,
    rule_of,
    stored_in,
)
from gojob_redis.api.dependencies import (
    Caller,
    Cursor,
    Edge,
    InApp,
    InEdge,
    InTurn,
    Limit,
    Needs,
    OnceKey,
    StrictRoute,
    TraceHeader,
    TriggerName,
)
from gojob_redis.api.drafts import Draft, TriggerDraft
from gojob_redis.api.dry_run import DryRun
from gojob_redis.api.dry_run import dry_run as try_out
from gojob_redis.api.schedules import ScheduleAnswer, shown
from gojob_redis.api.scope import scope_of
from gojob_redis.api.submissions import check_unique, layers_of, traceparent_of
from gojob_redis.api.tasks import Accepted, take_in
from gojob_redis.control.identities import Identity
from gojob_redis.domain import limits, names, policies
from gojob_redis.domain.address import Address
from gojob_redis.domain.defaults import Defaults, read_sources
from gojob_redis.domain.errors import BadRequest, Conflict, NotFound
from gojob_redis.domain.states import TriggerState
from gojob_redis.planning.define import define, remove
from gojob_redis.planning.planner import engine_time
from gojob_redis.schedules import schedule
from gojob_redis.schedules.planned import PlannedTime, planned_times
from gojob_redis.task import pack_names
from gojob_redis.view import Page, Slot, resubmit
from gojob_redis.view.values import MEDIA_TYPE, Values, packed_map

router = APIRouter(prefix="/v1", tags=["triggers"], route_class=StrictRoute)

TRIES = 5
"""How often a change is made again on what another change left."""
PREVIEW_TIMES = 10

SeenApp = Annotated[str, Depends(InApp("see"))]
OperatedApp = Annotated[str, Depends(InApp("operate"))]
EditedApp = Annotated[str, Depends(InApp("edit"))]
DryRunAsked = Annotated[bool, Query(description="change nothing; tell all that is wrong, and what would change")]


_POLICIES: Any = {policy.name: (policy.type, ...) for policy in policies.set_by("trigger")}
_TriggerPolicies: Any = create_model("TriggerPolicies", **_POLICIES)


class TriggerAnswer(_TriggerPolicies):  # type: ignore[misc]
    """A trigger as it is stored, and when it fires next."""

    name: str
    uid: str
    namespace: str
    app: str
    handler: str
    revision: int
    state: TriggerState
    owner: str
    enabled: bool
    paused: bool
    description: str
    schedule: ScheduleAnswer
    next_times: list[PlannedTime]
    is_over: bool
    note: str
    """What a definition means that one might not expect: a moment that is past."""
    last_slot_ms: int | None
    changed_ms: int
    params: Any
    labels: dict[str, str]
    require: str
    shards: int
    shard_params: list[Any] | None
    policies_from: dict[str, policies.Source]
    """Who said each; what its handler or its namespace says is followed within seconds of a change."""
    policies_set: list[str]
    """The policies that were set for it; the others are those of its namespace, or the usual ones."""
    left_out: dict[str, int]
    """``params`` or ``shard_params`` that are too large to be shown, with their bytes: ``/values/NAME`` gives them."""


class Preview(BaseModel):
    """When an unsaved schedule would fire."""

    schedule: ScheduleAnswer
    next_times: list[PlannedTime]
    note: str
    """What a moment that is past means."""
    time_zones: str
    """Edition of the time-zone database."""


# ---- define ----------------------------------------------------------------------------------------------------------


@router.put("/apps/{namespace}/{app}/triggers/{name}")
async def put_trigger(
    edge: InEdge,
    app: EditedApp,
    name: TriggerName,
    body: TriggerDraft,
    response: Response,
    who: Caller,
    if_match: Annotated[str, Header(description="the revision this change is made for")] = "",
    if_none_match: Annotated[str, Header(description="* = it must be new")] = "",
    dry_run: DryRunAsked = False,
) -> TriggerAnswer | DryRun:
    """Define a trigger whole, new or changed. A paused trigger stays paused.

    A ``once`` in the past fires at once, as its misfire policy says; ``note`` tells it.
    """
    draft = cast(Draft, body)
    if dry_run:
        sees = scope_of(who, "", "").sees
        asked = _revision(draft.body, if_match, if_none_match)
        return await try_out(edge, sees, app, name, draft, asked)
    return await _put(edge, app, name, draft.whole(), response, (if_match, if_none_match))


async def _put(
    edge: Edge, app: str, name: str, body: TriggerBody, response: Response, conditions: tuple[str, str]
) -> TriggerAnswer:
    names.check_trigger(name)
    handler = f"{app}/{names.check_handler(body.handler)}"
    fields_of(app, name, handler, body)  # what cannot be right is refused before anything is read
    asked = _revision(body, *conditions)
    schedule.parse(body.schedule, created_ms=0)
    facts = await edge.handlers.of(handler) if body.allow_unknown else await edge.handlers.check(handler)
    if not body.allow_unknown:
        await edge.handlers.check_params(handler, facts, body.params)
    fields = fields_of(app, name, handler, body, Defaults(*await layers_of(edge, handler, facts)))
    for _ in range(TRIES):
        existing = await view.find_trigger(edge.space, app, name)
        revision = asked if asked is not None else existing.revision if existing else 0
        paused = existing.paused if existing else False
        now_ms = await engine_time(await edge.space.of_app(app))
        rule = rule_of(body.schedule, existing, now_ms)
        is_new_rule = existing is None or existing.schedule != schedule.as_mapping(rule)
        check_not_decided(rule, existing, is_new_rule)
        definition = definition_of(fields, body, rule, paused=paused)
        try:
            defined = await define(
                edge.space,
                definition,
                revision=revision,
                makes_up=is_new_rule,
                level=await edge.levels.of(app),
                may_have=await edge.levels.quotas_of(app),
            )
        except Conflict:
            if asked is not None:
                raise
            continue
        response.status_code = 201 if defined.revision == 1 else 200
        answer = await _answer(edge, app, name, response)
        answer.note = note_on(rule, now_ms, answer.misfire_after_ms, fires=is_new_rule and definition.active)
        return answer
    raise Conflict("conflict", f"Trigger {name!r} is being changed by others.", field="trigger", hint="Try again.")


def _revision(body: TriggerBody | None, if_match: str, if_none_match: str) -> int | None:
    """The revision that was asked for, None for none."""
    if if_none_match.strip() == "*":
        return 0
    if if_match:
        text = if_match.strip().removeprefix("W/").strip('"')
        if not (text.isascii() and text.isdecimal()) or len(text) > 15:
            raise BadRequest(
                "bad_revision",
                f"If-Match {if_match[:80]!r} is no revision.",
                field="If-Match",
                hint="Send the trigger's revision.",
            )
        return int(text)
    return body.revision if body is not None else None


@router.delete("/apps/{namespace}/{app}/triggers/{name}", status_code=204)
async def delete_trigger(edge: InEdge, app: EditedApp, name: TriggerName, response: Response) -> None:
    """Delete a trigger: it fires no more. Its tasks go on; ``Location`` says where its ledger is kept for 30 days."""
    names.check_trigger(name)
    level = await edge.levels.of(app)
    try:
        _partition, uid = await view.uid_of(edge.space, app, name)
    except NotFound:
        await _confirm(edge, app)  # perhaps this repeats a call that removed it and could not be confirmed
        raise
    response.headers["Location"] = f"/v1/apps/{app}/slots?uid={uid}"
    await remove(edge.space, app, name, level)


async def _confirm(edge: Edge, app: str) -> None:
    """What was found as it is wanted must be as safe as if it were changed now."""
    partition = await view.home(edge.space, app)
    if partition is not None:
        await partition.confirm(await edge.levels.of(app))


# ---- pause, run ------------------------------------------------------------------------------------------------------


@router.post("/apps/{namespace}/{app}/triggers/{name}/pause")
async def pause_trigger(edge: InEdge, app: OperatedApp, name: TriggerName, response: Response) -> TriggerAnswer:
    """Fire no more until it is resumed; slots of that time are not missed."""
    return await _set_paused(edge, app, name, True, response)


@router.post("/apps/{namespace}/{app}/triggers/{name}/resume")
async def resume_trigger(edge: InEdge, app: OperatedApp, name: TriggerName, response: Response) -> TriggerAnswer:
    """Fire again, from now on."""
    return await _set_paused(edge, app, name, False, response)


async def _set_paused(edge: Edge, app: str, name: str, paused: bool, response: Response) -> TriggerAnswer:
    names.check_trigger(name)
    for _ in range(TRIES):
        trigger = await view.trigger(edge.space, app, name)
        stored = stored_in(trigger)
        if trigger.paused == paused:
            await _confirm(edge, app)
            return await _answer(edge, app, name, response)
        body = TriggerBody(**stored["said"])
        facts = await edge.handlers.of(trigger.handler)
        fields = fields_of(app, name, trigger.handler, body, Defaults(*await layers_of(edge, trigger.handler, facts)))
        rule = schedule.parse(trigger.schedule, created_ms=0)
        try:
            await define(
                edge.space,
                definition_of(fields, body, rule, paused=paused),
                revision=trigger.revision,
                makes_up=False,
                level=await edge.levels.of(app),
                may_have=await edge.levels.quotas_of(app),
            )
        except Conflict:
            continue
        return await _answer(edge, app, name, response)
    raise Conflict("conflict", f"Trigger {name!r} is being changed by others.", field="trigger", hint="Try again.")


@router.post("/apps/{namespace}/{app}/triggers/{name}/run", status_code=201)
async def run_trigger(
    edge: InEdge,
    app: OperatedApp,
    name: TriggerName,
    response: Response,
    body: RunBody | None = None,
    key: OnceKey = "",
    trace: TraceHeader = "",
) -> Accepted:
    """Run a trigger's work once, now, whatever its schedule and state."""
    names.check_trigger(name)
    traceparent = traceparent_of(body.traceparent if body is not None else "", trace)
    own = body is not None and "params" in body.model_fields_set
    param = pack(body.params, "params") if body is not None and own else None
    partition, uid = await view.uid_of(edge.space, app, name)
    submission = await resubmit.of_trigger(partition, app, uid, param=param)
    if submission is None:
        raise NotFound("unknown_trigger", f"Trigger {name!r} was just deleted.", field="trigger", hint="")
    own_key, unique = (body.key, body.unique) if body is not None else ("", False)
    check_unique(own_key, unique)
    submission = submission._replace(names=pack_names(own_key, traceparent), unique=int(unique))
    return await take_in(edge, submission, response, key)


# ---- look ------------------------------------------------------------------------------------------------------------


@router.get("/apps/{namespace}/{app}/triggers/{name}")
async def show_trigger(
    edge: InEdge, app: SeenApp, name: TriggerName, turn: InTurn, response: Response
) -> TriggerAnswer:
    """One trigger, and when it fires next."""
    names.check_trigger(name)
    return await _answer(edge, app, name, response, turn)


@router.get(
    "/apps/{namespace}/{app}/triggers/{name}/values/{field}",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "MessagePack, as it was sent."}},
)
async def show_value(
    edge: InEdge, app: SeenApp, name: TriggerName, field: Literal["params", "shard_params"]
) -> Response:
    """One value as it is stored, for what an answer names in ``left_out``."""
    names.check_trigger(name)
    trigger = await view.trigger(edge.space, app, name)
    value = packed_map(packed_map(trigger.body).get("said", b"\x80")).get(field)
    if value is None:
        raise NotFound(
            "no_value", f"Trigger {name!r} has no {field}.", field="field", hint="Look at the trigger first."
        )
    return Response(value, media_type=MEDIA_TYPE)


@router.get("/apps/{namespace}/{app}/triggers/{name}/slots")
async def list_slots(
    edge: InEdge, app: SeenApp, name: TriggerName, cursor: Cursor = "", limit: Limit = 100
) -> Page[Slot]:
    """What became of each slot, newest first: fired, skipped and why, or a range of missed ones."""
    names.check_trigger(name)
    partition, uid = await view.uid_of(edge.space, app, name)
    return await view.slots_of(partition, uid, cursor=cursor, limit=limit)


@router.get("/apps/{namespace}/{app}/slots")
async def list_slots_of(
    edge: InEdge,
    app: SeenApp,
    uid: Annotated[str, Query(description="of a trigger of this app, also of one that was deleted", max_length=64)],
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Page[Slot]:
    """The slots of a trigger by its uid: those of a deleted one are kept for 30 days."""
    partition = await view.home_of_uid(edge.space, app, uid)
    return await view.slots_of(partition, uid, cursor=cursor, limit=limit)


@router.post("/schedules/preview")
async def preview_schedule(edge: InEdge, who: Annotated[Identity, Depends(Needs("see"))], body: PreviewBody) -> Preview:
    """When an unsaved schedule would fire: the next 10 times."""
    now_ms = await engine_time(edge.space[0])
    after = moment_of(body.after, "after") if body.after is not None else now_ms
    rule = schedule.parse(body.schedule, created_ms=after)
    times = schedule.next_times(rule, after, PREVIEW_TIMES)
    return Preview(
        schedule=shown(schedule.as_mapping(rule)),
        next_times=planned_times(rule, times),
        note="" if body.after is not None else note_on(rule, now_ms, limits.MISFIRE_AFTER_MS, fires=True),
        time_zones=schedule.time_zone_version(),
    )


async def _answer(edge: Edge, app: str, name: str, response: Response, turn: view.Turn = view.at_once) -> TriggerAnswer:
    trigger = await view.trigger(edge.space, app, name, turn)
    response.headers["ETag"] = f'"{trigger.revision}"'
    return _answered(trigger)


def _answered(trigger: view.Trigger) -> TriggerAnswer:
    """A trigger as users see it, with its next times, also beyond those that are planned already."""
    stored, values = packed_map(trigger.body), Values()
    fields: dict[str, Any] = {"handler": trigger.handler, "schedule": trigger.schedule}
    if "said" in stored:
        fields = values.show_map(stored["said"])
    body = TriggerBody(**{name: value for name, value in fields.items() if name not in values.left_out})
    address = Address.parse(trigger.handler)
    rule = schedule.parse(trigger.schedule, created_ms=0) if trigger.next_times else schedule.Manual()
    times = trigger.next_times
    if times and len(times) < PREVIEW_TIMES:
        times = [*times, *schedule.next_times(rule, times[-1], PREVIEW_TIMES - len(times))]
    return TriggerAnswer(
        name=trigger.name,
        uid=trigger.uid,
        namespace=address.namespace,
        app=address.app_name,
        handler=address.handler,
        revision=trigger.revision,
        state=trigger.state,
        owner=trigger.owner,
        enabled=body.enabled,
        paused=trigger.paused,
        description=body.description,
        schedule=shown(trigger.schedule),
        next_times=planned_times(rule, times),
        is_over=trigger.is_over,
        note="",
        last_slot_ms=trigger.last_slot_ms,
        changed_ms=trigger.changed_ms,
        params=body.params,
        labels=body.labels,
        require=body.require,
        shards=trigger.shards,
        shard_params=body.shard_params,
        policies_from=read_sources(trigger.sources),
        policies_set=sorted(said_in(body)),
        **policies.read(trigger.policies),
        left_out=values.left_out,
    )
