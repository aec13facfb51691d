"""The header of a Lua verb: the comment block at the top of ``lua/<verb>.lua``, which is its signature.

    -- ARGV   now_ms     int  =clock   a scalar argument: name, type, default if there is one, remark
    -- ITEM   Report                   what Python calls an item (may be left out), then the columns of an item
    --        session    str
    -- REPLY  ok | more ; lost         the status words; those after the semicolon come alone
    --        looked     int           then the values that follow the status; the last one may have a default, too
    -- EACH   word       ok | gone     then what comes for each item: columns, with a type or with all their words
    -- HINTS  reply_to                 last a list of hints, where this argument is not empty
    -- REST   match                    after ``more``, this verb does what is left
    -- MOVES  created running          and the states a task may go through, the engine's flags, and what a call costs
    -- FLAGS  allow-oom
    -- COST   O(items)

Whatever stands further right than an entry continues it. Two defaults are made for each call: ``=clock`` is the time of
this process (0 = the script asks the engine), ``=nonce`` a new random word. A call leaves out the last columns in which
all of its items are at their default, so what is rarely said stands last.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["int", "str", "bin"]

SECTIONS = ("KEYS", "ARGV", "ITEM", "REPLY", "EACH", "HINTS", "REST", "MOVES", "FLAGS", "COST")
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str, bytes), "bin": (bytes, bytearray, memoryview)}
REPLY_KINDS: dict[str, type] = {"int": int, "str": bytes, "bin": bytes, "ints": list, "strs": list, "rows": list}
"""What a client makes of a value of a reply: a number, or bytes, or an array."""
FLAGS = frozenset({"allow-oom", "no-writes", "allow-stale"})
CLOCK, NONCE = "clock", "nonce"
# Names a parameter cannot have: Lua's own, ours in the generated prelude, and the arguments of ``Verb.call``.
_RESERVED = (
    "and break do else elseif end false for function if in local nil not or repeat return then true until while "
    "KEYS ARGV ITEM_COUNT WIDTH P key item redis cjson cmsgpack bit struct string table math tonumber tostring type "
    "pairs ipairs next select unpack error assert pcall setmetatable client prefix prefixes items self "
    "limits"
)
RESERVED = frozenset(_RESERVED.split())


class BadScript(Exception):
    """A Lua file that cannot be loaded; the message begins with its file and line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a script and where it was written."""

    text: str
    file: str
    number: int

    def error(self, message: str) -> BadScript:
        return BadScript(f"{self.file}:{self.number}: {message}")


class Param(NamedTuple):
    """One scalar argument, or one field of an item."""

    name: str
    kind: Kind
    default: str | None = None
    """As it is written, without its quotes: a number, a word, ``clock`` or ``nonce``; None where there is none."""


class Column(NamedTuple):
    """One value of a reply, or one that comes for each item."""

    name: str
    kind: str
    words: dict[bytes, str]
    """All it may be; empty where it may be anything of its kind."""
    default: int | None = None
    """What it is when the script leaves it out."""

    def has(self, values: list[Any]) -> bool:
        """Whether values are what was declared; looks at all of them in one pass in C."""
        if not self.words:
            return {*map(type, values)} <= {REPLY_KINDS[self.kind]}
        try:
            return self.words.keys() >= {*values}
        except TypeError:
            return False  # an array where a word should be


@dataclass(frozen=True, slots=True)
class Form:
    """What a reply looks like."""

    words: frozenset[bytes]
    """The status words that the rest follows."""
    alone: frozenset[bytes] = frozenset()
    """Status words that nothing follows."""
    values: tuple[Column, ...] = ()
    each: tuple[Column, ...] = ()
    each_name: str = ""
    """What Python calls that which comes for an item of several columns."""
    hints: str = ""
    """The argument that asks for hints; empty when the verb gives none."""
    rest: str = ""
    """The verb that does what ``more`` leaves; empty when the caller goes on himself."""

    types: list[type] = field(init=False, repr=False)
    """Of the values, as a client makes them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", [REPLY_KINDS[column.kind] for column in self.values])

    def fits(self, reply: list[Any], items: int, has_hints: bool) -> bool:
        """Whether a reply to a call with so many items is as it was declared."""
        if reply[0] not in self.words:
            return reply[0] in self.alone and len(reply) == 1
        width, begin = len(self.each), 1 + len(self.values)
        if len(reply) == begin - 1 and self.values and self.values[-1].default is not None:
            return self.fits([*reply, self.values[-1].default], items, has_hints)
        end = begin + width * items
        if len(reply) != end + has_hints or (has_hints and type(reply[end]) is not list):
            return False
        if [*map(type, reply[1:begin])] != self.types:
            return False
        if not width:
            return True
        return all(column.has(reply[at:end:width]) for at, column in enumerate(self.each, begin))


