"""Names that a gateway keeps, so that any part of one finds it: of triggers, handlers and workers.

1. The names of an app stand in one text, a line each, in small letters and as they are: to look through 100,000 of them
   takes 2 ms, and a name costs its characters.
2. They are read again where their number changed, which is looked at when somebody searches, at most every 5 s; and
   after a minute anyway. So what was made just now may be missing for a moment. What was removed is found out before an
   answer: only triggers that are still there are shown.
3. At most 16 MiB of names are kept. The apps behind that are left out, and each answer says so; their triggers are
   found by ``GET /v1/triggers``, page by page.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.address import name_of
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.pages import names_after
from gojob_redis.view.records import text

LOOK_S: Final = 5.0
RENEW_S: Final = 60.0
FIRST_S: Final = 0.03
"""How long the first to search waits for names."""
READ_AT_ONCE: Final = 500
HITS_PER_APP: Final = 50
HITS: Final = 1_000
"""So many are put in order, of all that are found."""


class Kind(StrEnum):
    """What has a name."""

    TRIGGER = "trigger"
    HANDLER = "handler"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Name:
    """A name that was found."""

    kind: Kind
    app: str
    """namespace/app"""
    name: str
    id: str
    """The session of a worker."""


@dataclass(slots=True)
class _Kept:
    """The names of one kind in an app."""

    lines: str
    """Each between two line ends; a worker's session stands behind its name."""
    small: str
    count: int
    """How many there were, by the engine."""
    read_at: float

    @property
    def size(self) -> int:
        """In characters; names in small letters stand there once."""
        return len(self.lines) * (1 if self.small is self.lines else 2)

    def lines_with(self, part: str) -> Iterator[str]:
        """Lines with this text, which may begin or end with a line end."""
        at = self.small.find(part)
        while at >= 0:
            begin = self.small.rfind("\n", 0, at + 1) + 1
            end = self.small.find("\n", begin)
            yield self.lines[begin:end]
            at = self.small.find(part, end)


@dataclass(slots=True)
class Names:
    """The names of all apps; one for each gateway."""

    apps: Apps
    most: int = limits.NAMES_KEPT_CHARS
    is_whole: bool = False
    """Whether nothing had to be left out."""
    _kept: dict[tuple[str, Kind], _Kept] = field(default_factory=dict)
    _looked_at: float = 0.0
    reading: "asyncio.Task[None] | None" = None
    """The last time that names were read."""

    async def find(self, q: str, sees: Sees) -> list[Name]:
        """Names with this text, of apps that the caller may see, likeliest first; q: in small letters."""
        await self._look()
        hits: dict[Name, int] = {}
        seen = [(app, kind, kept) for (app, kind), kept in self._kept.items() if sees(app)]
        for part in (f"\n{q}\n", f"\n{q}", q):
            for app, kind, kept in seen:
                for line in islice(kept.lines_with(part), HITS_PER_APP):
                    name, _, session = line.partition(" ")
                    hits.setdefault(Name(kind, app, name, session), likeness(name.lower(), q))
                if len(hits) >= HITS:
                    break
        return sorted(hits, key=lambda hit: (hits[hit], len(hit.name), hit.name, hit.app, hit.kind))

    async def _look(self) -> None:
        """Begin to read what changed, where nobody did just now; wait a moment where nothing was read yet."""
        if time.monotonic() - self._looked_at > LOOK_S and (self.reading is None or self.reading.done()):
            self.reading = asyncio.create_task(self._read())
            self.reading.add_done_callback(_taken)
        if self.reading is not None and not self._looked_at:
            await asyncio.wait({self.reading}, timeout=FIRST_S)

    async def _read(self) -> None:
        everything = await self.apps.seen(lambda _app: True)
        left, is_whole = self.most, True
        kept: dict[tuple[str, Kind], _Kept] = {}
        for first in range(0, len(everything), READ_AT_ONCE):
            some = everything[first : first + READ_AT_ONCE]
            counts = await self._counts(some)
            for (app, partition), of_app in zip(some, counts, strict=True):
                for kind, count in zip(Kind, of_app, strict=True):
                    if not count:
                        continue
                    names = self._kept.get((app, kind))
                    if names is None or names.count != count or time.monotonic() - names.read_at > RENEW_S:
                        names = await _names(kind, app, partition, count, left)
                    if names is None or names.size > left:
                        is_whole = False
                        continue
                    left -= names.size
                    kept[app, kind] = self._kept[app, kind] = names
        self._kept, self.is_whole, self._looked_at = kept, is_whole, time.monotonic()

    async def _counts(self, apps: Sequence[tuple[str, Partition]]) -> list[tuple[int, ...]]:
        commands: list[tuple[str | int, ...]] = []
        for app, partition in apps:
            prefix = partition.prefix
            commands += [("ZCARD", K.trigger_names(prefix, app)), ("ZCARD", K.app_handlers(prefix, app))]
            commands += [("SCARD", K.sessions(prefix, app))]
        answers = await self.apps.space.read_all(commands)
        return [tuple(answers[at : at + 3]) for at in range(0, len(answers), 3)]


def likeness(name: str, q: str) -> int:
    """How well a name agrees with what is sought: 0 the same, 1 its begin, 2 the begin of a word, 3 a part."""
    if name == q:
        return 0
    if name.startswith(q):
        return 1
    return 2 if any(f"{mark}{q}" in name for mark in "._-") else 3


def _taken(task: "asyncio.Task[None]") -> None:
    """What could not be read is read by the next search."""
    if not task.cancelled():
        task.exception()


async def _names(kind: Kind, app: str, partition: Partition, count: int, room: int) -> _Kept | None:
    """The names of an app; None when they take more than this room."""
    lines: list[str] = []
    async for page in _workers(app, partition) if kind is Kind.WORKER else _listed(kind, app, partition):
        lines += page
        room -= sum(map(len, page)) + len(page)
        if room < 0:
            return None
    joined = "\n" + "".join(f"{line}\n" for line in lines)
    small = joined.encode().lower().decode()  # only ASCII letters have a small one of the same length
    return _Kept(joined, joined if small == joined else small, count, time.monotonic())


async def _listed(kind: Kind, app: str, partition: Partition) -> AsyncIterator[list[str]]:
    """The names of triggers or handlers, which stand in order."""
    key = (K.trigger_names if kind is Kind.TRIGGER else K.app_handlers)(partition.prefix, app)
    after: str | None = ""
    while after is not None:
        page = await names_after(partition, key, after, READ_AT_ONCE)
        yield page if kind is Kind.TRIGGER else [name_of(handler) for handler in page]
        after = page[-1] if len(page) == READ_AT_ONCE else None


async def _workers(app: str, partition: Partition) -> AsyncIterator[list[str]]:
    """Names and sessions of workers. A name may hold anything, so it is made one word."""
    [members] = await partition.read([("SMEMBERS", K.sessions(partition.prefix, app))])
    sessions = [text(member) for member in members]
    for first in range(0, len(sessions), READ_AT_ONCE):
        some = sessions[first : first + READ_AT_ONCE]
        names = await partition.read([("HGET", K.session(partition.prefix, session), "name") for session in some])
        yield [f"{_word(text(name))} {session}" for name, session in zip(names, some, strict=True) if name is not None]


def _word(name: str) -> str:
    return "_".join(name.split())
