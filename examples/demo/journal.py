"""What the workers saw, in their own files: the evidence does not come from the system that is judged.

One file of JSON lines per process; a line is on the disk (fsync) before the handler goes on, so a process that is
killed leaves everything it began.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from gojob_sdk import Context


@dataclass(frozen=True, slots=True)
class Line:
    """One moment in the life of a run, as its worker saw it."""

    what: str
    """begin or end"""
    at_ms: int
    worker: str
    handler: str
    task: str
    run: str
    """task.shard.attempt"""
    shard: int
    attempt: int
    slot: int | None


class Journal:
    """Appends lines to this process's file; may be shared by threads."""

    def __init__(self, directory: Path, worker: str) -> None:
        self.worker = worker
        self._file = (directory / f"{worker}.jsonl").open("a", encoding="utf-8")
        self._lock = Lock()

    def write(self, what: str, ctx: Context) -> None:
        """Put a line on the disk."""
        at_ms = time.time_ns() // 1_000_000
        line = Line(
            what, at_ms, self.worker, ctx.handler, ctx.task_id, ctx.run_instance_id, ctx.shard, ctx.attempt, ctx.slot
        )
        with self._lock:
            self._file.write(json.dumps(asdict(line)) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())


def read(directory: Path) -> list[Line]:
    """All lines of all workers, by time; a line that a kill cut off was never evidence."""
    lines = [line for path in directory.glob("*.jsonl") for line in _lines(path)]
    return sorted(lines, key=lambda line: line.at_ms)


def _lines(path: Path) -> Iterator[Line]:
    for text in path.read_text("utf-8").splitlines(keepends=True):
        if text.endswith("\n"):
            yield Line(**json.loads(text))
