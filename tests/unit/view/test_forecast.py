"""view/forecast.py: schedules that are alike are computed once, and fall into the same minutes as before."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.domain.limits import HOUR_MS, MINUTE_MS
from gojob_redis.schedules.schedule import Every, as_line, slots_after
from gojob_redis.view.forecast import Rules, by_minute, planned_times

NOW = 29_931_000 * MINUTE_MS


@given(
    every_ms=st.sampled_from((1_000, 60_000, 90_000, 420_000, HOUR_MS)),
    anchor=st.integers(-10 * HOUR_MS, HOUR_MS),
    start=st.none() | st.integers(-HOUR_MS, HOUR_MS),
)
def test_fires_are_those_of_the_schedule(every_ms: int, anchor: int, start: int | None) -> None:
    every = Every(every_ms, NOW + anchor, start_at=None if start is None else NOW + start)

    planned = planned_times(
        "default/shop", Rules(Counter({("send", as_line(every)): 2}), 2), NOW, NOW + 3 * HOUR_MS, MINUTE_MS
    )

    slots = Counter(slot // MINUTE_MS for slot in slots_after(every, NOW - 1, NOW + 3 * HOUR_MS - 1))
    assert planned.whole == {minute: 2 * count for minute, count in slots.items()}
    assert planned.covered == 2


def test_rates_that_fall_into_the_same_minutes_become_one() -> None:
    lines = {by_minute(as_line(Every(HOUR_MS, NOW - HOUR_MS + seconds * 1000)), NOW) for seconds in range(3_600)}

    assert len(lines) == 60
