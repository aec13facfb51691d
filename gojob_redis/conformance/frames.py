"""The frames that a scenario sends, and the handlers it asks for."""

import itertools
import secrets
from typing import Any

from gojob_sdk.protocol import Assignment, Cancellation, Frame, RunKey, VerdictWord, pack_value

HANDLERS = {
    "echo": "returns its parameters as they are",
    "fail": "fails with an error whose message is the text in `message`",
    "sleep": "takes `ms` milliseconds, ends early when it is canceled, and returns nothing",
    "log": "writes one log line, the text in `line`, and reports progress of 50 percent",
    "large": "returns a text of `bytes` bytes",
}
"""What the worker has to serve. Parameters are a map, but for ``echo``, which takes anything."""

_numbers = itertools.count(1)


def assignment(handler: str, params: Any = None, /, **changes: Any) -> Assignment:
    """A run that no other scenario had, with a fence that no other attempt had."""
    number = next(_numbers)
    run = changes.pop("run", f"c{number}")
    task, _, shard = run.partition(".")
    base: dict[str, Any] = {
        "run": run,
        "task": task,
        "shard": int(shard or 0),
        "shards": 1,
        "attempt": 1,
        "fence": f"{number}-{secrets.token_hex(6)}",
        "handler": handler,
        "param": b"" if params is None else pack_value(params),
        "retry": 0,
        "retries": 0,
        "run_limit_ms": 0,
        "confirm": False,
        "key": run,
        "made": 1_800_000_000_000 + number,
    }
    return base | changes  # type: ignore[return-value]


def sleep(ms: int, **changes: Any) -> Assignment:
    return assignment("sleep", {"ms": ms}, **changes)


def assign(*assignments: Assignment) -> Frame:
    return {"type": "assign", "runs": list(assignments)}


def verdict(of: Any, word: VerdictWord, *runs: RunKey) -> Frame:
    answers: list[Any] = [{"run": one["run"], "attempt": one["attempt"], "verdict": word} for one in runs]
    return {"type": "verdict", "of": of, "runs": answers}


def cancel(*assignments: Assignment, reason: str = "canceled", grace_ms: int = 10_000) -> Frame:
    runs: list[Cancellation] = [
        {"run": one["run"], "attempt": one["attempt"], "reason": reason, "grace_ms": grace_ms} for one in assignments
    ]
    return {"type": "cancel", "runs": runs}


def key(item: RunKey) -> tuple[str, int]:
    return item["run"], item["attempt"]


def named(item: RunKey) -> str:
    return f"{item['run']}@{item['attempt']}"
