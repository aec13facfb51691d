"""gojob_redis/maintenance/deadlines.py and replica.py: the loops that act on what is late, lost or old."""

import asyncio
from typing import Any

import pytest

from gojob_redis import match, relay, task, view
from gojob_redis.domain import hints, limits, verbs
from gojob_redis.domain.names import group_id
from gojob_redis.domain.retention import Retention
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions, engine_clock
from gojob_redis.maintenance.deadlines import Deadlines
from gojob_redis.maintenance.ledger_audit import Audit
from gojob_redis.maintenance.retention import Retire
from gojob_redis.match import Repair
from gojob_redis.planning.define import Definition, define
from gojob_redis.planning.planner import Planner
from gojob_redis.replica import TriggerReplica, preferred
from gojob_redis.runtime.failure_log import FailureLog
from gojob_redis.schedules.schedule import Every
from gojob_redis.trigger import Fire
from tests.lua.world import with_policies
from tests.stages.conftest import Clock

APP = "default/shop"
HANDLER = f"{APP}/send"


async def enlist(space: Partitions, session: str = "s1", capacity: int = 1) -> int:
    partition = (await space.of_app(APP)).number
    group = group_id(APP, [HANDLER], {})
    one = verbs.Enlistment(session, APP, group, HANDLER, "", "", capacity, "g1", 1, "key", session, b"")
    assert await match.enlist(space[partition], [one]) == ["ok"]
    return partition


async def submit(space: Partitions, *tasks: str, **options: Any) -> None:
    submissions = [verbs.Submission(name, HANDLER, APP, **with_policies(options)) for name in tasks]
    words = [done.word for done in (await task.submit(await space.of_app(APP), submissions)).each]
    assert set(words) == {"ok"}


async def inbox(space: Partitions) -> list[hints.Hint]:
    [reader] = relay.readers(space, "g1")
    reader.block_ms = 1
    return [hint for _partition, hints in await reader.read() for hint in hints]


async def test_a_lost_session_is_reaped_and_its_run_goes_on_elsewhere(space: Partitions, clock: Clock) -> None:
    partition = await enlist(space)
    await submit(space, "t1")
    deadlines = Deadlines(space)

    for _ in range(31):
        clock.ms += 500
        await deadlines.run_once()
    await enlist(space, "s2")

    assert deadlines.reaped == 1
    bound = [hint for hint in await inbox(space) if isinstance(hint, hints.Assignment)]
    assert [(hint.session, hint.attempt) for hint in bound][-1] == ("s2", bound[-1].attempt)
    assert await match.leave(space[partition], "g1", [verbs.LeaveItem("s2", 1)]) == ["ok"]


