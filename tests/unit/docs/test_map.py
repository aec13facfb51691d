"""docs/map.md names every folder and every module that stands alone, and nothing that does not exist."""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
MAP: Final = (ROOT / "docs" / "map.md").read_text("utf-8")
ROW: Final = re.compile(r"^\| `([^`]+)` \| (.+) \|$", re.MULTILINE)
FILE: Final = re.compile(r"`([\w/-]+\.(?:py|lua|json))`")
BUILT: Final = re.compile(r"\.|__pycache__|node_modules|build$|dist$|.*\.egg-info")
"""Names of folders that nobody wrote by hand."""


def folders(below: Path) -> Iterator[Path]:
    """Folders with files in them, at any depth."""
    for path in below.iterdir():
        if path.is_dir() and not BUILT.match(path.name):
            if any(child.is_file() for child in path.iterdir()):
                yield path
            yield from folders(path)


def modules() -> Iterator[Path]:
    """Modules that stand in no room."""
    for package in ("gojob_redis", "sdk/gojob_sdk"):
        yield from (path for path in (ROOT / package).glob("*.py") if path.name != "__init__.py")


def test_the_map_names_every_folder_and_every_module_that_stands_alone() -> None:
    there = {f"{path.relative_to(ROOT)}/" for path in folders(ROOT)}
    there |= {str(path.relative_to(ROOT)) for path in modules()}

    named = [path for path, _about in ROW.findall(MAP)]

    assert sorted(named) == sorted(there)


def test_the_map_names_no_file_that_does_not_exist() -> None:
    named = [(place, name) for place, about in ROW.findall(MAP) for name in FILE.findall(about)]

    assert [name for place, name in named if not ((ROOT / place / name).exists() or (ROOT / name).exists())] == []
    assert len(named) > 30


def test_the_map_has_the_floors_and_the_contracts_of_the_imports() -> None:
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter", "utf-8")
    floors = contracts["importlinter:contract:layers"]["layers"].strip()
    names = {contracts[section]["name"] for section in contracts if section.startswith("importlinter:contract:")}

    assert f"```text\n{floors}\n```" in MAP
    assert {name for name in names if f"\n- {name}" not in MAP} == {contracts["importlinter:contract:layers"]["name"]}
