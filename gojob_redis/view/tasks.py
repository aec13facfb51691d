"""Tasks as users see them: one record, its runs and attempts, and rows of lists."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from functools import partial
from typing import Any

from gojob_redis.domain import ids, limits, policies
from gojob_redis.domain.address import Address, app_of
from gojob_redis.domain.errors import NotFound
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.pages import Page
from gojob_redis.view.ran_on import RanOn, ran_on
from gojob_redis.view.records import (
    STATES,
    TERMINAL,
    Fields,
    clock_of,
    fields_of,
    number,
    pairs,
    policies_of,
    some,
    text,
)
from gojob_redis.view.values import LIGHT_BYTES, Turn, Values, at_once, nothing
from gojob_redis.view.why import LaneFacts, WhyNot, lane_facts, why_not_running

UNKNOWN_HANDLER = "?/?/?"
"""Shown where a record's lane cannot be read any more."""
RUNS_AT_ONCE = 50
"""Runs that are read in one round trip, and unpacked in one turn."""
UNKNOWN = "?"
"""The app under which tasks are filed whose handler is not known."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a run that did not end well."""

    attempt: int
    worker: str
    started_ms: int | None
    ended_ms: int
    why: str
    error: Any


@dataclass(frozen=True, slots=True)
class CancelTimes:
    """The stages of a cancel; its end is that of the run."""

    asked_ms: int
    sent_ms: int | None
    """When it was handed to the gateway of its worker."""
    heard_ms: int | None
    """When the worker said that it heard it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One shard of a task, or the whole of an unsharded one."""

    run: str
    shard: int
    state: str
    reason: str
    attempt: int
    """Bindings so far."""
    failures: int
    """Counted against the retries."""
    losses: int
    """Workers lost with it."""
    rejections: int
    """Times that workers handed it back."""
    cancel: "CancelTimes | None"
    worker: str
    session: str
    ran_on: RanOn | None
    """Who had it last; None: nobody, or it is not known any more."""
    param: Any
    """The parameter of this shard alone."""
    started_ms: int | None
    ended_ms: int | None
    result: Any
    error: Any
    progress: Any
    left_out: dict[str, int] = field(default_factory=dict)
    """Values that are too large to be shown among others, with their bytes."""
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task in a list."""

    id: str
    namespace: str
    app: str
    handler: str
    state: str
    reason: str
    place: str
    """Which index holds it: lane, due, timer, session or none."""
    trigger: str
    slot_ms: int | None
    parent: str
    """The task that it repeats, or whose run submitted it."""
    parent_run: str
    """That run, as ``task.shard.attempt``; empty: none, it repeats its parent."""
    key: str
    """What its caller finds it by."""
    shards: int
    attempt: int
    worker: str
    priority: int
    made_ms: int
    started_ms: int | None
    ended_ms: int | None

    @property
    def full_app(self) -> str:
        """namespace/app"""
        return f"{self.namespace}/{self.app}"


@dataclass(frozen=True, slots=True)
class Links:
    """Tasks that a task hangs together with, as far as the caller may see them."""

    parent: TaskRow | None
    """What it repeats, or whose run submitted it; None also when that is gone."""
    children: list[TaskRow]
    """What its runs submitted and what repeats it, newest first."""
    has_more_children: bool
    siblings: list[TaskRow]
    """The other children of its parent, newest first."""
    has_more_siblings: bool
    before: TaskRow | None
    """What its trigger fired for the slot before, of the last 20 entries of the ledger."""
    after: TaskRow | None
    """What its trigger fired for the slot after."""


_TaskWithPolicies: Any = make_dataclass(
    "TaskWithPolicies",
    [(policy.name, policy.type) for policy in policies.set_by("task")],
    bases=(TaskRow,),
    frozen=True,
    slots=True,
    kw_only=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(_TaskWithPolicies):  # type: ignore[misc]
    """A task with all that is known about it."""

    labels: dict[str, str]
    require: str
    traceparent: str
    """The trace that it belongs to, as it was given."""
    at_ms: int | None
    """When a delayed task was to be run."""
    params: Any
    failures: int
    """Failed attempts, those of all its shards."""
    losses: int
    session: str
    shards_bound: int
    """Shards that were given to a worker so far."""
    shards_ended: dict[str, int]
    """Ended shards by state."""
    rejections: int
    """Times that workers handed it back."""
    ran_on: RanOn | None
    """Who had it last; None: nobody, several (its shards), or it is not known any more."""
    cancel: CancelTimes | None
    cancel_reason: str
    why: WhyNot | None
    """Why it is not running; None when it is, or is over."""
    failed_shard: int | None
    """The first shard that faulted: ``error`` is its error."""
    result: Any
    error: Any
    progress: Any
    left_out: dict[str, int]
    """Values that are too large to be shown here, with their bytes: ``/values/NAME`` of the task gives each."""
    attempts: list[Attempt]
    links: Links | None = None
    """With ``include=links``."""


# ---- one task --------------------------------------------------------------------------------------------------------


async def task(space: Partitions, task_id: str, turn: Turn = at_once) -> Task:
    """One task with everything that is known about it; raises BadRequest ``bad_id``, NotFound ``unknown_task``.

    turn: when values may be read that are much to unpack.
    """
    partition = partition_of(space, task_id)
    prefix = partition.prefix
    [answer] = await partition.read([("HGETALL", K.task(prefix, task_id))])
    fields = fields_of(answer)
    if not fields:
        raise unknown_task(task_id)
    commands = [
        ("GET", K.param(prefix, task_id)),
        ("GET", K.result(prefix, task_id)),
        ("LRANGE", K.attempts(prefix, task_id), 0, -1),
    ]
    read = partial(partition.read, commands)
    is_light = sum(number(fields.get(name)) for name in ("param_size", "result_size", "error_size")) <= LIGHT_BYTES
    lane, clock, large_values = await asyncio.gather(
        lane_facts(partition, text(fields.get("lane"))),
        clock_of(partition),
        read() if is_light else nothing(),
    )
    row, stored = _row(task_id, fields, lane.handler), policies_of(fields)
    own = {policy.name: stored[policy.name] for policy in policies.set_by("task")}
    why = await why_not_running(partition, task_id, fields, lane, clock)
    shard_error = await _shard_error(partition, task_id, fields)
    workers = await _ran_on(partition, lane.handler, [fields], number(fields.get("made")), clock.wall)
    param, value, attempts = large_values or await turn(read)  # the last await of this answer
    values = Values()
    return Task(
        **{**own, **row},
        labels=pairs(lane.labels),
        require=lane.attribute,
        traceparent=text(fields.get("traceparent")),
        at_ms=some(fields.get("at")),
        params=values.show(param if param is not None else fields.get("param"), "params"),
        failures=number(fields.get("tries")),
        losses=number(fields.get("lost")),
        session=text(fields.get("session")) if fields.get("place") == b"session" else "",
        shards_bound=_bound(fields) if "shards" in fields else 0,
        shards_ended={state: number(fields[state]) for state in STATES if state in fields and "shards" in fields},
        rejections=number(fields.get("rejects")),
        ran_on=workers.get(text(fields.get("session"))),
        cancel=_cancel_times(fields),
        cancel_reason=text(fields.get("cancel_reason")),
        why=why,
        failed_shard=some(fields.get("failed_shard")),
        result=values.show(_result(fields, value), "result"),
        error=values.show(shard_error or _error(fields, value), "error"),
        progress=values.show(fields.get("progress"), "progress"),
        left_out=values.left_out,
        attempts=_attempts(attempts, values),
    )


async def value(space: Partitions, run: str, name: str) -> bytes:
    """A parameter, result, error or progress of a run as it is stored; raises NotFound ``no_value``.

    run: a task, or ``TASK.SHARD`` of a sharded one.
    """
    partition = partition_of(space, run.partition(".")[0])
    prefix = partition.prefix
    kind = K.param if name == "params" else K.result
    answer, large = await partition.read([("HGETALL", K.task(prefix, run)), ("GET", kind(prefix, run))])
    fields = fields_of(answer)
    stored: bytes | None = {
        "params": large if large is not None else fields.get("param"),
        "result": _result(fields, large),
        "error": _error(fields, large),
        "progress": fields.get("progress"),
    }[name]
    if not stored:
        raise NotFound("no_value", f"{run} has no {name}.", field="name", hint="Look at the task first.")
    return stored


async def address_of(space: Partitions, task_id: str) -> str:
    """``namespace/app/handler`` of a task, to decide who may see it; raises NotFound ``unknown_task``."""
    partition = partition_of(space, task_id)
    prefix = partition.prefix
    [lane] = await partition.read([("HGET", K.task(prefix, task_id), "lane")])
    if lane is None:
        raise unknown_task(task_id)
    return (await lane_facts(partition, text(lane))).handler or UNKNOWN_HANDLER


async def states_of(partition: Partition, tasks: Sequence[str], *, within_s: float = ANSWER_S) -> list[str]:
    """The state of each task, "" for one that is gone; one round trip."""
    prefix = partition.prefix
    asked = [("HGET", K.task(prefix, task_id), "state") for task_id in tasks]
    answers = await partition.read(asked, within_s=within_s)
    return [text(answer) for answer in answers]


def partition_of(space: Partitions, task_id: str) -> Partition:
    """The partition that a task id carries; raises BadRequest ``bad_id``, NotFound ``unknown_task``."""
    number = ids.partition_of(task_id)
    if number >= space.count:
        raise unknown_task(task_id)
    return space[number]


def unknown_task(task_id: str) -> NotFound:
    """The error for a task that is not there, and for one that is not the caller's to see."""
    return NotFound(
        "unknown_task",
        f"There is no task {task_id}.",
        field="task",
        hint="It may have been retired: ended tasks are kept as the retention of their handler says.",
    )


