"""What runs log: pages, following, download."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from gojob_redis import view
from gojob_redis.api.dependencies import Edge, InEdge, Limit, OfTask, StrictRoute, Whole, identity_of
from gojob_redis.api.shares import paused
from gojob_redis.api.tasks import wait_s
from gojob_redis.control.identities import bad_token
from gojob_redis.domain import limits
from gojob_redis.domain.address import namespace_of
from gojob_redis.engine.log_chunks import Line, LogLevel
from gojob_redis.engine.partitions import Partition
from gojob_redis.runtime.terminal import visible, visible_line
from gojob_redis.view import LogPage
from gojob_redis.view.logs import LogFilter, position

router = APIRouter(prefix="/v1", tags=["logs"], route_class=StrictRoute)

LOOK_S = 0.25
"""How often a request that waits looks for new lines: one field of the engine."""
CHECK_S = 0.4 * limits.TOKEN_REVOKED_MS / 1000

SeenTask = Annotated[str, Depends(OfTask("see"))]
Shard = Annotated[
    Whole | None, Query(ge=0, le=limits.SHARDS - 1, description="of a sharded task; the first unless set")
]


async def _filter(
    attempt: Annotated[Whole | None, Query(ge=1, description="of this attempt alone")] = None,
    level: Annotated[LogLevel, Query(description="this level and worse ones")] = LogLevel.DEBUG,
    since_ms: Annotated[Whole | None, Query(ge=0, description="not before, ms since 1970")] = None,
    until_ms: Annotated[Whole | None, Query(ge=0, description="before, ms since 1970")] = None,
    text: Annotated[str, Query(max_length=200, description="that occurs in the line, in upper or lower case")] = "",
) -> LogFilter:
    return LogFilter(attempt, level, since_ms, until_ms, text.lower())


InFilter = Annotated[LogFilter, Depends(_filter)]


@router.get("/tasks/{task}/log")
async def show_log(
    request: Request,
    edge: InEdge,
    task: SeenTask,
    sought: InFilter,
    shard: Shard = None,
    order: Annotated[Literal["oldest", "newest"], Query(description="which line comes first")] = "oldest",
    cursor: Annotated[str, Query(description="`cursor` of the page before", max_length=40)] = "",
    wait: Annotated[str, Query(description="where nothing is new, answer when something is: 30s, 500ms")] = "",
    limit: Limit = limits.PAGE_ITEMS,
) -> LogPage:
    """What a run logged.

    To follow a log, ask again with ``cursor``, and with ``wait``, until ``over``; with ``more`` at once. A search looks
    through 8 MiB a page and says how far it came.
    """
    limit_s = wait_s(wait) if wait else 0.0
    newest_first = order == "newest"
    partition, run = await view.run_of(edge.space, task, shard)
    before = await position(partition, run) if limit_s else b""
    page = await view.log(partition, run, sought, cursor=cursor, newest_first=newest_first, limit=limit)
    if limit_s and not (page.items or page.more or page.over or newest_first):
        address = await view.address_of(edge.space, task)
        key_id = identity_of(request).key_id
        with edge.polls.one(key_id, namespace_of(address), await edge.levels.quotas_of(address)):
            async with paused(request.scope, away=True):
                await _until_longer(edge, partition, run, before, limit_s, key_id)
        page = await view.log(partition, run, sought, cursor=page.cursor or "", limit=limit)
    return page


async def _until_longer(edge: Edge, partition: Partition, run: str, before: bytes, limit_s: float, key_id: str) -> None:
    """Wait until a log has grown, at most this long; raises BadRequest ``bad_token`` when the token was revoked."""
    ends = time.monotonic() + limit_s
    check_at = time.monotonic() + CHECK_S
    while (left := ends - time.monotonic()) > 0 and not edge.waiting.is_closed:
        await asyncio.sleep(min(left, LOOK_S))
        if await position(partition, run) != before:
            return
        if time.monotonic() > check_at:
            check_at += CHECK_S
            if not await edge.identities.still_good(key_id):
                raise bad_token("The token was revoked or has expired while the request waited.")


@router.get(
    "/tasks/{task}/log/text",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/plain": {}}, "description": "A line each; its further lines are indented."}},
)
async def download_log(edge: InEdge, task: SeenTask, sought: InFilter, shard: Shard = None) -> StreamingResponse:
    """What a run logged, as text to keep. Characters that steer a terminal are written out."""
    partition, run = await view.run_of(edge.space, task, shard)
    return StreamingResponse(
        _text(partition, run, sought),
        media_type="text/plain; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{run}.log"',
            "X-Content-Type-Options": "nosniff",
        },
    )


async def _text(partition: Partition, run: str, sought: LogFilter) -> AsyncIterator[str]:
    """All that is there now, page by page."""
    cursor, more = "", True
    while more:
        page = await view.log(partition, run, sought, cursor=cursor)
        cursor, more = page.cursor or "", page.more
        yield "".join(map(text_of, page.items))
    if missing := ", ".join(
        f"{count} {why}"
        for count, why in (
            (page.dropped.ring, "gave way to newer ones"),
            (page.dropped.budget, "gave way to other logs of the app"),
            (page.dropped.gateway, "came too fast or while the engine was away"),
            (page.dropped.worker, "were too many for the worker to send"),
        )
        if count
    ):
        yield f"Lines that are not here: {missing}.\n"


def text_of(line: Line) -> str:
    """A line as text: in one piece, so that nothing in it can pass for another one."""
    at = datetime.fromtimestamp(min(line.at_ms, limits.LATEST_MS) / 1000, UTC).isoformat(timespec="milliseconds")
    logger = f" {visible_line(line.logger)}" if line.logger else ""
    written = visible(line.text).replace("\n", "\n    ")
    return f"{at} {line.level.upper():7} [{line.attempt}]{logger} {written}\n"
