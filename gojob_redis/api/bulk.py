"""Jobs on many tasks or triggers: ask for one, look how far it is, pause it, let it go on, cancel it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel

from gojob_redis import bulk
from gojob_redis.api import submissions
from gojob_redis.api.bodies import BulkBody, FilterBody, moment_of
from gojob_redis.api.dependencies import (
    Cursor,
    Edge,
    InEdge,
    Needs,
    OnceKey,
    StrictRoute,
    Whole,
    forbidden,
)
from gojob_redis.bulk import Job, JobRow, Order
from gojob_redis.control.identities import Identity, Permission
from gojob_redis.domain import ids, limits, names
from gojob_redis.domain.errors import BadRequest, Conflict
from gojob_redis.domain.filters import TaskFilter, TriggerFilter
from gojob_redis.domain.fingerprint import check_fingerprint
from gojob_redis.domain.jobs import VERBS, Kind, Verb
from gojob_redis.domain.states import TERMINAL, State, TriggerState
from gojob_redis.planning.planner import engine_time
from gojob_redis.view import Page

router = APIRouter(prefix="/v1/bulk", tags=["bulk"], route_class=StrictRoute)

JOBS_A_PAGE = 100

Seeing = Annotated[Identity, Depends(Needs("see"))]
Operating = Annotated[Identity, Depends(Needs("operate"))]
JobId = Annotated[str, Path(description="id of the job", max_length=64)]
Namespace = Annotated[str, Query(description="only jobs in this namespace", max_length=64)]


class Counted(BaseModel):
    """What a dry run found."""

    matched: int
    text: str
    """``10,000+`` when there are more, or may be."""
    is_exact: bool


@router.post("", status_code=202)
async def start_job(
    edge: InEdge, who: Operating, body: BulkBody, response: Response, key: OnceKey = ""
) -> JobRow | Counted:
    """Begin a job: replicas go through the tasks or triggers, at most 100 a call; `dry_run` only counts them.

    Only what was there when the job was made is touched. Of a retry, tasks that faulted unless `state` says else.
    A delete of tasks takes those that are over, a minute after their end.
    """
    await _check_where(edge, who, body, "edit" if body.verb is Verb.DELETE else "operate")
    submissions.check_key(key, "Idempotency-Key")
    now_ms = await engine_time(edge.space[0])
    order = _order(who, body, now_ms)
    units = await _units(edge, order, body.ids)
    if body.dry_run:
        response.status_code = 200
        counted = await bulk.count(edge.space, order, units)
        text = f"{counted.matched:,}{'' if counted.is_exact else '+'}"
        return Counted(matched=counted.matched, text=text, is_exact=counted.is_exact)
    job, is_known = await bulk.open_job(
        edge.space,
        order,
        units,
        made_ms=now_ms,
        once_key=submissions.once_key(key),
        digest=_digest(body) if key else "",
    )
    response.headers["Location"] = f"/v1/bulk/{job}"
    if is_known:
        response.status_code = 200
    return await bulk.show(edge.space, await _find(edge, who, job))


@router.get("")
async def list_jobs(
    edge: InEdge,
    who: Seeing,
    namespace: Namespace = "",
    cursor: Cursor = "",
    limit: Annotated[Whole, Query(ge=1, le=JOBS_A_PAGE)] = 20,
) -> Page[JobRow]:
    """Jobs that this token covers, newest first; they are kept for 7 days after their end."""
    if namespace:
        names.check_namespace(namespace)
        if not who.covers(namespace):
            raise forbidden(who, "see", namespace)
        namespaces = [namespace]
    else:
        namespaces = [] if who.covers_everything else sorted({entry.partition("/")[0] for entry in who.scope})
    jobs, after = await bulk.jobs_of(
        edge.space, namespaces, lambda order: who.covers(order.namespace, order.app), cursor=cursor, limit=limit
    )
    return Page([await bulk.show(edge.space, job) for job in jobs], after)


@router.get("/{job}")
async def show_job(edge: InEdge, who: Seeing, job: JobId) -> JobRow:
    """A job: what it matched, did, skipped and failed to do, and why, in each partition."""
    return await bulk.show(edge.space, await _find(edge, who, job))


@router.post("/{job}:pause")
async def pause_job(edge: InEdge, who: Operating, job: JobId) -> JobRow:
    """Do nothing more until it is resumed; it is canceled 7 days after it was made."""
    return await _change(edge, who, job, "pause")


@router.post("/{job}:resume")
async def resume_job(edge: InEdge, who: Operating, job: JobId) -> JobRow:
    """Go on where it was paused."""
    return await _change(edge, who, job, "resume")


@router.post("/{job}:cancel")
async def cancel_job(edge: InEdge, who: Operating, job: JobId) -> JobRow:
    """Do nothing more, for good; what it did stays."""
    return await _change(edge, who, job, "cancel")


# ---- what they stand on ----------------------------------------------------------------------------------------------


async def _check_where(edge: Edge, who: Identity, body: BulkBody, permission: Permission) -> None:
    """Refuse a namespace that is none, and one or an app that the token does not cover."""
    names.check_namespace(body.namespace)
    if body.app:
        names.check_app(body.app)
    if not who.may(permission, body.namespace, body.app):
        raise forbidden(who, permission, f"{body.namespace}/{body.app}" if body.app else f"all of {body.namespace}")
    await edge.identities.check_namespace(body.namespace)


def _order(who: Identity, body: BulkBody, now_ms: int) -> Order:
    """What a body asks for; raises BadRequest ``bad_verb``, ``bad_filter``, ``bad_moment``."""
    if body.verb not in VERBS[body.kind]:
        raise BadRequest(
            "bad_verb",
            f"verb {body.verb} is nothing that can be done to {body.kind}.",
            field="verb",
            hint=f"Use {' or '.join(VERBS[body.kind])}.",
        )
    if (body.ids is None) == (body.filter is None):
        raise BadRequest(
            "bad_filter", "Either ids or filter has to be sent.", field="filter", hint="Send {} for all of them."
        )
    as_of = moment_of(body.as_of, "as_of") if body.as_of is not None else now_ms
    return Order(
        namespace=body.namespace,
        app=body.app,
        kind=body.kind,
        verb=body.verb,
        filter=_filter(body),
        ids=len(set(body.ids)) if body.ids is not None else 0,
        as_of_ms=min(as_of, now_ms),
        reason=body.reason if body.verb is Verb.CANCEL else "",
        pinned=body.pinned,
        by=who.key_id,
    )


_OF_BOTH = {"handler", "state"}
_OF_TRIGGERS = {"owner", "prefix", "q"}


def _filter(body: BulkBody) -> TaskFilter | TriggerFilter:
    """What a body's filter means; raises BadRequest ``bad_filter``, ``bad_name``, ``bad_id``, ``bad_moment``."""
    if body.filter is None:
        return TriggerFilter() if body.kind is Kind.TRIGGERS else TaskFilter()
    own = body.filter.model_fields_set - _OF_BOTH
    strange = sorted(name.rstrip("_") for name in own if (name in _OF_TRIGGERS) != (body.kind is Kind.TRIGGERS))
    if strange:
        raise BadRequest(
            "bad_filter",
            f"filter.{strange[0]} says nothing about {body.kind}.",
            field=f"filter.{strange[0]}",
            hint="Leave it out.",
        )
    if body.filter.handler:
        names.check_handler(body.filter.handler, "filter.handler")
    return _trigger_filter(body.filter) if body.kind is Kind.TRIGGERS else _task_filter(body.verb, body.filter)


