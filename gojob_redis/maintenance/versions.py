"""Which version of a handler a worker had, by what it told of its handlers.

A worker says once what it has (``lua/describe.lua``): a document of the digests of its handlers, by their names. What
fails carries the id of that document alone. It is resolved when failures are added up: the versions are known then, and
may be forgotten long before the failures are.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.tally import Version
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.engine.sums import unpack

REMEMBERED: Final = 10_000
Asked = tuple[str, str]
"""A handler, and the id of what its worker told."""


@dataclass(slots=True)
class Versions:
    """Remembers what is known; what is not known yet is asked for again."""

    within_s: float
    _known: dict[Asked, Version] = field(default_factory=dict)

    async def of(self, partition: Partition, asked: Collection[Asked]) -> Mapping[Asked, Version]:
        """The version of each; an empty one where nothing was told, or nobody knows any more."""
        unknown = [each for each in asked if each[1] and each not in self._known]
        digests = await self._digests(partition, unknown)
        commands = [("GET", K.spec(partition.prefix, app_of(handler), digest)) for (handler, _), digest in digests]
        versions: dict[Asked, Version] = {}
        for (each, digest), spec in zip(digests, await self._read(partition, commands), strict=True):
            versions[each] = Version(digest, _text_in(unpack(spec), "version"))
            if spec:
                self._remember(each, versions[each])
        return {each: self._known.get(each) or versions.get(each) or Version() for each in asked}

    async def _digests(self, partition: Partition, asked: Collection[Asked]) -> list[tuple[Asked, str]]:
        """The digest of each handler in what its worker told."""
        commands = [("GET", K.spec(partition.prefix, app_of(handler), specs)) for handler, specs in asked]
        answers = await self._read(partition, commands)
        digests = [(each, _text_in(unpack(own), name_of(each[0]))) for each, own in zip(asked, answers, strict=True)]
        return [(each, digest) for each, digest in digests if digest]

    async def _read(self, partition: Partition, commands: list[tuple[str, str]]) -> list[Any]:
        return await partition.read(commands, within_s=self.within_s) if commands else []

    def _remember(self, asked: Asked, version: Version) -> None:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[asked] = version


def _text_in(document: Any, name: str) -> str:
    """What a document says under a name, if that is a text."""
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, str) else ""
