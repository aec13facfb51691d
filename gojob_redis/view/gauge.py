"""What waits for handlers: how much, in which of their lanes, and since when."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.address import app_of
from gojob_redis.domain.score import PRIORITY_STEP
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.records import homes_of, rounded, some, text
from gojob_redis.view.survey import Asked

CALLS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class GaugedLane:
    """One lane of a handler."""

    id: str
    labels: str
    attribute: str
    backlog: int
    since_ms: int | None
    """Since when the next in turn has been ready."""


@dataclass(frozen=True, slots=True)
class Gauged:
    """A handler, and what waits for it."""

    handler: str
    """namespace/app/handler"""
    now_ms: int
    announced_ms: int
    """When a worker last announced it; 0: never."""
    paused_ms: int | None
    lane_count: int
    lanes: list[GaugedLane] = field(default_factory=list)
    """Those in which something waits; or all, if that was asked for."""
    backlog: int = field(init=False)
    since_ms: int | None = field(init=False)
    """Since when the next in turn of all its lanes has been ready."""

    def __post_init__(self) -> None:
        since = [lane.since_ms for lane in self.lanes if lane.since_ms is not None]
        object.__setattr__(self, "backlog", sum([lane.backlog for lane in self.lanes]))
        object.__setattr__(self, "since_ms", min(since, default=None))

    @property
    def oldest_ms(self) -> int | None:
        return None if self.since_ms is None else max(0, self.now_ms - self.since_ms)

    @property
    def is_known(self) -> bool:
        """Whether a worker announced it in the last 30 days."""
        return self.announced_ms > 0 and self.announced_ms >= self.now_ms - limits.HANDLER_KNOWN_MS

    def asked(self) -> Iterator[Asked]:
        """Its lanes, for a survey; one without labels if there is none."""
        for lane in self.lanes:
            yield Asked(self.handler, lane.labels, lane.attribute)
        if not self.lanes:
            yield Asked(self.handler)


async def gauge(space: Partitions, handlers: Sequence[str], *, idle: bool = False) -> dict[str, Gauged]:
    """What waits for these handlers; those of an app that nobody knows are left out.

    idle: tell lanes in which nothing waits, too.
    """
    turn = asyncio.Semaphore(CALLS_AT_ONCE)

    async def some_of(partition: Partition, own: Sequence[str]) -> list[Gauged]:
        async with turn:
            return await _gauge(partition, own, idle)

    homes = await homes_of(space, handlers)
    pieces = [
        some_of(space[place], own[first : first + limits.BATCH_ITEMS])
        for place, own in homes.items()
        for first in range(0, len(own), limits.BATCH_ITEMS)
    ]
    by_handler = {each.handler: each for piece in await asyncio.gather(*pieces) for each in piece}
    return {handler: by_handler[handler] for handler in handlers if handler in by_handler}


async def _gauge(partition: Partition, handlers: Sequence[str], idle: bool) -> list[Gauged]:
    gauged: list[Gauged] = []
    while len(gauged) < len(handlers):
        rest = handlers[len(gauged) :]
        items = [verbs.GaugeItem(handler) for handler in rest]
        reply = await partition.call(verbs.gauge(items, idle=int(idle)), within_s=ANSWER_S)
        lanes: list[list[GaugedLane]] = [[] for _ in reply.handlers]
        for at, lane, name, backlog, score in reply.lanes:
            if lane.isdigit():
                labels, _, attribute = text(name).partition("\x1f")
                head = rounded(score or None)
                since_ms = None if head is None else head % PRIORITY_STEP
                lanes[at].append(GaugedLane(text(lane), labels, attribute, backlog, since_ms))
        for handler, (announced, paused, lane_count), own in zip(rest, reply.handlers, lanes, strict=False):
            own.sort(key=_number)
            announced_ms = rounded(announced or None) or 0
            gauged.append(Gauged(handler, reply.wall, announced_ms, some(paused), lane_count, own))
    return gauged


def _number(lane: GaugedLane) -> int:
    return int(lane.id)


async def depths(space: Partitions, handlers: Sequence[str]) -> Mapping[str, tuple[int, int]]:
    """How many tasks wait for each handler, and how long, in ms, the next in turn has waited."""
    gauged = await gauge(space, handlers)
    return {handler: (each.backlog, each.oldest_ms or 0) for handler, each in gauged.items()}


async def partitions_of(space: Partitions, handlers: Sequence[str]) -> dict[str, Partition]:
    """Where the apps of these handlers are."""
    homes = await homes_of(space, handlers)
    return {app_of(handler): space[place] for place, own in homes.items() for handler in own}
