"""The typed calls, written from the headers of the scripts: ``gojob_redis/domain/verbs.py``.

``python -m gojob_redis.ops.verbs`` prints them, ``make docs`` formats and writes them, ``make check`` compares. It
imports nothing that needs what it writes.
"""

import textwrap
from collections.abc import Iterator, Mapping

from gojob_redis.engine.headers import CLOCK, NONCE, Column, Param
from gojob_redis.engine.scripts import Verb, default_of, load_all

TYPES = {
    "int": "int",
    "str": "str",
    "bin": "bytes",
    "ints": "list[int]",
    "strs": "list[str]",
    "rows": "list[list[Any]]",
}
READ = {"int": "{}", "bin": "{}", "ints": "{}", "rows": "{}", "str": "text({})", "strs": "[*map(text, {})]"}
READ_ALL = {"int": "{}", "bin": "{}", "str": "map(text, {})"}
EMPTY = {"int": "0", "str": '""', "bin": 'b""', "ints": "[]", "strs": "[]", "rows": "[]"}

HEAD = '''\
"""The verbs of the engine: what each takes, and what it replies.

Written by ``make docs`` from the headers in ``lua/``, which say what the fields mean. ``Partition.call`` makes a call,
``Partitions.call_in`` makes it in many partitions; both add what a caller never gives, the time and the nonce.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

R = TypeVar("R")

class Call(NamedTuple, Generic[R]):
    """A verb and what it is called with."""

    verb: str
    items: Sequence[tuple[Any, ...]]
    scalars: dict[str, str | bytes | int | None]
    read: Callable[[list[Any], int], R]
    """Makes the typed reply of what the engine replied to so many items."""

def text(value: bytes) -> str:
    """Names and ids, whatever somebody wrote into them."""
    return value.decode("utf-8", "surrogateescape")
'''


def module(verbs: Mapping[str, Verb]) -> str:
    """The whole text, before it is formatted."""
    words = {word for verb in verbs.values() for word in _all_words(verb)}
    table = "\n".join(f'    b"{word}": "{word}",' for word in sorted(words))
    parts = [part for name in sorted(verbs) for part in _parts(verbs[name])]
    return "\n\n".join([HEAD, f"WORDS: dict[bytes, Any] = {{\n{table}\n}}\nword = WORDS.__getitem__", *parts]) + "\n"


def _all_words(verb: Verb) -> Iterator[str]:
    yield from _statuses(verb)
    for column in verb.header.reply.each:
        yield from column.words.values()


def _statuses(verb: Verb) -> list[str]:
    """The status words that reach a caller."""
    form = verb.header.reply
    words = {word.decode() for word in form.words | form.alone} - {"no_epoch"}
    return sorted(words, key=lambda word: (word != "ok", word))


def _parts(verb: Verb) -> Iterator[str]:
    header, form = verb.header, verb.header.reply
    if header.fields:
        yield _tuple(header.item, f"An item of ``{verb.name}``.", map(_field, header.fields))
    for column in form.each:
        if column.words:
            yield f"{_alias(verb, column)} = {_literal(column.words.values())}"
    if form.each_name:
        each = (f"{column.name}: {_type(verb, column)}" for column in form.each)
        yield _tuple(form.each_name, f"What ``{verb.name}`` replies to an item.", each)
    yield _tuple(_reply_name(verb), f"What ``{verb.name}`` replies.", _reply_fields(verb))
    yield _reader(verb)
    yield _caller(verb)


def _tuple(name: str, about: str, fields: Iterator[str]) -> str:
    lines = "\n".join(f"    {field}" for field in fields)
    return f'class {name}(NamedTuple):\n    """{about}"""\n\n{lines}'


def _field(param: Param) -> str:
    """A parameter as Python writes it; what is made for each call is none of its callers'."""
    default = "" if param.default is None else f" = {_quoted(default_of(param))}"
    return f"{param.name}: {TYPES[param.kind]}{default}"


def _quoted(value: object) -> str:
    return repr(value).replace("'", '"')


def _literal(words: object) -> str:
    return f"Literal[{', '.join(map(_quoted, words))}]"  # type: ignore[call-overload]


def _noun(name: str) -> str:
    """``bulk_cancel`` as the name of a class."""
    return name.title().replace("_", "")


def _reply_name(verb: Verb) -> str:
    return f"{_noun(verb.name)}Reply"


def _alias(verb: Verb, column: Column) -> str:
    return f"{_noun(verb.name)}{_noun(column.name)}"


def _type(verb: Verb, column: Column) -> str:
    return _alias(verb, column) if column.words else TYPES[column.kind]


def _reply_fields(verb: Verb) -> Iterator[str]:
    form = verb.header.reply
    yield f"status: {_literal(_statuses(verb))}"
    for column in form.values:
        yield f"{column.name}: {TYPES[column.kind]}"
    if form.each_name:
        yield f"each: list[{form.each_name}]"
    elif form.each:
        yield f"{form.each[0].name}s: list[{_type(verb, form.each[0])}]"
    if form.hints:
        yield "hints: list[bytes]"


def _reader(verb: Verb) -> str:
    """The function that takes a reply apart, which was found to be of its form."""
    form, name = verb.header.reply, _reply_name(verb)
    begin, width = 1 + len(form.values), len(form.each)
    values = ["word(reply[0])", *(READ[column.kind].format(f"reply[{at}]") for at, column in enumerate(form.values, 1))]
    lines = [f"def _read_{verb.name}(reply: list[Any], items: int) -> {name}:"]
    if form.values and form.values[-1].default is not None:
        values[-1] += f" if len(reply) > {len(form.values)} else {form.values[-1].default}"
    if form.alone - {b"no_epoch"}:
        nothing = [*(EMPTY[column.kind] for column in form.values), *(["[]"] * (bool(form.each) + bool(form.hints)))]
        lines += ["    if len(reply) == 1:", f"        return {name}(word(reply[0]), {', '.join(nothing)})"]
    if form.each:
        lines.append(f"    end = {begin} + {width} * items" if width > 1 else f"    end = {begin} + items")
        step = f":{width}" if width > 1 else ""
        columns = [_column(column, f"reply[{begin + at}:end{step}]") for at, column in enumerate(form.each)]
        if form.each_name:
            values.append(f"[*map({form.each_name}, {', '.join(columns)})]")
        else:
            values.append(f"[*{columns[0]}]" if columns[0].startswith("map") else columns[0])
    if form.hints:
        values.append("reply[end] if len(reply) > end else []")
    return "\n".join([*lines, f"    return {name}({', '.join(values)})"])


def _column(column: Column, values: str) -> str:
    return f"map(word, {values})" if column.words else READ_ALL[column.kind].format(values)


def _caller(verb: Verb) -> str:
    header, name = verb.header, _reply_name(verb)
    given = [param for param in header.scalars if param.default not in (CLOCK, NONCE)]
    takes = [f"items: Sequence[{header.item}]"] if header.fields else []
    takes += ["*", *map(_field, given)] if given else []
    named = ", ".join(f'"{param.name}": {param.name}' for param in given)
    scalars = f"{{{named}}}" if header.fields else "locals()"  # without items its arguments are all it has
    items = "items" if header.fields else "()"
    about = textwrap.fill(
        f"{header.summary.split('. ')[0].rstrip('.')}.".replace("`", "``"), 110, subsequent_indent="    "
    )
    return (
        f"def {verb.name}({', '.join(takes)}) -> Call[{name}]:\n"
        f'    """{about}"""\n'
        f'    return Call("{verb.name}", {items}, {scalars}, _read_{verb.name})'
    )


if __name__ == "__main__":
    print(module(load_all()), end="")
