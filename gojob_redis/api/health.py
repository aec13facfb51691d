"""Health: alive (do not restart me), ready (send me work), and numbers."""

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gojob_redis import view
from gojob_redis.api.dependencies import PROBLEMS, Edge, InEdge, Needs
from gojob_redis.control.identities import Identity
from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.client import repeat
from gojob_redis.runtime.handler_metrics import Waiting
from gojob_redis.runtime.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"], responses=PROBLEMS)

READY_S = 1.0
KEPT_S = 0.1
HANDLERS_S = 1.0
"""How often the figures of handlers are read at most."""
ASKED_BY_BALANCERS = ["HEAD", "OPTIONS"]
"""Some of them ask so unless they are told otherwise."""


@router.get("/livez")
@router.api_route("/livez", methods=ASKED_BY_BALANCERS, include_in_schema=False)
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=dict[str, str])
@router.api_route("/readyz", methods=ASKED_BY_BALANCERS, include_in_schema=False)
async def readyz(edge: InEdge) -> Response:
    """Work may come: this process is not draining, and the engine answers with our data in it."""
    why = edge.ready() or await _looked(edge)
    if why:
        return JSONResponse({"status": "not ready", "reason": why}, 503, {"Retry-After": "1"})
    return JSONResponse({"status": "ok"})


async def _looked(edge: InEdge) -> str:
    """What the last look at the engine found: it asks every partition, and anybody may ask for it."""
    now = asyncio.get_running_loop().time()
    if edge.looked is None or now - edge.looked_at > KEPT_S:
        edge.looked, edge.looked_at = asyncio.ensure_future(_engine_trouble(edge)), now
    return await asyncio.shield(edge.looked)


async def _engine_trouble(edge: InEdge) -> str:
    """Why nothing can be done: no partition answers, or one answers that it lost its data."""
    every = list(edge.space)
    try:
        replies = await repeat(lambda: edge.space.call_in(every, verbs.now()), READY_S)
    except GojobError as error:
        return error.code
    broken = [reply.code for reply in replies if isinstance(reply, GojobError)]
    if broken:
        return broken[0]
    return "unavailable" if all(isinstance(reply, Exception) for reply in replies) else ""


async def _look_at_handlers(edge: Edge) -> None:
    """Read what is shown by handler, unless it was read a moment ago."""
    now = asyncio.get_running_loop().time()
    if now < edge.handlers_read_at + HANDLERS_S:
        return
    edge.handlers_read_at = now
    series, space = edge.metrics.handlers, edge.space
    sums = await view.total_sums(space, await view.handlers_announced(space))
    chosen = series.choose(sums)
    apps = await view.total_sums(space, await view.apps_of(space, "", "", limits.APPS_PER_NAMESPACE))
    depths = await view.depths(space, chosen)
    waiting = {handler: Waiting(*facts) for handler, facts in depths.items()}
    series.take({handler: sums[handler] for handler in chosen}, apps.values(), waiting)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(edge: InEdge, who: Annotated[Identity, Depends(Needs("see"))]) -> Response:
    """Counters and histograms for Prometheus."""
    with suppress(GojobError):  # what the engine counts stays as it was while it is away
        edge.metrics.faulted = await view.faulted(edge.space, within_s=READY_S)
        await _look_at_handlers(edge)
    return Response(edge.metrics.text(), media_type=CONTENT_TYPE)
