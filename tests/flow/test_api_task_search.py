"""GET /v1/tasks: tasks across apps, by what is known of them."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from tests.tools.served import SHOP, Served, serving

pytestmark = pytest.mark.real

APPS = ("default/shop", "default/stock", "lab/shop")


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        await namespaces.put_namespace(served.space, "lab")
        yield served


async def submit(served: Served, app: str, handler: str = "send", **body: Any) -> str:
    path = f"/v1/apps/{app}/handlers/{handler}/tasks"
    return str((await served.post(path, {"allow_unknown": True, **body}))["id"])


async def listed(served: Served, *, limit: int = 2, kind: str = "admin", **query: Any) -> list[str]:
    """Ids of all pages."""
    found: list[str] = []
    cursor: str | None = ""
    for _ in range(50):
        answer = await served.ask("GET", "/v1/tasks", kind=kind, params={**query, "cursor": cursor, "limit": limit})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= limit
        found += [each["id"] for each in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return found
    raise AssertionError("the list has no end")


async def everywhere(served: Served) -> dict[str, list[str]]:
    """In each app one task that failed, one that is done, one that runs and one that waits; newest first."""
    made: dict[str, list[str]] = {}
    for app in APPS:
        await served.enlist("send", capacity=3, app=app, name=f"worker of {app}")
        failed, done, runs = [await submit(served, app) for _ in range(3)]
        await served.report(failed, "error")
        await served.report(done)
        await served.start(runs)
        made[app] = [runs, await submit(served, app, labels={"env": "gray"}), done, failed]
    return made


async def test_a_list_across_apps_has_what_is_not_over_first_and_then_the_newest(served: Served) -> None:
    made = await everywhere(served)
    ended = [task for app in reversed(APPS) for task in made[app][2:]]

    whole = await listed(served)

    assert set(whole[:6]) == {task for app in APPS for task in made[app][:2]}
    assert set(whole[6:]) == set(ended)
    rows = (await served.get("/v1/tasks", state=["faulted", "run_to_completion"]))["items"]
    ends = [row["ended_ms"] for row in rows]
    assert len(rows) == 6
    assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"namespace": "lab"}, [("lab/shop", (0, 1, 2, 3))]),
        ({"app": "stock"}, [("default/stock", (0, 1, 2, 3))]),
        ({"app": "shop", "handler": "send"}, [("default/shop", (0, 1, 2, 3))]),
        ({"app": "shop", "handler": "other"}, []),
        ({"state": "faulted"}, [(app, (3,)) for app in APPS]),
        ({"state": ["run_to_completion", "created"]}, [(app, (1, 2)) for app in APPS]),
        ({"reason": "error", "namespace": "default"}, [("default/shop", (3,)), ("default/stock", (3,))]),
        ({"label": "env=gray"}, [(app, (1,)) for app in APPS]),
        ({"worker": "worker of lab/shop"}, [("lab/shop", (0, 2, 3))]),
        ({"to": 1}, []),
        ({"from": limits.LATEST_MS - 1}, []),
    ],
)
async def test_filters_are_joined(served: Served, query: dict[str, Any], expected: Any) -> None:
    made = await everywhere(served)

    found = await listed(served, **query)

    assert sorted(found) == sorted(made[app][at] for app, places in expected for at in places)


async def test_a_token_finds_only_what_it_covers(served: Served) -> None:
    made = await everywhere(served)
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    served.tokens["stock"] = (await tokens.create_token(served.space, "api", scope=["default/stock"])).token

    assert set(await listed(served, kind="lab")) == set(made["lab/shop"])
    assert set(await listed(served, kind="stock")) == set(made["default/stock"])
    assert set(await listed(served, kind="stock", namespace="default")) == set(made["default/stock"])
    for query in ({"namespace": "default"}, {"app": "shop"}):
        refused = await served.ask("GET", "/v1/tasks", kind="lab", params=query)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    hidden = await served.ask("GET", "/v1/tasks", kind="lab", params={"parent": made["default/shop"][0]})
    assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown_task")


async def test_tasks_of_a_trigger_are_chosen_by_when_they_ended_as_others_are(served: Served) -> None:
    await served.put_trigger()
    run = (await served.post("/v1/apps/default/shop/triggers/nightly/run"))["id"]
    await served.post(f"/v1/tasks/{run}/cancel")
    ended_ms = (await served.get(f"/v1/tasks/{run}"))["ended_ms"]

    for query in ({"trigger": "nightly"}, {"handler": "send"}):
        span: dict[str, Any] = {"app": "shop", **query}
        assert await listed(served, **span, **{"from": ended_ms, "to": ended_ms + 1}) == [run]
        assert await listed(served, **span, **{"from": ended_ms + 1}) == []
        assert await listed(served, **span, to=ended_ms) == []


async def test_a_span_that_ends_before_it_begins_is_refused(served: Served) -> None:
    for path in ("/v1/tasks", "/v1/stats", "/v1/events"):
        for begin, end in ((2_000, 2_000), (2_000, 1_000)):
            refused = await served.ask("GET", path, params={"from": begin, "to": end})
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_span")
            assert refused.json()["detail"] == "from is not before to."


async def test_labels_that_contradict_are_refused(served: Served) -> None:
    for labels, why in ((["env"], "is no pair"), (["env=a", "env=b"], "contradicts env=a")):
        refused = await served.ask("GET", "/v1/tasks", params={"label": labels})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_label")
        assert why in refused.json()["detail"]


async def test_children_of_a_task_are_found(served: Served) -> None:
    task = await submit(served, SHOP)
    await served.post(f"/v1/tasks/{task}/cancel")
    first = (await served.post(f"/v1/tasks/{task}/retry"))["id"]
    await served.post(f"/v1/tasks/{first}/cancel")
    second = (await served.post(f"/v1/tasks/{task}/retry"))["id"]

    assert await listed(served, parent=task) == [second, first]


async def test_a_page_says_how_far_it_looked_and_the_next_goes_on_there(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["gojob_redis.view.task_search"], "LOOKS", 20)
    await served.enlist("send", capacity=100)
    rare = await submit(served, SHOP)
    await served.report(rare, "error")
    for _ in range(60):
        task = await submit(served, SHOP)
        await served.report(task)

    pages: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await served.get("/v1/tasks", app="shop", worker="worker-1", reason="error", cursor=cursor)
        pages.append(page)
        cursor = page["next"]

    assert [row["id"] for page in pages for row in page["items"]] == [rare]
    assert len(pages) > 2
    assert all(page["looked"]["tasks"] <= 40 for page in pages)
    backs = [page["looked"]["back_to_ms"] for page in pages]
    assert backs[-1] is None
    assert backs[:-1] == sorted(backs[:-1], reverse=True)


async def test_a_first_page_can_be_followed(served: Served) -> None:
    assert (await served.get("/v1/tasks"))["live"] == ""

    first = await served.get("/v1/tasks", live="true")

    assert first["live"]
    assert first["looked"] == {"tasks": 0, "back_to_ms": None, "handlers_left_out": 0}


async def test_handlers_that_are_too_many_are_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEARCH_HANDLERS", 2)
    for handler in ("a", "b", "c"):
        await submit(served, SHOP, handler)

    page = await served.get("/v1/tasks", app="shop")

    assert (len(page["items"]), page["looked"]["handlers_left_out"]) == (2, 1)


async def test_an_index_that_is_gone_holds_up_no_list(served: Served) -> None:
    """The session on which a page ended leaves before the next is read."""
    await served.enlist("send", capacity=2)
    one = await served.enlist("send", capacity=2, name="two")
    tasks = [await submit(served, SHOP) for _ in range(4)]
    page = await served.get("/v1/tasks", state="waiting_to_run", limit=1)
    client: Any = served.space.clients.commands
    prefix = (await served.space.of_app(SHOP)).prefix
    await client.srem(K.sessions(prefix, SHOP), one)

    found = [row["id"] for row in page["items"]]
    found += await listed(served, state="waiting_to_run", limit=4)

    assert len(tasks) == 4
    assert len(set(found)) >= 2
    await client.sadd(K.sessions(prefix, SHOP), one)


# ---- keys ------------------------------------------------------------------------------------------------------------


async def test_tasks_are_found_by_their_key_newest_first(served: Served) -> None:
    made = [await submit(served, app, key="order-4711") for app in ("default/shop", "lab/shop", "default/shop")]
    await submit(served, "default/shop", key="order-47110")
    await served.post(f"/v1/tasks/{made[0]}/cancel")
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token

    assert set(await listed(served, key="order-4711")) == set(made)
    assert await listed(served, key="order-4711", app="shop") == [made[2], made[0]]
    assert await listed(served, key="order-4711", app="shop", limit=1) == [made[2], made[0]]
    assert await listed(served, key="order-4711", app="shop", state="canceled") == [made[0]]
    assert await listed(served, key="order-4711", kind="lab") == [made[1]]
    assert await listed(served, key="order-4711", namespace="lab") == [made[1]]
    assert await listed(served, key="order") == []
    assert (await served.get(f"/v1/tasks/{made[0]}"))["key"] == "order-4711"


async def test_a_unique_key_is_refused_with_the_id_of_the_live_task(served: Served) -> None:
    first = await submit(served, SHOP, key="order-1", unique=True)
    path, body = f"/v1/apps/{SHOP}/handlers/send/tasks", {"allow_unknown": True, "key": "order-1", "unique": True}

    refused = await served.ask("POST", path, body)

    assert (refused.status_code, refused.json()["code"]) == (409, "key_live")
    assert first in refused.json()["detail"]
    await served.post(f"/v1/tasks/{first}/cancel")
    assert (await served.ask("POST", path, body)).status_code == 201
    bare = await served.ask("POST", path, {"allow_unknown": True, "unique": True})
    assert (bare.status_code, bare.json()["code"]) == (400, "bad_key")


async def test_a_run_by_hand_and_a_retry_have_the_key(served: Served) -> None:
    await served.put_trigger()
    run = (await served.post("/v1/apps/default/shop/triggers/nightly/run", {"key": "order-2"}))["id"]
    await served.post(f"/v1/tasks/{run}/cancel")
    again = (await served.post(f"/v1/tasks/{run}/retry"))["id"]

    assert await listed(served, key="order-2") == [again, run]
