"""GET /v1/overview: how it goes, in one answer, to who may see it."""

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest

from gojob_redis import view
from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_redis.planning.planner import engine_time
from tests.flow.test_api_stats import worked
from tests.flow.test_api_timeline import MINUTELY
from tests.flow.test_api_trigger_list import put
from tests.tools.served import SHOP, Served, serving

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def test_an_installation_without_anything_has_an_overview(served: Served) -> None:
    answer = await served.get("/v1/overview")

    assert (answer["running"], answer["backlog"], answer["workers"], answer["troubled"]) == (0, 0, 0, 0)
    assert (answer["success_24h"], answer["lateness_p99_ms"]) == (None, None)
    assert (answer["buckets"], answer["backlogs"], answer["slowest"], answer["failing"]) == ([], [], [], [])
    assert answer["planned"] == [0] * 60
    assert answer["is_whole"]


async def test_one_answer_says_what_runs_waits_ended_and_who_works(served: Served) -> None:
    await worked(served, "ok", "ok", "ok", "error")
    await worked(served, "error", "error", handler="pack")
    await served.submit("alone")
    await served.submit("alone")
    running = await served.submit("send")
    await served.start(running)
    await put(served, "default/shop", "often", schedule=MINUTELY)
    await worked(served)

    answer = await served.get("/v1/overview")

    assert (answer["running"], answer["backlog"]) == (1, 2)
    assert [(each["handler"], each["waiting"]) for each in answer["backlogs"]] == [("alone", 2)]
    assert (answer["workers"], answer["seats"], answer["taken_seats"]) == (3, 30, 1)
    assert answer["success_24h"] == 0.5
    assert sum(each["completed"] for each in answer["buckets"]) == 3
    assert sum(each["faulted"] for each in answer["buckets"]) == 3
    assert all(each["wait_p50_ms"] is not None for each in answer["buckets"] if each["completed"])
    assert [(each["handler"], each["faulted"], each["failure_rate"]) for each in answer["failing"]] == [
        ("pack", 2, 1.0), ("send", 1, 0.25),
    ]  # fmt: skip
    assert {each["handler"] for each in answer["slowest"]} == {"send", "pack"}
    assert (set(answer["planned"]), answer["covered"], answer["triggers"]) == ({1}, 1, 1)
    assert [each["kind"] for each in answer["events"]] == ["faulted"] * 3 + ["bootstrapped"]


async def test_triggers_in_trouble_are_counted_and_the_first_ten_told(served: Served) -> None:
    partition = await served.space.of_app(SHOP)
    client: Any = served.space.clients.commands
    for number in range(12):
        made = await put(served, "default/shop", f"t{number}")
        await client.sadd(K.troubled(partition.prefix, SHOP), made["uid"])

    answer = await served.get("/v1/overview", app="shop")

    assert answer["troubled"] == 12
    assert len({each["name"] for each in answer["troubled_first"]}) == 10


async def test_a_token_sees_its_apps_only(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    await worked(served, "ok")
    await worked(served, "error", "error", app="default/mail")
    await worked(served, "error", app="lab/shop")
    await put(served, "default/mail", "often", schedule=MINUTELY)
    await served.submit("alone")
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token

    mine = (await served.ask("GET", "/v1/overview", kind="shop")).json()
    everything = await served.get("/v1/overview")
    lab = await served.get("/v1/overview", namespace="lab")
    denied = await served.ask("GET", "/v1/overview", kind="shop", params={"app": "mail"})

    assert (mine["success_24h"], mine["backlog"], mine["workers"], mine["triggers"]) == (1.0, 1, 1, 0)
    assert (mine["failing"], mine["events"], [each["app"] for each in mine["slowest"]]) == ([], [], ["shop"])
    assert (everything["success_24h"], everything["workers"], everything["triggers"]) == (0.25, 3, 1)
    assert [(each["namespace"], each["faulted"]) for each in lab["failing"]] == [("lab", 1)]
    assert (denied.status_code, denied.json()["code"]) == (403, "forbidden")


async def test_more_than_is_looked_at_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("gojob_redis.view.overview"), "BUSIEST", 1)
    await worked(served, "ok", handler="idle")
    await worked(served, "ok", "ok", handler="busy")

    answer = await served.get("/v1/overview", app="shop")

    assert [each["handler"] for each in answer["slowest"]] == ["busy"]
    assert not answer["is_whole"]


async def test_an_overview_of_too_many_steps_is_refused(served: Served) -> None:
    since = await engine_time(served.space[0]) - 155 * limits.MINUTE_MS

    answer = await served.ask("GET", "/v1/overview", params={"from": since, "step": "1m"})

    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_buckets")


async def test_all_who_see_the_same_share_an_overview_and_nobody_else_does(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("gojob_redis.view.overview"), "KEPT_S", 60.0)
    overviews = view.Overviews(view.Forecast(view.Apps(served.space)))
    await worked(served, "ok")
    span = view.span_of(await engine_time(served.space[0]), 0, 0, None)

    first, again, other = [
        await overviews.of(sees, "", span)
        for sees in (lambda _app: True, lambda app: app in ("", SHOP), lambda app: app == "default/mail")
    ]

    assert again is first
    assert (len(first.slowest), other.slowest) == (1, [])
