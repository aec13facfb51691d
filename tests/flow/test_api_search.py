"""``GET /v1/search``: ids and names of whatever the caller may see."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.engine.client import Client
from gojob_redis.view import names as names_module
from tests.flow.test_api_trigger_list import put
from tests.tools.served import APP, Served, serving


@pytest.fixture
async def served(client: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(names_module, "LOOK_S", 0.0)
    monkeypatch.setattr(names_module, "FIRST_S", 5.0)
    async with serving(client) as each:
        yield each


async def look(served: Served, q: str, **query: Any) -> list[str]:
    """What is found, once the names are read anew."""
    for _ in range(2):  # what is being read began before this
        await served.get("/v1/search", q=q, **query)
        await served.app.state.edge.names.reading
    items = (await served.get("/v1/search", q=q, **query))["items"]
    return [f"{each['kind']} {each['namespace']}/{each['app']}/{each['name']}" for each in items]


async def test_any_part_of_a_name_finds_triggers_handlers_and_workers(served: Served) -> None:
    session = await served.enlist("SendMail", name="mailer-7")
    await put(served, "default/shop", "nightly-mail")
    await put(served, "default/bank", "statement")

    assert await look(served, "mail") == [
        "worker default/shop/mailer-7", "trigger default/shop/nightly-mail", "handler default/shop/SendMail",
    ]  # fmt: skip
    assert await look(served, "SENDM") == ["handler default/shop/SendMail"]
    assert await look(served, session) == ["worker default/shop/mailer-7"]
    assert await look(served, "nothing") == []


async def test_the_same_name_stands_before_its_begin_a_word_and_a_part(served: Served) -> None:
    for name in ("amail", "x-mail", "mailing", "mail"):
        await put(served, "default/shop", name)

    assert [each.rpartition("/")[2] for each in await look(served, "mail")] == ["mail", "mailing", "x-mail", "amail"]
    assert await look(served, "mail", limit=1) == ["trigger default/shop/mail"]


async def test_a_result_says_what_it_is_and_which_call_shows_it(served: Served) -> None:
    made = await put(served, "default/shop", "nightly", enabled=False)
    await look(served, "nightly")

    [found] = (await served.get("/v1/search", q="nightly"))["items"]

    assert found == {
        "kind": "trigger", "name": "nightly", "namespace": "default", "app": "shop", "id": made["uid"],
        "handler": "send", "state": "disabled", "path": f"{APP}/triggers/nightly",
    }  # fmt: skip
    assert (await served.get(found["path"]))["uid"] == made["uid"]


async def test_ids_find_tasks_and_triggers_also_removed_ones(served: Served) -> None:
    made = await put(served, "default/shop", "nightly")
    task = await served.submit("pack")

    assert await look(served, task) == [f"task default/shop/{task}"]
    assert await look(served, made["uid"]) == ["trigger default/shop/nightly"]
    await served.ask("DELETE", f"{APP}/triggers/nightly")
    assert await look(served, made["uid"]) == ["removed_trigger default/shop/nightly"]
    [found] = (await served.get("/v1/search", q=made["uid"]))["items"]
    assert (found["handler"], (await served.ask("GET", found["path"])).status_code) == ("send", 200)
    assert await look(served, task[:-1] + ("0" if task[-1] != "0" else "1")) == []


async def test_a_key_finds_the_newest_tasks_that_have_it(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    path, body = "handlers/send/tasks", {"allow_unknown": True, "key": "Order-4711"}
    made = [(await served.post(f"{APP}/{path}", body))["id"] for _ in range(6)]
    foreign = (await served.post(f"/v1/apps/lab/shop/{path}", body))["id"]
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token

    found = (await served.get("/v1/search", q="Order-4711", namespace="default"))["items"]
    assert [(row["name"], row["id"]) for row in found] == [("Order-4711", task) for task in reversed(made[1:])]
    answer = await served.ask("GET", "/v1/search", params={"q": "Order-4711"}, kind="lab")
    [found] = answer.json()["items"]
    assert found == {
        "kind": "task", "name": "Order-4711", "namespace": "lab", "app": "shop", "id": foreign, "handler": "send",
        "state": "created", "path": f"/v1/tasks/{foreign}",
    }  # fmt: skip
    assert await look(served, "Order-4711\x1fdefault") == []


async def test_the_beginning_of_a_key_finds_tasks_in_the_order_of_their_keys(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    path = "handlers/send/tasks"
    for app, key in (("default/shop", "order-12"), ("lab/shop", "order-2"), ("default/shop", "order-1")):
        await served.post(f"/v1/apps/{app}/{path}", {"allow_unknown": True, "key": key})
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token

    async def keys(q: str, kind: str = "admin") -> list[str]:
        answer = await served.ask("GET", "/v1/search", params={"q": q}, kind=kind)
        return [row["name"] for row in answer.json()["items"] if row["kind"] == "task"]

    assert await keys("order-") == ["order-1", "order-12", "order-2"]
    assert await keys("order-1") == ["order-1", "order-12"]
    assert await keys("rder-1") == []
    assert await keys("or") == []  # under three letters too many would begin so
    assert await keys("order-", kind="lab") == ["order-2"]


async def test_nobody_finds_what_his_token_does_not_cover(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    made = await put(served, "lab/shop", "mail")
    task = (await served.post("/v1/apps/lab/shop/handlers/mail/tasks", {"allow_unknown": True}))["id"]
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token
    assert await look(served, "mail") == ["handler lab/shop/mail", "trigger lab/shop/mail"]

    for q in ("mail", made["uid"], task):
        assert (await served.ask("GET", "/v1/search", params={"q": q}, kind="shop")).json()["items"] == []
    assert await look(served, "mail", namespace="default") == []


async def test_a_trigger_that_is_gone_meanwhile_is_not_shown(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(served, "default/shop", "nightly")
    assert await look(served, "nightly") == ["trigger default/shop/nightly"]
    monkeypatch.setattr(names_module, "LOOK_S", 60.0)

    await served.ask("DELETE", f"{APP}/triggers/nightly")

    assert (await served.get("/v1/search", q="nightly"))["items"] == []


async def test_names_are_read_again_where_their_number_changed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(served, "default/shop", "first")
    assert await look(served, "first") == ["trigger default/shop/first"]

    await put(served, "default/shop", "second")

    assert await look(served, "second") == ["trigger default/shop/second"]


async def test_names_for_which_there_is_no_room_are_left_out_and_that_is_said(served: Served) -> None:
    served.app.state.edge.names.most = 20
    await put(served, "default/a", "short")
    await put(served, "default/b", "a-name-that-is-longer-than-all-there-is-room-for")

    assert await look(served, "o") == ["trigger default/a/short"]
    assert (await served.get("/v1/search", q="o"))["is_whole"] is False
    served.app.state.edge.names.most = 2_000
    assert len(await look(served, "o")) == 2
    assert (await served.get("/v1/search", q="o"))["is_whole"] is True


async def test_the_first_search_does_not_wait_for_all_names(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "FIRST_S", 0.0)
    await put(served, "default/shop", "nightly")

    first = await served.get("/v1/search", q="nightly")

    assert (first["items"], first["is_whole"]) == ([], False)
    await asyncio.wait([served.app.state.edge.names.reading])
    assert len((await served.get("/v1/search", q="nightly"))["items"]) == 1
