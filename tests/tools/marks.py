"""Marks in the comments of the Lua files: which lines are guards, and which mutants of a line change nothing.

1. ``-- guard: <name>`` names what a line guards; ``without`` takes the guard out. What that means follows from the
   line: an operand of a condition that has the line for itself goes with its ``and`` or ``or``; the condition of a
   block never holds; any other line goes whole.
2. ``-- equivalent if <change>, …: <reason>`` says which mutants of a line nobody could tell from the original:
   ``true``, ``false``, ``deleted`` or ``without <n>``, the operands of a condition counted from 1.

A mark stands at the end of its line, or on a line of its own above it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gojob_redis.engine.inlining import code_of
from gojob_redis.engine.scripts import LUA

_MARK = re.compile(r"--\s*(?:guard: (.+)|equivalent if ([^:]+): (.+))$")
_OPERAND = re.compile(r"\s*\b(?:and|or)\b.*?(?=\s+then\b|$)")
_FIRST_OPERAND = re.compile(r"\s*(?:return|if|elseif)\b(?P<operand>.*)")
_CONNECTIVE = re.compile(r"\s*(?:and|or)\b")
_BLOCK = re.compile(r"\b(?:if|elseif)\b(?P<condition>.*)\bthen$")
_ONE_LINE = re.compile(r"\bif\b(?P<condition>.*?)\bthen\b")


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark: ``name`` of a guard, or ``changes`` that are equivalent for the reason that is its ``name``."""

    file: str
    line: int
    """The line of code it is about."""
    name: str
    changes: tuple[str, ...] = ()


def marks_of(file: str, source: str) -> Iterator[Mark]:
    """Every mark of one file."""
    lines = source.splitlines()
    for at, line in enumerate(lines):
        if match := _MARK.search(line):
            code = next(i for i in range(at, len(lines)) if code_of(lines[i]))
            changes = tuple(filter(None, (change.strip() for change in (match[2] or "").split(","))))
            yield Mark(file, code + 1, match[1] or match[3], changes)


def all_marks(root: Path = LUA) -> list[Mark]:
    """Every mark of every file."""
    return [
        mark
        for path in sorted(root.rglob("*.lua"))
        for mark in marks_of(path.relative_to(root).as_posix(), path.read_text("utf-8"))
    ]


def without(source: str, line: int, *, always: bool = False, swap: tuple[str, str] | None = None) -> str:
    """The file without the guard of this line.

    always: the guard lets something through, so its condition holds always.
    swap: the guard cannot be taken out; this text of its line is replaced by that.
    """
    lines = source.splitlines()
    at = line - 1
    lines[at] = code_of(lines[at])
    if swap:
        assert lines[at].count(swap[0]) == 1, f"line {line} does not read {swap[0]!r} once: {lines[at]}"
        lines[at] = lines[at].replace(*swap)
    elif always:
        lines[at] = _with_condition(lines[at], "true")
    elif match := _OPERAND.match(lines[at]):
        lines[at] = lines[at][match.end() :]
    elif (first := _FIRST_OPERAND.match(lines[at])) and (rest := _CONNECTIVE.match("".join(lines[at + 1 : at + 2]))):
        lines[at] = lines[at][: first.start("operand")]
        lines[at + 1] = lines[at + 1][rest.end() :]
    elif _BLOCK.search(lines[at]):
        lines[at] = _with_condition(lines[at], "false")
    else:
        lines[at] = ""
    return "\n".join(lines) + "\n"


def _with_condition(line: str, word: str) -> str:
    match = _BLOCK.search(line) or _ONE_LINE.search(line)
    assert match, f"no condition: {line}"
    return f"{line[: match.start('condition')]} {word} {line[match.end('condition') :]}"
