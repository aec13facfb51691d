"""What the stream tells: messages in batches, and how they are written as server-sent events.

A batch is one server-sent event, so a connection that breaks cuts none in two. Its id is a position: who comes back
with it, here or at another gateway, misses nothing and gets nothing twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import to_json

from gojob_redis.engine.log_chunks import Line
from gojob_redis.view import Event, Queue, TaskNow
from gojob_redis.view.logs import Dropped
from gojob_redis.view.stats import Bucket


@dataclass(frozen=True, slots=True)
class EventsMessage:
    """New events, the oldest first."""

    topic: str
    items: list[Event]
    kind: Literal["events"] = "events"


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """How a task is now; None: it is gone, or it is not yours to see."""

    topic: str
    task: TaskNow | None
    kind: Literal["task"] = "task"


@dataclass(frozen=True, slots=True)
class TasksMessage:
    """How the tasks are now that changed."""

    topic: str
    items: list[TaskNow]
    left_out: int
    """How many changed besides; read the list again to see them."""
    kind: Literal["tasks"] = "tasks"


@dataclass(frozen=True, slots=True)
class QueuesMessage:
    """What waits for the handlers of an app now."""

    topic: str
    items: list[Queue]
    is_whole: bool
    """Whether these are all handlers; further ones are in the list."""
    kind: Literal["queues"] = "queues"


@dataclass(frozen=True, slots=True)
class LogMessage:
    """New lines of a log, in their order; numbers that are missing were dropped."""

    topic: str
    items: list[Line]
    dropped: Dropped
    """Lines of the log that are not there, in all."""
    kind: Literal["log"] = "log"


@dataclass(frozen=True, slots=True)
class StatsMessage:
    """What happened in the minute that runs and in the one before: those that changed, at first both."""

    topic: str
    items: list[Bucket]
    """None for a minute in which nothing happened."""
    kind: Literal["stats"] = "stats"


@dataclass(frozen=True, slots=True)
class ResyncMessage:
    """What happened since the position is not all known: read the list again. The topic goes on from here."""

    topic: str
    kind: Literal["resync"] = "resync"


Message = Annotated[
    EventsMessage | TaskMessage | TasksMessage | QueuesMessage | LogMessage | StatsMessage | ResyncMessage,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class Batch:
    """The data of one server-sent event."""

    messages: list[Message]


class EndCode(StrEnum):
    """Why the server ends a stream."""

    SLOW = "slow"
    BAD_TOKEN = "bad_token"
    DRAINING = "draining"


ENDS = {
    EndCode.SLOW: "You take less than is told. Connect again with the last id, and listen to fewer topics.",
    EndCode.BAD_TOKEN: "The token was revoked or has expired.",
    EndCode.DRAINING: "This gateway ends. Connect again with the last id: another one goes on.",
}


@dataclass(frozen=True, slots=True)
class End:
    """The data of the last server-sent event, named ``end``."""

    code: EndCode
    detail: str


def encoded(message: Message) -> bytes:
    """A message as JSON, once for all who get it."""
    return to_json(message, inf_nan_mode="strings")


def batch(position: str, messages: Iterable[bytes]) -> bytes:
    """A server-sent event with these messages; without an id where a listener's topics have no position."""
    head = b"id: %b\n" % position.encode() if position else b""
    return b'%bdata: {"messages":[%b]}\n\n' % (head, b",".join(messages))


def heartbeat(position: str) -> bytes:
    """Nothing happened up to this position: a client keeps its id, and tells nobody."""
    return b"id: %b\n\n" % position.encode() if position else b":\n\n"


def end(code: EndCode, retry_ms: int) -> bytes:
    """The last server-sent event, and when to come back."""
    return b"retry: %d\nevent: end\ndata: %b\n\n" % (retry_ms, to_json(End(code, ENDS[code])))