_ROW = (
    "state",
    "lane",
    "reason",
    "place",
    "trigger",
    "parent",
    "by",
    "key",
    "shards",
    "attempt",
    "worker",
    "made",
    "started",
    "ended",
    "priority",
)
"""What a row of a list is made of; a record may hold a progress besides, which is not read for it."""


def _row(task_id: str, fields: Fields, handler: str) -> dict[str, Any]:
    fired = ids.is_fired(ids.TaskId(task_id))
    handler = handler or UNKNOWN_HANDLER
    address = Address.parse(handler if handler.count("/") == 2 else UNKNOWN_HANDLER)
    parent, by = text(fields.get("parent")), text(fields.get("by"))
    return {
        "id": task_id,
        "namespace": address.namespace,
        "app": address.app_name,
        "handler": address.handler,
        "state": text(fields.get("state")),
        "reason": text(fields.get("reason")),
        "place": text(fields.get("place")),
        "trigger": text(fields.get("trigger")),
        "slot_ms": ids.slot_of(ids.TaskId(task_id)) if fired else None,
        "parent": parent,
        "parent_run": f"{parent}.{by}" if by else "",
        "key": text(fields.get("key")),
        "shards": number(fields.get("shards")) or 1,
        "attempt": number(fields.get("attempt")),
        "worker": text(fields.get("worker")),
        "priority": policies_of(fields)["priority"],
        "made_ms": number(fields.get("made")),
        "started_ms": some(fields.get("started")),
        "ended_ms": some(fields.get("ended")),
    }


