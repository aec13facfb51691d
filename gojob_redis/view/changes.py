"""What changed, for those who listen: how tasks are now, and events between two moments."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gojob_redis.domain import limits
from gojob_redis.domain.address import Address
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.events import Event, event_id, event_of
from gojob_redis.view.records import entries, number, opaque, some, text

_FIELDS: Final = (
    *("lane", "state", "reason", "place", "trigger", "attempt", "worker", "made", "started", "ended", "progress"),
    *("shards", "run_to_completion", "faulted", "canceled"),
)
PROGRESS_BYTES: Final = 1_024
TURN_S: Final = 0.002
MINUTE_MS: Final = limits.MINUTE_MS
APPS: Final = 250


@dataclass(frozen=True, slots=True)
class TaskNow:
    """How a task is now."""

    id: str
    namespace: str
    app: str
    handler: str
    state: str
    reason: str
    place: str
    trigger: str
    attempt: int
    worker: str
    made_ms: int
    started_ms: int | None
    ended_ms: int | None
    progress: Any
    """What the handler said last; None where that is longer than 1 KiB."""
    shards: int
    shards_ended: int


async def tasks_now(
    space: Partitions, handlers: "Handlers", tasks: Sequence[tuple[int, str]]
) -> dict[str, TaskNow | None]:
    """How these tasks (partition, id) are; None for one that is gone."""
    commands = [("HMGET", K.task(space.prefixes[at], task), *_FIELDS) for at, task in tasks]
    records = [dict(zip(_FIELDS, values, strict=True)) for values in await space.read_all(commands)]
    lanes = {(at, text(fields["lane"])) for (at, _), fields in zip(tasks, records, strict=True) if fields["state"]}
    await handlers.learn(space, lanes)
    now: dict[str, TaskNow | None] = {}
    began = time.perf_counter()
    for (at, task), fields in zip(tasks, records, strict=True):
        now[task] = _task_now(task, handlers.of(at, text(fields["lane"])), fields) if fields["state"] else None
        if time.perf_counter() - began > TURN_S:
            await asyncio.sleep(0)
            began = time.perf_counter()
    return now


def _task_now(task: str, handler: str, fields: Mapping[str, bytes | None]) -> TaskNow:
    address = Address.parse(handler or "?/?/?")
    progress = fields["progress"]
    return TaskNow(
        id=task,
        namespace=address.namespace,
        app=address.app_name,
        handler=address.handler,
        state=text(fields["state"]),
        reason=text(fields["reason"]),
        place=text(fields["place"]),
        trigger=text(fields["trigger"]),
        attempt=number(fields["attempt"]),
        worker=text(fields["worker"]),
        made_ms=number(fields["made"]),
        started_ms=some(fields["started"]),
        ended_ms=some(fields["ended"]),
        progress=opaque(progress) if progress and len(progress) <= PROGRESS_BYTES else None,
        shards=number(fields["shards"]) or 1,
        shards_ended=sum(number(fields[state]) for state in ("run_to_completion", "faulted", "canceled")),
    )


class Handlers:
    """The handlers of lanes, remembered: a lane never changes its handler, and no id of a lane is used twice."""

    MOST: Final = 20_000

    def __init__(self) -> None:
        self._handlers: dict[tuple[int, str], str] = {}

    def of(self, partition: int, lane: str) -> str:
        """``namespace/app/handler`` of a lane that was learned; "" of one that is gone."""
        return self._handlers.get((partition, lane), "")

    async def learn(self, space: Partitions, lanes: set[tuple[int, str]]) -> None:
        """Read those that are not remembered."""
        unknown = [lane for lane in lanes if lane not in self._handlers]
        if len(self._handlers) + len(unknown) > self.MOST:
            self._handlers.clear()
            unknown = list(lanes)
        answers = await space.read_all([("HGET", K.lane(space.prefixes[at], lane), "handler") for at, lane in unknown])
        self._handlers |= {
            lane: text(answer) for lane, answer in zip(unknown, answers, strict=True) if answer is not None
        }


# ---- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """Events of an app ("" is of no app) in a partition, from a moment to before another."""

    partition: int
    app: str
    from_ms: int
    to_ms: int


async def events_between(space: Partitions, spans: Sequence[Span], most: int) -> list[list[Event] | None]:
    """The events of each span, the oldest first; None where there are more than so many."""
    commands: list[tuple[str | int, ...]] = []
    for span in spans:
        prefix = space.prefixes[span.partition]
        key = K.app_events(prefix, span.app) if span.app else K.events(prefix)
        commands.append(("XRANGE", key, span.from_ms, f"({span.to_ms}-0", "COUNT", most + 1))
    events: list[list[Event] | None] = []
    for span, answer in zip(spans, await space.read_all(commands), strict=True):
        rows = entries(answer)
        in_span = [event_of(event_id(entry, span.partition, span.app), span.app, fields) for entry, fields in rows]
        events.append(in_span if len(in_span) <= most else None)
    return events


async def apps_with_events(
    space: Partitions, since: Mapping[int, int], sees: Callable[[str], bool]
) -> list[tuple[int, str]] | None:
    """The apps, with their partitions, that may have events since a position; None where there are too many."""
    commands = [
        ("ZRANGE", K.event_apps(space.prefixes[at]), ms - MINUTE_MS - 1, "+inf", "BYSCORE", "LIMIT", 0, APPS + 1)
        for at, ms in since.items()
    ]
    apps: list[tuple[int, str]] = []
    for at, answer in zip(since, await space.read_all(commands), strict=True):
        if len(answer) > APPS:
            return None
        apps += [(at, app) for app in map(text, answer) if sees(app)]
    return apps
