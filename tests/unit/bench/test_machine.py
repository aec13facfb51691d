"""What a figure is said to be measured on."""

import subprocess
from pathlib import Path

import pytest

from bench import machine


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    save(tmp_path, "code.py", "one")
    return tmp_path


def git(root: Path, *words: str) -> str:
    settings = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(("git", *settings, *words), cwd=root, capture_output=True, text=True, check=True).stdout


def save(root: Path, name: str, text: str) -> str:
    """Commit a file; returns the commit's short name."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, "utf-8")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", text)
    return git(root, "rev-parse", "--short", "HEAD").strip()


def test_the_commit_is_the_last_one_that_changed_what_is_measured(clone: Path) -> None:
    code = save(clone, "code.py", "two")
    for made in ("README.md", "docs/performance.md", "docs/growth.svg", "bench/results/latest.json"):
        save(clone, made, "figures")

    assert machine.commit(clone) == code

    (clone / "README.md").write_text("other figures", "utf-8")
    assert machine.commit(clone) == code
    (clone / "code.py").write_text("three", "utf-8")
    assert machine.commit(clone) == f"{code}+"


def test_outside_of_a_clone_there_is_no_commit(tmp_path: Path) -> None:
    assert machine.commit(tmp_path) == ""


def test_the_pace_is_the_time_of_work_that_an_engine_really_does() -> None:
    assert 1 < machine.calibration_ms() < 60_000
