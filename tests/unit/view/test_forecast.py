"""view/forecast.py: schedules that are alike are computed once, and fall into the same minutes as before."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.domain.limits import HOUR_MS, MINUTE_MS
from gojob_redis.schedules.schedule import Cron, Every, Schedule, as_line, slots_after
from gojob_redis.view.forecast import Rules, Spreads, by_minute, planned_times

NOW = 29_931_000 * MINUTE_MS


@given(
    every_ms=st.sampled_from((1_000, 60_000, 90_000, 420_000, HOUR_MS)),
    anchor=st.integers(-10 * HOUR_MS, HOUR_MS),
    start=st.none() | st.integers(-HOUR_MS, HOUR_MS),
)
def test_fires_are_those_of_the_schedule(every_ms: int, anchor: int, start: int | None) -> None:
    every = Every(every_ms, NOW + anchor, start_at=None if start is None else NOW + start)

    planned = planned_times(
        Spreads(), "default/shop", Rules(Counter({("send", as_line(every)): 2}), 2), NOW, NOW + 3 * HOUR_MS, MINUTE_MS
    )

    slots = Counter(slot // MINUTE_MS for slot in slots_after(every, NOW - 1, NOW + 3 * HOUR_MS - 1))
    assert planned.whole == {minute: 2 * count for minute, count in slots.items()}
    assert planned.covered == 2


@given(
    schedule=st.sampled_from(
        (Every(90_000, NOW), Every(420_000, NOW), Cron("*/7 9-18 * * *", "Europe/Berlin"), Cron("30 4 * * *", "UTC"))
    ),
    first=st.integers(0, 180),
    parts=st.integers(1, 200),
    step_ms=st.sampled_from((MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS)),
)
def test_from_any_minute_on_they_fall_into_the_same_steps_as_if_nothing_had_been_kept(
    schedule: Schedule, first: int, parts: int, step_ms: int
) -> None:
    from_ms = NOW + first * MINUTE_MS
    to_ms = (from_ms // step_ms + parts) * step_ms
    spreads = Spreads()
    spreads.between(as_line(schedule), NOW, NOW + 5 * HOUR_MS, step_ms)

    steps = spreads.between(as_line(schedule), from_ms, max(from_ms, to_ms), step_ms)

    assert steps == Counter(slot // step_ms for slot in slots_after(schedule, from_ms - 1, to_ms - 1))


def test_rates_that_fall_into_the_same_minutes_become_one() -> None:
    lines = {by_minute(as_line(Every(HOUR_MS, NOW - HOUR_MS + seconds * 1000)), NOW) for seconds in range(3_600)}

    assert len(lines) == 60
