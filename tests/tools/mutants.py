"""Delete the guards of the Lua scripts one at a time, and count which deletions the script tests notice.

1. A mutant is a copy of ``gojob_redis/lua`` with one change: a condition of an ``if`` or ``elseif`` that is always true
   or always false, one operand of an ``and`` or ``or`` left out, or one statement line deleted.
2. pytest collects ``tests/lua`` on fakeredis once. Everything else happens in forks of that process, so nothing is
   imported or collected again.
3. Forks without a mutant tell which test executes which line (``tests.tools.lua_coverage``). Each mutant that still
   compiles then runs the tests that come by its lines, until the first failure: first those that caught a mutant
   nearby, then those that come by the fewest lines. A test that takes 10 s of CPU counts as failed; a clock on the
   wall would call a mutant caught because the machine is busy.
4. What survives is printed. A whole run keeps its score and its survivors in ``build/mutants.json`` after every mutant,
   so that an interrupted one is not lost. A mutant that changes nothing anybody could see is not run: a mark beside its
   line says so, with the reason (``tests.tools.marks``). A mark that matches no mutant is an error.

``python -m tests.tools.mutants [--only TEXT] [--survivors | --marked] [--tests PATH …] [--jobs N] [--list]``; exits 1
below the goal of 95 %.
"""

import argparse
import gc
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import lupa.lua51
import pytest

from gojob_redis.engine import scripts
from gojob_redis.engine.scripts import LUA, Verb
from tests.tools import lua_coverage
from tests.tools.marks import all_marks

GOAL = 0.95
TEST_CPU_S = 10.0
WATCHED_CPU_S = 120.0
MUTANT_S = 600.0
ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "mutants.json"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: the text between two offsets, and what stands there instead."""

    file: str
    line: int
    change: str
    short: str
    """The change as a mark names it: ``true``, ``false``, ``without 1`` or ``deleted``."""
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
            yield Mutant(file, lines[0], change, word, first, last, f" {word} ", lines)
        for number, (start, end) in enumerate(_operands(text, first, last), 1):
            change = f"if {condition} → without {' '.join(text[start:end].split())!r}"
            yield Mutant(file, lines[0], change, f"without {number}", start, end, "", lines)
    for match in _STATEMENT.finditer(text):
        if match[1].count("(") == match[1].count(")"):
            line = _line(text, match.start(1))
            yield Mutant(file, line, f"delete {match[1]}", "deleted", *match.span(1), "", range(line, line + 1))


def _without_comments(source: str) -> str:
    """The same text with blanks where its comments were, so that offsets stay."""
    return re.sub(r"--[^\n]*", lambda match: " " * len(match[0]), source)


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


@cache
def sources() -> Mapping[str, str]:
    """The text of every file, read once: whoever edits one meanwhile changes no mutant."""
    return {path.relative_to(LUA).as_posix(): path.read_text("utf-8") for path in sorted(LUA.rglob("*.lua"))}


def all_mutants() -> list[Mutant]:
    """Every mutant of every file, whether it compiles or not."""
    return [mutant for file, source in sources().items() for mutant in mutants_of(file, source)]


PYTEST = [
    "-qqq", "-s", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning",
    "-k", "fakeredis",
]  # fmt: skip
BRIEF = ["--tb=native", "--assert=plain"]
"""Nobody reads why a test failed, and to say it takes longer than the test."""

# ---- running: forks of a pytest that has collected everything -----------------------------------------------------

Coverage = Mapping[str, Sequence[str]]
"""``file:line`` → the tests that execute it."""
SURVIVED, CAUGHT, NOT_LUA = 0, 1, 3
"""How a fork exits; one that was killed caught its mutant too."""
KILLED = (-signal.SIGPROF, -signal.SIGKILL)


class Hasty:
    """Ends a fork with the first failure, before anything is tidied up."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a test is over."""
        if report.failed:
            os._exit(CAUGHT)


