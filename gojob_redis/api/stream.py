"""The stream: what happens, told as it happens, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gojob_redis import view
from gojob_redis.api.dependencies import Edge, InEdge, Needs, StrictRoute, edge_of
from gojob_redis.api.events import seen_by
from gojob_redis.api.shares import paused
from gojob_redis.control.identities import Identity
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest, NotFound
from gojob_redis.live import messages, reader, topics
from gojob_redis.live.listener import Listener
from gojob_redis.live.messages import Batch
from gojob_redis.live.topics import Subject, Topic
from gojob_redis.view import live

router = APIRouter(prefix="/v1", tags=["stream"], route_class=StrictRoute)

HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
"""For proxies: to keep nothing back and to compress nothing."""


class ServerSentEvents(StreamingResponse):
    """An answer that goes on."""

    media_type = "text/event-stream"


ID_CHARS = live.POSITION_CHARS + live.MARKS_CHARS

Seeing = Annotated[Identity, Depends(Needs("see"))]
Topics = Annotated[
    list[str],
    Query(
        alias="topic",
        description="`events[:NS[/APP]]`, `task:ID`, `tasks:NS/APP[/HANDLER]`, `queues:NS/APP`, "
        "`stats:NS/APP[/HANDLER]`, `log:ID[.SHARD]`; several times",
        min_length=1,
        max_length=limits.STREAM_TOPICS,
    ),
]
Since = Annotated[str, Query(alias="from", description="`live` of a list: go on exactly there", max_length=ID_CHARS)]
LastId = Annotated[
    str,
    Header(
        alias="Last-Event-ID",
        description="the id of the last event that came, of any gateway: go on exactly there",
        max_length=ID_CHARS,
    ),
]


@router.get(
    "/stream",
    response_class=ServerSentEvents,
    responses={
        200: {
            "model": Batch,
            "description": "Server-sent events. The data of each is a batch of messages and its id a position; the "
            "last one is named `end` and says why.",
        }
    },
)
async def stream(
    request: Request, edge: InEdge, who: Seeing, names: Topics, since: Since = "", last_id: LastId = ""
) -> StreamingResponse:
    """Tell what happens as it happens: events, states of tasks, queues, figures, logs."""
    asked = [topics.parse(name) for name in dict.fromkeys(names)]
    if sum(topic.subject is Subject.LOG for topic in asked) > limits.STREAM_LOGS:
        raise BadRequest(
            "too_many_logs",
            f"A stream follows {limits.STREAM_LOGS} logs at most.",
            field="topic",
            hint="Follow the others with another stream.",
        )
    for topic in asked:
        await _permit(edge, who, topic)
    came = last_id or since
    position, places = live.parse_all(came, edge.space.count, "Last-Event-ID" if last_id else "from")
    listener = await edge.live.join(who.key_id, asked, seen_by(who, "", ""), position, places)
    return _Stream(request, listener)


async def _permit(edge: Edge, who: Identity, topic: Topic) -> None:
    """Refuse a topic outside of what the token covers, and one of an app that never was; a task is told as gone."""
    if topic.task:
        view.partition_of(edge.space, topic.task)
        return
    seen_by(who, topic.namespace, topic.app)
    if not topic.app:
        return
    partition = await view.home(edge.space, topic.app)
    if partition is None:
        raise NotFound(
            "unknown_app",
            f"There is no app {topic.app!r}.",
            field="topic",
            hint="An app is known from its first worker, trigger or task on.",
        )
    edge.live.settle(topic.app, partition.number)


class _Stream(ServerSentEvents):
    """The answer; the listener leaves whether it ends or breaks, or never begins."""

    def __init__(self, request: Request, listener: Listener) -> None:
        super().__init__(self._batches(), headers=HEADERS)
        self.request = request
        self.listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with paused(scope, away=True):
                await super().__call__(scope, receive, send)
        finally:
            edge_of(self.request).live.leave(self.listener)

    async def _batches(self) -> AsyncIterator[bytes]:
        """What is sent: batches, at most ten a second, and last why it ends."""
        listener = self.listener
        yield messages.heartbeat(listener.first_id)
        while True:
            batch = await listener.next(limits.STREAM_HEARTBEAT_MS / 1000)
            if batch:
                yield batch
            if listener.ended and not listener.waits:
                yield messages.end(listener.ended, reader.retry_ms())
                return
            await asyncio.sleep(limits.STREAM_BATCH_MS / 1000)
