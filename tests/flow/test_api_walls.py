"""One tenant's data and requests over HTTP: what they cost is bounded by the page, not by what others have."""

import time
from collections.abc import AsyncIterator, Iterable
from importlib import import_module
from typing import Any

import msgpack
import pytest

from gojob_redis import limits
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


# ---- large values ----------------------------------------------------------------------------------------------------


NESTED: list[Any] = [[] for _ in range(limits.ANSWER_ELEMENTS + 1)]


async def test_a_value_of_very_many_parts_is_given_by_reference(served: Served) -> None:
    await served.enlist()
    task = await served.submit(params={"a": 1})
    await served.report(task, "ok", msgpack.packb(NESTED))

    shown = await served.get(f"/v1/tasks/{task}")
    assert (shown["result"], shown["params"]) == (None, {"a": 1})
    assert shown["left_out"] == {"result": len(msgpack.packb(NESTED))}

    whole = await served.ask("GET", f"/v1/tasks/{task}/values/result")
    assert whole.headers["content-type"] == "application/vnd.msgpack"
    assert msgpack.unpackb(whole.content) == NESTED


async def test_every_value_of_a_task_and_of_a_shard_can_be_fetched(served: Served) -> None:
    await served.enlist()
    good, bad = await served.submit(params="p" * 100), await served.submit(params=2)
    await served.note(good, "progress", msgpack.packb({"percent": 5.0}))
    await served.report(good, "ok", msgpack.packb("r" * 100))
    await served.report(bad, "error", msgpack.packb({"type": "E"}))
    sharded = await served.submit(shards=2)
    await served.report(f"{sharded}.1", "ok", msgpack.packb("second"))

    async def value(task: str, name: str, query: str = "") -> Any:
        answer = await served.ask("GET", f"/v1/tasks/{task}/values/{name}{query}")
        return msgpack.unpackb(answer.content) if answer.status_code == 200 else answer.json()["code"]

    assert await value(good, "params") == "p" * 100
    assert await value(good, "result") == "r" * 100
    assert await value(good, "progress") == {"percent": 5.0}
    assert await value(good, "error") == "no_value"
    assert await value(bad, "params") == 2
    assert await value(bad, "error") == {"type": "E"}
    assert await value(sharded, "result", "?shard=1") == "second"
    assert await value(sharded, "result", "?shard=0") == "no_value"
    assert (await served.ask("GET", f"/v1/tasks/{good}/values/other")).status_code == 400


async def test_a_page_of_runs_ends_where_its_results_fill_an_answer(served: Served) -> None:
    await served.enlist(capacity=20)
    task = await served.submit(shards=20)
    for shard in range(20):
        await served.report(f"{task}.{shard}", "ok", msgpack.packb("r" * 200_000))

    pages: list[Any] = []
    after: Any = -1
    while after is not None:
        page = await served.get(f"/v1/tasks/{task}/runs", after=after)
        pages.append(page["items"])
        after = page["next"]

    assert [run["shard"] for items in pages for run in items] == list(range(20))
    assert all(len(run["result"]) == 200_000 for items in pages for run in items)
    assert max(map(len, pages)) <= 6


async def test_a_page_of_triggers_ends_where_their_parameters_fill_an_answer(served: Served) -> None:
    for number in range(6):
        await served.put_trigger(f"t{number}", schedule={"kind": "manual"}, params="p" * 200_000)
    for number in range(6, 9):
        await served.put_trigger(f"t{number}", schedule={"kind": "manual"}, params=[1] * 6_000)

    pages: list[Any] = []
    cursor: Any = ""
    while cursor is not None:
        page = await served.get(f"{APP}/triggers", cursor=cursor)
        pages.append([each["name"] for each in page["items"]])
        cursor = page["next"]

    assert [name for names in pages for name in names] == [f"t{number}" for number in range(9)]
    assert len(pages) >= 4


async def test_parameters_of_a_trigger_that_are_too_much_to_show_are_given_by_reference(served: Served) -> None:
    made = await served.put_trigger(schedule={"kind": "manual"}, params={"a": 1}, shard_params=[{"n": 1}] * 5_000)

    shown = await served.get(f"{APP}/triggers/nightly")
    assert shown == made
    assert (shown["params"], shown["shard_params"], shown["shards"]) == ({"a": 1}, None, 5_000)
    assert list(shown["left_out"]) == ["shard_params"]
    whole = await served.ask("GET", f"{APP}/triggers/nightly/values/shard_params")
    assert msgpack.unpackb(whole.content) == [{"n": 1}] * 5_000
    assert (await served.post(f"{APP}/triggers/nightly/pause"))["paused"]
    assert (await served.ask("GET", f"{APP}/triggers/nightly/values/shard_params")).content == whole.content


async def test_parameters_of_very_many_parts_are_refused(served: Served) -> None:
    many_parts = NESTED * (limits.PARAM_ELEMENTS // limits.ANSWER_ELEMENTS)
    one = await served.ask("POST", f"{APP}/handlers/send/tasks", {"params": many_parts, "allow_unknown": True})
    shards = {"shard_params": [many_parts[:30_000]] * 2, "allow_unknown": True}
    many = await served.ask("POST", f"{APP}/handlers/send/tasks", shards)

    assert (one.status_code, one.json()["code"], one.json()["field"]) == (413, "too_many_values", "params")
    assert (many.status_code, many.json()["code"], many.json()["field"]) == (413, "too_many_values", "shard_params")


@pytest.mark.parametrize(
    "value",
    [
        b"\xdd\x00\x03\xff\xf0" * 500 + b"\xc0" * 250_000,
        b"\x91" * 250_000 + b"\xc0",
        msgpack.packb([float("nan"), float("inf"), -float("inf")]),
        msgpack.packb({1: b"\xff", b"\xff\xfe": 2}),
        b"\xa4\xff\xfe\xfd\xfc",
        msgpack.packb([2**64 - 1, -(2**63)]),
        b"\xd7\xff" + b"\xff" * 8,
        b"\xc1",
    ],
)
async def test_no_result_breaks_an_answer(served: Served, value: bytes) -> None:
    await served.enlist()
    task = await served.submit()
    await served.report(task, "ok", value)

    for path in ("", "/runs", "?wait=1s"):
        answer = await served.ask("GET", f"/v1/tasks/{task}{path}")
        assert answer.status_code == 200, answer.text
        answer.json()
    assert (await served.ask("GET", f"/v1/tasks/{task}/values/result")).content == value


async def test_a_log_line_that_is_no_text_breaks_no_log(served: Served) -> None:
    await served.enlist()
    task = await served.submit()
    for line in (b"\xdd\x00\x03\xff\xf0" * 100, msgpack.packb(NESTED), msgpack.packb({"text": "plain", "at": 1})):
        await served.note(task, "log", line)

    lines = (await served.get(f"/v1/tasks/{task}/log"))["items"]

    assert lines[-1]["text"] == "plain"
    assert lines[1]["text"] == f"(left out: {len(msgpack.packb(NESTED))} bytes)"
