"""outage: what the log says about an engine that is away, and for how long."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from gojob_redis.domain.errors import BadRequest, Unavailable
from gojob_redis.engine.client import MemoryFull
from gojob_redis.engine.errors import is_away
from gojob_redis.runtime import loop as loop_module
from gojob_redis.runtime.failure_log import FailureLog
from gojob_redis.runtime.loop import Loop
from gojob_redis.runtime.outage import FORGET_S, Outage
from tests.tools.waiting import until


class Hand:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    hand = Hand()
    outage = Outage("redis://h:1", hand, is_away)

    with capture_logs() as logs:
        for source in ("fire", "relay", "fire", ("renew", 3)):
            assert outage.failed(source, Lost("refused"))
        hand.at_s = 8.04
        assert [outage.worked(source) for source in ("other", "relay", ("renew", 3), "fire", "fire")] == [
            *(False, True, True, True, False)
        ]

    assert logs == [
        {"event": "engine.away", "log_level": "warning", "engine": "redis://h:1", "error": "ConnectionError: refused"},
        {"event": "engine.back", "log_level": "info", "engine": "redis://h:1", "seconds": 8.0},
    ]


def test_it_lasts_to_the_first_success_after_the_last_failure() -> None:
    hand = Hand()
    outage = Outage("", hand, is_away)

    with capture_logs() as logs:
        outage.failed("a", Lost())
        outage.failed("b", Lost())
        for hand.at_s, source in ((2.0, "a"), (3.0, "b")):
            outage.worked(source)
            outage.failed(source, Lost()) if source == "a" else None
        for hand.at_s in (5.0, 9.0):
            outage.worked("a")

    assert [(entry["event"], entry.get("seconds")) for entry in logs] == [("engine.away", None), ("engine.back", 3.0)]


def test_what_does_not_come_again_does_not_keep_an_outage_from_its_end() -> None:
    hand = Hand()
    outage = Outage("", hand, is_away)

    with capture_logs() as logs:
        outage.failed("once", Lost())
        outage.failed("often", Lost())
        hand.at_s = 4.0
        outage.worked("often")
        hand.at_s = FORGET_S
        outage.worked("often")

    assert [(entry["event"], entry.get("seconds")) for entry in logs] == [("engine.away", None), ("engine.back", 4.0)]


@pytest.mark.parametrize(
    "error", [BadRequest("x", "y", hint=""), MemoryFull(), ResponseError("ERR"), ValueError("ours")]
)
def test_other_failures_are_left_to_whoever_met_them(error: Exception) -> None:
    with capture_logs() as logs:
        assert not Outage(is_away=is_away).failed("a", error)

    assert logs == []


async def test_loops_and_visits_tell_one_outage_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "PAUSE_S", (0.001, 0.002))
    outage = Outage("redis://h:1", is_away=is_away)
    failures = FailureLog(outage=outage)
    away = True

    async def read() -> None:
        if away:
            raise Lost("refused")

    async def visit() -> None:
        for partition in range(16):
            if away:
                failures.failed("fire", partition, Unavailable("no answer", 1))
            else:
                failures.went_well("fire", partition)

    loops = [Loop(read, interval_s=0.001, name="read", outage=outage) for _ in range(3)]
    loops.append(Loop(visit, interval_s=0.001, name="visit", outage=outage))
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop.run())
            await until(lambda: all(loop.counters.failures > 3 for loop in loops[:3]) and failures.counts["fire"] > 32)
            away = False
            await until(lambda: len(logs) == 2)
            for loop in loops:
                loop.stop()

    assert [entry["event"] for entry in logs] == ["engine.away", "engine.back"]


async def test_the_trace_of_an_odd_failure_is_logged_the_first_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "PAUSE_S", (0.001, 0.002))

    async def odd() -> None:
        raise ValueError("odd")

    loop = Loop(odd, interval_s=1, name="odd")
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run())
            await until(lambda: len(logs) >= 3)
            loop.stop()

    assert [entry["exc_info"] is not None for entry in logs[:3]] == [True, False, False]
