"""gojob_redis/bulk: jobs over several partitions, whoever drives them and whoever dies."""

from typing import Any

import pytest

from gojob_redis import bulk, task
from gojob_redis.bulk import drive, jobs
from gojob_redis.bulk.jobs import Job, JobRow, Order
from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.domain.filters import TaskFilter
from gojob_redis.domain.jobs import JobState, Kind, Verb
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions
from tests.stages.conftest import T0, Clock

APPS = ("default/a", "default/b", "default/c", "default/d", "default/e")


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop takes no rest, and a call is bounded by its numbers alone."""
    monkeypatch.setattr(drive, "REST_MAX_S", 0.0)
    monkeypatch.setattr(limits, "JOB_CPU_US", 60_000_000)


def order(verb: Verb = Verb.CANCEL, **changes: Any) -> Order:
    given: dict[str, Any] = {
        "namespace": "default", "app": "", "kind": Kind.TASKS, "verb": verb, "filter": TaskFilter(), "ids": 0,
        "as_of_ms": T0 + 1_000, "reason": "canceled", "pinned": False, "by": "key",
    } | changes  # fmt: skip
    return Order(**given)


async def submit(space: Partitions, app: str, count: int) -> list[str]:
    """So many tasks of an app, which nobody serves."""
    partition = await space.of_app(app)
    made = []
    for first in range(0, count, 100):
        items = [
            verbs.Submission(task=ids.submitted_id(partition.number, T0), handler=f"{app}/send", app=app)
            for _ in range(min(100, count - first))
        ]
        made += [each.task for each in (await task.submit(partition, items)).each]
    return made


async def begin(space: Partitions, given: Order | None = None, **changes: Any) -> str:
    """A job over all apps of the namespace."""
    ordered = given or order(**changes)
    units = await bulk.units_of_apps(space, "default", ordered.app)
    job, _known = await bulk.open_job(space, ordered, units, made_ms=T0)
    return job


async def stored(space: Partitions, job: str) -> Job:
    found = await bulk.find_job(space, job)
    assert found is not None
    return found


async def shown(space: Partitions, job: str) -> JobRow:
    return await bulk.show(space, await stored(space, job))


async def to_its_end(space: Partitions, job: str, driver: bulk.Bulk | None = None) -> JobRow:
    driver = driver or bulk.Bulk(space)
    for _ in range(200):
        await driver.run_once()
        if (await stored(space, job)).ended_ms is not None:
            return await shown(space, job)
    raise AssertionError("the job does not end")


async def states(space: Partitions, tasks: list[str]) -> set[str]:
    client: Any = space.clients.commands
    keys = [K.task(space.prefixes[ids.partition_of(each)], each) for each in tasks]
    return {(await client.hget(key, "state")).decode() for key in keys}


async def test_a_job_over_all_apps_of_a_namespace_ends_and_counts_what_it_did(space: Partitions) -> None:
    tasks = [each for app in APPS for each in await submit(space, app, 130)]
    others = await submit(space, "other/a", 5)

    job = await begin(space)
    row = await to_its_end(space, job)

    assert await states(space, tasks) == {"canceled"}
    assert await states(space, others) == {"created"}
    assert (row.state, row.matched, row.done, row.skipped, row.failed) == ("done", 650, 650, 0, 0)
    assert {each.state for each in row.partitions} == {JobState.DONE}
    assert row.ended_ms == T0


async def test_two_replicas_drive_one_job_and_nothing_is_done_twice(space: Partitions) -> None:
    tasks = [each for app in APPS for each in await submit(space, app, 250)]
    await to_its_end(space, await begin(space))
    first, second = bulk.Bulk(space), bulk.Bulk(space)

    job = await begin(space, order(Verb.RETRY))
    while (await stored(space, job)).ended_ms is None:
        await first.run_once()
        await second.run_once()

    row = await shown(space, job)
    assert (row.matched, row.done) == (len(tasks), len(tasks))
    assert await parents(space) == sorted(tasks)


async def parents(space: Partitions) -> list[str]:
    """The parent of each task that has one."""
    client: Any = space.clients.commands
    found = []
    async for key in client.scan_iter(match="*}:task:*", count=1_000):
        parent = await client.hget(key, "parent")
        if parent:
            found.append(parent.decode())
    return sorted(found)


async def test_a_replica_that_dies_behind_a_script_loses_nothing(
    space: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [each for app in APPS for each in await submit(space, app, 250)]
    await to_its_end(space, await begin(space))
    job = await begin(space, order(Verb.RETRY))
    calls = 0

    async def dies(*_args: object, **_options: object) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise ConnectionResetError("killed between the script and what follows")

    monkeypatch.setattr(bulk.Bulk, "rest", dies)
    row = await to_its_end(space, job)

    assert calls > 5
    assert (row.matched, row.done) == (len(tasks), len(tasks))
    assert await parents(space) == sorted(tasks)


async def test_a_gateway_that_dies_behind_the_record_has_started_the_job_all_the_same(space: Partitions) -> None:
    tasks = await submit(space, "default/a", 3)
    job = await begin(space)

    assert (await shown(space, job)).state is JobState.RUNNING
    await to_its_end(space, job)

    assert await states(space, tasks) == {"canceled"}


async def test_a_job_that_is_paused_does_nothing_until_it_goes_on(space: Partitions) -> None:
    tasks = await submit(space, "default/a", 150)
    job, driver = await begin(space), bulk.Bulk(space)
    await driver.run_once()

    await bulk.change_job(space, await stored(space, job), "pause", T0)
    await driver.run_once()
    await driver.run_once()

    row = await shown(space, job)
    assert (row.state, row.done) == (JobState.PAUSED, 100)
    await bulk.change_job(space, await stored(space, job), "resume", T0)
    assert (await to_its_end(space, job)).done == 150
    assert await states(space, tasks) == {"canceled"}


async def test_a_replica_that_did_not_hear_of_the_pause_can_do_nothing(space: Partitions) -> None:
    await submit(space, "default/a", 150)
    job, driver = await begin(space), bulk.Bulk(space)
    before = await stored(space, job)
    [progress] = await jobs.progress_of(space, before)
    await bulk.change_job(space, before, "pause", T0)

    await driver.work(before, progress)

    assert (await shown(space, job)).done == 0


async def test_a_canceled_job_stops_where_it_is_and_stays_so(space: Partitions) -> None:
    await submit(space, "default/a", 250)
    job, driver = await begin(space), bulk.Bulk(space)
    await driver.run_once()
    before = await stored(space, job)
    [progress] = await jobs.progress_of(space, before)

    await bulk.change_job(space, before, "cancel", T0)
    await driver.work(before, progress)
    row = await to_its_end(space, job)

    assert (row.state, row.done) == (JobState.CANCELED, 100)
    assert await bulk.change_job(space, await stored(space, job), "resume", T0) is None


async def test_partitions_that_were_not_told_are_told_by_the_replicas(
    space: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for app in APPS:
        await submit(space, app, 5)
    job = await begin(space)

    async def dies(*_args: object) -> None:
        raise Unavailable("killed behind the record", 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "tell", dies)
        with pytest.raises(Unavailable):
            await bulk.change_job(space, await stored(space, job), "cancel", T0)
    row = await to_its_end(space, job)

    assert (row.state, row.done) == (JobState.CANCELED, 0)


async def test_a_job_that_nobody_drives_is_taken_up_by_another_replica(space: Partitions, clock: Clock) -> None:
    tasks = await submit(space, "default/a", 5)
    job = await begin(space)
    other = bulk.Bulk(space, comes_first=lambda: False)

    await other.run_once()
    assert await states(space, tasks) == {"created"}
    clock.ms += drive.STANDSTILL_MS
    await to_its_end(space, job, other)

    assert await states(space, tasks) == {"canceled"}


async def test_a_job_that_does_not_end_in_7_days_is_canceled(space: Partitions, clock: Clock) -> None:
    await submit(space, "default/a", 150)
    job = await begin(space)
    await bulk.change_job(space, await stored(space, job), "pause", T0)

    clock.ms += limits.JOB_MS + 1
    row = await to_its_end(space, job)

    assert row.state is JobState.CANCELED


async def test_what_a_job_was_given_goes_with_its_end_and_the_record_after_7_days(space: Partitions) -> None:
    await submit(space, "default/a", 5)
    job = await begin(space)
    await to_its_end(space, job)

    client: Any = space.clients.commands
    assert [key async for key in client.scan_iter(match="*job_units*")] == []
    assert 0 < await client.pttl(K.job_record(CONTROL, job)) <= limits.JOB_KEPT_MS
    assert await bulk.Bulk(space).run_once() is None


async def test_ids_are_taken_up_once_each_in_their_partitions(space: Partitions) -> None:
    tasks = [each for app in APPS for each in await submit(space, app, 120)]
    given = order(ids=len(tasks))

    job, _ = await bulk.open_job(space, given, bulk.units_of_tasks(space, [*tasks, *tasks]), made_ms=T0)
    row = await to_its_end(space, job)

    assert await states(space, tasks) == {"canceled"}
    assert (row.matched, row.done) == (600, 600)


async def test_a_dry_run_counts_exactly_and_changes_nothing(space: Partitions, monkeypatch: pytest.MonkeyPatch) -> None:
    for app in APPS:
        await submit(space, app, 130)
    units = await bulk.units_of_apps(space, "default", "")

    assert await bulk.count(space, order(), units) == bulk.Count(650, is_exact=True)
    monkeypatch.setattr(limits, "COUNT_EXACT", 100)
    assert await bulk.count(space, order(), units) == bulk.Count(100, is_exact=False)

    assert await bulk.count(space, order(Verb.RETRY), units) == bulk.Count(0, is_exact=True)
