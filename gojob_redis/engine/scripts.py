"""The loader of the Lua verbs: a ``.lua`` file's header is its signature, for Lua and for Python.

1. A verb is ``lua/<verb>.lua``. The comment block at its top declares it (sections ``KEYS ARGV ITEM REPLY MOVES FLAGS
   COST``); everything else about the call follows from there: the typed locals in Lua, the arguments in Python, the
   status words that may come back.
2. ``--!include lib/x.lua`` puts a fragment in its place, once, with its own includes first; ``--!include keys`` puts
   the builders of the key names the script uses.
3. Real servers get a shebang with the flags (it makes them refuse a foreign slot); fakeredis does not know it.
4. A call is EVALSHA, and EVAL after NOSCRIPT: EVAL loads the script again, so a SCRIPT FLUSH, a restart or a failover
   at any moment costs one more round trip and nothing else. Both are one command on one key, so they work the same on
   a cluster. Whether a call may be repeated after an error is decided above this module (``redis_client.repeat``).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from redis.exceptions import NoScriptError, ResponseError

from gojob_redis.domain.errors import BrokenInvariant, GojobError
from gojob_redis.engine import inlining, keys
from gojob_redis.engine.client import round_trip
from gojob_redis.engine.cluster import ClusterClient
from gojob_redis.runtime.outage import is_unknown_outcome

Flavour = Literal["real", "fake"]
Kind = Literal["int", "str", "bin"]
Value = str | bytes | int | None
Item = Sequence[Value]
Reply = list[Any]

LUA = Path(__file__).parents[1] / "lua"

SECTIONS = ("KEYS", "ARGV", "ITEM", "REPLY", "MOVES", "FLAGS", "COST")
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "str": (str, bytes), "bin": (bytes, bytearray, memoryview)}
FLAGS = frozenset({"allow-oom", "no-writes", "allow-stale"})
# Names a parameter cannot have: Lua's own, ours in the generated prelude, and the arguments of ``Verb.call``.
_RESERVED = (
    "and break do else elseif end false for function if in local nil not or repeat return then true until while "
    "KEYS ARGV ITEM_COUNT P key item redis cjson cmsgpack bit struct string table math tonumber tostring type pairs "
    "ipairs next select unpack error assert pcall client prefix prefixes items self"
)
RESERVED = frozenset(_RESERVED.split())


class BadScript(Exception):
    """A Lua file that cannot be loaded; the message begins with its file and line."""


class NoEpoch(BrokenInvariant):
    """The engine holds no epoch: it was emptied or is not ours. The role must stop instead of scheduling nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="no_epoch")
        self.hint = (
            "Do not start this role again before that is decided: on an engine that is empty altogether it would found "
            "a new installation without any work, unless GOJOB_REDIS__BOOTSTRAP=never. See docs/operations.md."
        )


class OtherSchema(BrokenInvariant):
    """The data is of a schema that this release does not work on; a role that went on would damage it."""

    def __init__(self, where: str, schema: int) -> None:
        super().__init__(
            f"{where} has data schema {schema}, and this release works on {keys.SCHEMA}; nothing was touched.",
            code="newer_schema" if schema > keys.SCHEMA else "older_schema",
        )
        self.hint = schema_hint(schema)


def schema_hint(schema: int) -> str:
    """What to do about data of another schema than ours."""
    if schema > keys.SCHEMA:
        return "Start the release that wrote it, or a newer one."
    return (
        "There is no conversion. Start the release that wrote it; or, if that data may go, stop all roles, empty the "
        "engine (an embedded one: remove its data directory) and run 'gojob bootstrap'."
    )


class ScriptFailed(GojobError):
    """The engine raised inside a script: a bug in Lua or a corrupt record, so a repeat would fail the same way.

    A loop backs off and goes on, a batch is halved until the one bad item is found.
    """

    def __init__(self, message: str) -> None:
        super().__init__("script_failed", message, hint="Report it; the other records are not affected.")


