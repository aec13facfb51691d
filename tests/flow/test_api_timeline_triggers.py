"""GET /v1/timeline?by=trigger: triggers slot by slot, what ended, what was not fired, and what comes next."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import tokens
from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from gojob_redis.maintenance.fold import Fold
from tests.flow.test_api_timeline import MINUTELY, QUARTERS
from tests.flow.test_api_trigger_list import put
from tests.flow.test_api_triggers import EVERY_SECOND, TRIGGER, fire_at
from tests.tools.served import APP, Served, serving

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def timeline(served: Served, **query: Any) -> Any:
    return await served.get("/v1/timeline", by="trigger", **query)


async def slots(served: Served) -> list[Any]:
    return list((await served.get(f"{TRIGGER}/slots"))["items"])


async def test_what_ended_what_is_open_gaps_and_next_slots_stand_on_the_axis(served: Served) -> None:
    made = await served.put_trigger(schedule=EVERY_SECOND, misfire_after_ms=10_000, overlap="allow")
    first, second = (each["at_ms"] for each in made["next_times"][:2])
    await served.enlist("send")
    await fire_at(served, first + 3)
    [fired] = await slots(served)
    await served.start(fired["task"])
    await served.report(fired["task"], "error", disposition="final")
    await Fold(served.space).run_once()
    await fire_at(served, second + 30_000)

    answer = await timeline(served)

    [row] = answer["rows"]
    line = row["trigger"]
    assert (row["app"], row["handler"], line["name"], line["state"]) == ("shop", "send", "nightly", "active")
    assert [(end["state"], end["slot_ms"]) for end in line["ran"]] == [("faulted", first // 1000 * 1000)]
    assert line["gaps"] == [
        {
            "word": "coalesced",
            "reason": "misfire",
            "from_ms": second,
            "to_ms": second + 29_000,
            "slots": 30,
        }
    ]
    assert line["open_ms"] == [second + 30_000]
    assert line["next_ms"][0] == second + 31_000
    assert (line["ends_from_ms"], line["slots_from_ms"]) == (None, None)
    starts = list(range(answer["from_ms"], answer["to_ms"], limits.MINUTE_MS))
    assert {len(own) for own in row.values() if isinstance(own, list)} == {len(starts)}
    [at] = [at for at, count in zip(starts, row["faulted"], strict=True) if count]
    assert at <= first < at + limits.MINUTE_MS
    [at] = [at for at, count in zip(starts, row["missed"], strict=True) if count == 30]
    assert at <= second + 29_000 < at + limits.MINUTE_MS
    assert sum(row["planned"]) > 3_000
    assert sum(answer["fired"]) == 1


async def test_a_skipped_slot_is_a_gap_with_its_reason(served: Served) -> None:
    made = await served.put_trigger(schedule=EVERY_SECOND)
    first, second = (each["at_ms"] for each in made["next_times"][:2])
    await fire_at(served, first + 3)
    await fire_at(served, second + 3)

    [row] = (await timeline(served))["rows"]

    [gap] = row["trigger"]["gaps"]
    assert (gap["word"], gap["reason"], gap["from_ms"], gap["to_ms"], gap["slots"]) == (
        "skipped", "overlap", second, second, 1,
    )  # fmt: skip
    assert (sum(row["skipped"]), sum(row["missed"])) == (1, 0)


async def test_triggers_come_in_pages_by_name(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gojob_redis.domain.limits.TIMELINE_ROWS", 2)
    for app, name in (("mail", "z"), ("shop", "a"), ("shop", "b"), ("shop", "c")):
        await put(served, f"default/{app}", name, schedule=MINUTELY)

    first = await timeline(served)
    second = await timeline(served, cursor=first["next"])

    assert [[row["trigger"]["name"] for row in page["rows"]] for page in (first, second)] == [["z", "a"], ["b", "c"]]
    assert (first["is_whole"], second["next"]) == (False, None)
    assert all(59 <= sum(row["planned"]) <= 61 for row in [*first["rows"], *second["rows"]])
    assert sum(first["planned"]) == sum(second["planned"]) == 4 * sum(first["rows"][0]["planned"])


async def test_only_those_of_a_handler_and_only_active_ones_are_planned(served: Served) -> None:
    await put(served, "default/shop", "a", schedule=MINUTELY)
    await put(served, "default/shop", "by-hand")
    await put(served, "default/shop", "other", schedule=QUARTERS, handler="pack")
    await put(served, "default/shop", "paused", schedule=MINUTELY)
    await served.post(f"{APP}/triggers/paused/pause")

    answer = await timeline(served, app="shop", handler="send")

    planned = {row["trigger"]["name"]: sum(row["planned"]) > 0 for row in answer["rows"]}
    assert planned == {"a": True, "by-hand": False, "paused": False}
    assert {row["trigger"]["state"] for row in answer["rows"]} == {"active", "paused"}
    assert sum(answer["planned"]) == sum(map(sum, (row["planned"] for row in answer["rows"])))
    assert answer["is_whole"]


async def test_a_token_sees_its_triggers_and_no_other(served: Served) -> None:
    for app in ("default/shop", "default/mail"):
        await put(served, app, "a", schedule=MINUTELY)
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token

    answer = (await served.ask("GET", "/v1/timeline?by=trigger", kind="shop")).json()

    assert [row["app"] for row in answer["rows"]] == ["shop"]


@pytest.mark.parametrize("query", [{"by": "trigger", "cursor": "a b"}, {"by": "app", "cursor": "default/shop/a"}])
async def test_a_cursor_that_fits_nothing_is_refused(served: Served, query: dict[str, str]) -> None:
    answer = await served.ask("GET", "/v1/timeline", params=query)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_a_row_tells_the_newest_of_many_slots_and_from_when_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gojob_redis.view.trigger_rows.POINTS", 2)
    monkeypatch.setattr("gojob_redis.domain.limits.RING_ENDS", 2)
    made = await served.put_trigger(schedule=EVERY_SECOND, overlap="allow")
    await served.enlist("send")
    slots_ms = [each["at_ms"] for each in made["next_times"][:3]]
    for slot_ms in slots_ms:
        await fire_at(served, slot_ms + 3)
    for fired in reversed(await slots(served)):
        await served.start(fired["task"])
        await served.report(fired["task"])
    await Fold(served.space).run_once()

    [row] = (await timeline(served))["rows"]

    line = row["trigger"]
    assert len(line["ran"]) == 2
    assert line["ends_from_ms"] == min(end["slot_ms"] for end in line["ran"])
    assert line["slots_from_ms"] == slots_ms[1]
    assert line["open_ms"] == []
