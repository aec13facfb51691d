"""Delete the guards of the Lua scripts one at a time, and count which deletions the script tests notice.

1. A mutant is a copy of ``gojob_redis/lua`` with one change: a condition of an ``if`` or ``elseif`` that is always true
   or always false, one operand of an ``and`` or ``or`` left out, or one statement line deleted.
2. One run without a mutant tells which test executes which line (``tests.lua_coverage``). Each mutant that still
   compiles then runs the tests that come by its lines, on fakeredis, until the first failure, in a process of its own
   that is forked from one that has everything imported; one that does not end in time counts as caught.
3. What survives is printed. ``EQUIVALENT`` holds the ones that change nothing anybody could see, each with its reason;
   an entry that matches no mutant is an error, so the list cannot grow old.

``python -m tests.mutants [--only TEXT] [--jobs N] [--list]``; exits 1 below the goal of 95 %.
"""

import argparse
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import lupa.lua51
import pytest

from gojob_redis import scripts
from gojob_redis.scripts import LUA
from tests import lua_coverage

GOAL = 0.95
TIMEOUT_S = 40.0
ROOT = Path(__file__).parents[1]

UNSHOWN = "match takes a lane out again, in the same call, that this crew does not serve or that is paused"
EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "enlist.lua",
        "if not is_known(crew, app, handlers, labels) and not begin_crew(crew, app, handlers, labels) "
        "→ without 'not is_known(crew, app, handlers, labels) and'",
    ): "a crew that is known is begun anew with the same outcome; only the cost differs",
    ("enlist.lua", "if listed → true"): "what was written a few lines above can be read",
    ("enlist.lua", "if lane and lane.labels == labels → without 'and lane.labels == labels'"): UNSHOWN,
    ("enlist.lua", "if head and not lane.blocked → without 'and not lane.blocked'"): UNSHOWN,
}
"""(file, what was changed) → why nobody could tell."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: the text between two offsets, and what stands there instead."""

    file: str
    line: int
    change: str
    first: int
    last: int
    instead: str
    lines: range
    """The lines a test has to come by to notice anything."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.change}"

    def apply(self, source: str) -> str:
        """The file with this change."""
        return source[: self.first] + self.instead + source[self.last :]


_CONDITION = re.compile(r"\b(?:if|elseif)\b(.*?)\bthen\b", re.DOTALL)
_STATEMENT = re.compile(r"^[ \t]*([\w.]+\(.*\))[ \t]*$", re.MULTILINE)


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Every change of one file, in its order."""
    text = _without_comments(source)
    for match in _CONDITION.finditer(text):
        first, last = match.span(1)
        condition = " ".join(match[1].split())
        lines = range(_line(text, first), _line(text, last) + 1)
        for word in ("true", "false"):
            change = f"if {condition} → {word}"
            yield Mutant(file, lines[0], change, first, last, f" {word} ", lines)
        for start, end in _operands(text, first, last):
            change = f"if {condition} → without {' '.join(text[start:end].split())!r}"
            yield Mutant(file, lines[0], change, start, end, "", lines)
    for match in _STATEMENT.finditer(text):
        if match[1].count("(") == match[1].count(")"):
            line = _line(text, match.start(1))
            yield Mutant(file, line, f"delete {match[1]}", *match.span(1), "", range(line, line + 1))


