"""``GET /v1/triggers``: triggers of many apps, found by what they are; and those that were removed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import limits
from gojob_redis.domain.tally import End, pack_end
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from tests.flow.test_api_triggers import EVERY_SECOND, fire_at
from tests.tools.served import APP, DAILY, SHOP, Served, serving

MANUAL = {"kind": "manual"}


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as each:
        yield each


async def put(served: Served, app: str, name: str, **changes: Any) -> Any:
    body = {"handler": "send", "schedule": MANUAL, "allow_unknown": True, **changes}
    answer = await served.ask("PUT", f"/v1/apps/{app}/triggers/{name}", body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def names(served: Served, **query: Any) -> list[str]:
    return [f"{each['app']}/{each['name']}" for each in (await served.get("/v1/triggers", **query))["items"]]


async def test_triggers_of_all_apps_stand_in_one_list_by_app_and_name(served: Served) -> None:
    for app, name in (("shop", "b"), ("mail", "c"), ("shop", "a"), ("bank", "d")):
        await put(served, f"default/{app}", name)

    pages: list[list[str]] = []
    cursor: Any = ""
    while cursor is not None:
        page = await served.get("/v1/triggers", limit=1, cursor=cursor)
        pages.append([f"{each['app']}/{each['name']}" for each in page["items"]])
        cursor = page["next"]

    assert pages == [["bank/d"], ["mail/c"], ["shop/a"], ["shop/b"]]


async def test_a_row_says_what_its_trigger_is(served: Served) -> None:
    made = await put(served, "default/shop", "nightly", schedule=DAILY, owner="billing team")

    [row] = (await served.get("/v1/triggers", include="next"))["items"]

    assert row == {
        "namespace": "default", "app": "shop", "name": "nightly", "uid": made["uid"], "handler": "send",
        "state": "active", "owner": "billing team", "schedule": DAILY, "revision": 1, "last_slot_ms": None,
        "next": made["next_times"][0], "last": None, "strip": None,
    }  # fmt: skip
    assert (await served.get("/v1/triggers"))["items"][0]["next"] is None


async def test_triggers_are_found_by_namespace_app_handler_owner_and_begin_of_their_name(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    await put(served, "default/shop", "mail-1", handler="Send", owner="ann")
    await put(served, "default/shop", "mail-2", owner="bob")
    await put(served, "default/bank", "mail-3", owner="ann")
    await put(served, "lab/shop", "other")

    assert await names(served, namespace="lab") == ["shop/other"]
    assert await names(served, app="bank") == ["bank/mail-3"]
    assert await names(served, handler="Send") == ["shop/mail-1"]
    assert await names(served, owner="ann") == ["bank/mail-3", "shop/mail-1"]
    assert await names(served, prefix="mail-", namespace="default", app="shop") == ["shop/mail-1", "shop/mail-2"]
    assert await names(served, prefix="ail") == []


async def test_a_text_is_found_in_name_handler_owner_and_schedule_whatever_its_case(served: Served) -> None:
    await put(served, "default/shop", "invoice-run")
    await put(served, "default/shop", "a", handler="MakeInvoice")
    await put(served, "default/shop", "b", owner="Invoice Team")
    await put(served, "default/shop", "c", owner="Équipe")
    await put(served, "default/shop", "d", schedule=DAILY)

    assert await names(served, q="INVOICE") == ["shop/a", "shop/b", "shop/invoice-run"]
    assert await names(served, q="équipe") == ["shop/c"]
    assert await names(served, q="europe/berlin") == ["shop/d"]
    assert await names(served, q="30 2") == ["shop/d"]


async def test_triggers_are_found_by_their_state(served: Served) -> None:
    await put(served, "default/shop", "on", schedule=DAILY)
    await put(served, "default/shop", "off", enabled=False)
    await put(served, "default/shop", "held")
    await served.post(f"{APP}/triggers/held/pause")
    made = await put(served, "default/shop", "once", schedule={"kind": "once", "at": "2050-01-01T00:00:00Z"})
    await fire_at(served, made["next_times"][0]["at_ms"])

    assert await names(served, state="active") == ["shop/on"]
    assert await names(served, state="disabled") == ["shop/off"]
    assert await names(served, state="paused") == ["shop/held"]
    assert await names(served, state="over") == ["shop/once"]
    assert await names(served, state=["paused", "over"]) == ["shop/held", "shop/once"]
    await served.post(f"{APP}/triggers/held/resume")
    assert await names(served, state="active") == ["shop/held", "shop/on"]


async def test_triggers_that_never_fired_are_found(served: Served) -> None:
    made = await put(served, "default/shop", "fired", schedule=EVERY_SECOND)
    await fire_at(served, made["next_times"][0]["at_ms"])
    await put(served, "default/shop", "new", schedule=DAILY)

    assert await names(served, never_fired="true") == ["shop/new"]
    assert await names(served, never_fired="false") == ["shop/fired"]


async def test_triggers_are_found_by_how_their_last_task_ended(served: Served) -> None:
    uids = {name: (await put(served, "default/shop", name))["uid"] for name in ("bad", "fine", "none")}
    partition = await served.space.of_app("default/shop")
    client: Any = served.space.clients.commands
    ends = [End("completed", 10, 100, 1_000 * slot) for slot in range(25)]
    await client.set(K.ring(partition.prefix, uids["fine"]), b"".join(map(pack_end, ends)))
    await client.set(K.ring(partition.prefix, uids["bad"]), pack_end(ends[0]) + pack_end(End("faulted", 0, 5, 9_000)))
    await client.sadd(K.troubled(partition.prefix, "default/shop"), uids["bad"])

    assert await names(served, last="faulted") == ["shop/bad"]
    assert await names(served, last="run_to_completion") == ["shop/fine"]
    assert await names(served, last="canceled") == []
    page = await served.get("/v1/triggers", include="strip", facets="last")
    rows = {row["name"]: row for row in page["items"]}
    assert page["facets"] == {"state": None, "faulted": 1, "is_whole": True}
    assert (rows["bad"]["last"], len(rows["bad"]["strip"])) == ("faulted", 2)
    assert [end["slot_ms"] for end in rows["fine"]["strip"]] == [1_000 * slot for slot in range(5, 25)]
    assert (rows["none"]["last"], rows["none"]["strip"]) == (None, [])
    [row] = (await served.get("/v1/triggers", include="last", last="faulted"))["items"]
    assert (row["last"], row["strip"]) == ("faulted", None)


@pytest.mark.parametrize("most_read", [1, 1_000])
async def test_those_that_ended_badly_are_counted_whether_they_are_few_or_many(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch, most_read: int
) -> None:
    monkeypatch.setattr(limits, "SEARCH_AT_ONCE", most_read)
    partition = await served.space.of_app(SHOP)
    for name in ("bad", "good", "worse"):
        made = await put(served, SHOP, name)
        if name != "good":
            await client.sadd(K.troubled(partition.prefix, SHOP), made["uid"])

    page = await served.get("/v1/triggers", facets="last")

    assert page["facets"]["faulted"] == 2
    assert await names(served, last="faulted") == ["shop/bad", "shop/worse"]


async def test_states_are_counted_of_all_that_are_sought_whatever_their_state(served: Served) -> None:
    for number in range(3):
        await put(served, "default/shop", f"mail-{number}", enabled=number > 0)
    await put(served, "default/shop", "other")

    page = await served.get("/v1/triggers", q="mail", state="disabled", facets="state", limit=1)

    assert [each["name"] for each in page["items"]] == ["mail-0"]
    assert page["facets"] == {
        "state": [{"state": "active", "count": 2}, {"state": "disabled", "count": 1}],
        "faulted": None,
        "is_whole": True,
    }
    assert (await served.get("/v1/triggers"))["facets"] is None


async def test_a_page_looks_at_so_many_and_says_how_far(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEARCH_CARDS", 3)
    monkeypatch.setattr(limits, "COUNTED_CARDS", 4)
    for number in range(5):
        await put(served, "default/shop", f"t{number}", owner="me" if number == 4 else "")

    first = await served.get("/v1/triggers", owner="me", facets="state")
    second = await served.get("/v1/triggers", owner="me", cursor=first["next"])

    assert (first["items"], first["looked_at"], first["among"]) == ([], 3, 5)
    assert first["facets"] == {"state": [], "faulted": None, "is_whole": False}
    assert [each["name"] for each in second["items"]] == ["t4"]
    assert (second["looked_at"], second["among"], second["next"]) == (2, 2, None)


async def test_a_page_goes_through_so_many_apps(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEARCH_APPS", 2)
    for app in ("a", "b", "c"):
        await put(served, f"default/{app}", "t")

    first = await served.get("/v1/triggers")
    second = await served.get("/v1/triggers", cursor=first["next"])

    assert [each["app"] for each in first["items"]] == ["a", "b"]
    assert ([each["app"] for each in second["items"]], second["next"]) == (["c"], None)


async def test_a_token_sees_the_triggers_of_its_apps_only(served: Served) -> None:
    await put(served, "default/shop", "mine")
    await put(served, "default/bank", "theirs")
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token

    answer = await served.ask("GET", "/v1/triggers", kind="shop")
    refused = await served.ask("GET", "/v1/triggers?namespace=default&app=bank", kind="shop")

    assert [each["name"] for each in answer.json()["items"]] == ["mine"]
    assert answer.json()["among"] == 1
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("cursor", ["x", "default/shop", "default//t", "default/shop/T"])
async def test_a_cursor_that_is_none_of_ours_is_refused(served: Served, cursor: str) -> None:
    refused = await served.ask("GET", "/v1/triggers", params={"cursor": cursor})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize("owner", ["a\nb", "a\x1fb", "ü" * 65])
async def test_an_owner_is_one_line_of_128_bytes(served: Served, owner: str) -> None:
    body = {"handler": "send", "schedule": MANUAL, "allow_unknown": True, "owner": owner}

    refused = await served.ask("PUT", f"{APP}/triggers/nightly", body)

    assert (refused.status_code, refused.json()["field"]) in ((400, "owner"), (413, "owner"))


async def test_a_trigger_that_was_removed_is_listed_with_its_ledger(served: Served) -> None:
    made = await put(served, "default/shop", "nightly", schedule=EVERY_SECOND, owner="ann")
    await fire_at(served, made["next_times"][0]["at_ms"])
    await served.ask("DELETE", f"{APP}/triggers/nightly")
    await put(served, "default/shop", "nightly")
    await served.ask("DELETE", f"{APP}/triggers/nightly")

    removed = (await served.get(f"{APP}/removed-triggers"))["items"]

    assert [(each["name"], each["handler"], each["owner"]) for each in removed] in (
        [("nightly", "send", ""), ("nightly", "send", "ann")],
        [("nightly", "send", "ann"), ("nightly", "send", "")],
    )
    [slot] = (await served.get(f"{APP}/slots", uid=made["uid"]))["items"]
    assert slot["word"] in ("fired", "skipped", "coalesced")
