"""GET /v1/tasks?facets=: how many tasks there are of each state, handler and failure."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import tokens
from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.fingerprint import failure_of, packed
from gojob_redis.engine.client import Client
from gojob_redis.maintenance.fold import Fold
from gojob_redis.planning.planner import engine_time
from gojob_redis.view import task_facets
from tests.tools.served import APP, SHOP, Served, serving

pytestmark = pytest.mark.real

NO_ORDER, NO_USER = failure_of("KeyError", "no order 7"), failure_of("KeyError", "no user")


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def fail(served: Served, run: str, *failure: Any) -> None:
    """The worker's report that a run failed for good."""
    record, partition = await served.record(run), ids.partition_of(run.partition(".")[0])
    held = (record["session"], run, int(record["attempt"]), record["fence"])
    report = verbs.Report(*held, "error", 1, b"\x01", "final", *map(packed, failure))
    assert (await served.space[partition].call(verbs.report([report]))).words == ["accepted"]


async def counted(served: Served, *facets: str, kind: str = "admin", **query: Any) -> dict[str, dict[str, int]]:
    """Counts by value of each facet, which are all exact and whole."""
    answer = await served.ask("GET", "/v1/tasks", kind=kind, params={**query, "facets": facets, "limit": 1})
    assert answer.status_code == 200, answer.text
    for facet in answer.json()["facets"]:
        assert facet["is_whole"], facet
        assert all(count["is_exact"] for count in facet["counts"])
    return {each["by"]: {row["value"]: row["count"] for row in each["counts"]} for each in answer.json()["facets"]}


async def shop(served: Served) -> dict[str, str]:
    """Tasks of all states, of two handlers; the ids of some."""
    await served.enlist("send", "mail", capacity=9)
    done, mailed, canceled, *failed = [
        await served.submit("send"),
        await served.submit("mail"),
        *[await served.submit("send") for _ in range(3)],
        await served.submit("mail"),
    ]
    for task in (done, mailed):
        await served.report(task)
    await served.post(f"/v1/tasks/{canceled}/cancel")
    await served.report(canceled, "canceled")
    for task, failure in zip(failed, ([NO_ORDER], [], [NO_ORDER]), strict=True):
        await fail(served, task, *failure)
    runs, bound = await served.submit(), await served.submit()
    await served.start(runs)
    waits, later = await served.submit(labels={"env": "gray"}), await served.submit(delay_ms=60_000)
    await Fold(served.space).run_once()
    return {"done": done, "runs": runs, "bound": bound, "waits": waits, "later": later, "failed": failed[0]}


async def test_counts_follow_what_is_asked_for_but_of_their_own_subject(served: Served) -> None:
    await shop(served)
    states = {"run_to_completion": 2, "faulted": 3, "canceled": 1, "running": 1, "waiting_to_run": 1, "created": 2}
    send, mail = f"{SHOP}/send", f"{SHOP}/mail"
    now_ms = await engine_time(served.space[0])

    assert await counted(served, "state") == {"state": states}
    assert await counted(served, "state", state="faulted") == {"state": states}
    assert await counted(served, "handler", state="faulted") == {"handler": {send: 2, mail: 1}}
    assert await counted(served, "handler", "state", app="shop", handler="mail") == {
        "handler": {send: 8, mail: 2},
        "state": {"run_to_completion": 1, "faulted": 1},
    }
    assert await counted(served, "error") == {"error": {NO_ORDER.digest: 2, "": 1}}
    assert await counted(served, "error", app="shop", handler="mail") == {"error": {NO_ORDER.digest: 1}}
    assert await counted(served, "error", "state", state="run_to_completion") == {"error": {}, "state": states}
    assert await counted(served, "state", label="env=gray") == {"state": {"created": 1}}
    assert await counted(served, "state", reason="error") == {"state": {"faulted": 3}}
    assert await counted(served, "handler", worker="worker-1", state="run_to_completion") == {
        "handler": {send: 1, mail: 1}
    }
    [none] = (await served.get("/v1/tasks", facets="state", **{"from": now_ms + 60_000}))["facets"]
    assert none == {"by": "state", "counts": [], "is_whole": True}
    assert await counted(served, "state", to=now_ms + 60_000) == {"state": states}


async def test_a_failure_is_told_by_its_type_and_message(served: Served) -> None:
    await shop(served)

    [facet] = (await served.get("/v1/tasks", facets="error"))["facets"]

    assert [(row["value"], row["about"]) for row in facet["counts"]] == [
        (NO_ORDER.digest, "KeyError: no order #"),
        ("", ""),
    ]


