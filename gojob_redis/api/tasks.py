"""Tasks: submit, look, wait, list, cancel, retry."""

import asyncio
import re
import time
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from gojob_redis import task, view
from gojob_redis.api import submissions
from gojob_redis.api.bodies import BatchBody, BumpBody, CancelBody, KeepBody, TaskBody
from gojob_redis.api.compress import compressed
from gojob_redis.api.dependencies import (
    Caller,
    HandlerName,
    InApp,
    InEdge,
    InTurn,
    Limit,
    OfTask,
    OnceKey,
    RunHeader,
    StrictRoute,
    TraceHeader,
    Whole,
    identity_of,
)
from gojob_redis.api.scope import scope_of
from gojob_redis.api.shares import paused
from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import BadRequest, Conflict
from gojob_redis.domain.states import TERMINAL
from gojob_redis.view import Page, Run, RunColumns, Task, resubmit
from gojob_redis.view.values import MEDIA_TYPE
from gojob_sdk.protocol import unpack_value

router = APIRouter(prefix="/v1", tags=["tasks"], route_class=StrictRoute)

WAIT_MAX_S = 60.0
TURN_S = 0.002

OperatedApp = Annotated[str, Depends(InApp("operate"))]
SeenTask = Annotated[str, Depends(OfTask("see"))]
OperatedTask = Annotated[str, Depends(OfTask("operate"))]


class Accepted(BaseModel):
    """A task that was taken in."""

    id: str
    state: str
    duplicate: bool = False
    """The Idempotency-Key stands for this task already."""


class AcceptedMany(BaseModel):
    """Tasks that were taken in, in the order they were sent."""

    ids: list[str]


class Canceled(BaseModel):
    """What became of a cancel."""

    id: str
    state: str
    outcome: str
    """canceled; requested: its worker was told and has 10 s; already: it was over"""


class Bumped(BaseModel):
    """A task that comes earlier, or later."""

    id: str
    outcome: Literal["ok", "already"]
    """already: it stood there, or had that priority"""


class Kept(BaseModel):
    """How long a task is kept."""

    id: str
    keep: Literal["always", "usual"]


@router.post("/apps/{namespace}/{app}/handlers/{handler}/tasks", status_code=201)
async def submit_task(
    edge: InEdge,
    app: OperatedApp,
    handler: HandlerName,
    body: TaskBody,
    response: Response,
    key: OnceKey = "",
    trace: TraceHeader = "",
    run: RunHeader = "",
) -> Accepted:
    """Submit one task."""
    lineage = await submissions.lineage_of(edge, app, run)
    submission = await submissions.prepare(edge, app, handler, body, key=key, trace=trace, lineage=lineage)
    [done] = await submissions.submit(edge, app, [submission])
    if refused := submissions.refusal(edge, done.word, submission.handler, done.task):
        raise refused
    response.headers["Location"] = f"/v1/tasks/{done.task}"
    if done.word == "duplicate":
        response.status_code = 200
        state = (await view.states_of(edge.space.of_task(done.task), [done.task]))[0]
        return Accepted(id=done.task, state=state or "retired", duplicate=True)
    return Accepted(id=done.task, state="created")


@router.post("/apps/{namespace}/{app}/handlers/{handler}/tasks:batch", status_code=201)
async def submit_tasks(
    edge: InEdge,
    app: OperatedApp,
    handler: HandlerName,
    body: BatchBody,
    key: OnceKey = "",
    trace: TraceHeader = "",
    run: RunHeader = "",
) -> AcceptedMany:
    """Submit up to 1,000 tasks; all are checked before any is taken in."""
    lineage = await submissions.lineage_of(edge, app, run)
    batch: list[verbs.Submission] = []
    began = time.perf_counter()
    for at, item in enumerate(body.tasks):
        if time.perf_counter() - began > TURN_S:
            await asyncio.sleep(0)  # a thousand at a stretch would hold up everybody else's requests
            began = time.perf_counter()
        own = item.idempotency_key or (f"{key}#{at}" if key else "")
        more = {"key": own, "at": f"tasks[{at}].", "trace": trace, "lineage": lineage}
        batch.append(await submissions.prepare(edge, app, handler, item, **more))
    done = await submissions.submit(edge, app, batch)
    words = [
        submissions.refusal(edge, each.word, submission.handler, each.task)
        for each, submission in zip(done, batch, strict=True)
    ]
    for at, refused in enumerate(words):
        if refused is not None:
            ids = [None if word else each.task for word, each in zip(words, done, strict=True)]
            raise submissions.PartlyRefused(refused, at, ids)
    return AcceptedMany(ids=[each.task for each in done])


