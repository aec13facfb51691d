"""Python's ``logging`` as part of the log of a run.

1. While a worker serves, each record that any logger makes is looked at once: if a run is the *current* one, it becomes
   a line of that run. The current run is a context variable, which the runner sets around each handler. So coroutines
   and tasks that a handler begins belong to its run, and so does ``asyncio.to_thread``. A thread of the handler's own
   begins without a context: give it ``ctx.bind(function)``.
2. Nothing here waits: lines go into the notebook, which is bounded and counts what it drops.
3. Records are seen where they are made (``logging.setLogRecordFactory``), not by a handler of the root logger: that one
   would silence ``logging.basicConfig`` and what Python prints where nothing is set up, ``dictConfig`` would take it
   away, and loggers that do not propagate would pass it by. Handlers, filters and levels of the program stay as they
   are; only where nothing is set up, the root logger lets through what the setting asks for.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, get_args

from gojob_sdk.context import Notebook, clip, current
from gojob_sdk.protocol import MAX_LOG_LINE_BYTES, LogLevel

Captured = Literal["off", "debug", "info", "warning", "error"]
"""From which level on records become lines."""
NUMBERS: Final = dict(
    zip(get_args(LogLevel), (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR), strict=True)
)
OWN: Final = "gojob_sdk"
"""The logger of this package: what it says is about the worker, not about a run."""

_formatter = logging.Formatter()


class Capture:
    """Makes records as before, and lines of those that belong to a run of this notebook."""

    def __init__(self, notebook: Notebook, least: int, make: Callable[..., logging.LogRecord]) -> None:
        self.is_over = False
        self.make = make
        self._notebook = notebook
        self._least = least

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(*args, **kwargs)
        if record.levelno >= self._least and not self.is_over:
            ctx = current.get()
            if ctx is not None and ctx.notebook is self._notebook and record.name.partition(".")[0] != OWN:
                self._keep(ctx.key, record)
        return record

    def _keep(self, key: tuple[str, int], record: logging.LogRecord) -> None:
        try:
            text = text_of(record)
        except Exception:  # noqa: BLE001 - arguments of the user's may raise anything; handlers have their own word on it
            msg = record.msg
            what = f"{msg[:1000]!r} (its arguments" if isinstance(msg, str) else f"(a {type(msg).__name__} that"
            text = f"{what} cannot be shown)"
        self._notebook.log(key, level_of(record.levelno), text, logger=record.name, at_ms=int(record.created * 1000))


def text_of(record: logging.LogRecord) -> str:
    """What was said, and the traceback with it."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text = f"{text}\n{_formatter.formatException(record.exc_info)}"
    if record.stack_info:
        text = f"{text}\n{record.stack_info}"
    return clip(text, MAX_LOG_LINE_BYTES)


def level_of(number: int) -> LogLevel:
    """The level that a number of ``logging`` belongs to."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


@contextmanager
def captured(notebook: Notebook, level: Captured) -> Iterator[None]:
    """Make lines of what runs log for the block."""
    if level == "off":
        yield
        return
    least, root = NUMBERS[level], logging.root
    capture = Capture(notebook, least, logging.getLogRecordFactory())
    logging.setLogRecordFactory(capture)
    before = root.level
    lowers = not root.handlers and before > least
    if lowers:
        root.setLevel(least)
    try:
        yield
    finally:
        capture.is_over = True
        if logging.getLogRecordFactory() is capture:
            logging.setLogRecordFactory(capture.make)
        if lowers and root.level == least:
            root.setLevel(before)