@dataclass(frozen=True, slots=True)
class Header:
    """What the comment block of a verb declares."""

    summary: str
    reply: Form
    scalars: tuple[Param, ...] = ()
    item: str = ""
    """What Python calls an item; empty when the verb takes none."""
    fields: tuple[Param, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()
    cost: str = ""

    @property
    def least(self) -> int:
        """How many columns every item has: those without a default, and at least one."""
        return max(1, sum(param.default is None for param in self.fields))


def split(lines: list[Line]) -> tuple[list[Line], list[Line]]:
    """The header (leading plain comments) and the body."""
    body = next((i for i, line in enumerate(lines) if not re.match(r"--(?!!)", line.text)), len(lines))
    return lines[:body], lines[body:]


def read_header(verb: str, lines: list[Line], first: Line) -> Header:
    """Read a comment block; raises BadScript with file and line."""
    summary, sections = _sections(lines)
    if not summary:
        raise first.error("the file must begin with a comment that says what the verb does")
    if not sections.get("REPLY"):
        raise first.error("the header has no REPLY section")
    if "ITEM" in sections and not sections["ITEM"]:
        raise first.error("the ITEM section is empty")
    scalars = _params(sections.get("ARGV", []))
    item, fields = _named(sections.get("ITEM", []))
    return Header(
        summary=summary,
        reply=_form(verb, sections, {param.name for param in scalars}),
        scalars=scalars,
        item=item or (_class_name(verb, "Item") if fields else ""),
        fields=_params(fields),
        moves=tuple(_moves(sections.get("MOVES", []))),
        flags=_flags(sections.get("FLAGS", [])),
        cost=" ".join(line.text for line in sections.get("COST", [])),
    )


_SECTION = re.compile(r"-- ([A-Z]{2,})(?:\s+(.*))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[a-z_]+")
_NOUN = re.compile(r"[A-Z][A-Za-z]*")


def _sections(header: list[Line]) -> tuple[str, dict[str, list[Line]]]:
    """The summary, and the entries of each section with their ``--`` and section word removed."""
    summary: list[str] = []
    sections: dict[str, list[Line]] = {}
    current: list[Line] | None = None
    column = 0  # where the entries of the current section begin; text further right continues the entry above it
    for line in header:
        text = line.text.rstrip()
        if match := _SECTION.fullmatch(text):
            word = match[1]
            if word in sections or (word not in SECTIONS and (current is not None or "  " in text[3:])):
                raise line.error(f"{'repeated' if word in sections else 'unknown'} section {word}; known: {SECTIONS}")
            if word in SECTIONS:
                current, column = sections.setdefault(word, []), 0
                text = "--" + " " * (1 + len(word)) + text[3 + len(word) :]
        entry = text[2:].strip()
        indent = len(text) - len(entry)
        if current is None:
            summary.append(entry)
        elif not entry:
            continue
        elif indent < 5:
            raise line.error("neither a section nor a continuation (three spaces or more after the dashes)")
        elif not current or indent <= column:
            current.append(Line(entry, line.file, line.number))
            column = column or indent
        else:
            current[-1] = Line(f"{current[-1].text} {entry}", current[-1].file, current[-1].number)
    return " ".join(filter(None, summary)), sections


def _named(entries: list[Line]) -> tuple[str, list[Line]]:
    """The noun that stands alone before the columns, if one does, and the columns."""
    if entries and _NOUN.fullmatch(entries[0].text):
        return entries[0].text, entries[1:]
    return "", entries


def _class_name(verb: str, end: str) -> str:
    return verb.title().replace("_", "") + end


def _params(entries: list[Line]) -> tuple[Param, ...]:
    params: list[Param] = []
    for line in entries:
        name, kind, default, *_ = [*line.text.split(), "", "", ""]
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise line.error(f"{name!r} cannot be the name of an argument")
        if name in (param.name for param in params):
            raise line.error(f"argument {name} is declared twice")
        if kind not in KINDS:
            raise line.error(f"argument {name} has type {kind!r}; known: {', '.join(KINDS)}")
        if not default.startswith("="):
            params.append(Param(name, kind))  # type: ignore[arg-type]  # just checked
            continue
        value = default[1:].strip("'")
        if kind == "int" and value != CLOCK and not value.lstrip("-").isdigit():
            raise line.error(f"argument {name} is an int, so {value!r} cannot be its default")
        params.append(Param(name, kind, value))  # type: ignore[arg-type]  # just checked
    return tuple(params)


def _form(verb: str, sections: dict[str, list[Line]], scalars: set[str]) -> Form:
    first, *values = sections["REPLY"]
    words, _, alone = first.text.partition(";")
    each_name, each = _named(sections.get("EACH", []))
    hints = _one_word(sections.get("HINTS", []))
    if hints and hints not in scalars:
        raise sections["HINTS"][0].error(f"there is no argument {hints} that could ask for hints")
    return Form(
        words=frozenset(_words(first, words)),
        alone=frozenset(_words(first, alone)) if alone else frozenset(),
        values=tuple(map(_column, values)),
        each=tuple(map(_column, each)),
        each_name=each_name or (_class_name(verb, "Each") if len(each) > 1 else ""),
        hints=hints,
        rest=_one_word(sections.get("REST", [])),
    )


def _column(line: Line) -> Column:
    name, _, rest = line.text.partition(" ")
    kind, default, *_ = [*rest.split(), "", ""]
    if not _NAME.fullmatch(name):
        raise line.error(f"{name!r} cannot be the name of a value")
    if kind in REPLY_KINDS:
        return Column(name, kind, {}, int(default[1:]) if kind == "int" and default.startswith("=") else None)
    if "|" not in rest:
        raise line.error(f"value {name} has type {kind!r}; known: {', '.join(REPLY_KINDS)}, or all its words")
    return Column(name, "str", _words(line, rest))


def _words(line: Line, text: str) -> dict[bytes, str]:
    words = [word.strip() for word in text.split("|")]
    if bad := [word for word in words if not _WORD.fullmatch(word)]:
        raise line.error(f"words of a reply must be lower-case words, not {bad}")
    return {word.encode(): word for word in words}


def _one_word(entries: list[Line]) -> str:
    return entries[0].text.split()[0] if entries else ""


def _moves(entries: list[Line]) -> Iterator[tuple[str, str]]:
    for line in entries:
        for text in filter(None, map(str.strip, line.text.split(";"))):
            states = text.split()
            if len(states) != 2:
                raise line.error(f"a move is two states, from and to, not {text!r}")
            yield states[0], states[1]


def _flags(entries: list[Line]) -> tuple[str, ...]:
    flags = tuple(flag for line in entries for flag in re.split(r"[,\s]+", line.text))
    if unknown := set(flags) - FLAGS:
        raise entries[0].error(f"unknown flag {', '.join(sorted(unknown))}; known: {', '.join(sorted(FLAGS))}")
    return flags