@router.get("/tasks/{task}")
async def show_task(
    request: Request,
    edge: InEdge,
    task: SeenTask,
    turn: InTurn,
    who: Caller,
    wait: Annotated[str, Query(description="answer when it is over, at the latest after this time: 30s, 500ms")] = "",
    include: Annotated[
        list[Literal["links"]],
        Query(description="links: its parent, its children and siblings, what its trigger fired before and after it"),
    ] = [],  # noqa: B006  FastAPI copies it
) -> Task:
    """One task, with what is known about why it is not running."""
    limit_s = wait_s(wait) if wait else 0.0
    answer = await view.task(edge.space, task, turn)
    if limit_s and answer.state not in TERMINAL:
        key_id = identity_of(request).key_id
        with edge.polls.one(key_id, answer.namespace, await edge.levels.quotas_of(answer.namespace)):
            async with paused(request.scope, away=True):
                await edge.waiting.until_over(task, limit_s, key_id)
        answer = await view.task(edge.space, task, turn)
    if "links" in include:
        return replace(answer, links=await view.links(edge.space, answer, scope_of(who, "", "").sees))
    return answer


_WAIT = re.compile(r"([0-9]{1,6})(ms|s)?")


def wait_s(wait: str) -> float:
    """Seconds of ``30s``, ``500ms`` or ``30``, at most 60; raises BadRequest ``bad_wait``."""
    shape = _WAIT.fullmatch(wait)
    if shape is None:
        raise BadRequest("bad_wait", f"wait {wait[:80]!r} is no time.", field="wait", hint="Write it as 30s or 500ms.")
    return min(WAIT_MAX_S, int(shape[1]) / (1000 if shape[2] == "ms" else 1))


@router.get("/tasks/{task}/runs")
async def list_runs(
    edge: InEdge,
    task: SeenTask,
    turn: InTurn,
    after: Annotated[
        Whole, Query(ge=-1, le=limits.SHARDS - 1, description="the shard that the page before ended with")
    ] = -1,
    limit: Limit = 100,
) -> Page[Run]:
    """The runs of a task, one per shard. A page ends early where results and errors in it are large."""
    return await view.runs(edge.space, task, after=after, limit=limit, turn=turn)


@router.get("/tasks/{task}/runs/columns", response_model=RunColumns)
async def list_run_columns(edge: InEdge, task: SeenTask, request: Request) -> Response:
    """All runs of a task at once, a list of numbers for each fact: for a picture of thousands of shards."""
    return await compressed(request, await view.run_columns(edge.space, task))


@router.get(
    "/tasks/{task}/values/{name}",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "MessagePack, as the worker or the caller sent it."}},
)
async def show_value(
    edge: InEdge,
    task: SeenTask,
    name: Literal["params", "result", "error", "progress"],
    shard: Annotated[int | None, Query(ge=0, le=limits.SHARDS - 1, description="of a sharded task")] = None,
) -> Response:
    """One value as it is stored, for what an answer names in ``left_out``."""
    run = task if shard is None else f"{task}.{shard}"
    return Response(await view.value(edge.space, run, name), media_type=MEDIA_TYPE)


@router.post("/tasks/{task}/cancel")
async def cancel_task(
    edge: InEdge,
    task_id: Annotated[str, Depends(OfTask("operate"))],
    response: Response,
    body: CancelBody | None = None,
) -> Canceled:
    """Cancel a task: what waits ends now, what runs is told and has 10 s."""
    reason = (body or CancelBody()).reason
    partition = view.partition_of(edge.space, task_id)
    level = await edge.levels.of(await view.address_of(edge.space, task_id))
    [word] = await task.cancel(partition, [verbs.CancelItem(task_id, reason)], level)
    if word == "gone":
        raise view.unknown_task(task_id)
    [state] = await view.states_of(partition, [task_id])
    if word == "later":
        raise of_a_later_release(task_id)
    if word == "requested":
        response.status_code = 202
    return Canceled(id=task_id, state=state or "retired", outcome=word)


