"""gojob_redis/runtime/failure_log.py: what a log says about partitions that fail, and for how long."""

import pytest
from structlog.testing import capture_logs

from gojob_redis.domain.errors import BrokenInvariant, Unavailable
from gojob_redis.engine.client import MemoryFull
from gojob_redis.runtime.failure_log import AGAIN_S, FailureLog


class Hand:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def told(failures: FailureLog, *errors: Exception | None, partition: int = 3) -> list[str]:
    """What is logged while a partition answers so."""
    with capture_logs() as logs:
        for error in errors:
            if error is None:
                failures.went_well("fire", partition)
            else:
                failures.failed("fire", partition, error)
    return [f"{entry['event']} {entry['partition']} {entry.get('reason', '')}".strip() for entry in logs]


def test_a_trouble_that_lasts_is_told_once_and_counted_each_time() -> None:
    failures = FailureLog(Hand())

    assert told(failures, *[MemoryFull() for _ in range(100)]) == ["visit.failed 3 memory_full"]

    assert failures.counts == {"fire": 100}


def test_it_is_told_again_after_a_minute() -> None:
    hand = Hand()
    failures = FailureLog(hand)
    told(failures, MemoryFull())

    hand.at_s = AGAIN_S - 0.1
    assert told(failures, MemoryFull()) == []
    hand.at_s = AGAIN_S
    assert told(failures, MemoryFull(), MemoryFull()) == ["visit.failed 3 memory_full"]


def test_another_reason_and_the_end_are_told_at_once() -> None:
    failures = FailureLog(Hand())

    busy = Unavailable("It has too much to do.", 1.0, code="busy")
    assert told(failures, MemoryFull(), busy, ValueError("odd"), None, None) == [
        "visit.failed 3 memory_full",
        "visit.failed 3 busy",
        "visit.failed 3 ValueError",
        "visit.recovered 3",
    ]
    assert told(failures, MemoryFull()) == ["visit.failed 3 memory_full"]


def test_partitions_do_not_hide_each_other() -> None:
    failures = FailureLog(Hand())

    assert told(failures, MemoryFull(), partition=1) == ["visit.failed 1 memory_full"]
    assert told(failures, MemoryFull(), partition=2) == ["visit.failed 2 memory_full"]


def test_what_cannot_go_on_is_raised() -> None:
    with pytest.raises(BrokenInvariant):
        FailureLog(Hand()).failed("fire", 0, BrokenInvariant("contradictory"))
