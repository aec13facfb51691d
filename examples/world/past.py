"""Weeks of history: the scripts are called as replicas and gateways would have called them, with the time of then.

One ``Past`` for each partition with an app. A step goes like this: timers and slots that are due become runs, what was
bound is reported; then some hundred tasks come in, and are reported too. A worker of each app, with a thousand seats,
takes everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import msgpack

from examples.world.plan import SEED, Handler, World
from gojob_redis.domain import ids, limits, names, policies, verbs
from gojob_redis.domain.hints import Assignment
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.planning.planner import PLAN_FACTS, continuations
from gojob_redis.relay import Inbox, hints

GATEWAY: Final = "world"
TOGETHER: Final = limits.BATCH_ITEMS
ENDING_TOGETHER: Final = 10
"""So many ends a call: what ends in one call ends in the same ms."""
SEATS: Final = 1_000
RETRIED: Final = policies.write({"retries": 2, "retry_interval_ms": 30_000})


@dataclass(slots=True)
class Clock:
    """The time of the scripts, ms; it never steps back."""

    ms: int

    def __call__(self) -> int:
        return self.ms

    def reach(self, ms: int) -> None:
        self.ms = max(self.ms, ms)


@dataclass(slots=True)
class Past:
    """The history of one partition."""

    partition: Partition
    world: World
    clock: Clock
    apps: list[str]
    random: Random
    inbox: Inbox
    ended: int = 0
    _next_due_ms: int = 0
    """When the next slot is due."""
    _retries: bool = False
    """Something failed that is tried again."""
    _sessions: dict[str, str] = field(default_factory=dict)
    _handlers: dict[str, Handler] = field(default_factory=dict)
    _weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        mine = [handler for handler in self.world.handlers if handler.app in self.apps]
        self._handlers = {handler.address: handler for handler in mine}
        self._weights = [handler.weight for handler in mine]

    @property
    def weight(self) -> float:
        """Its share of all tasks, relative to the other partitions."""
        return sum(self._weights)

    async def begin(self) -> None:
        """A worker of each app is there."""
        enlistments = [self._worker(app) for app in self.apps]
        await self.partition.call(verbs.enlist(enlistments))

    async def step(self, began_ms: int, length_ms: int, tasks: int) -> None:
        """What happened in the time from a moment on."""
        self.clock.reach(began_ms + self.random.randrange(5, 60))
        renewals = [verbs.Renewal(session, 1, 0, -1, SEATS) for session in self._sessions.values()]
        await self.partition.call(verbs.renew(renewals, gateway=GATEWAY))
        if await self._all_due():
            await self._report(await self._bound())
        pieces = max(1, -(-tasks // TOGETHER))
        for piece in range(pieces):
            self.clock.reach(began_ms + round((piece + self.random.random() / 2) * length_ms / pieces))
            size = min(TOGETHER, tasks - piece * TOGETHER)
            if size > 0:
                await self._report(await self._submitted(size))

    async def end(self) -> None:
        """Its workers leave."""
        leaving = [verbs.LeaveItem(session, 1) for session in self._sessions.values()]
        await self.partition.call(verbs.leave(leaving, gateway=GATEWAY))

    def _worker(self, app: str) -> verbs.Enlistment:
        session = self._sessions[app] = ids.new_session_id()
        handlers = [handler.address for handler in self.world.of_app(app)]
        return verbs.Enlistment(
            session=session,
            app=app,
            group=names.group_id(app, handlers, {}),
            handlers=" ".join(handlers),
            labels="",
            attributes="",
            capacity=SEATS,
            gateway=GATEWAY,
            conn=1,
            holder="world",
            name="then-1",
            facts=msgpack.packb({"host": "then-1", "pid": 1, "sdk": "world"}),
        )

    async def _all_due(self) -> bool:
        """Timers that are due, then slots that are due, each call its part; whether there were any."""
        had_retries = timers = self._retries
        slots = self._next_due_ms <= self.clock.ms
        self._retries = False
        while timers:
            timers = (await self.partition.call(verbs.expire(limit=TOGETHER))).status == "more"
        more = slots
        while more:
            reply = await self.partition.call(verbs.fire(limit=limits.FIRE_ITEMS, cpu_us=limits.FIRE_CPU_US))
            more, self._next_due_ms = reply.status == "more", reply.next_due
            if reply.low:
                await self._plan(reply.low)
            self.clock.ms += self.random.randrange(1, 12)
        return had_retries or slots

    async def _plan(self, uids: Sequence[str]) -> None:
        """Continue agendas that run low."""
        facts = await self.partition.read(
            [("HMGET", K.trigger(self.partition.prefix, uid), *PLAN_FACTS) for uid in uids]
        )
        await self.partition.call(verbs.plan(continuations(uids, facts, self.clock.ms)))

    async def _bound(self) -> list[Assignment]:
        """What came to the inbox of our gateway since the last look."""
        bound: list[Assignment] = []
        while batches := await self.inbox.read():
            bound += (hint for _, hints_read in batches for hint in hints_read if isinstance(hint, Assignment))
        await self.inbox.trim()
        return bound

    async def _submitted(self, size: int) -> list[Assignment]:
        """So many tasks come in; what was bound."""
        chosen = self.random.choices(list(self._handlers.values()), self._weights, k=size)
        tasks = [
            verbs.Submission(
                task=ids.submitted_id(self.partition.number, self.clock.ms),
                handler=handler.address,
                app=handler.app,
                param=msgpack.packb({"id": self.random.randrange(100_000)}),
                policies=RETRIED if handler.failing > 0.01 else "",
            )
            for handler in chosen
        ]
        reply = await self.partition.call(verbs.submit(tasks, reply_to=GATEWAY))
        return [hint for hint in hints(reply.hints) if isinstance(hint, Assignment)]

    async def _report(self, bound: Sequence[Assignment]) -> None:
        """All of them end, each after its duration; some fail."""
        began_ms = self.clock.ms
        ends = []
        for run in bound:
            handler = self._handlers[run.handler]
            wait_ms, lasted_ms = self.random.randrange(1, 9), handler.duration_ms(self.random)
            ends.append((began_ms + wait_ms + lasted_ms, lasted_ms, run, handler))
        ends.sort(key=lambda end: end[0])
        for first in range(0, len(ends), ENDING_TOGETHER):
            piece = ends[first : first + ENDING_TOGETHER]
            self.clock.reach(piece[-1][0])
            reports = [
                report_of(run, handler, self.random, self.clock.ms - lasted) for _, lasted, run, handler in piece
            ]
            await self.partition.call(verbs.report(reports, reply_to=GATEWAY))
            self._retries |= any(report.outcome == "error" for report in reports)
            self.ended += len(piece)


def report_of(run: Assignment, handler: Handler, random: Random, started_ms: int) -> verbs.Report:
    """How this attempt ends."""
    failed = random.random() < handler.failing
    value = handler.failure(random) if failed else {"done": random.randrange(1_000)}
    return verbs.Report(
        session=run.session,
        run=run.run,
        attempt=run.attempt,
        fence=run.fence,
        outcome="error" if failed else "ok",
        disposition="",
        started=started_ms,
        value=msgpack.packb(value),
    )


async def pasts(space: Partitions, world: World, began_ms: int) -> list[Past]:
    """One for each partition that an app lives in; each has a clock and an order of its own."""
    homes: dict[int, list[str]] = {}
    for app in world.apps:
        homes.setdefault((await space.of_app(app)).number, []).append(app)
    each_partition = []
    for number, apps in homes.items():
        clock = Clock(began_ms)
        own = Partitions(space.clients, space.count, now_ms=clock)
        each_partition.append(
            Past(own[number], world, clock, apps, Random(f"{SEED} {number}"), Inbox(own, GATEWAY, (number,), 1))
        )
    return each_partition
