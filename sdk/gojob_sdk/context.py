"""What a handler knows about its run, and what it can say while it runs."""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from threading import RLock
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack

from gojob_sdk.errors import BadConfig, Canceled
from gojob_sdk.events import Key
from gojob_sdk.protocol import (
    MAX_LOG_LINE_BYTES,
    MAX_LOG_LINES,
    MAX_LOGGER_CHARS,
    Assignment,
    LogLevel,
    LogLine,
    Progress,
    RunNote,
    RunRef,
    fence_number,
    unpack_value,
)

if TYPE_CHECKING:
    from gojob_sdk.client import Options, Task

NOTE_TEXT_BYTES = 128 << 10
MAX_PROGRESS_BYTES = 4_096
BUFFERED_LINES = 10_000
BUFFERED_BYTES = 4 << 20
LINE_BYTES = 100
"""About what a line takes besides its text."""
MOST_SHARE = 2
"""One run may take the half of them."""

Args = ParamSpec("Args")
Result = TypeVar("Result")


def clip(text: str, most_bytes: int) -> str:
    """The beginning of a text, at most ``most_bytes`` of UTF-8; characters that UTF-8 does not have are escaped."""
    if len(text) <= most_bytes and text.isascii():
        return text
    return text[:most_bytes].encode("utf-8", "backslashreplace")[:most_bytes].decode("utf-8", "ignore")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Notebook:
    """Log lines and progress of all runs of a process until they are sent; what does not fit is counted."""

    def __init__(
        self,
        written: Callable[[], None],
        *,
        most_lines: int = BUFFERED_LINES,
        most_bytes: int = BUFFERED_BYTES,
    ) -> None:
        self._written = written
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        # What is logged while a line is kept, such as by a destructor, comes from the same thread.
        self.lock = RLock()
        self._lines: list[tuple[Key, LogLine, int]] = []
        self.bytes = 0
        """Of the lines that wait."""
        self._of_run: Counter[Key] = Counter()
        self._dropped: dict[Key, int] = {}
        self._progress: dict[Key, Progress] = {}

    def __bool__(self) -> bool:
        return bool(self._lines or self._dropped or self._progress)

    def log(self, key: Key, level: LogLevel, text: str, *, logger: str = "", at_ms: int | None = None) -> None:
        """Keep a line, or count it as dropped when 10,000 lines or 4 MiB already wait, or half as much of its run."""
        text = clip(text, MAX_LOG_LINE_BYTES)
        size = LINE_BYTES + len(text.encode())
        line = LogLine(at=now_ms() if at_ms is None else at_ms, level=level, text=text)
        if logger:
            line["logger"] = _one_line(logger)
        with self.lock:
            mine = self._of_run[key] + size
            is_fair = mine * MOST_SHARE <= self._most_bytes
            if is_fair and len(self._lines) < self._most_lines and self.bytes + size <= self._most_bytes:
                self._lines.append((key, line, size))
                self._of_run[key] = mine
                self.bytes += size
            else:
                self._dropped[key] = self._dropped.get(key, 0) + 1
        self._written()

    def progress(self, key: Key, percent: float, message: str) -> None:
        """Keep the newest progress of a run."""
        percent = min(max(float(percent), 0.0), 100.0) if percent == percent else 0.0
        with self.lock:
            self._progress[key] = Progress(percent=percent, message=clip(message, MAX_PROGRESS_BYTES))
        self._written()

    def take(self, most_bytes: int = BUFFERED_BYTES) -> list[RunNote]:
        """What waits, as notes of at most 100 lines and 128 KiB each, in order; about so many bytes of lines."""
        with self.lock:
            lines = self._take_lines(most_bytes)
            dropped, self._dropped = self._dropped, {}
            progress, self._progress = self._progress, {}
        notes = _notes_of(lines)
        for key, count in dropped.items():
            notes.append(RunNote(run=key[0], attempt=key[1], dropped=count))
        for key, newest in progress.items():
            notes.append(RunNote(run=key[0], attempt=key[1], progress=newest))
        return notes

    def _take_lines(self, most_bytes: int) -> list[tuple[Key, LogLine, int]]:
        """Called under the lock."""
        lines, count, taken = self._lines, 0, 0
        while count < len(lines) and taken < most_bytes:
            key, _line, size = lines[count]
            self._of_run[key] -= size
            count, taken = count + 1, taken + size
        self._lines = lines[count:]
        self.bytes -= taken
        if not self._lines:
            self._of_run.clear()
        return lines[:count]


