"""What a worker says on its own terminal: what becomes of its connection, and one sentence when it cannot begin.

A library leaves logging to the program that it is part of. Only ``Worker.run``, which is a program's last line, shows
the SDK's own log on stderr, and only as long as nobody has set up logging.
"""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from gojob_sdk.errors import BadConfig, Refused

EXIT_REFUSED = 2

log = logging.getLogger("gojob_sdk")

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Text with each character that steers a terminal written out, such as ``\\x1b``."""
    return STEERING.sub(lambda match: ascii(match[0])[1:-1], text)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Shows records as long as nobody else does."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            super().emit(record)


@contextmanager
def shown_log() -> Iterator[None]:
    """Show the SDK's log on stderr for the block, unless the program has set up logging."""
    if log.handlers or logging.root.handlers:
        yield
        return
    handler = _Stderr(sys.stderr)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s gojob: %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def end_with_a_sentence() -> None:
    """Let a BadConfig or Refused that nobody catches end the process with what it says, and exit code 2."""
    if not isinstance(sys.excepthook, _Sentence):
        sys.excepthook = _Sentence(sys.excepthook)


class _Sentence:
    """Python's last word on an exception; what is not ours is left to whoever had it before."""

    def __init__(self, others: Callable[..., object]) -> None:
        self.others = others

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, BadConfig | Refused):
            self.others(kind, error, trace)
            return
        print(f"gojob: {visible(str(error))}", file=sys.stderr)
        if isinstance(error, BadConfig) and (place := _place(trace)):
            print(f"       {place}", file=sys.stderr)
        sys.exit(EXIT_REFUSED)


def _place(trace: TracebackType | None) -> str:
    """The line of the program that led to it."""
    own = [frame for frame in traceback.extract_tb(trace) if "gojob_sdk" not in frame.filename]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""