class Param(NamedTuple):
    """One scalar argument, or one field of an item."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Header:
    """What the comment block of a verb declares."""

    summary: str
    scalars: tuple[Param, ...] = ()
    fields: tuple[Param, ...] = ()
    replies: frozenset[bytes] = frozenset()
    moves: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()
    cost: str = ""


# ---- reading a file ------------------------------------------------------------------------------------------------

_SECTION = re.compile(r"-- ([A-Z]{2,})(?:\s+(.*))?")
_INCLUDE = re.compile(r"--!include\s+(\S+)\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the assembled script and where it was written."""

    text: str
    file: str
    number: int

    def error(self, message: str) -> BadScript:
        return BadScript(f"{self.file}:{self.number}: {message}")


def _read(path: Path, root: Path) -> list[_Line]:
    name = path.relative_to(root).as_posix()
    return [_Line(text, name, i) for i, text in enumerate(path.read_text("utf-8").splitlines(), 1)]


def _split(lines: list[_Line]) -> tuple[list[_Line], list[_Line]]:
    """The header (leading plain comments) and the body."""
    body = next((i for i, line in enumerate(lines) if not re.match(r"--(?!!)", line.text)), len(lines))
    return lines[:body], lines[body:]


def _sections(header: list[_Line]) -> tuple[str, dict[str, list[_Line]]]:
    """The summary, and the entries of each section with their ``--`` and section word removed."""
    summary: list[str] = []
    sections: dict[str, list[_Line]] = {}
    current: list[_Line] | None = None
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
            current.append(_Line(entry, line.file, line.number))
            column = column or indent
        else:
            current[-1] = _Line(f"{current[-1].text} {entry}", current[-1].file, current[-1].number)
    return " ".join(filter(None, summary)), sections


def _params(entries: list[_Line]) -> tuple[Param, ...]:
    params: list[Param] = []
    for line in entries:
        name, kind, *_ = [*line.text.split(), "", ""]
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise line.error(f"{name!r} cannot be the name of an argument")
        if name in (param.name for param in params):
            raise line.error(f"argument {name} is declared twice")
        if kind not in KINDS:
            raise line.error(f"argument {name} has type {kind!r}; known: {', '.join(KINDS)}")
        params.append(Param(name, kind))  # type: ignore[arg-type]  # just checked
    return tuple(params)


def _moves(entries: list[_Line]) -> Iterator[tuple[str, str]]:
    for line in entries:
        for text in filter(None, map(str.strip, line.text.split(";"))):
            states = text.split()
            if len(states) != 2:
                raise line.error(f"a move is two states, from and to, not {text!r}")
            yield states[0], states[1]


def _replies(entries: list[_Line]) -> frozenset[bytes]:
    words = " ".join(line.text for line in entries).partition(";")[0].split("|")
    return frozenset(word.strip().encode() for word in words)


def _flags(entries: list[_Line]) -> tuple[str, ...]:
    flags = tuple(flag for line in entries for flag in re.split(r"[,\s]+", line.text))
    if unknown := set(flags) - FLAGS:
        raise entries[0].error(f"unknown flag {', '.join(sorted(unknown))}; known: {', '.join(sorted(FLAGS))}")
    return flags


def _header(lines: list[_Line], first: _Line) -> Header:
    summary, sections = _sections(lines)
    if not summary:
        raise first.error("the file must begin with a comment that says what the verb does")
    if "REPLY" not in sections:
        raise first.error("the header has no REPLY section")
    scalars, fields = _params(sections.get("ARGV", [])), _params(sections.get("ITEM", []))
    if "ITEM" in sections and not fields:
        raise first.error("the ITEM section is empty")
    replies = _replies(sections["REPLY"])
    if bad := [word for word in replies if not re.fullmatch(rb"[a-z_]+", word)]:
        raise sections["REPLY"][0].error(f"status words must be lower-case words, not {bad}")
    return Header(
        summary=summary,
        scalars=scalars,
        fields=fields,
        replies=replies,
        moves=tuple(_moves(sections.get("MOVES", []))),
        flags=_flags(sections.get("FLAGS", [])),
        cost=" ".join(line.text for line in sections.get("COST", [])),
    )


