"""Policies over HTTP: what is said, what a namespace has as defaults, and what holds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.engine.client import Client
from tests.tools.served import Served, serving

MANUAL = {"kind": "manual"}


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def set_defaults(served: Served, **defaults: Any) -> dict[str, Any]:
    answer = await served.ask("PUT", "/v1/namespaces/default", {"defaults": defaults})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_submission_has_what_it_says_else_its_namespaces_default_else_the_usual(served: Served) -> None:
    shown = await set_defaults(served, retries=3, run_limit_ms=60_000, overlap="allow")
    assert shown["defaults"] == {"retries": 3, "run_limit_ms": 60_000, "overlap": "allow"}
    assert (await served.get("/v1/namespaces/default"))["defaults"] == shown["defaults"]

    task = await served.get(f"/v1/tasks/{await served.submit(retries=0)}")

    assert (task["retries"], task["run_limit_ms"], task["priority"]) == (0, 60_000, 5)


async def test_a_trigger_tells_which_policies_were_set_and_shows_what_holds(served: Served) -> None:
    await set_defaults(served, retries=3, overlap="allow")

    made = await served.put_trigger(schedule=MANUAL, retries=0, priority=5)

    assert made["policies_set"] == ["priority", "retries"]
    assert (made["retries"], made["priority"], made["overlap"]) == (0, 5, "allow")


async def test_a_trigger_takes_new_defaults_when_it_is_set_again(served: Served) -> None:
    await served.put_trigger(schedule=MANUAL)
    await set_defaults(served, retries=3)
    assert (await served.put_trigger(schedule=MANUAL))["retries"] == 3

    await set_defaults(served, retries=None)

    assert (await served.put_trigger(schedule=MANUAL))["retries"] == 0


async def test_defaults_are_refused_whole_with_the_field_and_its_limit(served: Served) -> None:
    body = {"defaults": {"priority": 1, "retries": 101}}

    refused = await served.ask("PUT", "/v1/namespaces/default", body)

    told = refused.json()
    assert (refused.status_code, told["code"], told["field"], told["limit"]) == (
        400, "bad_policy", "defaults.retries", 100,
    )  # fmt: skip
    assert (await served.get("/v1/namespaces/default"))["defaults"] == {}
