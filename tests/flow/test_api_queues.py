"""GET /v1/queues: what waits in all apps, why, how fast it comes and goes, and who serves it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from tests.flow.test_api_stats import worked
from tests.tools.served import APP, SHOP, Served, serving

pytestmark = pytest.mark.real

MAIL = "default/mail"


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def submit(served: Served, handler: str, count: int, app: str = SHOP, **body: Any) -> None:
    for _ in range(count):
        await served.post(f"/v1/apps/{app}/handlers/{handler}/tasks", {"allow_unknown": True, **body})


async def queues(served: Served, **query: Any) -> list[Any]:
    return list((await served.get("/v1/queues", **query))["items"])


async def names(served: Served, **query: Any) -> list[str]:
    return [f"{each['app']}/{each['handler']}" for each in await queues(served, **query)]


async def pages(served: Served, **query: Any) -> list[list[str]]:
    """Names of handlers, page by page."""
    found: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await served.get("/v1/queues", cursor=cursor, **query)
        found.append([f"{each['app']}/{each['handler']}" for each in page["items"]])
        cursor = page["next"]
    return found


async def three_queues(served: Served) -> None:
    """The oldest work in shop/send, the most in mail/send, none in shop/pack."""
    await served.enlist("pack", "send", labels="env=blue")
    await submit(served, "send", 1)
    await submit(served, "send", 3, MAIL)


async def test_queues_of_all_apps_stand_in_one_list_the_largest_first(served: Served) -> None:
    await three_queues(served)

    answer = await served.get("/v1/queues")

    assert [(each["app"], each["handler"], each["backlog"]) for each in answer["items"]] == [
        ("mail", "send", 3),
        ("shop", "send", 1),
        ("shop", "pack", 0),
    ]
    assert answer["counts"] == {"queues": 3, "waiting": 2, "paused": 0, "backlog": 4}
    assert (answer["is_whole"], answer["looked_at"], answer["next"]) == (True, 3, None)
    assert answer["live"] == ""
    assert (await served.get("/v1/queues", live="true"))["live"]
    [pack] = [each for each in answer["items"] if each["handler"] == "pack"]
    assert (pack["why"], pack["oldest_ms"], pack["lane_count"], pack["lanes"]) == (None, None, 0, [])


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("backlog", ["mail/send", "shop/send", "shop/pack"]),
        ("oldest", ["shop/send", "mail/send", "shop/pack"]),
        ("name", ["mail/send", "shop/pack", "shop/send"]),
    ],
)
async def test_each_order_goes_on_page_by_page(served: Served, sort: str, order: list[str]) -> None:
    await three_queues(served)

    assert await names(served, sort=sort) == order
    assert [name for page in await pages(served, sort=sort, limit=1) for name in page] == order


async def test_it_is_filtered_by_app_handler_text_labels_work_and_pause(served: Served) -> None:
    await three_queues(served)
    await submit(served, "send", 2, labels={"env": "gray", "zone": "a"})
    await served.post(f"{APP}/handlers/pack/pause")

    assert await names(served, app="mail") == ["mail/send"]
    assert await names(served, handler="pack") == ["shop/pack"]
    assert await names(served, q="EN") == ["mail/send", "shop/send"]
    assert await names(served, waiting=False) == ["shop/pack"]
    assert await names(served, waiting=True, app="shop") == ["shop/send"]
    assert await names(served, paused=True) == ["shop/pack"]
    assert await names(served, paused=False, sort="name") == ["mail/send", "shop/send"]
    [gray] = await queues(served, label="env=gray")
    assert (gray["handler"], gray["backlog"], len(gray["lanes"])) == ("send", 2, 1)
    assert await names(served, label=["env=gray", "zone=b"]) == []


async def test_what_nobody_announced_is_listed_only_while_something_waits(served: Served) -> None:
    await served.enlist("a")
    task = await served.submit("bb")

    waiting = await names(served)
    await served.post(f"/v1/tasks/{task}/cancel")

    assert waiting == ["shop/bb", "shop/a"]
    assert await names(served) == ["shop/a"]


async def test_rates_are_those_of_the_last_minutes_and_of_the_one_under_way(served: Served) -> None:
    await worked(served, "ok", "ok", "error")
    await served.enlist("idle")

    by_handler = {each["handler"]: each for each in await queues(served)}
    [shop] = await queues(served, group_by="app")

    send = by_handler["send"]
    assert 3 / 660 <= send["in_per_s"] <= 3 / 600 + 0.001
    assert send["out_per_s"] == send["in_per_s"] == shop["in_per_s"] == shop["out_per_s"]
    assert (by_handler["idle"]["in_per_s"], by_handler["idle"]["out_per_s"]) == (0, 0)


async def test_each_lane_says_why_its_head_waits(served: Served) -> None:
    await served.enlist("send", labels="env=blue", capacity=1)
    await submit(served, "send", 3, labels={"env": "blue"})
    await submit(served, "send", 1, labels={"env": "gray"})
    await submit(served, "send", 1, labels={"env": "blue"}, require="host=db7")

    [send] = await queues(served)

    codes = {(lane["labels"]["env"], lane["require"]): lane["why"]["code"] for lane in send["lanes"]}
    assert codes == {("blue", ""): "no_seat", ("gray", ""): "no_labels", ("blue", "host=db7"): "no_attribute"}
    assert [lane["backlog"] for lane in send["lanes"]] == [2, 1, 1]
    assert send["why"]["code"] == "no_seat"
    assert (send["workers"], send["seats"], send["free_seats"], send["is_estimated"]) == (1, 1, 0, False)
    assert (send["backlog"], send["wanted_workers"], send["lane_count"]) == (4, 1, 3)


async def test_the_call_of_a_reason_does_what_it_says(served: Served) -> None:
    await served.enlist("send")
    await served.post(f"{APP}/handlers/send/pause")
    await submit(served, "send", 1)

    [paused] = await queues(served)
    method, path = paused["why"]["call"].split(" ")
    answer = await served.ask(method, path)

    assert (paused["why"]["code"], paused["why"]["act"], paused["paused_ms"] > 0) == ("paused", "resume_handler", True)
    assert paused["wanted_workers"] == 0
    assert answer.status_code == 200
    assert [each["backlog"] for each in await queues(served)] == [0]


@pytest.mark.parametrize("act", ["start_worker", "resume_workers", "add_workers"])
async def test_other_calls_of_reasons_show_what_they_are_about(served: Served, act: str) -> None:
    session = await served.enlist("send", labels="env=blue" if act == "start_worker" else "", capacity=1)
    if act == "resume_workers":
        await served.post(f"{APP}/workers/{session}:drain")
    await submit(served, "send", 2)

    [send] = await queues(served)
    method, path = send["why"]["call"].split(" ")
    answer = (await served.ask(method, path)).json()

    assert send["why"]["act"] == act
    assert (
        answer["wanted_workers"] == 1
        if act == "add_workers"
        else [each["session"] for each in answer["items"]] == [session]
    )


async def test_queues_are_put_together_by_app_namespace_and_labels(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    await three_queues(served)
    await submit(served, "send", 1, "lab/shop", labels={"env": "gray"}, require="host=db7")
    await served.post(f"{APP}/handlers/pack/pause")

    apps = await queues(served, group_by="app")
    spaces = await queues(served, group_by="namespace")
    labels = await queues(served, group_by="label", sort="name")

    assert [(each["namespace"], each["app"], each["handler"], each["queues"]) for each in apps] == [
        ("default", "mail", "", 1),
        ("default", "shop", "", 2),
        ("lab", "shop", "", 1),
    ]
    assert [(each["workers"], each["paused_ms"] is None) for each in apps] == [(0, True), (1, False), (0, True)]
    assert [(each["namespace"], each["app"], each["backlog"]) for each in spaces] == [
        ("default", "", 4),
        ("lab", "", 1),
    ]
    assert [(each["labels"], each["require"], each["queues"], each["backlog"]) for each in labels] == [
        ({}, "", 2, 4),
        ({"env": "gray"}, "host=db7", 1, 1),
    ]
    assert {each["in_per_s"] for each in labels} == {None}
    assert all(each["oldest_ms"] >= 0 for each in [*apps, *spaces, *labels])


async def test_a_token_sees_the_queues_of_its_apps_and_no_other(served: Served) -> None:
    await three_queues(served)
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=[SHOP])).token

    answer = (await served.ask("GET", "/v1/queues", kind="shop")).json()
    denied = await served.ask("GET", "/v1/queues", kind="shop", params={"app": "mail"})

    assert {each["app"] for each in answer["items"]} == {"shop"}
    assert answer["counts"]["queues"] == 2
    assert {
        each["app"] for each in (await served.ask("GET", "/v1/queues?group_by=app", kind="shop")).json()["items"]
    } == {"shop"}
    assert (denied.status_code, denied.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"cursor": "nonsense"}, "bad_cursor"),
        ({"cursor": "1e3~a"}, "bad_cursor"),
        ({"cursor": "nonsense", "sort": "name"}, "bad_cursor"),
        ({"label": "env"}, "bad_label"),
        ({"label": ["env=gray", "env=blue"]}, "bad_label"),
        ({"label": "env=!"}, "bad_label"),
        ({"handler": "a b"}, "bad_name"),
    ],
)
async def test_what_cannot_be_asked_is_refused(served: Served, query: dict[str, Any], code: str) -> None:
    answer = await served.ask("GET", "/v1/queues", params=query)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_more_than_are_compared_are_told_and_all_are_found_by_name(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gojob_redis.domain.limits.QUEUES_READ", 4)
    await served.enlist(*(f"h{number}" for number in range(9)))
    await served.enlist("one", app=MAIL)

    answer = await served.get("/v1/queues")
    by_name = await pages(served, sort="name", limit=3)

    assert (answer["is_whole"], answer["looked_at"]) == (False, 4)
    assert [name for page in by_name for name in page] == ["mail/one", *(f"shop/h{number}" for number in range(9))]


async def test_lanes_of_a_row_are_the_ten_with_the_most_and_the_handler_itself_has_all(served: Served) -> None:
    for number in range(12):
        await submit(served, "send", 2 if number == 7 else 1, labels={"n": str(number)})

    [row] = await queues(served)
    one = await served.get(f"{APP}/handlers/send")

    assert (row["lane_count"], len(row["lanes"]), row["lanes"][0]["labels"]) == (12, 10, {"n": "7"})
    assert (len(one["lanes"]), one["backlog"]) == (12, 13)


async def test_seats_of_many_workers_are_estimated_from_some(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gojob_redis.domain.limits.SURVEY_SESSIONS", 2)
    for _ in range(5):
        await served.enlist("send", capacity=4)

    [send] = await queues(served)

    assert (send["workers"], send["seats"], send["free_seats"], send["is_estimated"]) == (5, 20, 20, True)


async def test_a_lane_with_a_broken_id_is_left_out(served: Served) -> None:
    await submit(served, "send", 1)
    partition = await served.space.of_app(SHOP)
    client: Any = served.space.clients.commands
    await client.hset(K.lanes(partition.prefix, f"{SHOP}/send"), "env=x\x1f", "x")

    [send] = await queues(served)
    one = await served.get(f"{APP}/handlers/send")

    assert (send["backlog"], [lane["lane"] for lane in one["lanes"]]) == (1, ["1"])
