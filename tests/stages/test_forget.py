"""gojob_redis/maintenance/forget.py: what has nothing any more is forgotten, whatever comes at the same time."""

from typing import Any
from zlib import crc32

import pytest

from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.verbs import Call
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.maintenance.forget import Forget
from gojob_redis.planning.define import Definition, define
from gojob_redis.schedules.schedule import Every
from tests.lua.world import with_policies
from tests.stages.conftest import Clock

OLD, NEW = "lab/old", "lab/new"


async def apps(space: Partitions) -> dict[str, int]:
    client: Any = space.clients.admin
    return {app.decode(): int(place) for app, place in (await client.hgetall(K.apps(CONTROL))).items()}


async def submit(space: Partitions, clock: Clock, app: str) -> str:
    partition = await space.of_app(app)
    task = ids.submitted_id(partition.number, clock.ms)
    await partition.call(verbs.submit([verbs.Submission(task, f"{app}/send", app)]))
    return task


async def lose_history(space: Partitions, app: str) -> None:
    """What a task leaves for some time has gone."""
    partition = await space.of_app(app)
    client: Any = space.clients.admin
    async for name in client.scan_iter(match=f"{partition.prefix}task:*"):
        await client.unlink(name)
    prefix = partition.prefix
    await client.unlink(K.activeq(prefix, "1"), K.tally(prefix), K.deadlineq(prefix, f"{app}/send"), K.alarms(prefix))


async def test_an_app_that_has_nothing_makes_room_for_another(space: Partitions, clock: Clock) -> None:
    await submit(space, clock, OLD)
    await lose_history(space, OLD)
    await submit(space, clock, NEW)
    forget = Forget(space)

    await forget.run_once()

    assert await apps(space) == {NEW: crc32(NEW.encode()) % space.count}
    assert forget.forgotten == 1
    client: Any = space.clients.admin
    assert await client.hgetall(K.app_counts(CONTROL)) == {b"lab": b"1"}


async def test_work_that_comes_between_keeps_the_app_known(
    space: Partitions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handlers are gone and its place is still there; then a gateway that knows the place submits."""
    await submit(space, clock, OLD)
    await lose_history(space, OLD)
    call_control = Partitions.call_control

    async def submitting(self: Partitions, call: Call[Any]) -> Any:
        if call.verb == "unplace":
            await submit(space, clock, OLD)
        return await call_control(self, call)

    monkeypatch.setattr(Partitions, "call_control", submitting)

    await Forget(space).run_once()

    assert OLD in await apps(space)


async def test_who_remembers_a_forgotten_app_uses_the_same_partition_and_it_is_known_again(
    space: Partitions, clock: Clock
) -> None:
    await submit(space, clock, OLD)
    await lose_history(space, OLD)
    await Forget(space).run_once()
    assert await apps(space) == {}

    await submit(space, clock, OLD)
    await Forget(space).run_once()

    assert await apps(space) == {OLD: crc32(OLD.encode()) % space.count}


async def test_a_trigger_of_a_forgotten_app_makes_it_known(space: Partitions, clock: Clock) -> None:
    await space.of_app(OLD)
    await Forget(space).run_once()
    assert await apps(space) == {}

    given = with_policies({})["policies"]
    await define(
        space, Definition(app=OLD, name="t", handler=f"{OLD}/send", schedule=Every(1_000, clock.ms), policies=given)
    )

    assert OLD in await apps(space)


async def test_an_app_that_was_placed_by_hand_stays(space: Partitions) -> None:
    client: Any = space.clients.admin
    place = (crc32(OLD.encode()) + 1) % space.count
    await client.hset(K.apps(CONTROL), OLD, place)

    await Forget(space).run_once()

    assert await apps(space) == {OLD: place}


async def test_only_one_replica_forgets(space: Partitions) -> None:
    await space.of_app(OLD)

    await Forget(space, comes_first=lambda: False).run_once()

    assert OLD in await apps(space)


async def test_all_apps_are_looked_at_in_some_passes(space: Partitions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FORGET_APPS", 10)
    client: Any = space.clients.admin
    names = [f"lab/app-{number}" for number in range(600)]
    await client.hset(K.apps(CONTROL), mapping={app: crc32(app.encode()) % space.count for app in names})
    forget = Forget(space)

    for _ in range(600):
        await forget.run_once()
        if not await apps(space):
            break

    assert forget.forgotten == 600
