"""Workers over HTTP: drained, let go on and disconnected by whoever operates their app."""

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import msgpack
import pytest

from gojob_redis import match
from gojob_redis.control import tokens
from gojob_redis.domain import verbs
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_sdk import protocol
from tests.tools.served import APP, GATEWAY, SHOP, Served, serving


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def state(served: Served, task: str) -> str:
    return str((await served.get(f"/v1/tasks/{task}"))["state"])


async def test_a_drained_worker_takes_nothing_until_it_is_resumed(served: Served) -> None:
    session = await served.enlist("send")

    drained = await served.post(f"{APP}/workers/{session}:drain")

    assert (drained["session"], drained["state"]) == (session, "drained")
    assert drained["drained_ms"] > 0
    task = await served.submit()
    why = (await served.get(f"/v1/tasks/{task}"))["why"]["says"]
    assert "drained" in why
    assert (await served.post(f"{APP}/workers/{session}:resume"))["state"] == "active"
    assert await state(served, task) == "waiting_to_run"


async def test_workers_are_sought_by_their_state_and_a_word_that_is_none_is_refused(served: Served) -> None:
    busy, drained, later = [await served.enlist("send", name=name) for name in ("w1", "w2", "w3")]
    await served.post(f"{APP}/workers/{drained}:drain")
    partition = await served.space.of_app("default/shop")
    await served.space.clients.commands.hset(f"{partition.prefix}session:{later}", "off", "resting")

    async def found(state: str) -> list[str]:
        return [row["session"] for row in (await served.get("/v1/workers", app="shop", state=state))["items"]]

    assert [await found(state) for state in ("active", "drained", "unknown")] == [[busy], [drained], [later]]
    refused = await served.ask("GET", "/v1/workers", params={"state": "foo"})
    assert refused.status_code == 400
    assert "active" in refused.text


async def test_a_disconnected_worker_is_gone_and_its_work_waits(served: Served) -> None:
    session = await served.enlist("send")
    task = await served.submit()

    answer = await served.ask("POST", f"{APP}/workers/{session}:disconnect")

    assert answer.status_code == 204
    assert (await served.get("/v1/workers", app="shop"))["items"] == []
    assert await state(served, task) == "created"


@pytest.mark.parametrize("verb", ["drain", "resume", "disconnect"])
async def test_a_session_of_another_app_or_of_nobody_is_unknown(served: Served, verb: str) -> None:
    session = await served.enlist("send", app="default/other")
    before = await served.dump()

    for name in (session, "nobody"):
        answer = await served.ask("POST", f"{APP}/workers/{name}:{verb}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_worker")

    assert await served.dump() == before


async def test_workers_of_all_apps_are_found_by_what_they_are(served: Served) -> None:
    plain = await served.enlist("send", name="mail-1")
    gray = await served.enlist("send", labels="env=gray", name="mail-2")
    other = await served.enlist("build", name="mail-3", app="default/web")
    await served.post(f"{APP}/workers/{plain}:drain")

    async def sessions(**query: Any) -> list[str]:
        return [worker["session"] for worker in (await served.get("/v1/workers", **query))["items"]]

    assert await sessions() == [*sorted((plain, gray)), other]
    assert await sessions(app="web") == [other]
    assert await sessions(handler="send", label="env=gray") == [gray]
    assert await sessions(state="drained") == [plain]
    assert await sessions(q="MAIL-3") == [other]
    assert await sessions(q="nobody") == []


async def test_workers_come_in_pages_that_go_on_where_the_one_before_ended(served: Served) -> None:
    own = sorted([await served.enlist() for _ in range(3)])
    other = await served.enlist(app="default/web")
    shown: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await served.get("/v1/workers", limit=2, cursor=cursor)
        shown.append([worker["session"] for worker in page["items"]])
        cursor = page["next"]

    assert shown in ([own[:2], [own[2], other]], [own[:2], [own[2], other], []])
    assert (await served.ask("GET", "/v1/workers?cursor=x")).json()["code"] == "bad_cursor"


async def test_a_page_looks_at_so_many_workers_and_the_next_one_goes_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("gojob_redis.view.worker_list"), "LOOKED_AT", 11)
    await served.enlist(app="default/a")
    sought = await served.enlist(app="default/b", name="sought")

    first = await served.get("/v1/workers", q="sought")
    second = await served.get("/v1/workers", q="sought", cursor=first["next"])

    assert (first["items"], first["looked_at"]) == ([], 1)
    assert [worker["session"] for worker in second["items"]] == [sought]


