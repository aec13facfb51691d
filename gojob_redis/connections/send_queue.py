"""What waits to be written to one worker's socket, and how it becomes frames.

1. Everything that gathers while the writer is busy, or within one turn of the loop, goes out together: items of a kind
   share a frame, up to 100 and 256 KiB. Kinds go out in the order in which they first waited, except that verdicts that
   free seats are written before assignments, which may be for these very seats.
2. Assignments stay assignments until their frame is built, so what was never written can be given back whole.
3. The queue is bounded by bytes. Whoever reads so slowly that it fills is cut off by the caller; nothing is dropped
   quietly.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gojob_redis.domain import hints, ids
from gojob_redis.domain.address import name_of
from gojob_sdk import protocol

ITEM_BYTES: Final = 300
"""About what an item takes besides its payload."""

Kind = Literal["welcome", "assign", "cancel", "start", "report", "release", "renewed", "sync", "describe", "move"]

FREEING: Final[tuple[Kind, ...]] = ("report", "release")
"""What its verdicts are of frees seats."""


def _assignment(hint: hints.Assignment) -> protocol.Assignment:
    """What the worker needs to know of a bound run."""
    task, _, shard = hint.run.partition(".")
    assignment: protocol.Assignment = {
        "run": hint.run,
        "task": task,
        "shard": int(shard or 0),
        "shards": hint.shards,
        "attempt": hint.attempt,
        "fence": hint.fence,
        "handler": name_of(hint.handler),
        "param": hint.param,
        "retry": hint.retry,
        "retries": hint.retries,
        "run_limit_ms": hint.run_limit_ms,
        "confirm": hint.confirm,
        "key": hint.run,
        "made": hint.made,
    }
    if hint.shard_param:
        assignment["shard_param"] = hint.shard_param
    if hint.trigger:
        assignment["trigger"] = hint.trigger
    if hint.traceparent:
        assignment["traceparent"] = hint.traceparent
    if task[2:3] == "f":
        assignment["slot"] = ids.slot_of(ids.TaskId(task))
    return assignment


def _assign(hints: Sequence[hints.Assignment]) -> protocol.Frame:
    return {"type": "assign", "runs": [_assignment(hint) for hint in hints]}


def _cancel(hints: Sequence[hints.Cancel]) -> protocol.Frame:
    runs: list[protocol.Cancellation] = [
        {"run": hint.run, "attempt": hint.attempt, "reason": hint.reason, "grace_ms": hint.grace_ms} for hint in hints
    ]
    return {"type": "cancel", "runs": runs}


def _verdict(of: Literal["start", "report", "release"]) -> Callable[[list[protocol.RunVerdict]], protocol.Frame]:
    return lambda verdicts: {"type": "verdict", "of": of, "runs": verdicts}


def _describe(digests: list[str]) -> protocol.Frame:
    return {"type": "describe", "specs": digests}


def _newest(frames: Sequence[protocol.Frame]) -> protocol.Frame:
    return frames[-1]


_BUILD: Final[Mapping[Kind, Callable[[Any], protocol.Frame]]] = {
    "welcome": _newest,
    "assign": _assign,
    "cancel": _cancel,
    "start": _verdict("start"),
    "report": _verdict("report"),
    "release": _verdict("release"),
    "renewed": _newest,
    "sync": _newest,
    "describe": _describe,
    "move": _newest,
}


@dataclass(slots=True, eq=False)
class Outbound:
    """The queue of one socket."""

    size: int = 0
    """About how many bytes wait."""
    _kinds: dict[Kind, deque[Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def put(self, kind: Kind, *items: Any) -> None:
        """Queue items of a kind: Assignment for assign, Cancel for cancel, verdicts, digests, else whole frames."""
        if not items:
            return
        self.size += sum(map(_size, items))
        queue = self._kinds.get(kind)
        if queue is None:
            self._kinds[kind] = deque(items)
        else:
            queue.extend(items)

    def take(self) -> bytes | None:
        """The next frame, or None when nothing waits."""
        if not self._kinds:
            return None
        kind = next(iter(self._kinds))
        if kind == "assign":
            kind = next((freeing for freeing in FREEING if freeing in self._kinds), kind)
        queue = self._kinds[kind]
        items = self._next(queue)
        if not queue:
            del self._kinds[kind]
        return protocol.encode(_BUILD[kind](items))

    def _next(self, queue: deque[Any]) -> list[Any]:
        """The items of the next frame: one at least, and as many as the bounds of a frame allow."""
        items: list[Any] = []
        volume = 0
        while queue and len(items) < protocol.BATCH_ITEMS:
            size = _size(queue[0])
            if items and volume + size > protocol.BATCH_BYTES:
                break
            items.append(queue.popleft())
            volume += size
        self.size -= volume
        return items

    def give_up(self) -> list[hints.Assignment]:
        """Forget everything; returns the assignments that were never written."""
        unwritten = list(self._kinds.get("assign", ()))
        self._kinds.clear()
        self.size = 0
        return unwritten


def _size(item: Any) -> int:
    if isinstance(item, hints.Assignment):
        return ITEM_BYTES + len(item.param) + len(item.shard_param)
    return ITEM_BYTES
