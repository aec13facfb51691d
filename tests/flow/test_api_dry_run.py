"""``PUT …/triggers/{name}?dry_run=true``: all that is wrong with a definition, and what it would change."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from tests.tools.served import APP, DAILY, Served, serving

MINUTE = 60_000


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as each:
        yield each


async def try_out(served: Served, name: str = "nightly", *, headers: Any = None, **changes: Any) -> Any:
    """What a dry run answers; it leaves everything as it was."""
    before = await served.dump()
    body = {"handler": "send", "schedule": DAILY, "allow_unknown": True, **changes}
    answer = await served.ask("PUT", f"{APP}/triggers/{name}?dry_run=true", body, headers=headers or {})
    assert answer.status_code == 200, answer.text
    assert await served.dump() == before
    return answer.json()


def places(told: Any) -> set[tuple[str, str]]:
    return {(each["pointer"], each["code"]) for each in told["errors"]}


async def test_everything_that_is_wrong_is_told_by_its_place(served: Served) -> None:
    told = await try_out(
        served,
        handler="no handler!",
        schedule={"kind": "cron", "spec": "61 * * * *", "time_zone": "Asia/Beijing", "end_at": "soon"},
        labels={"a/b": "gr ay", "c": "?", "d": "fine"},
        require="host",
        shards=3,
        shard_params=[1],
        retries=-1,
        on_lost="shrug",
        owner="a\nb",
        priorty=3,
    )

    assert places(told) == {
        ("/handler", "bad_name"),
        ("/schedule/spec", "bad_cron"),
        ("/schedule/time_zone", "bad_time_zone"),
        ("/schedule/end_at", "bad_moment"),
        ("/labels/a~1b", "bad_label"),
        ("/labels/c", "bad_label"),
        ("/require", "bad_attribute"),
        ("/shard_params", "bad_shards"),
        ("/retries", "bad_request"),
        ("/on_lost", "bad_request"),
        ("/owner", "bad_owner"),
        ("/priorty", "bad_request"),
    }
    assert all(each["detail"] and each["hint"] for each in told["errors"])


async def test_what_is_missing_is_told_and_the_rest_is_looked_at(served: Served) -> None:
    answer = await served.ask("PUT", f"{APP}/triggers/nightly?dry_run=true", {"require": "host"})

    assert places(answer.json()) == {
        ("/handler", "bad_request"), ("/schedule", "bad_request"), ("/require", "bad_attribute"),
    }  # fmt: skip


@pytest.mark.parametrize("body", [[], "x", 7, {"handler": ["x"], "schedule": 5}])
async def test_what_is_no_trigger_at_all_is_told(served: Served, body: Any) -> None:
    answer = await served.ask("PUT", f"{APP}/triggers/nightly?dry_run=true", body)

    assert answer.status_code == 200
    assert answer.json()["errors"]


async def test_a_handler_that_nobody_announced_a_bad_name_and_an_old_revision_are_told(served: Served) -> None:
    made = await served.put_trigger()

    told = await try_out(served, allow_unknown=False, revision=made["revision"] + 1)
    named = await try_out(served, "Bad")

    assert places(told) == {("/handler", "unknown_handler"), ("/revision", "conflict")}
    assert places(named) == {("", "bad_name")}
    assert places(await try_out(served, headers={"If-None-Match": "*"})) == {("/revision", "conflict")}


async def test_an_app_that_has_all_its_triggers_is_told(served: Served) -> None:
    await served.put_trigger()
    assert (await served.ask("PUT", "/v1/namespaces/default", {"limits": {"triggers_per_app": 1}})).status_code == 200

    assert places(await try_out(served, "second")) == {("", "triggers_full")}
    assert places(await try_out(served, "nightly")) == set()


async def test_a_moment_before_one_that_was_decided_is_told(served: Served) -> None:
    told = await try_out(served, schedule={"kind": "once", "at": "2020-01-01T00:00:00Z"})

    assert told["errors"] == []
    assert told["note"].startswith("Its moment 2020-01-01T00:00:00Z is past")


async def test_a_new_trigger_tells_what_is_not_as_usual_and_when_it_fires(served: Served) -> None:
    told = await try_out(served, retries=2, owner="ann")

    assert (told["errors"], told["is_new"], told["revision"], told["state"]) == ([], True, 0, "active")
    changes = {each["pointer"]: (each["before"], each["after"]) for each in told["changes"]}
    assert changes == {
        "/handler": (None, "send"), "/schedule": (None, DAILY), "/retries": (None, 2), "/owner": (None, "ann"),
    }  # fmt: skip
    assert len(told["next_times"]) == 10
    assert told["next_times"][0]["local"].split(" ")[2] == "02:30:00"
    fires = told["fires"]
    assert (fires["added_count"], fires["removed_count"], fires["moved_count"]) == (7, 0, 0)
    assert len(fires["added"]) == 7


async def test_a_change_tells_the_fields_and_the_fires_that_move(served: Served) -> None:
    await served.put_trigger(retries=2)

    told = await try_out(served, schedule={**DAILY, "spec": "45 2 * * *"}, retries=3)
    same = await try_out(served, retries=2)

    changes = {each["pointer"]: (each["before"], each["after"]) for each in told["changes"]}
    assert changes == {"/schedule": (DAILY, {**DAILY, "spec": "45 2 * * *"}), "/retries": (2, 3)}
    fires = told["fires"]
    assert (fires["added_count"], fires["removed_count"], fires["moved_count"]) == (0, 0, 7)
    first = fires["moved"][0]
    assert first["after"]["at_ms"] - first["before"]["at_ms"] == 15 * MINUTE
    assert (same["changes"], same["fires"], same["revision"]) == ([], None, 1)


async def test_a_trigger_that_is_switched_off_loses_its_fires(served: Served) -> None:
    await served.put_trigger()

    told = await try_out(served, enabled=False)

    assert (told["state"], told["next_times"], told["fires"]["removed_count"]) == ("disabled", [], 7)
    assert [each["pointer"] for each in told["changes"]] == ["/enabled"]
    await served.post(f"{APP}/triggers/nightly/pause")
    assert (await try_out(served))["state"] == "paused"


async def test_many_fires_are_compared_up_to_a_bound_and_counted_behind_it(served: Served) -> None:
    await served.put_trigger(schedule={"kind": "every", "every_ms": MINUTE})

    told = await try_out(served, schedule={"kind": "every", "every_ms": 2 * MINUTE})

    fires = told["fires"]
    assert (fires["unchanged"], fires["removed_count"], len(fires["removed"])) == (250, 250, 20)
    week = 7 * 24 * 60
    assert fires["before_behind"] == pytest.approx(week - limits.COMPARED_SLOTS, abs=1)
    assert fires["after_behind"] == pytest.approx((week - limits.COMPARED_SLOTS) / 2, abs=1)


async def test_workers_are_counted_that_could_take_the_work_now(served: Served) -> None:
    await served.enlist("send", labels="env=gray", attributes="host=db7", capacity=3)
    await served.enlist("send", labels="env=gray", attributes="host=db8")
    await served.enlist("send")

    async def workers(**changes: Any) -> Any:
        return (await try_out(served, **changes))["workers"]

    assert await workers() == {"workers": 1, "free": 1, "is_sampled": False}
    assert await workers(labels={"env": "gray"}) == {"workers": 2, "free": 2, "is_sampled": False}
    assert await workers(labels={"env": "gray"}, require="host=db7") == {"workers": 1, "free": 1, "is_sampled": False}
    assert await workers(labels={"env": "blue"}) == {"workers": 0, "free": 0, "is_sampled": False}
    assert await workers(labels={"env": "?"}) is None


async def test_what_else_is_due_in_the_same_minute_is_told_with_quieter_ones_near(served: Served) -> None:
    for name in ("a", "b", "c"):
        await served.put_trigger(name)
    await served.put_trigger("d", schedule={**DAILY, "spec": "29 2 * * *"})
    body = {"handler": "send", "schedule": DAILY, "allow_unknown": True}
    assert (await served.ask("PUT", "/v1/apps/default/bank/triggers/e", body)).status_code == 201

    told = (await try_out(served, "new"))["crowd"]
    own = (await try_out(served, "a"))["crowd"]

    assert (told["minutes"][0]["in_app"], told["minutes"][0]["in_all"]) == (3, 4)
    assert (own["minutes"][0]["in_app"], own["minutes"][0]["in_all"]) == (2, 3)
    first = told["minutes"][0]["at_ms"]
    assert [(each["at_ms"] - first) // MINUTE for each in told["quieter"]] == [1, -2, 2]


async def test_nobody_tries_out_where_he_may_not_edit(served: Served) -> None:
    answer = await served.ask("PUT", f"{APP}/triggers/nightly?dry_run=true", {}, kind="worker")

    assert answer.status_code == 403


async def test_a_definition_of_the_wrong_form_is_still_refused_without_a_dry_run(served: Served) -> None:
    refused = await served.ask("PUT", f"{APP}/triggers/nightly", {"handler": "send", "schedule": DAILY, "retries": -1})

    assert (refused.status_code, refused.json()["field"]) == (400, "retries")
