"""Policies over HTTP: what is said, what a namespace has as defaults, and what holds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.engine.client import Client
from gojob_redis.planning.defaults import Follow
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


async def follow(served: Served) -> int:
    """What a trigger replica does when defaults changed; how many triggers followed."""
    replica = Follow(served.space)
    while await replica.run_once() is not None:
        pass
    return replica.renewed


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


async def test_a_trigger_that_is_set_takes_the_defaults_that_hold(served: Served) -> None:
    await served.put_trigger(schedule=MANUAL)
    await set_defaults(served, retries=3)
    assert (await served.put_trigger(schedule=MANUAL))["retries"] == 3

    await set_defaults(served, retries=None)

    assert (await served.put_trigger(schedule=MANUAL))["retries"] == 0


async def test_a_trigger_follows_new_defaults_and_tells_whose_they_are(served: Served) -> None:
    made = await served.put_trigger(retries=1)
    paused = await served.put_trigger("paused", schedule=MANUAL, enabled=False)
    await set_defaults(served, retries=3, priority=7, overlap="allow")

    await follow(served)

    shown = await served.get(f"/v1/apps/default/shop/triggers/{made['name']}")
    assert (shown["retries"], shown["priority"], shown["overlap"]) == (1, 7, "allow")
    assert {name: shown["policies_from"][name] for name in ("retries", "priority", "overlap", "keep")} == {
        "retries": "trigger", "priority": "namespace", "overlap": "namespace", "keep": "usual",
    }  # fmt: skip
    assert shown["policies_set"] == ["retries"]
    assert {name: shown[name] for name in ("revision", "changed_ms", "next_times", "params")} == {
        name: made[name] for name in ("revision", "changed_ms", "next_times", "params")
    }
    assert (await served.get(f"/v1/apps/default/shop/triggers/{paused['name']}"))["retries"] == 3

    await served.enlist("send")
    await served.tell(defaults={"priority": 2})
    await follow(served)

    shown = await served.get(f"/v1/apps/default/shop/triggers/{made['name']}")
    assert (shown["priority"], shown["policies_from"]["priority"]) == (2, "handler")


async def test_what_was_set_with_the_defaults_that_hold_has_nothing_to_follow(served: Served) -> None:
    await set_defaults(served, retries=3)
    await served.enlist("send")
    await served.tell(defaults={"priority": 2, "retry_factor": 1.5})
    await served.put_trigger(schedule=MANUAL)

    assert await follow(served) == 0


async def test_a_person_s_change_for_the_revision_he_saw_is_taken_after_defaults_changed(served: Served) -> None:
    made = await served.put_trigger(schedule=MANUAL)
    await set_defaults(served, retries=3)
    await follow(served)

    changed = await served.put_trigger(schedule=MANUAL, revision=made["revision"], priority=1)

    assert (changed["revision"], changed["retries"], changed["priority"]) == (made["revision"] + 1, 3, 1)


async def test_defaults_are_refused_whole_with_the_field_and_its_limit(served: Served) -> None:
    body = {"defaults": {"priority": 1, "retries": 101}}

    refused = await served.ask("PUT", "/v1/namespaces/default", body)

    told = refused.json()
    assert (refused.status_code, told["code"], told["field"], told["limit"]) == (
        400, "bad_policy", "defaults.retries", 100,
    )  # fmt: skip
    assert (await served.get("/v1/namespaces/default"))["defaults"] == {}


async def test_a_handlers_default_goes_behind_what_is_said_and_before_its_namespaces(served: Served) -> None:
    await set_defaults(served, retries=1, priority=1, run_limit_ms=1_000, overlap="allow")
    await served.enlist("send")
    await served.tell(defaults={"retries": 2, "priority": 2, "overlap": "skip"})

    task = await served.get(f"/v1/tasks/{await served.submit(priority=3)}")
    made = await served.put_trigger(schedule=MANUAL, priority=3)

    for shown in (task, made):
        assert (shown["retries"], shown["priority"], shown["run_limit_ms"], shown["on_lost"]) == (2, 3, 1_000, "retry")
    assert made["overlap"] == "allow"
    sources = {
        name: made["policies_from"][name] for name in ("priority", "retries", "run_limit_ms", "on_lost", "overlap")
    }
    assert sources == {
        "priority": "trigger", "retries": "handler", "run_limit_ms": "namespace", "on_lost": "usual",
        "overlap": "namespace",
    }  # fmt: skip
    assert (await served.get(f"/v1/apps/default/shop/triggers/{made['name']}"))["policies_from"] == made[
        "policies_from"
    ]


async def test_of_several_live_versions_the_newest_sets_the_defaults_also_for_a_trigger_that_is_paused(
    served: Served,
) -> None:
    await served.enlist("send")
    await served.tell(defaults={"retries": 2})
    made = await served.put_trigger(schedule=MANUAL)
    await served.tell(defaults={"retries": 4}, version="2")

    assert (await served.get(f"/v1/tasks/{await served.submit()}"))["retries"] == 4
    assert (await served.get(f"/v1/apps/default/shop/triggers/{made['name']}"))["retries"] == 2
    await served.post(f"/v1/apps/default/shop/triggers/{made['name']}/pause")
    assert (await served.get(f"/v1/apps/default/shop/triggers/{made['name']}"))["retries"] == 4
