"""Retry back-off over HTTP: a submission and a trigger say it, answers show it, and a failure goes by it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.domain import ids
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_redis.view.records import clock_of
from tests.tools.served import Served, serving

BACKOFF: dict[str, Any] = {
    "retries": 3, "retry_interval_ms": 60_000, "retry_factor": 2.5, "retry_max_interval_ms": 100_000,
    "retry_jitter": 0.05,
}  # fmt: skip

PATIENCE_MS = 30_000
"""What may pass between the failure and the look at it."""


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def check(served: Served, task: str) -> None:
    """It shows its back-off, and its first failure waits 60 s, a twentieth more or less."""
    shown = await served.get(f"/v1/tasks/{task}")
    assert {name: shown[name] for name in BACKOFF} == BACKOFF
    await served.enlist()
    await served.start(task)
    await served.report(task, "error")
    record = await served.record(task)
    assert (record["place"], record["tries"], record["retry_factor"]) == ("timer", "1", "2500")
    partition = ids.partition_of(task)
    key = K.deadlineq(served.space.prefixes[partition], "default/shop/send")
    client: Any = served.space.clients.commands
    wait_ms = await client.zscore(key, task) - (await clock_of(served.space[partition])).steady
    assert 57_000 - PATIENCE_MS <= wait_ms <= 63_000


async def test_a_submission_backs_off(served: Served) -> None:
    await check(served, await served.submit(**BACKOFF))


async def test_a_trigger_backs_off(served: Served) -> None:
    made = await served.put_trigger(
        schedule={"kind": "manual"}, params=None, labels={}, require="", shards=1, **BACKOFF
    )
    assert {name: made[name] for name in BACKOFF} == BACKOFF

    await check(served, (await served.post("/v1/apps/default/shop/triggers/nightly/run"))["id"])


@pytest.mark.parametrize(("name", "value"), [("retry_factor", 0.5), ("retry_factor", 101), ("retry_jitter", 1.5)])
async def test_a_ratio_out_of_its_bounds_is_refused(served: Served, name: str, value: float) -> None:
    path = "/v1/apps/default/shop/handlers/send/tasks"

    refused = await served.ask("POST", path, {"allow_unknown": True, name: value})

    assert (refused.status_code, refused.json()["field"]) == (400, name)
