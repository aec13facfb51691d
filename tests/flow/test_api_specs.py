"""What handlers tell, over HTTP: shown, checked before anything waits, and defaults of policies."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from tests.tools.served import APP, SHOP, Served, serving

PARAMS = {
    "type": "object",
    "properties": {"order_id": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["order_id"],
    "additionalProperties": False,
}
TASKS = f"{APP}/handlers/send/tasks"
MANUAL = {"kind": "manual"}


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        await served.enlist("send")
        yield served


async def refused(served: Served, method: str, path: str, body: Any) -> Any:
    """The problem of a request whose parameters are refused; nothing was queued."""
    before = await served.dump()
    answer = await served.ask(method, path, body)
    assert answer.status_code == 422, answer.text
    assert await served.dump() == before
    problem = answer.json()
    assert problem["code"] == "params_invalid"
    return problem


async def test_a_handler_shows_what_its_versions_told_and_who_has_them(served: Served) -> None:
    digest = await served.tell(params=PARAMS, version="1.4", description="Send.", defaults={"retries": 3, "mood": 1})

    [version] = (await served.get(f"{APP}/handlers/send"))["versions"]

    assert (version["digest"], version["version"], version["description"]) == (digest, "1.4", "Send.")
    assert (version["params"], version["defaults"]) == (PARAMS, {"retries": 3})
    assert (version["live"], version["workers"]) == (True, 0)
    assert version["first_ms"] == version["heard_ms"] > 0


async def test_a_handler_that_told_nothing_has_no_versions(served: Served) -> None:
    assert (await served.get(f"{APP}/handlers/send"))["versions"] == []
    assert (await served.get(f"{APP}/handlers/other"))["versions"] == []


async def test_a_submission_that_does_not_fit_is_refused_with_the_place(served: Served) -> None:
    await served.tell(params=PARAMS)

    problem = await refused(served, "POST", TASKS, {"params": {"order_id": "7"}})

    assert (problem["field"], problem["pointer"]) == ("params", "/params/order_id")
    assert problem["detail"] == "params/order_id is text, not a whole number."
    assert f"{SHOP}/handlers/send" in problem["hint"]
    assert (await served.ask("POST", TASKS, {"params": {"order_id": 7}})).status_code == 201


async def test_of_many_the_one_that_does_not_fit_is_named_and_none_is_taken(served: Served) -> None:
    await served.tell(params=PARAMS)
    body = {"tasks": [{"params": {"order_id": 1}}, {"params": {"order_id": 1, "x": 2}}]}

    problem = await refused(served, "POST", f"{TASKS}:batch", body)

    assert (problem["field"], problem["pointer"]) == ("tasks[1].params", "/tasks/1/params/x")


async def test_no_parameters_are_checked_as_none(served: Served) -> None:
    await served.tell(params=PARAMS)

    assert (await refused(served, "POST", TASKS, {}))["pointer"] == "/params/order_id"


async def test_who_allows_what_is_unknown_leaves_the_check_to_the_worker(served: Served) -> None:
    await served.tell(params=PARAMS)

    assert (await served.ask("POST", TASKS, {"params": 7, "allow_unknown": True})).status_code == 201


async def test_a_trigger_that_does_not_fit_is_refused(served: Served) -> None:
    await served.tell(params=PARAMS)
    body = {"handler": "send", "schedule": MANUAL, "params": {"order_id": None}}

    problem = await refused(served, "PUT", f"{APP}/triggers/nightly", body)

    assert problem["pointer"] == "/params/order_id"


async def test_a_run_by_hand_is_checked_with_its_own_parameters_or_those_of_its_trigger(served: Served) -> None:
    await served.put_trigger(schedule=MANUAL, params={"order_id": 1})
    await served.put_trigger("old", schedule=MANUAL, params={"id": 1})
    await served.tell(params=PARAMS)

    assert (await served.ask("POST", f"{APP}/triggers/nightly/run")).status_code == 201
    assert (await refused(served, "POST", f"{APP}/triggers/old/run", None))["pointer"] == "/params/order_id"
    problem = await refused(served, "POST", f"{APP}/triggers/nightly/run", {"params": {"order_id": 1, "y": 1}})
    assert (problem["pointer"], "allow_unknown" in problem["hint"]) == ("/params/y", False)


async def test_a_retry_is_checked_too(served: Served) -> None:
    run = await served.submit(params={"id": 1})
    await served.report(run, "error", disposition="final")
    await served.tell(params=PARAMS)

    assert (await refused(served, "POST", f"/v1/tasks/{run}/retry", None))["pointer"] == "/params/order_id"


async def test_parameters_are_taken_if_any_live_version_takes_them(served: Served) -> None:
    await served.tell(params=PARAMS)
    other = await served.tell(params={"type": "object", "required": ["id"]}, version="2")

    for params in ({"order_id": 1}, {"id": 1}):
        assert (await served.ask("POST", TASKS, {"params": params})).status_code == 201
    assert (await refused(served, "POST", TASKS, {"params": {}}))["pointer"] in ("/params/id", "/params/order_id")

    await silence(served, other)
    assert (await refused(served, "POST", TASKS, {"params": {"id": 1}}))["pointer"] == "/params/order_id"


async def test_a_version_that_tells_no_schema_takes_anything(served: Served) -> None:
    await served.tell(params=PARAMS)
    await served.tell(version="2")

    assert (await served.ask("POST", TASKS, {"params": {"id": 1}})).status_code == 201


async def test_nothing_is_checked_where_no_version_is_live(served: Served) -> None:
    await silence(served, await served.tell(params=PARAMS))

    assert (await served.ask("POST", TASKS, {"params": {"id": 1}})).status_code == 201
    [version] = (await served.get(f"{APP}/handlers/send"))["versions"]
    assert version["live"] is False


async def test_a_new_version_is_read_before_anything_is_refused(served: Served) -> None:
    await served.tell(params=PARAMS)
    assert (await served.ask("POST", TASKS, {"params": {"order_id": 1}})).status_code == 201
    await served.tell(params={"type": "object"}, version="2", forget=False)

    assert (await served.ask("POST", TASKS, {"params": {"id": 1}})).status_code == 201


async def test_what_a_spec_cannot_mean_is_passed_over(served: Served) -> None:
    digest = await served.tell(params=PARAMS)
    client: Any = served.space.clients.commands
    prefix = served.space.prefixes[(await served.space.of_app(SHOP)).number]
    await client.set(K.spec(prefix, SHOP, digest), b"spoiled")
    await client.hset(K.specs(prefix, f"{SHOP}/send"), "d" * 22, "spoiled")

    assert (await served.ask("POST", TASKS, {"params": {"id": 1}})).status_code == 201
    assert [each["params"] for each in (await served.get(f"{APP}/handlers/send"))["versions"]] == [None]


async def silence(served: Served, digest: str) -> None:
    """A version whose workers are gone for long."""
    client: Any = served.space.clients.commands
    partition = await served.space.of_app(SHOP)
    await client.hset(K.specs(partition.prefix, f"{SHOP}/send"), digest, "1 1")
    served.app.state.edge.handlers.forget(f"{SHOP}/send")


async def test_a_handler_that_came_a_moment_ago_is_known_although_it_was_not_before(served: Served) -> None:
    await served.submit("late")

    await served.enlist("late")

    assert (await served.ask("POST", f"{APP}/handlers/late/tasks", {})).status_code == 201
