"""A partition whose whole keyspace is read in one round trip, and put back in one: thousands of looks a second."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import Partition
from tests.tools.keyspace import Keyspace, owner_of, text

DUMP, RESTORE = (Path(__file__).with_name(f"{name}.lua").read_text("utf-8") for name in ("dump", "restore"))

Snapshot = list[bytes]
"""Names and contents in the engine's own form, in turn."""


@dataclass(frozen=True)
class QuickPartition(Partition):
    """A bootstrapped partition on a real engine that holds nothing else."""

    async def dump(self) -> Keyspace:
        """As ``keyspace.dump``; a key that nobody owns is an error here already."""
        found = {}
        for name, kind, value in await self.client.execute_command("EVAL", DUMP, 0):
            owner = owner_of(name)
            assert owner is not None, f"{text(name)} is in no entry of the catalogue"
            assert owner.type == kind.decode(), f"{text(name)} is a {kind}, the catalogue says {owner.type}"
            found[text(name).removeprefix(self.prefix)] = _value(owner.type, value)
        return found

    async def snapshot(self) -> Snapshot:
        """Everything, to be put back later."""
        names: Any = await self.client.keys("*")
        async with self.client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.execute_command("DUMP", name)
            values: list[bytes] = await pipe.execute()
        return [part for pair in zip(names, values, strict=True) for part in pair]

    async def restore(self, snapshot: Snapshot) -> None:
        """Make the engine hold what it held then. Times to live are not kept."""
        await self.client.execute_command("EVAL", RESTORE, 0, *snapshot)


def _value(kind: str, value: Any) -> Any:
    if kind == "hash":
        return dict(_pairs(value))
    if kind == "zset":
        return {member: int(float(score)) for member, score in _pairs(value)}
    if kind == "set":
        return {text(member) for member in value}
    if kind == "list":
        return [text(member) for member in value]
    if kind == "stream":
        return [dict(_pairs(fields)) for _id, fields in value]
    return text(value)


def _pairs(flat: list[Any]) -> Iterable[tuple[Any, Any]]:
    words = [text(word) for word in flat]
    return zip(words[::2], words[1::2], strict=True)
