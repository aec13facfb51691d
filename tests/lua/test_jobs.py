"""lua/open_job.lua, change_job.lua, steer_job.lua: how jobs are recorded, and how partitions hear of them."""

from typing import Any

import pytest

from gojob_redis.domain import limits
from gojob_redis.engine.keys import CONTROL, CONTROL_TAG
from tests.conftest import Partition
from tests.lua.world import APP, T0, World

JOB = "j0abcdefg123456789"


@pytest.fixture
def control(world: World) -> World:
    """The control plane of an engine."""
    return World(Partition(world.partition.client, CONTROL_TAG, CONTROL))


async def begin(control: World, job: str = JOB, *units: tuple[int, str], **changes: Any) -> list[Any]:
    given = {
        "job": job, "namespace": "lab", "made_ms": T0, "oldest": "j0000", "record": b"{}", "once_key": "", "digest": "",
    } | changes  # fmt: skip
    return await control.call("open_job", units or [(3, "lab/a lab/b")], **given)


async def change(control: World, how: str, job: str = JOB) -> list[Any]:
    return await control.call("change_job", job=job, change=how, at=T0 + 5)


async def steer(world: World, state: str, revision: int) -> list[Any]:
    return await world.call("steer_job", job=JOB, state=state, revision=revision)


async def cancel(world: World) -> str:
    """One call for a job that cancels the tasks of the app; the state it is in."""
    reply = await world.call(
        "bulk_cancel", [(APP,)], job=JOB, scope="default/", walks=1, conditions="", as_of=T0, reason="canceled",
        first=0, last=1,
    )  # fmt: skip
    return str(reply[1])


async def test_a_job_is_recorded_with_what_it_is_for_in_each_partition(control: World) -> None:
    assert await begin(control, JOB, (0, "lab/a lab/b"), (5, "lab/c")) == ["ok", JOB]

    dump = await control.dump()
    assert dump[f"job:{JOB}"] == {
        "record": "{}", "namespace": "lab", "state": "running", "revision": "0", "made": str(T0), "units": "0=2 5=1",
    }  # fmt: skip
    assert dump[f"job_units:{JOB}|0"] == ["lab/a", "lab/b"]
    assert dump["live_jobs"] == {JOB: "lab"}
    assert list(dump["jobs:lab"]) == [JOB]


async def test_a_call_that_comes_twice_is_one_job(control: World) -> None:
    await begin(control)
    before = await control.dump()

    assert await begin(control) == ["duplicate", JOB]

    assert await control.dump() == before


async def test_a_key_stands_for_one_job_and_one_body(control: World) -> None:
    await begin(control, once_key="k", digest="d")
    before = await control.dump()

    assert await begin(control, "j1", once_key="k", digest="d") == ["duplicate", JOB]
    assert await begin(control, "j1", once_key="k", digest="other") == ["other_body", JOB]
    assert await control.dump() == before
    assert (await begin(control, "j1", once_key="k", digest="d", namespace="other"))[0] == "ok"


async def test_a_namespace_has_ten_jobs_at_once(control: World) -> None:
    for number in range(limits.JOBS_AT_ONCE):
        await begin(control, f"j{number}")
    before = await control.dump()

    assert await begin(control) == ["jobs_full", ""]

    assert await control.dump() == before
    assert (await begin(control, namespace="other"))[0] == "ok"
    await change(control, "close", "j0")
    assert (await begin(control, "j10"))[0] == "ok"


async def test_all_namespaces_together_have_no_more_jobs_than_there_may_be(control: World) -> None:
    for number in range(limits.JOBS_AT_ONCE_IN_ALL):
        await begin(control, f"j{number}", namespace=f"n{number // 10}")

    assert await begin(control, namespace="new") == ["jobs_full", ""]


async def test_of_too_many_jobs_the_oldest_that_are_over_go(control: World) -> None:
    await begin(control, "j0000-lives")
    for number in range(limits.JOBS_KEPT):
        await begin(control, f"j{number:04}")
        await change(control, "close", f"j{number:04}")

    names = list((await control.dump())["jobs:lab"])
    assert (len(names), names[0], names[1]) == (limits.JOBS_KEPT, "j0000-lives", "j0001")
    assert "job:j0000" not in await control.dump()


async def test_names_of_jobs_that_are_gone_go(control: World) -> None:
    await begin(control, "j0001")
    await begin(control, "j0003", oldest="j0002", made_ms=T0 + limits.JOB_TRACE_MS + 1, namespace="lab")

    assert list((await control.dump())["jobs:lab"]) == ["j0003"]


async def test_a_job_is_paused_goes_on_and_is_canceled(control: World) -> None:
    await begin(control)

    assert await change(control, "pause") == ["ok", "paused"]
    assert await change(control, "pause") == ["already", "paused"]
    assert await change(control, "resume") == ["ok", "running"]
    assert await change(control, "resume") == ["already", "running"]
    assert await change(control, "cancel") == ["ok", "canceled"]
    assert await change(control, "cancel") == ["already", "canceled"]
    assert await change(control, "resume") == ["over", "canceled"]
    assert (await control.dump())[f"job:{JOB}"]["revision"] == "3"
    assert await change(control, "cancel", "jnone") == ["gone", ""]


async def test_a_closed_job_changes_no_more(control: World) -> None:
    await begin(control)
    await change(control, "cancel")

    assert await change(control, "close") == ["ok", "canceled"]
    before = await control.dump()
    assert await change(control, "close") == ["over", "canceled"]

    assert await control.dump() == before
    assert (before[f"job:{JOB}"]["ended"], before[f"job:{JOB}"]["revision"]) == (str(T0 + 5), "1")
    left_ms = await control.partition.client.pttl(f"{control.partition.prefix}job:{JOB}")
    assert limits.JOB_KEPT_MS - 60_000 < left_ms <= limits.JOB_KEPT_MS
    assert not [name for name in before if name.startswith(("job_units", "live_jobs"))]


async def test_a_job_that_is_done_is_closed_as_done_and_a_paused_one_stays(control: World) -> None:
    await begin(control)
    await begin(control, "jpaused")
    await change(control, "pause", "jpaused")

    assert await change(control, "close", "jpaused") == ["over", "paused"]
    assert await change(control, "close") == ["ok", "done"]
    assert await change(control, "cancel") == ["over", "done"]


async def test_a_paused_job_does_nothing(world: World) -> None:
    await world.submit("t1")

    assert await steer(world, "paused", 1) == ["ok", "paused"]
    assert await cancel(world) == "paused"
    assert (await world.task("t1"))["state"] == "created"
    assert await steer(world, "running", 2) == ["ok", "running"]
    await cancel(world)

    assert (await world.task("t1"))["state"] == "canceled"


async def test_an_older_word_about_a_job_changes_nothing(world: World) -> None:
    await steer(world, "canceled", 2)

    assert await steer(world, "running", 1) == ["already", "canceled"]
    assert await steer(world, "running", 2) == ["already", "canceled"]

    assert (await world.dump())[f"job:{JOB}"]["state"] == "canceled"


async def test_a_partition_that_is_done_stays_done(world: World) -> None:
    assert await cancel(world) == "done"

    assert await steer(world, "canceled", 1) == ["ok", "done"]

    assert (await world.dump())[f"job:{JOB}"]["state"] == "done"
