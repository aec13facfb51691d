"""GET /v1/timeline: what happened and what is planned, on one axis, to who may see it."""

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from gojob_redis.planning.planner import engine_time
from tests.flow.test_api_stats import worked
from tests.flow.test_api_trigger_list import put
from tests.tools.served import APP, Served, serving

pytestmark = pytest.mark.real

QUARTERS = {"kind": "cron", "spec": "*/15 * * * *", "time_zone": "Asia/Kathmandu"}
MINUTELY = {"kind": "every", "every_ms": 60_000}


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


def sums(row: dict[str, Any]) -> dict[str, int]:
    """The numbers of a row, each list added up."""
    return {name: sum(own) for name, own in row.items() if isinstance(own, list) and any(own)}


async def test_past_and_future_of_a_handler_stand_on_one_axis(served: Served) -> None:
    await put(served, "default/shop", "often", schedule=QUARTERS)
    await worked(served, "ok", "ok", "error")

    answer = await served.get("/v1/timeline")

    [row] = answer["rows"]
    steps = (answer["to_ms"] - answer["from_ms"]) // limits.MINUTE_MS
    assert (row["namespace"], row["app"], row["handler"], answer["step"]) == ("default", "shop", "send", "1m")
    assert {len(own) for own in row.values() if isinstance(own, list)} == {steps} == {len(answer["planned"])}
    assert {name: own for name, own in sums(row).items() if name != "planned"} == {"completed": 2, "faulted": 1}
    assert 3 <= sums(row)["planned"] <= 4
    assert row["planned"] == answer["planned"]
    starts = range(answer["from_ms"], answer["to_ms"], limits.MINUTE_MS)
    fires = [at for at, count in zip(starts, row["planned"], strict=True) if count]
    assert all(at >= answer["planned_from_ms"] > answer["now_ms"] and at % (15 * 60_000) == 0 for at in fires)
    ended = [at for at, count in zip(starts, row["completed"], strict=True) if count]
    assert all(at <= answer["now_ms"] for at in ended)
    assert (answer["triggers"], answer["covered"], answer["is_whole"]) == (1, 1, True)


async def test_only_what_is_active_and_has_a_schedule_is_planned(served: Served) -> None:
    await put(served, "default/shop", "a", schedule=MINUTELY)
    await put(served, "default/shop", "by-hand")
    await put(served, "default/shop", "paused", schedule=MINUTELY)
    await served.post(f"{APP}/triggers/paused/pause")

    answer = await served.get("/v1/timeline", app="shop")

    assert (answer["triggers"], answer["covered"]) == (1, 1)
    assert 59 <= sum(answer["planned"]) <= 61


async def test_a_row_is_a_handler_or_an_app(served: Served) -> None:
    await put(served, "default/shop", "a", schedule=MINUTELY)
    await put(served, "default/shop", "b", schedule=MINUTELY, handler="pack")
    await put(served, "default/mail", "c", schedule=MINUTELY)
    now_ms = await engine_time(served.space[0])

    handlers = (await served.get("/v1/timeline", app="shop", step="10m", to=now_ms + limits.DAY_MS))["rows"]
    apps = (await served.get("/v1/timeline", by="app"))["rows"]
    [one] = (await served.get("/v1/timeline", app="shop", handler="pack", by="app"))["rows"]

    assert [row["handler"] for row in handlers] == ["pack", "send"]
    assert all(sum(row["planned"]) >= 1_438 for row in handlers)
    assert [(row["app"], row["handler"]) for row in apps] == [("shop", ""), ("mail", "")]
    assert sum(apps[0]["planned"]) == 2 * sum(apps[1]["planned"]) > 0
    assert one["handler"] == "pack"


async def test_a_token_sees_what_its_apps_plan_and_no_other(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    for app in ("default/shop", "default/mail", "lab/shop"):
        await put(served, app, "a", schedule=MINUTELY)
    await worked(served, "ok", app="default/mail")
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token

    answer = (await served.ask("GET", "/v1/timeline", kind="shop")).json()
    denied = await served.ask("GET", "/v1/timeline", kind="shop", params={"app": "mail"})

    assert [(row["namespace"], row["app"]) for row in answer["rows"]] == [("default", "shop")]
    assert (answer["triggers"], answer["covered"]) == (1, 1)
    assert (denied.status_code, denied.json()["code"]) == (403, "forbidden")
    assert (await served.get("/v1/timeline", namespace="lab"))["triggers"] == 1


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"to": 8 * limits.DAY_MS}, "bad_span"),
        ({"from": 5_000, "to": 4_000}, "bad_span"),
        ({"from": -2 * limits.DAY_MS, "to": -limits.DAY_MS, "step": "1m"}, "bad_span"),
        ({"to": limits.DAY_MS, "step": "1m"}, "too_many_buckets"),
        ({"handler": "send"}, "missing"),
    ],
)
async def test_an_axis_that_cannot_be_shown_is_refused(served: Served, query: dict[str, Any], code: str) -> None:
    now_ms = await engine_time(served.space[0])
    moved = {name: now_ms + at if isinstance(at, int) else at for name, at in query.items()}

    answer = await served.ask("GET", "/v1/timeline", params=moved)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_week_ahead_has_half_hours(served: Served) -> None:
    await put(served, "default/shop", "a", schedule=QUARTERS)
    now_ms = await engine_time(served.space[0])

    answer = await served.get("/v1/timeline", to=now_ms + 7 * limits.DAY_MS)

    assert answer["step"] == "30m"
    assert set(answer["planned"][4:-1]) == {2}


async def test_what_was_not_computed_in_time_is_not_covered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(served, "default/shop", "a", schedule=MINUTELY)
    await put(served, "default/shop", "b", schedule=MINUTELY)  # falls into the same minutes, so it is the same rule
    await put(served, "default/shop", "c", schedule=QUARTERS)
    await put(served, "default/mail", "d", schedule=MINUTELY)

    monkeypatch.setattr(limits, "FORECAST_CPU_MS", 0)
    short = await served.get("/v1/timeline", app="shop")
    monkeypatch.setattr(limits, "FORECAST_MS", -1)
    none = await served.get("/v1/timeline")

    assert (short["triggers"], short["covered"]) == (3, 2)
    assert (none["triggers"], none["covered"], none["rows"]) == (4, 0, [])


async def test_rules_beyond_the_limit_are_told_and_not_covered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FORECAST_RULES", 1)
    for name, schedule in (("a", QUARTERS), ("b", QUARTERS), ("c", MINUTELY)):
        await put(served, "default/shop", name, schedule=schedule)

    answer = await served.get("/v1/timeline", app="shop")

    assert (answer["triggers"], answer["covered"]) == (3, 2)


async def test_of_many_rows_those_with_the_most_are_shown(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TIMELINE_ROWS", 2)
    monkeypatch.setattr(import_module("gojob_redis.view.timeline"), "SUMS_READ", 0)
    await put(served, "default/shop", "a", schedule=MINUTELY, handler="planned")
    await worked(served, "ok", handler="idle")
    await worked(served, "ok", "ok", handler="busy")

    answer = await served.get("/v1/timeline")

    assert len(answer["rows"]) == 2
    assert answer["rows"][0]["handler"] == "planned"
    assert not answer["is_whole"]
