"""Weeks of history: the scripts are called as replicas and gateways would have called them, with the time of then.

1. One ``Past`` for each partition with an app; none waits for another. It walks through time once: slots fire when they
   are due, tasks come in by the hundred, and what was bound is reported at once, by a worker of each app with a
   thousand seats.
2. What is reported in one call ends in the same ms. So the tasks of a day are drawn first, and those that last about
   as long come in together: a call is full, and the runs in it wait little longer than they would have.
3. Every other hour slots are due and what has happened is added up once a day.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar

import msgpack

from examples.world.plan import SEED, Handler, Window, World, windows
from gojob_redis.domain import fingerprint, ids, limits, names, policies, verbs
from gojob_redis.domain.hints import Assignment
from gojob_redis.domain.tally import TEN_MS
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.maintenance.fold import Fold
from gojob_redis.planning.planner import PLAN_FACTS, continuations
from gojob_redis.relay import Inbox, hints

T = TypeVar("T")
R = TypeVar("R")
GATEWAY: Final = "world"
LOOK_MS: Final = 1
TOGETHER: Final = limits.BATCH_ITEMS
TICK_MS: Final = 2 * limits.HOUR_MS
"""Slots of the past are due on every other full hour."""
SPREAD_MS: Final = 1_000
"""Runs that differ less in how long they last, or by less than the shortest lasts, end together."""
HEARD_CALLS: Final = 3
"""A gateway that was silent for so many seconds gets nothing; each call is a second of steady time at most."""
SEATS: Final = 1_000
RETRIED: Final = policies.write({"retries": 2, "retry_interval_ms": 30_000})
SOON: Final = "retry 1"
"""A retry is due with the next call."""
BETWEEN_TRIES_MS: Final = 30_000


@dataclass(slots=True)
class Clock:
    """The time of the scripts, ms; it never steps back."""

    ms: int

    def __call__(self) -> int:
        return self.ms

    def reach(self, ms: int) -> None:
        self.ms = max(self.ms, ms)


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that will be submitted."""

    handler: Handler
    lasts_ms: int