class Mutated(dict[str, Verb]):
    """The verbs of a copy, each read when it is first called; those the change cannot reach are the real ones."""

    def __init__(self, root: Path, file: str) -> None:
        real = scripts.load_all()
        super().__init__({name: verb for name, verb in real.items() if all(line.file != file for line in verb.lines)})
        self.root = root
        self.compiles = lupa.lua51.LuaRuntime().eval("function(text) return loadstring(text) ~= nil end")

    def __missing__(self, name: str) -> Verb:
        """Read one; ends the process when it is no Lua."""
        verb = scripts.load(self.root / f"{name}.lua", self.root)
        if not self.compiles(verb.body):
            os._exit(NOT_LUA)
        return self.setdefault(name, verb)


def _run(items: Sequence[pytest.Item], failed: Path, cpu_s: float) -> bool:
    """Run tests until the first failure, whose name is written down; whether all passed, each with this much CPU."""
    for item, after in zip(items, [*items[1:], None], strict=True):
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        failed.write_text(item.nodeid)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if item.session.testsfailed:
            return False
    failed.unlink(missing_ok=True)
    return True


def mutated(items: Sequence[pytest.Item], file: str, root: Path, failed: Path) -> int:
    """Run tests on the copy at ``root``, in which this file was changed; how a fork exits."""
    gc.disable()
    verbs = Mutated(root, file)
    scripts.load_all = lambda root=LUA: verbs  # type: ignore[assignment]
    return SURVIVED if _run(items, failed, TEST_CPU_S) else CAUGHT


def _hastily(items: Sequence[pytest.Item], file: str, root: Path, failed: Path) -> int:
    items[0].config.pluginmanager.register(Hasty())
    return mutated(items, file, root, failed)


def _watched(session: pytest.Session, items: Sequence[pytest.Item], coverage: Path, failed: Path) -> int:
    collector = lua_coverage.Collector(coverage)
    session.config.pluginmanager.register(collector)
    green = _run(items, failed, WATCHED_CPU_S)
    collector.pytest_sessionfinish(session)
    return SURVIVED if green else CAUGHT


def _silently(act: Callable[..., int], *args: Any) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os._exit(act(*args))


def prepare_forks() -> None:
    """What every fork needs is made before the first one, and is not copied by its garbage collector."""
    scripts.load_all()
    gc.collect()
    gc.freeze()


def forked(act: Callable[..., int], *args: Any) -> BaseProcess:
    """A silent fork that exits with what ``act`` returns."""
    process = multiprocessing.get_context("fork").Process(target=_silently, args=(act, *args))
    process.start()
    return process


def covered(session: pytest.Session, directories: Sequence[Path]) -> Coverage:
    """Which test executes which line; raises SystemExit when the tests are not green without any mutant.

    directories: of forks that share the tests.
    """
    forks = []
    for i, directory in enumerate(directories):
        directory.mkdir()
        items = session.items[i :: len(directories)]
        forks.append(forked(_watched, session, items, directory / "coverage.json", directory / "failed"))
    for process in forks:
        process.join()
    coverage: defaultdict[str, list[str]] = defaultdict(list)
    for process, directory in zip(forks, directories, strict=True):
        if process.exitcode != SURVIVED:
            raise SystemExit(f"tests/lua fails without any mutant: {(directory / 'failed').read_text()}")
        for line, tests in json.loads((directory / "coverage.json").read_text()).items():
            coverage[line] += map(sys.intern, tests)
    return coverage


