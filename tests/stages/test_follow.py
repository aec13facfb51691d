"""gojob_redis/planning/defaults.py: triggers go by the defaults that hold, whoever dies meanwhile."""

from dataclasses import dataclass
from typing import Any

import pytest

from gojob_redis.control.namespaces import put_namespace
from gojob_redis.domain import limits, verbs
from gojob_redis.domain.policies import Value
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.planning.defaults import FOLLOW_S, STEP_S, Follow, Heard, holding, versions_heard
from gojob_redis.planning.define import Definition, define, remove
from gojob_redis.planning.planner import Planner
from gojob_redis.schedules.schedule import Every, Schedule
from gojob_redis.trigger import Fire
from gojob_sdk.protocol import pack_spec, spec_digest
from tests.stages.conftest import T0, Clock

APP = "default/shop"
SEND = f"{APP}/send"
HOURLY = Every(3_600_000, T0)
PASSES = 100


@dataclass(slots=True)
class House:
    """Partitions with triggers, and replicas that let them follow."""

    space: Partitions
    clock: Clock
    now_s: float = 0.0

    def replica(self, **options: Any) -> Follow:
        return Follow(self.space, clock_s=lambda: self.now_s, **options)

    async def of_app(self, app: str = APP) -> Partition:
        return await self.space.of_app(app)

    async def define(self, name: str = "t", app: str = APP, schedule: Schedule = HOURLY, **options: Any) -> str:
        made = Definition(app=app, name=name, handler=f"{app}/send", schedule=schedule, **options)
        return (await define(self.space, made)).uid

    async def policies(self, uid: str, app: str = APP) -> str:
        return (await self.fields(uid, app))["policies"]

    async def fields(self, uid: str, app: str = APP) -> dict[str, str]:
        partition = await self.of_app(app)
        [fields] = await partition.read([("HGETALL", K.trigger(partition.prefix, uid))])
        return {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}

    async def set_defaults(self, namespace: str = "default", **defaults: Value | None) -> None:
        await put_namespace(self.space, namespace, defaults=defaults)

    async def tell(self, **spec: Any) -> str:
        packed = pack_spec(spec)  # type: ignore[arg-type]
        digest = spec_digest(packed)
        await (await self.of_app()).call(verbs.describe([verbs.Telling(APP, SEND, digest, packed)]))
        return digest


@pytest.fixture
def house(space: Partitions, clock: Clock) -> House:
    return House(space, clock)


async def walk(replica: Follow) -> int:
    """Passes until nothing is left."""
    for number in range(1, PASSES):
        if await replica.run_once() is None:
            return number
    raise AssertionError("it never ends")


async def test_a_changed_default_of_a_namespace_reaches_its_triggers_in_all_partitions(house: House) -> None:
    replica = house.replica()
    apps = [f"default/app{number}" for number in range(12)]
    uids = {app: await house.define(app=app) for app in apps}
    other = await house.define(app="other/app")
    assert len({(await house.of_app(app)).number for app in apps}) == house.space.count
    await walk(replica)

    await house.set_defaults(retries=3)
    await walk(replica)

    assert {await house.policies(uid, app) for app, uid in uids.items()} == {"retries=3"}
    assert (await house.fields(uids[apps[0]], apps[0]))["sources"] == "retries=namespace"
    assert await house.policies(other, "other/app") == ""
    assert replica.renewed == len(apps)

    await house.set_defaults(retries=None)
    await walk(replica)

    assert {await house.policies(uid, app) for app, uid in uids.items()} == {""}


async def test_what_was_said_of_a_trigger_stays(house: House) -> None:
    uid = await house.define(policies="retries=1", sources="retries=trigger priority=trigger")
    await house.set_defaults(retries=3, priority=7, overlap="allow")

    await walk(house.replica())

    assert await house.policies(uid) == "retries=1 overlap=allow"