async def _shard_error(partition: Partition, task_id: str, fields: Fields) -> bytes | None:
    """The error of the first shard that faulted; None where none did."""
    if "failed_shard" not in fields:
        return None
    prefix, run = partition.prefix, f"{task_id}.{text(fields['failed_shard'])}"
    answer, value = await partition.read([("HGETALL", K.task(prefix, run)), ("GET", K.result(prefix, run))])
    return _error(fields_of(answer), value)


async def _ran_on(
    partition: Partition, handler: str, records: Iterable[Fields], made_ms: int, now_ms: int
) -> dict[str, RanOn]:
    """Who had these runs of a task last, by session."""
    since = {
        text(fields["session"]): number(fields.get("started")) or made_ms for fields in records if "session" in fields
    }
    return await ran_on(partition, app_of(handler), since, now_ms) if handler and since else {}


def _cancel_times(fields: Fields) -> CancelTimes | None:
    asked_ms = some(fields.get("cancel_at"))
    if asked_ms is None:
        return None
    return CancelTimes(asked_ms, some(fields.get("cancel_sent")), some(fields.get("cancel_heard")))


def _bound(fields: Fields) -> int:
    """Shards that have a record; the others of a cancelled task were ended without one."""
    return number(fields["last_shard"]) if "last_shard" in fields else number(fields.get("next"))