def _assemble(lines: list[_Line], root: Path, seen: set[str]) -> Iterator[_Line]:
    """The lines with every include in its place, each file once."""
    for line in lines:
        match = _INCLUDE.fullmatch(line.text.strip())
        if match is None:
            if line.text.lstrip().startswith("--!"):
                raise line.error("the only directive is --!include <file>")
            yield line
        elif match[1] not in seen:
            seen.add(match[1])
            if match[1] == "keys":
                yield line  # replaced by ``_fill_keys`` once it is known which keys the script names
            elif not (root / match[1]).is_file():
                raise line.error(f"no such file to include: {match[1]}")
            else:
                yield from _assemble(_read(root / match[1], root), root, seen)


_KEY_USE = re.compile(r"(?<![\w.:])key\.(\w+)")


def _fill_keys(lines: list[_Line]) -> list[_Line]:
    uses: dict[str, _Line] = {}
    for line in lines:
        for name in _KEY_USE.findall(line.text.partition("--")[0]):
            uses.setdefault(name, line)
    for name, line in uses.items():
        if name not in keys.CATALOGUE:
            raise line.error(f"key.{name} is not in the catalogue (gojob_redis/engine/keys.py)")
    at = next((i for i, line in enumerate(lines) if _INCLUDE.fullmatch(line.text.strip())), None)
    if at is None:
        if uses:
            raise next(iter(uses.values())).error("key names are used without --!include keys")
        return lines
    built = set(uses)
    if not any("key[" in line.text for line in lines):  # as long as no name of a kind is computed
        lines = [_Line(inlining.inlined(line.text, keys.CATALOGUE), line.file, line.number) for line in lines]
        built = {name for line in lines for name in _KEY_USE.findall(inlining.code_of(line.text))}
    generated = [_Line(text, "keys", i) for i, text in enumerate(keys.lua_fragment(built).splitlines(), 1)]
    return [*lines[:at], *generated, *lines[at + 1 :]]


def _without_unused(lines: list[_Line]) -> list[_Line]:
    texts = inlining.without_unused([line.text for line in lines])
    return [_Line(text, line.file, line.number) for line, text in zip(lines, texts, strict=True)]


_GLOBAL = re.compile(r"(?:function\s+([A-Za-z_]\w*)\s*\(|([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)\s*=(?!=))")
_LOCAL = re.compile(r"\blocal\s+(?:function\s+)?([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)")


def _refuse_globals(lines: list[_Line]) -> None:
    """Refuse a definition at the left margin that no ``local`` announced.

    A leaked global poisons every later script on fakeredis. This is the cheap half of the check; the tests look at
    the compiled code, where no global can hide.
    """
    known: set[str] = set()
    for line in lines:
        for names in _LOCAL.findall(line.text):
            known.update(re.split(r"\s*,\s*", names))
        if match := _GLOBAL.match(line.text):
            for name in re.split(r"\s*,\s*", match[1] or match[2]):
                if name not in known:
                    raise line.error(f"{name} would be a global; write local")


def _prelude(header: Header) -> list[str]:
    """The arguments as typed locals, and ``item(i)``."""
    count, width = len(header.scalars), len(header.fields)
    lines = [f"local {param.name} = {_typed(param, f'ARGV[{i}]')}" for i, param in enumerate(header.scalars, 1)]
    if width:
        values = ", ".join(_typed(param, f"ARGV[at + {i}]") for i, param in enumerate(header.fields, 1))
        lines += [
            f"local ITEM_COUNT = (#ARGV - {count}) / {width}",
            f"local function item(i) local at = {count - width} + i * {width} return {values} end",
        ]
    return lines


