"""A function can be read at once, and a class that cannot says why."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("gojob_redis", "sdk/gojob_sdk", "bench", "examples", "tests/tools", "tests/faults")
FUNCTION_LINES = 60
CLASS_LINES = 250
CLASS_METHODS = 25
WHY = "Large, because"
"""What a class says in its docstring that is larger all the same."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                yield path.relative_to(ROOT), node


def lines(node: Function | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def is_large(node: ast.ClassDef) -> bool:
    methods = sum(isinstance(each, Function) for each in node.body)
    return lines(node) > CLASS_LINES or methods > CLASS_METHODS


def test_no_function_is_longer_than_a_page() -> None:
    long = [
        f"{path}: {node.name} has {lines(node)} lines"
        for path, node in nodes()
        if isinstance(node, Function) and lines(node) > FUNCTION_LINES
    ]

    assert long == []


def test_a_large_class_says_why_it_is_one() -> None:
    silent = [
        f"{path}: {node.name}"
        for path, node in nodes()
        if isinstance(node, ast.ClassDef) and is_large(node) and WHY not in (ast.get_docstring(node) or "")
    ]

    assert silent == []
