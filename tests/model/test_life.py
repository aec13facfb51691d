"""Random lives: every verb in any order, messages late, doubled and stale, clocks that jump; the oracle watches.

``GOJOB_MODEL_EXAMPLES=2000 pytest tests/model`` walks longer, and not always the same way.
"""

import asyncio
import os
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from gojob_redis.engine import keys
from gojob_redis.engine.client import Client, connected
from gojob_redis.engine.embedded import Engine
from tests.lua.world import APP, HANDLER, Dispatch
from tests.model import jobs
from tests.model.quick import QuickPartition
from tests.model.watched import Watched, Worker

EXAMPLES = int(os.environ.get("GOJOB_MODEL_EXAMPLES", "0"))
CI_EXAMPLES, STEPS = 120, 50
DAY = 86_400_000
HANDLERS = (HANDLER, HANDLER + "2")
LABELS: tuple[dict[str, str], ...] = ({}, {"env": "gray"})
ATTRIBUTE = "host=db7"
DRAIN_ROUNDS = 150
JOB_CALLS = 200
T = TypeVar("T")

which = st.integers(0, 30)
"""Picks from a list, newest first."""
several = st.integers(1, 3)
sometimes = st.sampled_from([False, False, False, True])
plain = st.fixed_dictionaries(
    {
        "shards": st.sampled_from([1, 1, 3]),
        "retries": st.sampled_from([0, 2]),
        "retry_interval": st.sampled_from([0, 2_000]),
        "run_limit": st.sampled_from([0, 5_000]),
        "queue_limit": st.sampled_from([0, 0, 10_000]),
        "on_lost": st.sampled_from(["retry", "retry", "fault"]),
    }
)


