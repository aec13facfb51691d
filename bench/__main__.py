"""Asks all questions, or those named, and writes bench/results/latest.json.

Every figure is the median of at least three rounds with its range; each round has a fresh engine and fresh processes.
"""

import argparse
import importlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Protocol, cast

from rich.console import Console
from rich.table import Table

from bench import machine

RESULTS = Path(__file__).parent / "results" / "latest.json"
QUESTIONS = ("lateness", "latency", "drain", "memory", "idle")
ROUNDS = 3

Figures = dict[str, float]


class Question(Protocol):
    """What a module of this directory holds."""

    QUESTION: str
    GOALS: dict[str, float]
    """The most a figure should be, or, with a minus sign, the least."""

    def measure(self) -> Figures:
        """One round."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(QUESTIONS)}; all unless named")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    if unknown := sorted(set(asked.only) - set(QUESTIONS)):
        parser.error(f"there is no bench/{unknown[0]}.py; choose of {', '.join(QUESTIONS)}")
    console = Console()
    for name in asked.only or QUESTIONS:
        question = cast(Question, importlib.import_module(f"bench.{name}"))
        load = machine.load()
        rounds = _rounds(console, name, question, asked.rounds)
        _keep(name, _result(question, rounds) | {"load_before": load})
        _show(console, name, question, rounds)
    console.print(f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


def _rounds(console: Console, name: str, question: Question, count: int) -> list[Figures]:
    found: list[Figures] = []
    for number in range(1, count + 1):
        with console.status(f"{name}, round {number} of {count}: {question.QUESTION}"):
            began = time.monotonic()
            found.append(question.measure())
        figures = ", ".join(f"{key} {value:g}" for key, value in found[-1].items())
        console.print(f"{name} {number}/{count} ({time.monotonic() - began:.0f} s): {figures}", highlight=False)
    return found


def _result(question: Question, rounds: list[Figures]) -> dict[str, Any]:
    return {
        "question": question.QUESTION,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "rounds": len(rounds),
        "figures": {name: _spread([each[name] for each in rounds]) for name in rounds[0]},
        "goals": question.GOALS,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


def _keep(name: str, result: dict[str, Any]) -> None:
    """Put one result into the file; the others stay, each with its own commit."""
    held = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    results = held.get("results", {}) | {name: result}
    document = {"machine": machine.describe(), "results": {key: results[key] for key in QUESTIONS if key in results}}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _show(console: Console, name: str, question: Question, rounds: list[Figures]) -> None:
    table = Table(title=f"{name}: {question.QUESTION}", title_justify="left")
    for heading in ("figure", "median", "range", "goal"):
        table.add_column(heading)
    for key in rounds[0]:
        spread = _spread([each[key] for each in rounds])
        goal = question.GOALS.get(key)
        table.add_row(
            key,
            f"{spread['median']:g}",
            f"{spread['lowest']:g} to {spread['highest']:g}",
            _goal(goal, spread["median"]),
        )
    console.print(table)


def _goal(goal: float | None, value: float) -> str:
    if goal is None:
        return ""
    reached = value <= goal if goal >= 0 else value >= -goal
    return f"{'≤' if goal >= 0 else '≥'} {abs(goal):g} {'[green]✓[/]' if reached else '[yellow]missed[/]'}"


if __name__ == "__main__":
    main()
