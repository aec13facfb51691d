"""lua/bulk_retry.lua: a job that makes tasks once more, some a call."""

from typing import Any

import pytest

from gojob_redis.domain import limits
from tests.lua.world import APP, HANDLER, T0, World, change_scripts, lanes_hold

JOB = "j0abcdefg123456789"


async def retry(world: World, *units: str, walks: int = 1, **changes: Any) -> tuple[str, int, int]:
    """One call: the state of the job, the unit it is at, how many tasks it looked at."""
    given = {
        "job": JOB, "scope": "default/", "walks": walks, "conditions": "", "as_of": T0 + 10_000, "first": 0, "last": 1,
    } | changes  # fmt: skip
    _word, state, unit, _waits, looked = await world.call("bulk_retry", [(unit,) for unit in units or (APP,)], **given)
    return state, unit, looked


async def over(world: World, *tasks: str, outcome: str = "error", **options: Any) -> None:
    """Tasks that ended."""
    await world.enlist("ended", capacity=100)
    await world.submit(*tasks, **options)
    while runs := await world.dispatches():
        await world.report(*runs, outcome=outcome)
    await world.leave("ended")


async def made(world: World) -> dict[str, dict[str, str]]:
    """The new tasks, by their parent."""
    return {
        fields["parent"]: {"id": name.removeprefix("task:"), **fields}
        for name, fields in (await world.dump()).items()
        if name.startswith("task:") and "parent" in fields
    }


async def progress(world: World, job: str = JOB) -> dict[str, str]:
    found: dict[str, str] = (await world.dump())[f"job:{job}"]
    return {name: value for name, value in found.items() if name not in ("at", "place")}


async def test_what_faulted_is_made_once_more_with_all_it_had(world: World) -> None:
    await over(
        world,
        "t1",
        param=b"p" * 100,
        labels="",
        priority=9,
        retry_interval=1,
        run_limit=5_000,
        trigger="nightly",
        traceparent="00-a-b-01",
    )
    await over(world, "t2", param=b"small")
    await over(world, "fine", outcome="ok")

    assert await retry(world, conditions="state=faulted") == ("done", 1, 3)

    new = await made(world)
    assert set(new) == {"t1", "t2"}
    assert {name: new["t1"][name] for name in ("state", "priority", "run_limit", "trigger", "param_size")} == {
        "state": "created", "priority": "9", "run_limit": "5000", "trigger": "nightly", "param_size": "100",
    }  # fmt: skip
    dump = await world.dump()
    assert dump[f"param:{new['t1']['id']}"] == "p" * 100
    assert new["t2"]["param"] == "small"
    assert "ended" not in new["t1"]
    assert (new["t1"]["traceparent"], "traceparent" in new["t2"]) == ("00-a-b-01", False)
    assert "tries" not in new["t1"]
    assert "shard_params" not in new["t2"]
    assert set(dump["activeq:1"]) == {new["t1"]["id"], new["t2"]["id"]}
    assert await progress(world) == {"state": "done", "next": "1", "matched": "2", "done": "2"}


async def test_the_new_ids_follow_from_the_job_and_the_parent(world: World) -> None:
    await over(world, "t1", "t2")

    await retry(world, "t1", "t1", walks=0)
    await retry(world, "t2", walks=0, job="j0abcdefg987654321")

    new = await made(world)
    assert {parent: fields["id"] for parent, fields in new.items()} == {
        "t1": "00s0abcdefg4b4albpb3", "t2": "00s0abcdefgfp65fhcu0"
    }  # fmt: skip
    assert (await progress(world))["why skipped duplicate"] == "1"


async def test_a_job_does_not_make_again_what_it_made(world: World) -> None:
    await over(world, "t1", "t2")
    await world.enlist(capacity=10)
    await retry(world, last=0)
    world.pass_ms(20_000)
    await world.renew("s1")
    await world.report(*await world.dispatches(), outcome="error")

    assert await retry(world, job="j0abcdefgsecond000", as_of=T0 + 10_000) == ("done", 1, 4)

    assert len(await made(world)) == 2
    assert (await progress(world, "j0abcdefgsecond000"))["matched"] == "2"