class Life(RuleBasedStateMachine):
    """One partition from its bootstrap until everything in it is over."""

    def __init__(self, partition: QuickPartition, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.broken = False
        self.world: Watched = self.wait(Watched.begun(partition))
        self.count = 0
        self.schedules: dict[str, tuple[int, int]] = {}

    def wait(self, answer: Awaitable[T]) -> T:
        """The result of a call."""
        self.broken = True
        found = self.loop.run_until_complete(answer)
        self.broken = False
        return found

    def fresh(self, kind: str) -> str:
        """A name never used before; a task's is longer than a trigger uid."""
        self.count += 1
        return f"{kind}{self.count:06d}"

    def picked(self, number: int, several: int = 1) -> list[Dispatch]:
        """Messages of different runs from the bag, newest first."""
        bag = self.world.messages[::-1]
        chosen = [bag[(number + i) % len(bag)] for i in range(several)]
        return list({one.run: one for one in chosen}.values())

    def current(self, number: int, several: int = 1) -> list[Dispatch]:
        """Messages of runs that are owned now."""
        owned = self.world.owned()
        return list({one.run: one for one in (owned[(number + i) % len(owned)] for i in range(several))}.values())

    def session(self, number: int) -> Worker:
        """A live session."""
        sessions = self.world.sessions()
        return sessions[number % len(sessions)]

    has_session = precondition(lambda self: bool(self.world.sessions()))
    has_message = precondition(lambda self: bool(self.world.messages))
    has_owner = precondition(lambda self: bool(self.world.owned()))
    has_task = precondition(lambda self: bool(self.world.tasks()))
    has_job = precondition(lambda self: bool(self.world.oracle.jobs))
    has_trigger = precondition(lambda self: bool(self.triggers()))

    def triggers(self) -> list[tuple[str, dict[str, str]]]:
        """Uid and facts of the triggers there are."""
        return [
            (name.removeprefix("trigger:"), facts)
            for name, facts in self.world.last.items()
            if name.startswith("trigger:")
        ]

    # ---- work --------------------------------------------------------------------------------------------------------

    @initialize(capacity=st.sampled_from([1, 2, 3]), tasks=st.integers(0, 4), options=plain)
    def begin(self, capacity: int, tasks: int, options: dict[str, Any]) -> None:
        """Most lives begin with somebody to work and something to do."""
        self.serve(capacity, options, tasks)

    @rule(capacity=st.sampled_from([1, 2]), options=plain, tasks=several)
    def serve(self, capacity: int, options: dict[str, Any], tasks: int) -> None:
        """The plain course of things: a worker, and tasks that it may take."""
        self.wait(self.world.fresh_worker(self.fresh("s"), labels={}, attributes=(), capacity=capacity, gateway="g1"))
        self.wait(self.world.submit(*(self.fresh("task-") for _ in range(tasks)), **options))

    @rule(
        count=several,
        handler=st.sampled_from(HANDLERS),
        labels=st.sampled_from(["", "", "", "env=gray"]),
        attribute=st.sampled_from(["", "", "", ATTRIBUTE]),
        priority=st.sampled_from([5, 5, 9, 0]),
        delay=st.sampled_from([0, 0, 300, 4_000, 20_000]),
        shards=st.sampled_from([1, 1, 1, 2, 5]),
        retries=st.sampled_from([0, 1, 3]),
        retry_interval=st.sampled_from([0, 500, 3_000]),
        run_limit=st.sampled_from([0, 0, 2_000, 8_000]),
        queue_limit=st.sampled_from([0, 0, 700, 6_000]),
        on_lost=st.sampled_from(["retry", "retry", "fault"]),
        large=sometimes,
        by_run=sometimes,
    )
    def submit(self, count: int, delay: int, large: bool, by_run: bool, **options: Any) -> None:
        if by_run and self.world.messages:
            run = self.picked(0)[0]  # it may have lost the run, or the run may be over, since its proof was looked at
            task, _, shard = run.run.partition(".")
            options["parent"] = f"{task}.{shard or 0}.{run.attempt}"
        options |= {"at": self.world.now + delay if delay else 0, "param": b"x" * (100 if large else 3)}
        self.wait(self.world.submit(*(self.fresh("task-") for _ in range(count)), **options))

    @rule(
        name=st.sampled_from(["t1", "t2"]),
        first=st.sampled_from([100, 1_000, 5_000]),
        every=st.sampled_from([500, 1_000, 10_000]),
        count=st.integers(0, 6),
        over=st.sampled_from([0, 1]),
        overlap=st.sampled_from(["skip", "allow"]),
        misfire_after=st.sampled_from([60_000, 2_000]),
        shards=st.sampled_from([1, 1, 3]),
        active=st.sampled_from([1, 1, 1, 0]),
        revision=st.sampled_from([-1, -1, 0, 1]),
        twice=st.booleans(),
    )
    def define(self, name: str, first: int, every: int, count: int, twice: bool, **options: Any) -> None:
        start = self.world.now + first
        times = [start + every * i for i in range(count)] if options["active"] else []
        self.count += 1
        change: dict[str, Any] = {
            "change": f"c{self.count}",
            "uid": f"u{self.count:06d}",
            "planned": times[-1] if times else self.world.now,
        }
        for _ in range(2 if twice else 1):
            word, uid, _revision = self.wait(self.world.define(*times, name=name, **change, **options))
            if word == "ok":
                self.schedules[uid] = (start, every)

    @has_trigger
    @rule(number=which)
    def remove(self, number: int) -> None:
        _uid, facts = self.triggers()[number % len(self.triggers())]
        self.wait(self.world.call("remove", app=APP, name=facts["name"]))

    @rule(limit=st.sampled_from([100, 1, 3]))
    def fire(self, limit: int) -> None:
        self.wait(self.world.fire(limit))

    @has_trigger
    @rule(number=which, count=st.integers(0, 3), over=st.sampled_from([0, 1]))
    def plan(self, number: int, count: int, over: int) -> None:
        """Continue an agenda by its rule; of what was missed, all but the newest slot is a gap."""
        uid, facts = self.triggers()[number % len(self.triggers())]
        after, now = int(facts["planned"]), self.world.now
        start, every = self.schedules[uid]
        ahead = start if after < start else after + every - (after - start) % every
        waits = uid in self.world.last.get("unplanned", {})
        missed = list(range(ahead, now + 1, every)) if waits else []
        gap, newest = missed[:-1], missed[-1:]
        ahead = missed[-1] + every if missed else ahead
        times = newest + [ahead + every * i for i in range(count)]
        planned = times[-1] if times else after
        range_ = (gap[0], gap[-1], len(gap)) if gap else (0, 0, 0)
        item = (uid, int(facts["revision"]), after, ",".join(map(str, times)), planned, 2**50, over, *range_)
        self.wait(self.world.call("plan", [item]))

    @rule(most=st.integers(1, 5), stale=sometimes)
    def fold(self, most: int, stale: bool) -> None:
        word = self.wait(self.world.fold(most, stale))
        assert word in ("empty", "stale" if stale else "ok")

    @has_task
    @rule(number=which, count=several)
    def cancel(self, number: int, count: int) -> None:
        tasks = self.world.tasks()
        self.wait(self.world.cancel(*{tasks[(number + i) % len(tasks)] for i in range(count)}))

    # ---- jobs --------------------------------------------------------------------------------------------------------

    @rule(verb=st.sampled_from(jobs.VERBS), handler=st.sampled_from(["", "", "send"]))
    def begin_job(self, verb: str, handler: str) -> None:
        job = jobs.begun(self.world.last, self.fresh("job"), verb, handler, self.world.now)
        self.world.oracle.jobs[job.id] = job

    @has_job
    @rule(number=which, calls=several)
    def work_on_job(self, number: int, calls: int) -> None:
        """Replicas call; what a call does at most is little, so much happens between two of them."""
        for _ in range(calls):
            self.wait(self._call_for(self.job(number)))

    @has_job
    @rule(number=which, state=st.sampled_from(["paused", "running", "running", "canceled"]), is_told=st.booleans())
    def steer_job(self, number: int, state: str, is_told: bool) -> None:
        """Somebody changes it, and the partition hears of it; or of what was said before, once more."""
        job = self.job(number)
        if is_told and job.state != "canceled":
            job.state, job.revision = state, job.revision + 1
        if job.revision:
            self.wait(self.world.call("steer_job", job=job.id, state=job.state, revision=job.revision))

    def job(self, number: int) -> jobs.Job:
        """One of the jobs, newest first."""
        return list(self.world.oracle.jobs.values())[::-1][number % len(self.world.oracle.jobs)]

    async def _call_for(self, job: jobs.Job) -> str:
        return str((await self.world.call(job.verb, [(APP,)], **job.arguments))[1])

    @rule(handler=st.sampled_from(HANDLERS), paused=st.sampled_from([1, 0, 0]))
    def pause(self, handler: str, paused: int) -> None:
        self.wait(self.world.call("pause", [(handler, paused)]))

    # ---- workers -----------------------------------------------------------------------------------------------------

    @rule(
        labels=st.sampled_from([*LABELS, {}]),
        attributes=st.sampled_from([(), (), (ATTRIBUTE,), (ATTRIBUTE, "gpu=1")]),
        capacity=st.sampled_from([1, 2, 5]),
        gateway=st.sampled_from(["g1", "g2"]),
        handlers=st.sampled_from([HANDLERS, HANDLERS, HANDLERS[:1]]),
        twice=sometimes,
    )
    def enlist(self, twice: bool, **announced: Any) -> None:
        session = self.fresh("s")
        for _ in range(2 if twice else 1):
            self.wait(self.world.fresh_worker(session, **announced))

    @has_session
    @rule(gateway=st.sampled_from(["g1", "g2", "g3"]), age=st.sampled_from([0, 0, 2_000]), says=st.booleans())
    def renew(self, gateway: str, age: int, says: bool) -> None:
        """A gateway renews all that it believes to hold, those that moved away included."""
        items = [
            (one.session, one.conn, age, len(self.world.last.get(f"held:{one.session}", ())) if says else -1, -1, "")
            for one in self.world.sessions()
        ]
        self.wait(self.world.call("renew", items, gateway=gateway))

    @has_session
    @rule(number=which, capacity=st.sampled_from([0, 1, 2, 5]))
    def announce(self, number: int, capacity: int) -> None:
        one = self.session(number)
        self.wait(self.world.renew(one.session, gateway=one.gateway, conn=one.conn, capacity=capacity))

    @has_session
    @rule(number=which)
    def lose_the_socket(self, number: int) -> None:
        """Its gateway gives it nothing more, until its worker comes home."""
        one = self.session(number)
        self.wait(self.world.renew(one.session, gateway=one.gateway, conn=one.conn, capacity=-2))

    @has_session
    @rule(number=which, stale=st.sampled_from(["conn", "gateway", "session"]))
    def renew_what_is_elsewhere(self, number: int, stale: str) -> None:
        one = self.session(number)
        session = "nobody" if stale == "session" else one.session
        gateway, conn = ("g9" if stale == "gateway" else one.gateway), one.conn + (stale == "conn")
        words = self.wait(self.world.renew(session, gateway=gateway, conn=conn, capacity=3))
        assert words == ["lost" if stale == "session" else "moved"]

    @has_session
    @rule(
        number=which,
        gateway=st.sampled_from(["g1", "g2", "g3"]),
        moving=st.booleans(),
        knows=st.integers(0, 7),
        begun=st.booleans(),
    )
    def resume(self, number: int, gateway: str, moving: bool, knows: int, begun: bool) -> None:
        """A worker comes home with some of what it was given, or with all."""
        one = self.session(number)
        given = [message for message in self.world.messages if message.session == one.session]
        listed = (
            given[::-1][:4] if knows == 7 else [message for i, message in enumerate(given[::-1][:3]) if knows >> i & 1]
        )
        if not moving:
            gateway = one.gateway
        self.wait(
            self.world.resume(one.session, *listed, started=begun, gateway=gateway, conn=0 if moving else one.conn)
        )

    @has_session
    @rule(number=which)
    def leave(self, number: int) -> None:
        one = self.session(number)
        self.wait(self.world.leave(one.session, gateway=one.gateway, conn=one.conn))

    # ---- what workers say --------------------------------------------------------------------------------------------

    @has_owner
    @rule(number=which, count=several)
    def start(self, number: int, count: int) -> None:
        self.wait(self.world.start(*self.current(number, count)))

    @has_owner
    @rule(
        number=which,
        count=several,
        outcome=st.sampled_from(["ok", "ok", "error", "timeout", "canceled"]),
        disposition=st.sampled_from(["", "", "final", "snooze 700", "snooze 5000", "uncounted", "retry 2000"]),
        large=sometimes,
    )
    def report(self, number: int, count: int, outcome: str, disposition: str, large: bool) -> None:
        value = b"v" * (100 if large else 2)
        ended = self.current(number, count)
        self.wait(self.world.report(*ended, outcome=outcome, disposition=disposition, value=value))

    @has_owner
    @rule(number=which, count=several, outcome=st.sampled_from(["", "ok", "error"]))
    def work(self, number: int, count: int, outcome: str) -> None:
        """A worker begins what it was given, and may finish it."""
        messages = self.current(number, count)
        self.wait(self.world.start(*messages))
        if outcome:
            self.wait(self.world.report(*messages, outcome=outcome))

    @has_owner
    @rule(number=which, seconds=st.sampled_from([0, 2, 5]))
    def cancel_what_runs(self, number: int, seconds: int) -> None:
        task = self.current(number)[0].run.partition(".")[0]
        self.wait(self.world.cancel(task))
        self.wait(self._passes(seconds, True))
        self.wait(self.world.expire())

    @has_owner
    @rule(number=which, reason=st.sampled_from(["draining", "rejected", "unwritten"]), conn=st.sampled_from([0, 1]))
    def release(self, number: int, reason: str, conn: int) -> None:
        self.wait(self.world.release(*self.current(number), reason=reason, conn=conn))

    @has_owner
    @rule(number=which)
    def acknowledge(self, number: int) -> None:
        self.wait(self.world.acknowledge(*self.current(number)))

    @has_message
    @rule(number=which, lines=st.sampled_from([1, 60, 100]), app_bytes=st.sampled_from([600, 2**26]))
    def note(self, number: int, lines: int, app_bytes: int) -> None:
        """What an attempt logs, or logged; so that logs give way within a run, and to those of others."""
        for run in self.picked(number):
            self.wait(self.world.note(run, b"x" * 100, lines=lines, most_lines=150, app_bytes=app_bytes))

    @has_message
    @rule(number=which, late=st.sampled_from(["start", "report", "error", "release", "acknowledge"]))
    def late_message(self, number: int, late: str) -> None:
        """Anything a worker could ever have said, said now."""
        messages = self.picked(number)
        if late == "start":
            self.wait(self.world.start(*messages))
        elif late == "release":
            self.wait(self.world.release(*messages))
        elif late == "acknowledge":
            self.wait(self.world.acknowledge(*messages))
        else:
            self.wait(self.world.report(*messages, outcome="ok" if late == "report" else "error"))

    @has_owner
    @precondition(lambda self: len(self.world.sessions()) > 1)
    @rule(number=which, said=st.sampled_from(["start", "report", "release", "acknowledge", "note", "resume"]))
    def stranger(self, number: int, said: str) -> None:
        """Another session says what only the owner may: it knows everything, and has the right to nothing."""
        [run] = self.current(number, 1)
        other = next(one for one in self.world.sessions() if one.session != run.session)
        forged = replace(run, session=other.session)
        if said == "resume":
            self.wait(self.world.resume(other.session, forged, gateway=other.gateway))
        else:
            self.wait(getattr(self.world, said)(forged))

    @precondition(lambda self: bool(self.world.calls))
    @rule(number=which)
    def repeat(self, number: int) -> None:
        """A call whose reply was lost, made again. A changed trigger is not: its times would not lie ahead; nor a
        submission whose task was retired: that takes longer than anybody repeats it."""
        number = len(self.world.calls) - 1 - number % len(self.world.calls)
        verb, items, _scalars = self.world.calls[number]
        retired = verb == "submit" and any(item[0] not in self.world.tasks() for item in items)
        if verb not in ("define", "plan") and not retired:
            self.wait(self.world.again(number))

    # ---- time --------------------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 50, 99, 400, 900]))
    def tick(self, ms: int) -> None:
        self.world.pass_ms(ms)

    @rule(seconds=st.sampled_from([1, 3, 5, 15]), renewed=st.booleans())
    def time_passes(self, seconds: int, renewed: bool) -> None:
        """In health: visited often enough that the steady clock keeps up."""
        self.wait(self._passes(seconds, renewed))

    @rule(ms=st.sampled_from([-3_600_000, -700, 2_000, 70_000, 3_600_000]))
    def clock_jumps(self, ms: int) -> None:
        self.world.pass_ms(ms)
        self.wait(self.world.pass_by(0))

    async def _passes(self, seconds: int, renewed: bool) -> None:
        await self.world.pass_by(1_000 * seconds)
        if renewed:
            await self._renew_all()

    async def _renew_all(self, capacity: int = -1) -> None:
        for one in self.world.sessions():
            await self.world.renew(one.session, gateway=one.gateway, conn=one.conn, capacity=capacity)

    @rule(limit=st.sampled_from([100, 1]))
    def expire(self, limit: int) -> None:
        self.wait(self.world.expire(limit))

    @rule(limit=st.sampled_from([100, 1]))
    def reap(self, limit: int) -> None:
        self.wait(self.world.reap(limit))

    @rule(seconds=st.sampled_from([1, 5, 16]), renewed=st.booleans())
    def loops_go_on(self, seconds: int, renewed: bool) -> None:
        """What the trigger replicas do all the time."""
        self.wait(self._passes(seconds, renewed))
        for verb in ("fire", "expire", "reap"):
            self.wait(self.world.call(verb, limit=100))

    @rule(keep_ms=st.sampled_from([0, 7 * DAY]), keep=st.sampled_from([0, 2]), limit=st.sampled_from([100, 2]))
    def retire(self, keep_ms: int, keep: int, limit: int) -> None:
        self.wait(self.world.retire(*HANDLERS, keep_ms=keep_ms, keep=keep, limit=limit))

    @rule()
    def match(self) -> None:
        """The repair finds nothing to repair: no wake-up is lost."""
        assert self.wait(self.world.call("match", cursor="0", repair=1))[2] == 0

    # ---- the end -----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """I3: with a healthy worker and time everything ends; when the workers are gone, nothing is left of them."""
        if not self.broken:
            self.wait(self._drain())

    async def _end_jobs(self) -> None:
        """Each job that nobody paused or canceled comes to its end."""
        live = [job for job in self.world.oracle.jobs.values() if job.state == "running"]
        for job in live:
            for _ in range(JOB_CALLS):
                if await self._call_for(job) == "done":
                    break
                if (
                    job.verb == "bulk_forget"
                ):  # what it deletes has to be a minute old, and clocks may have stepped back
                    self.world.pass_ms(3_600_000)
                    await self.world.pass_by(0)
            else:
                raise AssertionError(f"{job} does not end: {self.world.last.get(f'job:{job.id}')}")

    async def _drain(self) -> None:
        await self._end_jobs()
        for handler in HANDLERS:
            await self.world.call("pause", [(handler, 0)])
        for number, labels in enumerate(LABELS):
            await self.world.fresh_worker(
                f"drain{number}", labels=labels, attributes=(ATTRIBUTE,), capacity=20, gateway="g1"
            )
        for _ in range(DRAIN_ROUNDS):
            await self._work_off()
            if not self._unfinished():
                break
        assert not self._unfinished(), "I3: did not end: " + "; ".join(
            f"{task} {self.world.last[f'task:{task}']}" for task in self._unfinished()
        )
        for one in self.world.sessions():
            await self.world.leave(one.session, gateway=one.gateway, conn=one.conn)
        left = [
            name
            for name in self.world.last
            if name.startswith(("session", "held", "group", "waiting", "ready", "leases", "deadlineq"))
        ]
        assert not left, f"without a session there are still {left}"

    async def _work_off(self) -> None:
        """One second of a healthy system, in which only the two new workers are there."""
        due = self.world.last.get("due_heads", {}).values()
        if due and min(due) > self.world.now + 60_000:
            self.world.now = min(due)
        await self.world.pass_by(1_000)
        healthy = [one for one in self.world.sessions() if one.session.startswith("drain")]
        for one in healthy:
            await self.world.renew(one.session, gateway=one.gateway, conn=one.conn, capacity=20)
        for verb in ("fire", "expire", "reap"):
            while (await self.world.call(verb, limit=100))[0] == "more":
                pass
        mine = [one for one in self.world.owned() if one.session.startswith("drain")]
        if mine:
            await self.world.report(*mine)

    def _unfinished(self) -> list[str]:
        ended = ("run_to_completion", "faulted", "canceled")
        return [task for task in self.world.tasks() if self.world.last[f"task:{task}"]["state"] not in ended]


@contextmanager
def partition(engine: Engine) -> Iterator[tuple[QuickPartition, asyncio.AbstractEventLoop]]:
    """The real engine, and a loop to talk to it."""
    loop = asyncio.new_event_loop()

    async def opened() -> Any:
        context = connected(engine.url)
        return context, await context.__aenter__()

    context, clients = loop.run_until_complete(opened())
    client: Client = clients.commands
    tag = keys.tags(16)[0]
    try:
        yield QuickPartition(client, tag, keys.prefix(tag)), loop
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


def test_every_life_keeps_every_promise(valkey: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.with_small_calls(monkeypatch)
    profile = settings(
        max_examples=EXAMPLES or CI_EXAMPLES,
        stateful_step_count=STEPS,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    with partition(valkey) as (bootstrapped, loop):
        run_state_machine_as_test(cast(type[Life], lambda: Life(bootstrapped, loop)), settings=profile)