def _result(fields: Fields, value: bytes | None) -> bytes | None:
    return value if "result_size" in fields else fields.get("result")


def _error(fields: Fields, value: bytes | None) -> bytes | None:
    if text(fields.get("state")) == "run_to_completion":
        return None
    return value if "error_size" in fields and "result_size" not in fields else fields.get("error")


def _attempts(rows: Iterable[bytes], values: Values) -> list[Attempt]:
    """Errors that are kept with attempts have 1 KiB at most."""
    attempts = []
    for row in rows:
        attempt, worker, _fence, started, ended, why, error = [*row.split(b"\x1f", 6), *(b"",) * 6][:7]
        attempts.append(
            Attempt(
                number(attempt), text(worker), number(started) or None, number(ended), text(why), values.show(error)
            )
        )
    return attempts


# ---- its runs ------------------------------------------------------------------------------------------------------


async def runs(
    space: Partitions, task_id: str, *, after: int = -1, limit: int = limits.PAGE_ITEMS, turn: Turn = at_once
) -> Page[Run]:
    """The runs of a task by shard; raises NotFound ``unknown_task``.

    after: the shard that the page before ended with. A page ends early where what it shows fills an answer.
    turn: when values may be read that are much to unpack.
    """
    partition = partition_of(space, task_id)
    prefix = partition.prefix
    [answer] = await partition.read([("HGETALL", K.task(prefix, task_id))])
    fields = fields_of(answer)
    if not fields:
        raise unknown_task(task_id)
    if "shards" not in fields:
        page, _is_full = await _read_runs(partition, [(task_id, 0)], fields, Values(), turn)
        return Page(page if after < 0 else [], None)
    first, end = after + 1, min(after + 1 + limit, number(fields["shards"]))
    shards = [(f"{task_id}.{shard}", shard) for shard in range(first, end)]
    page, values = [], Values()
    for at in range(0, len(shards), RUNS_AT_ONCE):
        some_runs, is_full = await _read_runs(partition, shards[at : at + RUNS_AT_ONCE], fields, values, turn)
        page += some_runs
        if is_full:
            break
    last = after + len(page)
    return Page(page, str(last) if last + 1 < number(fields["shards"]) else None)


async def _read_runs(
    partition: Partition, shards: Sequence[tuple[str, int]], owner: Fields, page: Values, turn: Turn
) -> tuple[list[Run], bool]:
    """The first of these runs, as many as the page has room for, but one at least; and whether it is full now."""
    prefix = partition.prefix
    answers = await partition.read([("HGETALL", K.task(prefix, run)) for run, _shard in shards])
    records = list(map(fields_of, answers))
    weight, count = 0, 0
    for fields in records:
        size = number(fields.get("result_size")) + number(fields.get("error_size"))
        if count and weight + size > max(page.bytes_left, LIGHT_BYTES):
            break
        weight, count = weight + size, count + 1
    commands: list[tuple[str | int, ...]] = []
    for run, _shard in shards[:count]:
        commands += [("GET", K.result(prefix, run)), ("LRANGE", K.attempts(prefix, run), 0, -1)]
    params = await _shard_params(partition, shards[:count], owner)
    lane, clock = await asyncio.gather(lane_facts(partition, text(owner.get("lane"))), clock_of(partition))
    workers = await _ran_on(partition, lane.handler, records[:count], number(owner.get("made")), clock.wall)
    answers = await turn(partial(partition.read, commands))
    runs: list[Run] = []
    rows = zip(shards, records, answers[::2], answers[1::2], params, strict=False)
    for (run, shard), fields, large, attempts, param in rows:
        values = Values()
        shown = _run(run, shard, fields, large, attempts, param, owner, values)
        runs.append(replace(shown, ran_on=workers.get(text(fields.get("session")))))
        page.take(values)
        if page.is_spent:
            break
    return runs, page.is_spent or count < len(shards)


