"""Admission: a bounded number of hellos at the engine, those that hold runs first."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from gojob_redis.connections.admission import Admission
from gojob_redis.domain.errors import Unavailable


class Door:
    """Hellos before an admission, and the order in which they came in."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.inside: list[str] = []
        self._leave = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def knock(self, name: str, *, holding: bool = False) -> asyncio.Task[None]:
        """Come to the door, and let others come after."""
        task = asyncio.create_task(self._enter(name, holding))
        self.tasks.append(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    async def open(self) -> None:
        """Everybody inside leaves, and so does whoever comes in."""
        self._leave.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _enter(self, name: str, holding: bool) -> None:
        async with self.admission.turn(holding=holding):
            self.inside.append(name)
            await self._leave.wait()


async def test_who_holds_runs_goes_before_who_came_earlier() -> None:
    door = Door(Admission(at_once=2))
    for name in ("a", "b", "c", "d"):
        await door.knock(name)
    await door.knock("holder", holding=True)

    assert door.inside == ["a", "b"]
    await door.open()
    assert door.inside == ["a", "b", "holder", "c", "d"]


async def test_a_full_queue_sends_away_with_a_time_to_come_again_but_never_who_holds_runs() -> None:
    door = Door(Admission(at_once=1, queue=2))
    for name in ("a", "b", "c"):
        await door.knock(name)
    away = await door.knock("d")
    await door.knock("holder", holding=True)

    with pytest.raises(Unavailable) as busy:
        await away
    assert (busy.value.code, door.admission.waiting, door.admission.turned_away) == ("busy", 3, 1)
    assert 1.0 <= busy.value.retry_after_s <= 30.0
    await door.open()
    assert door.inside == ["a", "holder", "b", "c"]


async def test_a_queue_that_stands_still_sends_away_and_forgets() -> None:
    door = Door(Admission(at_once=1, patience_s=0.01))
    await door.knock("a")
    late = await door.knock("b", holding=True)

    with pytest.raises(Unavailable):
        await late

    assert door.admission.waiting == 0
    await door.open()
    assert door.inside == ["a"]


async def test_a_turn_that_was_given_to_somebody_who_left_goes_on_to_the_next() -> None:
    admission = Admission(at_once=1)
    door = Door(admission)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(admission.turn(holding=False))
        leaver = await door.knock("leaver")
        await door.knock("next")
    leaver.cancel()  # its turn was just given to it

    await door.open()

    assert door.inside == ["next"]
    assert admission.waiting == 0
    async with asyncio.timeout(1), admission.turn(holding=False):
        pass
