"""Tasks that a run submits: it proves that it is one, and they are found by it."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.engine.client import Client
from gojob_redis.planning.planner import Planner
from gojob_redis.trigger import Fire
from tests.tools.served import APP, SHOP, Served, serving

pytestmark = pytest.mark.real

OTHER = "default/stock"


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        await namespaces.put_namespace(served.space, "lab")
        yield served


async def begun(served: Served, run: str = "") -> tuple[str, str]:
    """A run that a worker has, and what it proves that with."""
    if not run:
        await served.enlist("send")
        run = await served.submit()
    record = await served.record(run)
    return run, f"{run}@{record['attempt']} {record['fence']}"


async def ask(served: Served, proof: str, app: str = SHOP, body: Any = None, way: str = "tasks") -> Any:
    path, own = f"/v1/apps/{app}/handlers/send/{way}", {"allow_unknown": True} if body is None else body
    return await served.ask("POST", path, own, headers={"Gojob-Run": proof})


async def submit(served: Served, proof: str, app: str = SHOP) -> str:
    answer = await ask(served, proof, app)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_run_that_submits_a_task_is_its_parent(served: Served) -> None:
    run, proof = await begun(served)

    child = await submit(served, proof)

    shown = await served.get(f"/v1/tasks/{child}")
    assert (shown["parent"], shown["parent_run"], shown["links"]) == (run, f"{run}.0.1", None)
    plain = await served.get(f"/v1/tasks/{run}")
    assert (plain["parent"], plain["parent_run"]) == ("", "")


async def test_a_shard_that_submits_is_told(served: Served) -> None:
    await served.enlist("send")
    task = await served.submit(shards=3)
    _run, proof = await begun(served, f"{task}.2")

    child = await served.get(f"/v1/tasks/{await submit(served, proof)}")

    assert (child["parent"], child["parent_run"]) == (task, f"{task}.2.1")


async def test_many_at_once_have_the_same_parent(served: Served) -> None:
    run, proof = await begun(served)

    answer = await ask(served, proof, body={"tasks": [{"allow_unknown": True}] * 3}, way="tasks:batch")

    assert answer.status_code == 201
    page = await served.get("/v1/tasks", parent=run)
    assert {row["id"] for row in page["items"]} == set(answer.json()["ids"])


@pytest.mark.parametrize("wrong", ["run", "attempt", "fence", "over", "namespace", "task", "partition"])
async def test_who_has_no_proof_is_refused(served: Served, wrong: str) -> None:
    run, proof = await begun(served)
    app = SHOP
    if wrong == "run":
        proof = proof.replace(run, await served.submit())
    elif wrong == "attempt":
        proof = proof.replace("@1 ", "@2 ")
    elif wrong == "fence":
        proof = f"{proof}x"
    elif wrong == "over":
        await served.report(run)
    elif wrong == "namespace":
        app = "lab/shop"
    elif wrong == "task":
        proof = proof.replace(run, f"{run}.0")
    else:
        proof = f"zz{proof[2:]}"

    answer = await ask(served, proof, app)

    assert (answer.status_code, answer.json()["code"]) == (409, "not_your_run")
    assert (await served.get("/v1/tasks", parent=run))["items"] == []


@pytest.mark.parametrize("proof", ["x", "@1 1-a", "run@0 1-a", "run@1 a", "a b@1 1-a"])
async def test_what_is_no_proof_is_refused(served: Served, proof: str) -> None:
    answer = await ask(served, proof)

    assert (answer.status_code, answer.json()["field"]) in {(400, "Gojob-Run"), (400, "run")}


async def listed(served: Served, *, kind: str = "admin", **query: Any) -> list[str]:
    """Ids of all pages."""
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await served.ask("GET", "/v1/tasks", kind=kind, params={**query, "cursor": cursor, "limit": 2})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= 2
        ids += [row["id"] for row in page["items"]]
        cursor = page["next"]
    return ids


async def test_children_are_found_in_all_apps_newest_first(served: Served) -> None:
    run, proof = await begun(served)
    made = [await submit(served, proof, app) for app in (SHOP, OTHER, SHOP, OTHER, SHOP)]
    await served.submit()
    await served.post(f"/v1/tasks/{made[1]}/cancel")
    served.tokens["stock"] = (await tokens.create_token(served.space, "api", scope=[OTHER, SHOP])).token
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=[SHOP])).token
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token

    assert await listed(served, parent=run) == made[::-1]
    assert await listed(served, parent=run, kind="stock") == made[::-1]
    assert await listed(served, parent=run, kind="shop") == made[::-2]
    assert await listed(served, parent=run, app="stock") == [made[3], made[1]]
    assert await listed(served, parent=run, app="stock", state="canceled") == [made[1]]
    assert await listed(served, parent=run, app="shop", handler="other") == []
    hidden = await served.ask("GET", "/v1/tasks", kind="lab", params={"parent": run})
    assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown_task")
    labelled = await served.ask("GET", "/v1/tasks", params={"parent": run, "label": "a=b"})
    assert (labelled.status_code, labelled.json()["field"]) == (400, "label")


async def links(served: Served, task: str, *, kind: str = "admin") -> Any:
    answer = await served.ask("GET", f"/v1/tasks/{task}", kind=kind, params={"include": "links"})
    assert answer.status_code == 200, answer.text
    return answer.json()["links"]


async def test_a_task_tells_what_it_hangs_together_with(served: Served) -> None:
    run, proof = await begun(served)
    made = [await submit(served, proof, app) for app in (SHOP, OTHER, SHOP)]
    served.tokens["stock"] = (await tokens.create_token(served.space, "api", scope=[OTHER])).token

    of_parent, of_child, of_stock = [
        await links(served, run),
        await links(served, made[0]),
        await links(served, made[1], kind="stock"),
    ]

    assert [row["id"] for row in of_parent["children"]] == made[::-1]
    assert (of_parent["parent"], of_parent["siblings"], of_parent["has_more_children"]) == (None, [], False)
    assert of_child["parent"]["id"] == run
    assert [row["id"] for row in of_child["siblings"]] == [made[2], made[1]]
    assert (of_stock["parent"], of_stock["siblings"]) == (None, [])


async def test_of_many_children_the_newest_are_told(served: Served) -> None:
    run, proof = await begun(served)
    for count in (60, 41):
        await ask(served, proof, body={"tasks": [{"allow_unknown": True}] * count}, way="tasks:batch")

    of_parent = await links(served, run)
    of_child = await links(served, of_parent["children"][0]["id"])

    assert (len(of_parent["children"]), of_parent["has_more_children"]) == (100, True)
    assert (len(of_child["siblings"]), of_child["has_more_siblings"]) == (100, False)
    await submit(served, proof)
    of_child = await links(served, of_parent["children"][0]["id"])
    assert (len(of_child["siblings"]), of_child["has_more_siblings"]) == (100, True)


async def test_retries_are_children_too(served: Served) -> None:
    task = await served.submit()
    await served.post(f"/v1/tasks/{task}/cancel")

    again = (await served.post(f"/v1/tasks/{task}/retry"))["id"]

    [child] = (await links(served, task))["children"]
    assert (child["id"], child["parent"], child["parent_run"]) == (again, task, "")


async def test_a_fired_task_tells_what_its_trigger_fired_before_and_after(served: Served) -> None:
    made = await served.put_trigger(schedule={"kind": "every", "every_ms": 60_000}, overlap="allow")
    for moment in made["next_times"][:3]:
        served.space.now_ms = partial(int, moment["at_ms"])
        await Fire(served.space, Planner(served.space)).run_once()
    slots = (await served.get(f"{APP}/triggers/nightly/slots"))["items"]
    fired = [slot["task"] for slot in reversed(slots)]

    before, after = [(await links(served, fired[1]))[way]["id"] for way in ("before", "after")]

    assert (before, after) == (fired[0], fired[2])
    assert (await links(served, fired[0]))["before"] is None
    assert (await links(served, fired[2]))["after"] is None
