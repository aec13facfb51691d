"""lua/lib/quotas.lua: what each verb refuses when a namespace has as much as it may have."""

import pytest

from gojob_redis.domain.quotas import USUAL, Quotas, written
from tests.lua.world import APP, HANDLER, T0, World

OTHER = "lab/shop"
SMALL = written({"default": Quotas(handlers_per_app=2, lanes_per_app=3, delayed_per_app=2)})


@pytest.fixture
async def full(world: World) -> World:
    """An app with two handlers and three lanes."""
    await world.submit("t1", labels="a=1", quotas=SMALL)
    await world.submit("t2", labels="a=2", quotas=SMALL)
    await world.submit("t3", handler=f"{APP}/other", quotas=SMALL)
    return world


async def test_a_task_makes_no_lane_beyond_those_of_its_app(full: World) -> None:
    before = await full.dump()

    assert await full.submit("t4", labels="a=3", quotas=SMALL) == ["app_lanes_full"]
    assert await full.dump() == before

    assert await full.submit("t5", labels="a=1", quotas=SMALL) == ["ok"]
    assert await full.submit("t6", handler=f"{OTHER}/send", quotas=SMALL) == ["ok"]
    assert await full.submit("t7", labels="a=3") == ["ok"]


async def test_a_task_makes_no_handler_beyond_those_of_its_app(world: World) -> None:
    small = written({"default": Quotas(handlers_per_app=1)})
    assert await world.submit("t1", quotas=small) == ["ok"]
    before = await world.dump()

    assert await world.submit("t2", handler=f"{APP}/other", quotas=small) == ["handlers_full"]
    assert await world.dump() == before
    assert await world.submit("t3", labels="a=1", quotas=small) == ["ok"]


async def test_a_worker_announces_no_more_handlers_than_its_app_may_have(full: World) -> None:
    before = await full.dump()

    assert await full.enlist("s1", handlers=(HANDLER, f"{APP}/third"), quotas=SMALL) == "handlers_full"
    assert await full.dump() == before

    assert await full.enlist("s2", handlers=(HANDLER, f"{APP}/other"), quotas=SMALL) == "ok"
    assert await full.enlist("s3", handlers=(HANDLER, f"{APP}/third")) == "ok"


async def test_a_new_worker_group_may_serve_known_handlers_though_the_limit_was_lowered(world: World) -> None:
    handlers = (HANDLER, f"{APP}/other", f"{APP}/third")
    assert await world.enlist("s1", handlers=handlers) == "ok"

    assert await world.enlist("s2", handlers=handlers[:2], quotas=SMALL) == "ok"


async def test_a_known_worker_group_comes_back_though_the_limit_was_lowered(world: World) -> None:
    handlers = (HANDLER, f"{APP}/other", f"{APP}/third")
    assert await world.enlist("s1", handlers=handlers) == "ok"

    assert await world.enlist("s2", handlers=handlers, quotas=SMALL) == "ok"


async def test_delayed_tasks_of_an_app_are_counted_and_those_that_are_due_are_not(world: World) -> None:
    await world.define(T0 + 60_000)
    assert await world.submit("delayed-1", "delayed-2", "delayed-3", at=T0 + 1_000, quotas=SMALL) == [
        "ok",
        "ok",
        "delayed_full",
    ]
    assert await world.submit("t4", "t5", at=0, quotas=SMALL) == ["ok", "ok"]

    world.pass_ms(2_000)
    await world.fire()

    assert await world.submit("delayed-6", at=T0 + 9_000, quotas=SMALL) == ["ok"]


async def test_a_trigger_beyond_those_of_its_app_is_refused_and_one_that_is_there_is_changed(world: World) -> None:
    assert (await world.define(T0 + 1_000, name="a", most=1))[0] == "ok"
    before = await world.dump()

    assert await world.define(T0 + 1_000, name="b", uid="bcdefgh", most=1) == ["triggers_full", "", 0]
    assert await world.dump() == before
    assert (await world.define(T0 + 2_000, name="a", most=1))[0] == "ok"


async def test_a_trigger_whose_lane_would_be_one_too_many_is_refused(full: World) -> None:
    before = await full.dump()

    assert (await full.define(T0 + 1_000, labels="a=3", quotas=SMALL))[0] == "app_lanes_full"
    assert await full.dump() == before
    assert (await full.define(T0 + 1_000, labels="a=3", active=0, quotas=SMALL))[0] == "ok"
    assert (await full.define(T0 + 1_000, labels="a=1", quotas=SMALL))[0] == "ok"


async def test_an_edit_that_is_refused_takes_no_slot_from_the_rule_that_stays(full: World) -> None:
    await full.define(T0 + 1_000, T0 + 60_000, labels="a=1", over=0)
    full.pass_ms(2_000)
    await full.call("now")
    before = await full.dump()

    assert (await full.define(T0 + 90_000, labels="a=3", over=0, quotas=SMALL))[0] == "app_lanes_full"

    assert await full.dump() == before


def test_only_what_differs_is_written_for_a_namespace() -> None:
    own = {"lab": Quotas(lanes_per_app=7), "default": Quotas(polls=1), "12": Quotas(handlers_per_app=3)}

    assert written(own).splitlines() == [
        f"lab {USUAL.handlers_per_app} 7 {USUAL.delayed_per_app}",
        f"12 3 {USUAL.lanes_per_app} {USUAL.delayed_per_app}",
    ]
