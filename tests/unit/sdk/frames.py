"""Frames as a gateway would send them."""

from typing import Any

from gojob_sdk.protocol import Assign, Assignment, Outcome, Verdict, VerdictWord, Welcome

FENCE = "17-ab"


def assignment(run: str, **about: Any) -> Assignment:
    made: Any = {
        "run": run,
        "task": run,
        "shard": 0,
        "shards": 1,
        "attempt": 1,
        "fence": FENCE,
        "handler": "send",
        "param": b"",
        "retry": 0,
        "retries": 0,
        "run_limit_ms": 0,
        "confirm": False,
        "key": run,
        "made": 1_000,
        **about,
    }
    return made  # type: ignore[no-any-return]


def assign(*runs: str, **about: Any) -> Assign:
    return {"type": "assign", "runs": [assignment(run, **about) for run in runs]}


def welcome(*, session: str = "s1", resumed: bool = False, **about: Any) -> Welcome:
    frame: Any = {
        "type": "welcome",
        "session": session,
        "conn": 1,
        "gateway": "g1",
        "resumed": resumed,
        "heartbeat_ms": 5_000,
        "lease_ms": 15_000,
        "protocol": 2,
        **about,
    }
    return frame  # type: ignore[no-any-return]


def verdict(of: Any, word: VerdictWord, *runs: str) -> Verdict:
    return {"type": "verdict", "of": of, "runs": [{"run": run, "attempt": 1, "verdict": word} for run in runs]}


def outcome(run: str, **about: Any) -> Outcome:
    made: Any = {
        "run": run,
        "attempt": 1,
        "fence": FENCE,
        "outcome": "ok",
        "started_ms": 1_000,
        "ended_ms": 1_001,
        **about,
    }
    return made  # type: ignore[no-any-return]
