"""What becomes of numbers that were measured."""

from bench.figures import Scale, lateness, percentile, spread, times


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(number) for number in range(100, 0, -1)]

    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 51.0, 100.0, 100.0]


def test_a_spread_takes_all_observations_of_all_rounds() -> None:
    assert spread([3.0, [1.0, 9.0], 4.0, [2.0]]) == {"median": 3.0, "lowest": 1.0, "highest": 9.0}


def test_times_are_rounded() -> None:
    assert times([1.234, 1.235, 5.678]) == {"p50_ms": 1.24, "p99_ms": 5.68, "max_ms": 5.68}


def test_lateness_counts_the_first_execution_what_is_missing_and_what_came_twice() -> None:
    seen = {0: [5.0, 2.0], 1: [3.0], 2: [4.0, 4.0, 4.0]}

    assert lateness(seen, 5) == {"p50_ms": 3.0, "p99_ms": 4.0, "max_ms": 4.0, "missed": 2, "double": 3}


def test_a_small_scale_measures_little() -> None:
    assert (Scale().of(20_000, 10), Scale(small=True).of(20_000, 10)) == (20_000, 10)