async def test_what_a_handler_tells_reaches_its_triggers_and_goes_before_the_namespace(house: House) -> None:
    replica = house.replica()
    uid = await house.define()
    await house.set_defaults(retries=3, priority=7)
    await walk(replica)

    await house.tell(defaults={"retries": 5})
    await walk(replica)

    fields = await house.fields(uid)
    assert (fields["policies"], fields["sources"]) == ("priority=7 retries=5", "priority=namespace retries=handler")


async def test_while_no_default_changed_a_pass_looks_at_no_trigger(house: House) -> None:
    replica = house.replica()
    await house.define()
    await walk(replica)
    house.now_s += limits.FOLLOW_AGAIN_MS / 1000
    await walk(replica)
    looked = replica.looked
    assert looked == 2

    house.now_s += limits.FOLLOW_WHOLE_MS / 1000 - 1
    assert await walk(replica) == 1
    assert replica.looked == looked

    house.now_s += 1
    await walk(replica)
    assert replica.looked == looked + 1


async def test_a_gateway_that_remembered_older_defaults_is_corrected(house: House) -> None:
    replica = house.replica()
    await house.set_defaults(retries=3)
    await walk(replica)
    uid = await house.define()

    house.now_s += limits.FOLLOW_AGAIN_MS / 1000 - 0.001
    await walk(replica)
    assert await house.policies(uid) == ""

    house.now_s += 0.001
    await walk(replica)
    assert await house.policies(uid) == "retries=3"


async def test_a_pass_looks_at_100_triggers_and_the_next_comes_soon(house: House) -> None:
    replica = house.replica()
    uids = [await house.define(f"t{number}") for number in range(250)]
    await house.set_defaults(retries=3)

    looked = []
    while await replica.run_once() == STEP_S:
        looked.append(replica.looked)

    assert all(later - before <= limits.BATCH_ITEMS for before, later in zip([0, *looked], looked, strict=False))
    assert {await house.policies(uid) for uid in uids} == {"retries=3"}
    assert STEP_S < FOLLOW_S


async def test_a_replica_that_is_killed_in_the_middle_leaves_nothing_that_another_does_not_find(house: House) -> None:
    uids = [await house.define(f"t{number}") for number in range(250)]
    await house.set_defaults(retries=3)
    killed = house.replica()
    assert await killed.run_once() == STEP_S
    assert 0 < killed.renewed < len(uids)

    heir = house.replica()
    await walk(heir)

    assert killed.renewed + heir.renewed == len(uids)
    assert {await house.policies(uid) for uid in uids} == {"retries=3"}


async def test_two_replicas_at_once_do_no_harm(house: House) -> None:
    uid = await house.define()
    await house.set_defaults(retries=3)
    one, other = house.replica(), house.replica()

    await walk(one)
    await walk(other)

    assert (one.renewed, other.renewed) == (1, 0)
    assert await house.policies(uid) == "retries=3"


async def test_a_partition_that_another_replica_prefers_is_left_alone_and_looked_at_when_it_becomes_ours(
    house: House,
) -> None:
    uid = await house.define()
    prefers = [True]
    replica = house.replica(prefers=lambda _partition: prefers[0])
    await walk(replica)
    prefers[0] = False
    await house.set_defaults(retries=3)
    await walk(replica)
    assert await house.policies(uid) == ""

    prefers[0] = True
    await walk(replica)

    assert await house.policies(uid) == "retries=3"


async def test_slots_and_watermark_stay_also_when_a_policy_of_planning_follows(house: House) -> None:
    uid = await house.define(schedule=Every(1_000, T0))
    house.clock.ms += 2_500
    await Fire(house.space, Planner(house.space)).run_once()
    before = await house.fields(uid)
    partition = await house.of_app()
    places = [("ZSCORE", K.due(partition.prefix, APP), uid), ("LRANGE", K.agenda(partition.prefix, uid), 0, -1)]
    slots = await partition.read(places)
    assert slots[0]

    await house.set_defaults(misfire_after_ms=5_000)
    await walk(house.replica())

    after = await house.fields(uid)
    assert after["policies"] == "misfire_after=5000"
    assert await partition.read(places) == slots
    kept = ("last_slot", "planned", "low_at", "over", "revision", "changed", "definition", "state")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


