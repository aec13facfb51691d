"""words: a local is named by what it holds."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gojob_redis.engine.inlining import code_of
from gojob_redis.engine.scripts import LUA

ROOT = Path(__file__).parents[2]

VAGUE = {"found", "held", "known", "made", "said", "told", "wanted"}
"""Names that say how a value came here, not what it is: name the type of the thing (``record``, ``body``, ``rows``)."""

CLEAN = (
    "bench",
    "examples",
    "gojob_redis",
    "sdk",
    "tests/attacks",
    "tests/faults",
    "tests/tools",
)


LUA_LOCALS = re.compile(r"\blocal ([\w, ]+?)(?: =|$)|\bfunction [\w.]*\(([\w, ]*)|\bfor ([\w, ]+?)(?: =| in)")


@pytest.mark.parametrize("folder", CLEAN)
def test_no_local_has_a_name_that_says_nothing(folder: str) -> None:
    vague = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, name in locals_of(path.read_text("utf-8"))
        if name in VAGUE
    ]

    assert vague == []


def test_no_local_of_a_script_has_a_name_that_says_nothing() -> None:
    vague = [
        f"{path.relative_to(LUA)}:{number}: {local}"
        for path in sorted(LUA.rglob("*.lua"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for names in LUA_LOCALS.findall(code_of(line))
        for local in VAGUE.intersection(re.findall(r"\w+", "".join(names)))
    ]

    assert vague == []


def test_locals_are_what_functions_and_comprehensions_assign_and_take_but_not_fields() -> None:
    source = """
class Row:
    field: int = 1

def outer(argument, *rest, key=1):
    local = [each for each in argument]
    for item in local:
        if (match := item):
            label = lambda taken: taken
    row.attribute = 1
"""
    names = {name for _, name in locals_of(source)}

    assert names == {"argument", "rest", "key", "local", "each", "item", "match", "label", "taken"}


def locals_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of what functions assign and take."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.comprehension)
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, functions):
            for node in ast.walk(function):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.lineno, node.id
                elif isinstance(node, ast.arg):
                    yield node.lineno, node.arg