def _one_line(name: str) -> str:
    """A name as the protocol takes it."""
    name = name[:MAX_LOGGER_CHARS]
    return (
        name if name.isascii() and name.isprintable() else "".join(filter(str.isprintable, clip(name, 4 * len(name))))
    )


def _notes_of(lines: list[tuple[Key, LogLine, int]]) -> list[RunNote]:
    notes: list[RunNote] = []
    open_notes: dict[Key, tuple[list[LogLine], int]] = {}
    for key, line, size in lines:
        log, room = open_notes.get(key, ([], 0))
        if size > room or len(log) == MAX_LOG_LINES:
            log, room = [], NOTE_TEXT_BYTES
            notes.append(RunNote(run=key[0], attempt=key[1], log=log))
        log.append(line)
        open_notes[key] = log, room - size
    return notes


class Log:
    """The log of one run: it is kept with the run and can be read through the API."""

    __slots__ = ("_key", "_notebook")

    def __init__(self, key: Key, notebook: Notebook) -> None:
        self._key = key
        self._notebook = notebook

    def debug(self, text: object, *arguments: object) -> None:
        self._notebook.log(self._key, "debug", _written(text, arguments))

    def info(self, text: object, *arguments: object) -> None:
        self._notebook.log(self._key, "info", _written(text, arguments))

    def warning(self, text: object, *arguments: object) -> None:
        self._notebook.log(self._key, "warning", _written(text, arguments))

    def error(self, text: object, *arguments: object) -> None:
        self._notebook.log(self._key, "error", _written(text, arguments))


def _written(text: object, arguments: tuple[object, ...]) -> str:
    """A line of a log, with ``%d`` and the like filled in as `logging` does; what does not fit stands behind it."""
    if not arguments:
        return str(text)
    try:
        return str(text) % arguments
    except (TypeError, ValueError):
        return " ".join(map(str, (text, *arguments)))


class Submits(Protocol):
    """Who submits tasks for runs (``submitter.py``)."""

    app: str
    """Of the worker."""

    def submit(self, run: RunRef, app: str, handler: str, params: Any, **options: "Unpack[Options]") -> "Task":
        """Ask for one run of a handler, as a child of this run."""


