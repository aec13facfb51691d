"""One tenant's data and requests over HTTP: what they cost is bounded by the page, not by what others have."""

import time
from collections.abc import AsyncIterator, Iterable
from importlib import import_module
from typing import Any

import pytest

from gojob_redis.partitions import Partitions
from gojob_redis.redis_client import Client
from tests.served import APP, SHOP, Served, serving

pytestmark = pytest.mark.real

QUEUES = import_module("gojob_redis.view.queues")


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


@pytest.fixture
def read_back(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many values each read of the engine answered so far."""
    sizes: list[int] = []
    read = Partitions.read

    async def counted(self: Partitions, *arguments: Any, **options: Any) -> list[Any]:
        answers = await read(self, *arguments, **options)
        sizes.append(sum(len(each) if isinstance(each, (list, set, dict)) else 1 for each in answers))
        return answers

    monkeypatch.setattr(Partitions, "read", counted)
    return sizes


async def known_by_name(served: Served, handlers: Iterable[str]) -> None:
    """Make handlers known that nobody serves now."""
    client: Any = served.space.clients.commands
    prefix = served.space.prefixes[await served.space.of_app(SHOP)]
    now = int(time.time() * 1000)
    for handler in handlers:
        await client.zadd(f"{prefix}handlers", {handler: now})
        await client.zadd(f"{prefix}app_handlers:{handler.rpartition('/')[0]}", {handler: 0})


async def test_a_mistyped_handler_is_compared_with_its_neighbours_and_not_with_all(
    served: Served, read_back: list[int]
) -> None:
    await known_by_name(served, (f"{SHOP}/work-{number:04d}" for number in range(1_000)))
    await served.enlist("send")
    read_back.clear()

    refused = await served.ask("POST", f"{APP}/handlers/sned/tasks", {})

    assert refused.json()["hint"] == "Did you mean send?"
    assert sum(read_back) <= 210


async def test_the_handlers_of_other_apps_are_not_read_to_show_one(served: Served, read_back: list[int]) -> None:
    await known_by_name(served, (f"default/elsewhere/work-{number:04d}" for number in range(1_000)))
    await served.enlist("send")
    read_back.clear()

    assert (await served.get(f"{APP}/handlers/send"))["workers"] == 1
    assert [each["handler"] for each in (await served.get(f"{APP}/handlers"))["items"]] == ["send"]

    assert sum(read_back) < 100


async def test_handlers_come_in_pages_by_name_and_those_long_forgotten_do_not(served: Served) -> None:
    await served.enlist("a", "b", "c", "d")
    await served.submit("bb")  # nobody announced it

    first = await served.get(f"{APP}/handlers", limit=3)
    second = await served.get(f"{APP}/handlers", limit=3, cursor=first["next"])

    assert [each["handler"] for each in first["items"]] == ["a", "b"]
    assert [each["handler"] for each in second["items"]] == ["c", "d"]
    assert second["next"] is None


async def test_a_page_of_handlers_ends_where_they_have_too_many_lanes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QUEUES, "PAGE_LANES", 3)
    await served.enlist("a", "b", "c")
    for handler in ("a", "b", "c"):
        await served.submit(handler, labels={"env": "blue"})

    pages = [await served.get(f"{APP}/handlers")]
    while pages[-1]["next"]:
        pages.append(await served.get(f"{APP}/handlers", cursor=pages[-1]["next"]))

    assert [[each["handler"] for each in page["items"]] for page in pages] == [["a"], ["b"], ["c"]]


async def test_a_page_of_workers_ends_where_they_serve_too_much(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QUEUES, "PAGE_HANDLERS", 3)
    sessions = sorted([await served.enlist(*(f"h{crew}{number}" for number in range(4))) for crew in range(3)])

    pages = [await served.get(f"{APP}/workers")]
    while pages[-1]["next"]:
        pages.append(await served.get(f"{APP}/workers", cursor=pages[-1]["next"]))

    assert [[each["session"] for each in page["items"]] for page in pages if page["items"]] == [
        [each] for each in sessions
    ]


async def test_a_new_trigger_is_written_without_reading_the_names_of_the_others(
    served: Served, read_back: list[int]
) -> None:
    for number in range(120):
        await served.put_trigger(f"t-{number:03d}", schedule={"kind": "manual"})
    read_back.clear()

    await served.put_trigger("nightly", schedule={"kind": "manual"})
    assert max(read_back) < 20

    refused = await served.ask("GET", f"{APP}/triggers/t-1199")
    assert refused.json()["hint"] == "Did you mean t-119 or t-118 or t-117?"


async def test_triggers_come_in_pages_by_name(served: Served, read_back: list[int]) -> None:
    for name in ("c", "a", "b"):
        await served.put_trigger(name, schedule={"kind": "manual"})

    first = await served.get(f"{APP}/triggers", limit=2)
    second = await served.get(f"{APP}/triggers", limit=2, cursor=first["next"])

    assert [each["name"] for page in (first, second) for each in page["items"]] == ["a", "b", "c"]
    assert (first["next"], second["next"]) == ("b", None)
