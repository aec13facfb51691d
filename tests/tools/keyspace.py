"""The whole keyspace as Python values, and the check that every key has an owner."""

from collections.abc import Mapping
from typing import Any

from gojob_redis.engine import keys
from gojob_redis.engine.client import Client

Value = Any
Keyspace = dict[str, Value]


async def dump(client: Client, prefix: str = "") -> Keyspace:
    """Every key below the prefix (which is cut off its name) and what it holds.

    A hash is a dict, a zset a dict of scores, a set a set, a list a list, a stream the list of its entries' fields
    (without ids, which differ from run to run), a string itself. Bytes that are UTF-8 become text.
    """
    names = sorted([name async for name in client.scan_iter(match=_escaped(prefix) + "*", count=1000)])
    return {name.decode("utf-8", "backslashreplace").removeprefix(prefix): await _value(client, name) for name in names}


async def strays(client: Client) -> list[str]:
    """What is wrong with the keyspace: keys that no catalogue entry owns, or of another type than it says."""
    sentences = []
    async for name in client.scan_iter(count=1000):
        kind = text(await client.execute_command("TYPE", name))
        owner = keys.owner_of(name)
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


async def _value(client: Any, name: bytes) -> Value:
    kind = text(await client.execute_command("TYPE", name))
    if kind == "hash":
        return {text(k): text(v) for k, v in (await client.hgetall(name)).items()}
    if kind == "zset":
        return {text(m): _score(s) for m, s in await client.zrange(name, 0, -1, withscores=True)}
    if kind == "set":
        return {text(m) for m in await client.smembers(name)}
    if kind == "list":
        return [text(m) for m in await client.lrange(name, 0, -1)]
    if kind == "stream":
        return [_fields(fields) for _, fields in await client.xrange(name)]
    return text(await client.get(name))


def _fields(fields: Mapping[bytes, bytes]) -> dict[str, str | bytes]:
    return {str(text(k)): text(v) for k, v in fields.items()}


def _score(score: float) -> int | float:
    return int(score) if score.is_integer() else score


def text(value: Any) -> Any:
    """Bytes as text where they are text."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _escaped(prefix: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix)
