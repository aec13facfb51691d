"""lua/watch.lua and lib/changes.lua: what changed since a moment, as long as somebody watches."""

import asyncio
from typing import Any

from gojob_redis.domain import limits
from gojob_redis.engine.keys import K
from tests.lua.world import APP, HANDLER, World


async def watch(world: World, since: int = 0) -> tuple[str, int, int, list[list[str]]]:
    status, now, upto, changes = await world.call("watch", since=since)
    return status, now, upto, [[field.decode() for field in change] for change in changes]


async def moment(world: World) -> int:
    """The position of now; nothing that happens later is of the same millisecond."""
    _, now, _, _ = await watch(world)
    while (await watch(world))[1] == now:  # noqa: ASYNC110  the engine's clock rings no bell
        await asyncio.sleep(0)
    return (await watch(world))[1]


async def changed(world: World, since: int) -> list[list[str]]:
    """What changed since then, once the engine's clock has moved on."""
    await moment(world)
    status, _, _, changes = await watch(world, since)
    assert status == "ok"
    return changes


def runs(changes: list[list[str]]) -> list[str]:
    """The runs of all lanes, sorted for each call."""
    return [" ".join(sorted(word for runs in each[1::2] for word in runs.split())) for each in changes]


async def test_nothing_is_left_while_nobody_watches(world: World) -> None:
    await world.submit("t1")

    assert "changes" not in await world.dump()
    assert "watched" not in (await world.dump())["meta"]


async def test_each_call_leaves_the_runs_that_it_changed(world: World) -> None:
    await world.enlist(capacity=2)
    since = await moment(world)

    await world.submit("t1", "t2")
    first, _ = await world.dispatches()
    await world.start(first)
    await world.report(first)

    found = await changed(world, since)
    assert runs(found) == ["t1 t2", "t1", "t1"]
    lane = (await world.task("t1"))["lane"]
    assert {name for change in found for name in change[::2]} == {lane}


async def test_a_call_leaves_once_that_an_app_has_events(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    both = await world.dispatches()
    since = await moment(world)

    await world.report(*both, outcome="error", disposition="final")

    found = await changed(world, since)
    assert [change for change in found if change[0] == "events"] == [["events", APP]]


async def test_events_of_no_app_are_left_without_a_name(world: World) -> None:
    await world.partition.client.zadd(K.gateways(world.partition.prefix), {"g9": 1})
    since = await moment(world)

    await world.reap()

    assert ["events", ""] in await changed(world, since)


async def test_what_happened_before_is_not_told_again(world: World) -> None:
    await moment(world)
    await world.submit("t1")
    since = await moment(world)
    await world.submit("t2")

    assert runs(await changed(world, since)) == ["t2"]


async def test_who_asks_for_the_first_time_begins_now(world: World) -> None:
    assert (await watch(world))[0] == "gap"
    await world.submit("t1")

    status, now, upto, changes = await watch(world)

    assert (status, upto, changes) == ("gap", now, [])


async def test_who_begins_to_watch_misses_nothing_from_then_on(world: World) -> None:
    _, since, _, _ = await watch(world)
    await world.submit("t1")

    assert runs([change for change in await changed(world, since) if change[0] != "on"]) == ["t1"]


async def test_after_a_while_nobody_watches_and_that_is_told(world: World) -> None:
    since = await moment(world)
    await world.pass_steadily(limits.WATCHED_MS)
    await world.submit("unseen")

    assert (await watch(world, since))[0] == "gap"
    later = await moment(world)
    assert (await watch(world, since))[0] == "gap"
    assert (await watch(world, later))[0] == "ok"


async def test_watching_goes_on_as_long_as_somebody_asks(world: World) -> None:
    since = await moment(world)
    for _ in range(4):
        await world.pass_steadily(limits.WATCHED_MS - 1_000)
        assert (await watch(world, since))[0] == "ok"
    await world.submit("t1")

    assert runs(await changed(world, since)) == ["t1"]


async def test_the_stream_goes_with_the_last_who_watched(world: World) -> None:
    await watch(world)

    left_ms = await world.partition.client.pttl(K.changes(world.partition.prefix))
    most = limits.WATCHED_MS + limits.CHANGES_KEPT_MS
    assert most - 5_000 < left_ms <= most


async def test_what_was_trimmed_is_a_gap(world: World) -> None:
    since = await moment(world)
    await fill(world, limits.CHANGES_READ // 2)
    assert (await watch(world, since))[0] == "ok"

    await world.partition.client.xtrim(K.changes(world.partition.prefix), maxlen=10, approximate=False)

    assert (await watch(world, since))[0] == "gap"


async def test_more_than_a_call_tells_comes_with_the_next(world: World) -> None:
    since = await moment(world)
    number = 3 * limits.CHANGES_READ
    await fill(world, number)
    now = await moment(world)

    found: list[list[str]] = []
    calls = 0
    while since < now:
        status, _, since, changes = await watch(world, since)
        assert status == "ok"
        found += changes
        calls += 1

    assert [change[1] for change in found] == [f"r{n}" for n in range(number)]
    assert calls >= 3


async def test_a_millisecond_too_full_to_get_on_is_a_gap(world: World) -> None:
    since = await moment(world)
    client: Any = world.partition.client
    for n in range(limits.CHANGES_READ + 2):
        await client.xadd(K.changes(world.partition.prefix), {"1": f"r{n}"}, id=f"{since}-{n + 1}")
    await moment(world)

    assert (await watch(world, since))[0] == "gap"


async def fill(world: World, number: int) -> None:
    """So many calls change a run."""
    client: Any = world.partition.client
    for n in range(number):
        await client.xadd(K.changes(world.partition.prefix), {"1": f"r{n}"})
        if n % 50 == 0:
            await moment(world)


async def test_a_handler_s_runs_are_left_by_their_lanes(world: World) -> None:
    since = await moment(world)

    await world.submit("t1")
    await world.submit("t2", handler=f"{APP}/mail")

    lanes = {run: (await world.task(run))["lane"] for run in ("t1", "t2")}
    assert f"{APP}/mail" != HANDLER
    assert lanes["t1"] != lanes["t2"]
    assert await changed(world, since) == [[lanes["t1"], "t1"], [lanes["t2"], "t2"]]
