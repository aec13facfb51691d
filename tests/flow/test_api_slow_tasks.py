"""GET /v1/tasks?sort=slowest: among what the fold keeps, with the other filters."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import ids, limits
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_redis.engine.sums import pack
from gojob_redis.maintenance.fold import Fold
from gojob_redis.planning.planner import engine_time
from tests.tools.served import SHOP, Served, serving

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        await namespaces.put_namespace(served.space, "lab")
        yield served


async def ended(served: Served, outcome: str = "ok", app: str = SHOP, handler: str = "send", **body: Any) -> str:
    """A task that is over."""
    path = f"/v1/apps/{app}/handlers/{handler}/tasks"
    task = str((await served.post(path, {"allow_unknown": True, **body}))["id"])
    await served.start(task)
    await served.report(task, outcome, disposition="final")
    return task


async def keep(served: Served, *slow: tuple[int, str], handler: str = f"{SHOP}/send", hours_ago: int = 0) -> None:
    """What the fold keeps of an hour: durations and tasks."""
    partition = await served.space.of_app(handler.rpartition("/")[0])
    hour = await engine_time(partition) // limits.HOUR_MS - hours_ago
    client: Any = served.space.clients.commands
    await client.set(K.slowest(partition.prefix, handler, str(hour)), pack([list(each) for each in slow]))


async def listed(served: Served, *, limit: int = 100, kind: str = "admin", **query: Any) -> list[str]:
    """Ids of all pages."""
    task_ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {**query, "sort": "slowest", "cursor": cursor, "limit": limit}
        answer = await served.ask("GET", "/v1/tasks", kind=kind, params=params)
        assert answer.status_code == 200, answer.text
        task_ids += [row["id"] for row in answer.json()["items"]]
        cursor = answer.json()["next"]
    return task_ids


async def test_what_the_fold_kept_comes_longest_first_across_hours_handlers_and_apps(served: Served) -> None:
    for app, handler in ((SHOP, "send"), (SHOP, "mail"), ("lab/shop", "send")):
        await served.enlist(handler, app=app)
    a, b = await ended(served), await ended(served)
    c = await ended(served, handler="mail")
    d = await ended(served, app="lab/shop")
    await keep(served, (50, a))
    await keep(served, (900, b), hours_ago=5)
    await keep(served, (700, c), handler=f"{SHOP}/mail")
    await keep(served, (800, d), handler="lab/shop/send", hours_ago=23)
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token

    assert await listed(served) == [b, d, c, a]
    assert await listed(served, limit=1) == [b, d, c, a]
    assert await listed(served, app="shop") == [b, c, a]
    assert await listed(served, app="shop", handler="mail") == [c]
    assert await listed(served, namespace="lab") == await listed(served, kind="lab") == [d]


async def test_what_really_ended_is_kept_and_listed(served: Served) -> None:
    await served.enlist("send")
    tasks = {await ended(served), await ended(served, "error")}
    await Fold(served.space).run_once()

    assert set(await listed(served)) == tasks


async def test_other_filters_go_by_what_is_kept(served: Served) -> None:
    await served.enlist("send", name="old")
    await served.enlist("send", labels="env=gray", name="gray")
    await served.put_trigger("nightly")
    failed, done = await ended(served, "error"), await ended(served, key="order-7")
    gray = await ended(served, labels={"env": "gray"})
    ran = str((await served.post("/v1/apps/default/shop/triggers/nightly/run"))["id"])
    await served.start(ran)
    await served.report(ran)
    retired = ids.submitted_id(ids.partition_of(ids.TaskId(done)), 1)
    await keep(served, (5, failed), (4, done), (3, gray), (2, ran), (1, retired))
    now_ms = await engine_time(served.space[0])

    assert await listed(served) == [failed, done, gray, ran]
    assert await listed(served, state="faulted") == [failed]
    assert await listed(served, state="created") == []
    assert await listed(served, reason="error") == [failed]
    assert await listed(served, label="env=gray") == [gray]
    assert await listed(served, worker="gray") == [gray]
    assert await listed(served, key="order-7") == [done]
    assert await listed(served, app="shop", trigger="nightly") == [ran]
    assert await listed(served, parent=failed) == []
    assert (await served.get("/v1/tasks", sort="slowest", **{"from": now_ms + 60_000}))["items"] == []
    assert await listed(served, to=now_ms - 60_000) == []


async def test_a_page_says_how_far_back_it_looks_which_is_less_where_there_are_many_handlers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.enlist("send", "mail")
    task = await ended(served)
    await keep(served, (50, task), hours_ago=3)
    hour = await engine_time(served.space[0]) // limits.HOUR_MS

    whole = await served.get("/v1/tasks", sort="slowest")
    asked = await served.get("/v1/tasks", sort="slowest", **{"from": (hour - 5) * limits.HOUR_MS})
    monkeypatch.setattr(limits, "SLOW_LISTS", 6)
    short = await served.get("/v1/tasks", sort="slowest")

    assert (whole["looked"]["tasks"], whole["looked"]["back_to_ms"]) == (1, (hour - 23) * limits.HOUR_MS)
    assert (len(asked["items"]), asked["looked"]["back_to_ms"]) == (1, None)
    assert (short["items"], short["looked"]["back_to_ms"]) == ([], (hour - 2) * limits.HOUR_MS)


async def test_a_page_compares_no_more_than_its_limit_and_goes_on_behind(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SLOW_READ", 2)
    await served.enlist("send")
    *done, failed = [await ended(served), await ended(served), await ended(served, "error")]
    await keep(served, (3, done[0]), (3, done[1]), (1, failed))

    first = await served.get("/v1/tasks", sort="slowest", state="faulted")

    assert (first["items"], first["looked"]["tasks"], first["next"] is None) == ([], 2, False)
    assert await listed(served, state="faulted") == [failed]
    assert sorted(await listed(served, limit=1)) == sorted([*done, failed])


async def test_a_place_of_another_order_is_refused(served: Served) -> None:
    await served.enlist("send")
    tasks = [await ended(served) for _ in range(3)]
    await keep(served, *((1, task) for task in tasks))
    slow = (await served.get("/v1/tasks", sort="slowest", limit=1))["next"]
    newest = (await served.get("/v1/tasks", limit=1))["next"]

    for sort, cursor in (("newest", slow), ("slowest", newest)):
        answer = await served.ask("GET", "/v1/tasks", params={"sort": sort, "cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_nothing_is_kept_where_nothing_happened(served: Served) -> None:
    assert await listed(served) == await listed(served, app="nobody") == []
