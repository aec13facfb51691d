"""GET /v1/stats and what belongs to it: what happened is what the answers say, to who may see it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.fingerprint import failure_of, packed
from gojob_redis.domain.tally import TEN_MS
from gojob_redis.engine.client import Client
from gojob_redis.maintenance.fold import Fold
from gojob_redis.planning.planner import Planner, engine_time
from gojob_redis.trigger import Fire
from tests.tools.served import APP, SHOP, Served, serving

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def worked(served: Served, *outcomes: str, handler: str = "send", app: str = "default/shop") -> list[str]:
    """Tasks that a worker ended so, and that were counted."""
    await served.enlist(handler, app=app)
    tasks = []
    for outcome in outcomes:
        created = await served.post(f"/v1/apps/{app}/handlers/{handler}/tasks", {"allow_unknown": True})
        tasks.append(created["id"])
        await served.start(tasks[-1])
        await served.report(tasks[-1], outcome, disposition="final")
    await Fold(served.space).run_once()
    return tasks


async def series(served: Served, **query: Any) -> list[Any]:
    return list((await served.get("/v1/stats", **query))["items"])


async def test_the_last_hour_of_a_handler_is_told_in_minutes(served: Served) -> None:
    await worked(served, "ok", "ok", "error")

    answer = await served.get("/v1/stats", app="shop", handler="send")

    assert (answer["step"], answer["stats_gap"], answer["next"]) == ("1m", 0, None)
    assert 60 <= (answer["to_ms"] - answer["from_ms"]) / limits.MINUTE_MS <= 61
    [own] = answer["items"]
    assert (own["namespace"], own["app"], own["handler"]) == ("default", "shop", "send")
    figures = own["figures"]
    assert [figures[name] for name in ("submitted", "started", "completed", "faulted", "fired")] == [3, 3, 2, 1, 0]
    assert (figures["faulted_by"], figures["failure_rate"]) == ({"error": 1}, 0.3333)
    assert figures["duration"]["count"] == figures["wait"]["count"] == 3
    assert figures["duration"]["p50_ms"] <= figures["duration"]["p99_ms"] <= figures["duration"]["max_ms"]
    assert sum(bucket["figures"]["submitted"] for bucket in own["buckets"]) == 3
    assert own["in_per_s"] == own["out_per_s"] > 0


async def test_an_app_is_the_sum_of_its_handlers_and_they_are_told_one_by_one(served: Served) -> None:
    await worked(served, "ok")
    await worked(served, "ok", "ok", handler="pack")

    [whole] = await series(served, app="shop")
    each = await series(served, app="shop", group_by="handler", buckets=False)

    assert whole["figures"]["completed"] == 3
    assert {one["handler"]: one["figures"]["completed"] for one in each} == {"pack": 2, "send": 1}
    assert [one["buckets"] for one in each] == [[], []]


async def test_handlers_come_in_pages(served: Served) -> None:
    for handler in ("a", "b", "c"):
        await worked(served, "ok", handler=handler)

    first = await served.get("/v1/stats", app="shop", group_by="handler", limit=2)
    rest = await served.get("/v1/stats", app="shop", group_by="handler", limit=2, cursor=first["next"])

    assert [one["handler"] for one in (*first["items"], *rest["items"])] == ["a", "b", "c"]
    assert rest["next"] is None


async def test_a_token_of_one_app_sees_the_figures_of_that_app_only(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    await worked(served, "ok")
    await worked(served, "ok", "ok", app="default/mail")
    await worked(served, "ok", app="lab/shop")
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token

    [all_of_them] = await series(served)
    apps = await series(served, group_by="app")
    mine = (await served.ask("GET", "/v1/stats", kind="shop")).json()["items"]
    denied = await served.ask("GET", "/v1/stats", kind="shop", params={"app": "mail"})

    assert all_of_them["figures"]["completed"] == 4
    assert {(one["namespace"], one["app"]): one["figures"]["completed"] for one in apps} == {
        ("default", "mail"): 2, ("default", "shop"): 1, ("lab", "shop"): 1,
    }  # fmt: skip
    assert [one["figures"]["completed"] for one in mine] == [1]
    assert (denied.status_code, denied.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("step", ["10m", "30m"])
async def test_what_is_long_past_is_read_in_longer_steps(served: Served, step: str) -> None:
    now_ms = await engine_time(served.space[0])
    past_ms = (now_ms - 30 * limits.HOUR_MS) // (30 * limits.MINUTE_MS) * 30 * limits.MINUTE_MS
    partition = await served.space.of_app("default/shop")
    for minute in (1, 12):
        task = ids.submitted_id(partition.number, past_ms)
        call = verbs.submit([verbs.Submission(task, "default/shop/send", "default/shop")])
        served.space.now_ms = lambda at=past_ms + minute * limits.MINUTE_MS: at  # type: ignore[misc]
        await partition.call(call)
    served.space.now_ms = lambda: 0
    await partition.call(verbs.now())
    fold = Fold(served.space)
    for _ in range(3):
        await fold.run_once()

    [own] = await series(served, app="shop", handler="send", step=step, **{"from": past_ms, "to": past_ms + 6 * TEN_MS})

    expected = {past_ms: 1, past_ms + TEN_MS: 1} if step == "10m" else {past_ms: 2}
    assert {one["from_ms"]: one["figures"]["submitted"] for one in own["buckets"]} == expected


async def test_what_is_recent_is_in_longer_steps_at_once(served: Served) -> None:
    await worked(served, "ok")

    for step in ("10m", "30m"):
        [own] = await series(served, app="shop", handler="send", step=step)
        assert own["figures"]["completed"] == 1


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"group_by": "handler"}, "missing"),
        ({"handler": "send"}, "missing"),
        ({"app": "shop", "from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}, "bad_span"),
        ({"app": "shop", "from": "yesterday"}, "bad_moment"),
        ({"app": "shop", "step": "5m"}, "bad_request"),
    ],
)
async def test_what_makes_no_sense_is_refused(served: Served, query: dict[str, Any], code: str) -> None:
    answer = await served.ask("GET", "/v1/stats", params=query)

    assert answer.status_code == 400 or answer.status_code == 422, answer.text
    assert code in (answer.json()["code"], "bad_request")


async def test_all_that_ever_happened_is_told_with_what_runs(served: Served) -> None:
    await worked(served, "ok", "error")
    await served.submit()
    running = await served.submit()
    await served.start(running)
    await Fold(served.space).run_once()

    [own] = (await served.get("/v1/stats/totals", app="shop"))["items"]
    [app] = (await served.get("/v1/stats/totals"))["items"]

    assert (own["handler"], own["unfinished"], own["running"]) == ("send", 2, 1)
    assert (app["app"], app["handler"], app["figures"]) == ("shop", "", own["figures"])
    assert own["figures"]["last_ended_ms"] > 0


async def test_a_trigger_tells_its_last_ends_and_its_days_and_that_it_is_in_trouble(served: Served) -> None:
    await served.enlist("send")
    slot_ms = await engine_time(served.space[0]) // 1_000 * 1_000 - limits.MINUTE_MS
    await served.put_trigger("soon", schedule={"kind": "once", "at": slot_ms})
    await Fire(served.space, Planner(served.space)).run_once()
    [row] = (await served.get("/v1/apps/default/shop/triggers/soon/slots"))["items"]
    await served.start(row["task"])
    await served.report(row["task"], "error", disposition="final")
    await Fold(served.space).run_once()

    own = await served.get(f"{APP}/triggers/soon/stats")
    troubled = await served.get(f"{APP}/troubled")

    assert own["troubled"] is True
    assert [(end["state"], end["slot_ms"]) for end in own["ends"]] == [("faulted", slot_ms)]
    today = datetime.fromtimestamp(slot_ms / 1000, UTC).date().isoformat()
    assert [(day["date"], day["faulted"], day["completed"]) for day in own["days"]] == [(today, 1, 0)]
    assert troubled["items"] == [{"app": "default/shop", "name": "soon", "uid": own["uid"]}]


async def test_slots_that_were_missed_are_told_of_their_trigger_and_handler(served: Served) -> None:
    made = await served.put_trigger(schedule={"kind": "every", "every_ms": 1_000}, misfire_after_ms=10_000)
    wall_ms = made["next_times"][0]["at_ms"] + 30_000
    served.space.now_ms = lambda: wall_ms
    await Fire(served.space, Planner(served.space)).run_once()
    await Fold(served.space).run_once()

    [day] = (await served.get(f"{APP}/triggers/{made['name']}/stats"))["days"]
    [own] = (await served.get("/v1/stats/totals", app="shop"))["items"]

    assert (day["missed"], day["skipped"], own["figures"]["missed"]) == (30, 0, 30)


async def test_failures_are_told_by_what_they_have_in_common(served: Served) -> None:
    await served.enlist("send")
    task = await served.submit()
    await served.start(task)
    record = await served.record(task)
    failure = packed(failure_of("ValueError", "order 17 is gone"))
    report = verbs.Report(
        record["session"], task, int(record["attempt"]), record["fence"], "error", 0, b"\x01", "final", failure
    )
    await served.space[ids.partition_of(task)].call(verbs.report([report]))
    await Fold(served.space).run_once()
    served.tokens["mail"] = (await tokens.create_token(served.space, "api", scope=["default/mail"])).token

    [group] = (await served.get("/v1/failures", by="fingerprint", app="shop", handler="send"))["items"]
    others = (await served.get("/v1/failures", app="shop", handler="pack"))["items"]
    hidden = (await served.ask("GET", "/v1/failures", kind="mail")).json()["items"]

    assert [group[name] for name in ("namespace", "app", "handler", "type", "message", "count", "task")] == [
        "default", "shop", "send", "ValueError", "order # is gone", 1, task,
    ]  # fmt: skip
    assert group["first_ms"] == group["last_ms"] > 0
    assert (others, hidden) == ([], [])
    assert (await served.get("/v1/failures"))["items"] == [group]
    assert (group["first_in"], group["last_in"]) == (None, None)


async def test_a_failure_tells_since_which_version_it_is_new_and_the_series_where_versions_came(served: Served) -> None:
    digest = await served.tell(version="1.4")
    await served.space[(await served.space.of_app(SHOP)).number].call(
        verbs.describe([verbs.Telling(SHOP, "", "told", msgpack.packb({"send": digest}))])
    )
    await served.enlist("send")
    task = await served.submit()
    await served.start(task)
    record = await served.record(task)
    failure = packed(failure_of("ValueError", "order 17 is gone", "told"))
    report = verbs.Report(
        record["session"], task, int(record["attempt"]), record["fence"], "error", 0, b"\x01", "final", failure
    )
    await served.space[ids.partition_of(task)].call(verbs.report([report]))
    await Fold(served.space).run_once()

    [group] = (await served.get("/v1/failures", app="shop"))["items"]
    stats = await served.get("/v1/stats", app="shop", handler="send")

    assert group["first_in"] == group["last_in"] == {"digest": digest, "version": "1.4"}
    [mark] = stats["versions"]
    assert (mark["digest"], mark["version"], mark["first_ms"] == mark["heard_ms"] > 0) == (digest, "1.4", True)
    assert (await served.get("/v1/stats", app="shop"))["versions"] == []
    assert (await served.get("/v1/stats", app="nobody", handler="send"))["versions"] == []


async def test_the_hours_of_a_week_are_those_of_the_zone_that_is_asked_for(served: Served) -> None:
    await worked(served, "ok", "error")

    utc = await served.get("/v1/stats/week", app="shop", handler="send")
    there = await served.get("/v1/stats/week", app="shop", zone="Pacific/Kiritimati")

    assert [len(day) for name in ("faulted", "ended") for day in utc[name]] == [24] * 14
    [(day, hour)] = [(day, hour) for day in range(7) for hour in range(24) if utc["faulted"][day][hour]]
    moved = divmod(24 * day + hour + 14, 24)  # 14 h ahead, all year
    assert utc["ended"][day][hour] == there["ended"][moved[0] % 7][moved[1]] == 2
    assert there["faulted"][moved[0] % 7][moved[1]] == 1
    assert sum(map(sum, there["ended"])) == 2
    assert (there["zone"], there["to_ms"] - there["from_ms"]) == (
        "Pacific/Kiritimati",
        pytest.approx(28 * limits.DAY_MS, rel=0.01),
    )


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "missing"),
        ({"app": "shop", "zone": "Mars/Base"}, "bad_time_zone"),
        ({"app": "shop", "from": 2, "to": 1}, "bad_span"),
    ],
)
async def test_hours_that_cannot_be_told_are_refused(served: Served, query: dict[str, Any], code: str) -> None:
    answer = await served.ask("GET", "/v1/stats/week", params=query)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/failures", {}),
        ("/v1/failures", {"app": "shop"}),
        ("/v1/stats", {"group_by": "app"}),
        ("/v1/stats", {"app": "shop"}),
        ("/v1/stats/totals", {}),
    ],
)
@pytest.mark.parametrize("cursor", ["1795904668202", "default/shop/send", "default/"])
async def test_the_cursor_of_another_list_is_refused(
    served: Served, path: str, query: dict[str, Any], cursor: str
) -> None:
    refused = await served.ask("GET", path, params={**query, "cursor": cursor})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")


async def test_what_is_no_name_of_a_handler_is_no_cursor_of_handlers(served: Served) -> None:
    refused = await served.ask("GET", "/v1/stats/totals", params={"app": "shop", "cursor": "default/shop"})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")


async def test_one_app_has_no_second_page_of_failures(served: Served) -> None:
    refused = await served.ask("GET", "/v1/failures", params={"app": "shop", "cursor": "default/shop"})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")
