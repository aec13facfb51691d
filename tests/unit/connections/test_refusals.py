"""gojob_redis/connections/refusals.py: a flood of refused sockets is a line or two."""

import pytest
from structlog.testing import capture_logs

from gojob_redis.connections.refusals import FIRSTS, Refusals


@pytest.fixture
def now() -> list[float]:
    return [1_000.0]


@pytest.fixture
def refusals(now: list[float]) -> Refusals:
    return Refusals(lambda: now[0])


def test_the_first_of_a_kind_from_an_address_is_told(refusals: Refusals) -> None:
    told = [refusals.is_first(code, address) for code in ("bad_frame", "forbidden") for address in "aab"]

    assert told == [True, False, True] * 2


def test_more_of_them_are_told_once_a_minute(refusals: Refusals, now: list[float]) -> None:
    for _ in range(500):
        refusals.is_first("bad_frame", "a")

    with capture_logs() as before:
        refusals.tell()
    now[0] += 60
    with capture_logs() as after:
        refusals.tell()
        refusals.tell()

    assert before == []
    assert after == [{"event": "sockets.refused", "log_level": "info", "seconds": 60, "bad_frame": 499}]
    assert refusals.is_first("bad_frame", "a")


def test_many_addresses_are_no_way_around_it(refusals: Refusals) -> None:
    told = [refusals.is_first("bad_frame", str(number)) for number in range(500)]

    assert sum(told) == FIRSTS