async def test_workers_are_counted_by_what_they_share(served: Served) -> None:
    await served.enlist(capacity=2)
    await served.enlist(capacity=3, labels="env=gray")
    await served.enlist(capacity=4, app="default/web")
    await served.submit()

    answer = await served.get("/v1/workers", limit=1, facets=["app", "labels", "host"])

    counts = {facet["by"]: facet["counts"] for facet in answer["facets"]}
    assert counts["app"] == [
        {"value": "default/shop", "workers": 2, "seats": 5, "taken": 1},
        {"value": "default/web", "workers": 1, "seats": 4, "taken": 0},
    ]
    assert [(row["value"], row["workers"]) for row in counts["labels"]] == [("", 2), ("env=gray", 1)]
    assert [(row["value"], row["workers"]) for row in counts["host"]] == [("db7", 3)]
    assert all(facet["is_whole"] for facet in answer["facets"])


async def groups(served: Served, by: str, **query: Any) -> dict[str, list[int]]:
    """Workers, seats and taken seats of each value, which are all."""
    answer = await served.get("/v1/workers", limit=1, group_by=by, **query)
    assert (answer["groups"]["by"], answer["groups"]["is_whole"]) == (by, True)
    return {row["value"]: [row["workers"], row["seats"], row["taken"]] for row in answer["groups"]["counts"]}


async def test_workers_that_fit_are_put_together_by_app_or_by_one_label(served: Served) -> None:
    await served.enlist(capacity=2)
    await served.enlist(capacity=3, labels="env=gray,rack/Zone=a")
    await served.enlist("build", capacity=4, labels="env=gray", app="default/web")
    await served.submit()

    assert await groups(served, "app") == {SHOP: [2, 5, 1], "default/web": [1, 4, 0]}
    assert await groups(served, "app", handler="build") == {"default/web": [1, 4, 0]}
    assert await groups(served, "label:env") == {"gray": [2, 7, 0], "": [1, 2, 1]}
    assert await groups(served, "label:rack/Zone", label="env=gray") == {"a": [1, 3, 0], "": [1, 4, 0]}
    assert await groups(served, "host", q="nobody") == {}
    assert (await served.get("/v1/workers"))["groups"] is None
    for unknown in ("nothing", "label:", "label"):
        assert (await served.ask("GET", "/v1/workers", params={"group_by": unknown})).status_code == 400


async def tell_versions(served: Served, session: str, **versions: str) -> None:
    """What the worker of a session told of its handlers."""
    partition = await served.space.of_app(SHOP)
    digests = {name: await served.tell(name, version=version) for name, version in versions.items()}
    packed = msgpack.packb(digests)
    spec_set = protocol.spec_digest(packed)
    await partition.call(verbs.describe([verbs.Telling(SHOP, "", spec_set, packed)]))
    facts = msgpack.packb({"host": "db7", "sdk": "x", "specs": spec_set})
    client: Any = served.space.clients.commands
    await client.hset(K.session(partition.prefix, session), "facts", facts)


async def test_workers_are_put_together_by_the_versions_that_they_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for versions in ({"send": "1.4"}, {"send": "1.4"}, {"send": "1.5", "mail": "1.4"}, {}):
        session = await served.enlist("send", "mail", capacity=1)
        if versions:
            await tell_versions(served, session, **versions)

    assert await groups(served, "version") == {"1.4": [2, 2, 0], "1.4,1.5": [1, 1, 0], "": [1, 1, 0]}
    [facet] = (await served.get("/v1/workers", facets="version"))["facets"]
    assert [(row["value"], row["workers"]) for row in facet["counts"]] == [("1.4", 2), ("", 1), ("1.4,1.5", 1)]

    monkeypatch.setattr(import_module("gojob_redis.view.worker_list"), "SPEC_SETS", 1)
    told = (await served.get("/v1/workers", group_by="version"))["groups"]
    assert (told["is_whole"], sum(row["workers"] for row in told["counts"])) == (False, 4)


async def test_a_token_of_one_app_sees_its_own_workers(served: Served) -> None:
    await served.enlist(app="default/web")
    own = await served.enlist()
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token

    answer = await served.ask("GET", "/v1/workers", kind="shop", params={"facets": "app"})

    assert [worker["session"] for worker in answer.json()["items"]] == [own]
    assert [row["value"] for row in answer.json()["facets"][0]["counts"]] == ["default/shop"]


# ---- load ------------------------------------------------------------------------------------------------------------


async def test_a_worker_shows_what_its_process_took_by_its_last_heartbeat(served: Served) -> None:
    session = await served.enlist()
    partition = await served.space.of_app(SHOP)
    [before] = (await served.get("/v1/workers"))["items"]

    for load in ("12 100 20", "- - 0"):
        assert await match.renew(partition, GATEWAY, [verbs.Renewal(session, 1, 0, -1, -1, load)]) == ["ok"]
        [worker] = (await served.get("/v1/workers"))["items"]
        expected = {"cpu_percent": 12, "memory_bytes": 100 << 20, "lag_ms": 20}
        assert worker["load"] == (
            expected if load[0] != "-" else {"cpu_percent": None, "memory_bytes": None, "lag_ms": 0}
        )

    assert before["load"] is None
