"""gojob_redis/runtime/handler_metrics.py: bounded series by handler, from the sums."""

import pytest
from prometheus_client import CollectorRegistry

from gojob_redis.domain import limits
from gojob_redis.domain.tally import Spread, Sum
from gojob_redis.runtime.handler_metrics import HandlerSeries, Waiting, buckets_of


def busy(started: int, **counts: int) -> Sum:
    sums = Sum()
    sums.counts.update({"started": started, "completed": started, "faulted error": 1, **counts})
    for _ in range(started):
        sums.duration.observe(100, "t")
    return sums


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_the_busiest_have_series_and_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "METRIC_HANDLERS", 2)
    series = HandlerSeries()
    sums = {"a": busy(1), "b": busy(5), "c": busy(3)}

    first = series.choose(sums)
    series.take({handler: sums[handler] for handler in first}, sums.values(), {})
    then = series.choose(sums | {"d": busy(1_000)})

    assert first == ["b", "c"]
    assert then == ["b", "c"]


def test_all_others_are_one(registry: CollectorRegistry) -> None:
    series = HandlerSeries()
    registry.register(series)
    series.take({"a": busy(2)}, [busy(2), busy(7)], {"a": Waiting(4, 1_500)})

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("gojob_handler_ended_total", handler="a", state="completed") == 2
    assert value("gojob_handler_ended_total", handler="other", state="completed") == 7
    assert value("gojob_handler_failures_total", handler="other", type="error") == 1
    assert value("gojob_handler_running", handler="a") == 2
    assert value("gojob_handler_duration_seconds_count", handler="other") == 7
    assert value("gojob_handler_duration_seconds_sum", handler="other") == pytest.approx(0.7)
    assert (value("gojob_handler_depth", handler="a"), value("gojob_handler_oldest_seconds", handler="a")) == (4, 1.5)


def test_there_are_no_others_where_all_are_shown(registry: CollectorRegistry) -> None:
    series = HandlerSeries()
    registry.register(series)

    series.take({"a": busy(2)}, [busy(2)], {})

    assert registry.get_sample_value("gojob_handler_started_total", {"handler": "other"}) is None


def test_buckets_count_what_is_below_their_bounds() -> None:
    spread = Spread()
    for ms in (0, 1, 3, 4, 15, 16, 10**9):
        spread.observe(ms)

    buckets = dict(buckets_of(spread))

    assert [buckets[bound] for bound in ("0.001", "0.004", "0.016", "0.064", "+Inf")] == [1, 3, 5, 6, 7]
