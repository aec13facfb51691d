"""Handlers and workers: what waits, who serves it, and holding a handler back."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from gojob_redis import match, view
from gojob_redis.api import bulk
from gojob_redis.api.bodies import BulkBody, FilterBody, HandlerRetentionBody, PurgeBody
from gojob_redis.api.dependencies import (
    Edge,
    HandlerName,
    InApp,
    InEdge,
    OnceKey,
    StrictRoute,
    Whole,
    identity_of,
)
from gojob_redis.bulk import JobRow
from gojob_redis.domain import limits, names, verbs
from gojob_redis.domain.jobs import Verb
from gojob_redis.domain.retention import Retention
from gojob_redis.domain.states import State
from gojob_redis.maintenance.retention import retain
from gojob_redis.view import Demand, HandlerDetails, Queue, Worker
from gojob_redis.view import retention as kept

router = APIRouter(prefix="/v1/apps/{namespace}/{app}", tags=["handlers and workers"], route_class=StrictRoute)

SeenApp = Annotated[str, Depends(InApp("see"))]
SessionId = Annotated[str, Path(description="session of a connected worker", pattern=r"^[A-Za-z0-9._-]{1,64}$")]
OperatedApp = Annotated[str, Depends(InApp("operate"))]
EditedApp = Annotated[str, Depends(InApp("edit"))]


@router.get("/handlers/{handler}")
async def show_handler(edge: InEdge, app: SeenApp, handler: HandlerName) -> HandlerDetails:
    """What waits for one handler, who serves it and what its versions tell; also for one that nobody announced."""
    return await view.handler(edge.space, f"{app}/{names.check_handler(handler)}")


@router.post("/handlers/{handler}/pause")
async def pause_handler(edge: InEdge, app: OperatedApp, handler: HandlerName) -> Queue:
    """Give no more tasks of this handler to workers; what runs goes on."""
    return await _set_paused(edge, app, handler, True)


@router.post("/handlers/{handler}/resume")
async def resume_handler(edge: InEdge, app: OperatedApp, handler: HandlerName) -> Queue:
    """Give its tasks to workers again."""
    return await _set_paused(edge, app, handler, False)


@router.get("/queues/{handler}")
async def show_demand(
    edge: InEdge,
    app: SeenApp,
    handler: HandlerName,
    within_ms: Annotated[
        Whole, Query(ge=limits.SECOND_MS, le=limits.DAY_MS, description="how soon the backlog is to be gone")
    ] = limits.MINUTE_MS,
) -> Demand:
    """How many workers a handler wants, for autoscalers: from what waits, what comes in, and how long it takes."""
    return await view.demand(edge.space, f"{app}/{names.check_handler(handler)}", within_ms)


@router.post("/queues/{handler}:purge", status_code=202)
async def purge_queue(
    edge: InEdge,
    app: OperatedApp,
    handler: HandlerName,
    request: Request,
    response: Response,
    body: PurgeBody | None = None,
    key: OnceKey = "",
) -> JobRow | bulk.Counted:
    """Cancel all that waits for a handler, also for its time or its retry, but nothing that has a worker.

    This is a job as that of `POST /v1/bulk`, and answers as it does.
    """
    asked = body or PurgeBody()
    namespace, _, name = app.partition("/")
    job = BulkBody(
        verb=Verb.CANCEL,
        namespace=namespace,
        app=name,
        filter=FilterBody(handler=names.check_handler(handler), state=[State.CREATED]),
        reason=asked.reason if "reason" in asked.model_fields_set else "purged",
        dry_run=asked.dry_run,
    )
    return await bulk.start_job(edge, identity_of(request), job, response, key)


async def _set_paused(edge: Edge, app: str, handler: str, paused: bool) -> Queue:
    address = f"{app}/{names.check_handler(handler)}"
    if paused:
        await edge.handlers.check(address)
    partition = await view.home(edge.space, app)
    if partition is not None:
        await match.pause(partition, [verbs.PauseItem(address, int(paused))], await edge.levels.of(app))
    return await view.queue(edge.space, address)


@router.get("/handlers/{handler}/retention")
async def show_retention(edge: InEdge, app: SeenApp, handler: HandlerName) -> Retention:
    """How long its ended tasks are kept: as is set for it, else for its namespace."""
    address = f"{app}/{names.check_handler(handler)}"
    return await kept.of_handler(edge.space, address, await edge.levels.retention_of(app))


@router.put("/handlers/{handler}/retention")
async def put_retention(
    edge: InEdge, app: EditedApp, handler: HandlerName, body: HandlerRetentionBody | None = None
) -> Retention:
    """Set how long its ended tasks are kept, also those that are over already; it holds within a minute."""
    address = f"{app}/{names.check_handler(handler)}"
    await edge.handlers.check(address)
    settings = (body or HandlerRetentionBody()).model_dump(exclude_unset=True)
    partition = await view.home(edge.space, app)
    if partition is not None:
        await retain(partition, address, settings, await edge.levels.of(app))
    return await kept.of_handler(edge.space, address, await edge.levels.retention_of(app))


@router.post("/workers/{session}:drain")
async def drain_worker(edge: InEdge, app: OperatedApp, session: SessionId) -> Worker:
    """Give a worker nothing new; what it runs goes on. Only ``:resume`` changes that, and the end of its session."""
    return await _set_drained(edge, app, session, True)


@router.post("/workers/{session}:resume")
async def resume_worker(edge: InEdge, app: OperatedApp, session: SessionId) -> Worker:
    """Give a drained worker work again."""
    return await _set_drained(edge, app, session, False)


@router.post("/workers/{session}:disconnect", status_code=204)
async def disconnect_worker(edge: InEdge, app: OperatedApp, session: SessionId) -> None:
    """End a worker's session: what it runs goes to others. It hears of it within a heartbeat and may connect anew."""
    partition = await view.home(edge.space, app)
    if partition is None or not await match.disconnect(partition, app, session):
        raise view.unknown_worker(session)


async def _set_drained(edge: Edge, app: str, session: str, drained: bool) -> Worker:
    partition = await view.home(edge.space, app)
    if partition is None or await match.drain(partition, app, session, drained=drained) == "gone":
        raise view.unknown_worker(session)
    return await view.worker(edge.space, app, session)
