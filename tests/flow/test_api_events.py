"""GET /v1/events and ``gojob events``: one list over all partitions, and nothing of other namespaces."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis import control
from gojob_redis.keys import K
from gojob_redis.redis_client import Client
from tests.served import PARTITIONS, Served, serving

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        commands: Any = served.space.clients.commands
        for prefix in served.space.prefixes:  # that it was founded is told, too
            await commands.unlink(K.events(prefix))
        yield served


async def told(served: Served, partition: int, at: str, **fields: Any) -> None:
    """Put an entry into the log of a partition."""
    client: Any = served.space.clients.commands
    wall = at.partition("-")[0]
    await client.xadd(K.events(served.space.prefixes[partition]), {"wall": wall, **fields}, id=at)


async def kinds(served: Served, who: str = "admin", **query: Any) -> list[str]:
    answer = await served.ask("GET", "/v1/events", kind=who, params=query)
    assert answer.status_code == 200, answer.text
    return [event["kind"] for event in answer.json()["items"]]


async def test_events_of_all_partitions_come_newest_first(served: Served) -> None:
    await told(served, 0, "1000-0", kind="a", app="default/shop")
    await told(served, 1, "3000-0", kind="c", handler="default/shop/send", run="r1", why="lease")
    await told(served, 2, "2000-0", kind="b", app="default/shop")

    page = await served.get("/v1/events")

    assert [event["kind"] for event in page["items"]] == ["c", "b", "a"]
    assert page["items"][0] == {
        "id": "3000-0.1", "kind": "c", "at_ms": 3000, "app": "default/shop", "handler": "default/shop/send",
        "about": {"run": "r1", "why": "lease"},
    }  # fmt: skip
    assert page["next"] is None


async def test_pages_lose_and_repeat_nothing(served: Served) -> None:
    for n in range(1_300):
        await told(served, n % 3, f"{1000 + n // 5}-{n % 5}", kind=f"k{n}", app="default/shop")
    found: list[str] = []
    cursor = ""
    while True:
        page = await served.get("/v1/events", limit=70, cursor=cursor)
        found += [event["kind"] for event in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert len(found) == 1_300
    assert set(found) == {f"k{n}" for n in range(1_300)}
    assert found[:5] == [f"k{n}" for n in range(1_299, 1_294, -1)]


async def test_events_are_filtered_by_kind_app_and_namespace(served: Served) -> None:
    await control.put_namespace(served.space, "lab")
    placed = await served.space.of_app("lab/mice")
    await told(served, placed, "1-0", kind="lost", app="lab/mice")
    await told(served, placed, "2-0", kind="mended", app="lab/rats")
    await told(served, (placed + 1) % PARTITIONS, "3-0", kind="lost", app="default/shop")

    assert await kinds(served, kind="lost") == ["lost", "lost"]
    assert await kinds(served, namespace="lab") == ["mended", "lost"]
    assert await kinds(served, namespace="lab", app="mice") == ["lost"]
    assert await kinds(served, namespace="lab", app="nobody") == []


async def test_a_token_of_one_namespace_sees_its_own_events_only(served: Served) -> None:
    await control.put_namespace(served.space, "lab")
    served.tokens["lab"] = (await control.create_token(served.space, "api", scope=["lab"])).token
    await told(served, 0, "1-0", kind="theirs", app="default/shop")
    await told(served, 0, "2-0", kind="ours", app="lab/mice")
    await told(served, 0, "3-0", kind="nobodys", gateway="g1")
    await told(served, 0, "4-0", kind="unknown", handler="?")

    assert await kinds(served, "lab") == ["ours"]
    assert await kinds(served) == ["unknown", "nobodys", "ours", "theirs"]
    refused = await served.ask("GET", "/v1/events", kind="lab", params={"namespace": "default"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_cursor_that_is_not_ours_is_refused(served: Served) -> None:
    answer = await served.ask("GET", "/v1/events", params={"cursor": "x"})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_more_than_500_is_refused(served: Served) -> None:
    assert (await served.ask("GET", "/v1/events", params={"limit": 501})).status_code == 400
