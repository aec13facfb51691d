"""What the workers saw, in their own files: the first of the three records.

One file of JSON lines per process. A line is on the disk (fsync) before the handler goes on, so a process that is
killed leaves everything it began. ``execution`` is a random word per call of a handler, which is also what the handlers
of ``workers.py`` return: the result the engine keeps then names the execution it came from.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from gojob_sdk import Context

What = Literal["begin", "end", "canceled", "failed"]


@dataclass(frozen=True, slots=True)
class Line:
    """One moment in the life of an execution, as its worker saw it."""

    what: What
    at_ms: int
    worker: str
    pid: int
    handler: str
    task: str
    run: str
    """``task``, or ``task.shard`` of a sharded one: what records and events call it."""
    attempt: int
    fence: int
    execution: str
    trigger: str | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """One call of a handler, between its first and its last line."""

    journal: "Journal"
    ctx: Context
    word: str

    def write(self, *whats: What) -> None:
        """Put lines on the disk, all with one sync."""
        ctx = self.ctx
        run = ctx.task_id if ctx.shards == 1 else f"{ctx.task_id}.{ctx.shard}"
        at_ms = time.time_ns() // 1_000_000
        journal = self.journal
        journal.append(
            Line(
                what, at_ms, journal.worker, journal.pid, ctx.handler, ctx.task_id, run, ctx.attempt, ctx.fence,
                self.word, ctx.trigger, ctx.slot,
            )
            for what in whats
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happening:
    """What became of a worker's connection, and how many executions were under way then."""

    name: str
    at_ms: int
    worker: str
    pid: int
    busy: int


class Journal:
    """Appends lines to this process's file; may be shared by threads."""

    def __init__(self, directory: Path, worker: str) -> None:
        self.worker = worker
        self.pid = os.getpid()
        self._path = directory / f"{worker}-{self.pid}-{time.time_ns()}.jsonl"
        self._file = self._path.open("a", encoding="utf-8")
        self._lock = Lock()
        self._busy: set[str] = set()

    def execution(self, ctx: Context) -> Execution:
        """A call of a handler begins; nothing is written yet."""
        return Execution(self, ctx, secrets.token_hex(6))

    def happened(self, name: str) -> None:
        """The connection was made or lost."""
        happening = Happening(name, time.time_ns() // 1_000_000, self.worker, self.pid, len(self._busy))
        with self._path.with_suffix(".connection").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(happening)) + "\n")

    def append(self, lines: Iterable[Line]) -> None:
        with self._lock:
            for line in lines:
                self._file.write(json.dumps(asdict(line)) + "\n")
                (self._busy.add if line.what == "begin" else self._busy.discard)(line.execution)
            self._file.flush()
            os.fdatasync(self._file.fileno())


def read(directory: Path) -> list[Line]:
    """All lines of all workers, by time; a line that a kill cut off was never evidence."""
    lines = [line for path in directory.glob("*.jsonl") for line in _lines(path)]
    return sorted(lines, key=lambda line: line.at_ms)


def happenings(directory: Path) -> list[Happening]:
    """What became of all connections, by time."""
    texts = [text for path in directory.glob("*.connection") for text in path.read_text("utf-8").splitlines()]
    return sorted((Happening(**json.loads(text)) for text in texts), key=lambda each: each.at_ms)


def _lines(path: Path) -> Iterator[Line]:
    for text in path.read_text("utf-8").splitlines(keepends=True):
        if text.endswith("\n"):
            yield Line(**json.loads(text))
