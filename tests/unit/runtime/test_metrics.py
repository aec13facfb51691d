"""gojob_redis/runtime/metrics.py"""

from gojob_redis.runtime.metrics import Buckets, Metrics


def test_a_histogram_of_the_hot_path_is_shown_cumulated() -> None:
    buckets = Buckets((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        buckets.observe(seconds)
    metrics = Metrics()
    metrics.read_buckets("gojob_waited_seconds", "How long.", buckets)

    text = metrics.text().decode()

    assert 'gojob_waited_seconds_bucket{le="0.1"} 2.0' in text
    assert 'gojob_waited_seconds_bucket{le="1.0"} 3.0' in text
    assert 'gojob_waited_seconds_bucket{le="+Inf"} 4.0' in text
    assert "gojob_waited_seconds_sum 7.65" in text