def _without_comments(source: str) -> str:
    """The same text with blanks where its comments were, so that offsets stay."""
    return re.sub(r"--[^\n]*", lambda found: " " * len(found[0]), source)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _operands(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The spans of a condition's operands on its outermost level, each with the connective beside it."""
    cuts, depth = [], 0
    for match in re.finditer(r"[()]|\b(?:and|or)\b", text[first:last]):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0 and match[0] in ("and", "or"):
            cuts.append((first + match.start(), first + match.end()))
    if cuts:
        yield first, cuts[0][1]
    for i, (start, _) in enumerate(cuts):
        yield start, cuts[i + 1][0] if i + 1 < len(cuts) else last


def all_mutants() -> list[Mutant]:
    """Every mutant of every file, whether it compiles or not."""
    files = sorted(LUA.rglob("*.lua"))
    return [
        mutant
        for path in files
        for mutant in mutants_of(path.relative_to(LUA).as_posix(), path.read_text("utf-8"))
    ]  # fmt: skip


def copied(mutant: Mutant, directory: Path) -> Path:
    """A copy of the Lua files with this change."""
    copy = directory / "lua"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(LUA, copy)
    source = (LUA / mutant.file).read_text("utf-8")
    (copy / mutant.file).write_text(mutant.apply(source), "utf-8")
    return copy


def compiles(root: Path) -> bool:
    """Whether every verb of this copy is still Lua."""
    lua = lupa.lua51.LuaRuntime()
    check = lua.eval("function(text) return loadstring(text) ~= nil end")
    return all(check(scripts.load(path, root).body) for path in root.glob("*.lua"))


PYTEST = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
Coverage = Mapping[str, Sequence[str]]
"""``file:line`` → the tests that execute it."""


def _child(lua: Path, tests: Sequence[str], coverage: Path | None) -> None:
    """Run tests on this copy, silent; the exit code is pytest's."""
    os.environ["GOJOB_TEST_LUA"] = str(lua)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(ROOT)
    os._exit(pytest.main([*PYTEST, *tests], plugins=[lua_coverage.Collector(coverage)] if coverage else []))


def started(lua: Path, tests: Sequence[str], coverage: Path | None = None) -> BaseProcess:
    """Tests on this copy, in a forked process."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(lua, tests, coverage))
    process.start()
    return process


def covered(directory: Path) -> Coverage | None:
    """Which test executes which line; None when the tests are not green without any mutant."""
    found = directory / "coverage.json"
    process = started(LUA, ["-k", "fakeredis", "tests/lua"], found)
    process.join()
    coverage: Coverage = json.loads(found.read_text()) if process.exitcode == 0 else {}
    return coverage or None


@dataclass(slots=True)
class Slot:
    """One place to run a mutant in: its directory, and what runs there."""

    directory: Path
    mutant: Mutant | None = None
    process: BaseProcess | None = None
    ends: float = 0.0

    def start(self, mutant: Mutant, tests: Sequence[str]) -> None:
        """Begin a mutant that was copied here."""
        self.mutant, self.ends = mutant, time.monotonic() + TIMEOUT_S
        self.process = started(self.directory / "lua", tests)

    def finished(self) -> tuple[Mutant, bool] | None:
        """The mutant that ended here and whether it survived; None while it runs."""
        assert self.mutant is not None
        assert self.process is not None
        if self.process.is_alive() and time.monotonic() < self.ends:
            return None
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        ended = self.mutant, self.process.exitcode == 0
        assert self.process.exitcode in (0, 1, -9), f"{self.mutant}: pytest itself failed with {self.process.exitcode}"
        self.mutant, self.process = None, None
        return ended


def run(mutants: Sequence[Mutant], coverage: Coverage, slots: Sequence[Slot]) -> Iterator[tuple[Mutant, bool]]:
    """Run mutants side by side; yields each with whether it survived. Those that do not compile are left out."""
    for mutant in mutants:
        tests = sorted({test for line in mutant.lines for test in coverage.get(f"{mutant.file}:{line}", ())})
        slot = next((slot for slot in slots if slot.process is None), None)
        while slot is None:
            yield from _ended(slots)
            slot = next((slot for slot in slots if slot.process is None), None)
        if not compiles(copied(mutant, slot.directory)):
            continue
        if tests:
            slot.start(mutant, tests)
        else:
            yield mutant, True
    while any(slot.process for slot in slots):
        yield from _ended(slots)


def stop(slots: Sequence[Slot]) -> None:
    """End what still runs; a mutant may be in a loop without end."""
    for process in filter(None, (slot.process for slot in slots)):
        process.kill()
        process.join()


def _ended(slots: Sequence[Slot]) -> Iterator[tuple[Mutant, bool]]:
    """Wait for the first of the running ones."""
    running = [slot for slot in slots if slot.process]
    wait([slot.process.sentinel for slot in running if slot.process], timeout=1.0)
    for slot in running:
        if ended := slot.finished():
            yield ended


def stale_equivalents(mutants: Sequence[Mutant]) -> list[str]:
    """Entries of ``EQUIVALENT`` that name no mutant."""
    known = {(mutant.file, mutant.change) for mutant in mutants}
    return [f"{file}: {change}" for file, change in EQUIVALENT if (file, change) not in known]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the survivors and the share that was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="mutants whose line matches this expression")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the mutants instead of running them")
    options = parser.parse_args(arguments)
    everything = all_mutants()
    if stale := stale_equivalents(everything):
        print("EQUIVALENT names mutants that do not exist:", *stale, sep="\n  ")
        return 1
    wanted = [
        mutant
        for mutant in everything
        if re.search(options.only, str(mutant)) and (mutant.file, mutant.change) not in EQUIVALENT
    ]
    if options.list:
        print(*wanted, sep="\n")
        return 0
    began, ran, survivors = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory(prefix="gojob-mutants-") as directory:
        coverage = covered(Path(directory))
        if coverage is None:
            print("tests/lua fails without any mutant: run pytest tests/lua -k fakeredis")
            return 1
        slots = [Slot(Path(directory, str(number))) for number in range(options.jobs)]
        try:
            for mutant, survived in run(wanted, coverage, slots):
                ran += 1
                if survived:
                    survivors.append(mutant)
                    print(f"survived  {mutant}", flush=True)
        finally:
            stop(slots)
    caught = (ran - len(survivors)) / ran if ran else 1.0
    print(
        f"{ran} mutants, {ran - len(survivors)} caught, {len(survivors)} survived: {caught:.1%} "
        f"in {time.monotonic() - began:.0f} s; {len(EQUIVALENT)} change nothing and were not run"
    )
    return 0 if caught >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
