"""Triggers over HTTP: defined, shown, paused, fired, run by hand."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.engine.client import Client
from gojob_redis.planning.planner import Planner
from gojob_redis.trigger import Fire
from tests.tools.served import APP, DAILY, Served, serving

pytestmark = pytest.mark.real

TRIGGER = f"{APP}/triggers/nightly"
EVERY_SECOND = {"kind": "every", "every_ms": 1_000}


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def now_ms(served: Served) -> int:
    return int((await served.get("/v1/info"))["engine_time_ms"])


async def fire_at(served: Served, wall_ms: int) -> None:
    """One pass of the fire loop, at a time of the test's."""
    served.space.now_ms = lambda: wall_ms
    await Fire(served.space, Planner(served.space)).run_once()
    served.space.now_ms = lambda: 0


async def test_a_definition_answers_with_the_next_times_in_utc_and_on_the_local_wall(served: Served) -> None:
    made = await served.put_trigger(schedule={**DAILY, "start_at": "2027-03-27T00:00:00Z"})

    assert (made["name"], made["handler"], made["revision"], made["enabled"]) == ("nightly", "send", 1, True)
    first, second, *_ = made["next_times"]
    assert first == {
        "at_ms": 1_806_111_000_000,
        "utc": "2027-03-27T01:30:00Z",
        "local": "Sat 2027-03-27 02:30:00 CET (+0100)",
        "offset": "+01:00",
        "mark": "none",
    }
    # 02:30 does not exist that day
    assert (second["local"], second["mark"]) == ("Sun 2027-03-28 03:00:00 CEST (+0200)", "gap")
    assert (await served.get(TRIGGER)) == made


async def test_a_definition_comes_back_as_it_was_written(served: Served) -> None:
    said: dict[str, Any] = {
        "params": {"to": ["a", "b"], "n": 1.5, "nothing": None},
        "labels": {"env": "gray"},
        "require": "host=db7",
        "priority": 7,
        "shard_params": [1, {"two": 2}],
        "retries": 3,
        "retry_interval_ms": 500,
        "run_limit_ms": 60_000,
        "queue_limit_ms": 3_600_000,
        "on_lost": "fault",
        "overlap": "allow",
        "misfire_after_ms": 5_000,
        "enabled": False,
        "description": "Rechnungen — 账单",
    }

    made = await served.put_trigger(**said)

    assert {name: made[name] for name in said} == said
    assert (made["shards"], made["next_times"]) == (2, [])


async def test_a_changed_trigger_keeps_its_identity_and_counts_its_revision(served: Served) -> None:
    first = await served.put_trigger()

    second = await served.put_trigger(priority=9)

    assert (second["uid"], second["revision"], second["priority"]) == (first["uid"], 2, 9)


async def test_a_change_made_for_an_older_revision_is_a_conflict(served: Served) -> None:
    await served.put_trigger()
    await served.put_trigger()
    body = {"handler": "send", "schedule": DAILY, "allow_unknown": True}

    by_header = await served.ask("PUT", TRIGGER, body, headers={"If-Match": '"1"'})
    by_body = await served.ask("PUT", TRIGGER, {**body, "revision": 1})
    for answer in (by_header, by_body):
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    again = await served.ask("PUT", TRIGGER, body, headers={"If-Match": '"2"'})
    new = await served.ask("PUT", TRIGGER, body, headers={"If-None-Match": "*"})

    assert (again.status_code, again.headers["ETag"]) == (200, '"3"')
    assert (new.status_code, new.json()["code"]) == (409, "exists")


async def test_writing_an_interval_again_does_not_move_its_grid(served: Served) -> None:
    first = await served.put_trigger(schedule=EVERY_SECOND)
    anchor = first["schedule"]["anchor_at"]

    second = await served.put_trigger(schedule={"kind": "every", "every_ms": 7_000})
    moved = await served.put_trigger(schedule={**EVERY_SECOND, "anchor_at": 5})

    assert second["schedule"]["anchor_at"] == anchor
    assert moved["schedule"]["anchor_at"] == 5


async def test_a_paused_trigger_plans_nothing_until_it_is_resumed(served: Served) -> None:
    await served.put_trigger()

    paused = await served.post(f"{TRIGGER}/pause")
    again = await served.post(f"{TRIGGER}/pause")
    changed = await served.put_trigger(priority=1)
    resumed = await served.post(f"{TRIGGER}/resume")

    assert (paused["paused"], paused["enabled"], paused["next_times"]) == (True, True, [])
    assert again["revision"] == paused["revision"]
    assert changed["paused"]
    assert (resumed["paused"], resumed["priority"]) == (False, 1)
    assert resumed["next_times"]


async def test_two_changes_at_once_are_both_made(served: Served) -> None:
    await served.put_trigger()

    await asyncio.gather(
        served.put_trigger(priority=1), served.post(f"{TRIGGER}/pause"), served.put_trigger(priority=1)
    )

    found = await served.get(TRIGGER)
    assert (found["paused"], found["priority"], found["revision"]) == (True, 1, 4)


