"""GET /v1/stream on real sockets: topics, where a listener goes on, and when the server lets go."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.control import namespaces, tokens
from gojob_redis.domain import ids, limits
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from gojob_redis.live import figures
from gojob_redis.maintenance.fold import Fold
from gojob_sdk import Client as GojobClient
from tests.tools.served import APP, SHOP, Served, serving
from tests.tools.streams import Ear, Ears, Gate, gate
from tests.tools.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


@pytest.fixture
async def one(served: Served) -> AsyncIterator[Gate]:
    async with gate(served) as one:
        yield one


@pytest.fixture
async def two(served: Served) -> AsyncIterator[Gate]:
    async with gate(served) as two:
        yield two


@pytest.fixture
async def ears(served: Served) -> AsyncIterator[Ears]:
    async with Ears(served) as ears:
        yield ears


async def told(served: Served, app: str, **fields: str) -> str:
    """An event as a script leaves it; its id."""
    space, commands = served.space, served.space.clients.commands
    client: Any = commands
    at = (await space.of_app(app)).number if app else 0
    prefix = space.prefixes[at]
    wall = (await client.time())[0] * 1_000
    if app:
        await client.zadd(K.event_apps(prefix), {app: wall})
    entry = await client.xadd(K.app_events(prefix, app) if app else K.events(prefix), {"wall": wall, **fields})
    await client.xadd(K.changes(prefix), {"events": app})
    return f"{entry.decode()}.{at}" + (f".{app}" if app else "")


async def ids_of(ear: Ear, count: int) -> list[str]:
    """The ids of so many events."""
    found: list[str] = []
    while len(found) < count:
        found += [event["id"] for event in (await ear.until("events"))["items"]]
    return found


async def lines_of(ear: Ear, count: int) -> list[str]:
    """The texts of so many lines of a log."""
    found: list[str] = []
    while len(found) < count:
        found += [line["text"] for line in (await ear.until("log"))["items"]]
    return found


# ---- topics ----------------------------------------------------------------------------------------------------------


async def test_a_task_is_told_as_it_is_and_whenever_it_changes(served: Served, one: Gate, ears: Ears) -> None:
    await served.enlist("send")
    task = await served.submit(delay_ms=60_000)
    ear = await ears.listen(one, f"task:{task}")

    first = await ear.message()
    assert (first["topic"], first["task"]["state"], first["task"]["place"]) == (f"task:{task}", "created", "due")
    await served.post(f"/v1/tasks/{task}/cancel")
    assert (await ear.message())["task"]["state"] == "canceled"


async def test_progress_is_told(served: Served, one: Gate, ears: Ears) -> None:
    await served.enlist("send")
    task = await served.submit()
    ear = await ears.listen(one, f"task:{task}")
    assert (await ear.message())["task"]["progress"] is None

    await served.progress(task, b"\x93\x01\x02\xa4half")

    assert (await ear.message())["task"]["progress"] == [1, 2, "half"]


async def test_the_tasks_of_an_app_and_of_a_handler_are_told_when_they_change(
    served: Served, one: Gate, ears: Ears
) -> None:
    await served.submit()
    whole = await ears.listen(one, f"tasks:{SHOP}")
    mail = await ears.listen(one, f"tasks:{SHOP}/mail")

    task = await served.submit("mail")
    other = await served.submit("send")

    seen = {row["id"] for row in (await whole.message())["items"]}
    if len(seen) < 2:
        seen |= {row["id"] for row in (await whole.message())["items"]}
    assert seen == {task, other}
    message = await mail.message()
    assert [row["id"] for row in message["items"]] == [task]
    assert (message["items"][0]["handler"], message["left_out"]) == ("mail", 0)


async def test_more_tasks_than_a_message_tells_are_counted(served: Served, one: Gate, ears: Ears) -> None:
    await served.submit()
    ear = await ears.listen(one, f"tasks:{SHOP}")
    number = limits.STREAM_TASKS + 50

    await served.post(f"{APP}/handlers/send/tasks:batch", {"tasks": [{"allow_unknown": True}] * number})

    message = await ear.message()
    total = len(message["items"]) + message["left_out"]
    while total < number:
        message = await ear.message()
        assert len(message["items"]) <= limits.STREAM_TASKS
        total += len(message["items"]) + message["left_out"]
    assert total == number


async def test_events_are_told_to_those_who_see_their_app(served: Served, one: Gate, ears: Ears) -> None:
    await namespaces.put_namespace(served.space, "lab")
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    for app in (SHOP, "lab/mice"):
        await served.space.of_app(app)
    everybody = await ears.listen(one, "events")
    lab = await ears.listen(one, "events", kind="lab")
    shop = await ears.listen(one, f"events:{SHOP}", "events:lab")

    first = await told(served, SHOP, kind="lost", run="r1.2")
    second = await told(served, "lab/mice", kind="poison")
    third = await told(served, "", kind="stray_key")

    assert await ids_of(lab, 1) == [second]
    assert sorted(await ids_of(everybody, 3)) == sorted([first, second, third])
    assert sorted(await ids_of(shop, 2)) == sorted([first, second])


async def test_faulted_and_canceled_tasks_are_told_in_one_feed(served: Served, one: Gate, ears: Ears) -> None:
    await served.enlist("send")
    faulted, canceled = await served.submit(), await served.submit("mail")
    ear = await ears.listen(one, "events")
    await served.start(faulted)

    await served.post(f"/v1/tasks/{canceled}/cancel")
    await served.report(faulted, "error", disposition="final")
    await Fold(served.space).run_once()

    told: list[dict[str, Any]] = []
    while len(told) < 2:
        told += (await ear.until("events"))["items"]
    assert {(event["kind"], event["task"]) for event in told} == {("faulted", faulted), ("canceled", canceled)}
    after = await ears.listen(one, "events", last_id=ear.last_id)
    listed = (await served.get("/v1/events", kind=["faulted", "canceled"]))["items"]
    assert sorted(listed, key=lambda event: event["id"]) == sorted(told, key=lambda event: event["id"])
    [only] = (await served.get("/v1/events", kind="canceled"))["items"]
    record = await served.get(f"/v1/tasks/{canceled}")
    assert (only["at_ms"], only["handler"], only["about"]["reason"]) == (
        record["ended_ms"],
        f"{SHOP}/mail",
        record["reason"],
    )
    await served.post(f"/v1/tasks/{await served.submit('mail')}/cancel")
    await Fold(served.space).run_once()
    assert [event["kind"] for event in (await after.until("events"))["items"]] == ["canceled"]


async def test_what_waits_for_handlers_is_told_at_first_and_when_it_changes(
    served: Served, one: Gate, ears: Ears
) -> None:
    await served.enlist("send", capacity=1)
    ear = await ears.listen(one, f"queues:{SHOP}")
    assert [(row["handler"], row["backlog"]) for row in (await ear.message())["items"]] == [("send", 0)]

    for _ in range(3):
        await served.submit()

    assert [row["backlog"] for row in (await ear.message())["items"]] == [2]


async def test_a_task_that_is_gone_and_one_of_others_are_told_alike(served: Served, one: Gate, ears: Ears) -> None:
    await namespaces.put_namespace(served.space, "lab")
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    theirs = await served.submit()
    gone = ids.submitted_id(ids.partition_of(theirs), 1_700_000_000_000)

    ear = await ears.listen(one, f"task:{theirs}", f"task:{gone}", kind="lab")

    assert [(await ear.message())["task"] for _ in range(2)] == [None, None]
    await served.post(f"/v1/tasks/{theirs}/cancel")
    assert (await ear.message())["task"] is None


async def test_what_happened_this_minute_is_told_at_first_and_when_it_changes(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "TICK_S", 0.05)
    await served.submit()
    ear = await ears.listen(one, f"stats:{SHOP}", f"stats:{SHOP}/mail")
    both = [await ear.message(), await ear.message()]
    assert {message["topic"]: message["items"] for message in both} == {f"stats:{SHOP}": [], f"stats:{SHOP}/mail": []}

    await Fold(served.space).run_once()
    message = await ear.message()
    assert (message["topic"], message["kind"]) == (f"stats:{SHOP}", "stats")
    assert sum(minute["figures"]["submitted"] for minute in message["items"]) == 1
    [minute] = message["items"]
    assert minute["from_ms"] % limits.MINUTE_MS == 0

    await served.submit("mail")
    await Fold(served.space).run_once()
    both = [await ear.message(), await ear.message()]
    last = {message["topic"]: message["items"][-1]["figures"]["submitted"] for message in both}
    assert last[f"stats:{SHOP}/mail"] == 1
    late = await ears.listen(one, f"stats:{SHOP}")
    assert sum(minute["figures"]["submitted"] for minute in (await late.message())["items"]) == 2


async def test_queues_figures_and_logs_make_no_script_leave_what_it_changes(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "TICK_S", 0.05)
    await served.enlist("send")
    task = await served.submit()
    ear = await ears.listen(one, f"queues:{SHOP}", f"stats:{SHOP}", f"log:{task}")
    assert {(await ear.message())["kind"] for _ in range(2)} == {"queues", "stats"}
    client: Any = served.space.clients.commands
    await client.config_resetstat()

    await served.log(task, (1, "info", "here"))
    await served.start(task)
    await served.report(task)

    assert await lines_of(ear, 1) == ["here"]
    names = [name async for name in client.scan_iter(match="*:changes")]
    prefix = served.space.prefixes[ids.partition_of(task)]
    assert (names, await client.hget(K.meta(prefix), "watched")) == ([], None)
    # one entry of the tally each for the start and the report
    assert (await client.info("commandstats"))["cmdstat_xadd"]["calls"] == 2


async def test_who_comes_back_to_a_log_alone_goes_on_where_it_was(served: Served, one: Gate, ears: Ears) -> None:
    await served.enlist("send")
    task = await served.submit()
    ear = await ears.listen(one, f"log:{task}")
    await served.log(task, (1, "info", "first"))
    assert await lines_of(ear, 1) == ["first"]
    await served.log(task, (2, "info", "second"))

    again = await ears.listen(one, f"log:{task}", last_id=ear.last_id)

    assert await lines_of(again, 1) == ["second"]


async def test_a_gateway_tells_so_many_figures(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.submit()
    monkeypatch.setattr(limits, "STREAM_STATS_AT_ONCE", 2)
    await ears.listen(one, f"stats:{SHOP}", f"stats:{SHOP}/send")

    await ears.listen(one, f"stats:{SHOP}", "events")
    assert await ears.refused(one, f"stats:{SHOP}/mail") == (503, "streams_full")


async def test_what_a_run_logs_is_told_from_now_on_and_from_where_a_page_ended(
    served: Served, one: Gate, ears: Ears
) -> None:
    await served.enlist("send")
    task = await served.submit()
    await served.log(task, (1, "info", "early"))
    page = await served.get(f"/v1/tasks/{task}/log")
    await served.log(task, (2, "info", "between"))
    late = await ears.listen(one, f"log:{task}")
    after = await ears.listen(one, f"log:{task}", since=page["live"])

    await served.log(task, (3, "warning", "now"), logger="shop")

    message = await late.message()
    assert (message["topic"], message["kind"]) == (f"log:{task}", "log")
    assert message["items"] == [
        {"line": 2, "attempt": 1, "at_ms": 3, "level": "warning", "logger": "shop", "worker": "worker-1", "text": "now"}
    ]
    assert await lines_of(after, 2) == ["between", "now"]


async def test_a_log_goes_on_at_another_gateway_exactly_where_it_was_told(
    served: Served, one: Gate, two: Gate, ears: Ears
) -> None:
    await served.enlist("send")
    task = await served.submit()
    ear = await ears.listen(one, f"log:{task}", "events")
    for number in range(10):
        await served.log(task, (1, "info", f"{number}a"), (2, "info", f"{number}b"))
    heard = await lines_of(ear, 1)
    await ear.answer.aclose()
    for number in range(10, 20):
        await served.log(task, (1, "info", f"{number}a"), (2, "info", f"{number}b"))

    again = await ears.listen(two, f"log:{task}", "events", last_id=ear.last_id)
    heard += await lines_of(again, 40 - len(heard))

    assert heard == [f"{number}{part}" for number in range(20) for part in "ab"]


async def test_the_log_of_a_shard_is_told_alone(served: Served, one: Gate, ears: Ears) -> None:
    await served.enlist("send")
    task = await served.submit(shards=2)
    ear = await ears.listen(one, f"log:{task}.1")

    await served.log(f"{task}.0", (1, "info", "of the first"))
    await served.log(f"{task}.1", (1, "info", "of the second"))

    assert await lines_of(ear, 1) == ["of the second"]


async def test_a_listener_that_takes_nothing_keeps_its_place_in_a_log(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_LOG_LINES", 3)
    await served.enlist("send")
    task = await served.submit()
    ear = await ears.listen(one, f"log:{task}")
    [listener] = one.live.listeners
    listener.tell(listener.position, [b'{"kind":"held"}'])

    for number in range(10):
        await served.log(task, (1, "info", str(number)))
    while True:
        message = await ear.message()
        if message["kind"] != "held":
            break

    assert [line["text"] for line in message["items"]] == ["0", "1", "2"]
    assert await lines_of(ear, 7) == [str(number) for number in range(3, 10)]


async def test_lines_that_gave_way_before_they_were_told_are_counted(served: Served, one: Gate, ears: Ears) -> None:
    await served.enlist("send")
    task = await served.submit()
    page = await served.get(f"/v1/tasks/{task}/log")
    for number in range(limits.LOG_HEAD_LINES + 10):
        await served.log(task, (1, "info", str(number)), most_lines=limits.LOG_HEAD_LINES + 2)

    ear = await ears.listen(one, f"log:{task}", since=page["live"])

    message = await ear.message()
    numbers = [line["line"] for line in message["items"]]
    assert message["dropped"]["ring"] == limits.LOG_HEAD_LINES + 10 - len(numbers) == 8
    await served.log(task, by_gateway=5)
    assert (await ear.message()) == {
        "topic": f"log:{task}", "items": [], "dropped": message["dropped"] | {"gateway": 5}, "kind": "log"
    }  # fmt: skip


async def test_a_log_that_was_forgotten_is_to_be_read_again(served: Served, one: Gate, ears: Ears) -> None:
    await served.enlist("send")
    task = await served.submit()
    await served.log(task, (1, "info", "gone"), (1, "info", "gone"))
    ear = await ears.listen(one, f"log:{task}")
    client: Any = served.space.clients.commands

    await client.unlink(K.log(served.space.prefixes[ids.partition_of(task)], task))

    assert await ear.message() == {"topic": f"log:{task}", "kind": "resync"}
    await served.log(task, (1, "info", "new"))
    assert await lines_of(ear, 1) == ["new"]


async def test_a_log_that_is_not_there_and_one_of_others_are_told_alike(served: Served, one: Gate, ears: Ears) -> None:
    await namespaces.put_namespace(served.space, "lab")
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    await served.enlist("send")
    theirs = await served.submit()
    gone = ids.submitted_id(ids.partition_of(theirs), 1_700_000_000_000)

    ear = await ears.listen(one, f"log:{theirs}", f"log:{gone}", kind="lab", since=f"~{theirs}:0.0")

    assert [(await ear.message())["kind"] for _ in range(2)] == ["resync", "resync"]
    [listener] = one.live.listeners
    assert listener.logs == {}


async def test_a_stream_and_a_gateway_follow_so_many_logs(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await served.submit()
    logs = [f"log:{task}.{shard}" for shard in range(limits.STREAM_LOGS + 1)]
    monkeypatch.setattr(limits, "STREAM_LOGS_AT_ONCE", limits.STREAM_LOGS)

    assert await ears.refused(one, *logs) == (400, "too_many_logs")
    await ears.listen(one, *logs[:-1])
    await ears.listen(one, *logs[:-1])
    assert await ears.refused(one, logs[-1]) == (503, "streams_full")


# ---- where it goes on ------------------------------------------------------------------------------------------------


async def test_a_list_and_the_stream_from_its_position_miss_nothing(served: Served, one: Gate, ears: Ears) -> None:
    await served.space.of_app(SHOP)
    first = await told(served, SHOP, kind="lost")
    await asyncio.sleep(0.002)
    page = await served.get("/v1/events", live="true")
    second = await told(served, SHOP, kind="poison")
    task = await served.submit()

    ear = await ears.listen(one, "events", f"tasks:{SHOP}", since=page["live"])

    assert [event["id"] for event in page["items"] if event["app"]] == [first]
    messages = {message["kind"]: message for message in [await ear.message(), await ear.message()]}
    assert [row["id"] for row in messages["tasks"]["items"]] == [task]
    assert [event["id"] for event in messages["events"]["items"]] == [second]


@pytest.mark.parametrize("path", ["/v1/triggers", "/v1/workers", "/v1/tasks"])
async def test_the_stream_goes_on_exactly_where_a_list_was_read(
    served: Served, one: Gate, ears: Ears, path: str
) -> None:
    await served.enlist("send")
    await served.put_trigger()
    await asyncio.sleep(0.002)
    page = await served.get(path, limit=1, live="true")
    ran = str((await served.post(f"{APP}/triggers/nightly/run"))["id"])
    lost = await told(served, SHOP, kind="session_lost")

    ear = await ears.listen(one, f"events:{SHOP}", f"tasks:{SHOP}", since=page["live"])
    messages = {message["kind"]: message for message in [await ear.message(), await ear.message()]}
    await served.start(ran)
    then = await ear.message()

    assert [row["id"] for row in messages["tasks"]["items"]] == [ran]
    assert [event["id"] for event in messages["events"]["items"]] == [lost]
    assert [(row["id"], row["state"]) for row in then["items"]] == [(ran, "running")]


@pytest.mark.parametrize("path", ["/v1/triggers", "/v1/workers"])
async def test_only_the_first_page_of_a_list_has_a_position(served: Served, path: str) -> None:
    for name in ("a", "b"):
        await served.enlist("send", name=name)
        await served.put_trigger(name)

    first = await served.get(path, limit=1, live="true")
    second = await served.get(path, limit=1, live="true", cursor=first["next"])

    assert (first["live"] != "", second["live"], len(second["items"])) == (True, "", 1)


async def test_another_gateway_goes_on_where_a_killed_one_ended(
    served: Served, one: Gate, two: Gate, ears: Ears
) -> None:
    await served.space.of_app(SHOP)
    ear = await ears.listen(one, f"events:{SHOP}")
    sent = [await told(served, SHOP, kind="lost") for _ in range(20)]
    heard = await ids_of(ear, 20)

    killed = asyncio.create_task(one.stop())
    sent += [await told(served, SHOP, kind="lost") for _ in range(20)]
    while message := await ear.message():
        heard += [event["id"] for event in message["items"]]
    assert (ear.end["code"], 0 < ear.retry_ms <= 2_000) == ("draining", True)
    await killed
    sent += [await told(served, SHOP, kind="lost") for _ in range(20)]
    again = await ears.listen(two, f"events:{SHOP}", last_id=ear.last_id)
    sent += [await told(served, SHOP, kind="lost") for _ in range(20)]
    heard += await ids_of(again, len(sent) - len(heard))

    assert heard == sent


async def test_the_sdk_misses_nothing_and_hears_nothing_twice_while_gateways_come_and_go(
    served: Served, one: Gate, two: Gate
) -> None:
    await served.space.of_app(SHOP)
    stream = GojobClient(f"{one.url},{two.url}", served.tokens["admin"]).stream(f"events:{SHOP}")
    heard: list[str] = []

    def listen() -> None:
        for message in stream:
            heard.extend(event["id"] for event in message.data["items"])

    listening = asyncio.create_task(asyncio.to_thread(listen))
    await until(lambda: one.live.listeners)
    sent = [await told(served, SHOP, kind="lost") for _ in range(30)]
    await until(lambda: heard)
    sent += [await told(served, SHOP, kind="lost") for _ in range(20)]
    killed = asyncio.create_task(one.stop())
    sent += [await told(served, SHOP, kind="lost") for _ in range(20)]
    await killed
    sent += [await told(served, SHOP, kind="lost") for _ in range(30)]
    await until(lambda: len(heard) >= len(sent), 10)
    stream.close()
    await two.stop()
    await listening

    assert heard == sent


async def test_who_loses_the_connection_before_the_first_batch_misses_nothing(
    served: Served, one: Gate, ears: Ears
) -> None:
    await served.space.of_app(SHOP)
    page = await served.get("/v1/events", live="true")
    event = await told(served, SHOP, kind="lost")

    first = await ears.listen(one, "events", since=page["live"])
    assert await ids_of(await ears.listen(one, "events", last_id=first.last_id), 1) == [event]


async def test_who_comes_back_too_late_is_told_to_read_the_list_again(served: Served, one: Gate, ears: Ears) -> None:
    await served.submit()
    await told(served, SHOP, kind="lost")

    ear = await ears.listen(one, "events", f"tasks:{SHOP}", last_id=f"{ids.base36(1_600_000_000_000)}")

    assert {(await ear.message())["topic"] for _ in range(2)} == {"events", f"tasks:{SHOP}"}


async def test_too_many_events_to_tell_again_are_to_be_read_again(served: Served, one: Gate, ears: Ears) -> None:
    await served.space.of_app(SHOP)
    page = await served.get("/v1/events", live="true")
    for _ in range(limits.STREAM_EVENTS + 1):
        await told(served, SHOP, kind="lost")

    ear = await ears.listen(one, f"events:{SHOP}", since=page["live"])

    assert await ear.message() == {"topic": f"events:{SHOP}", "kind": "resync"}


async def test_after_an_engine_forgot_what_changed_the_list_has_to_be_read_again(
    served: Served, one: Gate, ears: Ears
) -> None:
    task = await served.submit()
    ear = await ears.listen(one, f"tasks:{SHOP}", f"task:{task}")
    assert (await ear.message())["kind"] == "task"
    client: Any = served.space.clients.commands

    await client.unlink(*(K.changes(prefix) for prefix in served.space.prefixes))

    assert {(await ear.message())["kind"] for _ in range(2)} == {"resync", "task"}


# ---- when the server lets go -----------------------------------------------------------------------------------------


async def test_a_stream_of_a_revoked_token_ends(served: Served, one: Gate, ears: Ears) -> None:
    issued = await tokens.create_token(served.space, "api", scope=["default"])
    served.tokens["lent"] = issued.token
    one.live.recheck_s = 0.0
    ear = await ears.listen(one, "events", kind="lent")
    await ears.listen(one, "events")

    await tokens.revoke_token(served.space, issued.facts.key_id)

    assert await ear.message() == {}
    assert ear.end["code"] == "bad_token"
    await until(lambda: len(one.live.listeners) == 1)


async def test_a_listener_that_takes_nothing_is_dropped_and_others_are_not(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_BUFFER_BYTES", 100_000)
    await served.space.of_app(SHOP)
    quick = await ears.listen(one, f"events:{SHOP}")
    await ears.listen(one, f"events:{SHOP}")
    assert len(one.live.listeners) == 2
    heard = 0

    while len(one.live.listeners) == 2:
        for _ in range(20):
            await told(served, SHOP, kind="lost", why="x" * 10_000)
        heard += len(await ids_of(quick, 20))

    assert [listener.ended for listener in one.live.listeners] == [None]
    assert heard >= 20


async def test_a_listener_that_hangs_up_leaves(served: Served, one: Gate, ears: Ears) -> None:
    ear = await ears.listen(one, "events")
    assert len(one.live.listeners) == 1

    await ear.answer.aclose()

    await until(lambda: not one.live.listeners)


async def test_streams_have_limits_and_take_no_places_of_requests(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAMS_PER_TOKEN", 2 * limits.REQUESTS_AT_ONCE)
    for _ in range(2 * limits.REQUESTS_AT_ONCE):
        await ears.listen(one, "events")

    assert await ears.refused(one, "events") == (503, "streams_full")
    await ears.listen(one, "events", kind="api")
    monkeypatch.setattr(limits, "STREAMS", 2 * limits.REQUESTS_AT_ONCE + 1)
    assert await ears.refused(one, "events", kind="api") == (503, "streams_full")


async def test_a_gateway_that_ends_takes_no_stream(served: Served, one: Gate, ears: Ears) -> None:
    one.live.close()

    assert await ears.refused(one, "events") == (503, "draining")


async def test_topics_are_at_most_32_and_of_apps_that_the_token_covers(served: Served, one: Gate, ears: Ears) -> None:
    await namespaces.put_namespace(served.space, "lab")
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    await served.submit()
    task = await served.submit()
    many = [f"task:{task[:-2]}{n:02d}" for n in range(limits.STREAM_TOPICS)]

    await ears.listen(one, *many)
    assert (await ears.refused(one, *many, "events"))[0] == 400
    assert (await ears.refused(one))[0] == 400
    assert await ears.refused(one, f"tasks:{SHOP}", kind="lab") == (403, "forbidden")
    assert await ears.refused(one, f"stats:{SHOP}", kind="lab") == (403, "forbidden")
    assert await ears.refused(one, f"events:{SHOP}", kind="lab") == (403, "forbidden")
    assert await ears.refused(one, "events:default", kind="lab") == (403, "forbidden")
    assert await ears.refused(one, "tasks:lab/nobody", kind="lab") == (404, "unknown_app")
    assert (await ears.refused(one, "events", kind="worker"))[0] == 403


@pytest.mark.parametrize(
    "topic",
    ["", ":", "events:", "nonsense", "task", "task:", "task:x", "tasks:default", "tasks:a/b/c/d", "queues:a", "log:x",
     "log", "log:", "log:x.1", "stats", "stats:a", "stats:a/b/c/d", "log:01s0000000000000000.x",
     "events:a/b/c", "events:A", "tasks:default/shop/", "tasks://", "events:é", "task:" + "9" * 5_000, "events\n",
     "events:\x00", "tasks:default/../x", "events:" + "a/" * 150],
)  # fmt: skip
async def test_a_topic_that_means_nothing_is_refused(served: Served, one: Gate, ears: Ears, topic: str) -> None:
    assert (await ears.refused(one, topic))[0] == 400


@pytest.mark.parametrize(
    "position",
    [
        "x y",
        "~",
        "~x",
        "~x:1",
        "1~x:1.1~",
        "~x.y:1.1",
        "~x:1." + "1" * 7,
        "1.zz",
        "_",
        "é".encode().decode("latin-1"),
        "1" * 990,
    ],
)
async def test_a_position_that_is_none_is_refused(served: Served, one: Gate, ears: Ears, position: str) -> None:
    assert (await ears.refused(one, "events", since=position))[0] == 400


async def test_no_proxy_is_to_hold_the_stream_back(served: Served, one: Gate, ears: Ears) -> None:
    headers = (await ears.listen(one, "events")).answer.headers

    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-store, no-transform")


async def test_a_silent_stream_moves_its_position_on(
    served: Served, one: Gate, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_HEARTBEAT_MS", 300)
    ear = await ears.listen(one, "events")
    before = ear.last_id

    assert (await ear.event()).keys() == {"id"}
    assert ear.last_id > before
