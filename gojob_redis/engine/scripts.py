"""The loader of the Lua verbs: a ``.lua`` file's header is its signature, for Lua and for Python.

1. A verb is ``lua/<verb>.lua``. The comment block at its top declares it (``headers.py``); everything else about the
   call follows from there: the typed locals in Lua, the arguments in Python, what may come back, and the functions and
   types in ``verbs.py``. A reply of another form is a broken invariant.
2. ``--!include lib/x.lua`` puts a fragment in its place, once, with its own includes first; ``--!include keys`` puts
   the builders of the key names the script uses; ``--!include limits`` lets it name what ``domain/limits.py`` has, as
   ``limits.NAME``, in whose place the number is written; ``--!include policies`` puts what it names of the table of
   policies (``DEFAULT_NAME`` is written out as well). The engine gets neither comments nor empty lines.
3. Real servers get a shebang with the flags (it makes them refuse a foreign slot); fakeredis does not know it.
4. A call is EVALSHA, and EVAL after NOSCRIPT: EVAL loads the script again, so a SCRIPT FLUSH, a restart or a failover
   at any moment costs one more round trip and nothing else. Both are one command on one key, so they work the same on
   a cluster. Whether a call may be repeated after an error is decided above this module (``client.repeat``).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

from redis.exceptions import NoScriptError, ResponseError

from gojob_redis.domain import ids, limits, policies
from gojob_redis.domain.errors import BrokenInvariant, GojobError
from gojob_redis.engine import inlining, keys
from gojob_redis.engine.client import round_trip
from gojob_redis.engine.cluster import ClusterClient
from gojob_redis.engine.errors import is_unknown_outcome
from gojob_redis.engine.headers import CLOCK, KINDS, NONCE, Header, Line, Param, read_header, split

Flavour = Literal["real", "fake"]
Value = str | bytes | int | None
Item = Sequence[Value]
Reply = list[Any]

LUA = Path(__file__).parents[1] / "lua"


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


# ---- reading a file ------------------------------------------------------------------------------------------------

_INCLUDE = re.compile(r"--!include\s+(\S+)\s*")
Files = dict[Path, list[Line]]
"""What was read already: a fragment once for all verbs that include it."""


def _included(text: str) -> str:
    """What a line includes; empty for any other line."""
    match = _INCLUDE.fullmatch(text.strip()) if "--!" in text else None
    return match[1] if match else ""


def _read(path: Path, root: Path) -> list[Line]:
    name = path.relative_to(root).as_posix()
    return [Line(text, name, i) for i, text in enumerate(path.read_text("utf-8").splitlines(), 1)]


def _fragment(path: Path, root: Path, files: Files) -> list[Line]:
    """A file that is included, without its comments."""
    if path not in files:
        files[path] = _without_comments(_read(path, root))
    return files[path]


def _assemble(lines: list[Line], root: Path, seen: set[str], files: Files) -> Iterator[Line]:
    """The lines with every include in its place, each file once."""
    for line in lines:
        name = _included(line.text)
        if not name:
            if line.text.lstrip().startswith("--!"):
                raise line.error("the only directive is --!include <file>")
            yield line
        elif name not in seen:
            seen.add(name)
            if name in ("keys", "limits", "policies"):
                yield line  # replaced once it is known what of it the script names
            elif not (root / name).is_file():
                raise line.error(f"no such file to include: {name}")
            else:
                yield from _assemble(_fragment(root / name, root, files), root, seen, files)


def _without_comments(lines: list[Line]) -> list[Line]:
    """What the engine gets: code, and the directives that are still to be replaced."""
    return [written for line in lines if (written := _with(line, _code(line.text))).text]


@lru_cache(inlining.LINES)
def _code(text: str) -> str:
    return text if text.lstrip().startswith("--!") else inlining.code_of(text)


def _with(line: Line, text: str) -> Line:
    """The line with this text; most lines keep theirs."""
    return line if text == line.text else Line(text, line.file, line.number)


_KEY_USE = re.compile(r"(?<![\w.:])key\.(\w+)")


def _fill_keys(lines: list[Line]) -> list[Line]:
    uses: dict[str, Line] = {}
    for line in lines:
        for name in _keys_in(line.text):
            uses.setdefault(name, line)
    for name, line in uses.items():
        if name not in keys.CATALOGUE:
            raise line.error(f"key.{name} is not in the catalogue (gojob_redis/engine/keys.py)")
    at = _place_of("keys", lines)
    if at is None:
        if uses:
            raise next(iter(uses.values())).error("key names are used without --!include keys")
        return lines
    built = set(uses)
    if not any("key[" in line.text for line in lines):  # as long as no name of a kind is computed
        lines = [_with(line, _inlined(line.text)) for line in lines]
        built = {name for line in lines for name in _keys_in(line.text)}
    generated = [Line(text, "keys", i) for i, text in enumerate(keys.lua_fragment(built).splitlines(), 1)]
    return [*lines[:at], *generated, *lines[at + 1 :]]


@lru_cache(inlining.LINES)
def _keys_in(text: str) -> Sequence[str]:
    return _KEY_USE.findall(text) if "key." in text else ()


@lru_cache(inlining.LINES)
def _inlined(text: str) -> str:
    return inlining.inlined(text, keys.CATALOGUE)


def _place_of(generated: str, lines: list[Line]) -> int | None:
    """The line that a generated fragment takes the place of."""
    return next((i for i, line in enumerate(lines) if line.text.strip() == f"--!include {generated}"), None)


_LIMIT_USE = re.compile(r"(?<![\w.:])limits\.(\w+)")


def _fill_limits(lines: list[Line]) -> list[Line]:
    """The lines with numbers in place of the limits they name."""
    at = _place_of("limits", lines)
    filled = []
    for line in lines:
        if "limits." not in line.text:
            filled.append(line)
            continue
        for name in _LIMIT_USE.findall(line.text):
            if at is None:
                raise line.error("limits are used without --!include limits")
            if not isinstance(getattr(limits, name, None), int):
                raise line.error(f"limits.{name} is not in gojob_redis/domain/limits.py")
        text = _LIMIT_USE.sub(lambda match: str(getattr(limits, match[1])), line.text)
        filled.append(Line(text, line.file, line.number))
    return [line for i, line in enumerate(filled) if i != at]


_CONSTANT = re.compile(r"\b[A-Z]+_[A-Z_]+\b")


@lru_cache(inlining.LINES)
def _constants_in(text: str) -> Sequence[str]:
    return _CONSTANT.findall(text)


def _fill_policies(lines: list[Line]) -> list[Line]:
    """The lines with what they name of the table of policies."""
    at = _place_of("policies", lines)
    if at is None:
        return lines
    defaults = policies.lua_defaults()
    filled = [
        _with(line, _CONSTANT.sub(lambda match: defaults.get(match[0], match[0]), line.text))
        if _constants_in(line.text)
        else line
        for line in lines
    ]
    named = {name for line in filled for name in _constants_in(line.text)}
    tables = [text for name, text in policies.lua_tables().items() if name in named]
    return [*filled[:at], *(Line(text, "policies", i) for i, text in enumerate(tables, 1)), *filled[at + 1 :]]


def _without_unused(lines: list[Line]) -> list[Line]:
    texts = inlining.without_unused([line.text for line in lines])
    return [Line(text, line.file, line.number) for line, text in zip(lines, texts, strict=True) if text]


def _in_blocks(lines: list[Line]) -> list[Line]:
    if inlining.locals_of([line.text for line in lines]) <= inlining.MANY_LOCALS:
        return lines
    parts = [list(part) for _, part in groupby(lines, key=lambda line: line.file)]
    written = []
    for part, texts in zip(parts, inlining.in_blocks([[line.text for line in part] for part in parts]), strict=True):
        origins = part if len(texts) == len(part) else [part[0], *part, part[-1]]
        written += [Line(text, line.file, line.number) for text, line in zip(texts, origins, strict=True)]
    return written


_GLOBAL = re.compile(r"(?:function\s+([A-Za-z_]\w*)\s*\(|([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)\s*=(?!=))")
_LOCAL = re.compile(r"\blocal\s+(?:function\s+)?([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)")


def _refuse_globals(lines: list[Line]) -> None:
    """Refuse a definition at the left margin that no ``local`` announced.

    A leaked global poisons every later script on fakeredis. This is the cheap half of the check; the tests look at
    the compiled code, where no global can hide.
    """
    declared: set[str] = set()
    for line in lines:
        declared.update(_locals_in(line.text))
        if match := _GLOBAL.match(line.text):
            for name in re.split(r"\s*,\s*", match[1] or match[2]):
                if name not in declared:
                    raise line.error(f"{name} would be a global; write local")


@lru_cache(inlining.LINES)
def _locals_in(text: str) -> Sequence[str]:
    declarations = _LOCAL.findall(text) if "local" in text else ()
    return [name for names in declarations for name in re.split(r"\s*,\s*", names)]


def _prelude(header: Header) -> list[str]:
    """The arguments as typed locals, and ``item(i)``.

    A call leaves out the last columns in which all of its items are at their default: ``WIDTH`` says how many it has.
    """
    count, full = len(header.scalars), len(header.fields)
    lines = [f"local {param.name} = {_typed(param, f'ARGV[{i}]')}" for i, param in enumerate(header.scalars, 1)]
    if not full:
        return lines
    values = [_typed(param, f"ARGV[at + {i}]") for i, param in enumerate(header.fields, 1)]
    if header.least < full:
        count += 1
        lines.append(f"local WIDTH = tonumber(ARGV[{count}])")
        for i in range(header.least, full):
            values[i] = f"(WIDTH > {i} and {values[i]} or {_lua_default(header.fields[i])})"
    width = "WIDTH" if header.least < full else str(full)
    return [
        *lines,
        f"local ITEM_COUNT = (#ARGV - {count}) / {width}",
        f"local function item(i) local at = {count} + (i - 1) * {width} return {', '.join(values)} end",
    ]


def _lua_default(param: Param) -> str:
    default = default_of(param)
    return str(default) if isinstance(default, int) else f"'{param.default}'"


def _typed(param: Param, source: str) -> str:
    return f"tonumber({source})" if param.kind == "int" else source


# ---- calling -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verb:
    """One script: its signature, its text, and the call."""

    name: str
    header: Header
    lines: tuple[Line, ...] = field(repr=False)
    body: str = field(repr=False)
    shas: Mapping[Flavour, str] = field(repr=False)
    names: frozenset[str] = field(init=False, repr=False)
    """Of the scalars."""
    constants: Mapping[str, Value] = field(init=False, repr=False)
    """The defaults that do not change from call to call."""

    made: tuple[tuple[str, str], ...] = field(init=False, repr=False)
    """The scalars whose default is made for each call, and by what."""

    def __post_init__(self) -> None:
        scalars = self.header.scalars
        generated = [(param.name, param.default) for param in scalars if param.default in (CLOCK, NONCE)]
        object.__setattr__(self, "names", frozenset(param.name for param in scalars))
        object.__setattr__(
            self, "constants", {param.name: default_of(param) for param in scalars if _is_constant(param)}
        )
        object.__setattr__(self, "made", tuple(generated))

    def source(self, flavour: Flavour = "real") -> str:
        """The text the engine gets."""
        return _shebang(self.header.flags) + self.body if flavour == "real" else self.body

    def standing(self, now_ms: int) -> dict[str, Value]:
        """The scalars that the header has a default for: what a caller leaves out."""
        given = dict(self.constants)
        for name, default in self.made:
            given[name] = now_ms if default == CLOCK else ids.nonce()
        return given

    def args(self, items: Sequence[Item] = (), **scalars: Value) -> list[Any]:
        """ARGV: the scalars in the header's order, then the items' fields.

        None becomes an empty string, which Lua reads as the default of an ``int``, or as nil.
        Raises TypeError for a missing or unknown name, an item of another width, or a value of another type.
        """
        header = self.header
        if scalars.keys() != self.names:
            raise TypeError(f"{self.name} takes {[param.name for param in header.scalars]}, not {list(scalars)}")
        flat = [scalars[param.name] for param in header.scalars]
        is_plain = all(map(_is_plain, header.scalars, flat))
        if not is_plain:
            for param, value in zip(header.scalars, flat, strict=True):
                _check_column(self.name, param, (value,))
        if not self.header.fields:
            return flat if is_plain else _without_none(flat)
        if set(map(len, items)) - {len(header.fields)}:
            raise TypeError(f"{self.name} takes items of {len(header.fields)} fields")
        columns = self._told(list(zip(*items, strict=True)))
        for param, column in zip(header.fields, columns, strict=False):
            if not PLAIN[param.kind].issuperset(map(type, column)):
                is_plain = False
                _check_column(self.name, param, column)
        if header.least < len(header.fields):
            flat.append(max(header.least, len(columns)))
        flat.extend(chain.from_iterable(zip(*columns, strict=True)))
        return flat if is_plain else _without_none(flat)

    def _told(self, columns: list[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
        """The columns of items, without the last ones in which all are at their default."""
        while len(columns) > self.header.least:
            last, default = columns[-1], default_of(self.header.fields[len(columns) - 1])
            if last.count(default) < len(last):
                break
            columns.pop()
        return columns

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
        return self.checked(reply, len(items), self._has_hints(scalars))

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
        has_hints = self._has_hints(scalars)
        return [self._settled(reply, len(items), has_hints) for reply in replies]

    def _has_hints(self, scalars: Mapping[str, Value]) -> bool:
        """Whether hints come with the reply to a call with these arguments."""
        return bool(self.header.reply.hints and scalars[self.header.reply.hints])

    def checked(self, reply: object, items: int = 0, has_hints: bool = False) -> Reply:
        """The reply, if it is of the form the header declares."""
        if not isinstance(reply, list) or not reply:
            raise self._misfit(reply, items)
        if reply[0] == b"no_epoch":
            raise NoEpoch(
                f"{self.name}: the engine holds no epoch, so it was emptied or never set up. "
                "Restore its data, or accept the loss: empty the engine and run 'gojob bootstrap'."
            )
        if reply[0] in (b"newer_schema", b"older_schema"):
            raise OtherSchema("The partition", reply[1])
        if not self.header.reply.fits(reply, items, has_hints):
            raise self._misfit(reply, items)
        return reply

    def _misfit(self, reply: object, items: int) -> BrokenInvariant:
        return BrokenInvariant(
            f"lua/{self.name}.lua answered {items} items by {reply!r:.200}; its header declares else."
        )

    def where(self, line: int) -> str:
        """The file and line behind a line of the text of a real server (its first line is the shebang)."""
        at = self.lines[max(0, min(line - 2, len(self.lines) - 1))]
        return f"{at.file}:{at.number}"

    def _settled(self, reply: Any, items: int, has_hints: bool) -> Reply | Exception:
        try:
            if isinstance(reply, ResponseError):
                return self._explain(reply)
            if isinstance(reply, Exception):
                return reply
            return self.checked(reply, items, has_hints)
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


def _without_none(values: list[Any]) -> list[Any]:
    return [b"" if value is None else value for value in values]


def _is_constant(param: Param) -> bool:
    return param.default is not None and param.default not in (CLOCK, NONCE)


def default_of(param: Param) -> Value:
    """The default of an argument, as a value of its type; only for one that has a constant."""
    assert param.default is not None
    if param.kind == "int":
        return int(param.default)
    return param.default.encode() if param.kind == "bin" else param.default


PLAIN = {kind: frozenset(types) for kind, types in KINDS.items()}


def _is_plain(param: Param, value: Value) -> bool:
    """Whether a value is exactly of the type that is declared, as nearly all are."""
    return type(value) in PLAIN[param.kind]


def _check_column(verb: str, param: Param, column: Sequence[Value]) -> None:
    """Look singly at values that are None, or of a class that only derives from the type that is declared."""
    allowed = KINDS[param.kind]
    for odd in set(map(type, column)).difference(allowed, (type(None),)):
        if odd is bool or not issubclass(odd, allowed):
            raise TypeError(f"{verb}: {param.name} is declared {param.kind}, so it cannot be {odd.__name__}")


def _shebang(flags: tuple[str, ...]) -> str:
    return f"#!lua flags={','.join(flags)}\n" if flags else "#!lua\n"


def flavour_of(client: object) -> Flavour:
    """Which text this client's engine understands."""
    return "fake" if type(client).__module__.startswith("fakeredis") else "real"


