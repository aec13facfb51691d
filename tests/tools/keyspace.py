"""The whole keyspace as Python values, and the check that every key has an owner."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from gojob_redis.engine import keys
from gojob_redis.engine.client import Client, round_trip
from gojob_redis.engine.cluster import Command

Value = Any
Keyspace = dict[str, Value]

SCAN_COUNT = 10_000


async def dump(client: Client, prefix: str = "") -> Keyspace:
    """Every key below the prefix (which is cut off its name) and what it holds.

    A hash is a dict, a zset a dict of scores, a set a set, a list a list, a stream the list of its entries' fields
    (without ids, which differ from run to run), a string itself. Bytes that are UTF-8 become text.
    """
    kinds = sorted((await _kinds(client, _escaped(prefix) + "*")).items())
    contents = await _answers(client, [_READS[kind](name) for name, kind in kinds])
    return {
        name.decode("utf-8", "backslashreplace").removeprefix(prefix): _value(kind, content)
        for (name, kind), content in zip(kinds, contents, strict=True)
    }


async def read(client: Client, kind: str, name: str) -> Value:
    """What one key of this type holds, as ``dump`` tells it; empty when there is none."""
    [content] = await _answers(client, [_READS[kind](name.encode())])
    return _value(kind, content)


async def strays(client: Client) -> list[str]:
    """What is wrong with the keyspace: keys that no catalogue entry owns, or of another type than it says."""
    sentences = []
    for name, kind in (await _kinds(client)).items():
        owner = owner_of(name)
        if owner is None:
            sentences.append(f"{text(name)} ({kind}) is in no entry of the catalogue")
        elif owner.type != kind:
            sentences.append(f"{text(name)} is a {kind}, the catalogue says {owner.type}")
    return sentences


def events(dump: Keyspace) -> list[dict[str, str]]:
    """The event logs of a partition: of each app, then what belongs to none."""
    apps = [value for name, value in sorted(dump.items()) if name.startswith("events:")]
    return [event for stream in [*apps, dump.get("events", [])] for event in stream]


def is_event_log(name: str) -> bool:
    """Whether a key below a partition's prefix belongs to its event logs."""
    return name.partition(":")[0] in ("events", "event_counts", "event_apps", "faults")


_READS: Mapping[str, Callable[[bytes], Command]] = {
    "hash": lambda name: ("HGETALL", name),
    "zset": lambda name: ("ZRANGE", name, 0, -1, "WITHSCORES"),
    "set": lambda name: ("SMEMBERS", name),
    "list": lambda name: ("LRANGE", name, 0, -1),
    "stream": lambda name: ("XRANGE", name, "-", "+"),
    "string": lambda name: ("GET", name),
}


async def _kinds(client: Client, pattern: str = "*") -> dict[bytes, str]:
    """The type of each key; one that goes while this is read is left out."""
    names = [name async for name in client.scan_iter(match=pattern, count=SCAN_COUNT)]
    answers = await _answers(client, [("TYPE", name) for name in names])
    kinds = {name: text(kind) for name, kind in zip(names, answers, strict=True)}
    return {name: kind for name, kind in kinds.items() if kind != "none"}


async def _answers(client: Client, commands: Sequence[Command]) -> list[Any]:
    """What each command answers, in one round trip: tests look at the whole keyspace again and again."""
    if not commands:
        return []
    answers = await round_trip(client, commands)
    if failed := next((answer for answer in answers if isinstance(answer, Exception)), None):
        raise failed
    return answers


def _value(kind: str, content: Any) -> Value:
    if kind == "hash":
        return {text(k): text(v) for k, v in content.items()}
    if kind == "zset":
        return {text(m): _score(s) for m, s in content}
    if kind == "set":
        return {text(m) for m in content}
    if kind == "list":
        return [text(m) for m in content]
    if kind == "stream":
        return [_fields(fields) for _, fields in content]
    return text(content)


def _fields(fields: Mapping[bytes, bytes]) -> dict[str, str | bytes]:
    return {str(text(k)): text(v) for k, v in fields.items()}


def _score(score: float) -> int | float:
    return int(score) if score.is_integer() else score


def text(value: Any) -> Any:
    """Bytes as text where they are text."""
    return _decoded(value) if isinstance(value, bytes) else value


@lru_cache(100_000)
def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


owner_of = lru_cache(100_000)(keys.owner_of)
"""``keys.owner_of``; tests ask it for the same names again and again."""


def _escaped(prefix: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix)