class Context:
    """One attempt of one run, as its handler sees it.

    Large, because it is all that a handler sees of the system; most methods are one line.
    """

    __slots__ = ("_assignment", "_ends", "_params", "_submitter", "canceled", "lost", "notebook", "timed_out")

    canceled: bool
    """Somebody asked for this run to end."""
    lost: bool
    """The lease may have ended: the run may already be running elsewhere, and its report may be refused."""
    timed_out: bool
    """The run limit is over; whatever the handler returns now is too late."""

    def __init__(self, assignment: Assignment, notebook: Notebook, submitter: Submits | None = None) -> None:
        self._assignment = assignment
        self._submitter = submitter
        self.notebook = notebook
        self._params: Any = _UNREAD
        self.canceled = self.lost = self.timed_out = False
        limit_ms = assignment["run_limit_ms"]
        self._ends = time.monotonic() + limit_ms / 1000 if limit_ms else None

    @property
    def task_id(self) -> str:
        return self._assignment["task"]

    @property
    def run_instance_id(self) -> str:
        """``task.shard.attempt``: names this attempt and no other, ever."""
        assignment = self._assignment
        return f"{assignment['task']}.{assignment['shard']}.{assignment['attempt']}"

    @property
    def handler(self) -> str:
        return self._assignment["handler"]

    @property
    def shard(self) -> int:
        """Number of this shard, from 0."""
        return self._assignment["shard"]

    @property
    def shards(self) -> int:
        return self._assignment["shards"]

    @property
    def params(self) -> Any:
        """The parameters of the task, decoded when first looked at; None if it has none."""
        if self._params is _UNREAD:
            self._params = unpack_value(self._assignment["param"])
        return self._params

    @property
    def shard_param(self) -> Any:
        """The parameter of this shard alone; None if it has none."""
        return unpack_value(self._assignment.get("shard_param", b""))

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1; losses and hand-backs count."""
        return self._assignment["attempt"]

    @property
    def retry(self) -> int:
        """Failures of this run so far."""
        return self._assignment["retry"]

    @property
    def retries(self) -> int:
        """Failures that are followed by another attempt."""
        return self._assignment["retries"]

    @property
    def run_limit_s(self) -> float | None:
        limit_ms = self._assignment["run_limit_ms"]
        return limit_ms / 1000 if limit_ms else None

    def remaining(self) -> float | None:
        """Seconds left of the run limit, never below 0; None without a limit."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt of this run."""
        return self._assignment["key"]

    @property
    def fence(self) -> int:
        """Grows with every owner of this run: let your store refuse a write that carries a smaller one."""
        return fence_number(self._assignment["fence"])

    @property
    def trigger(self) -> str | None:
        """Name of the trigger that fired, None for a task submitted directly."""
        return self._assignment.get("trigger")

    @property
    def slot(self) -> int | None:
        """The planned moment that this firing is for, in ms since 1970."""
        return self._assignment.get("slot")

    @property
    def traceparent(self) -> str | None:
        """The trace that the task belongs to (W3C Trace Context), None if it was submitted without."""
        return self._assignment.get("traceparent")

    @property
    def log(self) -> Log:
        return Log(self.key, self.notebook)

    def progress(self, percent: float, message: str = "") -> None:
        """Say how far the run is (0 to 100); the newest one counts."""
        self.notebook.progress(self.key, percent, message)

    def submit(
        self, handler: str, params: Any = None, *, app: str | None = None, **options: "Unpack[Options]"
    ) -> "Task":
        """Submit a task, whose parent is this one; returns when it was taken in. Async handlers use ``submit_async``.

        app: of the same namespace; that of the worker, unless given. options: as those of ``Client.submit``.
        Raises ClientError when it is refused: also with ``not_your_run``, when the lease of this run has ended.
        """
        if _is_in_loop():
            raise BadConfig("ctx.submit would stop the loop of all async handlers; use await ctx.submit_async(...)")
        return self._submit(handler, params, app, options)

    async def submit_async(
        self, handler: str, params: Any = None, *, app: str | None = None, **options: "Unpack[Options]"
    ) -> "Task":
        """The same in an async handler."""
        return await asyncio.to_thread(self._submit, handler, params, app, options)

    def _submit(self, handler: str, params: Any, app: str | None, options: "Options") -> "Task":
        submitter = self._submitter
        if submitter is None:
            raise BadConfig("this context belongs to no worker, which could submit a task")
        return submitter.submit(self._assignment, app or submitter.app, handler, params, **options)

    def bind(self, function: Callable[Args, Result]) -> Callable[Args, Result]:
        """The same function as part of this run, for a thread or an executor of the handler's own.

        What it logs is kept with the run, and it sees the context variables that the handler sees now. In tasks of the
        handler's loop, and by ``asyncio.to_thread``, that is so without it.
        """
        context = copy_context()
        context.run(current.set, self)

        @functools.wraps(function)
        def bound(*args: Args.args, **kwargs: Args.kwargs) -> Result:
            return context.copy().run(function, *args, **kwargs)

        return bound

    def check(self) -> None:
        """Raise Canceled when the run should end: canceled, over its limit, or lost though it may run only once."""
        if self.canceled or self.timed_out or (self.lost and self._assignment["confirm"]):
            raise Canceled(f"run {self.run_instance_id} should end")

    @property
    def key(self) -> Key:
        """This attempt of this run, as the notebook names it."""
        return self._assignment["run"], self._assignment["attempt"]


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_UNREAD: Any = object()

current: ContextVar[Context | None] = ContextVar("gojob_run", default=None)
"""The run that this code is part of."""
