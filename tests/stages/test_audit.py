"""gojob_redis/maintenance/ledger_audit.py: rule against ledger, and entries changed behind the system's back."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.states import TriggerState
from gojob_redis.engine.keys import K, Key
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.maintenance import ledger_audit as audit
from gojob_redis.maintenance.ledger_audit import Audit, Entry, Finding, compare, read_entry
from gojob_redis.planning.define import Definition, define, remove
from gojob_redis.planning.planner import Planner
from gojob_redis.schedules.cron import CronSpec
from gojob_redis.schedules.schedule import Cron, Every, Manual, Once, Schedule, next_times
from gojob_redis.trigger import Fire
from tests.lua.world import with_policies
from tests.stages.conftest import T0, Clock
from tests.tools import keyspace

APP = "default/shop"
MINUTELY = Every(60_000, T0)
HOUR_MS = 3_600_000


@dataclass(slots=True)
class House:
    """Triggers, a replica that fires them, and one that audits."""

    space: Partitions
    clock: Clock
    partition: int
    planner: Planner = field(init=False)
    fire: Fire = field(init=False)
    audit: Audit = field(init=False)

    def __post_init__(self) -> None:
        self.planner = Planner(self.space)
        self.fire = Fire(self.space, self.planner)
        self.audit = Audit(self.space)

    @property
    def client(self) -> Any:
        return self.space.clients.admin

    @property
    def prefix(self) -> str:
        return self.space.prefixes[self.partition]

    async def define(self, schedule: Schedule = MINUTELY, name: str = "t", **options: Any) -> str:
        wanted = Definition(
            app=APP,
            name=name,
            handler=f"{APP}/send",
            schedule=schedule,
            **with_policies({"overlap": "allow"} | options),
        )
        return (await define(self.space, wanted)).uid

    async def live(self, ms: int, step: int = 60_000) -> None:
        """Let time pass with the replica at work, and nobody auditing."""
        end = self.clock.ms + ms
        while self.clock.ms < end:
            self.clock.ms = min(end, self.clock.ms + step)
            before = (-1, -1)
            while before != (before := (self.fire.fired + self.fire.skipped, self.planner.planned)):
                self.fire.heads.at = [0.0] * self.space.count
                await self.fire.run_once()
                await self.planner.run_once()

    async def look(self) -> list[tuple[str, int, int, int]]:
        """Audit until there is nothing more to say; returns the events that were new."""
        before = len(await self.events())
        for _ in range(4):
            self.clock.ms += limits.AUDIT_EVERY_MS // 4
            while await self.audit.run_once() == 0.0:
                pass
        return [
            (event["kind"], int(event.get("slot", 0)), int(event.get("last", 0)), int(event.get("count", 1)))
            for event in (await self.events())[before:]
        ]

    async def events(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = keyspace.events(await keyspace.dump(self.client, self.prefix))
        return found

    async def ledger(self, uid: str) -> list[str]:
        return [entry.decode() for entry in await self.client.zrange(K.ledger(self.prefix, uid), 0, -1)]

    async def due(self, uid: str) -> int | None:
        score = await self.client.zscore(K.due(self.prefix, APP), uid)
        return None if score is None else int(score)


@pytest.fixture
async def house(space: Partitions, clock: Clock) -> House:
    return House(space, clock, (await space.of_app(APP)).number)


# ---- comparing -------------------------------------------------------------------------------------------------------


def entries(*texts: str) -> list[Entry]:
    return [entry for text in texts if (entry := read_entry(text.encode()))]


def slots(first: int, last: int) -> list[str]:
    return [f"fired {T0 + 60_000 * n} 0" for n in range(first, last + 1)]


def at(n: int) -> int:
    return T0 + 60_000 * n


@pytest.mark.parametrize(
    ("ledger", "found"),
    [
        (slots(1, 9), []),
        (slots(1, 4) + slots(6, 9), [("hole", at(5), at(5), 1)]),
        (slots(4, 9), [("hole", at(1), at(3), 3)]),
        (slots(1, 7), [("hole", at(8), at(9), 2)]),
        ([], [("hole", at(1), at(9), 9)]),
        ([*slots(1, 9), f"skipped {at(4)} overlap"], [("double", at(4), at(4), 1)]),
        ([*slots(1, 9), f"fired {at(4) + 1} 0"], [("stray", at(4) + 1, at(4) + 1, 1)]),
        ([f"coalesced {at(6)} {at(1)} 6 misfire", *slots(7, 9)], []),
        ([f"coalesced {at(6)} {at(2)} 5 misfire", *slots(7, 9)], [("hole", at(1), at(1), 1)]),
        ([f"coalesced {at(6)} {at(1)} 5 misfire", *slots(7, 9)], [("stray", at(1), at(6), 5)]),
        ([*slots(1, 9), f"coalesced {at(8)} {at(5)} 4 misfire"], [("double", at(5), at(8), 4)]),
        ([*slots(1, 9), "manual 00s"], []),
    ],
)
def test_the_rule_is_walked_beside_the_ledger(ledger: list[str], found: list[tuple[str, int, int, int]]) -> None:
    findings, upto = compare(MINUTELY, T0, at(9), entries(*ledger), 100)

    assert [(each.kind, each.first, each.last, each.count) for each in findings][: len(found)] == found
    assert bool(findings) == bool(found)
    assert upto == at(9)


def test_a_comparison_that_found_enough_goes_on_from_there() -> None:
    ledger = [f"fired {at(n)} 0" for n in range(2, 1001, 2)]

    findings, upto = compare(MINUTELY, T0, at(1_000), entries(*ledger), 100)

    assert (len(findings), upto) == (100, at(200))


def test_both_hours_of_an_autumn_night_and_the_missing_one_in_spring_are_compared() -> None:
    rule = Cron("*/30 * * * *", "Europe/Berlin")
    for day in (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)):
        begin = int(day.timestamp() * 1000)
        night = next_times(rule, begin, 96)
        whole = [f"fired {slot} 0" for slot in night]

        assert compare(rule, begin, night[-1], entries(*whole), 100) == ([], night[-1])
        for lost in range(96):
            holes, _ = compare(rule, begin, night[-1], entries(*whole[:lost], *whole[lost + 1 :]), 100)
            assert holes == [Finding("hole", night[lost], night[lost], 1)]


def test_whatever_is_taken_away_is_found_and_nothing_else() -> None:
    rng = random.Random(7)
    for _ in range(300):
        rules: list[Schedule] = [Every(1_000, T0), Cron("*/7 * * * *", "Asia/Shanghai"), Cron("0 9 * * 1", "UTC")]
        rule = rng.choice(rules)
        times = next_times(rule, T0, 60)
        ledger: list[tuple[list[int], str]] = []
        left = list(times)
        while left:
            size = rng.choice([1, 1, 1, 5])
            some, left = left[:size], left[size:]
            text = f"coalesced {some[-1]} {some[0]} {len(some)} misfire" if len(some) > 1 else f"fired {some[0]} 3"
            ledger.append((some, text))
        kept = [each for each in ledger if rng.random() > 0.2]
        lost = {slot for covered, _text in ledger if (covered, _text) not in kept for slot in covered}

        findings, _ = compare(rule, T0, times[-1], entries(*(text for _covered, text in kept)), 100)

        found = {
            slot for finding in findings for slot in next_times(rule, finding.first - 1, finding.count, finding.last)
        }
        assert {finding.kind for finding in findings} <= {"hole"}
        assert found == lost


# ---- in health -------------------------------------------------------------------------------------------------------


async def test_in_health_nothing_is_told_and_nothing_is_changed(house: House) -> None:
    uids = [
        await house.define(),
        await house.define(Cron("*/5 * * * *", "Europe/Berlin"), "c"),
        await house.define(Once(T0 + 90_000), "o"),
        await house.define(Manual(), "m"),
        await house.define(Every(60_000, T0, end_at=T0 + 300_000), "ends"),
        await house.define(name="off", state=TriggerState.DISABLED),
    ]

    for _ in range(8):
        await house.live(7 * 60_000)
        assert await house.look() == []

    assert house.audit.found == 0
    assert len(await house.ledger(uids[0])) >= 56


async def test_a_trigger_that_did_not_move_costs_no_comparison(house: House) -> None:
    for n in range(150):
        await house.define(Once(T0 + 10**9), f"t{n}")
    await house.look()
    compared = house.audit.compared
    house.clock.ms += 10 * limits.AUDIT_EVERY_MS

    assert await house.look() == []

    assert house.audit.compared == compared
    assert house.audit.looked >= 300


async def test_a_call_looks_at_25_triggers_and_the_next_one_at_the_rest(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PASS_CALLS", 1)
    for number in range(limits.AUDIT_ITEMS + 10):
        await house.define(name=f"t{number}")
    house.clock.ms += limits.AUDIT_EVERY_MS

    first = await house.audit.run_once()
    looked = house.audit.looked
    second = await house.audit.run_once()

    assert (first, looked) == (0.0, limits.AUDIT_ITEMS)
    assert (second, house.audit.looked) == (None, limits.AUDIT_ITEMS + 10)


async def test_a_pass_asks_once_who_holds_triggers_however_many_calls_it_takes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Key] = []
    holding = Partitions.holding

    async def counted(space: Partitions, kind: Key) -> list[Partition]:
        asked.append(kind)
        return await holding(space, kind)

    monkeypatch.setattr(Partitions, "holding", counted)
    for number in range(limits.AUDIT_ITEMS + 10):
        await house.define(name=f"t{number}")
    house.clock.ms += limits.AUDIT_EVERY_MS

    assert await house.audit.run_once() is None

    assert (house.audit.looked, asked) == (limits.AUDIT_ITEMS + 10, [K.audits])


def test_findings_are_written_down_in_calls_of_about_25() -> None:
    items = [
        verbs.AmendItem(f"u{number}", 1, "", kind, 0, 0, 0, "") for number in range(60) for kind in ("hole", "compared")
    ]

    assert [len(batch) for batch in audit.batches_of(items)] == [26, 26, 26, 26, 16]


async def test_an_outage_is_told_as_overdue_and_its_ranges_are_right(house: House) -> None:
    uid = await house.define(Every(1_000, T0))
    await house.live(10_000, step=1_000)
    house.clock.ms += 6 * 3_600_000

    assert [kind for kind, *_ in await house.look()] == ["overdue"]
    await house.live(5_000, step=1_000)

    assert await house.look() == []
    assert [entry.split()[0] for entry in await house.ledger(uid)].count("coalesced") == 1


async def test_many_overdue_triggers_of_one_app_are_one_event(house: House) -> None:
    for n in range(limits.AUDIT_ITEMS):
        await house.define(name=f"t{n}")
    house.clock.ms += 60_000 + limits.OVERDUE_MS

    found = await house.look()

    assert found == [("overdue", T0 + 60_000, 0, limits.AUDIT_ITEMS)]


async def test_edits_pauses_and_runs_by_hand_are_no_holes(house: House) -> None:
    uid = await house.define()
    await house.live(300_000)
    house.clock.ms += 130_000  # two slots are due and not fired when the rule changes
    await house.define(Every(90_000, T0))
    await house.live(600_000)
    await house.define(Every(90_000, T0), state=TriggerState.DISABLED)
    await house.live(600_000)
    await house.define(Every(90_000, T0))
    await house.client.zadd(K.ledger(house.prefix, uid), {"manual 00s0001": house.clock.ms})
    await house.live(600_000)

    assert await house.look() == []
    assert "skipped" in " ".join(await house.ledger(uid))


async def test_a_ledger_that_forgot_its_oldest_entries_has_no_hole(house: House) -> None:
    uid = await house.define(Every(1_000, T0))
    for _ in range(3):
        await house.live(400_000, step=50_000)
        assert await house.look() == []

    assert len(await house.ledger(uid)) <= limits.LEDGER_ENTRIES + limits.AGENDA_MAX


async def test_an_auditor_that_was_away_compares_what_the_ledger_still_has(house: House) -> None:
    await house.define(Every(1_000, T0))
    await house.live(1_200_000, step=50_000)

    assert await house.look() == []
    assert house.audit.compared == 1


# ---- behind the system's back ----------------------------------------------------------------------------------------


async def test_an_entry_taken_away_before_its_audit_is_put_back_as_it_was(house: House) -> None:
    uid = await house.define()
    await house.live(600_000)
    before = await house.ledger(uid)
    await house.client.zremrangebyscore(K.ledger(house.prefix, uid), at(3), at(4))

    assert await house.look() == [("ledger_hole", at(3), at(4), 2)]

    assert await house.ledger(uid) == before
    assert await house.look() == []


async def test_an_entry_taken_away_after_its_audit_is_missed_by_its_number(house: House) -> None:
    uid = await house.define()
    await house.live(600_000)
    assert await house.look() == []
    before = await house.ledger(uid)
    await house.client.zremrangebyscore(K.ledger(house.prefix, uid), at(5), at(5))

    assert await house.look() == [("ledger_hole", at(5), at(5), 1)]

    assert await house.ledger(uid) == before
    assert await house.look() == []


async def test_a_slot_whose_task_is_gone_is_recorded_as_missed_and_not_fired_again(house: House) -> None:
    uid = await house.define()
    await house.live(300_000)
    await house.client.zremrangebyscore(K.ledger(house.prefix, uid), at(2), at(2))
    task = ids.fired_id(house.partition, ids.TriggerUid(uid), at(2))
    lanes = [key async for key in house.client.scan_iter(match="*activeq:*")]
    await house.client.zrem(lanes[0], task)
    await house.client.unlink(K.task(house.prefix, task))

    assert await house.look() == [("ledger_hole", at(2), at(2), 1)]

    assert (await house.ledger(uid))[1] == f"skipped {at(2)} hole"
    assert not await house.client.exists(K.task(house.prefix, task))


async def test_a_long_hole_becomes_one_range(house: House) -> None:
    uid = await house.define(Every(1_000, T0))
    await house.live(400_000, step=10_000)
    await house.client.zremrangebyscore(K.ledger(house.prefix, uid), T0 + 50_000, T0 + 349_000)

    assert await house.look() == [("ledger_hole", T0 + 50_000, T0 + 349_000, 300)]

    assert f"coalesced {T0 + 349_000} {T0 + 50_000} 300 hole" in await house.ledger(uid)
    assert "ledger_hole" not in [kind for kind, *_ in await house.look()]


async def test_more_holes_than_one_pass_mends_are_mended_by_the_next(house: House) -> None:
    uid = await house.define(Every(1_000, T0))
    await house.live(300_000, step=50_000)
    before = await house.ledger(uid)
    await house.client.zrem(K.ledger(house.prefix, uid), *before[::2])

    found = await house.look()

    assert sum(count for kind, *_, count in found if kind == "ledger_hole") == 150
    assert await house.ledger(uid) == before


async def test_a_second_entry_and_one_that_is_no_slot_are_told(house: House) -> None:
    uid = await house.define()
    await house.live(600_000)
    assert await house.look() == []
    await house.client.zadd(
        K.ledger(house.prefix, uid), {f"skipped {at(5)} overlap": at(5), f"fired {at(6) + 7} 0": at(6) + 7}
    )

    found = await house.look()

    assert found == [("ledger_double", at(5), at(5), 1), ("ledger_stray", at(6) + 7, at(6) + 7, 1)]
    assert await house.look() == []


async def test_entries_taken_away_before_the_last_change_are_missed_by_their_number(house: House) -> None:
    uid = await house.define()
    await house.live(600_000)
    await house.define(Every(90_000, T0))
    assert await house.look() == []
    await house.client.zremrangebyscore(K.ledger(house.prefix, uid), at(2), at(4))

    [(kind, slot, _last, count)] = await house.look()

    assert (kind, slot, count) == ("ledger_hole", 0, 3)
    assert await house.look() == []


async def test_a_trigger_taken_out_of_the_due_index_is_scheduled_again(house: House) -> None:
    uid = await house.define()
    await house.live(120_000)
    await house.client.zrem(K.due(house.prefix, APP), uid)

    assert [kind for kind, *_ in await house.look()] == ["not_scheduled"]
    await house.live(300_000)

    assert await house.look() == []
    assert [entry.split()[1] for entry in await house.ledger(uid)] == [str(at(n)) for n in range(1, 8)]


async def test_the_last_slot_of_a_schedule_is_scheduled_again_too(house: House) -> None:
    uid = await house.define(Once(T0 + 3_600_000))
    await house.look()
    await house.client.zrem(K.due(house.prefix, APP), uid)

    assert [kind for kind, *_ in await house.look()] == ["not_scheduled"]
    await house.live(3_600_000)

    assert [entry.split()[:2] for entry in await house.ledger(uid)] == [["fired", str(T0 + 3_600_000)]]
    assert await house.look() == []


async def test_an_agenda_that_passes_over_a_slot_is_planned_anew_before_the_slot_is_lost(house: House) -> None:
    uid = await house.define()
    await house.live(120_000)
    await house.look()
    await house.client.zadd(K.due(house.prefix, APP), {uid: at(9)})

    assert [kind for kind, *_ in await house.look()] == ["not_scheduled"]
    await house.planner.run_once()

    assert await house.due(uid) == at(3)
    await house.live(600_000)
    assert await house.look() == []


async def test_a_due_entry_that_is_no_slot_is_planned_anew(house: House) -> None:
    uid = await house.define()
    await house.look()
    await house.client.zadd(K.due(house.prefix, APP), {uid: at(1) - 1})

    assert [kind for kind, *_ in await house.look()] == ["not_scheduled"]
    await house.live(120_000)

    assert [entry.split()[1] for entry in await house.ledger(uid)] == [str(at(1)), str(at(2))]


async def test_an_app_that_is_no_head_any_more_is_overdue_and_comes_back(house: House) -> None:
    uid = await house.define()
    await house.client.zrem(K.due_heads(house.prefix), APP)
    await house.live(120_000)
    assert await house.ledger(uid) == []

    assert [kind for kind, *_ in await house.look()] == ["overdue"]
    await house.live(60_000)

    handled = [read_entry(text.encode()) for text in await house.ledger(uid)]
    assert sum(entry.count for entry in handled if entry) == 3
    assert await house.look() == []


async def test_a_slot_taken_out_of_an_agenda_that_was_passed_already_is_recorded(house: House) -> None:
    uid = await house.define()
    await house.client.lrem(K.agenda(house.prefix, uid), 1, str(at(3)))
    await house.live(300_000)

    assert await house.look() == [("ledger_hole", at(3), at(3), 1)]

    assert (await house.ledger(uid))[2] == f"skipped {at(3)} hole"


async def test_a_trigger_that_is_removed_leaves_no_turn(house: House) -> None:
    await house.define()
    await remove(house.space, APP, "t")

    assert await house.client.exists(K.audits(house.prefix)) == 0


async def test_a_rule_that_cannot_be_read_stops_nobody(house: House) -> None:
    bad = await house.define(name="bad")
    good = await house.define(name="good")
    await house.live(120_000)
    await house.client.hset(K.trigger(house.prefix, bad), "definition", b"\xc1")
    await house.client.zremrangebyscore(K.ledger(house.prefix, good), at(1), at(1))

    found = await house.look()

    assert ("ledger_hole", at(1), at(1), 1) in found


async def test_a_replica_that_is_not_preferred_takes_only_turns_that_were_not_taken(house: House, clock: Clock) -> None:
    await house.define()
    other = Audit(house.space, prefers=lambda _partition: False)

    await other.run_once()
    assert other.looked == 0

    clock.ms += limits.AUDIT_EVERY_MS // 2
    await other.run_once()
    assert other.looked == 1


async def test_two_auditors_at_once_tell_a_hole_once(house: House) -> None:
    uid = await house.define()
    await house.live(300_000)
    await house.client.zremrangebyscore(K.ledger(house.prefix, uid), at(2), at(2))
    audited = await house.space[house.partition].call(
        verbs.audit(limit=100, entries=1000, every=0, grace=0, overdue=10**9)
    )
    items = audit.items_of(house.partition, audited.moved)

    first = await house.space[house.partition].call(verbs.amend(items))
    second = await house.space[house.partition].call(verbs.amend(items))

    assert set(first.words) == {"ok"}
    assert set(second.words) == {"stale"}
    assert [event["kind"] for event in await house.events()] == ["ledger_hole"]


# ---- the second opinion ----------------------------------------------------------------------------------------------


async def test_a_planner_that_computes_wrongly_is_told_though_the_comparison_agrees_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CronSpec.slots

    def late(self: CronSpec, zone: ZoneInfo, after_s: int) -> Iterator[int]:
        return (slot + 60 for slot in right(self, zone, after_s - 60))

    monkeypatch.setattr(CronSpec, "slots", late)
    await house.define(Cron("0 * * * *", "UTC"))
    await house.live(3 * HOUR_MS)

    found = await house.look()

    assert {kind for kind, *_rest in found} == {"ledger_disputed"}
    assert {slot % HOUR_MS for _kind, slot, *_rest in found} <= {0, 60_000}


async def test_both_readings_agree_about_what_is_right(house: House) -> None:
    await house.define(Cron("*/7 * * * *", "Europe/Berlin"), "a")
    await house.define(Every(90_000, house.clock.ms), "b")
    await house.define(Once(house.clock.ms - 5_000), "c")
    await house.live(2 * HOUR_MS)

    assert await house.look() == []
