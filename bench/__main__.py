"""Asks all questions, or those named, and writes bench/results/latest.json and the tables of the documents.

Every figure is the median of at least three rounds with its range. Contenders take turns: a round asks each of them
once, and every round begins with another one, so that a slow phase of the machine slows all of them. Each has a fresh
engine and fresh processes. A contender that cannot be installed, or fails, is noted in the file and left out of the
other rounds.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import answers, goals, machine, plot, table
from bench.figures import Figures, Scale
from bench.question import Failed, Measures, Question
from examples.demo.processes import NotReady

QUESTIONS = (
    *("drain", "latency", "second", "lateness", "burst", "cost", "payload", "memory"),
    *("growth", "cluster", "fairness", "storm", "idle", "live", "edit", "logs"),
)
ROUNDS = 3


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(QUESTIONS)}; all unless named")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="fewer than 3 write to build/, too")
    parser.add_argument("--small", action="store_true", help="just see that it works; writes to build/")
    parser.add_argument("--contenders", help="only those whose names begin with one of these, by commas")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.only) - set(QUESTIONS)):
        parser.error(f"there is no bench/{unknown[0]}.py; choose of {', '.join(QUESTIONS)}")
    console = Console()
    trial = asked.small or asked.contenders or asked.rounds < ROUNDS
    path = answers.TRIAL if trial else answers.RESULTS
    broken: list[str] = []
    for name in asked.only or QUESTIONS:
        question = cast(Question, importlib.import_module(f"bench.{name}"))
        contenders = question.contenders(Scale(asked.small))
        if asked.contenders:
            begins = tuple(asked.contenders.split(","))
            contenders = {key: measure for key, measure in contenders.items() if key.startswith(begins)}
        if not contenders:
            continue
        load = machine.load()
        rounds = min(asked.rounds, getattr(question, "ROUNDS", asked.rounds))
        figures, failed, paces = ask(console, name, question.QUESTION, contenders, rounds)
        answer = answers.result(question.QUESTION, figures, failed, load, paces)
        answers.keep(name, answer, QUESTIONS, path)
        _show(console, name, answer)
        broken += [f"{name}: {reason}" for contender, reason in failed.items() if contender.startswith(goals.OURS)]
    if path == answers.RESULTS:
        table.write()
        plot.main()
    console.print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    if broken:
        sys.exit("ours did not do its work: " + "; ".join(broken))


def ask(
    console: Console,
    name: str,
    question: str,
    contenders: Measures,
    count: int,
    pace: Callable[[], float] = machine.calibration_ms,
) -> tuple[dict[str, list[Figures]], dict[str, str], list[float]]:
    """What each contender measured in each round, why some did not, and the machine's pace before each round."""
    figures: dict[str, list[Figures]] = {contender: [] for contender in contenders}
    failed: dict[str, str] = {}
    paces: list[float] = []
    began = time.monotonic()
    for number in range(count):
        paces.append(pace())
        for contender in _turns(list(contenders), number):
            if contender in failed:
                continue
            started = time.monotonic()
            with console.status(f"{name} {number + 1}/{count}, {contender}: {question}"):
                try:
                    figures[contender].append(contenders[contender]())
                except (Failed, NotReady) as error:
                    failed[contender] = str(error)
                    figures[contender].clear()
            line = failed.get(contender) or _line(figures[contender][-1])
            seconds = time.monotonic() - started
            console.print(
                f"{name} {number + 1}/{count} {contender} ({seconds:.0f} s): {line}", highlight=False, markup=False
            )
    shown_paces = ", ".join(f"{pace:.0f}" for pace in paces)
    console.print(
        f"{name} took {time.monotonic() - began:.0f} s; the pace before each round: {shown_paces} ms", highlight=False
    )
    return figures, failed, paces


def _turns(contenders: list[str], number: int) -> list[str]:
    """Everybody once, another first in every round."""
    at = number % len(contenders)
    return contenders[at:] + contenders[:at]


def _line(figures: Figures) -> str:
    return ", ".join(f"{key} {value}" for key, value in figures.items())


def _show(console: Console, name: str, answer: dict[str, Any]) -> None:
    """Ours against what it should be; the peers were told line by line, and are in the file."""
    shown = Table(title=f"{name}: {answer['question']}", title_justify="left")
    for heading in ("contender", "figure", "median", "range", "goal"):
        shown.add_column(heading)
    for contender, figures in answer["contenders"].items():
        for figure, spread in figures.items() if contender.startswith(goals.OURS) else ():
            median, span = f"{spread['median']:g}", f"{spread['lowest']:g} to {spread['highest']:g}"
            shown.add_row(contender, figure, median, span, _goal(name, contender, figure, spread["median"]))
    for contender, reason in answer["failed"].items():
        shown.add_row(contender, "[red]failed[/]", escape(f" {reason}".splitlines()[-1]), "", "")
    console.print(shown)


def _goal(name: str, contender: str, figure: str, value: float) -> str:
    limit = goals.bound(name, contender, figure)
    if limit is None:
        return ""
    return f"{limit} {'[green]✓[/]' if limit.holds(value) else '[yellow]missed[/]'}"


if __name__ == "__main__":
    main()
