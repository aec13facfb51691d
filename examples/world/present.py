"""What is alive in the world: sessions of many workers, held by this process instead of by gateways.

Each session is renewed; what is bound to it runs for as long as its handler usually takes, and is reported. A little
work comes in all the time.
"""

import asyncio
import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final, NamedTuple, TypeVar

import msgpack

from examples.world.past import report_of
from examples.world.plan import LABELS, SEED, Handler, World
from gojob_redis import match
from gojob_redis import task as tasks
from gojob_redis.domain import ids, limits, names, verbs
from gojob_redis.domain.hints import Assignment, Hint
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.relay import Inbox
from gojob_redis.relay import hints as parsed

T = TypeVar("T")
GATEWAY: Final = "world-live"
SEATS: Final = 8
RENEW_S: Final = limits.LEASE_MS / 3000
LOOK_MS: Final = 100
PER_S: Final = 20
"""Tasks that come in each second."""


class Running(NamedTuple):
    """A run that a session of ours has begun."""

    ends_s: float
    """On the monotonic clock."""
    number: int
    """So that two that end at the same time are not compared any further."""
    partition: Partition
    assignment: Assignment
    began_ms: int
    handler: Handler


@dataclass(slots=True)
class Present:
    """All sessions, and what runs in them."""

    space: Partitions
    world: World
    reported: int = 0
    _random: Random = field(default_factory=lambda: Random(f"{SEED} present"))
    _sessions: dict[Partition, list[str]] = field(default_factory=dict)
    _handlers: dict[str, Handler] = field(default_factory=dict)
    _running: list[Running] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    async def begin(self) -> None:
        """Enlist them: some workers of each app, with labels, on some tens of hosts."""
        self._handlers = {handler.address: handler for handler in self.world.handlers}
        apps = self.world.apps
        for number in range(self.world.size.sessions):
            partition = await self.space.of_app(apps[number % len(apps)])
            self._sessions.setdefault(partition, []).append(ids.new_session_id())
        for partition, sessions in self._sessions.items():
            mine = [app for app in apps if await self.space.of_app(app) is partition]
            items = [self._worker(session, mine[at % len(mine)], at) for at, session in enumerate(sessions)]
            for piece in pieces(items):
                await partition.call(verbs.enlist(piece))

    async def live(self) -> None:
        """Go on until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renewing())
            group.create_task(self._receiving())
            group.create_task(self._reporting())
            group.create_task(self._submitting())

    def _worker(self, session: str, app: str, number: int) -> verbs.Enlistment:
        handlers = [handler.address for handler in self.world.of_app(app)]
        labels = LABELS[number % len(LABELS)]
        host = f"{app.partition('/')[2]}-{number % 40:02d}"
        return verbs.Enlistment(
            session=session,
            app=app,
            group=names.group_id(app, handlers, dict(pair.split("=") for pair in labels.split(",") if pair)),
            handlers=" ".join(handlers),
            labels=labels,
            attributes="",
            capacity=SEATS,
            gateway=GATEWAY,
            conn=1,
            holder="world",
            name=f"{host}-{number // 40}",
            facts=msgpack.packb({"host": host, "pid": 1_000 + number, "sdk": "python 0.1.0"}),
        )

    async def _renewing(self) -> None:
        while True:
            for partition, sessions in self._sessions.items():
                for piece in pieces(sessions):
                    renewals = [verbs.Renewal(session, 1, 0, -1, -1) for session in piece]
                    await match.renew(partition, GATEWAY, renewals)
            await asyncio.sleep(RENEW_S)

    async def _receiving(self) -> None:
        inbox = Inbox(self.space, GATEWAY, tuple(self.space), LOOK_MS)
        while True:
            for partition, hints in await inbox.read():
                await self._begin_runs(partition, hints)
            await inbox.trim()

    async def _begin_runs(self, partition: Partition, hints: Sequence[Hint]) -> None:
        """They start at once."""
        now_ms = int(time.time() * 1000)
        bound = [hint for hint in hints if isinstance(hint, Assignment)]
        for piece in pieces(bound):
            starts = [verbs.Start(run.session, run.run, run.attempt, run.fence) for run in piece]
            await tasks.start(partition, starts)
        for run in bound:
            handler = self._handlers[run.handler]
            ends_s = time.monotonic() + handler.duration_ms(self._random) / 1000
            heapq.heappush(self._running, Running(ends_s, next(self._numbers), partition, run, now_ms, handler))

    async def _reporting(self) -> None:
        while True:
            ended: dict[Partition, list[Running]] = {}
            while self._running and self._running[0].ends_s <= time.monotonic():
                run = heapq.heappop(self._running)
                ended.setdefault(run.partition, []).append(run)
            for partition, runs in ended.items():
                for piece in pieces(runs):
                    reports = [report_of(run.assignment, run.handler, self._random, run.began_ms) for run in piece]
                    reply = await tasks.report(partition, reports, reply_to=GATEWAY)
                    self.reported += len(piece)
                    await self._begin_runs(partition, list(parsed(reply.hints)))
            await asyncio.sleep(LOOK_MS / 1000)

    async def _submitting(self) -> None:
        handlers = self.world.handlers
        weights = [handler.weight for handler in handlers]
        while True:
            for handler in self._random.choices(handlers, weights, k=PER_S):
                partition = await self.space.of_app(handler.app)
                task = ids.submitted_id(partition.number, int(time.time() * 1000))
                submission = verbs.Submission(task, handler.address, handler.app, param=msgpack.packb({"id": 1}))
                await tasks.submit(partition, [submission])
            await asyncio.sleep(1.0)


def pieces(items: Sequence[T], size: int = limits.BATCH_ITEMS) -> Iterator[Sequence[T]]:
    """As many as a call takes, one after the other."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
