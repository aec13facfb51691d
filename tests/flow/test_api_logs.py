"""What runs log, over the API: pages, filters, following, download; what is missing is said."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.domain import ids, limits, verbs
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from tests.tools.served import SHOP, Served, serving
from tests.tools.waiting import until

NOTHING: dict[str, Any] = {"ring": 0, "budget": 0, "gateway": 0, "worker": 0}


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def running(served: Served, **options: Any) -> str:
    """A task that a worker has."""
    await served.enlist(name="w7", capacity=100)
    return await served.submit(**options)


async def log(served: Served, task: str, **query: Any) -> dict[str, Any]:
    page: dict[str, Any] = await served.get(f"/v1/tasks/{task}/log", **query)
    return page


def texts(page: dict[str, Any]) -> str:
    return " ".join(line["text"] for line in page["items"])


async def numbered(served: Served, task: str, lines: int, each: int = 4) -> None:
    """Lines 0, 1, 2 and so on, so many in a chunk; a line a second, and every fifth an error."""
    for first in range(0, lines, each):
        some = range(first, min(first + each, lines))
        await served.log(task, *((1_000 * number, "info" if number % 5 else "error", str(number)) for number in some))


# ---- pages -----------------------------------------------------------------------------------------------------------


async def test_a_line_says_what_is_known_of_it(served: Served) -> None:
    task = await running(served)
    await served.log(task, (5, "warning", "half way"), logger="shop.orders")

    page = await log(served, task)

    assert page == {
        "items": [
            {"line": 0, "attempt": 1, "at_ms": 5, "level": "warning", "logger": "shop.orders", "worker": "w7",
             "text": "half way"}
        ],
        "cursor": "1.0",
        "more": False,
        "run": task,
        "looked_bytes": page["looked_bytes"],
        "looked_to_ms": 5,
        "lines": 1,
        "dropped": NOTHING,
        "over": False,
        "live": f"~{task}:1.0",
    }  # fmt: skip
    assert 0 < page["looked_bytes"] < 100


async def test_what_logged_nothing_has_no_lines(served: Served) -> None:
    task = await served.submit()

    page = await log(served, task)

    assert (page["items"], page["cursor"], page["more"], page["lines"]) == ([], "0.0", False, 0)
    assert (await log(served, task, order="newest"))["cursor"] is None


@pytest.mark.parametrize("order", ["oldest", "newest"])
@pytest.mark.parametrize("limit", [1, 3, 4, 7, 100])
async def test_every_page_goes_on_where_the_last_one_ended(served: Served, order: str, limit: int) -> None:
    task = await running(served)
    await numbered(served, task, 10)

    seen, cursor, pages = [], "", 0
    while True:
        page = await log(served, task, order=order, limit=limit, cursor=cursor)
        seen += [line["line"] for line in page["items"]]
        pages += 1
        if not page["more"]:
            break
        cursor = page["cursor"]

    assert seen == (list(range(10)) if order == "oldest" else list(range(9, -1, -1)))
    assert pages <= 10 // limit + 1


async def test_a_reader_goes_on_with_what_came_since(served: Served) -> None:
    task = await running(served)
    await numbered(served, task, 6)
    first = await log(served, task)
    await numbered(served, task, 2)

    second = await log(served, task, cursor=first["cursor"])
    third = await log(served, task, cursor=second["cursor"])

    assert [line["line"] for line in second["items"]] == [6, 7]
    assert (third["items"], third["cursor"]) == ([], second["cursor"])


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ({"level": "error"}, "0 5 10 15"),
        ({"level": "info", "text": "1"}, "1 10 11 12 13 14 15 16 17 18 19"),
        ({"since_ms": 7_000, "until_ms": 10_000}, "7 8 9"),
        ({"since_ms": 17_500}, "18 19"),
        ({"until_ms": 1}, "0"),
        ({"level": "error", "since_ms": 6_000, "order": "newest"}, "15 10"),
        ({"attempt": 2}, ""),
        ({"attempt": 1, "text": "19"}, "19"),
    ],
)
async def test_lines_are_found_by_level_time_text_and_attempt(served: Served, query: dict[str, Any], seen: str) -> None:
    task = await running(served)
    await numbered(served, task, 20)

    assert texts(await log(served, task, **query)) == seen


@pytest.mark.parametrize("asked", ["GRÜN", "grün", "Ünd"])
async def test_text_is_found_in_upper_and_lower_case(served: Served, asked: str) -> None:
    task = await running(served)
    await served.log(task, (1, "info", "nothing"), (2, "info", "Blau UND grün"), (3, "info", "GRÜND"))

    assert "GRÜND" in texts(await log(served, task, text=asked))
    assert "nothing" not in texts(await log(served, task, text=asked))


async def test_lines_of_another_attempt_are_told_apart(served: Served) -> None:
    task = await running(served, retries=1)
    await served.log(task, (1, "info", "first"))
    await served.report(task, "error")
    await _until_bound_again(served, task)
    await served.log(task, (2, "info", "second"))

    assert texts(await log(served, task)) == "first second"
    assert texts(await log(served, task, attempt=2)) == "second"
    assert texts(await log(served, task, attempt=1)) == "first"


async def _until_bound_again(served: Served, task: str) -> None:
    """The retry waits for no time, but for somebody who looks."""
    async with asyncio.timeout(5):
        while (await served.record(task))["state"] != "waiting_to_run":
            await served.space[ids.partition_of(task)].call(verbs.expire(limit=100))


async def test_a_shard_has_a_log_of_its_own(served: Served) -> None:
    task = await running(served, shards=3)
    await served.log(f"{task}.0", (1, "info", "zero"))
    await served.log(f"{task}.2", (1, "info", "two"))

    shown = {shard: texts(await log(served, task, shard=shard)) for shard in range(3)}

    assert shown == {0: "zero", 1: "", 2: "two"}
    first = await log(served, task)
    assert (texts(first), first["run"]) == ("zero", f"{task}.0")


async def test_a_shard_that_a_task_does_not_have_is_refused(served: Served) -> None:
    for shards, hint in ((3, "Its shards are 0 to 2."), (1, "It is not sharded.")):
        task = await served.submit(shards=shards)
        answer = await served.ask("GET", f"/v1/tasks/{task}/log", params={"shard": shards})
        assert (answer.status_code, answer.json()["code"], answer.json()["hint"]) == (404, "unknown_shard", hint)


# ---- bounds ----------------------------------------------------------------------------------------------------------


async def test_a_search_stops_after_8_mib_and_says_how_far_it_looked(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_SEARCH_BYTES", 500)
    task = await running(served)
    await numbered(served, task, 200, each=20)

    pages = [await log(served, task, text="no such text")]
    while pages[-1]["more"]:
        pages.append(await log(served, task, text="no such text", cursor=pages[-1]["cursor"]))
    backward = [await log(served, task, text="0", order="newest", limit=500)]
    while backward[-1]["more"]:
        backward.append(await log(served, task, text="0", order="newest", cursor=backward[-1]["cursor"]))

    assert len(pages) > 2
    assert all(page["looked_bytes"] <= 500 and not page["items"] for page in pages)
    assert [page["looked_to_ms"] for page in pages] == sorted(page["looked_to_ms"] for page in pages)
    found = [line["line"] for page in backward for line in page["items"]]
    assert found == [number for number in range(199, -1, -1) if "0" in str(number)]


async def test_a_page_ends_where_an_answer_is_full(served: Served) -> None:
    task = await running(served)
    for number in range(100):
        await served.log(task, (number, "info", f"{number} " + "x" * 16_000))

    first = await log(served, task)
    second = await log(served, task, cursor=first["cursor"])

    assert first["more"]
    assert 60 <= len(first["items"]) <= 66
    assert second["items"][0]["line"] == len(first["items"])
    assert len(first["items"]) + len(second["items"]) == 100


async def test_what_is_unpacked_in_a_thread_is_the_same(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    task = await running(served)
    await numbered(served, task, 40)
    here = await log(served, task)

    monkeypatch.setattr("gojob_redis.view.logs.LIGHT_BYTES", 0)
    monkeypatch.setattr("gojob_redis.view.logs.CHUNKS_AT_ONCE", 3)

    assert await log(served, task) == here
    assert len(here["items"]) == 40


async def test_what_gave_way_is_counted_by_its_reason(served: Served) -> None:
    task = await running(served)
    for _ in range(5):
        await served.log(task, *((1, "info", "x") for _ in range(100)), most_lines=300)
    await served.log(task, (2, "warning", "said"), by_gateway=7, by_worker=5)

    page = await log(served, task)

    assert page["dropped"] == {"ring": 200, "budget": 0, "gateway": 7, "worker": 5}
    assert page["lines"] == 501
    numbers = [line["line"] for line in page["items"]]
    assert numbers == [*range(100), *range(300, 501)]


async def test_a_log_that_gave_way_to_others_says_so(served: Served) -> None:
    task = await running(served)
    other = await served.submit()
    await served.log(task, (1, "info", "x" * 1_000))
    await served.report(task)

    await served.log(other, (1, "info", "y" * 1_000), app_bytes=200)

    page = await log(served, task)
    assert (page["items"], page["dropped"]) == ([], NOTHING | {"budget": 1})


async def test_a_namespace_may_keep_more_or_less(served: Served) -> None:
    answer = await served.ask("PUT", "/v1/namespaces/default", {"limits": {"log_lines_per_run": 500}})

    assert answer.json()["limits"]["log_lines_per_run"] == 500
    assert answer.json()["limits"]["log_bytes_per_app"] == limits.LOG_PER_APP_BYTES


@pytest.mark.parametrize(
    "stored",
    [
        {"sums": b"x"},
        {"sums": b"9" * 400},
        {"sums": b"999999999999 1 1 1 0 0 0"},
        {"sums": b"1000000 1 1 1 1000000 0 1000000"},
        {"sums": b"3 3 3 9 1 0 1", "0": b"\xff\xfe", "1": b"", "2": b"9 9 \x99"},
        {"app": b"\xff"},
    ],
)
@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_a_log_that_was_spoiled_is_answered(served: Served, stored: dict[str, bytes], order: str) -> None:
    task = await running(served)
    client: Any = served.space.clients.commands
    key = K.log((await served.space.of_app(SHOP)).prefix, task)
    await client.hset(key, mapping=stored)

    answer = await served.ask("GET", f"/v1/tasks/{task}/log", params={"order": order})

    assert answer.status_code == 200, answer.text
    await client.unlink(key)


async def test_a_line_is_shown_whatever_is_in_it(served: Served) -> None:
    task = await running(served)
    nasty = "\x00\x1b]0;x\x07\u202e<script>\n2026-01-01 ERROR forged"
    await served.log(task, (2**53 - 1, "info", nasty))

    assert (await log(served, task))["items"][0]["text"] == nasty


@pytest.mark.parametrize("cursor", ["x", "1", "1.", "1.2.3", "-1.0", "9" * 30 + ".1", "1.9999999"])
async def test_a_cursor_of_another_form_is_refused(served: Served, cursor: str) -> None:
    task = await running(served)

    answer = await served.ask("GET", f"/v1/tasks/{task}/log", params={"cursor": cursor})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize("place", ["7.0", "0.999999", "999999999999.0"])
async def test_a_place_that_is_not_there_yet_is_waited_for(served: Served, place: str) -> None:
    task = await running(served)
    await numbered(served, task, 4)

    assert (await log(served, task, cursor=place))["items"] == []


# ---- following -------------------------------------------------------------------------------------------------------


async def test_who_waits_is_answered_when_a_line_comes(served: Served) -> None:
    task = await running(served)
    await numbered(served, task, 4)
    waiting = asyncio.create_task(log(served, task, cursor="1.0", wait="30s"))
    await until(lambda: bool(served.app.state.edge.polls.total))

    await served.log(task, (9, "info", "news"))

    assert texts(await asyncio.wait_for(waiting, 10)) == "news"
    assert served.app.state.edge.polls.total == 0


async def test_nobody_waits_where_something_is_there(served: Served) -> None:
    task = await running(served)
    await numbered(served, task, 4)

    assert texts(await asyncio.wait_for(log(served, task, wait="60s"), 10)) == "0 1 2 3"


async def test_who_waited_for_long_enough_is_answered_without_a_line(served: Served) -> None:
    task = await running(served)

    assert (await log(served, task, wait="1ms"))["items"] == []


async def test_a_log_is_over_10_s_after_its_run(served: Served) -> None:
    task = await running(served)
    await served.log(task, (1, "info", "x"))
    await served.report(task)
    assert not (await log(served, task))["over"]

    client: Any = served.space.clients.commands
    ended = int((await served.record(task))["ended"]) - limits.LOG_LATE_MS - 1_000
    await client.hset(K.task((await served.space.of_app(SHOP)).prefix, task), "ended", ended)

    assert (await asyncio.wait_for(log(served, task, cursor="1.0", wait="60s"), 10))["over"]


async def test_the_log_of_a_shard_that_never_began_ends_with_its_task(served: Served) -> None:
    task = await served.submit(shards=3)
    await served.post(f"/v1/tasks/{task}/cancel")
    client: Any = served.space.clients.commands
    await client.hset(K.task((await served.space.of_app(SHOP)).prefix, task), "ended", 1_000)

    assert (await log(served, task, shard=2))["over"]


async def test_a_token_that_is_revoked_waits_no_longer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gojob_redis.api.logs.CHECK_S", 0.0)
    task = await running(served)

    async def revoked(_key_id: str) -> bool:
        return False

    monkeypatch.setattr(served.app.state.edge.identities, "still_good", revoked)

    answer = await asyncio.wait_for(served.ask("GET", f"/v1/tasks/{task}/log", params={"wait": "30s"}), 10)

    assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")


# ---- download --------------------------------------------------------------------------------------------------------


async def test_a_log_is_downloaded_as_text_that_forges_and_steers_nothing(served: Served) -> None:
    task = await running(served)
    await served.log(task, (1_000, "info", "one\nERROR forged"), (2_000, "error", "\x1b[2Jtwo"), logger="a\nb")
    for _ in range(5):
        await served.log(task, *((3_000, "debug", "x") for _ in range(100)), most_lines=300, by_gateway=1)

    answer = await served.ask("GET", f"/v1/tasks/{task}/log/text")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{task}.log"'
    lines = answer.text.splitlines()
    assert lines[:3] == [
        "1970-01-01T00:00:01.000+00:00 INFO    [1] a\\nb one",
        "    ERROR forged",
        "1970-01-01T00:00:02.000+00:00 ERROR   [1] a\\nb \\x1b[2Jtwo",
    ]
    assert (
        lines[-1]
        == "Lines that are not here: 300 gave way to newer ones, 5 came too fast or while the engine was away."
    )
    assert len(lines) == 1 + 202 + 1


async def test_a_download_of_many_pages_is_whole(served: Served) -> None:
    task = await running(served)
    await numbered(served, task, 1_200, each=100)

    text = (await served.ask("GET", f"/v1/tasks/{task}/log/text", params={"level": "info"})).text

    assert [line.rpartition(" ")[2] for line in text.splitlines()] == [str(number) for number in range(1_200)]


# ---- who may read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["log", "log/text"])
async def test_a_log_of_a_task_that_is_unknown_is_unknown(served: Served, path: str) -> None:
    answer = await served.ask("GET", f"/v1/tasks/0bs0mx0aq92h173ys453/{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_task")
