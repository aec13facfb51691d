"""Runs script tests on changed copies of the Lua files, each in a fork of one pytest that has collected them all.

To start an interpreter, to import and to collect takes seconds; what is wanted of it takes a tenth of one.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.tools.mutants import CAUGHT, KILLED, PYTEST, ROOT, SURVIVED, forked, mutated, prepare_forks

READY = "ready"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one test on one copy."""

    red: bool
    said: str
    """The report of its failure, or why it did not run at all."""


@dataclass(frozen=True, slots=True)
class Host:
    """The pytest that waits for what to run."""

    connection: "Connection[Any, Any]"

    def run(self, test: str, root: Path, file: str) -> Verdict:
        """Run the test of this id on the copy at ``root``, in which ``file`` was changed."""
        self.connection.send((test, root, file))
        verdict: Verdict = self.connection.recv()
        return verdict


@contextmanager
def host() -> Iterator[Host]:
    """A pytest of its own, which has collected the script tests on fakeredis."""
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    with ours:
        assert ours.recv() == READY
        yield Host(ours)
    process.kill()  # it holds nothing, and takes longer to end by itself than any guard
    process.join()


def _serve(connection: "Connection[Any, Any]") -> None:
    os.chdir(ROOT)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    pytest.main([*PYTEST, "tests/lua"], plugins=[Plugin(connection)])


@dataclass(frozen=True, slots=True)
class Plugin:
    """Answers where pytest would run the tests it collected."""

    connection: "Connection[Any, Any]"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what is asked for, until nobody asks any more."""
        items = {item.nodeid: item for item in session.items}
        prepare_forks()
        self.connection.send(READY)
        while True:
            try:
                test, root, file = self.connection.recv()
            except EOFError:
                return True
            item = items.get(test)
            self.connection.send(_judged(item, root, file) if item else Verdict(False, f"there is no test {test}"))


def _judged(item: pytest.Item, root: Path, file: str) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="gojob-guard-") as directory:
        failed, output = Path(directory, "failed"), Path(directory, "said")
        process = forked(_told, item, root, file, failed, output)
        process.join()
        code = process.exitcode
        text = output.read_text("utf-8") if output.exists() else ""
    red = code == CAUGHT or code in KILLED
    return Verdict(red, text if red or code == SURVIVED else f"its fork ended with {code}\n{text}")


def _told(item: pytest.Item, root: Path, file: str, failed: Path, output: Path) -> int:
    item.config.pluginmanager.register(Reports(output))
    return mutated([item], file, root, failed)


@dataclass(frozen=True, slots=True)
class Reports:
    """Writes down what failed and why."""

    path: Path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of the test is over."""
        if report.failed:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{report.longreprtext}\n")
