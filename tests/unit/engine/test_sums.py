"""gojob_redis/engine/sums.py: a sum is read as it was stored, and nonsense is none."""

import pytest

from gojob_redis.domain.tally import Sum
from gojob_redis.engine.sums import pack_day, pack_sum, unpack_day, unpack_sum


def some_sum() -> Sum:
    sums = Sum()
    sums.counts.update({"submitted": 3, "faulted error": 1})
    for ms, task in ((5, "a"), (70_000, "b")):
        sums.duration.observe(ms, task)
    sums.wait.observe(3)
    sums.last_ended_ms = 1_800_000_000_000
    return sums


def test_a_sum_is_read_as_it_was_packed() -> None:
    assert unpack_sum(pack_sum(some_sum())) == some_sum()


@pytest.mark.parametrize("value", [None, b"", b"\xc1", b"x", b"\x93\x01\x02\x03"])
def test_a_sum_that_cannot_be_read_is_none(value: bytes | None) -> None:
    assert unpack_sum(value) == Sum()


def test_a_day_is_read_as_it_was_packed() -> None:
    day = {3: some_sum().packed(), 47: Sum().packed()}

    assert {at: Sum.of(part) for at, part in unpack_day(pack_day(day)).items()} == {3: some_sum(), 47: Sum()}


@pytest.mark.parametrize("value", [None, b"", b"nonsense", pack_day([1, 2])])  # type: ignore[arg-type]
def test_a_day_that_cannot_be_read_is_empty(value: bytes | None) -> None:
    assert unpack_day(value) == {}
