"""load: what a heartbeat tells of the process and of the handlers' loop."""

import asyncio
import time
from pathlib import Path

import pytest

from gojob_sdk import load
from gojob_sdk.load import LoadMeter, resident_bytes
from gojob_sdk.protocol import decode_worker, encode


class Clock:
    """Time as the test lets it pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu_s = 100.0, 5.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.cpu_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Loop:
    """Keeps what it is asked to call later."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def call_later(self, _delay: float, call: object) -> "Loop":
        self.calls.append(call)
        return self

    def cancel(self) -> None:
        self.calls.clear()


def meter_in(loop: object) -> LoadMeter:
    meter = LoadMeter(loop)  # type: ignore[arg-type]
    meter.start()
    return meter


def test_the_processor_counts_since_the_last_look(clock: Clock) -> None:
    meter = meter_in(Loop())
    clock.now, clock.cpu_s = 105.0, 7.5

    assert meter.read()["cpu_percent"] == 50
    clock.now = 110.0
    assert meter.read()["cpu_percent"] == 0


def test_the_longest_delay_since_the_last_look_counts(clock: Clock) -> None:
    loop = Loop()
    meter = meter_in(loop)
    for late_s in (0.01, 0.2, 0.05):
        clock.now += load.LOOK_S + late_s
        loop.calls.pop()()  # type: ignore[operator]

    assert meter.read()["lag_ms"] == 200
    assert meter.read()["lag_ms"] == 0


def test_a_loop_that_stands_still_now_counts(clock: Clock) -> None:
    meter = meter_in(Loop())
    clock.now += load.LOOK_S + 3

    assert meter.read()["lag_ms"] == 3_000
    clock.now += 86_400 * 2
    assert meter.read()["lag_ms"] == 86_400_000


def test_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resident = resident_bytes()
    assert resident is not None
    assert 1 << 20 < resident < 1 << 40

    monkeypatch.setattr(load, "STATM", tmp_path / "none")
    most = resident_bytes()
    assert most is not None
    assert most >= resident // 2
    monkeypatch.setattr(load, "most_bytes", lambda: None)
    assert "memory_bytes" not in meter_in(Loop()).read()


async def test_what_is_measured_may_travel() -> None:
    meter = LoadMeter(asyncio.get_running_loop())
    meter.start()
    frame = {"type": "renew", "seq": 1, "load": meter.read()}
    meter.close()

    assert decode_worker(encode(frame)) == frame  # type: ignore[arg-type]