async def test_triggers_of_which_a_later_release_said_something_are_left_alone(house: House) -> None:
    uid = await house.define(policies="flow=fair", sources="flow=trigger")
    plain = await house.define("plain", policies="overlap=allow")
    await house.set_defaults(retries=3)

    await walk(house.replica())

    assert (await house.policies(uid), await house.policies(plain)) == ("flow=fair", "overlap=allow")


async def test_a_spoiled_or_removed_trigger_holds_no_other_back(house: House) -> None:
    spoiled, removed, whole = [await house.define(name) for name in ("spoiled", "removed", "whole")]
    partition = await house.of_app()
    client: Any = house.space.clients.admin
    await client.hset(K.trigger(partition.prefix, spoiled), "revision", "?")
    await client.zadd(K.audits(partition.prefix), {"nothing": T0})
    await remove(house.space, APP, "removed")
    await house.set_defaults(retries=3)

    await walk(house.replica())

    assert await house.policies(whole) == "retries=3"
    assert await house.fields(removed) == {}
    await client.hset(K.trigger(partition.prefix, spoiled), "revision", "1")
    await client.zrem(K.audits(partition.prefix), "nothing")


async def test_a_version_that_died_goes_to_the_one_that_lives_and_the_last_one_stays(house: House) -> None:
    replica = house.replica()
    uid = await house.define()
    old = await house.tell(defaults={"retries": 1})
    house.clock.ms += 1_000
    await house.tell(defaults={"retries": 2})
    await walk(replica)
    assert await house.policies(uid) == "retries=2"

    house.clock.ms += limits.SPEC_LIVE_MS + 1
    await (await house.of_app()).call(verbs.describe([verbs.Telling(APP, SEND, old)]))
    await walk(replica)
    assert await house.policies(uid) == "retries=1"

    house.clock.ms += limits.SPEC_LIVE_MS + 1
    house.now_s += limits.FOLLOW_WHOLE_MS / 1000
    await walk(replica)
    assert await house.policies(uid) == "retries=1"


async def test_what_is_no_spec_has_no_defaults(house: House) -> None:
    uid = await house.define()
    await house.set_defaults(priority=7)
    partition = await house.of_app()
    for packed in (b"\xc1", b"\x01", b"\x81\xa8defaults\x01"):
        await partition.call(verbs.describe([verbs.Telling(APP, SEND, packed.hex(), packed)]))
        house.clock.ms += 1

        await walk(house.replica())

        assert await house.policies(uid) == "priority=7"


async def test_a_call_that_is_repeated_tells_the_triggers_again(house: House) -> None:
    await house.set_defaults(retries=3)
    client: Any = house.space.clients.admin
    before = await client.get(K.defaults_changes(CONTROL))

    await house.set_defaults(retries=3)
    assert await client.get(K.defaults_changes(CONTROL)) != before

    before = await client.get(K.defaults_changes(CONTROL))
    await put_namespace(house.space, "default", "another description")
    assert await client.get(K.defaults_changes(CONTROL)) == before


def test_the_newest_version_that_lives_holds_else_the_one_that_was_heard_last() -> None:
    rows = versions_heard({b"a": b"1 90", b"b": b"2 50", b"c": b"3 40", b"spoiled": b"x y"})
    assert rows == [Heard("c", 3, 40), Heard("b", 2, 50), Heard("a", 1, 90)]

    assert [holding(rows, since_ms) for since_ms in (40, 41, 51, 91)] == ["c", "b", "a", "a"]
    assert holding([], 0) == ""