@dataclass(slots=True)
class Order:
    """Which tests a mutant runs, the likeliest to notice it first."""

    coverage: Coverage
    caught: defaultdict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    """File → the line of a mutant that was caught, and the test that did."""
    sizes: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = Counter(test for tests in self.coverage.values() for test in tests)

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that come by its lines."""
        near: dict[str, int] = {}
        for line, test in self.caught[mutant.file]:
            near[test] = min(near.get(test, line), abs(line - mutant.line))
        tests = {test for line in mutant.lines for test in self.coverage.get(f"{mutant.file}:{line}", ())}
        return sorted(tests, key=lambda test: (near.get(test, sys.maxsize), self.sizes[test], test))


@dataclass(slots=True)
class Slot:
    """One place to run a mutant in: its directory, and what runs there."""

    directory: Path
    mutant: Mutant | None = None
    process: BaseProcess | None = None
    ends: float = 0.0

    @property
    def root(self) -> Path:
        """The copy of the Lua files; between two mutants it is as they are."""
        return self.directory / "lua"

    def copy(self) -> None:
        """Make the copy."""
        for file, source in sources().items():
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            (self.root / file).write_text(source, "utf-8")

    @property
    def failed(self) -> Path:
        """Names the test that failed, or was running when the fork was killed."""
        return self.directory / "failed"

    def start(self, mutant: Mutant, items: Sequence[pytest.Item]) -> None:
        """Begin a mutant."""
        self.mutant, self.ends = mutant, time.monotonic() + MUTANT_S
        (self.root / mutant.file).write_text(mutant.apply(sources()[mutant.file]), "utf-8")
        self.process = forked(_hastily, items, mutant.file, self.root, self.failed)

    def finished(self) -> tuple[Mutant, int] | None:
        """The mutant that ended here and how; None while it runs."""
        assert self.mutant is not None
        assert self.process is not None
        if self.process.is_alive() and time.monotonic() < self.ends:
            return None
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        code = CAUGHT if self.process.exitcode in KILLED else self.process.exitcode
        assert code in (SURVIVED, CAUGHT, NOT_LUA), f"{self.mutant}: its fork ended with {code}"
        (self.root / self.mutant.file).write_text(sources()[self.mutant.file], "utf-8")
        ended = self.mutant, code
        self.mutant, self.process = None, None
        return ended


@dataclass(slots=True)
class Bench:
    """Runs mutants side by side."""

    items: Mapping[str, pytest.Item]
    order: Order
    slots: Sequence[Slot]

    def run(self, mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, bool]]:
        """Yields each with whether it survived. Those that do not compile are left out."""
        for mutant in mutants:
            while not (free := [slot for slot in self.slots if slot.process is None]):
                yield from self._ended()
            if tests := self.order.tests(mutant):
                free[0].start(mutant, [self.items[test] for test in tests])
            else:
                yield mutant, True
        while any(slot.process for slot in self.slots):
            yield from self._ended()

    def stop(self) -> None:
        """End what still runs; a mutant may be in a loop without end."""
        for process in filter(None, (slot.process for slot in self.slots)):
            process.kill()
            process.join()

    def _ended(self) -> Iterator[tuple[Mutant, bool]]:
        """Wait for the first of the running ones."""
        running = [slot for slot in self.slots if slot.process]
        wait([slot.process.sentinel for slot in running if slot.process], timeout=1.0)
        for slot in running:
            if ended := slot.finished():
                mutant, code = ended
                if code == CAUGHT:
                    self.order.caught[mutant.file].append((mutant.line, slot.failed.read_text()))
                if code != NOT_LUA:
                    yield mutant, code == SURVIVED


# ---- the score ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Score:
    """What a run found so far."""

    wanted: int
    equivalent: int
    began: float = field(default_factory=time.monotonic)
    ran: Counter[str] = field(default_factory=Counter)
    survivors: list[Mutant] = field(default_factory=list)

    def add(self, mutant: Mutant, survived: bool) -> None:
        """One more mutant ran."""
        self.ran[mutant.file] += 1
        if survived:
            self.survivors.append(mutant)

    @property
    def caught(self) -> float:
        """The share that was noticed."""
        ran = self.ran.total()
        return (ran - len(self.survivors)) / ran if ran else 1.0

    def is_good(self, marked: bool) -> bool:
        """Whether enough was noticed; nothing at all of what is marked to change nothing."""
        return len(self.survivors) == self.ran.total() if marked else self.caught >= GOAL

    def __str__(self) -> str:
        ran, survived = self.ran.total(), len(self.survivors)
        return (
            f"{ran} mutants, {ran - survived} caught, {survived} survived: {self.caught:.1%} "
            f"in {time.monotonic() - self.began:.0f} s; {self.equivalent} change nothing and were not run"
        )

    def write(self, complete: bool) -> None:
        """Keep it in ``build/mutants.json``; a half-written file never replaces a whole one."""
        survived = Counter(mutant.file for mutant in self.survivors)
        report = {
            "complete": complete,
            "goal": GOAL,
            "caught": round(self.caught, 4),
            "seconds": round(time.monotonic() - self.began),
            "equivalent": self.equivalent,
            "files": {file: f"{ran - survived[file]}/{ran}" for file, ran in sorted(self.ran.items())},
            "survived": [[mutant.file, mutant.line, mutant.change] for mutant in self.survivors],
        }
        BUILT.parent.mkdir(exist_ok=True)
        fresh = BUILT.with_suffix(".new")
        fresh.write_text(json.dumps(report, indent=1) + "\n")
        fresh.replace(BUILT)


def equivalents() -> set[tuple[str, int, str]]:
    """The mutants that are marked to change nothing: file, line and change as a mark names it."""
    return {(mark.file, mark.line, change) for mark in all_marks() for change in mark.changes}


def stale_equivalents(mutants: Sequence[Mutant]) -> list[str]:
    """Marks that name no mutant."""
    existing = {(mutant.file, mutant.line, mutant.short) for mutant in mutants}
    return [f"{file}:{line}: {change}" for file, line, change in sorted(equivalents() - existing)]


def survivors() -> set[tuple[str, str]]:
    """What the last whole run left, as file and change: lines move."""
    return {(file, change) for file, _, change in json.loads(BUILT.read_text())["survived"]}


@dataclass(slots=True)
class Plugin:
    """Runs mutants where pytest would run the tests it collected."""

    wanted: Sequence[Mutant]
    equivalent: int
    jobs: int
    marked: bool
    keep: bool
    score: Score = field(init=False)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Nothing is left to be run by pytest."""
        self.score = Score(len(self.wanted), self.equivalent)
        prepare_forks()
        with tempfile.TemporaryDirectory(prefix="gojob-mutants-") as directory:
            slots = [Slot(Path(directory, str(number))) for number in range(self.jobs)]
            order = Order(covered(session, [slot.directory for slot in slots]))
            for slot in slots:
                slot.copy()
            bench = Bench({item.nodeid: item for item in session.items}, order, slots)
            try:
                self.run(bench)
            finally:
                bench.stop()
        return True

    def run(self, bench: Bench) -> None:
        """Every mutant, told as it survives."""
        for mutant, survived in bench.run(self.wanted):
            self.score.add(mutant, survived)
            if survived != self.marked:
                print(f"{'survived' if survived else 'noticed'}  {mutant}", flush=True)
            if self.score.ran.total() % 100 == 0:
                print(f"{len(self.wanted)} to run: {self.score}", flush=True)
            if self.keep:
                self.score.write(complete=False)
        if self.keep:
            self.score.write(complete=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the survivors and the share that was caught."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.mutants", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", default="", help="mutants whose line matches this expression")
    parser.add_argument("--marked", action="store_true", help="what is marked to change nothing: no test may notice it")
    parser.add_argument("--survivors", action="store_true", help="what survived the last whole run")
    parser.add_argument("--tests", nargs="+", default=["tests/lua"], help="the tests that may notice something")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the mutants instead of running them")
    options = parser.parse_args(arguments)
    everything = all_mutants()
    if stale := stale_equivalents(everything):
        print("marks of mutants that do not exist:", *stale, sep="\n  ")
        return 1
    marked = equivalents()
    before = survivors() if options.survivors else None
    chosen = [
        mutant
        for mutant in everything
        if re.search(options.only, str(mutant))
        and ((mutant.file, mutant.line, mutant.short) in marked) == options.marked
        and (before is None or (mutant.file, mutant.change) in before)
    ]
    if options.list:
        print(*chosen, sep="\n")
        return 0
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no fork stays behind
    is_whole = not (options.only or options.survivors or options.marked)
    plugin = Plugin(chosen, len(marked), options.jobs, options.marked, keep=is_whole)
    if pytest.main([*PYTEST, *BRIEF, *options.tests], plugins=[plugin]) != pytest.ExitCode.OK:
        return 1
    print(plugin.score)
    return 0 if (plugin.score.is_good(options.marked)) else 1


if __name__ == "__main__":
    sys.exit(main())
