"""What a submission says is shown, and carried by every way that makes a task of it: by a trigger, by hand, again.

Every field of the bodies has a value below; a new field without one fails here, so that none is forgotten.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.api.bodies import BatchItem, TaskBody, TriggerBody, Work
from gojob_redis.domain import policies, states
from gojob_redis.engine.client import Client
from gojob_redis.view import Task
from tests.tools.served import APP, Served, serving

pytestmark = pytest.mark.real

SAID: dict[str, Any] = {
    "params": {"order": 4711},
    "labels": {"env": "gray"},
    "require": "host=db7",
    "priority": 8,
    "shards": 2,
    "shard_params": ["a", "b"],
    "retries": 3,
    "retry_interval_ms": 1_500,
    "retry_factor": 1.5,
    "retry_max_interval_ms": 60_000,
    "retry_jitter": 0.125,
    "run_limit_ms": 60_000,
    "queue_limit_ms": 3_600_000,
    "on_lost": "fault",
    "keep": "always",
}
"""Not one of them is a default."""
OF_THE_REQUEST = {
    "allow_unknown": "decides whether the request is taken",
    "delay_ms": "shown as at_ms; a task run again runs now",
    "at": "shown as at_ms; a task run again runs now",
    "idempotency_key": "decides whether the request is a repeat",
    "key": "shown; not a part of a trigger",
    "traceparent": "shown; not a part of a trigger",
    "unique": "decides whether the request is taken",
}
SHOWN_ELSEWHERE = {"shard_params": "with the runs, a page at a time"}


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def check(served: Served, task: str) -> None:
    """The task says all that was said."""
    shown = await served.get(f"/v1/tasks/{task}")
    assert {name: shown.get(name) for name in SAID if name not in SHOWN_ELSEWHERE} == {
        name: value for name, value in SAID.items() if name not in SHOWN_ELSEWHERE
    }
    runs = await served.get(f"/v1/tasks/{task}/runs")
    assert [run["param"] for run in runs["items"]] == SAID["shard_params"]


async def end(served: Served, task: str) -> None:
    await served.post(f"/v1/tasks/{task}/cancel")
    assert (await served.get(f"/v1/tasks/{task}"))["state"] == "canceled"


def test_every_field_of_a_submission_has_a_value_here() -> None:
    assert set(SAID) | set(OF_THE_REQUEST) == set(TaskBody.model_fields) | set(BatchItem.model_fields)
    assert set(SAID) | {"allow_unknown"} == set(Work.model_fields) | {policy.name for policy in policies.set_by("task")}
    assert not [name for name, value in SAID.items() if TaskBody.model_fields[name].default == value]
    assert not set(SAID) - set(SHOWN_ELSEWHERE) - set(Task.__dataclass_fields__)
    assert set(Work.model_fields) < set(TriggerBody.model_fields)


async def test_a_submission_is_shown_and_run_again_whole(served: Served) -> None:
    task = await served.submit(**SAID)
    await check(served, task)
    await end(served, task)
    await check(served, task)

    again = (await served.post(f"/v1/tasks/{task}/retry"))["id"]

    await check(served, again)
    await end(served, again)
    await check(served, (await served.post(f"/v1/tasks/{again}/retry"))["id"])


async def test_a_trigger_shows_and_hands_on_what_was_said(served: Served) -> None:
    shown = await served.put_trigger(**SAID)

    assert {name: shown[name] for name in SAID} == SAID
    task = (await served.post(f"{APP}/triggers/nightly/run"))["id"]
    await check(served, task)


async def test_the_priority_of_what_ran_is_still_known(served: Served) -> None:
    await served.enlist("send")
    task = await served.submit(priority=7)
    await served.start(task)
    await served.report(task)

    shown = await served.get(f"/v1/tasks/{task}")
    assert (shown["state"], shown["priority"]) == ("run_to_completion", 7)
    [row] = (await served.get("/v1/tasks", app="shop", handler="send", state="run_to_completion"))["items"]
    assert row["priority"] == 7


async def test_a_delayed_task_says_when_it_is_to_run(served: Served) -> None:
    at = 4_000_000_000_000
    task = await served.submit(at=at, priority=2)

    shown = await served.get(f"/v1/tasks/{task}")
    assert (shown["at_ms"], shown["priority"]) == (at, 2)


async def test_an_attempt_that_failed_before_its_start_was_recorded_says_when_it_began(served: Served) -> None:
    await served.enlist("send")
    task = await served.submit()

    await served.report(task, "error", b"\xa4oops", disposition="final")

    [attempt] = (await served.get(f"/v1/tasks/{task}"))["attempts"]
    assert attempt["started_ms"] is not None
    assert attempt["started_ms"] <= attempt["ended_ms"]


async def test_a_faulted_sharded_task_shows_the_first_error_and_counts(served: Served) -> None:
    await served.enlist("send", capacity=3)
    task = await served.submit(shards=3, retries=1)
    await served.report(f"{task}.0")
    await served.report(f"{task}.2", "error", b"\xa5first", disposition="final")
    await served.report(f"{task}.1", "error", b"\xa6second", disposition="final")

    shown = await served.get(f"/v1/tasks/{task}")

    assert (shown["state"], shown["error"], shown["failed_shard"], shown["failures"]) == ("faulted", "first", 2, 2)
    assert shown["shards_ended"] == {"run_to_completion": 1, "faulted": 2}


async def test_a_faulted_task_leaves_an_event_and_so_does_a_timeout_told_by_its_worker(served: Served) -> None:
    await served.enlist("send")
    task = await served.submit(run_limit_ms=1_000)
    await served.start(task)

    await served.report(task, "timeout")

    kinds = [event["kind"] for event in (await served.get("/v1/events", namespace="default", app="shop"))["items"]]
    assert kinds == ["faulted", "run_limit"]
    assert (await served.get(f"/v1/tasks/{task}"))["state"] == states.State.FAULTED


TRACE, OTHER = (f"00-0af7651916cd43dd8448eb211c80319c-{span}-01" for span in ("b7ad6b7169203331", "b7ad6b7169203332"))


async def trace_of(served: Served, task: str) -> str:
    return str((await served.get(f"/v1/tasks/{task}"))["traceparent"])


async def test_the_trace_of_a_request_is_that_of_its_tasks_unless_they_say_another(served: Served) -> None:
    await served.put_trigger()
    traced = {"headers": {"traceparent": TRACE}}
    path, one = f"{APP}/handlers/send/tasks", {"allow_unknown": True}
    plain = await served.submit()
    of_header = (await served.post(path, one, **traced))["id"]
    of_body = (await served.post(path, {**one, "traceparent": OTHER}, **traced))["id"]
    batch = (await served.post(f"{path}:batch", {"tasks": [one, {**one, "traceparent": OTHER}]}, **traced))["ids"]
    by_hand = (await served.post(f"{APP}/triggers/nightly/run", **traced))["id"]
    await end(served, of_header)
    again = (await served.post(f"/v1/tasks/{of_header}/retry"))["id"]

    found = [await trace_of(served, task) for task in (plain, of_header, of_body, *batch, by_hand, again)]

    assert found == ["", TRACE, OTHER, TRACE, OTHER, TRACE, TRACE]
    refused = await served.ask("POST", path, one, headers={"traceparent": "00-a-b-01"})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_traceparent")


async def test_a_repeat_under_another_trace_is_the_same_task(served: Served) -> None:
    path, key = f"{APP}/handlers/send/tasks", {"Idempotency-Key": "k"}
    body = {"allow_unknown": True}

    first = await served.post(path, {**body, "traceparent": TRACE}, headers=key)
    second = await served.post(path, {**body, "traceparent": OTHER}, headers=key)

    assert (second["id"], second["duplicate"]) == (first["id"], True)