def _typed(param: Param, source: str) -> str:
    return f"tonumber({source})" if param.kind == "int" else source


# ---- calling -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verb:
    """One script: its signature, its text, and the call."""

    name: str
    header: Header
    lines: tuple[_Line, ...] = field(repr=False)
    body: str = field(repr=False)
    shas: Mapping[Flavour, str] = field(repr=False)

    def source(self, flavour: Flavour = "real") -> str:
        """The text the engine gets."""
        return _shebang(self.header.flags) + self.body if flavour == "real" else self.body

    def args(self, items: Sequence[Item] = (), **scalars: Value) -> list[Any]:
        """ARGV: the scalars in the header's order, then the items' fields.

        None becomes an empty string, which Lua reads as nil for an ``int``.
        Raises TypeError for a missing or unknown name, an item of another width, or a value of another type.
        """
        header = self.header
        if scalars.keys() != {param.name for param in header.scalars}:
            raise TypeError(f"{self.name} takes {[param.name for param in header.scalars]}, not {list(scalars)}")
        flat = [_checked(self.name, param, scalars[param.name]) for param in header.scalars]
        if items:
            if set(map(len, items)) != {len(header.fields)}:
                raise TypeError(f"{self.name} takes items of {len(header.fields)} fields")
            for param, column in zip(header.fields, zip(*items, strict=True), strict=True):
                _check_column(self.name, param, column)
            flat.extend(chain.from_iterable(items))
        return [b"" if value is None else value for value in flat]

    async def call(self, client: Any, prefix: str, items: Sequence[Item] = (), **scalars: Value) -> Reply:
        """Run the verb in the partition of this prefix, and return its reply (status word first).

        Raises NoEpoch, OtherSchema, ScriptFailed (ours; not to be repeated), or what the client raised: unknown.
        """
        args = self.args(items, **scalars)
        flavour = flavour_of(client)
        try:
            try:
                reply = await client.execute_command("EVALSHA", self.shas[flavour], *_keyed(client, prefix), *args)
            except NoScriptError:
                reply = await client.execute_command("EVAL", self.source(flavour), *_keyed(client, prefix), *args)
        except ResponseError as error:
            raise self._explain(error) from error
        return self.checked(reply)

    async def pipelined(
        self, client: Any, prefixes: Sequence[str], items: Sequence[Item] = (), **scalars: Value
    ) -> list[Reply | Exception]:
        """Run the verb with the same arguments in many partitions, in one round trip.

        Returns, for each prefix, its reply or what that one call raised: a partition out of reach hides no other.
        Raises what the client raised when the whole round failed, as it does on a single engine.
        """
        args = self.args(items, **scalars)
        flavour = flavour_of(client)
        replies = await _round(client, ("EVALSHA", self.shas[flavour]), prefixes, args)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = await _round(client, ("EVAL", self.source(flavour)), [prefixes[i] for i in missing], args)
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return [self._settled(reply) for reply in replies]

    def checked(self, reply: object) -> Reply:
        """The reply, if its status word is one the header declares."""
        if isinstance(reply, list) and reply and reply[0] in self.header.replies and reply[0] != b"no_epoch":
            return reply
        if isinstance(reply, list) and reply[:1] == [b"no_epoch"]:
            raise NoEpoch(
                f"{self.name}: the engine holds no epoch, so it was emptied or never set up. "
                "Restore its data, or accept the loss and found it anew."
            )
        if isinstance(reply, list) and reply[:1] in ([b"newer_schema"], [b"older_schema"]):
            raise OtherSchema("The partition", reply[1])
        raise BrokenInvariant(f"{self.name} replied {reply!r:.200}; its header declares {sorted(self.header.replies)}")

    def where(self, line: int) -> str:
        """The file and line behind a line of the text of a real server (its first line is the shebang)."""
        at = self.lines[max(0, min(line - 2, len(self.lines) - 1))]
        return f"{at.file}:{at.number}"

    def _settled(self, reply: Any) -> Reply | Exception:
        try:
            if isinstance(reply, ResponseError):
                return self._explain(reply)
            if isinstance(reply, Exception):
                return reply
            return self.checked(reply)
        except BrokenInvariant as error:
            return error

    def _explain(self, error: ResponseError) -> Exception:
        """A ScriptFailed with the file and line; or the error itself, if it does not come from the script."""
        if type(error) is not ResponseError or is_unknown_outcome(error):
            return error
        line = _SCRIPT_LINE.search(str(error))
        return ScriptFailed(f"{self.name} failed at {self.where(int(line[1])) if line else 'an unknown line'}: {error}")


