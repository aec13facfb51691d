"""gojob_redis/trigger.py: planning and firing, on a real engine with a clock that the test moves."""

import asyncio
import time
from typing import Any

import pytest

from gojob_redis import trigger
from gojob_redis.domain import ids, limits
from gojob_redis.domain.errors import Conflict
from gojob_redis.domain.states import TriggerState
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.planning.define import Definition, define, remove
from gojob_redis.planning.planner import Planner, continue_agenda, plan_agenda
from gojob_redis.schedules.schedule import Cron, Every, Manual, Once
from gojob_redis.trigger import Fire
from tests.stages.conftest import T0, Clock

APP = "default/shop"
SECOND = Every(1_000, T0)


def definition(schedule: Any = SECOND, name: str = "t", **options: Any) -> Definition:
    return Definition(app=APP, name=name, handler=f"{APP}/send", schedule=schedule, policies="overlap=allow", **options)


async def ledger(space: Partitions, uid: str) -> list[str]:
    partition = (await space.of_app(APP)).number
    client: Any = space.clients.admin
    return [entry.decode() for entry in await client.zrange(K.ledger(space.prefixes[partition], uid), 0, -1)]


async def come_due(space: Partitions, clock: Clock, count: int) -> None:
    """So many triggers are due at this very moment."""
    for number in range(count):
        await define(space, definition(Once(T0 + 100), name=f"t{number}"))
    clock.ms += 100


async def fired_by_each_call(space: Partitions, fire: Fire, calls: int) -> list[int]:
    """How many slots were fired after each of so many calls."""
    fired = []
    for _ in range(calls):
        fire.wake(await space.of_app(APP))  # between two calls of a storm it leaves the engine to others for a moment
        await fire.run_once()
        fired.append(fire.fired)
    return fired


def test_an_agenda_holds_64_slots_or_7_days_but_at_least_one() -> None:
    assert len(plan_agenda(SECOND, T0).times) == limits.AGENDA_MAX
    daily = plan_agenda(Cron("0 12 * * *", "UTC"), T0)
    assert len(daily.times) == 7
    assert not daily.over
    assert len(plan_agenda(Cron("0 0 29 2 *", "UTC"), T0).times) == 1


def test_an_agenda_knows_when_the_schedule_is_over() -> None:
    assert plan_agenda(Once(T0 + 5), T0).over
    assert plan_agenda(Manual(), T0).times == []
    assert plan_agenda(Every(1_000, T0, end_at=T0 + 3_000), T0).over


def test_a_gap_longer_than_the_misfire_limit_is_its_newest_slot_and_one_range() -> None:
    going_on = continue_agenda(SECOND, revision=1, planned=T0, misfire_after=60_000, now_ms=T0 + 6 * 3_600_000 + 500)

    assert going_on.gap == (T0 + 1_000, T0 + 21_599_000, 21_599)
    assert going_on.agenda.times[:2] == [T0 + 21_600_000, T0 + 21_601_000]


def test_slots_that_are_late_but_not_misfired_are_all_planned() -> None:
    going_on = continue_agenda(SECOND, revision=1, planned=T0, misfire_after=60_000, now_ms=T0 + 60_000)

    assert going_on.gap == (0, 0, 0)
    assert going_on.agenda.times[0] == T0 + 1_000


async def test_a_definition_answers_its_next_times_and_its_revision(space: Partitions) -> None:
    first = await define(space, definition())
    second = await define(space, definition(), revision=first.revision)

    assert first.next_times[:2] == [T0 + 1_000, T0 + 2_000]
    assert (second.uid, second.revision) == (first.uid, 2)
    with pytest.raises(Conflict) as caught:
        await define(space, definition(), revision=1)
    assert (caught.value.code, caught.value.field) == ("conflict", "revision")


