"""Topics: what a listener of the stream asks for.

events                    events of all apps that the token covers
events:NS  events:NS/APP  those of a namespace, of an app
task:ID                   how a task is, whenever that changes
tasks:NS/APP[/HANDLER]    the same of all tasks of an app, or of a handler, that change
queues:NS/APP             what waits for the handlers of an app, every few seconds
log:ID  log:ID.SHARD      what a run logs
stats:NS/APP[/HANDLER]    what happened this minute, in numbers, every few seconds
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gojob_redis.domain import ids, names
from gojob_redis.domain.errors import BadRequest

TOPIC_CHARS = 400
"""Longer than the longest of them."""


class Subject(StrEnum):
    """What a topic is about."""

    EVENTS = "events"
    TASK = "task"
    TASKS = "tasks"
    QUEUES = "queues"
    LOG = "log"
    STATS = "stats"


OF_CHANGES: Final = frozenset((Subject.EVENTS, Subject.TASK, Subject.TASKS))
"""What is told by what the scripts leave of their changes; the others are read by themselves."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    app: ``namespace/app``, or empty.
    """

    text: str
    subject: Subject
    namespace: str = ""
    app: str = ""
    handler: str = ""
    task: str = ""
    shard: int | None = None

    @property
    def address(self) -> str:
        """``namespace/app`` or ``namespace/app/handler``."""
        return f"{self.app}/{self.handler}" if self.handler else self.app


def parse(text: str) -> Topic:
    """A topic that came from outside; raises BadRequest ``bad_topic``, ``bad_name``, ``bad_id``."""
    word, colon, rest = text.partition(":")
    if len(text) > TOPIC_CHARS or word not in set(Subject) or (colon and not rest):
        raise _bad_topic(text)
    subject = Subject(word)
    if subject is Subject.TASK and rest:
        return Topic(text, subject, task=ids.parse_task_id(rest, "topic"))
    if subject is Subject.LOG and rest:
        return _log(text, rest)
    namespace, *below = rest.split("/") if rest else [""]
    least, most = _DEPTHS[subject]
    if not least <= len(below) + bool(namespace) <= most:
        raise _bad_topic(text)
    if namespace:
        names.check_namespace(namespace)
    if below:
        names.check_app(below[0])
    handler = names.check_handler(below[1]) if len(below) > 1 else ""
    return Topic(text, subject, namespace, f"{namespace}/{below[0]}" if below else "", handler)


def _log(text: str, run: str) -> Topic:
    task, dot, shard = run.partition(".")
    if dot and not _SHARD.fullmatch(shard):
        raise _bad_topic(text)
    return Topic(text, Subject.LOG, task=ids.parse_task_id(task, "topic"), shard=int(shard) if dot else None)


_SHARD = re.compile(r"[0-9]{1,6}")
_NAMELESS = (9, 9)
_DEPTHS = {
    Subject.EVENTS: (0, 2),
    Subject.TASK: _NAMELESS,
    Subject.LOG: _NAMELESS,
    Subject.TASKS: (2, 3),
    Subject.QUEUES: (2, 2),
    Subject.STATS: (2, 3),
}
"""How many names follow the colon."""


def _bad_topic(text: str) -> BadRequest:
    return BadRequest(
        "bad_topic",
        f"There is no topic {text[:80]!r}.",
        field="topic",
        hint="Use events[:NS[/APP]], task:ID, tasks:NS/APP[/HANDLER], queues:NS/APP, "
        "stats:NS/APP[/HANDLER] or log:ID[.SHARD].",
    )