def of_a_later_release(task_id: str) -> Conflict:
    return Conflict(
        "unknown_word",
        f"A later release of gojob-redis put task {task_id} into a state or place that this one leaves alone.",
        field="task",
        hint="Ask a gateway of that release.",
    )


@router.post("/tasks/{task}:bump")
async def bump_task(
    edge: InEdge, task_id: Annotated[str, Depends(OfTask("operate"))], body: BumpBody | None = None
) -> Bumped:
    """Move a task that waits to the head of its lane, or give it another priority; it keeps that over retries."""
    priority = (body or BumpBody()).priority
    level = await edge.levels.of(await view.address_of(edge.space, task_id))
    item = verbs.BumpItem(task_id, -1 if priority is None else priority)
    [word] = await task.bump(view.partition_of(edge.space, task_id), [item], level)
    match word:
        case "ok" | "already":
            return Bumped(id=task_id, outcome=word)
        case "gone":
            raise view.unknown_task(task_id)
        case "later":
            raise of_a_later_release(task_id)
        case "not_queued":
            raise Conflict(
                "not_queued",
                f"Task {task_id} waits for its time or its retry, and stands in no lane yet.",
                field="task",
                hint="Give it a priority: with that it enters its lane.",
            )
        case "not_waiting":
            raise Conflict(
                "not_waiting",
                f"Task {task_id} has a worker, or is over.",
                field="task",
                hint="Only what waits can come earlier.",
            )


@router.put("/tasks/{task}/keep")
async def keep_task(
    edge: InEdge, task_id: Annotated[str, Depends(OfTask("operate"))], body: KeepBody | None = None
) -> Kept:
    """Keep a task until somebody lets it go (``always``), or as others are kept (``usual``); it need not be over."""
    keep = (body or KeepBody()).keep
    partition = view.partition_of(edge.space, task_id)
    address = await view.address_of(edge.space, task_id)
    [word] = await task.keep(partition, [verbs.KeepItem(task_id, keep)], await edge.levels.of(address))
    if word == "gone":
        raise view.unknown_task(task_id)
    if word == "later":
        raise of_a_later_release(task_id)
    if word == "full":
        raise Conflict(
            "pinned_full",
            f"{limits.PINNED_PER_HANDLER} tasks of {address} are kept already.",
            field="keep",
            hint="Let one of them go first.",
        )
    return Kept(id=task_id, keep=keep)


@router.post("/tasks/{task}/retry", status_code=201)
async def retry_task(edge: InEdge, task_id: OperatedTask, response: Response, key: OnceKey = "") -> Accepted:
    """The same work as a new task, whose ``parent`` is this one; only when this one is over."""
    row = await view.task_row(edge.space, task_id)
    if row.state not in TERMINAL:
        raise Conflict(
            "not_over",
            f"Task {task_id} is {row.state}.",
            field="task",
            hint="Wait for its end or cancel it, then run it again.",
        )
    address = f"{row.namespace}/{row.app}/{row.handler}"
    again = await resubmit.of_task(edge.space, task_id, address)
    return await take_in(edge, again, response, key)


async def take_in(edge: InEdge, submission: verbs.Submission, response: Response, key: str) -> Accepted:
    """Submit what was made of stored work."""
    submissions.check_key(key, "Idempotency-Key")
    facts = await edge.handlers.of(submission.handler)
    if facts.live:
        params = unpack_value(submission.param)
        await edge.handlers.check_params(submission.handler, facts, params, may_skip=False)
    origin = f"{submission.lineage or submission.uid} {submission.param!r}"
    submission = submission._replace(
        once_key=submissions.once_key(key), digest=submissions.once_key(origin) if key else ""
    )
    [done] = await submissions.submit(edge, submission.app, [submission])
    if refused := submissions.refusal(edge, done.word, submission.handler, done.task):
        raise refused
    response.headers["Location"] = f"/v1/tasks/{done.task}"
    if done.word == "duplicate":
        response.status_code = 200
    return Accepted(id=done.task, state="created", duplicate=done.word == "duplicate")