async def _shard_params(partition: Partition, shards: Sequence[tuple[str, int]], owner: Fields) -> list[bytes | None]:
    """The parameters of these shards' own; all of a task's take at most 256 KiB."""
    if "shard_params" not in owner or not shards:
        return [None] * len(shards)
    key = K.shard_params(partition.prefix, shards[0][0].partition(".")[0])
    [params] = await partition.read([("HMGET", key, *(shard for _run, shard in shards))])
    return list(params)


def _run(
    run: str,
    shard: int,
    fields: Fields,
    value: bytes | None,
    attempts: Iterable[bytes],
    param: bytes | None,
    owner: Fields,
    values: Values,
) -> Run:
    """A shard that nobody was given has no record: it is created, or ended with its task."""
    unbound = "canceled" if "cancel" in owner or text(owner.get("state")) in TERMINAL else "created"
    reason = "" if unbound == "created" else text(owner.get("cancel_reason")) or text(owner.get("reason"))
    return Run(
        run=run,
        shard=shard,
        state=text(fields.get("state")) or unbound,
        reason=text(fields.get("reason")) if fields else reason,
        attempt=number(fields.get("attempt")),
        failures=number(fields.get("tries")),
        losses=number(fields.get("lost")),
        rejections=number(fields.get("rejects")),
        cancel=_cancel_times(fields),
        worker=text(fields.get("worker")),
        session=text(fields.get("session")) if fields.get("place") == b"session" else "",
        ran_on=None,
        param=values.show(param, "param"),
        started_ms=some(fields.get("started")),
        ended_ms=some(fields.get("ended")),
        result=values.show(_result(fields, value), "result"),
        error=values.show(_error(fields, value), "error"),
        progress=values.show(fields.get("progress"), "progress"),
        left_out=values.left_out,
        attempts=_attempts(attempts, values),
    )


# ---- lists -----------------------------------------------------------------------------------------------------------


async def rows_of(partition: Partition, runs_or_tasks: Sequence[str]) -> list[TaskRow]:
    """The tasks that these runs belong to, each once; what is no task id (a trigger's uid) or is gone is left out."""
    tasks = dict.fromkeys(run.partition(".")[0] for run in runs_or_tasks)
    task_ids = [task_id for task_id in tasks if len(task_id) > ids.UID_CHARS]
    prefix = partition.prefix
    answers = await partition.read([("HMGET", K.task(prefix, task_id), *_ROW) for task_id in task_ids])
    records = [
        (task_id, {name: value for name, value in zip(_ROW, answer, strict=True) if value is not None})
        for task_id, answer in zip(task_ids, answers, strict=True)
        if answer[0] is not None
    ]
    lanes: dict[str, LaneFacts] = {}
    for lane in {text(fields.get("lane")) for _task, fields in records}:
        lanes[lane] = await lane_facts(partition, lane)
    return [TaskRow(**_row(task_id, fields, lanes[text(fields.get("lane"))].handler)) for task_id, fields in records]


async def task_row(space: Partitions, task_id: str) -> TaskRow:
    """One task as it stands in a list; raises NotFound ``unknown_task``."""
    for row in await rows_of(partition_of(space, task_id), [task_id]):
        return row
    raise unknown_task(task_id)