async def test_each_failure_that_is_counted_is_a_filter(served: Served) -> None:
    made = await shop(served)
    digest, send, mail = NO_ORDER.digest, f"{SHOP}/send", f"{SHOP}/mail"

    rows = (await served.get("/v1/tasks", error=digest))["items"]
    slow = (await served.get("/v1/tasks", error=digest, sort="slowest"))["items"]

    assert (len(rows), made["failed"] in {row["id"] for row in rows}) == (2, True)
    assert {row["id"] for row in rows} == {row["id"] for row in slow}
    assert await counted(served, "error", "state", "handler", error=digest) == {
        "error": {digest: 2, "": 1},
        "state": {"faulted": 2},
        "handler": {send: 1, mail: 1},
    }
    assert await counted(served, "state", error=NO_USER.digest) == {"state": {}}
    for query in ({"error": "no"}, {"error": digest, "key": "order-7"}):
        answer = await served.ask("GET", "/v1/tasks", params=query)
        assert (answer.status_code, answer.json()["field"]) == (400, "error")


async def test_the_tasks_of_a_trigger_are_counted_by_its_slots(served: Served) -> None:
    await served.enlist("send")
    await served.put_trigger()
    ran = [str((await served.post(f"{APP}/triggers/nightly/run"))["id"]) for _ in range(3)]
    await served.report(ran[0])
    await fail(served, ran[1], NO_USER)
    await served.submit()

    assert await counted(served, "state", "error", app="shop", trigger="nightly") == {
        "state": {"run_to_completion": 1, "faulted": 1, "waiting_to_run": 1},
        "error": {NO_USER.digest: 1},
    }


async def test_a_sharded_task_is_counted_once_and_by_the_failure_of_the_shard_whose_error_it_shows(
    served: Served,
) -> None:
    await served.enlist("send", capacity=2)
    task = await served.submit(shards=3)
    assert await counted(served, "state") == {"state": {"waiting_to_run": 1}}

    await fail(served, f"{task}.1", NO_USER)
    await fail(served, f"{task}.0", NO_ORDER)
    await served.report(f"{task}.2")

    assert await counted(served, "state", "error") == {"state": {"faulted": 1}, "error": {NO_USER.digest: 1}}
    assert (await served.record(f"{task}.0"))["failure"] == NO_ORDER.digest


async def test_a_run_that_is_tried_again_has_no_failure_yet(served: Served) -> None:
    await served.enlist("send")
    task = await served.submit(retries=1)
    record = await served.record(task)
    held = (record["session"], task, int(record["attempt"]), record["fence"])
    report = verbs.Report(*held, "error", 1, b"\x01", "", packed(NO_ORDER))

    await served.space[ids.partition_of(ids.TaskId(task))].call(verbs.report([report]))

    assert "failure" not in await served.record(task)


async def test_a_kept_task_is_counted_like_others(served: Served) -> None:
    await served.enlist("send")
    for keep in ("always", "usual"):
        await served.report(await served.submit(keep=keep))

    assert await counted(served, "state", "handler") == {
        "state": {"run_to_completion": 2},
        "handler": {f"{SHOP}/send": 2},
    }


async def test_beyond_its_limit_a_count_says_at_least(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop(served)
    monkeypatch.setattr(limits, "FACET_LOOKS", 1)

    facets = {each["by"]: each for each in (await served.get("/v1/tasks", facets=["state", "error"]))["facets"]}

    states = {row["value"]: (row["count"], row["is_exact"]) for row in facets["state"]["counts"]}
    assert states["run_to_completion"] == (2, False)
    assert not any(is_exact for _count, is_exact in states.values())
    assert (facets["state"]["is_whole"], facets["error"]["is_whole"]) == (False, False)


async def test_a_count_that_takes_several_calls_is_the_same(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop(served)
    for _ in range(2):
        await served.enlist("copy", capacity=1)
    await served.submit("copy", shards=3)
    at_once = await counted(served, "state", "handler", "error")

    monkeypatch.setattr(limits, "SEARCH_LOOKS", 1)

    assert await counted(served, "state", "handler", "error") == at_once
    assert at_once["handler"][f"{SHOP}/copy"] == 1


async def test_only_the_most_frequent_values_are_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop(served)
    monkeypatch.setattr(task_facets, "VALUES", 1)

    [facet] = (await served.get("/v1/tasks", facets="handler"))["facets"]

    assert [(row["value"], row["count"]) for row in facet["counts"]] == [(f"{SHOP}/send", 8)]
    assert facet["is_whole"] is False


async def test_only_what_a_token_covers_is_counted(served: Served) -> None:
    await shop(served)
    served.tokens["other"] = (await tokens.create_token(served.space, "api", scope=["default/other"])).token

    assert await counted(served, "state", "handler", "error", kind="other") == {"state": {}, "handler": {}, "error": {}}


async def test_the_tasks_of_a_key_and_the_children_of_a_task_are_not_counted(served: Served) -> None:
    task = await served.submit()

    for query in ({"key": "order-7"}, {"parent": task}):
        answer = await served.ask("GET", "/v1/tasks", params={"facets": "state", **query})
        assert (answer.status_code, answer.json()["field"]) == (400, "facets")
    assert (await served.get("/v1/tasks"))["facets"] == []
