"""What worker processes count, and how it is read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.peers.apps import tally
from bench.peers.apps.tally import HEAD, Tally


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(tally.DIRECTORY, str(tmp_path))
    return tmp_path


def test_nothing_is_counted_before_the_first_execution(place: Path) -> None:
    Tally()

    assert list(place.iterdir()) == []
    assert tally.read(place) == tally.Counted(0, 0.0, 0.0)


def test_executions_are_counted_from_the_first_to_the_last(place: Path) -> None:
    counts = Tally()
    for _ in range(5):
        counts.mark()

    held = tally.read(place)

    assert held.count == 5
    assert 0 < held.first_s <= held.last_s
    assert list(tally.notes(place)) == []


def test_a_note_is_an_execution_with_a_number_and_its_lateness(place: Path) -> None:
    counts = Tally()
    counts.note(7, 1_000.0)
    counts.note(10_000_000_123, 0.0)

    (first, first_ms), (second, second_ms) = tally.notes(place)

    assert (first, second, tally.read(place).count) == (7, 10_000_000_123, 2)
    assert 999 < second_ms - first_ms < 2_000


def test_processes_are_added_up(place: Path) -> None:
    (place / "1.tally").write_bytes(HEAD.pack(3, 0, 10.0, 12.0))
    (place / "2.tally").write_bytes(HEAD.pack(4, 0, 11.0, 15.5))
    (place / "3.tally").write_bytes(HEAD.pack(0, 0, 0.0, 0.0))
    (place / "4.tally").write_bytes(b"")

    held = tally.read(place)

    assert (held.count, held.seconds) == (7, 5.5)


def test_processes_at_the_line_begin_when_all_of_them_stand_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = place / "line"
    monkeypatch.setenv(tally.LINE, str(line))
    looks: list[bool] = []

    def wait_for(reached: Callable[[], bool]) -> None:
        looks.append(reached())
        (place / "line.1").touch()
        looks.append(reached())
        (place / "line.2").touch()
        looks.append(reached())

    tally.begin_together(line, 2, wait_for)
    Tally()  # returns, as the line is open

    assert looks == [False, False, True]
    assert (place / f"line.{os.getpid()}").exists()