class Visited(FailureLog):
    """Which verbs came by which partitions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, int]] = set()

    def went_well(self, verb: str, partition: int) -> None:
        self.seen.add((verb, partition))


async def test_empty_partitions_are_passed_over(space: Partitions) -> None:
    partition = await enlist(space)
    visited = Visited()
    deadlines, repair, audit = (
        Deadlines(space, failures=visited),
        Repair(space, failures=visited),
        Audit(space, failures=visited),
    )
    await deadlines.run_once()  # the first look is everywhere
    visited.seen.clear()

    for loop in (deadlines, repair, audit):
        await loop.run_once()

    assert visited.seen == {("reap", partition), ("match", partition)}


async def test_gateways_that_fell_silent_are_looked_for_everywhere_now_and_then(space: Partitions) -> None:
    visited = Visited()

    await Deadlines(space, failures=visited).run_once()

    assert visited.seen == {("reap", partition) for partition in range(space.count)}


async def test_what_nothing_fired_from_is_not_planned(space: Partitions, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_clock(_space: Partitions, _partition: int) -> int:
        raise AssertionError("the planner asked for the time")

    monkeypatch.setattr("gojob_redis.planning.planner.engine_time", no_clock)
    planner = Planner(space)

    await Fire(space, planner).run_once()
    await planner.run_once()

    assert planner.planned == 0


async def test_an_assignment_arrives_complete(space: Partitions) -> None:
    await enlist(space)
    await submit(space, "t1", param=b"\x1f\x00\xff", retries=3, run_limit=9, on_lost="fault")

    [hint] = await inbox(space)

    assert isinstance(hint, hints.Assignment)
    assert (hint.run, hint.attempt, hint.handler, hint.param) == ("t1", 1, HANDLER, b"\x1f\x00\xff")
    assert (hint.shards, hint.retries, hint.run_limit_ms, hint.confirm, hint.fetch) == (1, 3, 9, True, 0)


async def test_shard_parameters_arrive_with_their_shard(space: Partitions) -> None:
    await enlist(space, capacity=2)
    await submit(space, "t1", shards=2, param=b"common", shard_params=task.pack_shard_params([b"a\x1f", b""]))

    assigned = [hint for hint in await inbox(space) if isinstance(hint, hints.Assignment)]

    assert sorted((hint.run, hint.param, hint.shard_param) for hint in assigned) == [
        ("t1.0", b"common", b"a\x1f"),
        ("t1.1", b"common", b""),
    ]


async def test_what_was_read_from_the_inbox_is_trimmed(space: Partitions) -> None:
    partition = await enlist(space, capacity=5)
    [reader] = relay.readers(space, "g1")
    reader.block_ms = 1
    await submit(space, "t1")
    assert len(await reader.read()) == 1

    await reader.trim()

    client: Any = space.clients.admin
    assert await client.xlen(K.inbox(space.prefixes[partition], "g1")) == 0


async def test_a_verb_that_stopped_at_its_bound_is_finished_by_its_caller(space: Partitions) -> None:
    for first in range(0, 300, 100):
        await submit(space, *(f"t{n}" for n in range(first, first + 100)))

    await enlist(space, capacity=250)

    assert len(await inbox(space)) == 250


async def test_a_lost_wakeup_is_bound_within_one_pass(space: Partitions) -> None:
    partition = await enlist(space, capacity=1)
    await submit(space, "t1", "t2")
    prefix, client = space.prefixes[partition], space.clients.admin
    await client.hset(K.session(prefix, "s1"), "capacity", 2)
    await client.zadd(K.waiting(prefix, group_id(APP, [HANDLER], {}), ""), {"s1": 1})
    repair = Repair(space)

    await repair.run_once()

    assert repair.repaired == 1


async def test_old_history_is_retired(space: Partitions, clock: Clock) -> None:
    partition = await enlist(space, capacity=5)
    await submit(space, "t1", "t2")
    reports = [
        verbs.Report("s1", hint.run, hint.attempt, hint.fence, "ok", 0, b"")
        for hint in await inbox(space)
        if isinstance(hint, hints.Assignment)
    ]
    assert (await task.report(space[partition], reports)).words == ["accepted", "accepted"]
    clock.ms += 61_000
    retire = Retire(space, usual=Retention(done_count=1))

    await retire.run_once()

    assert retire.retired == 1


def test_rendezvous_moves_only_the_share_of_the_replica_that_left() -> None:
    three = [preferred(["a", "b", "c"], partition) for partition in range(64)]
    two = [preferred(["a", "b"], partition) for partition in range(64)]

    assert {"a", "b", "c"} == set(three)
    assert all(before == after for before, after in zip(three, two, strict=True) if before != "c")


async def test_what_waits_behind_many_lanes_of_other_handlers_ends_in_the_same_pass(
    space: Partitions, clock: Clock
) -> None:
    partition = (await space.of_app(APP)).number
    for handler in ("a", "b", "c"):
        lanes = [
            verbs.Submission(f"{handler}{lane}", f"{APP}/{handler}", APP, attribute=f"n={lane}") for lane in range(130)
        ]
        for first in (0, 65):
            await task.submit(space[partition], lanes[first : first + 65])
    clock.ms += limits.QUEUE_LIMIT_MS + 1

    retire = Retire(space)
    while await retire.run_once() == 0.0:
        pass

    assert await view.states_of(space[partition], ["a129", "b129", "c129"]) == ["faulted"] * 3


async def test_a_replica_fires_on_time_and_stops_when_told(space: Partitions) -> None:
    space.now_ms = engine_clock
    lateness: list[int] = []
    enough = asyncio.Event()

    def observe(fresh: Any) -> None:
        lateness.extend(fresh)
        if len(lateness) >= 5:
            enough.set()

    replica = TriggerReplica(space, "r1", observe_lateness=observe)
    running = asyncio.create_task(replica.run())
    await define(
        space, Definition(app=APP, name="t", handler=HANDLER, schedule=Every(200, 0), policies="overlap=allow")
    )
    await asyncio.wait_for(enough.wait(), 20)
    replica.stop()
    await asyncio.wait_for(running, 10)

    assert sorted(lateness)[len(lateness) // 2] < 100
    assert await space.clients.admin.zcard(K.replicas("{gojob}:")) == 0


async def test_history_gives_way_when_memory_is_nearly_full_and_comes_back_after(
    space: Partitions, clock: Clock
) -> None:
    partition = await enlist(space, capacity=10)
    await submit(space, "t1", "t2", "t3", "t4")
    assigned = [hint for hint in await inbox(space) if isinstance(hint, hints.Assignment)]
    await task.report(space[partition], [verbs.Report("s1", h.run, h.attempt, h.fence, "ok", 0, b"") for h in assigned])
    client: Any = space.clients.admin
    used = (await client.info("memory"))["used_memory"]
    retire = Retire(space, usual=Retention(done_count=4))
    clock.ms += 61_000

    await retire.run_once()
    assert retire.retired == 0
    try:
        await client.config_set("maxmemory", int(used / 0.9))
        await retire.run_once()
        some = retire.retired
        await client.config_set("maxmemory", used // 2)
        await retire.run_once()
    finally:
        await client.config_set("maxmemory", 0)

    assert 1 <= some <= 3
    assert retire.retired == 4
