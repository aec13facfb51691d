"""The shape of the Lua files: no function and no main part of a script is longer than a page."""

import re
from collections.abc import Iterator

from gojob_redis.engine.inlining import code_of
from gojob_redis.engine.scripts import LUA

LINES = 60


def parts_of(source: str) -> Iterator[tuple[str, int]]:
    """Each function at the left margin and how many lines of code it has; last ``main``, which is all the rest."""
    code = [line for line in map(code_of, source.splitlines()) if line and not line.startswith("--!")]
    rest, at = 0, 0
    while at < len(code):
        match = re.match(r"(?:local )?function ([\w.]+)\(", code[at])
        length = 1
        if match and not re.search(r"\bend$", code[at]):
            length += next(i for i, line in enumerate(code[at + 1 :], 1) if line.startswith("end"))
        if match:
            yield match[1], length
        else:
            rest += length
        at += length
    yield "main", rest


def test_a_function_ends_at_its_end_and_main_is_what_is_left() -> None:
    head = "--!include keys\nlocal a = 1\nlocal function f()\n  -- Why.\n  return a\nend\n"
    source = head + "local function g() return 2 end\ng()\n"

    assert list(parts_of(source)) == [("f", 3), ("g", 1), ("main", 2)]


def test_no_function_and_no_main_is_longer_than_a_page() -> None:
    parts = {
        f"{path.relative_to(LUA)}: {name}": length
        for path in sorted(LUA.rglob("*.lua"))
        for name, length in parts_of(path.read_text("utf-8"))
    }

    assert {name: length for name, length in parts.items() if length > LINES} == {}
