"""What the demo found out: as a table for people, as build/demo.json for programs, and whether all of it held."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.demo.evidence import Fires, percentile

RESULT = Path("build/demo.json")


@dataclass(slots=True)
class Facts:
    """Everything that was observed."""

    fires: int = 0
    fires_missing: int = 0
    fires_double: int = 0
    fires_astray: int = 0
    lateness_ms: dict[str, float] = field(default_factory=dict)
    hash_seconds: dict[str, float] = field(default_factory=dict)
    ran_on: list[str] = field(default_factory=list)
    files: int = 0
    digests_equal: bool = False
    tasks: int = 0
    tasks_lost: int = 0
    gray_tasks: set[str] = field(default_factory=set)
    label_leaks: int = 0
    interrupted: set[int] = field(default_factory=set)
    rerun: set[int] = field(default_factory=set)
    redelivery_s: float | None = None
    killed: list[str] = field(default_factory=list)

    def take_fires(self, fires: Fires) -> None:
        """What the journals say about every second."""
        self.fires = fires.slots
        self.fires_missing = len(fires.missing)
        self.fires_double = len(fires.double)
        self.fires_astray = len(fires.astray)
        self.lateness_ms = {
            "p50": percentile(fires.lateness_ms, 0.50),
            "p99": percentile(fires.lateness_ms, 0.99),
        }

    def held(self) -> dict[str, tuple[str, bool]]:
        """Each promise: what was seen, and whether it held."""
        again = "never" if self.redelivery_s is None else f"after {self.redelivery_s} s"
        late = self.lateness_ms
        return {
            "every second fired once": (
                f"{self.fires} fires, {self.fires_missing} missing, {self.fires_double} double",
                self.fires > 0 and not self.fires_missing and not self.fires_double,
            ),
            "the ledger says the same": (f"{self.fires_astray} slots differ", self.fires_astray == 0),
            "lateness, faults included": (f"p50 {late.get('p50')} ms, p99 {late.get('p99')} ms", bool(late)),
            "all shards hashed right": (
                f"{self.files} files, 1 task {self.hash_seconds.get('1')} s, 4 shards {self.hash_seconds.get('4')} s",
                self.digests_equal and self.files > 0,
            ),
            "nothing accepted was lost": (f"{self.tasks} tasks, {self.tasks_lost} lost", self.tasks_lost == 0),
            "gray work on gray workers only": (f"{self.label_leaks} leaks", self.label_leaks == 0),
            "the killed worker's shard ran elsewhere": (again, self.redelivery_s is not None),
            "and no other shard ran twice": (
                f"interrupted {sorted(self.interrupted)}, run again {sorted(self.rerun)}",
                self.rerun == self.interrupted,
            ),
            "killed": (", ".join(self.killed), self.killed == ["gateway", "trigger", "worker"]),
        }

    def as_json(self) -> dict[str, Any]:
        """The document that programs read."""
        return {
            "ok": all(ok for _seen, ok in self.held().values()),
            "fires": self.fires,
            "fires_missing": self.fires_missing,
            "fires_double": self.fires_double,
            "lateness_ms": self.lateness_ms,
            "hash_seconds": self.hash_seconds,
            "files": self.files,
            "digests_equal": self.digests_equal,
            "tasks_lost": self.tasks_lost,
            "label_leaks": self.label_leaks,
            "redelivery_s": self.redelivery_s,
            "killed": self.killed,
        }


def show(console: Console, facts: Facts, seconds: float) -> None:
    """Print the table."""
    table = Table(title=f"gojob-redis: the demo took {seconds:.0f} s", title_justify="left")
    for heading in ("promise", "seen", ""):
        table.add_column(heading)
    for promise, (seen, ok) in facts.held().items():
        table.add_row(promise, seen, "[green]✓[/]" if ok else "[red]✗ BROKEN[/]")
    console.print(table)


def write(facts: Facts) -> bool:
    """Write build/demo.json; returns whether everything held."""
    document = facts.as_json()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return bool(document["ok"])