_SCRIPT_LINE = re.compile(r"user_script:(\d+)")


def _keyed(client: Any, prefix: str) -> tuple[int | str, ...]:
    """What follows the script in EVALSHA: how many keys, and which.

    On a cluster two: the prefix is a key that never exists, ``meta`` one that always does. While a slot is moved key by
    key, the engine answers a call that names both kinds with TRYAGAIN, on the old node and on the new one. So a
    partition stands still until all of it has moved; with one key, a script would run on whatever part of it is there.
    """
    clustered = isinstance(getattr(client, "behind", client), ClusterClient)
    return (2, prefix, keys.K.meta(prefix)) if clustered else (1, prefix)


async def _round(client: Any, command: tuple[str, str], prefixes: Sequence[str], args: list[Any]) -> list[Any]:
    return await round_trip(client, [(*command, *_keyed(client, prefix), *args) for prefix in prefixes])


def _checked(verb: str, param: Param, value: Value) -> Value:
    _check_column(verb, param, (value,))
    return value


def _check_column(verb: str, param: Param, column: Sequence[Value]) -> None:
    allowed = KINDS[param.kind]
    # One pass in C over the types; the few that are not exactly a base type (an enum) are looked at singly.
    for odd in set(map(type, column)).difference(allowed, (type(None),)):
        if odd is bool or not issubclass(odd, allowed):
            raise TypeError(f"{verb}: {param.name} is declared {param.kind}, so it cannot be {odd.__name__}")


def _shebang(flags: tuple[str, ...]) -> str:
    return f"#!lua flags={','.join(flags)}\n" if flags else "#!lua\n"


def flavour_of(client: object) -> Flavour:
    """Which text this client's engine understands."""
    return "fake" if type(client).__module__.startswith("fakeredis") else "real"


# ---- loading -------------------------------------------------------------------------------------------------------


def load(path: Path, root: Path = LUA) -> Verb:
    """Read one verb file; raises BadScript with file and line."""
    written = _read(path, root)
    first = written[0] if written else _Line("", path.name, 1)
    top, rest = _split(written)
    header = _header(top, first)
    prelude = [_Line(text, f"{first.file} (arguments)", i) for i, text in enumerate(_prelude(header), 1)]
    lines = _fill_keys(_without_unused([*top, *prelude, *_assemble(rest, root, set())]))
    _refuse_globals(lines)
    body = "\n".join(line.text for line in lines) + "\n"
    texts: dict[Flavour, str] = {"real": _shebang(header.flags) + body, "fake": body}
    # SHA-1 is how the engine names a script, not a safeguard.
    shas = {name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in texts.items()}
    return Verb(path.stem, header, tuple(lines), body, shas)


@lru_cache
def load_all(root: Path = LUA) -> dict[str, Verb]:
    """Every verb, by name."""
    return {path.stem: load(path, root) for path in sorted(root.glob("*.lua"))}


def verb(name: str) -> Verb:
    """The verb of this name; raises KeyError when there is no such file."""
    return load_all()[name]
