"""One tenant's data and requests over HTTP: what they cost is bounded by the page, not by what others have."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from importlib import import_module
from typing import Any

import msgpack
import pytest

from gojob_redis.api.dependencies import Edge
from gojob_redis.control import tokens
from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from gojob_redis.engine.partitions import Partition
from tests.tools.served import APP, DAILY, SHOP, Served, serving
from tests.tools.waiting import until

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
    read = Partition.read

    async def counted(self: Partition, *arguments: Any, **options: Any) -> list[Any]:
        answers = await read(self, *arguments, **options)
        sizes.append(sum(len(each) if isinstance(each, (list, set, dict)) else 1 for each in answers))
        return answers

    monkeypatch.setattr(Partition, "read", counted)
    return sizes


async def known_by_name(served: Served, handlers: Iterable[str]) -> None:
    """Make handlers known that nobody serves now."""
    client: Any = served.space.clients.commands
    prefix = (await served.space.of_app(SHOP)).prefix
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
    assert [each["handler"] for each in (await served.get("/v1/queues", app="shop"))["items"]] == ["send"]

    assert sum(read_back) < 100


async def test_a_page_of_workers_ends_where_they_serve_too_much(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QUEUES, "PAGE_HANDLERS", 3)
    monkeypatch.setattr(import_module("gojob_redis.view.worker_list"), "PAGE_HANDLERS", 3)
    sessions = sorted([await served.enlist(*(f"h{group}{number}" for number in range(4))) for group in range(3)])

    pages = [await served.get("/v1/workers", app="shop")]
    while pages[-1]["next"]:
        pages.append(await served.get("/v1/workers", app="shop", cursor=pages[-1]["next"]))

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
    await served.progress(good, msgpack.packb({"percent": 5.0}))
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
    many_parts = [1] * limits.PARAM_ELEMENTS
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


# ---- what a namespace may have ---------------------------------------------------------------------------------------


def edge_of(served: Served) -> Edge:
    edge: Edge = served.app.state.edge
    return edge


async def set_limits(served: Served, **limits: int) -> Any:
    answer = await served.ask("PUT", "/v1/namespaces/default", {"limits": limits})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(served: Served, method: str, path: str, body: Any = None) -> tuple[int, str, int | None, str | None]:
    """Status, code, limit and Retry-After of an answer that refuses."""
    answer = await served.ask(method, path, body)
    told = answer.json()
    return answer.status_code, told["code"], told.get("limit"), answer.headers.get("Retry-After")


async def test_what_is_not_named_of_a_namespace_stays(served: Served) -> None:
    await served.ask("PUT", "/v1/namespaces/lab", {"description": "trials", "limits": {"polls": 7}})

    changed = (await served.ask("PUT", "/v1/namespaces/lab", {"limits": {"apps": 3}})).json()
    again = (await served.ask("PUT", "/v1/namespaces/lab", {"durability": "fast"})).json()

    assert changed == again == await served.get("/v1/namespaces/lab")
    assert (changed["description"], changed["durability"]) == ("trials", "fast")
    assert (changed["limits"]["polls"], changed["limits"]["apps"]) == (7, 3)
    assert changed["limits"]["handlers_per_app"] == limits.HANDLERS_PER_APP
    emptied = (await served.ask("PUT", "/v1/namespaces/lab", {"description": ""})).json()
    assert (emptied["description"], emptied["limits"]) == ("", changed["limits"])


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({"poles": 1}, "unknown_limit", "limits.poles"),
        ({"polls": -1}, "bad_limit", "limits.polls"),
        ({"polls": 10**18}, "bad_limit", "limits.polls"),
        ({"polls": "many"}, "bad_request", "limits.polls"),
        ({f"l{number}": 1 for number in range(100)}, "bad_request", "limits"),
    ],
)
async def test_limits_that_make_no_sense_are_refused(served: Served, said: Any, code: str, field: str) -> None:
    answer = await served.ask("PUT", "/v1/namespaces/default", {"limits": said})

    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, code, field)


async def test_limits_of_a_namespace_hold_for_its_tasks_and_triggers(served: Served) -> None:
    await set_limits(served, handlers_per_app=2, lanes_per_app=2, triggers_per_app=1, delayed_per_app=1, apps=1)
    unknown = {"allow_unknown": True}
    at_work = f"{APP}/handlers/one/tasks"
    manual = {"handler": "one", "schedule": {"kind": "manual"}, **unknown}
    await served.put_trigger("first", handler="one")
    await served.submit("one")
    await served.submit("one", delay_ms=60_000)
    await served.submit("two")

    assert await refused(served, "POST", at_work, {"delay_ms": 60_000, **unknown}) == (429, "delayed_full", 1, "1")
    assert await refused(served, "POST", at_work, {"labels": {"a": "1"}, **unknown}) == (429, "app_lanes_full", 2, None)
    await set_limits(served, lanes_per_app=9)
    assert await refused(served, "POST", f"{APP}/handlers/three/tasks", unknown) == (429, "handlers_full", 2, None)
    assert await refused(served, "PUT", f"{APP}/triggers/second", manual) == (429, "triggers_full", 1, None)
    assert await refused(served, "PUT", f"{APP}/triggers/first", {**manual, "schedule": DAILY, "handler": "four"}) == (
        (429, "handlers_full", 2, None)
    )
    other = "/v1/apps/default/other/handlers/one/tasks"
    assert await refused(served, "POST", other, unknown) == (429, "apps_full", 1, None)
    await set_limits(served, apps=2)
    assert (await served.ask("POST", other, unknown)).status_code == 201


async def test_a_token_keeps_no_more_requests_waiting_than_it_may(served: Served) -> None:
    await set_limits(served, polls_per_token=2, polls=3)
    served.tokens["second"] = (await tokens.create_token(served.space, "api")).token
    served.tokens["third"] = (await tokens.create_token(served.space, "api")).token
    task = await served.submit()

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(served.ask("GET", f"/v1/tasks/{task}?wait=20s")) for _ in range(2)]
        await until(lambda: edge_of(served).polls.total == 2)
        assert await refused(served, "GET", f"/v1/tasks/{task}?wait=20s") == (503, "polls_full", None, "5")

        waiting.append(group.create_task(served.ask("GET", f"/v1/tasks/{task}?wait=20s", kind="second")))
        await until(lambda: edge_of(served).polls.total == 3)
        full = await served.ask("GET", f"/v1/tasks/{task}?wait=20s", kind="third")
        assert (full.status_code, full.json()["code"]) == (503, "polls_full")
        await served.post(f"/v1/tasks/{task}/cancel")

    assert [each.result().json()["state"] for each in waiting] == ["canceled"] * 3
    assert edge_of(served).polls.total == 0


async def test_namespaces_and_tokens_come_in_pages(served: Served) -> None:
    client: Any = served.space.clients.commands
    record = '{"description": "", "made_ms": 1}'
    await client.hset("{gojob}:namespaces", mapping={f"n{number}": record for number in range(1_500)})

    found: set[str] = set()
    cursor: Any = ""
    pages = 0
    while cursor is not None:
        page = await served.get("/v1/namespaces", cursor=cursor, limit=500)
        names = [each["name"] for each in page["items"]]
        assert names == sorted(names)
        found |= set(names)
        cursor, pages = page["next"], pages + 1

    assert found == {"default", *(f"n{number}" for number in range(1_500))}
    assert pages >= 3
    assert len((await served.get("/v1/tokens"))["items"]) == 3
    for cursor in ("٣", "1" * 30, "x"):
        assert await refused(served, "GET", f"/v1/namespaces?cursor={cursor}") == (400, "bad_cursor", None, None)