async def test_a_new_trigger_never_shares_the_identity_of_another(
    space: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await define(space, definition())
    chosen = iter([first.uid, first.uid, ids.TriggerUid("another"), ids.TriggerUid("unused")])
    monkeypatch.setattr(ids, "new_trigger_uid", lambda: next(chosen))

    second = await define(space, definition(name="second"))

    assert (second.uid, second.revision) == ("another", 1)
    assert (await define(space, definition(), revision=first.revision)).uid == first.uid


async def test_every_second_of_an_hour_is_fired_once_by_two_replicas(space: Partitions, clock: Clock) -> None:
    made = await define(space, definition())
    planner = Planner(space)
    replicas = [Fire(space, planner), Fire(space, planner)]

    for _ in range(300):
        clock.ms += 1_000
        for replica in replicas:
            replica.heads.at = [0.0] * space.count
            await replica.run_once()
        await planner.run_once()

    assert sum(replica.fired for replica in replicas) == 300
    assert [int(entry.split()[1]) for entry in await ledger(space, made.uid)] == [T0 + 1_000 * n for n in range(1, 301)]


async def test_after_an_outage_one_slot_fires_and_one_entry_holds_the_rest(space: Partitions, clock: Clock) -> None:
    made = await define(space, definition())
    planner = Planner(space)
    fire = Fire(space, planner)

    clock.ms += 6 * 3_600_000
    for _ in range(3):
        fire.heads.at = [0.0] * space.count
        await fire.run_once()
        await planner.run_once()
    fire.heads.at = [0.0] * space.count
    await fire.run_once()

    newest = T0 + 6 * 3_600_000
    assert await ledger(space, made.uid) == [
        f"coalesced {newest - 1_000} {T0 + 1_000} 21599 misfire",
        f"fired {newest} 0",
    ]


@pytest.mark.parametrize("fired_before", [False, True])
async def test_a_rule_that_is_changed_during_an_outage_leaves_no_slot_out(
    space: Partitions, clock: Clock, fired_before: bool
) -> None:
    """The agenda covers a minute of the outage; the rest of it has to be in the ledger all the same."""
    made = await define(space, definition())
    fire = Fire(space, Planner(space))
    clock.ms += 3_600_000
    if fired_before:  # a replica came back just before the change, and handed the trigger to its planner
        await fire.run_once()

    changed = await define(space, definition(Every(60_000, T0)))

    assert (changed.uid, changed.revision) == (made.uid, 2)
    entries = [entry.split() for entry in await ledger(space, made.uid)]
    covered = sum(int(entry[3]) if entry[0] == "coalesced" else 1 for entry in entries)
    assert covered == 3_600
    assert entries[-1] == ["skipped", str(T0 + 3_600_000), "edited"]


async def test_a_rule_that_nobody_can_read_can_be_replaced(space: Partitions, clock: Clock) -> None:
    made = await define(space, definition())
    key = K.trigger((await space.of_app(APP)).prefix, made.uid)
    await space.clients.admin.hset(key, "definition", b"\xc1")
    clock.ms += 3_600_000

    assert (await define(space, definition())).revision == 2


async def test_a_visit_tells_when_the_next_one_is_due(space: Partitions, clock: Clock) -> None:
    await define(space, definition(Once(T0 + 120)))
    fire = Fire(space, Planner(space))

    assert 0.0 < await fire.run_once() <= 0.12
    clock.ms += 120
    fire.wake(await space.of_app(APP))
    await fire.run_once()

    assert fire.fired == 1


async def test_a_replica_that_is_not_preferred_comes_100_ms_later(space: Partitions) -> None:
    await define(space, definition(Once(T0 + 120)))
    fire = Fire(space, Planner(space), prefers=lambda _partition: False)

    assert 0.12 < await fire.run_once() <= 0.22


async def test_a_removed_trigger_fires_no_more(space: Partitions, clock: Clock) -> None:
    await define(space, definition())

    assert await remove(space, APP, "t")
    assert not await remove(space, APP, "t")

    clock.ms += 5_000
    fire = Fire(space, Planner(space))
    await fire.run_once()
    assert fire.fired == 0


async def test_time_disabled_is_not_time_missed(space: Partitions, clock: Clock) -> None:
    made = await define(space, definition(state=TriggerState.DISABLED))
    clock.ms += 3_600_000

    await define(space, definition())
    fire = Fire(space, Planner(space))
    await fire.run_once()

    assert await ledger(space, made.uid) == []


async def test_a_crowd_is_fired_in_growing_calls_so_that_its_first_tasks_begin_early(
    space: Partitions, clock: Clock
) -> None:
    await come_due(space, clock, 70)
    fire = Fire(space, Planner(space))

    fired = await fired_by_each_call(space, fire, 4)

    assert fired == [25, 70, 70, 70]


async def test_a_crowd_is_fired_without_a_pause_and_a_storm_leaves_time_to_others(
    space: Partitions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause is made long enough to be seen, and storms begin early."""
    monkeypatch.setattr(trigger, "YIELD_S", 30.0)
    monkeypatch.setattr(trigger, "STORM_CALLS", 3)
    await come_due(space, clock, 230)
    partition, fire = await space.of_app(APP), Fire(space, Planner(space))
    call_in = Partitions.call_in

    async def slowly(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.02)
        return await call_in(*args, **options)

    monkeypatch.setattr(Partitions, "call_in", slowly)
    pauses_s = []
    for _ in range(4):
        fire.wake(partition)
        await fire.run_once()
        pauses_s.append(max(0.0, fire.heads.at[partition.number] - time.monotonic()))

    assert fire.fired == 145
    assert pauses_s[:3] == [0.0, 0.0, 0.0]
    assert 0.005 < pauses_s[3] < 1.0


async def test_a_storm_is_fired_in_smaller_calls(
    space: Partitions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger, "STORM_CALLS", 2)
    await come_due(space, clock, 130)
    fire = Fire(space, Planner(space))

    fired = await fired_by_each_call(space, fire, 6)

    assert fired == [25, 75, 95, 115, 130, 130]


async def test_a_storm_is_left_to_the_preferred_replica(space: Partitions, clock: Clock) -> None:
    await come_due(space, clock, 50)
    partition = (await space.of_app(APP)).number
    mine = Fire(space, Planner(space))
    other = Fire(space, Planner(space), prefers=lambda _partition: False)

    await other.run_once()
    others_s = other.heads.at[partition] - time.monotonic()
    await mine.run_once()

    assert (mine.fired, other.fired) == (25, 25)
    assert 0.05 < others_s <= 0.1


async def test_a_head_is_met_to_less_than_a_millisecond_and_never_early(space: Partitions) -> None:
    fire = Fire(space, Planner(space))
    await fire.run_once()
    due_s = time.monotonic() + 0.0012
    fire.heads.at = [due_s] * space.count

    await fire.run_once()

    assert fire.heads.due(due_s) == []
    assert time.monotonic() >= due_s
