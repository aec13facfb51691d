"""gojob_redis/maintenance/scrub.py: whatever is deleted or put there by hand is found, told, and healed.

Most tests damage one thing and expect the whole keyspace to be what it was, but for what a repair has to leave behind.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gojob_redis import match, relay, task
from gojob_redis.domain import hints, limits, verbs
from gojob_redis.domain.names import group_id
from gojob_redis.domain.retention import Retention
from gojob_redis.engine.client import connected
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions, engine_clock
from gojob_redis.maintenance.deadlines import Deadlines
from gojob_redis.maintenance.retention import Retire
from gojob_redis.maintenance.scrub import CALLS, HURRIED_CALLS, Scrub, look_at
from gojob_redis.planning.define import Definition, define, remove
from gojob_redis.planning.planner import Planner
from gojob_redis.schedules.schedule import Every
from gojob_redis.trigger import Fire
from tests import invariants
from tests.lua.world import with_policies
from tests.stages.conftest import T0, Clock
from tests.tools import keyspace
from tests.tools.engines import Cluster
from tests.tools.keyspace import Keyspace

APP = "default/shop"
SEND, PACK = f"{APP}/send", f"{APP}/pack"
GROUP = group_id(APP, [SEND], {})
BIG = b"x" * 100


@dataclass(slots=True)
class Shop:
    """A partition with something in every index."""

    space: Partitions
    clock: Clock
    partition: int
    scrub: Scrub
    uid: str = ""
    lane: str = ""

    @property
    def client(self) -> Any:
        return self.space.clients.admin

    @property
    def prefix(self) -> str:
        return self.space.prefixes[self.partition]

    def key(self, kind: str, *parts: str) -> str:
        entry = getattr(K, kind)
        return str(entry(self.prefix, *parts))

    async def dump(self) -> Keyspace:
        return await keyspace.dump(self.client, self.prefix)

    async def state(self) -> Keyspace:
        """The keyspace without logs and hints."""
        found = await self.dump()
        logs = {name for name in found if keyspace.is_event_log(name)}
        return {name: value for name, value in found.items() if name not in ("wake", "inbox:g1", *logs)}

    async def events(self, kind: str = "mended") -> list[dict[str, str]]:
        return [event for event in keyspace.events(await self.dump()) if event["kind"] == kind]

    async def mended(self) -> set[str]:
        """Scrub the whole keyspace until nothing is left to mend; returns what was."""
        for _ in range(7):
            if not await self.scrub.whole():
                break
        else:
            raise AssertionError(f"never whole: {(await self.events())[-8:]}")
        assert invariants.violations(await self.dump()) == []
        return {event["what"] for event in await self.events() if "count" not in event}

    async def hints(self) -> dict[str, hints.Assignment]:
        [reader] = relay.readers(self.space, "g1")
        reader.block_ms = 1
        found = [hint for _partition, hints in await reader.read() for hint in hints]
        return {hint.run: hint for hint in found if isinstance(hint, hints.Assignment)}

    async def enlist(self, session: str, capacity: int, handler: str = SEND, **options: Any) -> None:
        group = group_id(APP, [handler], {})
        attributes = options.get("attributes", "")
        one = verbs.Enlistment(session, APP, group, handler, "", attributes, capacity, "g1", 1, "key", session, b"")
        assert await match.enlist(self.space[self.partition], [one]) == ["ok"]

    async def submit(self, *tasks: str, handler: str = SEND, **options: Any) -> None:
        submissions = [verbs.Submission(name, handler, APP, **with_policies(options)) for name in tasks]
        assert {done.word for done in (await task.submit(self.space[self.partition], submissions)).each} == {"ok"}


@pytest.fixture
async def shop(space: Partitions, clock: Clock) -> Shop:
    """Runs that run, wait to start, queue, are delayed, retry and are over; shards, a trigger, an idle session."""
    shop = Shop(space, clock, (await space.of_app(APP)).number, Scrub(space))
    wanted = Definition(
        app=APP, name="t", handler=PACK, schedule=Every(60_000, T0), policies="overlap=allow", param=BIG
    )
    shop.uid = (await define(space, wanted)).uid
    clock.ms += 60_000
    await Fire(space, Planner(space)).run_once()
    await shop.enlist("s1", 7, attributes="host=a")
    await shop.submit("done", param=BIG, names="order-1")
    await shop.submit("failed", retries=1, retry_interval=1_000_000)
    await shop.submit("runs1", "runs2", run_limit=3_600_000, param=BIG)
    await shop.submit("shards", shards=3, shard_params=task.pack_shard_params([b"a", b"b", b"c"]))
    hints = await shop.hints()
    reports = [
        verbs.Report("s1", run, 1, hints[run].fence, "ok" if run == "done" else "error", 0, BIG)
        for run in ("done", "failed")
    ]
    assert (await task.report(space[shop.partition], reports)).words == ["accepted", "accepted"]
    starts = [verbs.Start("s1", run, 1, hints[run].fence) for run in ("runs1", "runs2", "shards.0")]
    assert (await space[shop.partition].call(verbs.start(starts))).words == ["ok"] * 3
    await space[shop.partition].call(
        verbs.note([verbs.Note("s1", "runs1", 1, "log", b"line", 1, 0, 0, 10_000, 2**20, 2**26)])
    )
    await shop.submit("waits")
    await shop.submit("fills")
    await shop.submit("q1", "q2", "q3", queue_limit=10_000_000)
    await shop.submit("required", attribute="host=b")
    await shop.submit("later-on", at=clock.ms + 5_000_000)
    await shop.enlist("idle", 2, handler=f"{APP}/idle")
    facts = await shop.dump()
    shop.lane = facts["task:q1"]["lane"]
    assert [facts[f"task:{run}"]["place"] for run in ("runs1", "waits", "q1", "later-on", "failed", "done")] == [
        "session", "session", "lane", "due", "timer", "none",
    ]  # fmt: skip
    return shop


async def test_in_health_nothing_is_mended(shop: Shop) -> None:
    before = await shop.dump()

    assert await shop.mended() == set()

    assert await shop.dump() == before
    assert shop.scrub.looked > 20


Damage = Callable[[Shop], Awaitable[Any]]

EXACT: dict[str, tuple[Damage, set[str]]] = {
    "a queued run is taken out of its lane": (
        lambda shop: shop.client.zrem(shop.key("activeq", shop.lane), "q2"),
        {"activeq"},
    ),
    "a lane's queue is deleted whole": (lambda shop: shop.client.unlink(shop.key("activeq", shop.lane)), {"activeq"}),
    "a run that is not there is put into a lane": (
        lambda shop: shop.client.zadd(shop.key("activeq", shop.lane), {"nobody": 1}),
        {"activeq"},
    ),
    "a bound run is put into a lane": (
        lambda shop: shop.client.zadd(shop.key("activeq", shop.lane), {"runs1": 1}),
        {"activeq"},
    ),
    "a delayed task is taken out of the due index": (
        lambda shop: shop.client.zrem(shop.key("due", APP), "later-on"),
        {"due"},
    ),
    "a task that is not there is put into the due index": (
        lambda shop: shop.client.zadd(shop.key("due", APP), {"nobody-at-all": 1}),
        {"due"},
    ),
    "a trigger that is not there is put into the due index": (
        lambda shop: shop.client.zadd(shop.key("due", APP), {"zzzzzzz": 2**50}),
        {"due"},
    ),
    "the heads are deleted": (lambda shop: shop.client.unlink(shop.key("due_heads")), {"due_heads"}),
    "a head without an app is put there": (
        lambda shop: shop.client.zadd(shop.key("due_heads"), {"default/none": 2**50}),
        {"due_heads"},
    ),
    "a trigger that is not there waits for the planner": (
        lambda shop: shop.client.zadd(shop.key("unplanned"), {"zzzzzzz": 1}),
        {"unplanned"},
    ),
    "a queue limit is not watched": (lambda shop: shop.client.zrem(shop.key("deadlineq", SEND), "q1"), {"deadlineq"}),
    "a timer of nothing is set": (
        lambda shop: shop.client.zadd(shop.key("deadlineq", SEND), {"nobody": 2**50}),
        {"deadlineq"},
    ),
    "a timer of a run that is over is set": (
        lambda shop: shop.client.zadd(shop.key("deadlineq", SEND), {"done": 2**50}),
        {"deadlineq"},
    ),
    "a timer of a run that needs none is set": (
        lambda shop: shop.client.zadd(shop.key("deadlineq", SEND), {"shards.0": 2**50}),
        {"deadlineq"},
    ),
    "the alarms are deleted": (lambda shop: shop.client.unlink(shop.key("alarms")), {"alarms"}),
    "the history is deleted": (lambda shop: shop.client.unlink(shop.key("history", SEND)), {"history"}),
    "history names nothing": (
        lambda shop: shop.client.zadd(shop.key("history", SEND), {"nobody": 1}),
        {"history"},
    ),
    "history names a run that is not over": (
        lambda shop: shop.client.zadd(shop.key("history", SEND), {"runs1": 1}),
        {"history"},
    ),
    "the lease is taken away": (lambda shop: shop.client.zrem(shop.key("leases"), "idle"), {"leases"}),
    "a lease of nobody": (lambda shop: shop.client.zadd(shop.key("leases"), {"nobody": 2**50}), {"leases"}),
    "the sessions of the app are deleted": (lambda shop: shop.client.unlink(shop.key("sessions", APP)), {"sessions"}),
    "a session of nobody": (lambda shop: shop.client.sadd(shop.key("sessions", APP), "nobody"), {"sessions"}),
    "a member of a group is nobody": (
        lambda shop: shop.client.sadd(shop.key("group_sessions", GROUP), "nobody"),
        {"group_sessions"},
    ),
    "the groups are deleted": (lambda shop: shop.client.unlink(shop.key("groups")), {"groups"}),
    "a group that is not there": (lambda shop: shop.client.sadd(shop.key("groups"), "none"), {"groups"}),
    "groups of a handler are deleted": (
        lambda shop: shop.client.unlink(shop.key("groups_of", SEND, "")),
        {"groups_of"},
    ),
    "a group serves a handler it does not": (
        lambda shop: shop.client.sadd(shop.key("groups_of", PACK, ""), GROUP),
        {"groups_of"},
    ),
    "the waiting sessions are deleted": (
        lambda shop: shop.client.unlink(shop.key("waiting", group_id(APP, [f"{APP}/idle"], {}), "")),
        {"waiting"},
    ),
    "nobody waits": (
        lambda shop: shop.client.zadd(shop.key("waiting", group_id(APP, [f"{APP}/idle"], {}), ""), {"nobody": 0}),
        {"waiting"},
    ),
    "a full session waits": (lambda shop: shop.client.zadd(shop.key("waiting", GROUP, ""), {"s1": 0}), {"waiting"}),
    "the ready lanes are deleted": (lambda shop: shop.client.unlink(shop.key("ready", GROUP, "")), {"ready"}),
    "a lane that is not there is ready": (
        lambda shop: shop.client.zadd(shop.key("ready", GROUP, ""), {"999": 2**50}),
        {"ready"},
    ),
    "a ready lane of a group that is not there": (
        lambda shop: shop.client.zadd(shop.key("ready", "none", ""), {shop.lane: 1}),
        {"ready"},
    ),
    "a lane shows another head": (
        lambda shop: shop.client.zadd(shop.key("ready", GROUP, ""), {shop.lane: 2**51}),
        {"ready"},
    ),
    "a lane's record is deleted": (lambda shop: shop.client.unlink(shop.key("lane", shop.lane)), {"lane"}),
    "a lane's name is deleted": (lambda shop: shop.client.unlink(shop.key("lanes", SEND)), {"lanes"}),
    "a lane is blocked": (lambda shop: shop.client.hset(shop.key("lane", shop.lane), "blocked", "paused"), {"lane"}),
    "a trigger's name is deleted": (lambda shop: shop.client.unlink(shop.key("triggers", APP)), {"triggers"}),
    "a name without a trigger": (
        lambda shop: shop.client.hset(shop.key("triggers", APP), "ghost", "zzzzzzz"),
        {"triggers"},
    ),
    "a trigger has no turn at the audit": (lambda shop: shop.client.unlink(shop.key("audits")), {"audits"}),
    "an agenda of nobody": (lambda shop: shop.client.rpush(shop.key("agenda", "zzzzzzz"), 1), {"agenda"}),
    "a trigger's payload of nobody": (
        lambda shop: shop.client.set(shop.key("trigger_param", "zzzzzzz"), BIG),
        {"trigger_param"},
    ),
    "payload, result, log, attempts, parameters of nobody": (
        lambda shop: _orphans(shop),
        {"param", "result", "log", "attempts", "shard_params"},
    ),
    "seats of nobody": (lambda shop: shop.client.sadd(shop.key("held", "nobody"), "x@1"), {"held"}),
    "an inbox of nobody": (lambda shop: shop.client.xadd(shop.key("inbox", "g9"), {"a": "b"}), {"inbox"}),
    "a shard without its task": (
        lambda shop: shop.client.hset(
            shop.key("task", "none.0"), mapping={"state": "created", "place": "lane", "lane": shop.lane}
        ),
        {"task"},
    ),
    "a finished run says it stands in a lane": (
        lambda shop: shop.client.hset(shop.key("task", "done"), "place", "lane"),
        {"task"},
    ),
}


async def _orphans(shop: Shop) -> None:
    await shop.client.set(shop.key("param", "nobody"), BIG)
    await shop.client.set(shop.key("result", "nobody"), BIG)
    await shop.client.hset(shop.key("log", "nobody"), "sums", "1 1")
    await shop.client.rpush(shop.key("attempts", "nobody"), "a")
    await shop.client.hset(shop.key("shard_params", "nobody"), "0", "a")


# What a repair cannot restore as it was: the score of a run that was queued and never bound, a lease, a turn.
FREE = ("audits", "leases")
# A head changes with its index, and a timer cannot be filed while nobody knows its run's lane; which of them is looked
# at first depends on the walk, as it does for a list of names. The comparison of the whole state below is what decides.
HEADS = {"ready", "due_heads", "deadlineq", "trigger_names", "app_handlers", "app_lanes"}


@pytest.mark.parametrize("name", EXACT)
async def test_damage_is_told_and_everything_is_as_it_was(shop: Shop, name: str) -> None:
    damage, what = EXACT[name]
    before = await shop.state()
    await damage(shop)
    assert await shop.state() != before

    mended = await shop.mended()

    assert what <= mended <= what | HEADS
    after = await shop.state()
    for free in FREE:
        assert (free in after) == (free in before)
        assert set(after.pop(free, {})) == set(before.pop(free, {}))
    assert after == before


async def test_a_seat_that_is_taken_away_is_put_back(shop: Shop) -> None:
    await shop.client.srem(shop.key("held", "s1"), "runs1@1")

    assert "held" in await shop.mended()

    assert "runs1@1" in (await shop.dump())["held:s1"]


async def test_a_session_that_is_deleted_gives_its_runs_back(shop: Shop) -> None:
    await shop.client.unlink(shop.key("session", "s1"))

    assert await shop.mended()

    facts = await shop.dump()
    assert {facts[f"task:{run}"]["place"] for run in ("runs1", "runs2", "waits", "shards.0")} == {"lane"}
    assert facts["task:runs1"]["fence"].endswith("-")
    assert "held:s1" not in facts
    assert "s1" not in facts["sessions:" + APP]


async def test_a_group_that_is_deleted_ends_its_sessions(shop: Shop) -> None:
    await shop.client.unlink(shop.key("group", GROUP))

    assert "session" in await shop.mended()

    facts = await shop.dump()
    assert "session:s1" not in facts
    assert GROUP not in facts.get("groups", ())
    assert facts["task:runs1"]["place"] == "lane"


async def test_records_that_are_deleted_leave_nothing_behind(shop: Shop) -> None:
    await shop.client.unlink(
        *(shop.key("task", run) for run in ("runs1", "q1", "later-on", "failed", "done", "shards")),
        shop.key("trigger", shop.uid),
    )

    assert {"activeq", "due", "deadlineq", "history", "param", "result", "log"} <= await shop.mended()

    left = "\n".join(await shop.dump())
    for run in ("runs1", "q1", "later-on", "failed", "done"):
        assert f":{run}" not in left, left
    assert f"agenda:{shop.uid}" not in left
    assert f"trigger_param:{shop.uid}" not in left
    assert await shop.client.pttl(shop.key("ledger", shop.uid)) > 0


async def test_a_shard_whose_record_is_deleted_ends_as_corrupt_so_that_its_task_can_end(shop: Shop) -> None:
    await shop.client.unlink(shop.key("task", "shards.1"))

    await shop.mended()

    facts = await shop.dump()
    assert (facts["task:shards.1"]["state"], facts["task:shards.1"]["reason"]) == ("faulted", "corrupt")
    assert facts["task:shards"]["faulted"] == "1"


@pytest.mark.parametrize("run", ["q1", "waits", "runs1", "later-on", "failed", "done", "shards.0", "shards"])
@pytest.mark.parametrize("how", ["state", "lane", "type"])
async def test_a_record_nobody_can_read_faults_as_corrupt(shop: Shop, run: str, how: str) -> None:
    key = shop.key("task", run)
    if how == "type":
        await shop.client.unlink(key)
        await shop.client.set(key, "x")
    else:
        await shop.client.hset(key, how, "\x00?")
        if how == "lane":
            await shop.client.hdel(key, "lane")

    await shop.mended()

    facts = await shop.dump()
    assert (facts[f"task:{run}"]["state"], facts[f"task:{run}"]["reason"]) == ("faulted", "corrupt")
    assert [event["run"] for event in await shop.events("corrupt")] == [run]


async def test_a_queued_task_whose_payload_is_gone_is_not_run_without_it(shop: Shop) -> None:
    await shop.submit("later-too", at=shop.clock.ms + 5_000_000, param=BIG)
    await shop.client.unlink(shop.key("param", "later-too"))

    await shop.mended()

    assert (await shop.dump())["task:later-too"]["state"] == "faulted"


async def test_a_trigger_whose_name_was_given_to_another_goes(shop: Shop) -> None:
    twin = {**(await shop.client.hgetall(shop.key("trigger", shop.uid)))}
    await shop.client.hset(shop.key("trigger", "zzzzzzz"), mapping=twin)

    assert await shop.mended() == {"trigger"}

    assert "trigger:zzzzzzz" not in await shop.dump()


async def test_an_index_of_another_type_is_made_anew(shop: Shop) -> None:
    before = await shop.state()
    for kind, *parts in (("history", SEND), ("groups",), ("sessions", APP), ("triggers", APP), ("lanes", SEND)):
        await shop.client.unlink(shop.key(kind, *parts))
        await shop.client.set(shop.key(kind, *parts), "x")

    await shop.mended()

    assert await shop.state() == before


async def test_a_key_that_nobody_owns_is_told_and_left_alone(shop: Shop) -> None:
    await shop.client.set(shop.prefix + "mystery:1", "x")
    await shop.client.set("another system's", "x")

    assert await shop.mended() == set()

    assert [event["key"] for event in await shop.events("stray_key")][:1] == ["mystery:1"]
    assert await shop.client.unlink(shop.prefix + "mystery:1", "another system's") == 2


async def test_a_lost_wakeup_is_bound_when_it_is_found(shop: Shop) -> None:
    await shop.enlist("s2", 1)
    facts = await shop.dump()
    [run] = [seat.split("@")[0] for seat in facts["held:s2"]]
    assert run == "q1"
    await shop.client.zrem(shop.key("activeq", shop.lane), "q2")
    await shop.enlist("s3", 5)

    await shop.mended()

    assert "q2@1" in (await shop.dump())["held:s3"]


async def test_a_large_index_is_read_in_pages(space: Partitions, clock: Clock) -> None:
    shop = Shop(space, clock, (await space.of_app(APP)).number, Scrub(space))
    for first in range(0, 3_000, 100):
        await shop.submit(*(f"t{n}" for n in range(first, first + 100)))
    lane = (await shop.dump())["task:t0"]["lane"]
    await shop.client.zadd(shop.key("activeq", lane), {f"nobody{n}": n for n in range(700)})

    assert await shop.mended() == {"activeq"}

    assert await shop.client.zcard(shop.key("activeq", lane)) == 3_000
    assert sum(int(event.get("count", 1)) for event in await shop.events()) == 700


async def test_a_replica_looks_only_where_it_is_preferred(shop: Shop) -> None:
    other = Scrub(shop.space, prefers=lambda partition: partition.number != shop.partition)

    await other.whole()

    assert other.looked == 0


async def test_the_pace_follows_the_size_of_the_keyspace(shop: Shop) -> None:
    keys = await shop.client.dbsize()

    pause = await Scrub(shop.space, whole_ms=keys * 10).run_once()

    assert pause == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("is_damaged", "most"), [(False, CALLS), (True, HURRIED_CALLS)])
async def test_a_large_index_is_read_a_page_a_pass_unless_there_is_damage(
    space: Partitions, clock: Clock, monkeypatch: pytest.MonkeyPatch, is_damaged: bool, most: int
) -> None:
    monkeypatch.setattr(limits, "SCRUB_MEMBERS", 3)
    shop = Shop(space, clock, (await space.of_app(APP)).number, Scrub(space))
    await shop.submit(*(f"t{n}" for n in range(1_000)))
    if is_damaged:
        await shop.client.zadd(shop.key("due", APP), {"nobody": 1})
    calls: list[int] = []
    call = Partition.call

    async def counted(*args: Any, **options: Any) -> Any:
        calls[-1] += 1
        return await call(*args, **options)

    monkeypatch.setattr(Partition, "call", counted)
    async with asyncio.timeout(60):
        while shop.scrub.rounds < 2:
            calls.append(0)
            await shop.scrub.run_once()

    assert max(calls) == most


async def test_no_call_with_work_compiles_the_script(shop: Shop) -> None:
    """That takes as long as a call may."""
    await shop.client.script_flush()
    await shop.client.config_resetstat()

    await shop.scrub.run_once()

    calls = await shop.client.info("commandstats")
    assert calls["cmdstat_eval"]["calls"] == shop.space.count
    assert calls["cmdstat_evalsha"]["failed_calls"] == shop.space.count


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_no_call_gets_more_names_than_it_looks_at_within_its_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    for first in range(0, 300, 100):
        await shop.submit(*(f"t{n}" for n in range(first, first + 100)))
    if is_damaged:
        await shop.client.zadd(shop.key("due", APP), {"nobody": 1})
    names: list[int] = []
    call = Partition.call

    async def counted(partition: Partition, scrub: verbs.Call[Any], **options: Any) -> Any:
        names.append(len(scrub.items))
        return await call(partition, scrub, **options)

    monkeypatch.setattr(Partition, "call", counted)

    await shop.scrub.whole()

    assert max(names) == limits.SCRUB_NAMES


async def test_whatever_is_deleted_at_random_heals(shop: Shop) -> None:
    """Any ten keys but the clocks' and the payloads': afterwards the rules hold and nothing is left to mend."""
    rng = random.Random(os.environ.get("GOJOB_TEST_SEED", "11"))
    for _ in range(6):
        names = [name for name in await shop.dump() if name.split(":")[0] not in ("meta", "param", "trigger_param")]
        for name in rng.sample(names, min(10, len(names))):
            await shop.client.unlink(shop.prefix + name)

        await shop.mended()


def test_a_name_says_what_to_look_at() -> None:
    assert look_at("task:a.1") == ("task", "hash", "a.1", "", "task:a.1", "0")
    assert look_at("groups_of:a/b/c|x=y") == ("groups_of", "set", "a/b/c", "x=y", "groups_of:a/b/c|x=y", "0")
    assert look_at("due:a/b") == ("due", "zset", "a/b", "", "due:a/b", "0")
    assert look_at("meta") is None
    assert look_at("groups:x") == ("unknown", "", "", "", "groups:x", "0")


@dataclass(slots=True)
class Bustle:
    """Everything that happens in the shop, each again and again until the end."""

    shop: Shop
    rng: random.Random
    end: float
    """Of the loop's clock."""
    submitted: list[str] = field(default_factory=list)

    async def repeated(self, act: Callable[[], Awaitable[Any]]) -> int:
        times = 0
        while asyncio.get_running_loop().time() < self.end:
            await act()
            times += 1
        return times

    async def submit(self) -> None:
        fresh = [f"task-{len(self.submitted) + n}" for n in range(20)]
        self.submitted.extend(fresh)
        kind: dict[str, Any] = self.rng.choice(
            [{}, {"param": BIG}, {"shards": 5}, {"queue_limit": 50}, {"run_limit": 30, "retries": 2}]
        )
        await self.shop.submit(*fresh, **kind)
        await self.shop.submit(f"delayed-{len(self.submitted)}", at=int(time.time() * 1000) + 20)

    async def work(self) -> None:
        hints = list((await self.shop.hints()).values())
        reports = [
            verbs.Report(hint.session, hint.run, hint.attempt, hint.fence, self.rng.choice(["ok", "error"]), 0, BIG)
            for hint in hints
            if self.rng.random() < 0.8
        ]
        for first in range(0, len(reports), 100):
            await task.report(self.shop.space[self.shop.partition], reports[first : first + 100])
        await asyncio.sleep(0.005)

    async def come_and_go(self) -> None:
        session = f"s{self.rng.randrange(10**9)}"
        await self.shop.enlist(session, 10, attributes=self.rng.choice(["", "host=a"]))
        await asyncio.sleep(0.05)
        await match.leave(self.shop.space[self.shop.partition], "g1", [verbs.LeaveItem(session, 1)])

    async def change(self) -> None:
        space, name = self.shop.space, f"t{self.rng.randrange(5)}"
        await define(space, Definition(app=APP, name=name, handler=PACK, schedule=Every(100, 0), param=BIG))
        await asyncio.sleep(0.03)
        await remove(space, APP, f"t{self.rng.randrange(5)}")
        if self.submitted:
            await task.cancel(
                space[self.shop.partition], [verbs.CancelItem(self.rng.choice(self.submitted), "canceled")]
            )


