"""gojob_redis/schedules/planned.py: planned times as people read them."""

from datetime import datetime

import pytest

from gojob_redis.schedules.planned import Mark, planned_time, planned_times
from gojob_redis.schedules.schedule import Cron, Every, as_line, as_mapping, of_line, parse


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("spec", "moment", "mark"),
    [
        ("30 2 * * *", "2027-03-28T03:00:00+02:00", Mark.GAP),
        ("0 3 * * *", "2027-03-28T03:00:00+02:00", Mark.NONE),
        ("30 2 * * *", "2027-03-29T02:30:00+02:00", Mark.NONE),
        ("*/30 * * * *", "2027-03-28T03:00:00+02:00", Mark.NONE),
        ("30 2 * * *", "2027-10-31T02:30:00+02:00", Mark.FOLD),
        ("*/30 * * * *", "2027-10-31T02:30:00+01:00", Mark.FOLD),
        ("0 3 * * *", "2027-10-31T03:00:00+01:00", Mark.NONE),
    ],
)
def test_a_change_of_the_clock_marks_what_it_moves_or_repeats(spec: str, moment: str, mark: Mark) -> None:
    shown = planned_time(at(moment), "Europe/Berlin", spec)

    assert (shown.mark, shown.offset) == (mark, moment[-6:])


def test_what_has_no_zone_is_shown_in_utc_without_a_mark() -> None:
    [shown] = planned_times(Every(60_000, 0), [at("2027-10-31T01:30:00+00:00")])

    assert (shown.local, shown.offset, shown.mark) == ("Sun 2027-10-31 01:30:00 UTC (+0000)", "+00:00", Mark.NONE)


@pytest.mark.parametrize(
    "mapping",
    [
        {"kind": "cron", "spec": "30 2 * * MON-FRI", "time_zone": "Europe/Berlin"},
        {"kind": "cron", "spec": "0 0 * * *", "time_zone": "UTC", "end_at": 4_000_000_000_000},
        {"kind": "every", "every_ms": 60_000, "anchor_at": 0},
        {"kind": "every", "every_ms": 60_000, "anchor_at": 5, "start_at": 7, "end_at": 4_000_000_000_000},
        {"kind": "once", "at": 12},
        {"kind": "manual"},
    ],
)
def test_a_schedule_is_read_from_its_line_as_it_was(mapping: dict[str, str | int]) -> None:
    assert of_line(as_line(parse(mapping))) == as_mapping(parse(mapping))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "lunar\x1e3",
        "cron",
        "cron\x1e* * * * *",
        "cron\x1e* * * * *\x1eNowhere/Else",
        "every\x1e5\x1ex",
        "every\x1e-5\x1e0",
        "once",
    ],
)
def test_a_line_that_cannot_be_read_is_of_unknown_kind(line: str) -> None:
    assert of_line(line) == {"kind": "unknown"}


def test_what_a_later_release_adds_to_a_line_is_passed_over() -> None:
    assert of_line(as_line(Cron("0 0 * * *", "UTC")) + "\x1e7") == {
        "kind": "cron",
        "spec": "0 0 * * *",
        "time_zone": "UTC",
    }
