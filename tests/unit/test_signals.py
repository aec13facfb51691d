"""signals: tests look at what is public, so that what they rely on can be relied on in production, too."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]

OTHERS = {"_asdict", "_exit", "_get_server_runtime", "_parser", "_replace", "_server"}
"""Of the standard library, and of libraries that offer no other way."""


def test_no_test_reaches_into_the_private_parts_of_an_object() -> None:
    private = [
        f"{path.relative_to(TESTS)}:{line}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, name in private_names(path.read_text("utf-8"))
        if name not in OTHERS
    ]

    assert private == []


def test_private_is_what_is_read_written_imported_or_patched_by_a_name_with_an_underscore() -> None:
    source = """
from gojob_redis.view import _hidden, tasks

class Double:
    def go(self):
        self._own = self.__class__

gateway._read.public = gateway._written
monkeypatch.setattr(module, "_patched", 1)
"""
    assert {name for _, name in private_names(source)} == {"_hidden", "_read", "_written", "_patched"}


def private_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each access to something private of another module or object."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                yield node.lineno, name
            case ast.ImportFrom(module=str(), names=names):
                yield from ((node.lineno, alias.name) for alias in names if is_private(alias.name))
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[_, ast.Constant(value=str(name)), *_]) if (
                is_private(name)
            ):
                yield node.lineno, name


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
