"""An older release and ours by turns on the same keys, as while an upgrade rolls; ours on what a later one wrote."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from gojob_redis import task, view
from gojob_redis.domain import verbs
from gojob_redis.domain.retention import Retention
from gojob_redis.engine.client import Client
from gojob_redis.engine.headers import BadScript
from gojob_redis.engine.scripts import Verb, load_all
from gojob_redis.maintenance.deadlines import Deadlines
from gojob_redis.maintenance.ledger_audit import Audit
from gojob_redis.maintenance.retention import Retire
from gojob_redis.planning.define import Definition, define
from gojob_redis.planning.planner import Planner
from gojob_redis.schedules.schedule import Every
from gojob_redis.trigger import Fire
from tests import invariants
from tests.conftest import Partition, bootstrapped
from tests.faults.release import previous, revisions
from tests.faults.scenario import Skipped
from tests.lua.world import T0, World
from tests.stages.conftest import Clock, clock, patient, space
from tests.stages.test_fuzz import everything
from tests.stages.test_scrub import APP, PACK, SEND, Shop, shop

__all__ = ["clock", "patient", "shop", "space"]

LIVES = 20


@dataclass(frozen=True, slots=True)
class Mixed(Partition):
    """Each call is made with the script of one release or the other, and with what it takes."""

    releases: tuple[Mapping[str, Verb], ...]
    chance: random.Random

    async def call(self, name: str, items: Any = (), /, **scalars: Any) -> list[Any]:
        script = self.chance.choice(self.releases)[name]
        taken = {param.name for param in script.header.scalars} & scalars.keys()
        return await script.call(self.client, self.prefix, items, **{name: scalars[name] for name in taken})


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping[str, Verb], ...]:
    """The scripts of both releases; a verb takes what it took before, and perhaps more."""
    ours, theirs = load_all(), _theirs(tmp_path_factory)
    same = {name for name in ours.keys() & theirs.keys() if _can_stand_for(theirs[name], ours[name])}
    assert len(same) > len(ours) // 2
    return ours, ours | {name: theirs[name] for name in same}


def _theirs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verb]:
    """The scripts of the newest older release whose headers this one can read."""
    try:
        for revision in revisions():
            directory = tmp_path_factory.mktemp("previous")
            previous(directory, revision)
            try:
                return load_all(directory / "gojob_redis" / "lua")
            except BadScript:
                continue
    except Skipped as why:
        pytest.skip(f"NO RELEASE BEFORE THIS ONE: {why}")
    pytest.skip("NO RELEASE BEFORE THIS ONE: the headers of all older scripts have another form")


def _can_stand_for(before: Verb, now: Verb) -> bool:
    return before.header.fields == now.header.fields and set(before.header.scalars) <= set(now.header.scalars)


@pytest.mark.parametrize("seed", range(LIVES))
async def test_what_two_releases_do_by_turns_is_neither_lost_nor_doubled(
    client: Client, releases: tuple[Mapping[str, Verb], ...], seed: int
) -> None:
    base = await bootstrapped(client, now_ms=T0)
    world = World(Mixed(client, base.tag, base.prefix, releases, random.Random(seed)))

    await world.enlist("s1", capacity=2)
    await world.define(T0 + 1_000, T0 + 2_000)
    assert await world.submit("t1", "t2", "t3") == ["ok", "ok", "ok"]
    first, second = await world.dispatches()
    await world.start(first)
    assert await world.resume("s1", first, gateway="g2") == ["ok", 2, "keep"]
    [again] = await world.dispatches("g2")
    assert again == second
    assert await world.release(again) == ["accepted"]
    assert await world.report(first) == ["accepted"]
    await world.enlist("s2", capacity=9)
    for _ in range(2):
        world.pass_ms(1_000)
        await world.fire()
    for _ in range(3):
        for run in [*await world.dispatches("g1"), *await world.dispatches("g2")]:
            assert await world.report(run) == ["accepted"]
        await world.renew("s1", gateway="g2", conn=2, capacity=2)
    await world.expire()

    dump = await world.dump()
    tasks = {name: record["state"] for name, record in dump.items() if name.startswith("task:")}
    assert len(tasks) == 5
    assert set(tasks.values()) == {"run_to_completion"}
    assert not invariants.violations(dump)


class Later:
    """What a later release has written into a shop, in words that this one does not know."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.members: list[tuple[str, str]] = []
        self.hashes: list[str] = []
        self.fields: list[tuple[str, str]] = []
        self.kept: Any = None

    async def write(self) -> None:
        shop = self.shop
        await self._task("put-by", place="quarantine")
        await self._task("asleep", state="suspended", place="shelf", session="s1", attempt="1", fence="1-x")
        await self._task("filed", state="faulted", place="shelved", ended="1")
        await self._member("history", "archived", score=1, name=SEND, state="archived", place="none", ended="1")
        for run, words in (("parked", {"state": "parked"}), ("picky", {"on_lost": "hold"})):
            await self._member("activeq", run, score=1, name=shop.lane, place="lane", **words)
        await self._member("due", "reviewed-task", score=1, name=APP, place="due", state="reviewed")
        await self._member("due", "calendar:cn", score=1, name=APP)
        for timer in ("quota:default/shop", "put-by"):
            await self._member("deadlineq", timer, score=1, name=SEND)
        await shop.client.zadd(shop.key("due_heads"), {APP: 1})
        await shop.client.zadd(shop.key("alarms"), {SEND: 1})
        await self._triggers()
        await self._stray("shelved:" + APP, "filed")
        await shop.enlist("cool", 3)
        await shop.client.hset(shop.key("session", "cool"), "off", "cooling")
        pack = (await shop.dump())[f"lanes:{PACK}"]["\x1f"]
        await shop.client.hset(shop.key("lane", pack), mapping={"blocked": "limit", "rate": "5"})
        self.fields.append((shop.key("session", "cool"), "off"))
        self.fields += [(shop.key("lane", pack), name) for name in ("blocked", "rate")]
        for name in (shop.key("task", "q1"), shop.key("trigger", shop.uid), shop.key("session", "s1")):
            await shop.client.hset(name, "colour", "blue")
            self.fields.append((name, "colour"))
        await shop.client.xadd(shop.key("app_events", APP), {"kind": "rate_limited", "wall": shop.clock.ms, "app": APP})
        await shop.client.xadd(shop.key("inbox", "g1"), {"promote:s1": b"promote\x1fs1\x1f1"})
        self.kept = await self.look()

    async def look(self) -> Any:
        client = self.shop.client
        return (
            [await client.hgetall(name) for name in self.hashes],
            [await client.zscore(name, member) for name, member in self.members],
            [await client.hget(name, field) for name, field in self.fields],
        )

    async def _task(self, run: str, **words: str) -> None:
        name = self.shop.key("task", run)
        await self.shop.client.hset(
            name, mapping={"state": "created", "lane": self.shop.lane, "made": "1", "colour": "blue"} | words
        )
        self.hashes.append(name)

    async def _member(self, kind: str, member: str, *, score: int, name: str, **words: str) -> None:
        if words:
            await self._task(member, **words)
        index = self.shop.key(kind, name)
        await self.shop.client.zadd(index, {member: score})
        self.members.append((index, member))

    async def _stray(self, name: str, member: str) -> None:
        await self.shop.client.zadd(self.shop.prefix + name, {member: 1})
        self.members.append((self.shop.prefix + name, member))

    async def _triggers(self) -> None:
        """Two that are due in 4 s: one with a policy value, one with a state of its own."""
        shop = self.shop
        for name in ("replaces", "rests"):
            wanted = Definition(app=APP, name=name, handler=SEND, schedule=Every(4_000, T0), policies="overlap=allow")
            uid = (await define(shop.space, wanted)).uid
            key = shop.key("trigger", uid)
            for field, value in (await shop.client.hgetall(key)).items():
                if name == "replaces":
                    await shop.client.hset(key, field, value.replace(b"allow", b"replace"))
            if name == "rests":
                await shop.client.hset(key, "active", "resting")
            self.members.append((shop.key("due", APP), uid))
            self.fields += [(key, field) for field in ("policies", "facts", "active", "last_slot", "param")]
            slot = shop.clock.ms + 4_000
            await shop.client.zadd(shop.key("ledger", uid), {f"deferred {slot} x": slot})
            self.members.append((shop.key("ledger", uid), f"deferred {slot} x"))