async def test_a_call_makes_100_and_the_next_goes_on_behind_them(world: World) -> None:
    for first in range(0, 250, 50):
        await over(world, *(f"t{number:03}" for number in range(first, first + 50)))

    assert await retry(world) == ("running", 0, 100)
    assert len(await made(world)) == 100
    assert await retry(world) == ("running", 0, 100)
    assert await retry(world) == ("done", 1, 50)

    assert len(await made(world)) == 250
    assert await retry(world) == ("done", 1, 0)


async def test_what_is_not_over_is_told_and_left_alone(world: World) -> None:
    await over(world, "late")
    await world.submit("queued")

    await retry(world, "queued", "unknown", walks=0)
    await retry(world, "late", walks=0, as_of=T0 - 1, job="jlate")

    assert await made(world) == {}
    assert (await progress(world))["samples"] == "skipped not_over queued\nskipped gone unknown"
    assert (await progress(world, "jlate"))["why skipped too_new"] == "1"


async def test_what_no_lane_has_room_for_is_told_as_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await over(world, "t1", "t2", "t3")
    lanes_hold(2, monkeypatch)

    await retry(world)

    assert len(await made(world)) == 2
    found = await progress(world)
    assert (found["done"], found["failed"], found["why failed queue_full"]) == ("2", "1", "1")


async def test_a_task_with_too_many_children_is_told_as_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await over(world, "t1", "t2")
    await world.submit("t3", parent="t1.0.1")
    change_scripts(("bulk_retry",), f">= {limits.CHILDREN}", ">= 1", monkeypatch)

    await retry(world)

    assert {parent: child["id"] == "t3" for parent, child in (await made(world)).items()} == {"t1": True, "t2": False}
    found = await progress(world)
    assert (found["done"], found["failed"], found["why failed children_full"]) == ("1", "1", "1")


async def test_a_sharded_task_is_made_once_more_with_the_parameters_of_its_shards(world: World) -> None:
    await over(world, "t1", shards=2, shard_params=b"1:a,2:bc,")

    await retry(world)

    new = (await made(world))["t1"]
    assert (new["shards"], new["shard_params"]) == ("2", "1")
    assert (await world.dump())[f"shard_params:{new['id']}"] == {"0": "a", "1": "bc"}


async def test_the_ledger_of_the_trigger_tells_of_it(world: World) -> None:
    await world.define(T0 + 1_000, name="nightly", overlap="skip")
    await world.enlist()
    await world.pass_steadily(1_000, renew=("s1",))
    await world.fire()
    await world.report(*await world.dispatches(), outcome="error")
    await world.leave()

    await retry(world)

    [new] = (await made(world)).values()
    assert f"manual {new['id']}" in await world.ledger()
    assert new["id"] in (await world.dump())["trigger:abcdefg"]["live"]
    assert new["trigger"] == "nightly"


@pytest.mark.parametrize(("task", "trigger"), [("00xabcdefg1", "nightly"), ("00fabcdefg1", "")])
async def test_the_ledger_tells_only_of_what_was_fired_by_the_trigger(world: World, task: str, trigger: str) -> None:
    await world.define(T0 + 1_000, name="nightly")
    await over(world, task, trigger=trigger)

    await retry(world)

    assert set(await made(world)) == {task}
    assert await world.ledger() == []


async def test_a_task_whose_lane_is_gone_is_told_as_failed(world: World) -> None:
    await over(world, "t1")
    await world.partition.client.hset(world.partition.prefix + "task:t1", "lane", "99")

    await retry(world)

    assert (await progress(world))["why failed no_lane"] == "1"


async def test_a_worker_gets_what_was_made_at_once(world: World) -> None:
    await over(world, "t1")
    await world.enlist()

    await retry(world)

    [run] = await world.dispatches()
    assert (await world.task(run.run))["parent"] == "t1"


async def test_what_is_made_is_told_to_the_statistics(world: World) -> None:
    await over(world, "t1", "t2")

    await retry(world)

    told = list((await world.dump())["tally"])[-1]["t"]
    assert told == f"{T0}\x1e{HANDLER}\x1fu\x1fu"
