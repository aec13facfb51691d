"""The second and third record: the event log and the keyspace, read whole and fast after a campaign."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from redis import Redis

from gojob_redis.engine.keys import K, prefixes
from tests import invariants
from tests.tools.history import Event
from tests.tools.keyspace import Keyspace, text

PAGE = 2_000
READS, READ_AGAIN_S = 4, 0.7
COMMANDS: dict[str, tuple[Any, ...]] = {
    "hash": ("HGETALL",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    "set": ("SMEMBERS",),
    "list": ("LRANGE", 0, -1),
    "stream": ("XRANGE", "-", "+"),
    "string": ("GET",),
}
SKIPPED = ("events", "event_counts", "event_apps", "wake")
"""Kinds of keys that are left out: ``events`` reads them, or nobody needs them afterwards."""


def keyspaces(engine: Redis, partitions: int) -> dict[int, Keyspace]:
    """What every partition holds, names below its prefix.

    The replicas go on adding up what happened. Where that happened in the middle, the partition is read again.
    """
    return {index: _settled(engine, prefix) for index, prefix in enumerate(prefixes(partitions))}


def _settled(engine: Redis, prefix: str) -> Keyspace:
    dump = keyspace(engine, prefix)
    for _ in range(READS):
        if not invariants.miscounts(dump):
            break
        time.sleep(READ_AGAIN_S)
        dump = keyspace(engine, prefix)
    return dump


def keyspace(engine: Redis, prefix: str) -> Keyspace:
    """What one partition holds; values as ``tests.tools.keyspace.dump`` gives them."""
    names = list(engine.scan_iter(match=f"{prefix}*", count=5_000))
    partition: Keyspace = {}
    for page in _pages(names):
        kinds = _all(engine, [("TYPE", name) for name in page])
        typed_names = [(name, text(kind)) for name, kind in zip(page, kinds, strict=True) if text(kind) != "none"]
        typed_names = [
            (name, kind)
            for name, kind in typed_names
            if text(name).removeprefix(prefix).partition(":")[0] not in SKIPPED
        ]
        values = _all(engine, [(COMMANDS[kind][0], name, *COMMANDS[kind][1:]) for name, kind in typed_names])
        for (name, kind), value in zip(typed_names, values, strict=True):
            if value:
                partition[text(name).removeprefix(prefix)] = _plain(kind, value)
    return partition


def events(engine: Redis, partitions: int) -> list[Event]:
    """The events of all partitions, by time: with ``trace`` each stands in its partition's log, whole."""
    events = []
    for index, prefix in enumerate(prefixes(partitions)):
        for _id, fields in _entries(engine.execute_command("XRANGE", K.events(prefix), "-", "+")):  # type: ignore[no-untyped-call]
            at_ms, kind = int(fields.pop("wall", "0")), fields.pop("kind", "?")
            events.append(Event(index, at_ms, kind, fields))
    return sorted(events, key=lambda event: event.at_ms)


def _entries(rows: Any) -> Iterator[tuple[str, dict[str, str]]]:
    for entry_id, fields in rows or ():
        flat = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        yield text(entry_id), {str(text(name)): str(text(value)) for name, value in flat.items()}


def _plain(kind: str, value: Any) -> Any:
    if kind == "hash":
        return {text(name): text(field) for name, field in value.items()}
    if kind == "zset":
        return {text(member): int(score) if float(score).is_integer() else score for member, score in value}
    if kind == "set":
        return {text(member) for member in value}
    if kind == "list":
        return [text(member) for member in value]
    if kind == "stream":
        return [fields for _id, fields in _entries(value)]
    return text(value)


def _all(engine: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    pipe = engine.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)  # type: ignore[no-untyped-call]
    return list(pipe.execute())


def _pages(names: Sequence[bytes]) -> Iterator[list[bytes]]:
    rest = iter(names)
    while page := list(islice(rest, PAGE)):
        yield page