@dataclass(slots=True)
class Past:
    """The history of one partition."""

    partition: Partition
    world: World
    clock: Clock
    apps: list[str]
    random: Random
    inbox: Inbox
    fold: Fold
    _next_due_ms: int = 0
    """When the next slot is due."""
    _silent_calls: int = 0
    """Since our gateway was heard."""
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

    async def go(self, began_ms: int, tasks: int) -> None:
        """All that happens from a moment to the end of the past."""
        next_tick_ms = began_ms
        for window in windows(began_ms, self.world.size, tasks):
            for at_ms, drafts in self._arrivals(window):
                while next_tick_ms <= at_ms:
                    await self._tick(next_tick_ms)
                    next_tick_ms += TICK_MS
                self.clock.reach(at_ms)
                await self._come_in(drafts)
            end_ms = window.began_ms + window.length_ms
            if end_ms % limits.DAY_MS == 0:
                while next_tick_ms < end_ms:
                    await self._tick(next_tick_ms)
                    next_tick_ms += TICK_MS
                self.clock.reach(end_ms - limits.MINUTE_MS)
                await self._end_day()

    async def end(self) -> None:
        """Its workers leave."""
        leaving = [verbs.LeaveItem(session, 1) for session in self._sessions.values()]
        await self.partition.call(verbs.leave(leaving, gateway=GATEWAY))
        await self.inbox.trim()

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

    def _arrivals(self, window: Window) -> list[tuple[int, list[Draft]]]:
        """What comes in together, and when: in the order of time."""
        chosen = self.random.choices(list(self._handlers.values()), self._weights, k=window.tasks)
        drafts = sorted((Draft(each, each.duration_ms(self.random)) for each in chosen), key=lambda each: each.lasts_ms)
        return sorted(
            ((window.moment(self.random), some) for some in alike(drafts, lambda each: each.lasts_ms)),
            key=lambda each: each[0],
        )

    async def _tick(self, at_ms: int) -> None:
        """Slots that are due fire, and run."""
        self.clock.reach(at_ms + self.random.randrange(5, 60))
        more = self._next_due_ms <= self.clock.ms
        while more:
            await self._be_heard()
            reply = await self._call(verbs.fire(limit=limits.FIRE_ITEMS, cpu_us=limits.FIRE_CPU_US))
            more, self._next_due_ms = reply.status == "more", reply.next_due
            if reply.low:
                await self._plan(reply.low)
            self.clock.ms += self.random.randrange(1, 12)
            lasting = [(run, self._handlers[run.handler].duration_ms(self.random)) for run in await self._bound()]
            lasting.sort(key=lambda each: each[1])
            for some in alike(lasting, lambda each: each[1]):
                await self._run(some)

    async def _come_in(self, drafts: Sequence[Draft]) -> None:
        """Tasks are submitted, and run."""
        await self._be_heard()
        tasks: dict[str, Draft] = {ids.submitted_id(self.partition.number, self.clock.ms): draft for draft in drafts}
        submissions = [
            verbs.Submission(
                task=task,
                handler=draft.handler.address,
                app=draft.handler.app,
                param=msgpack.packb({"id": self.random.randrange(100_000)}),
                policies=RETRIED if draft.handler.failing > 0.01 else "",
                names=f"order-{self.random.randrange(10_000_000)}" if draft.handler.name.endswith("orders") else "",
            )
            for task, draft in tasks.items()
        ]
        reply = await self._call(verbs.submit(submissions, reply_to=GATEWAY))
        bound = [hint for hint in hints(reply.hints) if isinstance(hint, Assignment)]
        await self._run([(run, tasks[run.run].lasts_ms) for run in bound])

    async def _run(self, lasting: Sequence[tuple[Assignment, int]]) -> None:
        """Attempts end when the longest of them does; those that failed are made again."""
        while lasting:
            self.clock.ms += self.random.randrange(1, 9) + max(lasts_ms for _run, lasts_ms in lasting)
            reports = [
                report_of(run, self._handlers[run.handler], self.random, self.clock.ms - lasts_ms, SOON)
                for run, lasts_ms in lasting
            ]
            await self._call(verbs.report(reports, reply_to=GATEWAY))
            failed = any(report.outcome == "error" for report in reports)
            lasting = await self._tried_again() if failed else []

    async def _tried_again(self) -> list[tuple[Assignment, int]]:
        self.clock.ms += BETWEEN_TRIES_MS
        await self._be_heard()
        await self._call(verbs.expire(limit=TOGETHER))
        return [(run, self._handlers[run.handler].duration_ms(self.random)) for run in await self._bound()]

    async def _be_heard(self) -> None:
        """Our gateway and its sessions are alive, if that has to be said again before anything can be bound."""
        if self._silent_calls >= HEARD_CALLS:
            renewals = [verbs.Renewal(session, 1, 0, -1, SEATS) for session in self._sessions.values()]
            await self._call(verbs.renew(renewals, gateway=GATEWAY))
            self._silent_calls = 0

    async def _call(self, call: verbs.Call[R]) -> R:
        self._silent_calls += 1
        return await self.partition.call(call)

    async def _plan(self, uids: Sequence[str]) -> None:
        """Continue agendas that run low; those of the same rule are computed once."""
        facts = await self.partition.read(
            [("HMGET", K.trigger(self.partition.prefix, uid), *PLAN_FACTS) for uid in uids]
        )
        same: dict[tuple[bytes | None, ...], list[str]] = {}
        for uid, own in zip(uids, facts, strict=True):
            same.setdefault(tuple(own), []).append(uid)
        first = [own[0] for own in same.values()]
        plans = zip(continuations(first, list(same), self.clock.ms), same.values(), strict=True)
        await self._call(verbs.plan([plan._replace(uid=uid) for plan, own in plans for uid in own]))

    async def _bound(self) -> list[Assignment]:
        """What came to the inbox of our gateway since the last look."""
        return [hint for _, some in await self.inbox.read() for hint in some if isinstance(hint, Assignment)]

    async def _end_day(self) -> None:
        """Add up what happened; ten minutes that are not over yet are left."""
        await self.inbox.trim()
        while await self.fold.fold(self.partition):
            pass
        [tens] = await self.partition.read([("ZRANGE", K.unrolled(self.partition.prefix), 0, -1)])
        for ten in map(int, tens):
            if (ten + 1) * TEN_MS <= self.clock.ms:
                await self.fold.roll(self.partition, ten)


def alike(sorted_items: Sequence[T], lasts_ms: Callable[[T], int]) -> Iterator[list[T]]:
    """Those that last about as long together, as many as a call takes; items: in the order of how long they last."""
    some: list[T] = []
    for item in sorted_items:
        shortest_ms = lasts_ms(some[0]) if some else 0
        is_longer = lasts_ms(item) > shortest_ms + max(SPREAD_MS, shortest_ms)
        if some and (len(some) == TOGETHER or is_longer):
            yield some
            some = []
        some.append(item)
    if some:
        yield some


def report_of(
    run: Assignment, handler: Handler, random: Random, started_ms: int, disposition: str = ""
) -> verbs.Report:
    """How this attempt ends."""
    failed = random.random() < handler.failing
    error = handler.failure(random) if failed else None
    return verbs.Report(
        session=run.session,
        run=run.run,
        attempt=run.attempt,
        fence=run.fence,
        outcome="error" if error else "ok",
        disposition=disposition if error else "",
        started=started_ms,
        value=msgpack.packb(error) if error else msgpack.packb({"done": random.randrange(1_000)}),
        failure=fingerprint.packed(fingerprint.failure_of(error["type"], error["message"])) if error else b"",
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
        inbox, random = Inbox(own, GATEWAY, (own[number],), LOOK_MS), Random(f"{SEED} {number}")
        each_partition.append(Past(own[number], world, clock, apps, random, inbox, Fold(own)))
    return each_partition
