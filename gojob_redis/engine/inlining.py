"""What a script does not need is not made anew in each of its calls.

A script is one function: each ``local function`` in it is a closure that every call makes and throws away, and so is
each builder of a key name. So builders are written out where they are used, and functions and tables that nothing
names are left out. A function may have 200 locals: in a script with many, what only its own fragment names is local to
a block.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain

from gojob_redis.engine.keys import Key

_BUILDER = re.compile(r"(?<![\w.:])key\.(\w+)\(")
_FUNCTION = re.compile(r"local function (\w+)")
_STATE = re.compile(r"local (\w+) = (?:\{\}|nil|false|0)")
_WORD = re.compile(r"\w+")


LINES = 20_000
"""Scripts share their fragments, so what is found out about a line is remembered while they are read."""


@lru_cache(LINES)
def code_of(line: str) -> str:
    """A line without its comment; no text of a script has two dashes."""
    return line.partition("--")[0].rstrip()


@lru_cache(LINES)
def words_of(line: str) -> tuple[str, ...]:
    """The words of a line's code."""
    return tuple(_WORD.findall(code_of(line)))


def inlined(line: str, catalogue: Mapping[str, Key]) -> str:
    """The line with each builder's call written out; one whose arguments end on another line stays a call."""
    at = 0 if "key." in line else len(line)
    while match := _BUILDER.search(line, at):
        at = match.end()
        arguments = _arguments(line, at)
        if arguments is not None and match[1] in catalogue:
            written, end = arguments
            name = catalogue[match[1]].lua_name([inlined(argument, catalogue) for argument in written])
            line = f"{line[: match.start()]}({name}){line[end:]}"
            at = match.start() + len(name) + 2
    return line


def _arguments(line: str, at: int) -> tuple[list[str], int] | None:
    """The arguments of a call from its opening bracket on, and where the text goes on after the closing one."""
    depth, begin, quote = 1, at, ""
    arguments = []
    for i, letter in enumerate(line[at:], at):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "({[":
            depth += 1
        elif letter in ")}]":
            depth -= 1
        if depth == 0 or (depth == 1 and letter == "," and not quote):
            arguments.append(line[begin:i].strip())
            begin = i + 1
        if depth == 0:
            return arguments, i + 1
    return None


def without_unused(lines: Sequence[str]) -> list[str]:
    """The lines, empty where a function or state is that nothing names; one that goes may take what it named along."""
    kept, seen = list(lines), Counter(chain.from_iterable(map(words_of, lines)))
    declared = [(begin, match) for begin, line in enumerate(lines) if (match := _declared(line))]
    while unused := [(begin, match) for begin, match in declared if kept[begin] and seen[match[1]] == 1]:
        for begin, match in unused:
            end = _end_of_function(kept, begin) if match.re is _FUNCTION else begin + 1
            seen.subtract(chain.from_iterable(map(words_of, kept[begin:end])))
            kept[begin:end] = [""] * (end - begin)
    return kept


@lru_cache(LINES)
def _declared(line: str) -> re.Match[str] | None:
    """The function or the state that a line at the left margin declares."""
    return (_FUNCTION.match(line) or _STATE.fullmatch(line)) if line.startswith("local ") else None


def _end_of_function(lines: Sequence[str], begin: int) -> int:
    """One past the line that ends it: its own, or the next ``end`` at the left margin."""
    if re.search(r"\bend\s*$", code_of(lines[begin])):
        return begin + 1
    return next(i for i in range(begin, len(lines)) if lines[i].startswith("end")) + 1


_LOCAL_FUNCTION = re.compile(r"local (function (\w+)\(.*)")
_LOCALS = re.compile(r"local ((\w+(?:, \w+)*)(?: =.*)?)")
MANY_LOCALS = 170
"""With more a script is written in blocks."""
PRIVATE_NAMES = 2
"""With fewer a block is not worth its two lines."""


def locals_of(lines: Sequence[str]) -> int:
    """How many names a script declares at its left margin."""
    matches = (_LOCAL_FUNCTION.fullmatch(line) or _LOCALS.fullmatch(line) for line in lines)
    return sum(match[2].count(",") + 1 for match in matches if match)


def in_blocks(parts: Sequence[Sequence[str]]) -> list[list[str]]:
    """The parts of a script, each fragment in a block of its own that shows only what other parts name.

    The last part is the verb itself and stays as it is. A block is two lines more, one before and one behind.
    """
    words = [{word for line in part for word in _WORD.findall(line)} for part in parts]
    blocks = []
    for at, part in enumerate(parts[:-1]):
        elsewhere = set().union(*words[:at], *words[at + 1 :])
        lines = [_shown(line, elsewhere) for line in part]
        shown = list(dict.fromkeys(name for names, _ in lines for name in names))
        private = sum(line.startswith("local ") for _, line in lines)
        if private < PRIVATE_NAMES:
            blocks.append(list(part))
        else:
            head = f"local {', '.join(shown)} do" if shown else "do"
            blocks.append([head, *(line for _, line in lines), "end"])
    return [*blocks, list(parts[-1])]


def _shown(line: str, elsewhere: set[str]) -> tuple[list[str], str]:
    """The names that this line declares for other parts, and the line without their declaration."""
    if match := _LOCAL_FUNCTION.fullmatch(line):
        return ([match[2]], match[1]) if match[2] in elsewhere else ([], line)
    if match := _LOCALS.fullmatch(line):
        names = match[2].split(", ")
        if elsewhere & set(names):
            return names, match[1] if "=" in match[1] else ""
    return [], line
