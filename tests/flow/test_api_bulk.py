"""Jobs over the API: who may ask for them, what they tell, how they are paused and canceled."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis import bulk
from gojob_redis.bulk import drive
from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.fingerprint import failure_of, packed
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_redis.planning.planner import Planner
from tests.tools.served import APP, Served, serving

pytestmark = pytest.mark.real

ALL = {"verb": "cancel", "filter": {}}


@pytest.fixture
async def served(client: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(drive, "REST_MAX_S", 0.0)
    monkeypatch.setattr(limits, "JOB_CPU_US", 60_000_000)
    async with serving(client) as served:
        yield served


async def to_its_end(served: Served, job: str) -> Any:
    driver = bulk.Bulk(served.space)
    for _ in range(100):
        await driver.run_once()
        row = await served.get(f"/v1/bulk/{job}")
        if row["ended_ms"]:
            return row
    raise AssertionError(f"the job does not end: {row}")


async def many(served: Served, count: int, **body: Any) -> list[str]:
    tasks = [{"allow_unknown": True, **body} for _ in range(count)]
    return list((await served.post(f"{APP}/handlers/send/tasks:batch", {"tasks": tasks}))["ids"])


async def states(served: Served, tasks: list[str]) -> set[str]:
    return {(await served.get(f"/v1/tasks/{task}"))["state"] for task in tasks}


async def test_a_job_cancels_what_the_filter_means_and_tells_what_it_did(served: Served) -> None:
    gray = await many(served, 5, labels={"env": "gray"})
    others = await many(served, 3)

    answer = await served.ask("POST", "/v1/bulk", {"verb": "cancel", "filter": {"labels": {"env": "gray"}}})
    assert answer.status_code == 202
    begun = answer.json()
    assert answer.headers["Location"] == f"/v1/bulk/{begun['id']}"
    assert (begun["state"], begun["matched"], begun["by"] != "") == ("running", 0, True)
    assert begun["filter"] == {
        "handler": "", "trigger": "", "state": [], "reason": [], "worker": "", "parent": "",
        "error": "", "labels": {"env": "gray"}, "from_ms": None, "to_ms": None,
    }  # fmt: skip
    row = await to_its_end(served, begun["id"])

    assert await states(served, gray) == {"canceled"}
    assert await states(served, others) == {"created"}
    assert (row["state"], row["matched"], row["done"], row["skipped"], row["failed"]) == ("done", 5, 5, 0, 0)
    assert [each["done"] for each in row["partitions"]] == [5]


async def test_ids_are_canceled_and_what_could_not_be_is_told_with_the_reason(served: Served) -> None:
    one, two = await many(served, 2)
    await served.post(f"/v1/tasks/{two}/cancel")
    never = one[:-4] + "0000"

    job = (await served.post("/v1/bulk", {"verb": "cancel", "ids": [one, two, never, one]}))["id"]
    row = await to_its_end(served, job)

    assert (row["ids"], row["matched"], row["done"], row["skipped"]) == (3, 3, 1, 2)
    assert row["reasons"] == [
        {"outcome": "skipped", "reason": "already", "count": 1},
        {"outcome": "skipped", "reason": "gone", "count": 1},
    ]
    assert {(each["id"], each["reason"]) for each in row["samples"]} == {(two, "already"), (never, "gone")}


async def test_a_retry_makes_what_faulted_once_more(served: Served) -> None:
    tasks = await many(served, 3)
    await served.enlist()
    await served.space[0].match_rest()
    for task in tasks[:2]:
        await served.report(task, "error", disposition="final")
    await served.report(tasks[2])

    counted = await served.post("/v1/bulk", {"verb": "retry", "filter": {}, "dry_run": True})
    job = (await served.post("/v1/bulk", {"verb": "retry", "filter": {"handler": "send"}}))["id"]
    row = await to_its_end(served, job)

    assert counted == {"matched": 2, "text": "2", "is_exact": True}
    assert (row["filter"]["state"], row["done"]) == (["faulted"], 2)
    listed = (await served.get("/v1/tasks", namespace="default", app="shop", handler="send"))["items"]
    assert sorted(each["parent"] for each in listed if each["parent"]) == sorted(tasks[:2])


async def over_a_minute_ago(served: Served, tasks: list[str]) -> None:
    """Cancel tasks, and let it be a minute ago."""
    for task in tasks:
        await served.post(f"/v1/tasks/{task}/cancel")
        await served.space.clients.commands.hincrby(K.task(served.space.of_task(task).prefix, task), "ended", -60_000)


async def test_a_delete_takes_what_is_over_and_leaves_what_is_kept_unless_asked(served: Served) -> None:
    gone, kept, waits = await many(served, 3)
    await over_a_minute_ago(served, [gone, kept])
    await served.ask("PUT", f"/v1/tasks/{kept}/keep")
    body = {"verb": "delete", "filter": {"handler": "send", "state": ["canceled"]}}

    counted = await served.post("/v1/bulk", {**body, "dry_run": True})
    row = await to_its_end(served, (await served.post("/v1/bulk", body))["id"])

    assert (counted["matched"], row["matched"], row["done"], row["pinned"]) == (2, 2, 1, False)
    assert row["samples"] == [{"id": kept, "outcome": "skipped", "reason": "pinned"}]
    assert (await served.ask("GET", f"/v1/tasks/{gone}")).status_code == 404
    row = await to_its_end(served, (await served.post("/v1/bulk", {**body, "pinned": True}))["id"])
    assert (row["done"], row["pinned"]) == (1, True)
    assert (await served.ask("GET", f"/v1/tasks/{kept}")).status_code == 404
    assert await states(served, [waits]) == {"created"}


async def test_a_purge_cancels_what_waits_for_a_handler_and_nothing_that_has_a_worker(served: Served) -> None:
    await served.enlist(capacity=1)
    runs, waits = await many(served, 2)
    [later] = await many(served, 1, delay_ms=60_000)
    other = await served.submit("other")

    counted = await served.post(f"{APP}/queues/send:purge", {"dry_run": True})
    answer = await served.ask("POST", f"{APP}/queues/send:purge", headers={"Idempotency-Key": "k1"})
    again = await served.ask("POST", f"{APP}/queues/send:purge", headers={"Idempotency-Key": "k1"})
    row = await to_its_end(served, answer.json()["id"])

    assert counted["matched"] == 2
    assert (answer.status_code, again.status_code, again.json()["id"]) == (202, 200, row["id"])
    assert (row["verb"], row["done"], row["reason"], row["filter"]["state"]) == ("cancel", 2, "purged", ["created"])
    assert await states(served, [waits, later]) == {"canceled"}
    assert await states(served, [runs]) == {"waiting_to_run"}
    assert await states(served, [other]) == {"created"}


async def test_a_task_is_moved_to_the_head_or_gets_another_priority(served: Served) -> None:
    first, second = await many(served, 2)
    [later] = await many(served, 1, delay_ms=60_000)
    await served.post(f"/v1/tasks/{first}/cancel")

    assert await served.post(f"/v1/tasks/{second}:bump", {"priority": 9}) == {"id": second, "outcome": "ok"}
    assert (await served.get(f"/v1/tasks/{second}"))["priority"] == 9
    assert (await served.post(f"/v1/tasks/{second}:bump"))["outcome"] == "already"
    for task, code, status in (
        (first, "not_waiting", 409),
        (later, "not_queued", 409),
        (f"{first[:-4]}0000", "unknown_task", 404),
    ):
        refused = await served.ask("POST", f"/v1/tasks/{task}:bump")
        assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_who_may_cancel_may_not_delete(served: Served) -> None:
    refused = await served.ask("POST", "/v1/bulk", {"verb": "delete", "filter": {}}, kind="worker")

    assert refused.status_code == 403


async def test_a_dry_run_counts_and_begins_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = await many(served, 7)

    assert await served.post("/v1/bulk", {**ALL, "dry_run": True}) == {"matched": 7, "text": "7", "is_exact": True}
    assert (await served.post("/v1/bulk", {"verb": "cancel", "ids": tasks[:2], "dry_run": True}))["matched"] == 2
    monkeypatch.setattr(limits, "COUNT_EXACT", 5)
    assert await served.post("/v1/bulk", {**ALL, "dry_run": True}) == {"matched": 5, "text": "5+", "is_exact": False}
    assert (await served.get("/v1/bulk"))["items"] == []
    assert await states(served, tasks) == {"created"}


async def test_what_comes_after_the_job_is_left_alone(served: Served) -> None:
    job = (await served.post("/v1/bulk", {**ALL, "as_of": 1_700_000_000_000}))["id"]
    tasks = await many(served, 2)

    row = await to_its_end(served, job)

    assert row["matched"] == 0
    assert await states(served, tasks) == {"created"}


async def test_the_same_key_is_the_same_job(served: Served) -> None:
    key = {"Idempotency-Key": "k1"}

    first = await served.ask("POST", "/v1/bulk", ALL, headers=key)
    again = await served.ask("POST", "/v1/bulk", ALL, headers=key)
    other = await served.ask("POST", "/v1/bulk", {"verb": "retry", "filter": {}}, headers=key)

    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 409)
    assert first.json()["id"] == again.json()["id"]
    assert other.json()["code"] == "key_reused"


async def test_a_job_is_paused_goes_on_and_is_canceled(served: Served) -> None:
    await many(served, 150)
    job = (await served.post("/v1/bulk", ALL))["id"]
    driver = bulk.Bulk(served.space)
    await driver.run_once()

    assert (await served.post(f"/v1/bulk/{job}:pause"))["state"] == "paused"
    await driver.run_once()
    assert (await served.get(f"/v1/bulk/{job}"))["done"] == 100
    assert (await served.post(f"/v1/bulk/{job}:pause"))["state"] == "paused"
    assert (await served.post(f"/v1/bulk/{job}:resume"))["state"] == "running"
    assert (await served.post(f"/v1/bulk/{job}:cancel"))["state"] == "canceled"
    row = await to_its_end(served, job)

    assert (row["state"], row["done"], row["partitions"][0]["state"]) == ("canceled", 100, "canceled")
    refused = await served.ask("POST", f"/v1/bulk/{job}:resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_over")
    unknown = await served.ask("POST", "/v1/bulk/j00000000000000000:cancel")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_job")


async def test_a_namespace_has_ten_jobs_at_once(served: Served) -> None:
    for _ in range(limits.JOBS_AT_ONCE):
        await served.post("/v1/bulk", ALL)

    refused = await served.ask("POST", "/v1/bulk", ALL)

    assert (refused.status_code, refused.json()["code"]) == (429, "jobs_full")


async def test_jobs_are_listed_newest_first_in_pages(served: Served) -> None:
    jobs = [(await served.post("/v1/bulk", ALL))["id"] for _ in range(3)]

    first = await served.get("/v1/bulk", limit=2)
    rest = await served.get("/v1/bulk", limit=2, cursor=first["next"], namespace="default")

    listed = [each["id"] for each in first["items"] + rest["items"]]
    assert listed == sorted(jobs, reverse=True)
    assert rest["next"] is None
    refused = await served.ask("GET", "/v1/bulk", params={"cursor": "default/shop"})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize("error", ["xyz", "0327e60892", "0327E6089208", "0327e60892080"])
async def test_what_is_no_fingerprint_is_refused_with_where_one_is_found(served: Served, error: str) -> None:
    job = await served.ask("POST", "/v1/bulk", {"verb": "retry", "filter": {"error": error}, "dry_run": True})
    tasks = await served.ask("GET", "/v1/tasks", params={"error": error})

    for refused in (job, tasks):
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_fingerprint")
        assert "GET /v1/failures" in refused.json()["hint"]


async def test_a_token_reaches_only_the_jobs_of_its_scope(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    for name, scope in (("lab", "lab"), ("shop", "default/shop")):
        served.tokens[name] = (await tokens.create_token(served.space, "api", scope=[scope])).token
    job = (await served.post("/v1/bulk", ALL))["id"]
    own = (await served.post("/v1/bulk", {**ALL, "app": "shop"}, kind="shop"))["id"]

    hidden = await served.ask("GET", f"/v1/bulk/{job}", kind="lab")
    assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown_job")
    assert (await served.ask("POST", f"/v1/bulk/{job}:cancel", kind="shop")).status_code == 404
    assert (await served.ask("POST", "/v1/bulk", ALL, kind="lab")).status_code == 403
    assert (await served.ask("POST", "/v1/bulk", ALL, kind="shop")).status_code == 403
    assert (await served.ask("GET", "/v1/bulk", params={"namespace": "default"}, kind="lab")).status_code == 403
    listed = (await served.ask("GET", "/v1/bulk", kind="shop")).json()["items"]
    assert [each["id"] for each in listed] == [own]
    assert (await served.ask("GET", "/v1/bulk", kind="lab")).json()["items"] == []


async def test_ids_of_another_namespace_are_left_alone_and_answer_like_none(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    task = await served.submit()

    body = {"verb": "cancel", "namespace": "lab", "ids": [task]}
    job = (await served.post("/v1/bulk", body, kind="lab"))["id"]
    row = await to_its_end(served, job)

    assert [each["reason"] for each in row["samples"]] == ["gone"]
    assert await states(served, [task]) == {"created"}


async def triggers(served: Served, job: dict[str, Any]) -> Any:
    """What became of a job on triggers."""
    return await to_its_end(served, (await served.post("/v1/bulk", {"kind": "triggers", **job}))["id"])


async def test_triggers_are_paused_go_on_run_and_are_deleted(served: Served) -> None:
    for name in ("mail-de", "mail-fr", "other"):
        await served.put_trigger(name, owner="ops", params={"to": name})

    paused = await triggers(served, {"verb": "pause", "filter": {"prefix": "mail-", "owner": "ops", "q": "MAIL"}})
    found = await served.get(f"{APP}/triggers/mail-de")
    assert (paused["done"], found["paused"], found["state"], found["next_times"]) == (2, True, "paused", [])
    assert paused["filter"] == {"handler": "", "state": [], "owner": "ops", "prefix": "mail-", "q": "mail"}

    resumed = await triggers(served, {"verb": "resume", "filter": {"state": ["paused"]}})
    await Planner(served.space).run_once()
    found = await served.get(f"{APP}/triggers/mail-de")
    assert (resumed["done"], found["paused"], found["state"], len(found["next_times"])) == (2, False, "active", 10)

    ran = await triggers(served, {"verb": "run", "ids": ["default/shop/other", "default/shop/none"]})
    [task] = (await served.get("/v1/tasks", namespace="default", app="shop", handler="send"))["items"]
    assert (ran["done"], ran["samples"][0]["id"], task["trigger"]) == (1, "default/shop/none", "other")
    assert (await served.get(f"/v1/tasks/{task['id']}"))["params"] == {"to": "other"}

    body = {"kind": "triggers", "verb": "delete", "filter": {"prefix": "mail-"}}
    assert (await served.post("/v1/bulk", {**body, "dry_run": True}))["matched"] == 2
    assert (await triggers(served, body))["done"] == 2
    assert (await served.ask("GET", f"{APP}/triggers/mail-de")).status_code == 404
    assert (await served.ask("GET", f"{APP}/triggers/other")).status_code == 200


async def test_a_trigger_paused_by_a_job_can_be_changed_and_resumed_alone(served: Served) -> None:
    await served.put_trigger()
    await triggers(served, {"verb": "pause", "filter": {}})

    changed = await served.put_trigger(priority=7)
    resumed = await served.post(f"{APP}/triggers/nightly/resume")

    assert (changed["paused"], changed["state"]) == (True, "paused")
    assert (resumed["paused"], resumed["priority"], len(resumed["next_times"])) == (False, 7, 10)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"verb": "cancel"}, "bad_filter"),
        ({"verb": "cancel", "ids": ["x"], "filter": {}}, "bad_filter"),
        ({"verb": "cancel", "ids": ["x"]}, "bad_id"),
        ({"verb": "cancel", "kind": "triggers", "filter": {}}, "bad_verb"),
        ({"verb": "cancel", "filter": {"state": ["faulted"]}}, "bad_filter"),
        ({"verb": "retry", "filter": {"state": ["running"]}}, "bad_filter"),
        ({"verb": "retry", "filter": {"handler": "a b"}}, "bad_name"),
        ({"verb": "delete", "filter": {"state": ["running"]}}, "bad_filter"),
        ({"verb": "retry", "filter": {"owner": "ops"}}, "bad_filter"),
        ({"verb": "retry", "filter": {"state": ["paused"]}}, "bad_filter"),
        ({"verb": "pause", "kind": "triggers", "filter": {"worker": "w"}}, "bad_filter"),
        ({"verb": "pause", "kind": "triggers", "filter": {"state": ["running"]}}, "bad_filter"),
        ({"verb": "pause", "kind": "triggers", "ids": ["shop/a"]}, "bad_id"),
        ({"verb": "pause", "filter": {}}, "bad_verb"),
        ({"verb": "retry", "filter": {"parent": "a b"}}, "bad_id"),
        ({"verb": "retry", "filter": {"from": "yesterday"}}, "bad_moment"),
        ({"verb": "retry", "filter": {"reason": ["a,b"]}}, "bad_request"),
        ({"verb": "retry", "filter": {}, "namespace": "nowhere"}, "unknown_namespace"),
    ],
)
async def test_what_makes_no_sense_is_refused(served: Served, body: Any, code: str) -> None:
    answer = await served.ask("POST", "/v1/bulk", body)

    assert (answer.status_code in (400, 404, 422), answer.json()["code"]) == (True, code)


async def test_the_tasks_that_faulted_alike_are_retried_together(served: Served) -> None:
    await served.enlist("send")
    alike, other = await many(served, 3), await many(served, 1)
    for task in [*alike, *other]:
        failure = failure_of("KeyError", f"no order {task}" if task in alike else "no user")
        record, partition = await served.record(task), served.space[ids.partition_of(ids.TaskId(task))]
        held = (record["session"], task, int(record["attempt"]), record["fence"])
        await partition.call(verbs.report([verbs.Report(*held, "error", 1, b"", "final", packed(failure))]))

    error = failure_of("KeyError", f"no order {alike[0]}").digest
    begun = await served.post("/v1/bulk", {"verb": "retry", "filter": {"error": error}})
    row = await to_its_end(served, begun["id"])

    assert (row["filter"]["error"], row["done"]) == (error, 3)
    assert [(await served.get("/v1/tasks", parent=task))["items"] != [] for task in [*alike, *other]] == [
        True, True, True, False,
    ]  # fmt: skip
    answer = await served.ask("POST", "/v1/bulk", {"verb": "retry", "filter": {"error": "no,ne"}})
    assert answer.status_code == 400
