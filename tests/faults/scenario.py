"""Rows of the fault matrix: how one is registered, measured against its targets, and told.

    @row(1, "kill -9 workers", targets={"lost": "== 0", "redelivery_p99_s": "<= 17"})
    async def kill_workers(rig: Rig, scale: Scale) -> Figures: ...

A target is a comparison with a number; every target needs its figure. A row holds when all its targets do and the
history checker found no violation.
"""

import operator
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.faults.rig import Rig
from tests.tools.history import Verdict

T = TypeVar("T")
Figures = dict[str, Any]
Scenario = Callable[[Rig, "Scale"], Awaitable[Figures]]

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<=": operator.le,
    ">=": operator.ge,
}


class Skipped(Exception):
    """This machine cannot run the row; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a run, and the seed that replays it."""

    seed: int
    short: bool = False

    def of(self, full: T, short: T) -> T:
        """The number for this scale."""
        return short if self.short else full

    def random(self, salt: str = "") -> random.Random:
        """Random numbers that come again with the seed."""
        return random.Random(f"{self.seed}/{salt}")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the matrix. Several may share a number; their names differ.

    short: whether it belongs to the subset for CI.
    """

    number: int
    name: str
    targets: Mapping[str, str]
    run: Scenario
    short: bool
    rig: Mapping[str, Any]


@dataclass(slots=True)
class Outcome:
    """What a row showed."""

    row: Row
    seed: int
    seconds: float
    figures: Figures = field(default_factory=dict)
    verdict: Verdict | None = None
    error: str = ""
    skipped: str = ""

    @property
    def missed(self) -> list[str]:
        """Targets that do not hold."""
        return [
            f"{name} {target}, it is {self.figures.get(name)}"
            for name, target in self.row.targets.items()
            if not meets(self.figures.get(name), target)
        ]

    @property
    def held(self) -> bool:
        done = not self.error and not self.skipped and self.verdict is not None
        return done and not self.missed and not (self.verdict and self.verdict.violations)

    def as_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "row": self.row.number,
            "name": self.row.name,
            "figures": self.figures,
            "target": dict(self.row.targets),
            "held": self.held,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
        }
        if self.verdict is not None:
            document["violations"] = [str(violation) for violation in self.verdict.violations[:20]]
        if self.error:
            document["error"] = self.error
        if self.skipped:
            document["skipped"] = self.skipped
        return document


def meets(figure: Any, target: str) -> bool:
    """Whether a figure is what a target such as ``<= 17`` asks for; a missing one is not."""
    sign, _, number = target.partition(" ")
    return figure is not None and COMPARISONS[sign](float(figure), float(number))


ROWS: list[Row] = []


def row(
    number: int, name: str, *, targets: Mapping[str, str], short: bool = True, **rig: Any
) -> Callable[[Scenario], Scenario]:
    """Register a scenario. ``rig``: arguments of the Rig it is given (fsync, ...)."""

    def register(scenario: Scenario) -> Scenario:
        ROWS.append(Row(number, name, targets, scenario, short, rig))
        return scenario

    return register
