"""reconnect: where to next, after which pause, and how loud."""

import logging
import random
from typing import Any

import pytest

from gojob_sdk.reconnect import HOLDING_PAUSE_S, IDLE_PAUSE_S, LET_PAST_S, REFUSED_PAUSE_S, Reconnect


@pytest.fixture(autouse=True)
def _longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draw is the largest it can be."""
    monkeypatch.setattr(random, "uniform", lambda least, most: most)


def pauses(reconnect: Reconnect, times: int, **about: Any) -> list[float]:
    return [reconnect.pause_s(**{"final": False, "idle": True, "refusal": None, **about}) for _ in range(times)]


def busy(retry_ms: int) -> Any:
    return {"type": "error", "code": "overloaded", "message": "", "hint": "", "retry_ms": retry_ms}


def test_addresses_are_tried_in_turn() -> None:
    reconnect = Reconnect(["a", "b"])

    urls = [reconnect.url]
    for _ in range(2):
        reconnect.next_url()
        urls.append(reconnect.url)

    assert urls == ["a", "b", "a"]


def test_an_idle_worker_waits_ever_longer_with_each_round_of_all_addresses() -> None:
    assert pauses(Reconnect(["a"]), 6) == [HOLDING_PAUSE_S, 4.0, 8.0, 16.0, IDLE_PAUSE_S, IDLE_PAUSE_S]
    assert pauses(Reconnect(["a", "b"]), 4) == [HOLDING_PAUSE_S, HOLDING_PAUSE_S, 4.0, 4.0]


def test_a_worker_with_runs_never_waits_longer_than_a_second() -> None:
    assert pauses(Reconnect(["a"]), 6, idle=False) == [HOLDING_PAUSE_S] * 6


def test_an_idle_worker_that_was_welcome_first_lets_others_past() -> None:
    reconnect = Reconnect(["a"])
    reconnect.welcomed()

    assert pauses(reconnect, 3) == [LET_PAST_S[1], 4.0, 8.0]


def test_after_a_move_one_pause_is_left_out() -> None:
    reconnect = Reconnect(["a"])
    reconnect.moved()

    assert pauses(reconnect, 2) == [0.0, 4.0]


def test_a_busy_gateway_sets_the_pause_but_for_a_worker_with_runs_no_longer_than_a_second() -> None:
    reconnect = Reconnect(["a"])

    assert pauses(reconnect, 1, refusal=busy(8_000)) == [10.0]
    assert pauses(reconnect, 1, refusal=busy(8_000), idle=False) == [HOLDING_PAUSE_S]


def test_a_refusal_for_good_is_tried_again_only_rarely() -> None:
    assert pauses(Reconnect(["a"]), 1, final=True, idle=False) == [REFUSED_PAUSE_S]


def test_the_same_reason_is_loud_once_a_minute_and_again_after_a_welcome() -> None:
    reconnect = Reconnect(["a"])

    def loudness(reason: str, now: float, *, final: bool = False) -> str:
        return logging.getLevelName(reconnect.loudness(reason, final=final, now=now))

    first = loudness("gone", 0.0)
    within = [loudness("gone", 59.0), loudness("full", 59.0), loudness("refused", 59.0, final=True)]
    later = loudness("gone", 60.0)
    reconnect.welcomed()

    assert (first, later) == ("WARNING", "WARNING")
    assert within == ["DEBUG", "WARNING", "ERROR"]
    assert loudness("gone", 61.0) == "WARNING"
