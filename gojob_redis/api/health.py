"""Health: alive (do not restart me), ready (send me work), and numbers."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse, Response

from gojob_redis import view
from gojob_redis.api.edge import InEdge, Needs
from gojob_redis.control import Identity
from gojob_redis.errors import GojobError
from gojob_redis.metrics import CONTENT_TYPE
from gojob_redis.redis_client import repeat

router = APIRouter(tags=["health"])

READY_S = 1.0


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(edge: InEdge) -> Response:
    """Work may come: this process is not draining, and the engine answers with our data in it."""
    why = edge.ready() or await _engine_trouble(edge)
    if why:
        return JSONResponse({"status": "not ready", "reason": why}, 503, {"Retry-After": "1"})
    return JSONResponse({"status": "ok"})


async def _engine_trouble(edge: InEdge) -> str:
    """Why nothing can be done: no partition answers, or one answers that it lost its data."""
    every = range(edge.space.count)
    try:
        replies = await repeat(lambda: edge.space.call_in(every, "now"), READY_S)
    except GojobError as error:
        return error.code
    broken = [reply.code for reply in replies if isinstance(reply, GojobError)]
    if broken:
        return broken[0]
    return "unavailable" if all(isinstance(reply, Exception) for reply in replies) else ""


@router.get("/metrics")
async def metrics(edge: InEdge, who: Annotated[Identity, Depends(Needs("see"))]) -> Response:
    """Counters and histograms for Prometheus."""
    with suppress(GojobError):  # what the engine counts stays as it was while it is away
        edge.metrics.faulted = await view.faulted(edge.space, within_s=READY_S)
    return Response(edge.metrics.text(), media_type=CONTENT_TYPE)