def _trigger_filter(body: FilterBody) -> TriggerFilter:
    states = [state for state in body.state if isinstance(state, TriggerState)]
    if len(states) < len(body.state):
        raise _idle_state(body.state, states, "No trigger is in it")
    return TriggerFilter(handler=body.handler, state=states, owner=body.owner, prefix=body.prefix, q=body.q.lower())


def _task_filter(verb: Verb, body: FilterBody) -> TaskFilter:
    states = [state for state in body.state if isinstance(state, State)]
    if len(states) < len(body.state):
        raise _idle_state(body.state, states, "No task is in it")
    busy = [state for state in states if (state in TERMINAL) != (verb is Verb.CANCEL)]
    if len(busy) < len(states):
        raise _idle_state(states, busy, f"A {verb} does nothing to such tasks")
    return TaskFilter(
        handler=body.handler,
        trigger=names.check_trigger(body.trigger, "filter.trigger") if body.trigger else "",
        state=states or ([State.FAULTED] if verb is Verb.RETRY else []),
        reason=body.reason,
        worker=body.worker,
        parent=ids.parse_task_id(body.parent, "filter.parent") if body.parent else "",
        error=check_fingerprint(body.error, "filter.error") if body.error else "",
        labels=names.check_labels(body.labels, "filter.labels", most=limits.LABELS_PER_TASK),
        from_ms=moment_of(body.from_, "filter.from") if body.from_ is not None else None,
        to_ms=moment_of(body.to, "filter.to") if body.to is not None else None,
    )


def _idle_state(states: Sequence[str], fitting: Sequence[str], why: str) -> BadRequest:
    idle = next(state for state in states if state not in fitting)
    return BadRequest(
        "bad_filter", f"filter.state has {idle}. {why}.", field="filter.state", hint="Leave it out, or name others."
    )


async def _units(edge: Edge, order: Order, given: Sequence[str] | None) -> dict[int, list[str]]:
    """What a job is for in each partition; raises BadRequest ``bad_id``."""
    if given is None:
        return await bulk.units_of_apps(edge.space, order.namespace, order.app)
    if order.kind is Kind.TASKS:
        return bulk.units_of_tasks(edge.space, [ids.parse_task_id(each, f"ids[{at}]") for at, each in enumerate(given)])
    for at, each in enumerate(given):
        parts = each.split("/")
        if len(parts) != 3:
            raise BadRequest(
                "bad_id",
                f"ids[{at}] {each[:80]!r} is no trigger.",
                field=f"ids[{at}]",
                hint="Write namespace/app/name.",
            )
        names.check_trigger(parts[2], f"ids[{at}]")
    return await bulk.units_of_triggers(edge.space, given)


def _digest(body: BulkBody) -> str:
    text = json.dumps(body.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


async def _find(edge: Edge, who: Identity, job: str) -> Job:
    """A job that the caller may see; raises NotFound ``unknown_job``, BadRequest ``bad_id``."""
    ids.parse_job_id(job)
    stored = await bulk.find_job(edge.space, job)
    if stored is None or not who.covers(stored.order.namespace, stored.order.app):
        raise bulk.unknown_job(job)
    return stored


async def _change(edge: Edge, who: Identity, job: str, change: Literal["pause", "resume", "cancel"]) -> JobRow:
    stored = await _find(edge, who, job)
    changed = await bulk.change_job(edge.space, stored, change, await engine_time(edge.space[0]))
    if changed is None:
        state = (await bulk.show(edge.space, await _find(edge, who, job))).state
        raise Conflict(
            "job_over",
            f"Job {job} is {state}; a {change} changes nothing.",
            field="job",
            hint="Begin another job for what is left.",
        )
    return await bulk.show(edge.space, changed)
