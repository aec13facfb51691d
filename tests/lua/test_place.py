"""lua/place.lua and lua/unplace.lua"""

from typing import Any

import pytest

from gojob_redis.engine.keys import CONTROL, CONTROL_TAG
from tests.conftest import Partition
from tests.lua.world import World


@pytest.fixture
def control(world: World) -> World:
    """The control plane of an engine."""
    return World(Partition(world.partition.client, CONTROL_TAG, CONTROL))


async def place(control: World, app: str, *, partition: int = 3, most: int = 2, most_all: int = 10) -> list[Any]:
    namespace = app.partition("/")[0]
    return await control.call("place", app=app, namespace=namespace, partition=partition, most=most, most_all=most_all)


async def test_an_app_stays_where_it_was_first_seen(control: World) -> None:
    assert await place(control, "lab/a", partition=3) == ["ok", 3]
    assert await place(control, "lab/a", partition=5) == ["ok", 3]

    dump = await control.dump()
    assert (dump["apps"], dump["app_counts"]) == ({"lab/a": "3"}, {"lab": "1"})


async def test_a_namespace_has_no_more_apps_than_it_may_have_and_others_have_theirs(control: World) -> None:
    for app in ("lab/a", "lab/b", "other/a"):
        assert (await place(control, app))[0] == "ok"
    before = await control.dump()

    assert await place(control, "lab/c") == ["apps_full", 2]
    assert await control.dump() == before
    assert await place(control, "lab/b") == ["ok", 3]
    assert await place(control, "lab/c", most=3) == ["ok", 3]


async def test_all_namespaces_together_have_no_more_apps_than_there_may_be(control: World) -> None:
    assert (await place(control, "lab/a", most_all=1))[0] == "ok"

    assert await place(control, "other/a", most_all=1) == ["apps_full", 0]


async def unplace(control: World, app: str, *, partition: int = 3) -> list[Any]:
    return await control.call("unplace", app=app, namespace=app.partition("/")[0], partition=partition)


async def test_an_app_that_is_forgotten_counts_no_longer(control: World) -> None:
    await place(control, "lab/a")
    await place(control, "lab/b")

    assert await unplace(control, "lab/a") == ["ok"]
    assert await unplace(control, "lab/a") == ["already"]

    dump = await control.dump()
    assert (dump["apps"], dump["app_counts"]) == ({"lab/b": "3"}, {"lab": "1"})
    await unplace(control, "lab/b")
    assert not {"apps", "app_counts"} & set(await control.dump())


async def test_an_app_that_is_elsewhere_is_not_forgotten(control: World) -> None:
    await place(control, "lab/a", partition=5)

    assert await unplace(control, "lab/a", partition=3) == ["already"]

    assert (await control.dump())["apps"] == {"lab/a": "5"}
