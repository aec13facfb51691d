"""``python -m tests.attacks [--only C1,H2] [--short]``: attack a real system, and judge what came of it.

Writes build/attack.json and prints a table; exit code 1 when a bound did not hold. ``--short``: the cheap half, for CI.
``--only H2`` also takes ``H2-memory``.
"""

import argparse
import asyncio
import importlib
import json
import pkgutil
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.attacks import walls
from tests.attacks.attack import ATTACKS, Attack, Outcome
from tests.faults.rig import Rig
from tests.faults.scenario import Skipped

RESULT: Final = Path("build/attack.json")
LONGEST_S: Final = 60.0
"""An attack that takes longer is stopped, and its bound counts as broken."""


def main() -> None:
    """Run the attacks that were asked for."""
    parser = argparse.ArgumentParser(prog="make attack")
    parser.add_argument("--only", default="", help="ids of attacks, by commas")
    parser.add_argument("--short", action="store_true", help="the cheap half, for CI")
    asked = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    outcomes: list[Outcome] = []
    for chosen in _chosen(asked.only, short=asked.short):
        outcome = _run(console, chosen)
        outcomes.append(outcome)
        _tell(console, outcome)
        _write(outcomes)
    if not outcomes:
        console.print("There is no such attack.")
    console.print(_table(outcomes))
    sys.exit(0 if outcomes and all(outcome.held or outcome.skipped for outcome in outcomes) else 1)


def _chosen(only: str, *, short: bool) -> list[Attack]:
    for module in pkgutil.iter_modules(walls.__path__):
        importlib.import_module(f"{walls.__name__}.{module.name}")
    asked = [word.strip() for word in only.split(",") if word.strip()]
    if asked:
        return [each for each in ATTACKS if any(each.id == word or each.id.startswith(f"{word}-") for word in asked)]
    return [each for each in ATTACKS if each.short or not short]


def _run(console: Console, chosen: Attack) -> Outcome:
    """One attack, on a system of its own."""
    directory = Path(tempfile.mkdtemp(prefix=f"gojob-attack-{chosen.id}-"))
    outcome = Outcome(chosen)
    began = time.monotonic()
    try:
        outcome.figure = asyncio.run(_strike(directory, chosen))
    except Skipped as why:
        outcome.skipped = str(why)
    except Exception as error:  # noqa: BLE001  whatever it is, the next attack has to run
        outcome.error = f"{type(error).__name__}: {error}"
        console.print(traceback.format_exc(), markup=False)
    outcome.seconds = time.monotonic() - began
    if outcome.held or outcome.skipped:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        console.print(f"  logs are kept in {directory}")
    return outcome


async def _strike(directory: Path, chosen: Attack) -> float:
    with Rig(directory, **chosen.rig) as rig:
        async with asyncio.timeout(LONGEST_S):
            return await chosen.strike(rig)


def _tell(console: Console, outcome: Outcome) -> None:
    mark = "[green]✓[/]" if outcome.held else "[yellow]SKIPPED[/]" if outcome.skipped else "[red]✗[/]"
    attack = outcome.attack
    console.print(f"{mark} {attack.id} {attack.what}: {outcome.figure} ({attack.bound}), {outcome.seconds:.0f} s")
    if outcome.skipped:
        console.print(f"  NOT TESTED: {outcome.skipped}", markup=False)
    if outcome.error:
        console.print(f"  {outcome.error}", markup=False)


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="gojob-redis: the attacks", title_justify="left")
    for heading in ("id", "attack", "figure", "bound", "s", ""):
        table.add_column(heading)
    for outcome in outcomes:
        attack = outcome.attack
        mark = "[green]✓[/]" if outcome.held else "[yellow]skipped[/]" if outcome.skipped else "[red]✗ BROKEN[/]"
        seen = outcome.skipped or outcome.error or str(outcome.figure)
        table.add_row(attack.id, attack.what, seen, attack.bound, f"{outcome.seconds:.0f}", mark)
    return table


def _write(outcomes: Sequence[Outcome]) -> None:
    """Write build/attack.json."""
    RESULT.parent.mkdir(exist_ok=True)
    document = {"attacks": [outcome.as_json() for outcome in outcomes]}
    RESULT.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
