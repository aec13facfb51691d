"""Scripts of the release before this one and ours, by turns on the same keys, as while an upgrade rolls."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from gojob_redis.engine.client import Client
from gojob_redis.engine.scripts import Verb, load_all
from tests import invariants
from tests.conftest import Partition, bootstrapped
from tests.faults.release import previous
from tests.faults.scenario import Skipped
from tests.lua.world import T0, World

LIVES = 20


@dataclass(frozen=True, slots=True)
class Mixed(Partition):
    """Each call is made with the script of one release or the other, and with what it takes."""

    releases: tuple[Mapping[str, Verb], ...]
    chance: random.Random

    async def call(self, name: str, items: Any = (), /, **scalars: Any) -> list[Any]:
        script = self.chance.choice(self.releases)[name]
        taken = {param.name for param in script.header.scalars} & scalars.keys()
        return await script.call(self.client, self.prefix, items, **{name: scalars[name] for name in taken})


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping[str, Verb], ...]:
    """The scripts of both releases; a verb takes what it took before, and perhaps more."""
    directory = tmp_path_factory.mktemp("previous")
    try:
        previous(directory)
    except Skipped as why:
        pytest.skip(f"NO RELEASE BEFORE THIS ONE: {why}")
    ours, theirs = load_all(), load_all(directory / "gojob_redis" / "lua")
    same = {name for name in ours.keys() & theirs.keys() if _can_stand_for(theirs[name], ours[name])}
    assert len(same) > len(ours) // 2
    return ours, ours | {name: theirs[name] for name in same}


def _can_stand_for(before: Verb, now: Verb) -> bool:
    return before.header.fields == now.header.fields and set(before.header.scalars) <= set(now.header.scalars)


@pytest.mark.parametrize("seed", range(LIVES))
async def test_what_two_releases_do_by_turns_is_neither_lost_nor_doubled(
    client: Client, releases: tuple[Mapping[str, Verb], ...], seed: int
) -> None:
    base = await bootstrapped(client, now_ms=T0)
    world = World(Mixed(client, base.tag, base.prefix, releases, random.Random(seed)))

    await world.enlist("s1", capacity=2)
    await world.define(T0 + 1_000, T0 + 2_000)
    assert await world.submit("t1", "t2", "t3") == ["ok", "ok", "ok"]
    first, second = await world.dispatches()
    await world.start(first)
    assert await world.resume("s1", first, gateway="g2") == ["ok", 2, "keep"]
    [again] = await world.dispatches("g2")
    assert again == second
    assert await world.release(again) == ["accepted"]
    assert await world.report(first) == ["accepted"]
    await world.enlist("s2", capacity=9)
    for _ in range(2):
        world.pass_ms(1_000)
        await world.fire()
    for _ in range(3):
        for run in [*await world.dispatches("g1"), *await world.dispatches("g2")]:
            assert await world.report(run) == ["accepted"]
        await world.renew("s1", gateway="g2", conn=2, capacity=2)
    await world.expire()

    dump = await world.dump()
    tasks = {name: record["state"] for name, record in dump.items() if name.startswith("task:")}
    assert len(tasks) == 5
    assert set(tasks.values()) == {"run_to_completion"}
    assert not invariants.violations(dump)
