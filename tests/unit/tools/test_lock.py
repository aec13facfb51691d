"""requirements.lock, and the search for vulnerable versions in it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tools import lock, vulnerabilities

ROOT = Path(__file__).parents[3]
LINE = re.compile(r"([a-z0-9-]+)==([\w.]+)")


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    found = [LINE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found)
    return {match[1]: match[2] for match in found if match}


def required() -> list[Requirement]:
    """What both distributions name, the tools too."""
    named: list[str] = []
    for path in ("pyproject.toml", "sdk/pyproject.toml"):
        project = tomllib.loads((ROOT / path).read_text("utf-8"))["project"]
        named += project["dependencies"]
        named += [each for group in project["optional-dependencies"].values() for each in group]
    return [each for each in map(Requirement, named) if each.name != "gojob-sdk"]


@pytest.mark.parametrize("requirement", required(), ids=str)
def test_the_lock_holds_a_version_that_is_allowed(requirement: Requirement) -> None:
    version = locked().get(canonicalize_name(requirement.name), "none")

    assert requirement.specifier.contains(version), f"{requirement}, locked {version}: run make lock"


def test_the_lock_is_what_pip_said_without_what_is_ours() -> None:
    report = {
        "install": [
            {"is_direct": True, "metadata": {"name": "gojob-sdk", "version": "0.1.0"}},
            {"metadata": {"name": "types_psutil", "version": "7.2.2"}},
            {"metadata": {"name": "Pygments", "version": "2.21.0"}},
        ]
    }

    assert lock.locked(report) == lock.HEAD + "pygments==2.21.0\ntypes-psutil==7.2.2\n"


def package(name: str, *faults: str) -> dict[str, Any]:
    vulns = [{"id": fault, "fix_versions": ["2.0"]} for fault in faults]
    return {"name": name, "version": "1.0", "vulns": vulns}


def skipped(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": "not found"}


def test_a_vulnerable_version_fails_the_check_and_is_named() -> None:
    code, text = vulnerabilities.judged({"dependencies": [package("a"), package("b", "CVE-1"), skipped("c")]})

    assert code == 1
    assert "b 1.0: CVE-1, mended in 2.0" in text


def test_versions_that_nobody_knows_anything_about_are_good() -> None:
    known = {"dependencies": [package("a"), skipped("b")]}

    assert vulnerabilities.judged(known) == (0, "1 packages without a known vulnerability, 1 NOT CHECKED")


def test_a_list_that_knows_none_of_our_packages_is_no_clean_bill() -> None:
    code, text = vulnerabilities.judged({"dependencies": [skipped("a")]})

    assert code == 0
    assert "WERE NOT LOOKED FOR" in text


@pytest.mark.parametrize(("out", "err"), [("", "ERROR: no route to host"), ("not json", "")])
def test_a_list_out_of_reach_is_said_loudly_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, out: str, err: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{out}'\necho '{err}' >&2\nexit 1\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(vulnerabilities.sys, "executable", str(program))  # type: ignore[attr-defined]

    code, text = vulnerabilities.asked(tmp_path / "requirements.lock")

    assert code == 0
    assert "WERE NOT LOOKED FOR" in text
