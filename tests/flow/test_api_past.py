"""Moments that are past, and triggers that are gone: nothing of either is lost without a word."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces
from gojob_redis.domain import ids
from gojob_redis.engine.client import Client
from gojob_redis.planning.planner import Planner, engine_time
from gojob_redis.trigger import Fire
from tests.tools.served import APP, SHOP, Served, serving

pytestmark = pytest.mark.real

HOUR_MS = 3_600_000


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def now_ms(served: Served) -> int:
    return await engine_time(await served.space.of_app(SHOP))


async def fire(served: Served) -> None:
    await Fire(served.space, Planner(served.space)).run_once()


async def once(served: Served, ago_ms: int, **changes: Any) -> Any:
    """A trigger for a moment that is past."""
    at = await now_ms(served) - ago_ms
    return await served.put_trigger("past", schedule={"kind": "once", "at": at}, **changes)


async def ledger(served: Served, name: str = "past") -> list[Any]:
    found: list[Any] = (await served.get(f"{APP}/triggers/{name}/slots"))["items"]
    return found


@pytest.mark.parametrize(("ago_ms", "misfired"), [(5_000, False), (HOUR_MS, True)])
async def test_once_in_the_past_fires_at_once_and_the_answer_says_so(
    served: Served, ago_ms: int, misfired: bool
) -> None:
    before = await now_ms(served)
    made = await once(served, ago_ms)

    assert made["changed_ms"] >= before
    assert "it fires at once" in made["note"]
    assert ("misfired" in made["note"]) is misfired
    await fire(served)
    [slot] = await ledger(served)
    assert (slot["word"], slot["slot_ms"]) == ("fired", made["schedule"]["at"])
    assert slot["late_ms"] >= ago_ms
    task = await served.get(f"/v1/tasks/{slot['task']}")
    assert (task["trigger"], task["slot_ms"]) == ("past", slot["slot_ms"])


async def test_it_fires_once_however_often_it_is_defined(served: Served) -> None:
    made = await once(served, HOUR_MS)
    await fire(served)

    again = await served.put_trigger("past", schedule=made["schedule"], description="the same")
    await fire(served)

    assert "does not fire" in again["note"]
    assert len(await ledger(served)) == 1


async def test_a_moment_that_passed_while_it_was_disabled_or_paused_is_not_missed(served: Served) -> None:
    made = await once(served, HOUR_MS, enabled=False)
    assert "does not fire" in made["note"]
    await served.put_trigger("past", schedule=made["schedule"])
    await served.put_trigger("other", schedule={"kind": "manual"})
    await served.post(f"{APP}/triggers/past/pause")
    await served.post(f"{APP}/triggers/past/resume")

    await fire(served)

    assert await ledger(served) == []


async def test_a_moment_before_one_that_was_handled_is_refused(served: Served) -> None:
    made = await once(served, HOUR_MS)
    await fire(served)

    body = {"handler": "send", "schedule": {"kind": "once", "at": made["schedule"]["at"] - 1}, "allow_unknown": True}
    refused = await served.ask("PUT", f"{APP}/triggers/past", body)

    assert (refused.status_code, refused.json()["code"]) == (400, "never_fires")


async def test_a_window_that_is_over_is_refused_and_one_that_began_is_told(served: Served) -> None:
    now = await now_ms(served)
    for schedule in (
        {"kind": "every", "every_ms": 60_000, "end_at": now - 1},
        {"kind": "cron", "spec": "* * * * *", "time_zone": "UTC", "end_at": now - HOUR_MS},
    ):
        body = {"handler": "send", "schedule": schedule, "allow_unknown": True}
        refused = await served.ask("PUT", f"{APP}/triggers/over", body)
        assert (refused.status_code, refused.json()["code"]) == (400, "never_fires")

    begun = await served.put_trigger("begun", schedule={"kind": "every", "every_ms": 60_000, "start_at": now - HOUR_MS})
    assert "slots before now are not made up for" in begun["note"]
    ahead = await served.put_trigger("ahead", schedule={"kind": "every", "every_ms": 60_000, "start_at": now + HOUR_MS})
    assert ahead["note"] == ""


async def test_a_preview_says_what_a_past_moment_means(served: Served) -> None:
    at = await now_ms(served) - HOUR_MS

    shown = await served.post("/v1/schedules/preview", {"schedule": {"kind": "once", "at": at}})

    assert "it fires at once" in shown["note"]


# ---- triggers that are gone ------------------------------------------------------------------------------------------


async def test_the_ledger_of_a_deleted_trigger_is_read_by_its_uid(served: Served) -> None:
    made = await once(served, 5_000)
    await fire(served)
    before = await ledger(served)

    gone = await served.ask("DELETE", f"{APP}/triggers/past")

    assert gone.status_code == 204
    assert gone.headers["Location"] == f"{APP}/slots?uid={made['uid']}"
    assert (await served.get(f"{APP}/slots", uid=made["uid"]))["items"] == before


async def test_the_ledger_of_a_trigger_that_stands_is_read_by_its_uid_too(served: Served) -> None:
    made = await once(served, 5_000)
    await fire(served)

    assert (await served.get(f"{APP}/slots", uid=made["uid"]))["items"] == await ledger(served)


async def test_a_uid_of_another_app_is_as_unknown_as_one_that_never_was(served: Served) -> None:
    made = await once(served, 5_000)
    await namespaces.put_namespace(served.space, "lab")
    for app in ("default/other", "lab/shop"):  # wherever they live: the ledger's partition is not enough
        await served.space.of_app(app)
        unknown = await served.ask("GET", f"/v1/apps/{app}/slots", params={"uid": made["uid"]})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_trigger")
    await served.ask("DELETE", f"{APP}/triggers/past")
    for app in ("default/other", "lab/shop"):
        unknown = await served.ask("GET", f"/v1/apps/{app}/slots", params={"uid": made["uid"]})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_trigger")
    never = await served.ask("GET", f"{APP}/slots", params={"uid": ids.new_trigger_uid()})
    assert never.status_code == 404
    assert (await served.ask("GET", f"{APP}/slots", params={"uid": "?"})).status_code == 400


# ---- lists -----------------------------------------------------------------------------------------------------------


async def test_a_list_without_a_state_has_tasks_of_every_state(served: Served) -> None:
    await served.put_trigger("t", schedule={"kind": "manual"})
    run, waits = [(await served.post(f"{APP}/triggers/t/run"))["id"] for _ in range(2)]
    await served.post(f"/v1/tasks/{run}/cancel")

    for query in ({"trigger": "t"}, {"handler": "send"}):
        assert [row["id"] for row in (await served.get("/v1/tasks", app="shop", **query))["items"]] == [waits, run]
        assert [
            row["id"] for row in (await served.get("/v1/tasks", app="shop", state="created", **query))["items"]
        ] == [waits]
