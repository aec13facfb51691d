"""What is kept of a task besides its states: who had it, what was tried in vain, how a cancel went."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis import task
from gojob_redis.domain import ids, limits, verbs
from gojob_redis.engine.client import Client
from gojob_redis.maintenance.retention import Retire
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


# ---- by whom shards were run -----------------------------------------------------------------------------------------

DB7 = {"host": "db7", "pid": 7, "sdk": "", "address": ""}


async def cards(served: Served) -> list[str]:
    return [name for name in await served.dump() if "}:cards:" in name]


async def test_each_shard_tells_who_had_it_although_that_worker_is_gone(served: Served) -> None:
    one, other = await served.enlist(capacity=1, name="one"), await served.enlist(capacity=1, name="other")
    task_id = await served.submit(shards=3)
    for shard in (0, 1):
        await served.report(f"{task_id}.{shard}")
    for session in (one, other):
        await served.ask("POST", f"{APP}/workers/{session}:disconnect")

    runs = (await served.get(f"/v1/tasks/{task_id}/runs"))["items"]
    columns = await served.get(f"/v1/tasks/{task_id}/runs/columns")

    assert {run["worker"] for run in runs[:2]} == {"one", "other"}
    assert [run["ran_on"] for run in runs[:2]] == [DB7, DB7]
    assert [columns["workers"][at]["name"] for at in columns["worker"][:2]] == [run["worker"] for run in runs[:2]]
    assert [worker["ran_on"] for worker in columns["workers"]] == [DB7, DB7]


async def test_sessions_of_one_process_are_one_worker_of_the_columns(served: Served) -> None:
    task_id = await served.submit(shards=2)
    for shard in (0, 1):
        session = await served.enlist(capacity=1)
        await served.report(f"{task_id}.{shard}")
        await served.ask("POST", f"{APP}/workers/{session}:disconnect")

    columns = await served.get(f"/v1/tasks/{task_id}/runs/columns")

    assert (columns["worker"], columns["workers"]) == ([0, 0], [{"name": "worker-1", "ran_on": DB7}])


async def test_a_worker_that_is_not_known_any_more_is_told_by_its_name(served: Served) -> None:
    session = await served.enlist()
    task_id = await served.submit()
    await served.report(task_id)
    await served.ask("POST", f"{APP}/workers/{session}:disconnect")
    client: Any = served.space.clients.commands
    await client.unlink(*await cards(served))

    columns = await served.get(f"/v1/tasks/{task_id}/runs/columns")

    assert columns["workers"] == [{"name": "worker-1", "ran_on": None}]
    assert (await served.get(f"/v1/tasks/{task_id}"))["ran_on"] is None


async def test_who_a_worker_was_is_told_as_long_as_the_tasks_that_it_ran_are_kept(served: Served) -> None:
    session = await served.enlist()
    client: Any = served.space.clients.commands
    await served.ask("POST", f"{APP}/workers/{session}:disconnect")
    [card] = await cards(served)
    usual_ms = await client.pttl(card)
    body = {"retention": {"done_ms": 90 * limits.DAY_MS}}
    assert (await served.ask("PUT", "/v1/namespaces/default", body)).status_code == 200

    await Retire(served.space).run_once()

    assert usual_ms <= limits.CARDS_MS
    assert 97 * limits.DAY_MS < await client.pttl(card) <= 98 * limits.DAY_MS
