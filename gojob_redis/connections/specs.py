"""What workers tell of their handlers: asked for once, kept in the engine, and said to be in use as long as it is.

1. A hello names the spec of each handler by its digest. All workers of a deployment name the same, so that is looked at
   once a gateway: the first of them makes the gateway tell the engine, and where the engine does not know a digest the
   gateway asks this worker for what it stands for (``describe``).
2. Every minute the gateway says again which specs its workers have: that is what makes a version live.
3. A worker's answer is checked: its digest is that of its bytes, it was asked for, and its schema can be compiled. One
   is compiled at a time, in a thread, and then there is a pause: a stranger's schemas never take more than a fifth of a
   core.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgpack
import structlog

from gojob_redis.domain import limits, schema, verbs
from gojob_redis.engine.errors import TROUBLE, tell
from gojob_redis.engine.partitions import Partition
from gojob_sdk import protocol

log = structlog.get_logger()

ITEM_BYTES: Final = 200
TELL_S: Final = limits.SPEC_TOLD_MS / 1000
REST: Final = 4
"""How many times as long as compiling a schema took nothing is compiled."""


@dataclass(frozen=True, slots=True)
class SpecSet:
    """What workers of one kind tell: the spec of each of their handlers, by address."""

    app: str
    partition: Partition
    digests: tuple[tuple[str, str], ...]
    packed: bytes
    """The same as a document, so that a session can be shown with its versions."""

    @property
    def id(self) -> str:
        """Stands for the document in the record of a session."""
        return protocol.spec_digest(self.packed)


def specs_in(hello: protocol.Hello, partition: Partition) -> SpecSet | None:
    """What a hello tells; None where it tells nothing."""
    specs = hello.get("specs")
    if not specs or not any(specs):
        return None
    app = f"{hello['namespace']}/{hello['app']}"
    by_name = {name: digest for name, digest in zip(hello["handlers"], specs, strict=True) if digest}
    digests = sorted(by_name.items())
    return SpecSet(app, partition, tuple((f"{app}/{name}", one) for name, one in digests), msgpack.packb(dict(digests)))


class Teller(Protocol):
    """A connection whose worker tells something (``connection.py``)."""

    spec_set: SpecSet | None
    awaited: dict[str, bool]
    """The digests it was asked for, and whether its answer is still to come."""

    def ask_for_specs(self, digests: Sequence[str]) -> None:
        """Send ``describe``."""


class Specs:
    """What the workers of one gateway tell.  clock: monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._tellers: dict[SpecSet, dict[Teller, None]] = {}
        self._compiling = asyncio.Lock()

    @property
    def kinds(self) -> int:
        """How many different sets of specs the workers here have."""
        return len(self._tellers)

    async def greet(self, teller: Teller) -> None:
        """A worker came; the first of its kind makes the engine know what it has."""
        spec_set = teller.spec_set
        if spec_set is None:
            return
        tellers = self._tellers.setdefault(spec_set, {})
        tellers[teller] = None
        if len(tellers) == 1:
            await self._say(spec_set)

    def part(self, teller: Teller) -> None:
        """A worker is gone."""
        spec_set = teller.spec_set
        tellers = self._tellers.get(spec_set) if spec_set is not None else None
        if tellers is not None and spec_set is not None:
            tellers.pop(teller, None)
            if not tellers:
                del self._tellers[spec_set]

    async def say_again(self) -> None:
        """Once a minute: what all workers here have is in use."""
        for spec_set in list(self._tellers):
            await self._say(spec_set)

    async def _say(self, spec_set: SpecSet) -> None:
        """Tell the engine that these specs are in use, and ask a worker for those that it does not know."""
        items = [verbs.Telling(spec_set.app, "", spec_set.id, spec_set.packed)]
        items += [verbs.Telling(spec_set.app, handler, digest) for handler, digest in spec_set.digests]
        words = await self._call(spec_set.partition, items)
        unknown = {item.digest for item, word in zip(items, words, strict=False) if word == "unknown"}
        teller = next(reversed(self._tellers.get(spec_set, {})), None)
        if teller is not None and (asked := sorted(unknown - teller.awaited.keys())):
            teller.awaited.update(dict.fromkeys(asked, True))
            teller.ask_for_specs(asked)

    async def take(self, teller: Teller, specs: Sequence[bytes]) -> None:
        """Keep what a worker told that was asked for it."""
        spec_set = teller.spec_set
        if spec_set is None:
            return
        for spec in specs:
            digest = protocol.spec_digest(spec)
            if not teller.awaited.get(digest):
                continue
            teller.awaited[digest] = False
            why = await self._fault(spec)
            if why:
                log.warning("spec.refused", app=spec_set.app, digest=digest, why=why)
                continue
            handlers = [handler for handler, own in spec_set.digests if own == digest]
            items = [verbs.Telling(spec_set.app, handler, digest) for handler in handlers]
            await self._call(spec_set.partition, [verbs.Telling(spec_set.app, "", digest, spec), *items])

    async def _fault(self, spec: bytes) -> str:
        """Why a spec is not kept; "" for one that is."""
        async with self._compiling:
            why, seconds = await asyncio.to_thread(fault_in, spec)
            await asyncio.sleep(REST * seconds)
        return why

    async def _call(self, partition: Partition, items: Iterable[verbs.Telling]) -> list[verbs.DescribeWord]:
        """The engine's words; those that could not be had are missing: it is said again within a minute."""
        words: list[verbs.DescribeWord] = []
        try:
            for batch in protocol.batches(items, lambda item: ITEM_BYTES + len(item.spec)):
                words += (await partition.call(verbs.describe(batch))).words
        except TROUBLE as error:
            tell("specs.not_told", error, partition=partition.number)
        return words


def fault_in(spec: bytes) -> tuple[str, float]:
    """What is wrong with a spec, "" for nothing; and how many seconds of a core it took to see."""
    began, why = time.thread_time(), ""
    try:
        params = protocol.read_spec(spec).get("params")
        if params is not None:
            schema.compiled(params)
    except ValueError as error:
        why = str(error)[:200]
    return why, time.thread_time() - began
