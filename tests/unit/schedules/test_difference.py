"""gojob_redis/schedules/difference.py: which fires a change adds, takes away and moves."""

from gojob_redis.domain.limits import COMPARED_SLOTS, DAY_MS, HOUR_MS
from gojob_redis.schedules.difference import difference
from gojob_redis.schedules.schedule import Cron, Every, Manual, problems

T0 = 1_800_000_000_000 // DAY_MS * DAY_MS
WEEK = 7 * DAY_MS


def test_a_schedule_that_begins_adds_its_slots_and_one_that_ends_takes_them_away() -> None:
    rule = Cron("0 12 * * *", "UTC")
    times = [T0 + day * DAY_MS + 12 * HOUR_MS for day in range(7)]

    assert difference(None, rule, T0, T0 + WEEK).added == times
    assert difference(rule, None, T0, T0 + WEEK).removed == times
    assert difference(rule, Manual(), T0, T0 + WEEK).removed == times


def test_slots_of_one_day_are_paired_and_the_others_come_or_go() -> None:
    result = difference(Cron("0 12 * * *", "UTC"), Cron("0 9,15 * * *", "UTC"), T0, T0 + DAY_MS)

    assert result.moved == [(T0 + 12 * HOUR_MS, T0 + 9 * HOUR_MS)]
    assert (result.added, result.removed, result.unchanged) == ([T0 + 15 * HOUR_MS], [], 0)


def test_what_both_have_is_unchanged() -> None:
    result = difference(Every(HOUR_MS, 0), Every(2 * HOUR_MS, 0), T0, T0 + DAY_MS)

    assert (result.unchanged, len(result.removed), result.added, result.moved) == (12, 12, [], [])


def test_a_day_is_one_of_the_zone_of_the_new_schedule() -> None:
    old, new = Cron("0 20 * * *", "UTC"), Cron("30 3 * * *", "Asia/Shanghai")  # 20:00 and 19:30 UTC: one day there

    result = difference(old, new, T0, T0 + DAY_MS)

    assert result.moved == [(T0 + 20 * HOUR_MS, T0 + 19 * HOUR_MS + HOUR_MS // 2)]


def test_slots_behind_the_bound_are_counted_only() -> None:
    result = difference(Every(1_000, 0), Every(1_000, 500), T0, T0 + HOUR_MS)

    assert len(result.moved) in (COMPARED_SLOTS, COMPARED_SLOTS - 1)
    assert result.until_ms < T0 + (COMPARED_SLOTS + 1) * 1_000
    assert len(result.moved) + len(result.removed) + result.before_behind == 3_600
    assert len(result.moved) + len(result.added) + result.after_behind == 3_600


def test_all_that_is_wrong_with_a_schedule_is_told_once() -> None:
    def fields(schedule: object) -> list[str | None]:
        return [refusal.field for refusal in problems(schedule)]

    assert fields({"kind": "every", "every_ms": 1, "anchor_at": "x", "end_at": -1}) == [
        "schedule.anchor_at", "schedule.every_ms", "schedule.end_at",
    ]  # fmt: skip
    assert fields({"kind": "once", "at": "tomorrow"}) == ["schedule.at"]
    assert fields({"kind": "cron"}) == ["schedule.spec", "schedule.time_zone"]
    assert fields({"kind": "lunar"}) == ["schedule.kind"]
    assert fields("daily") == ["schedule"]
    assert fields({"kind": "manual"}) == []