# ---- loading -------------------------------------------------------------------------------------------------------


def load(path: Path, root: Path = LUA, files: Files | None = None) -> Verb:
    """Read one verb file; raises BadScript with file and line.

    files: the lines of files that were read before, or that are to stand in their places.
    """
    files = {} if files is None else files
    written = files[path] if path in files else _read(path, root)
    first = written[0] if written else Line("", path.name, 1)
    top, rest = split(written)
    header = read_header(path.stem, top, first)
    prelude = [Line(text, f"{first.file} (arguments)", i) for i, text in enumerate(_prelude(header), 1)]
    lines = list(_assemble(_without_comments([*prelude, *rest]), root, set(), files))
    lines = _fill_limits(_fill_policies(lines))
    lines = _fill_keys(_without_unused(lines))
    _refuse_globals(lines)
    lines = _in_blocks(lines)
    body = "\n".join(line.text for line in lines) + "\n"
    texts: dict[Flavour, str] = {"real": _shebang(header.flags) + body, "fake": body}
    # SHA-1 is how the engine names a script, not a safeguard.
    shas = {name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in texts.items()}
    return Verb(path.stem, header, tuple(lines), body, shas)


@lru_cache
def load_all(root: Path = LUA) -> dict[str, Verb]:
    """Every verb, by name."""
    files: Files = {}
    return {path.stem: load(path, root, files) for path in sorted(root.glob("*.lua"))}


def verb(name: str) -> Verb:
    """The verb of this name; raises KeyError when there is no such file."""
    return load_all()[name]
