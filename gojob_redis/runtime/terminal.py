"""What people see: tables, fields, sentences. Nothing that somebody else wrote may steer their terminal."""

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but newline and tab, marks that turn the direction of text, and halves of characters."""

DURATIONS = ("interval_ms", "limit_ms", "after_ms", "oldest_ms", "late_ms", "every_ms")
"""Ends of the names of lengths of time; what else ends in ``_ms`` is a moment."""
UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))
PAYLOADS = ("params", "param", "shard_params", "result")
"""What users made of values: shown as the JSON that it is."""
ROUNDED_MS = 10 * 86_400_000
"""Times above this are shown without seconds."""
PIPE_COLUMNS = 200


def visible(text: str) -> str:
    """Text with each character that steers a terminal written out, such as ``\\x1b``."""
    return STEERING.sub(lambda match: ascii(match[0])[1:-1], text)


def visible_line(text: str) -> str:
    """As ``visible``, and in one line."""
    return visible(text).replace("\n", "\\n")


def say(text: str) -> None:
    """Print a sentence on stderr, so that the answer on stdout can be piped."""
    print(visible(text), file=sys.stderr, flush=True)


def show(answer: Any, as_json: bool, columns: Sequence[str] = (), *, paged: bool = False) -> None:
    """Print an answer: a page as a table of these columns, anything else as fields.

    paged: the command takes the cursor of the next page.
    """
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
    elif isinstance(answer, dict) and isinstance(answer.get("items"), list):
        _show_page(answer, columns, paged=paged)
    else:
        _show_fields(answer)


def show_line(row: Mapping[str, Any], as_json: bool, columns: Sequence[str]) -> None:
    """Print one thing that happened, in one line."""
    if as_json:
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    shown = [_plain(row[name], name) for name in columns if row.get(name) not in (None, "", [], {})]
    print("  ".join(shown), flush=True)


def _plain(value: Any, name: str) -> str:
    """A value in one line."""
    return visible_line(_words(value, name))


def _words(value: Any, name: str) -> str:
    """A value as people write it: ``host=db7 zone=a`` for an object, ``a, b`` for a list. What is empty is left out."""
    if isinstance(value, str):
        return value
    if _is_moment(name, value):
        return _moment(value)
    if name.endswith(DURATIONS) and isinstance(value, int):
        return span(value)
    if name not in PAYLOADS and isinstance(value, dict):
        if name == "error":
            return _error_text({**value, "traceback": ""})
        given = {key: each for key, each in value.items() if each not in (None, "", [], {})}
        return " ".join(f"{_title(key, each)}={_words(each, key)}" for key, each in given.items())
    if name not in PAYLOADS and isinstance(value, list):
        return ("\n" if any(isinstance(each, dict) for each in value) else ", ").join(
            _words(each, "") for each in value
        )
    return json.dumps(value, ensure_ascii=False)


def _moment(ms: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "seconds")


def _title(name: str, value: Any) -> str:
    """The name of a field; that of a time without the unit that is not shown."""
    shown = _is_moment(name, value) or name.endswith(DURATIONS) or name == "expires_ms"
    return name.removesuffix("_ms") if shown else name


def _show_page(page: Mapping[str, Any], columns: Sequence[str], *, paged: bool) -> None:
    from rich.table import Table

    console = _console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        is_moment = column.endswith("_ms") and not column.endswith(DURATIONS)
        table.add_column(column.removesuffix("_ms"), no_wrap=is_moment or column in ("id", "task", "key_id"))
    for item in page["items"]:
        table.add_row(*(_text(item.get(column), column) for column in columns))
    console.print(table)
    if not page["items"]:
        say("Nothing to show.")
    if page.get("next") and paged:
        say(f"More: --cursor {page['next']}")


def _show_fields(fields: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in fields.items():
        if value not in (None, "", [], {}):
            table.add_row(_title(name, value), _text(value, name))
    _console().print(table)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def _text(value: Any, name: str = "") -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if name == "expires_ms" and value == 0:
        return "never"
    if name == "next_times":
        return "\n".join(escape(each["local"]) for each in value)
    if name == "error" and isinstance(value, dict):
        return escape(visible(_error_text(value)))
    return escape(visible(_words(value, name)))


def span(ms: int) -> str:
    """A length of time as the options take it: ``90s``, ``5m``, ``250ms``."""
    unit, size = next(((unit, size) for unit, size in UNITS if ms and ms % size == 0), ("", 0))
    if unit:
        return f"{ms // size}{unit}"
    if ms >= ROUNDED_MS:
        return f"{ms / UNITS[0][1]:.1f}{UNITS[0][0]}"
    return f"{ms}ms" if 0 < ms < 1_000 else f"{ms / 1_000:g}s" if ms else "0"


def _is_moment(name: str, value: Any) -> bool:
    return name.endswith("_ms") and not name.endswith(DURATIONS) and isinstance(value, int) and value > 10**11


def _error_text(error: Mapping[str, Any]) -> str:
    """How a handler ended: what it raised, and where."""
    sentence = f"{error.get('type', '')}: {error.get('message', '')}"
    trace = str(error.get("traceback") or "").rstrip()
    return f"{sentence}\n{trace}" if trace else sentence


# ---- the log ---------------------------------------------------------------------------------------------------------


NOISE = ("asyncio.exceptions.CancelledError", "Invalid UTF-8 sequence received from client")
"""What uvicorn takes for errors and is none: a role that has to stop cancels its server and tells at the end why, and a
worker that sends text which is none is closed."""


def log_to_stderr(level: str, *, as_json: bool) -> None:
    """Log to stderr. Tracebacks show no locals: these hold tokens and parameters."""
    import structlog

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Harmless("%(levelname)s %(name)s %(message)s"))
    handler.addFilter(lambda record: not any(noise in record.getMessage() for noise in NOISE))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    number = logging.getLevelNamesMapping()[level.upper()]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *([structlog.processors.JSONRenderer()] if as_json else [_harmless, console]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _harmless(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Values may hold what users and workers sent: on a terminal, one line each, and nothing that steers it."""
    for name, value in event.items():
        if name == "exception":
            event[name] = visible(value)
        elif isinstance(value, str):
            event[name] = visible_line(value)
    return event


class _Harmless(logging.Formatter):
    """The same for the lines of libraries."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))
