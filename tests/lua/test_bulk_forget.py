"""lua/bulk_forget.lua: a job that deletes tasks that are over, some a call."""

from typing import Any

import pytest

from tests import invariants
from tests.lua.world import APP, HANDLER, T0, World

JOB = "j0abcdefg123456789"
MINUTE = 60_000


async def delete(world: World, *units: str, walks: int = 1, **changes: Any) -> tuple[str, int, int]:
    """One call: the state of the job, the unit it is at, after how many ms the next can do something."""
    given = {
        "job": JOB, "scope": "default/", "walks": walks, "conditions": "", "as_of": world.now, "pinned": 0, "first": 0,
        "last": 1,
    } | changes  # fmt: skip
    _word, state, unit, waits, _looked = await world.call("bulk_forget", [(unit,) for unit in units or (APP,)], **given)
    return state, unit, waits


async def tasks(world: World) -> set[str]:
    return {name.removeprefix("task:") for name in await world.dump() if name.startswith("task:")}


async def progress(world: World) -> dict[str, str]:
    found: dict[str, str] = (await world.dump())[f"job:{JOB}"]
    return {name: value for name, value in found.items() if name not in ("at", "place")}


@pytest.fixture
async def past(world: World) -> World:
    """One task of each end with all that can hang on it, one that is kept, one that waits; a minute later."""
    await world.enlist(capacity=10)
    await world.submit("done", "failed", "kept", param=b"p" * 100, own_key="order-1")
    runs = {run.run: run for run in await world.dispatches()}
    await world.start(*runs.values())
    await world.note(runs["done"], b"line")
    await world.call("keep", [("kept", "always")])
    await world.report(runs["done"], runs["kept"], value=b"v" * 100)
    await world.report(runs["failed"], outcome="error", disposition="final", value=b"e" * 100)
    await world.leave()
    await world.submit("stopped", "waits")
    await world.cancel("stopped")
    world.pass_ms(MINUTE)
    return world


async def test_what_is_over_goes_with_all_that_hangs_on_it_and_what_is_kept_is_told(past: World) -> None:
    assert await delete(past) == ("done", 1, 0)

    assert await tasks(past) == {"kept", "waits"}
    dump = await past.dump()
    assert [name for name in dump if name.endswith((":done", ":failed", ":stopped"))] == []
    assert not {f"history:{HANDLER}", f"failed:{APP}", f"logs:{APP}", "log_bytes"} & dump.keys()
    assert list(dump["keyed"]) == [f"order-1\x1f{APP}\x1fkept"]
    assert await progress(past) == {
        "state": "done", "next": "1", "matched": "4", "done": "3", "skipped": "1", "why skipped pinned": "1",
        "samples": "skipped pinned kept",
    }  # fmt: skip
    assert invariants.violations(dump) == []
    assert invariants.miscounts(dump) == []


async def test_what_is_kept_goes_when_that_is_asked_for(past: World) -> None:
    assert await delete(past, pinned=1) == ("done", 1, 0)

    assert await tasks(past) == {"waits"}
    assert f"pinned:{HANDLER}" not in await past.dump()


async def test_only_what_the_filter_means_goes(past: World) -> None:
    await delete(past, conditions="state=faulted")

    assert await tasks(past) == {"done", "kept", "stopped", "waits"}


async def test_ids_are_deleted_and_what_cannot_be_is_told(past: World) -> None:
    await past.submit("foreign", handler="other/shop/send")
    await past.cancel("foreign")

    assert await delete(past, "done", "waits", "kept", "foreign", "unknown", walks=0) == ("done", 5, 0)

    assert await tasks(past) == {"failed", "kept", "stopped", "waits", "foreign"}
    assert (await progress(past))["samples"].splitlines() == [
        "skipped not_over waits", "skipped pinned kept", "skipped gone foreign", "skipped gone unknown"
    ]  # fmt: skip


async def test_what_ended_after_the_job_began_stays(past: World) -> None:
    await delete(past, as_of=T0 - 1)
    await delete(past, "done", walks=0, as_of=T0 - 1, job="jids")

    assert "done" in await tasks(past)
    assert (await past.dump())["job:jids"]["why skipped too_new"] == "1"


async def test_what_ended_less_than_a_minute_ago_is_deleted_when_it_is_that_old(world: World) -> None:
    await world.submit("stopped")
    await world.cancel("stopped")

    world.pass_ms(MINUTE - 300)
    assert await delete(world, as_of=T0) == ("running", 0, 300)
    assert await tasks(world) == {"stopped"}
    world.pass_ms(300)
    assert await delete(world, as_of=T0) == ("done", 1, 0)

    assert await tasks(world) == set()


async def test_a_task_of_many_shards_goes_in_pieces_and_counts_once(world: World) -> None:
    await world.enlist(capacity=150)
    await world.submit("t1", shards=150)
    while runs := await world.dispatches():
        await world.report(*runs[:100])
        await world.report(*runs[100:])
    world.pass_ms(MINUTE)

    assert await delete(world) == ("running", 0, 0)
    assert len(await tasks(world)) == 51
    assert await delete(world) == ("done", 1, 0)

    assert await tasks(world) == set()
    assert (await progress(world))["done"] == "1"
    assert invariants.miscounts(await world.dump()) == []


async def test_a_call_deletes_100_and_the_next_goes_on_behind_them(world: World) -> None:
    for first in range(0, 250, 50):
        names = [f"t{number:03}" for number in range(first, first + 50)]
        await world.submit(*names)
        await world.cancel(*names)
    world.pass_ms(MINUTE)

    assert [(await delete(world))[0], (await delete(world))[0], (await delete(world))[0]] == [
        "running",
        "running",
        "done",
    ]

    assert await tasks(world) == set()
    assert (await progress(world))["done"] == "250"


async def test_what_is_let_go_behind_a_job_is_deleted(world: World) -> None:
    await world.submit("mine")
    await world.cancel("mine")
    await world.call("keep", [("mine", "always")])
    for first in range(0, 500, 100):
        names = [f"o{number:03}" for number in range(first, first + 100)]
        await world.submit(*names, trigger="other")
        await world.cancel(*names)
    world.pass_ms(MINUTE)
    assert (await delete(world, conditions="reason=mine"))[0] == "running"
    await world.call("keep", [("mine", "usual")])
    await world.partition.client.hset(f"{world.partition.prefix}task:mine", "reason", "mine")

    await delete(world, conditions="reason=mine")

    assert "mine" not in await tasks(world)


async def test_what_a_later_release_wrote_stays(past: World) -> None:
    await past.partition.client.hset(f"{past.partition.prefix}task:done", "place", "archive")

    await delete(past)
    await delete(past, "done", walks=0, job="jids")

    assert "done" in await tasks(past)
    assert (await past.dump())["job:jids"]["why skipped later"] == "1"


async def test_a_sharded_task_goes_with_the_parameters_of_its_shards(world: World) -> None:
    await world.submit("t1", shards=2, shard_params=b"1:a,2:bc,")
    await world.cancel("t1")
    world.pass_ms(MINUTE)

    await delete(world)

    assert not [name for name in await world.dump() if name.endswith(":t1")]


async def test_a_child_that_is_deleted_stands_among_those_of_its_parent_no_more(world: World) -> None:
    await world.submit("p")
    await world.submit("c", parent="p")
    await world.cancel("c")
    world.pass_ms(MINUTE)
    assert "children:p" in await world.dump()

    await delete(world, "c", walks=0)

    assert "children:p" not in await world.dump()
