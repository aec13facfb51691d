"""When a trigger fires: the grammar of cron, clock changes, fixed rates, windows, long gaps.

Two oracles that share no code with us: cronsim (Debian's cron in Python) where clocks behave, and a walk over every
minute, matched with cronsim's fields, where they do not: cronsim itself loses its way in gaps at midnight (Beirut) and
of half an hour (Lord Howe).
"""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

import pytest
from cronsim import CronSim
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.limits import CRON_CHARS, EVERY_MAX_MS, EVERY_MIN_MS, LATEST_MS
from gojob_redis.schedules.cron import compile_cron
from gojob_redis.schedules.schedule import (
    Cron,
    Every,
    Manual,
    Once,
    Schedule,
    as_mapping,
    check_time_zone,
    count_between,
    latest_between,
    next_times,
    parse,
    slots_after,
    spread_between,
    time_zone_version,
    zones_by_alias,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
RESTLESS_ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Asia/Beirut",  # at midnight
    "America/St_Johns",  # one minute past midnight, into the day before
    "America/Scoresbysund",
    "Antarctica/Troll",  # two hours
    "Africa/Casablanca",  # four times a year
    "Pacific/Apia",  # lost the 30th of December 2011
    "Europe/Dublin",  # negative daylight saving
]


def at(text: str, zone: str = "UTC") -> int:
    """Milliseconds of an ISO moment; the first of two in a repeated hour."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=check_time_zone(zone))
    return round(moment.timestamp() * 1000)


def shown(slots: list[int], zone: str) -> list[str]:
    return [datetime.fromtimestamp(slot / 1000, check_time_zone(zone)).strftime("%m-%d %H:%M %z") for slot in slots]


def refusal(mapping: object) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(mapping)
    return caught.value


# --- Cron against the oracles -----------------------------------------------------------------------------------------

minutes = st.sampled_from(["*", "*/10", "*/7", "0", "30", "0,30", "15-45/15", "59", "5", "50/3"])
hours = st.sampled_from(["*", "*/2", "*/3", "0", "1", "2", "3", "23", "1-3", "0,2", "22-23", "0-23"])
days = st.sampled_from(["*", "?", "1", "*/2", "15-31", "L", "30,31", "LW", "1-7"])
months = st.sampled_from(["*", "*", "JAN-MAR", "2", "*/5", "3,10,11"])
weekdays = st.sampled_from(["*", "?", "0", "6", "MON-FRI", "*/2", "SUN,2", "7", "FRI#2", "3L"])
specs = st.tuples(minutes, hours, days, months, weekdays).map(" ".join)
moments = st.integers(at("2001-01-01"), at("2037-01-01"))


def compiles(spec: str) -> bool:
    """False for the combinations that the grammar refuses, and for the 30th and 31st of February."""
    _, _, day, month, weekday = spec.split()
    any_day, any_weekday = day in ("*", "?"), weekday in ("*", "?")
    if (day, month) == ("30,31", "2") and (any_weekday or weekday.startswith("*")):
        return False
    return (any_day or not ("#" in weekday or "L" in weekday)) and (any_weekday or "W" not in day)


def simulated(spec: str, start: datetime) -> CronSim:
    return CronSim(spec.replace("?", "*"), start)


@given(specs, moments)
@settings(max_examples=300, deadline=None)
def test_agrees_with_cronsim_where_no_clock_changes(spec: str, after: int) -> None:
    assume(compiles(spec))
    oracle = simulated(spec, datetime.fromtimestamp(after / 1000, UTC))

    found = next_times(Cron(spec, "UTC"), after, 5)

    assert found == [round(next(oracle).timestamp() * 1000) for _ in range(5)]


@given(st.sampled_from(["0", "*/7", "5-20", "30/9"]), specs, moments)
@settings(max_examples=150, deadline=None)
def test_agrees_with_cronsim_to_the_second(second: str, spec: str, after: int) -> None:
    assume(compiles(spec))
    oracle = simulated(f"{second} {spec}", datetime.fromtimestamp(after / 1000, UTC))

    found = next_times(Cron(f"{second} {spec}", "UTC"), after, 5)

    assert found == [round(next(oracle).timestamp() * 1000) for _ in range(5)]


@given(specs, st.sampled_from(RESTLESS_ZONES), moments)
@settings(max_examples=300, deadline=None)
def test_fixed_times_agree_with_cronsim_in_every_zone(spec: str, zone: str, after: int) -> None:
    assume(compiles(spec) and not any(field.startswith("*") for field in spec.split()[:2]))
    oracle = simulated(spec, datetime.fromtimestamp(after / 1000, check_time_zone(zone)))

    found = next_times(Cron(spec, zone), after, 8)

    assert found == [round(next(oracle).timestamp() * 1000) for _ in range(8)]


@lru_cache
def clock_changes(zone: str) -> list[int]:
    """The days, as ms, on which the zone changes its clock between 2005 and 2030."""
    steps = range(at("2005-01-01"), at("2030-01-01"), DAY // 2)
    offsets = [(ms, datetime.fromtimestamp(ms / 1000, check_time_zone(zone)).utcoffset()) for ms in steps]
    return [ms for (ms, offset), (_, following) in pairwise(offsets) if offset != following]


def every_minute(spec: str, zone: str, after: int, until: int) -> list[int]:
    """Look at each minute: elapsed jobs match what the clock shows, fixed ones what it newly shows or jumped over."""
    fields = simulated(spec, datetime(2020, 1, 1))
    fixed = not any(field.startswith("*") for field in spec.split()[:2])

    def named(wall: datetime) -> bool:
        return bool(
            wall.month in fields.months
            and fields.match_day(wall)
            and wall.hour in fields.hours
            and wall.minute in fields.minutes
        )

    def wall_of(ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, check_time_zone(zone)).replace(tzinfo=None)

    start = after // MINUTE * MINUTE - 2 * DAY
    found: list[int] = []
    reached = wall_of(start)
    for ms in range(start + MINUTE, until + 1, MINUTE):
        wall = wall_of(ms)
        if fixed:
            fresh = [reached + timedelta(minutes=n) for n in range(1, (wall - reached) // timedelta(minutes=1) + 1)]
            hit = any(named(passed) for passed in fresh)
            reached = max(reached, wall)
        else:
            hit = named(wall)
        if hit and ms > after:
            found.append(ms)
    return found


@given(specs, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_agrees_with_a_walk_over_every_minute_around_clock_changes(spec: str, data: st.DataObject) -> None:
    assume(compiles(spec))
    zone = data.draw(st.sampled_from(RESTLESS_ZONES))
    after = data.draw(st.sampled_from(clock_changes(zone))) + data.draw(st.integers(-30 * HOUR, 20 * HOUR))
    until = after + data.draw(st.integers(MINUTE, 36 * HOUR))
    expected = every_minute(spec, zone, after, until)

    cron = Cron(spec, zone)

    assert next_times(cron, after, 3000, until) == expected
    assert count_between(cron, after, until) == len(expected)
    assert latest_between(cron, after, until) == (expected[-1] if expected else None)


@given(specs, st.sampled_from(RESTLESS_ZONES), moments, st.integers(0, 60 * DAY))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_count_of_a_long_gap_is_the_number_of_its_slots(spec: str, zone: str, after: int, gap: int) -> None:
    assume(compiles(spec) and not spec.startswith("*"))
    cron = Cron(spec, zone)

    assert count_between(cron, after, after + gap) == len(next_times(cron, after, 100_000, after + gap))


@pytest.mark.parametrize(
    "spec", ["0,30 0-3 * * *", "0 2,3 * * *", "15,45 23,0,1 * * *", "*/20 * * * *", "*/25 1 * * *"]
)
@pytest.mark.parametrize("zone", RESTLESS_ZONES)
def test_counts_agree_with_lists_wherever_a_span_begins_near_a_clock_change(zone: str, spec: str) -> None:
    cron = Cron(spec, zone)
    for change in clock_changes(zone)[:4]:
        end = change + DAY
        listed = next_times(cron, change - DAY, 1000, end)
        for after in range(change - 3 * HOUR, change + 15 * HOUR, 15 * MINUTE):
            assert count_between(cron, after, end) == sum(slot > after for slot in listed)


# --- Clock changes, by example ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "spec", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["11-01 01:30 -0400", "11-02 01:30 -0500"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", ["04-05 01:45 +1100", "04-06 01:45 +1030"]),
        ("Europe/Berlin", "0 30 2 * * *", "2026-10-24T12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
    ],
)
def test_a_fixed_time_fires_once_in_the_repeated_hour(zone: str, spec: str, after: str, expected: list[str]) -> None:
    assert shown(next_times(Cron(spec, zone), at(after, zone), 2), zone) == expected


def test_a_fixed_time_does_not_fire_again_when_planning_resumes_inside_the_repeated_hour() -> None:
    second_time_0210 = at("2026-10-25T02:10:00+01:00")

    found = next_times(Cron("30 2 * * *", "Europe/Berlin"), second_time_0210, 1)

    assert shown(found, "Europe/Berlin") == ["10-26 02:30 +0100"]


@pytest.mark.parametrize(
    ("zone", "spec", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:30 +0200"]),
        ("Europe/Berlin", "0,15,30 2 * * *", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
        ("Europe/Berlin", "0 2,3 * * *", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
        ("America/New_York", "15 2 * * *", "2026-03-07T12:00", ["03-08 03:00 -0400", "03-09 02:15 -0400"]),
        ("Australia/Lord_Howe", "10 2 * * *", "2026-10-03T12:00", ["10-04 02:30 +1100", "10-05 02:10 +1100"]),
        ("Pacific/Apia", "0 9 30 12 *", "2011-12-01T00:00", ["12-31 00:00 +1400", "12-30 09:00 +1400"]),
    ],
)
def test_a_fixed_time_in_the_skipped_hour_fires_once_when_that_hour_ends(
    zone: str, spec: str, after: str, expected: list[str]
) -> None:
    assert shown(next_times(Cron(spec, zone), at(after, zone), 2), zone) == expected


def test_an_elapsed_job_goes_on_through_the_repeated_hour() -> None:
    found = next_times(Cron("*/30 * * * *", "Europe/Berlin"), at("2026-10-25T00:00:00Z") - 1, 4)

    assert shown(found, "Europe/Berlin") == [
        "10-25 02:00 +0200",
        "10-25 02:30 +0200",
        "10-25 02:00 +0100",
        "10-25 02:30 +0100",
    ]


def test_an_elapsed_job_has_no_slot_in_the_skipped_hour() -> None:
    found = next_times(Cron("0 */2 * * *", "Europe/Berlin"), at("2026-03-29T00:30", "Europe/Berlin"), 2)

    assert shown(found, "Europe/Berlin") == ["03-29 04:00 +0200", "03-29 06:00 +0200"]


# --- The grammar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("1-1 * * * *", "Write 1 for that one, or '*' for all."),
        ("* * * * SUN-7", "Write SUN for that one, or '*' for all."),
        ("* * * * 0-7", "Write 0 for that one, or '*' for all."),
        ("* 22-2 * * *", "Write it as two: 22-23,0-2."),
        ("* * * * SAT-MON", "Write it as two: SAT,SUN-MON."),
        ("* * * DEC-FEB *", "Write it as two: DEC,JAN-FEB."),
        ("*/60 * * * *", "Write that value, or a schedule of kind 'every' for longer intervals."),
        ("50/15 * * * *", "Write that value, or a schedule of kind 'every' for longer intervals."),
        ("10-20/11 * * * *", "Write that value, or a schedule of kind 'every' for longer intervals."),
        ("*/0 * * * *", "Write for example */5."),
        ("5/ * * * *", "Write for example */5."),
        ("*/-1 * * * *", "Write for example */5."),
        ("* * * * 1/2", "Write the range: 1-SAT/2."),
        ("*,5 * * * *", "Write '*' alone."),
        ("0 0 30 2 *", "Name a day that its months have."),
        ("0 0 31 4,6,9,11 *", "Name a day that its months have."),
        ("H * * * *", "Write a number from 0 to 59."),
        ("R * * * *", "Write a number from 0 to 59."),
        ("? * * * *", "Write a number from 0 to 59."),
        ("60 * * * *", "Write a number from 0 to 59."),
        ("* 24 * * *", "Write a number from 0 to 23."),
        ("* * 0 * *", "Write a number from 1 to 31."),
        ("* * 32W * *", "Write a number from 1 to 31."),
        ("* * * 13 *", "Write a number from 1 to 12."),
        ("* * * JUNE *", "Write a number from 1 to 12, or JAN to DEC."),
        ("* * * * 8", "Write a number from 0 to 7."),
        ("* * * * MONDAY", "Write a number from 0 to 7, or SUN to SAT."),
        ("* * * * MON#6", "Write MON#1 to MON#5, or MONL."),
        ("1,,2 * * * *", "Write a number from 0 to 59."),
        ("-5 * * * *", "Write a number from 0 to 59."),
        ("١ * * * *", "Write a number from 0 to 59."),
        ("0 0 1,15W * *", "Give it a trigger of its own."),
        ("0 0 15W * MON", "Use two triggers."),
        ("0 0 13 * FRI#2", "Use two triggers."),
        ("0 0 * * FRIL,MON", "Use two triggers."),
    ],
)
def test_a_spec_that_others_would_guess_at_is_refused_with_a_remedy(spec: str, hint: str) -> None:
    error = refusal({"kind": "cron", "spec": spec, "time_zone": "UTC"})

    assert (error.code, error.field, error.hint) == ("bad_cron", "schedule.spec", hint)


@pytest.mark.parametrize(
    ("rule", "field", "why"),
    [
        ({"kind": "cron", "spec": "0 0 * * *"}, "schedule.time_zone", "time_zone is missing"),
        ({"kind": "cron", "spec": "0 0 * * *", "time_zone": 3}, "schedule.time_zone", "'3', not text"),
        ({"kind": "every"}, "schedule.every_ms", "every_ms is missing"),
        ({"kind": "every", "every_ms": "1h"}, "schedule.every_ms", "'1h', not a whole number"),
    ],
)
def test_what_is_missing_in_a_schedule_is_told_from_what_is_wrong(
    rule: dict[str, object], field: str, why: str
) -> None:
    error = refusal(rule)
    assert error.field == field
    assert why in error.message


@pytest.mark.parametrize("spec", [" ", "*", "* * * *", "* * * * * * *", "@reboot", "@every 5m", "*\u00a0* * * *", "@"])
def test_a_spec_without_five_or_six_fields_is_refused(spec: str) -> None:
    assert refusal({"kind": "cron", "spec": spec, "time_zone": "UTC"}).code == "bad_cron"


def test_a_spec_of_more_characters_than_allowed_is_refused_without_being_read() -> None:
    error = refusal({"kind": "cron", "spec": ",".join(["0"] * CRON_CHARS) + " * * * *", "time_zone": "UTC"})

    assert (error.code, error.hint) == ("bad_cron", "Split it into several triggers.")


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        ("@hourly", "0 * * * *"),
        ("@Weekly", "0 0 * * 0"),
        ("0 0 ? * ?", "0 0 * * *"),
        ("0 0 * jan mon-fri", "0 0 * 1 1-5"),
        ("0 0 * * FRI-SUN", "0 0 * * 5,6,0"),
        ("0 0 * * MON-SUN/2", "0 0 * * 1,3,5,0"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 LW * *", "0 0 31W * *"),
        ("0 0 W15 * *", "0 0 15W * *"),
        ("0 0 * * L5", "0 0 * * FRIL"),
        ("50/9 * * * *", "50,59 * * * *"),
        ("0 5  4 * * *", "5 4 * * *"),
    ],
)
def test_two_ways_to_write_one_spec_fire_alike(spec: str, same: str) -> None:
    after = at("2026-01-01")

    assert next_times(Cron(spec, "UTC"), after, 50) == next_times(Cron(same, "UTC"), after, 50)


def test_six_fields_begin_with_the_second() -> None:
    assert next_times(Cron("30 0 12 * * *", "UTC"), at("2026-01-01"), 1) == [at("2026-01-01T12:00:30")]


def test_nearest_weekday_stays_in_its_month() -> None:
    found = next_times(Cron("0 9 1W * *", "UTC"), at("2026-07-31"), 2)

    assert shown(found, "UTC") == ["08-03 09:00 +0000", "09-01 09:00 +0000"]  # the 1st of August is a Saturday


def test_a_spec_seen_before_is_not_compiled_again() -> None:
    assert compile_cron("7 7 * * *") is compile_cron("7 7 * * *")


def test_iterations_of_one_spec_do_not_disturb_each_other() -> None:
    first = slots_after(Cron("0 * * * *", "UTC"), 0)
    second = slots_after(Cron("0 * * * *", "UTC"), DAY)

    taken = [(next(first), next(second)) for _ in range(3)]

    assert taken == [(n * HOUR, DAY + n * HOUR) for n in (1, 2, 3)]


# --- Time zones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("Shanghai", "Asia/Shanghai"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    error = refusal({"kind": "cron", "spec": "* * * * *", "time_zone": name})

    assert (error.code, error.field) == ("bad_time_zone", "schedule.time_zone")
    assert nearest in error.hint


@pytest.mark.parametrize("name", ["localtime", "Factory", "../../etc/passwd", "Europe", "+08:00", "posix/UTC"])
def test_what_only_looks_like_a_zone_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="is not an IANA time zone"):
        check_time_zone(name)


def test_cron_without_a_time_zone_is_refused() -> None:
    assert refusal({"kind": "cron", "spec": "* * * * *"}).field == "schedule.time_zone"


def test_the_edition_of_the_zones_is_known() -> None:
    assert time_zone_version()[:2] == "20"


# --- Every, once, manual ----------------------------------------------------------------------------------------------


def test_a_fixed_rate_stays_on_its_grid_whenever_it_is_asked() -> None:
    every = parse({"kind": "every", "every_ms": 250}, created_ms=1_000_100)

    assert next_times(every, 0, 3) == [1_000_350, 1_000_600, 1_000_850]
    assert next_times(every, 1_000_350, 2) == [1_000_600, 1_000_850]
    assert next_times(every, 1_000_599, 1) == [1_000_600]


def test_a_fixed_rate_with_a_start_fires_first_at_that_start() -> None:
    every = parse({"kind": "every", "every_ms": 1000, "start_at": 5_500}, created_ms=17)

    assert next_times(every, 0, 2) == [5_500, 6_500]


def test_a_fixed_rate_keeps_its_grid_when_its_window_moves() -> None:
    every = parse({"kind": "every", "every_ms": 1000, "anchor_at": 300, "start_at": 5_500})

    assert next_times(every, 0, 2) == [6_300, 7_300]


@pytest.mark.parametrize("every_ms", [0, -5, EVERY_MIN_MS - 1, EVERY_MAX_MS + 1])
def test_an_interval_out_of_bounds_is_refused(every_ms: int) -> None:
    error = refusal({"kind": "every", "every_ms": every_ms})

    assert (error.code, error.field) == ("bad_interval", "schedule.every_ms")


@given(st.integers(EVERY_MIN_MS, 10_000), st.integers(0, 50_000), st.integers(0, 100_000), st.integers(0, 100_000))
def test_counting_a_fixed_rate_agrees_with_listing_it(every_ms: int, anchor: int, after: int, gap: int) -> None:
    every = Every(every_ms, anchor)
    listed = next_times(every, after, 10_000, after + gap)

    assert count_between(every, after, after + gap) == len(listed)
    assert latest_between(every, after, after + gap) == (listed[-1] if listed else None)


def test_once_fires_at_its_moment_and_never_again() -> None:
    once = parse({"kind": "once", "at": "2027-01-31T09:00:00+01:00"})

    assert once == Once(at("2027-01-31T08:00:00Z"))
    assert next_times(once, 0, 5) == [at("2027-01-31T08:00:00Z")]
    assert next_times(once, at("2027-01-31T08:00:00Z"), 5) == []
    assert count_between(once, 0, LATEST_MS) == 1


def test_manual_never_fires() -> None:
    manual = parse({"kind": "manual"})

    assert (manual, next_times(manual, 0, 5)) == (Manual(), [])
    assert (count_between(manual, 0, LATEST_MS), latest_between(manual, 0, LATEST_MS)) == (0, None)


# --- Spans and windows ------------------------------------------------------------------------------------------------

SCHEDULES: list[Schedule] = [
    Cron("*/7 * * * *", "Europe/Berlin", at("2026-03-28T22:07:00Z"), at("2026-03-29T04:00:00Z")),
    Cron("30 2 * * *", "America/New_York"),
    Cron("0 0 29 2 *", "UTC"),
    Every(777_000, at("2026-01-01")),
    Every(777_000, 5, at("2026-03-28T22:00:00Z"), at("2026-03-29T03:00:00Z")),
    Once(at("2026-03-29T01:00:00Z")),
    Manual(),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_spans_laid_end_to_end_hold_every_slot_once(schedule: Schedule) -> None:
    start, end = at("2026-03-28T20:00:00Z"), at("2026-03-29T08:00:00Z")
    cuts = [*range(start, end, 13 * MINUTE + 7), end]

    pieces = [slot for low, high in pairwise(cuts) for slot in next_times(schedule, low, 100, high)]

    assert pieces == next_times(schedule, start, 1000, end)
    assert sum(count_between(schedule, low, high) for low, high in pairwise(cuts)) == len(pieces)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_what_is_written_is_read_back_the_same(schedule: Schedule) -> None:
    assert parse(as_mapping(schedule)) == schedule


def test_a_window_holds_both_its_ends() -> None:
    hourly = Cron("0 * * * *", "UTC", 2 * HOUR, 4 * HOUR)

    assert next_times(hourly, 0, 10) == [2 * HOUR, 3 * HOUR, 4 * HOUR]
    assert count_between(hourly, 0, DAY) == 3
    assert latest_between(hourly, 0, DAY) == 4 * HOUR


@pytest.mark.parametrize("schedule", [Cron("* * * * *", "UTC"), Every(MINUTE, 0)], ids=str)
def test_no_slot_lies_beyond_the_century(schedule: Schedule) -> None:
    assert next_times(schedule, LATEST_MS - 2 * MINUTE, 10) == [LATEST_MS - MINUTE]
    assert next_times(schedule, LATEST_MS - 2 * MINUTE, 10, LATEST_MS + DAY) == [LATEST_MS - MINUTE]


def test_a_leap_day_is_found_eight_years_ahead() -> None:
    assert next_times(Cron("0 0 29 2 *", "Europe/Berlin"), at("2092-03-01"), 1) == [at("2096-02-28T23:00:00Z")]


def test_a_second_long_job_is_counted_without_visiting_its_slots() -> None:
    ten_years = 3_652 * DAY

    assert count_between(Cron("* * * * * *", "Europe/Berlin"), 0, ten_years) == ten_years // 1000


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "code", "field"),
    [
        (None, "bad_schedule", "schedule"),
        ("* * * * *", "bad_schedule", "schedule"),
        ({}, "bad_schedule", "schedule.kind"),
        ({"kind": []}, "bad_schedule", "schedule.kind"),
        ({"kind": "weekly"}, "bad_schedule", "schedule.kind"),
        ({"kind": "manual", "at": 5}, "bad_schedule", "schedule"),
        ({"kind": "every", "every": 5}, "bad_schedule", "schedule"),
        ({"kind": "every", 5: 5}, "bad_schedule", "schedule"),
        ({"kind": "every"}, "bad_schedule", "schedule.every_ms"),
        ({"kind": "every", "every_ms": True}, "bad_schedule", "schedule.every_ms"),
        ({"kind": "every", "every_ms": "5s"}, "bad_schedule", "schedule.every_ms"),
        ({"kind": "cron", "spec": 5, "time_zone": "UTC"}, "bad_schedule", "schedule.spec"),
        ({"kind": "once"}, "bad_schedule", "schedule.at"),
        ({"kind": "once", "at": True}, "bad_moment", "schedule.at"),
        ({"kind": "once", "at": 1.5}, "bad_moment", "schedule.at"),
        ({"kind": "once", "at": -1}, "bad_moment", "schedule.at"),
        ({"kind": "once", "at": LATEST_MS}, "bad_moment", "schedule.at"),
        ({"kind": "once", "at": "tomorrow"}, "bad_moment", "schedule.at"),
        ({"kind": "once", "at": "2027-01-01T00:00:00"}, "bad_moment", "schedule.at"),
        ({"kind": "every", "every_ms": 1000, "start_at": 9, "end_at": 8}, "bad_schedule", "schedule.end_at"),
        ({"kind": "every", "every_ms": 1000, "end_at": 8}, "never_fires", "schedule.end_at"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(mapping: object, code: str, field: str) -> None:
    error = refusal(mapping)

    assert (error.code, error.field) == (code, field)
    assert error.hint


def test_a_window_that_is_over_when_the_trigger_is_made_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        parse({"kind": "cron", "spec": "0 0 * * *", "time_zone": "UTC", "end_at": 5 * DAY}, created_ms=6 * DAY)

    assert caught.value.code == "never_fires"


def test_a_misspelt_setting_is_refused_with_the_right_one() -> None:
    error = refusal({"kind": "cron", "spec": "* * * * *", "timezone": "UTC"})

    assert error.hint == "Did you mean time_zone?"


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("Asia/Beijing", "Asia/Shanghai"),
        ("beijing", "Asia/Shanghai"),
        ("CST", "America/Chicago or Asia/Shanghai"),
        ("PST", "America/Los_Angeles"),
        ("IST", "Asia/Kolkata, Europe/Dublin or Asia/Jerusalem"),
        ("BST", "Europe/London or Asia/Dhaka"),
        ("America/San Francisco", "America/Los_Angeles"),
        ("UTC+8", "Etc/GMT-8 is 8 h ahead of UTC"),
        ("+08:00", "Etc/GMT-8 is 8 h ahead of UTC"),
        ("GMT-05:00", "Etc/GMT+5 is 5 h behind UTC"),
        ("Europe/Berln", "Europe/Berlin"),
    ],
)
def test_a_time_zone_by_another_name_is_answered_with_the_right_one(zone: str, told: str) -> None:
    assert told in (refusal({"kind": "cron", "spec": "* * * * *", "time_zone": zone}).hint or "")


def test_every_alias_leads_to_zones_and_is_none_itself() -> None:
    for alias, told in zones_by_alias().items():
        for zone in re.split(r", | or ", told):
            assert check_time_zone(zone)
        with pytest.raises(BadRequest):
            check_time_zone(alias)


@given(st.text(alphabet="0123456789*/-,?LW#@ \tMONJAF", max_size=30))
@settings(max_examples=500, deadline=None)
def test_any_text_is_either_a_schedule_that_fires_or_a_bad_cron(text: str) -> None:
    try:
        cron = Cron(text, "Europe/Berlin")
    except BadRequest as error:
        found = (error.code, error.field)
    else:
        found = ("fires", None) if next_times(cron, at("2026-01-01"), 1) else ("never fires", None)

    assert found in (("bad_cron", "schedule.spec"), ("fires", None))


# --- Slots by step ----------------------------------------------------------------------------------------------------

CHANGES = ("2026-03-29T00:00Z", "2026-10-25T00:00Z", "2026-04-04T12:00Z", "2026-10-03T12:00Z", "2026-03-28T21:00Z")
"""Hours near which a clock changes in one of the zones below."""
SPREAD_SPECS = (
    *("30 2 * * *", "*/25 1 * * *", "0,15 0-3 * * *", "5,45 2 * * * *", "0 2 * * *", "0-59 0-59 0-3 * * *"),
    *("30 0 * * 0", "7 * 1-7 * 0", "*/7 3 L * *", "15,16 1,2 * * *", "30 15 2 * * *", "0 0 1-7 * MON"),
)


def in_steps(schedule: Schedule, after: int, until: int, step: int) -> dict[int, int]:
    return dict(Counter(slot // step for slot in slots_after(schedule, after, until)))


@settings(max_examples=300, deadline=None)
@given(
    spec=st.sampled_from(SPREAD_SPECS),
    zone=st.sampled_from(("Europe/Berlin", "Australia/Lord_Howe", "Asia/Beirut", "America/New_York")),
    change=st.sampled_from(CHANGES),
    begin=st.integers(-1_800, 1_800),
    minutes=st.integers(1, 3_000),
    edges=st.tuples(st.integers(0, 7_200), st.integers(0, 7_200)),
    step=st.sampled_from((MINUTE, 10 * MINUTE, 30 * MINUTE)),
)
def test_a_cron_spread_over_steps_is_its_slots_also_where_the_clock_changes(
    spec: str, zone: str, change: str, begin: int, minutes: int, edges: tuple[int, int], step: int
) -> None:
    after = int(datetime.fromisoformat(change).timestamp()) * 1000 + begin * MINUTE - 1
    until = after + minutes * MINUTE
    start, end = after + edges[0] * 1000, until - edges[1] * 1000
    assume(start < end)

    for cron in (Cron(spec, zone), Cron(spec, zone, start_at=start, end_at=end)):
        assert spread_between(cron, after, until, step) == in_steps(cron, after, until, step)


@given(
    every_ms=st.sampled_from((1_000, 7_000, 60_000, 61_000, 90_000, HOUR)),
    anchor=st.integers(-10 * HOUR, 10 * HOUR),
    minutes=st.integers(1, 600),
    start=st.none() | st.integers(-HOUR, HOUR),
    step=st.sampled_from((MINUTE, 10 * MINUTE, 30 * MINUTE)),
)
def test_a_rate_spread_over_steps_is_its_slots(
    every_ms: int, anchor: int, minutes: int, start: int | None, step: int
) -> None:
    after = 20_000 * DAY - 1
    until = after + minutes * MINUTE
    every = Every(every_ms, after + anchor, start_at=None if start is None else after + start)

    assert spread_between(every, after, until, step) == in_steps(every, after, until, step)


def test_one_moment_is_in_its_step_and_none_in_none() -> None:
    assert spread_between(Once(90_000), -1, HOUR, MINUTE) == {1: 1}
    assert spread_between(Once(90_000), 90_000, HOUR, MINUTE) == {}
    assert spread_between(Manual(), -1, HOUR, MINUTE) == {}
