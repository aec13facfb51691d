"""Counts executions outside of anybody's own accounting, at the same price for all.

Every worker process, ours too, writes into a file of its own that is mapped into memory: how many tasks began, when the
first and the last of them did, and for each task that was told one, its number and how late it is.
``bullmq.mjs`` writes the same layout.
"""

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = "BENCH_TALLY"
LINE = "BENCH_LINE"
"""Names a file: workers that are told it wait for it once they have loaded everything, so that they begin together."""
LOOK_S = 0.002
ROOM = 40_000
HEAD = struct.Struct("<qqdd")
"""Executions, notes, wall s of the first and of the last execution."""
NOTE = struct.Struct("<dd")
"""A task's number, and ms from when it was due."""


class Tally:
    """One process counts; the file is made by the first execution, so that it belongs to the process that executes."""

    def __init__(self) -> None:
        _wait_at_the_line()
        self._lock = threading.Lock()
        self._file: mmap.mmap | None = None
        self._count = self._notes = 0
        self._first = 0.0

    def mark(self) -> None:
        """A task began."""
        with self._lock:
            self._mark(time.time())

    def note(self, number: int, due_ms: float) -> None:
        """The task of this number began, and was due then."""
        now = time.time()
        with self._lock:
            file = self._file or self._open()
            if self._notes < ROOM:
                NOTE.pack_into(file, HEAD.size + self._notes * NOTE.size, number, now * 1000 - due_ms)
                self._notes += 1
            self._mark(now)

    def _mark(self, now: float) -> None:
        file = self._file or self._open()
        self._first = self._first or now
        self._count += 1
        HEAD.pack_into(file, 0, self._count, self._notes, self._first, now)

    def _open(self) -> mmap.mmap:
        path = Path(os.environ[DIRECTORY]) / f"{os.getpid()}.tally"
        with path.open("w+b") as opened:
            opened.truncate(HEAD.size + ROOM * NOTE.size)
            self._file = mmap.mmap(opened.fileno(), 0)
        return self._file


def _wait_at_the_line() -> None:
    """Say that this process is ready, and wait until all are."""
    if LINE not in os.environ:
        return
    line = Path(os.environ[LINE])
    line.with_suffix(f".{os.getpid()}").touch()
    while not line.exists():
        time.sleep(LOOK_S)


def begin_together(line: Path, processes: int, wait_for: Callable[[Callable[[], bool]], object]) -> None:
    """Let so many processes go when all of them stand at the line."""
    wait_for(lambda: len(list(line.parent.glob(f"{line.name}.*"))) >= processes)
    line.touch()


@dataclass(frozen=True, slots=True)
class Counted:
    """What all processes of a directory counted together."""

    count: int
    first_s: float
    last_s: float

    @property
    def seconds(self) -> float:
        return self.last_s - self.first_s


def read(directory: Path) -> Counted:
    """Add up the files; nothing executed yet gives zeros."""
    heads = [
        HEAD.unpack_from(head_bytes)
        for path in directory.glob("*.tally")
        if len(head_bytes := _head(path)) == HEAD.size
    ]
    heads = [head for head in heads if head[0]]
    if not heads:
        return Counted(0, 0.0, 0.0)
    return Counted(sum(head[0] for head in heads), min(head[2] for head in heads), max(head[3] for head in heads))


def notes(directory: Path) -> Iterator[tuple[int, float]]:
    """Number and lateness (ms) of every execution that was told them."""
    for path in directory.glob("*.tally"):
        data = path.read_bytes()
        for at in range(HEAD.unpack_from(data)[1]):
            number, late_ms = NOTE.unpack_from(data, HEAD.size + at * NOTE.size)
            yield int(number), late_ms


def _head(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(HEAD.size)
