"""gojob_redis/schedules/witness.py: what the slow way says is what the planner says, over every change of clocks."""

import random

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from gojob_redis.domain.errors import BadRequest
from gojob_redis.schedules import schedule, witness

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Shanghai", "UTC")
CHANGES = (1_774_746_000_000, 1_792_890_000_000, 1_772_953_200_000, 1_793_512_800_000, 1_775_314_800_000)
"""Moments at which clocks change in 2026: Berlin, New York, Lord Howe."""

minutes = st.sampled_from(["0", "30", "*/20", "5,35", "10-14", "59"])
hours = st.sampled_from(["*", "2", "1-3", "*/2", "0,2", "1"])
days = st.sampled_from(["*", "*", "1", "L", "15W", "LW", "28-31", "*/2", "29"])
months = st.sampled_from(["*", "*", "MAR,OCT,NOV,APR", "*/2"])
weekdays = st.sampled_from(["*", "*", "SUN", "0", "7", "MON-FRI", "SUN#1", "SUNL", "5-7"])


@seed(20261128)
@settings(max_examples=150, deadline=None)
@given(minutes, hours, days, months, weekdays, st.sampled_from(ZONES), st.sampled_from(CHANGES), st.integers(-30, 6))
def test_both_name_the_same_slots(
    minute: str, hour: str, day: str, month: str, weekday: str, zone: str, change: int, before_h: int
) -> None:
    written = {"kind": "cron", "spec": f"{minute} {hour} {day} {month} {weekday}", "time_zone": zone}
    try:
        rule = schedule.parse(written)
    except BadRequest:
        return  # a combination that the grammar refuses
    begin = change + before_h * HOUR_MS
    end = begin + 10 * HOUR_MS

    first = list(schedule.slots_after(rule, begin, end))

    assert list(witness.slots_between(schedule.as_mapping(rule), begin, end, 1_000)) == first


@pytest.mark.parametrize("spec", ["*/7 * 2 * * *", "30 59 1 * * *", "15,45 */10 2-3 * * SUN"])
def test_seconds_are_looked_at_one_by_one(spec: str) -> None:
    written = {"kind": "cron", "spec": spec, "time_zone": "Europe/Berlin"}
    begin = CHANGES[0] - HOUR_MS
    first = list(schedule.slots_after(schedule.parse(written), begin, begin + 2 * HOUR_MS))

    assert list(witness.slots_between(written, begin, begin + 2 * HOUR_MS, 10_000)) == first


@pytest.mark.parametrize("alias", ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@midnight"])
def test_aliases_are_known(alias: str) -> None:
    written = {"kind": "cron", "spec": alias, "time_zone": "America/New_York"}
    for slot in schedule.next_times(schedule.parse(written), CHANGES[0], 3):
        assert witness.is_slot(written, slot)
        assert not witness.is_slot(written, slot + 60_000)


def test_a_rate_and_a_moment_are_checked_too() -> None:
    rng = random.Random(1)
    for _ in range(50):
        anchor = rng.randrange(2**40)
        written = {"kind": "every", "every_ms": rng.randrange(1_000, DAY_MS), "anchor_at": anchor}
        if rng.random() < 0.5:
            written["start_at"] = anchor + rng.randrange(DAY_MS)
        slots = schedule.next_times(schedule.parse(written), anchor, 5)
        assert all(witness.is_slot(written, slot) for slot in slots)
        assert not witness.is_slot(written, slots[0] + 1)
        assert list(witness.slots_between(written, slots[0], slots[4], 10)) == slots[1:]
    assert witness.is_slot({"kind": "once", "at": 5}, 5)
    assert not witness.is_slot({"kind": "once", "at": 5}, 6)
    assert not witness.is_slot({"kind": "manual"}, 5)
