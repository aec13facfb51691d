"""The figures in README.md and docs/performance.md."""

import pytest

from bench import answers, table
from bench.goals import judge
from tests.unit.bench.test_goals import answered, drained

MACHINE = {"cores": 2, "cpu": "Fast", "python": "3.11.7"}


def document(found: dict[str, dict[str, object]]) -> dict[str, object]:
    for answer in found.values():
        answer |= {"at": "2026-11-21T05:21:45+00:00", "commit": "abc1234", "failed": {}}
    return {"machine": MACHINE, "results": found} | judge(found)


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {name}: "))


@pytest.mark.parametrize("place", table.PLACES, ids=lambda place: place.path.name)
def test_a_document_agrees_with_the_results(place: table.Place) -> None:
    assert table.updated(place) == place.path.read_text("utf-8"), "run python -m bench.table"


def test_the_readme_has_ten_figures_and_says_how_many_goals_are_met() -> None:
    text = table.summary(document(drained()), {})

    assert "| no-op tasks a second, through one gateway and one worker process | 20,000 |  |" in text
    assert "| times BullMQ | 1.33 | ≥ 1 |" in text
    assert "| bytes of memory a queued task | — | ≤ 400 |" in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 10
    assert "1 of 12 goals are met." in text


def test_a_row_has_ours_the_peers_and_the_verdict() -> None:
    told = row(table.table(document(drained()), {}), "P1")

    assert "20,000 tasks/s<br>" in told
    assert "6.67 × the fastest Python peer with state (≥ 5)" in told
    assert "saq 100 / 3,000" in told
    assert told.endswith("| yes |")


def test_a_missed_goal_stays_with_its_reason() -> None:
    found = document(drained(1_000))

    told = table.table(found, {"P1": "the bench machine was asleep"})

    assert row(told, "P1").endswith("| **missed** |")
    assert "- P1 is missed: the bench machine was asleep." in told
    assert f"- P1 is missed: {table.UNEXPLAINED}." in table.table(found, {})


def test_what_was_not_measured_says_so_and_is_not_called_missed() -> None:
    told = table.table(document({}) | {"machine": {}}, {})

    assert row(told, "P2").endswith("| not measured |")
    assert "is missed" not in told
    assert "Nothing was measured yet." in told


def test_a_peer_that_failed_is_named() -> None:
    found = document(drained())
    held = found["results"]
    assert isinstance(held, dict)
    held["drain"]["failed"] = {"arq": "no such thing"}

    assert "Did not run: arq (drain)." in table.table(found, {})


def test_the_machines_pace_is_told_where_it_was_taken() -> None:
    found = document(drained() | answered(burst={"ours": {"a": 1.0}}, latency={"ours": {"a": 1.0}}))
    held = found["results"]
    assert isinstance(held, dict)
    assert "calibration_ms" not in table.table(found, {})
    held["drain"]["calibration_ms"] = {"median": 90.4, "lowest": 50.0, "highest": 100.0}
    held["burst"]["calibration_ms"] = {"median": 48.0, "lowest": 47.0, "highest": 49.0}

    assert "`calibration_ms` was 48 at best (burst) and 90 at worst (drain)." in table.table(found, {})


def test_only_what_stands_between_the_markers_changes() -> None:
    held = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"

    assert table.placed(held, "new\n") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    with pytest.raises(table.NoPlace):
        table.placed("no markers", "new\n")


def test_rounds_become_medians_and_ranges_and_a_contender_that_failed_has_none() -> None:
    held = answers.of_rounds({"ours": [{"a": 1.0}, {"a": 3.0}, {"a": 2.0}], "huey": []})

    assert held == {"ours": {"a": {"median": 2.0, "lowest": 1.0, "highest": 3.0}}}
    assert answered(drain={"ours": {"a": 2.0}})["drain"]["contenders"]["ours"]["a"]["median"] == 2.0
