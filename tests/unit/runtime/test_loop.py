"""loop: when a pass runs, what a failure does, and how it stops."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from gojob_redis.domain.errors import BrokenInvariant, Unavailable
from gojob_redis.runtime import loop as loop_module
from gojob_redis.runtime.loop import Loop
from tests.tools.waiting import until

HOUR_S = 3600.0


class Duty:
    """A run_once whose passes the test scripts and awaits."""

    def __init__(self, *outcomes: float | Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.passes = 0
        self.ran = asyncio.Event()

    def passed(self, passes: int) -> bool:
        return self.passes == passes

    async def run_once(self) -> float | None:
        self.passes += 1
        self.ran.set()
        await asyncio.sleep(0)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def run(loop: Loop, meanwhile: Callable[[], object]) -> None:
    """Run the loop until ``meanwhile`` holds, then stop it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        await until(meanwhile)
        loop.stop()


async def test_passes_follow_each_other_after_the_interval() -> None:
    duty = Duty()

    await run(Loop(duty.run_once, interval_s=0.001, name="try"), lambda: duty.passes >= 3)


async def test_a_pass_may_ask_for_the_next_one_at_once() -> None:
    duty = Duty(0.0, 0.0)

    await run(Loop(duty.run_once, interval_s=HOUR_S, name="try"), lambda: duty.passes == 3)


async def test_a_pass_that_always_wants_more_leaves_turns_to_others() -> None:
    duty = Duty(*[0.0] * 1_000_000)

    await run(Loop(duty.run_once, interval_s=HOUR_S, name="try"), lambda: duty.passes >= 10)


async def test_a_wake_runs_the_next_pass_now() -> None:
    duty = Duty()
    loop = Loop(duty.run_once, interval_s=HOUR_S, name="try")

    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        for passes in (1, 2, 3):
            await until(partial(duty.passed, passes))
            loop.wake()
        await until(lambda: duty.passes == 4)
        loop.stop()


async def test_a_wake_during_a_pass_is_not_lost() -> None:
    duty = Duty()
    loop = Loop(duty.run_once, interval_s=HOUR_S, name="try")

    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        await duty.ran.wait()  # inside the first pass
        loop.wake()
        await until(lambda: duty.passes == 2)
        loop.stop()


async def test_a_failed_pass_is_tried_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "PAUSE_S", (0.001, 0.002))
    duty = Duty(ValueError("odd"), Unavailable("gone", 1))
    loop = Loop(duty.run_once, interval_s=HOUR_S, name="try")

    await run(loop, lambda: duty.passes == 3 and not loop.counters.failures_in_a_row)

    assert (loop.counters.runs, loop.counters.failures) == (3, 2)


async def test_a_wake_does_not_shorten_the_pause_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "PAUSE_S", (HOUR_S, HOUR_S))
    duty = Duty(ValueError("odd"))
    loop = Loop(duty.run_once, interval_s=HOUR_S, name="try")

    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        await until(lambda: loop.counters.failures)
        loop.wake()
        for _ in range(10):
            await asyncio.sleep(0)
        assert duty.passes == 1
        loop.stop()


async def test_pauses_grow_with_the_failures_and_have_an_end() -> None:
    loop = Loop(Duty(*[ValueError() for _ in range(20)]).run_once, interval_s=1, name="try")

    pauses = [await loop.one_pass() for _ in range(20)]

    assert 0.05 <= pauses[0] <= 0.1
    assert 5 <= pauses[-1] <= 10


async def test_a_broken_invariant_ends_the_loop() -> None:
    duty = Duty(BrokenInvariant("two owners"))

    with pytest.raises(BrokenInvariant, match="two owners"):
        await Loop(duty.run_once, interval_s=0, name="try").run()


async def test_a_stop_lets_the_running_pass_finish() -> None:
    finished = False
    inside = asyncio.Event()
    may_end = asyncio.Event()

    async def run_once() -> None:
        nonlocal finished
        inside.set()
        await may_end.wait()
        finished = True

    loop = Loop(run_once, interval_s=0, name="try")
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run())
        await inside.wait()
        loop.stop()
        may_end.set()

    assert finished
    assert loop.counters.runs == 1


async def test_a_loop_whose_pass_swallows_its_cancellation_ends_all_the_same() -> None:
    """As redis-py does on Python 3.11, by ``asyncio.wait_for``."""
    passes = 0

    async def swallow() -> float:
        nonlocal passes
        passes += 1
        try:
            await asyncio.sleep(HOUR_S)
        except asyncio.CancelledError:
            if passes > 1:
                raise
        return 0.0

    task = asyncio.create_task(Loop(swallow, interval_s=HOUR_S, name="swallow").run())
    await until(lambda: passes == 1)

    task.cancel()
    await asyncio.wait({task}, timeout=1.0)
    ended = task.cancelled()
    task.cancel()

    assert ended
    assert passes == 1


async def test_the_interval_varies_by_its_jitter() -> None:
    loop = Loop(Duty().run_once, interval_s=10, name="try", jitter=0.2)

    pauses = [await loop.one_pass() for _ in range(50)]

    assert all(8 <= pause <= 12 for pause in pauses)
    assert len(set(pauses)) > 1
