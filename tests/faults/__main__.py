"""``python -m tests.faults [--only 1,8] [--short] [--seed N]``: break the system on purpose, and judge what is left.

Writes build/faults.json and prints a table; exit code 1 when a row did not hold. ``--short``: smaller numbers, and only
the rows that belong to CI. A row that did not hold keeps its directory (logs, journals).
"""

import argparse
import asyncio
import importlib
import json
import pkgutil
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from tests.faults import rows
from tests.faults.rig import Rig
from tests.faults.scenario import ROWS, Outcome, Row, Scale, Skipped
from tests.tools import history

RESULT = Path("build/faults.json")
SHOWN = 5


def main() -> None:
    """Run the rows that were asked for."""
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--only", default="", help="numbers of rows, by commas")
    parser.add_argument("--short", action="store_true", help="smaller numbers, and the subset for CI")
    parser.add_argument("--keep", action="store_true", help="keep the directories of rows that held, too")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="replays a campaign")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(soft_wrap=True, highlight=False)
    outcomes = []
    for chosen in _chosen(asked.only, short=asked.short):
        outcome = _run(console, chosen, Scale(asked.seed, asked.short), keep=asked.keep)
        outcomes.append(outcome)
        _tell(console, outcome)
        _write(outcomes)
    _table(console, outcomes)
    sys.exit(0 if all(outcome.held or outcome.skipped for outcome in outcomes) else 1)


def _chosen(only: str, *, short: bool) -> list[Row]:
    for module in pkgutil.iter_modules(rows.__path__):
        importlib.import_module(f"{rows.__name__}.{module.name}")
    numbers = {int(number) for number in only.split(",") if number.strip()}
    chosen = [each for each in ROWS if (each.number in numbers if numbers else each.short or not short)]
    return sorted(chosen, key=lambda each: each.number)


def _run(console: Console, chosen: Row, scale: Scale, *, keep: bool) -> Outcome:
    """One row, on a system of its own."""
    console.print(f"[b]row {chosen.number}[/] {chosen.name} (seed {scale.seed}{', short' if scale.short else ''}) …")
    directory = Path(tempfile.mkdtemp(prefix=f"gojob-faults-{chosen.number}-"))
    outcome = Outcome(chosen, scale.seed, 0.0)
    began = time.monotonic()
    try:
        asyncio.run(_play(directory, scale, outcome))
    except Skipped as why:
        outcome.skipped = str(why)
    except Exception as error:  # noqa: BLE001  whatever it is, the next row has to run
        outcome.error = f"{type(error).__name__}: {error}"
        console.print(traceback.format_exc(), markup=False)
    outcome.seconds = time.monotonic() - began
    if (outcome.held or outcome.skipped) and not keep:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        console.print(f"  logs and journals are kept in {directory}")
    return outcome


async def _play(directory: Path, scale: Scale, outcome: Outcome) -> None:
    chosen = outcome.row
    with Rig(directory, seed=scale.seed, **chosen.rig) as rig:
        outcome.figures = await chosen.run(rig, scale)
        outcome.verdict = history.check(await asyncio.to_thread(rig.collect))
        outcome.figures |= {
            name: count for name, count in outcome.verdict.counts.items() if name not in outcome.figures
        }
        outcome.figures["violations"] = len(outcome.verdict.violations)


def _tell(console: Console, outcome: Outcome) -> None:
    """One row, with whatever does not hold."""
    mark = "[green]✓[/]" if outcome.held else "[yellow]SKIPPED[/]" if outcome.skipped else "[red]✗[/]"
    console.print(f"{mark} row {outcome.row.number} {outcome.row.name}: {outcome.seconds:.0f} s {outcome.figures}")
    for text in [*outcome.missed, outcome.error]:
        if text and not outcome.skipped:
            console.print(f"  missed: {text}", markup=False)
    if outcome.skipped:
        console.print(f"  NOT TESTED: {outcome.skipped}", markup=False)
    for violation in outcome.verdict.violations[:SHOWN] if outcome.verdict else ():
        console.print(f"  {violation}", markup=False)


def _table(console: Console, outcomes: Sequence[Outcome]) -> None:
    table = Table(title="gojob-redis: the fault campaign", title_justify="left")
    for heading in ("row", "fault", "figures against their targets", "violations", "s", ""):
        table.add_column(heading)
    for outcome in outcomes:
        figures = ", ".join(
            f"{name} {outcome.figures.get(name)} ({bound})" for name, bound in outcome.row.targets.items()
        )
        count = len(outcome.verdict.violations) if outcome.verdict else "?"
        mark = "[green]✓[/]" if outcome.held else "[yellow]skipped[/]" if outcome.skipped else "[red]✗ BROKEN[/]"
        table.add_row(
            str(outcome.row.number),
            outcome.row.name,
            outcome.skipped or outcome.error or figures,
            str(count),
            f"{outcome.seconds:.0f}",
            mark,
        )
    console.print(table)


def _write(outcomes: Sequence[Outcome]) -> None:
    """Write build/faults.json."""
    broken: Counter[str] = Counter()
    for outcome in outcomes:
        broken.update(outcome.verdict.broken if outcome.verdict else {})
    document = {
        "rows": [outcome.as_json() for outcome in outcomes],
        "invariants": {rule: f"{broken[rule]} violations" if broken[rule] else "held" for rule in history.RULES},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
