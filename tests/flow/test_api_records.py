"""What is kept of a task besides its states: who had it, what was tried in vain, how a cancel went."""

from collections.abc import AsyncIterator

import pytest

from gojob_redis import task
from gojob_redis.domain import ids, verbs
from gojob_redis.engine.client import Client
from tests.tools.served import APP, Served, serving


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def test_a_finished_task_tells_who_had_it_although_that_worker_is_gone(served: Served) -> None:
    session = await served.enlist("send")
    run = await served.submit()
    assert (await served.get(f"/v1/tasks/{run}"))["ran_on"] == {"host": "db7", "pid": 7, "sdk": "", "address": ""}
    await served.report(run)

    assert (await served.ask("POST", f"{APP}/workers/{session}:disconnect")).status_code == 204

    assert (await served.get(f"/v1/tasks/{run}"))["ran_on"] == {"host": "db7", "pid": 7, "sdk": "", "address": ""}


async def test_a_task_that_nobody_had_tells_nobody(served: Served) -> None:
    assert (await served.get(f"/v1/tasks/{await served.submit()}"))["ran_on"] is None


async def test_failures_losses_and_rejections_are_counted_apart(served: Served) -> None:
    await served.enlist("send")
    run = await served.submit(retries=3)
    partition = served.space[ids.partition_of(run)]
    record = await served.record(run)
    release = verbs.Release(record["session"], run, 1, record["fence"], "rejected", 0)
    assert await task.release(partition, [release]) == ["accepted"]
    session = await served.enlist("send")
    await served.start(run)
    assert (await served.ask("POST", f"{APP}/workers/{session}:disconnect")).status_code == 204

    shown = await served.get(f"/v1/tasks/{run}")

    assert (shown["failures"], shown["losses"], shown["rejections"]) == (0, 0, 1)
    [own] = (await served.get(f"/v1/tasks/{run}/runs"))["items"]
    assert own["rejections"] == 1


async def test_a_cancel_tells_when_it_was_asked_sent_and_heard(served: Served) -> None:
    await served.enlist("send")
    run = await served.submit()
    await served.start(run)
    assert (await served.get(f"/v1/tasks/{run}"))["cancel"] is None

    await served.post(f"/v1/tasks/{run}/cancel")

    asked = (await served.get(f"/v1/tasks/{run}"))["cancel"]
    assert asked["asked_ms"] == asked["sent_ms"] > 0
    assert asked["heard_ms"] is None
    partition, record = served.space[ids.partition_of(run)], await served.record(run)
    assert await task.acknowledge(partition, [verbs.Heard(record["session"], run, 1)]) == ["ok"]
    assert (await served.get(f"/v1/tasks/{run}"))["cancel"]["heard_ms"] >= asked["asked_ms"]