@pytest.mark.parametrize("seed", range(3))
async def test_what_a_later_release_wrote_is_left_alone_and_told_while_other_tasks_flow(
    shop: Shop, clock: Clock, seed: int
) -> None:
    rng, later, partition = random.Random(seed), Later(shop), shop.space[shop.partition]
    await later.write()
    fire, audit = Fire(shop.space, Planner(shop.space)), Audit(shop.space)
    deadlines, retire = (
        Deadlines(shop.space),
        Retire(shop.space, usual=Retention(done_ms=0, done_count=0, failed_ms=0, failed_count=0)),
    )
    await shop.enlist("w", 20)
    fresh: list[str] = []
    for number in range(6):
        clock.ms += 4_000
        await shop.client.zadd(shop.key("leases"), {"cool": 2**50, "w": 2**50})
        assert await everything(shop, rng) == []
        added = [f"fresh-{number}-{i}" for i in range(5)]
        await shop.submit(*added)
        fresh += added
        for loop in (fire, fire.planner, audit, deadlines, retire):
            for heads in range(4):
                fire.heads.at[heads] = 0.0
            await loop.run_once()
        await shop.scrub.whole()
        await partition.call(verbs.pause([verbs.PauseItem(SEND, 0)]))
        await partition.call(verbs.renew([verbs.Renewal("w", 1, 0, -1, 20)], gateway="g1"))
        for _ in range(3):
            await _report_all(shop)

    assert await later.look() == later.kept
    states = {run: (await shop.dump()).get(f"task:{run}", {}).get("state") for run in fresh}
    assert set(states.values()) <= {"run_to_completion", "canceled"}, states
    assert list(states.values()).count("run_to_completion") > 20
    expired = await partition.call(verbs.expire(limit=100))
    assert (expired.status, expired.next_alarm > expired.steady) == ("ok", True)
    fired = await partition.call(verbs.fire(limit=100, cpu_us=10**6))
    assert (fired.status, fired.next_due > fired.wall) == ("ok", True)
    told = await shop.events("unknown_word")
    assert {event.get("word") or event.get("timer") or event["due"] for event in told if "count" not in event} >= {
        "quarantine", "suspended", "shelved", "archived", "parked", "hold", "reviewed", "replace", "resting", "cooling",
        "quota:default/shop", "calendar:cn",
    }  # fmt: skip
    assert not [event for event in await shop.events("corrupt") if "reviewed" not in str(event)]
    events = (await view.events(shop.space, lambda app: app == APP)).items
    assert {event.about.get("kind", str(event.kind)) for event in events} >= {
        "rate_limited",
        "unknown_word",
    }
    await shop.client.unlink(shop.prefix + "shelved:" + APP)


async def _report_all(shop: Shop) -> None:
    """Whatever was bound is reported as done."""
    reports = [
        verbs.Report(run.session, run.run, run.attempt, run.fence, "ok", 0, b"")
        for run in (await shop.hints()).values()
    ]
    for at in range(0, len(reports), 100):
        await task.report(shop.space[shop.partition], reports[at : at + 100])
