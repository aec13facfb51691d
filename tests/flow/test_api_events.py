"""GET /v1/events and ``gojob events``: one list over all partitions, and nothing of other namespaces."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import ids
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_redis.view import live
from tests.tools.served import PARTITIONS, Served, serving

pytestmark = pytest.mark.real
view_events = importlib.import_module("gojob_redis.view.events")


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        commands: Any = served.space.clients.commands
        for prefix in served.space.prefixes:  # that it was bootstrapped is told, too
            await commands.unlink(K.events(prefix))
        yield served


async def told(served: Served, app: str, at: str, **fields: Any) -> None:
    """Put an entry into the log of an app, or of the first partition where there is none."""
    client: Any = served.space.clients.commands
    wall = at.partition("-")[0]
    prefix = served.space.prefixes[(await served.space.of_app(app)).number if app else 0]
    if app:
        await client.zadd(K.event_apps(prefix), {app: wall})
    await client.xadd(K.app_events(prefix, app) if app else K.events(prefix), {"wall": wall, **fields}, id=at)


async def kinds(served: Served, who: str = "admin", **query: Any) -> list[str]:
    answer = await served.ask("GET", "/v1/events", kind=who, params=query)
    assert answer.status_code == 200, answer.text
    return [word_of(event) for event in answer.json()["items"]]


def word_of(event: dict[str, Any]) -> str:
    """The kind of an event as it was told."""
    return str(event["about"]["kind"] if event["kind"] == "other" else event["kind"])


async def test_events_of_all_partitions_come_newest_first(served: Served) -> None:
    await told(served, "default/shop", "1000-0", kind="a")
    await told(served, "default/mail", "3000-0", kind="lost", handler="default/mail/send", run="r1.3", why="lease")
    await told(served, "default/cars", "2000-0", kind="b")
    await told(served, "", "2500-0", kind="n")

    page = await served.get("/v1/events")

    assert [word_of(event) for event in page["items"]] == ["lost", "n", "b", "a"]
    partition = (await served.space.of_app("default/mail")).number
    assert page["items"][0] == {
        "id": f"3000-0.{partition}.default/mail", "kind": "lost", "at_ms": 3000, "app": "default/mail",
        "handler": "default/mail/send", "task": "r1", "trigger": "", "about": {"run": "r1.3", "why": "lease"},
    }  # fmt: skip
    assert page["next"] is None


async def pages(served: Served, **query: Any) -> tuple[list[str], int]:
    """The kinds on all pages, and how many pages these were."""
    found: list[str] = []
    count = 0
    cursor: str | None = ""
    while cursor is not None:
        page = await served.get("/v1/events", cursor=cursor, **query)
        found += [word_of(event) for event in page["items"]]
        count, cursor = count + 1, page["next"]
    return found, count


@pytest.mark.parametrize("limit", [1, 70, 500])
async def test_pages_lose_and_repeat_nothing(served: Served, limit: int) -> None:
    number = 200 if limit == 1 else 1_300
    for n in range(number):
        await told(served, ["default/shop", "default/mail", ""][n % 3], f"{1000 + n // 5}-{n}", kind=f"k{n}")

    found, _ = await pages(served, limit=limit)

    assert sorted(found) == sorted(f"k{n}" for n in range(number))
    assert [int(kind[1:]) // 5 for kind in found] == sorted((n // 5 for n in range(number)), reverse=True)


async def test_a_rare_kind_is_found_in_pages_that_read_a_bounded_part(served: Served) -> None:
    await told(served, "default/shop", "1-0", kind="poison")
    for n in range(2_500):
        await told(served, "default/shop", f"{1000 + n}-0", kind="lost")

    assert await pages(served, kind="poison", limit=100) == (["poison"], 6)
    assert await pages(served, kind="poison", limit=100, namespace="default", app="shop") == (["poison"], 6)


async def test_the_apps_with_the_newest_events_are_merged(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_events, "APPS", 2)
    apps = [f"default/a{n}" for n in range(40)]
    for n, app in enumerate(apps):
        await told(served, app, f"{1000 + n}-0", kind=app)

    found, _ = await pages(served)

    assert found[0] == "default/a39"
    assert len(found) == 2 * PARTITIONS
    assert await kinds(served, namespace="default", app="a0") == ["default/a0"]


async def test_events_are_filtered_by_kind_app_and_namespace(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    await told(served, "lab/mice", "1-0", kind="lost")
    await told(served, "lab/rats", "2-0", kind="mended")
    await told(served, "default/shop", "3-0", kind="lost")

    assert await kinds(served, kind="lost") == ["lost", "lost"]
    assert await kinds(served, namespace="lab") == ["mended", "lost"]
    assert await kinds(served, namespace="lab", app="mice") == ["lost"]
    assert await kinds(served, namespace="lab", app="nobody") == []


async def test_a_token_of_one_namespace_sees_its_own_events_only(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    await told(served, "default/shop", "1-0", kind="theirs")
    await told(served, "lab/mice", "2-0", kind="ours")
    await told(served, "", "3-0", kind="nobodys", gateway="g1")
    await told(served, "", "4-0", kind="unknown", handler="?")

    assert await kinds(served, "lab") == ["ours"]
    assert await kinds(served) == ["unknown", "nobodys", "ours", "theirs"]
    refused = await served.ask("GET", "/v1/events", kind="lab", params={"namespace": "default"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_cursor_that_is_not_ours_is_refused(served: Served) -> None:
    answer = await served.ask("GET", "/v1/events", params={"cursor": "x"})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_the_oldest_come_first_where_that_is_asked_and_their_pages_lose_nothing(served: Served) -> None:
    for n in range(700):
        await told(served, ["default/shop", "default/mail", ""][n % 3], f"{1000 + n // 5}-{n}", kind=f"k{n}")

    found, _ = await pages(served, order="oldest", limit=90)

    assert sorted(found) == sorted(f"k{n}" for n in range(700))
    assert [int(kind[1:]) // 5 for kind in found] == sorted(n // 5 for n in range(700))


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_events_are_filtered_by_time_from_a_moment_to_before_another(served: Served, order: str) -> None:
    for n in range(5):
        await told(served, "default/shop", f"{1000 + n}-0", kind=f"k{n}")

    found, _ = await pages(served, order=order, limit=1, **{"from": 1_001, "to": "1970-01-01T00:00:01.003Z"})

    assert sorted(found) == ["k1", "k2"]


async def test_events_are_filtered_by_handler_task_and_trigger(served: Served) -> None:
    partition = (await served.space.of_app("default/shop")).number
    task = ids.submitted_id(partition, 1_800_000_000_000)
    await told(served, "default/shop", "1-0", kind="a", handler="default/shop/send", run=f"{task}.3")
    await told(served, "default/shop", "2-0", kind="b", handler="default/shop/pack", task=task)
    await told(served, "default/shop", "3-0", kind="c", trigger="daily", uid="abc1234")
    await told(served, "default/mail", "4-0", kind="d", handler="default/mail/send")

    assert await kinds(served, handler="send") == ["d", "a"]
    assert await kinds(served, handler="send", app="shop") == ["a"]
    assert await kinds(served, task=task) == ["b", "a"]
    assert await kinds(served, trigger="daily") == ["c"]
    assert await kinds(served, trigger="abc1234") == ["c"]
    assert await kinds(served, kind=["lost", "other"], task=task) == ["b", "a"]


async def test_an_answer_says_where_it_was_read_and_holds_what_happened_before(served: Served) -> None:
    page = await served.get("/v1/events", live="true")
    position = live.parse(page["live"], PARTITIONS)
    shop, mail = [await served.space.of_app(app) for app in ("default/shop", "default/mail")]
    await told(served, "default/shop", f"{position[shop.number]}-5", kind="after")
    await told(served, "default/mail", f"{position[mail.number] - 1}-5", kind="before")

    view = await view_events.events(served.space, lambda _: True, position=position)

    assert [event.about["kind"] for event in view.items] == ["before"]


@pytest.mark.parametrize("query", [{"kind": "nonsense"}, {"from": "x"}, {"to": "2027-01-01T00:00:00"}, {"task": "x"}])
async def test_a_filter_that_means_nothing_is_refused(served: Served, query: dict[str, str]) -> None:
    assert (await served.ask("GET", "/v1/events", params=query)).status_code == 400


async def test_more_than_500_is_refused(served: Served) -> None:
    assert (await served.ask("GET", "/v1/events", params={"limit": 501})).status_code == 400