async def test_under_load_there_is_nothing_to_mend(space: Partitions) -> None:
    """Everything at once for three seconds: what the scrubber sees between two verbs is always whole."""
    space.now_ms = engine_clock
    scrub, planner = Scrub(space), Planner(space)
    shop = Shop(space, Clock(), (await space.of_app(APP)).number, scrub)
    bustle = Bustle(shop, random.Random(3), asyncio.get_running_loop().time() + 3.0)
    roles = (
        Fire(space, planner),
        planner,
        Deadlines(space),
        Retire(space, usual=Retention(done_count=50, failed_count=50)),
    )

    async with asyncio.TaskGroup() as group:
        for act in (bustle.submit, bustle.work, bustle.come_and_go, bustle.change, *(role.run_once for role in roles)):
            group.create_task(bustle.repeated(act))
        walking = group.create_task(bustle.repeated(scrub.whole))

    assert walking.result() >= 2
    assert await shop.events() == []
    assert scrub.mended == 0


async def test_a_cluster_is_walked_whole(cluster: Cluster) -> None:
    async with connected(cluster.url, mode="cluster") as clients:
        await clients.admin.flushall()
        space = Partitions(clients, 16)
        for partition in range(16):
            await space[partition].call(verbs.bootstrap(epoch="test", tell=0))
            await clients.admin.zadd(K.history(space.prefixes[partition], SEND), {"nobody": 1})
        scrub = Scrub(space)

        assert await scrub.whole() == 16

        assert await scrub.whole() == 0
        assert scrub.keys == 16 * 4  # besides what is told: its log, its counts, its app