async def test_a_deleted_trigger_is_gone(served: Served) -> None:
    await served.put_trigger()

    answer = await served.ask("DELETE", TRIGGER)

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await served.ask("GET", TRIGGER)).status_code == 404
    assert (await served.get("/v1/triggers"))["items"] == []


async def test_an_app_that_nobody_used_is_empty_and_stays_unrecorded(served: Served) -> None:
    before = await served.dump()

    for path in ("removed-triggers", "handlers/x", "queues/x"):
        assert (await served.ask("GET", f"/v1/apps/default/never/{path}")).status_code == 200
    for path in ("workers", "triggers", "tasks", "queues", "events"):
        assert (await served.ask("GET", f"/v1/{path}", params={"app": "never"})).status_code == 200

    assert await served.dump() == before


async def test_fired_skipped_and_coalesced_slots_stand_in_the_ledger(served: Served) -> None:
    made = await served.put_trigger(schedule=EVERY_SECOND, misfire_after_ms=10_000)
    first, second = (each["at_ms"] for each in made["next_times"][:2])

    await fire_at(served, first + 3)
    await fire_at(served, second + 4)
    await fire_at(served, first + 30_000)

    ledger = (await served.get(f"{TRIGGER}/slots"))["items"]
    assert [each["word"] for each in ledger] == ["skipped", "coalesced", "skipped", "fired"]
    last, gap, overlap, fired = ledger
    assert (fired["slot_ms"], fired["late_ms"]) == (first, 3)
    assert (overlap["slot_ms"], overlap["reason"]) == (second, "overlap")
    assert (gap["first_ms"], gap["slot_ms"], gap["count"], gap["reason"]) == (
        first + 2_000,
        first + 29_000,
        28,
        "misfire",
    )
    assert last["slot_ms"] == first + 30_000
    task = await served.get(f"/v1/tasks/{fired['task']}")
    assert (task["trigger"], task["slot_ms"], task["state"]) == ("nightly", first, "created")


async def test_the_ledger_comes_in_pages_even_where_entries_share_a_moment(served: Served) -> None:
    await served.put_trigger(schedule={"kind": "manual"})
    made = [(await served.post(f"{TRIGGER}/run"))["id"] for _ in range(7)]

    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await served.get(f"{TRIGGER}/slots", limit=2, cursor=cursor)
        found += [each["task"] for each in page["items"]]
        cursor = page["next"]

    assert sorted(found) == sorted(made)


async def test_a_run_by_hand_takes_the_trigger_s_work_and_policies(served: Served) -> None:
    big = {"text": "x" * 5_000}
    await served.put_trigger(
        schedule={"kind": "manual"},
        params=big,
        labels={"env": "gray"},
        require="host=db7",
        priority=8,
        retries=2,
        run_limit_ms=9_000,
        on_lost="fault",
        shard_params=["a", "b"],
    )

    made = await served.post(f"{TRIGGER}/run")

    task = await served.get(f"/v1/tasks/{made['id']}")
    expected: dict[str, Any] = {
        "params": big,
        "labels": {"env": "gray"},
        "require": "host=db7",
        "priority": 8,
        "retries": 2,
        "run_limit_ms": 9_000,
        "on_lost": "fault",
        "shards": 2,
        "trigger": "nightly",
        "slot_ms": None,
    }
    assert {name: task[name] for name in expected} == expected
    assert [each["task"] for each in (await served.get(f"{TRIGGER}/slots"))["items"]] == [made["id"]]


async def test_a_run_by_hand_may_have_parameters_of_its_own(served: Served) -> None:
    await served.put_trigger(schedule={"kind": "manual"}, params={"from": "trigger"})

    own = await served.post(f"{TRIGGER}/run", {"params": {"from": "hand"}})
    none = await served.post(f"{TRIGGER}/run", {"params": None})
    same = await served.post(f"{TRIGGER}/run", {})

    tasks = [(await served.get(f"/v1/tasks/{each['id']}"))["params"] for each in (own, none, same)]
    assert tasks == [{"from": "hand"}, None, {"from": "trigger"}]


async def test_a_run_by_hand_is_repeated_safely_under_a_key(served: Served) -> None:
    await served.put_trigger(schedule={"kind": "manual"})
    key = {"Idempotency-Key": "one"}

    first = await served.ask("POST", f"{TRIGGER}/run", headers=key)
    repeat = await served.ask("POST", f"{TRIGGER}/run", headers=key)
    other = await served.ask("POST", f"{TRIGGER}/run", {"params": 1}, headers=key)

    assert (first.status_code, repeat.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["id"] == repeat.json()["id"]


async def test_a_preview_shows_ten_times_and_writes_nothing(served: Served) -> None:
    before = await served.dump()

    shown = await served.post("/v1/schedules/preview", {"schedule": DAILY, "after": "2026-10-24T00:00:00Z"})

    assert len(shown["next_times"]) == 10
    assert [each["local"] for each in shown["next_times"][:3]] == [
        "Sat 2026-10-24 02:30:00 CEST (+0200)",
        "Sun 2026-10-25 02:30:00 CEST (+0200)",  # it comes twice that night, and fires once
        "Mon 2026-10-26 02:30:00 CET (+0100)",
    ]
    assert await served.dump() == before
