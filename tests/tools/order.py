"""The order of the test files for workers that run them side by side: those that wait between those that compute.

Files of real processes wait for most of their time. All of them at once would leave the machine idle, and one of them
at the end would let the other workers look on. ``make test`` hands files out in this order, with
``--no-loadscope-reorder``.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

WAITING = ("attacks", "contract", "edge", "flow")
"""The folders of ``tests`` whose tests wait for processes; the others compute."""
LONGEST = "model"
"""The folder that comes first: few tests, of which each is the work of a whole file."""
ALL_BUT_THE_END = 0.8
"""The share of the run in which files that wait are begun; what is begun later is short."""


def ordered(tests: Mapping[str, int]) -> list[str]:
    """Files of the repository in their order, from how many tests each of them has."""
    rings = {file: Path(file).parts[1] for file in tests}
    files = sorted(tests, key=lambda file: rings[file] != LONGEST)  # otherwise as they were
    waiting = [file for file in files if rings[file] in WAITING]
    computing = [file for file in files if rings[file] not in WAITING]
    places = dict([*_places(waiting, tests, ALL_BUT_THE_END), *_places(computing, tests, 1.0)])
    return sorted(files, key=places.__getitem__)


def _places(files: Sequence[str], tests: Mapping[str, int], until: float) -> Iterator[tuple[str, float]]:
    """Where each file begins when they are spread from 0 to ``until`` by their numbers of tests."""
    total, before = sum(tests[file] for file in files), 0
    for file in files:
        yield file, until * before / total
        before += tests[file]


def order(items: list[pytest.Item]) -> None:
    """Put the tests that were collected into the order of their files."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    turns = ordered({file: len(tests) for file, tests in files.items()})
    items[:] = [item for file in turns for item in files[file]]