@pytest.mark.parametrize("first", ["lane", "lanes"])
async def test_a_lane_that_says_it_is_of_another_handler_is_what_its_name_says_whichever_is_seen_first(
    shop: Shop, first: str
) -> None:
    """Its runs would wait in a lane that nobody serves, for good if the name went too."""
    before = await shop.state()
    await shop.client.hset(shop.key("lane", shop.lane), mapping={"handler": "a/b/c", "labels": "x=y"})
    look = look_at(f"lane:{shop.lane}" if first == "lane" else f"lanes:{SEND}")
    assert look is not None

    await shop.space[shop.partition].call(verbs.scrub([look], limit=500))
    await shop.mended()

    assert (await shop.state())[f"lane:{shop.lane}"] == before[f"lane:{shop.lane}"]
    assert (await shop.state())[f"lanes:{SEND}"] == before[f"lanes:{SEND}"]


async def test_a_name_that_points_at_the_lane_of_another_is_taken_away(shop: Shop) -> None:
    before = await shop.state()
    await shop.client.hset(shop.key("lanes", PACK), "x=y\x1f", shop.lane)

    assert await shop.mended() == {"lanes"}

    assert await shop.state() == before


@pytest.mark.parametrize("field", ["app", "handlers", "labels"])
async def test_a_group_that_does_not_say_what_was_announced_ends_its_sessions_which_announce_it_anew(
    shop: Shop, field: str
) -> None:
    """Nothing else would: the group would serve what it does not, as long as one of its workers lives."""
    await shop.client.hset(shop.key("group", GROUP), field, f"{APP}/nonsense")

    await shop.mended()

    state = await shop.state()
    assert not {f"group:{GROUP}", "session:s1", f"groups_of:{SEND}|"} & state.keys()
    assert "session:idle" in state


async def test_a_group_of_an_earlier_release_says_nothing_to_compare(shop: Shop) -> None:
    await shop.client.hdel(shop.key("group", GROUP), "sum")

    assert await shop.mended() == set()


async def test_a_task_without_a_shard_left_stands_in_no_lane(shop: Shop) -> None:
    await shop.client.hset(shop.key("task", "shards"), "place", "lane")

    assert await shop.mended() == {"task"}

    assert (await shop.state())["task:shards"]["place"] == "none"


async def test_the_payload_of_a_trigger_that_does_not_tell_its_size_stays(shop: Shop) -> None:
    await shop.client.hset(shop.key("trigger", shop.uid), "param_size", "nan?")

    assert await shop.mended() == set()

    assert (await shop.state())[f"trigger_param:{shop.uid}"] == BIG.decode()
