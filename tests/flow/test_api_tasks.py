"""Tasks over HTTP: submitted, watched while they run, explained, listed, cancelled, run again."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import msgpack
import pytest

from gojob_redis import view
from gojob_redis.api import submissions, tasks
from gojob_redis.api.long_poll import EVERY_S, LOOK_S, RECHECK_S
from gojob_redis.control.records import REMEMBER_S
from gojob_redis.domain import ids, limits
from gojob_redis.engine.client import Client
from gojob_redis.engine.keys import K
from tests.tools.served import APP, GATEWAY, SHOP, Served, serving
from tests.tools.waiting import until

pytestmark = pytest.mark.real

TASKS = f"{APP}/handlers/send/tasks"
FAR_MS = 3_600_000


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def show(served: Served, task: str) -> Any:
    return await served.get(f"/v1/tasks/{task}")


# ---- submitting ------------------------------------------------------------------------------------------------------


async def test_a_submitted_task_shows_what_was_asked_for(served: Served) -> None:
    asked: dict[str, Any] = {
        "params": {"n": [1, 2.5, None, "ü"]},
        "labels": {"env": "gray", "area": "eu"},
        "require": "host=db7",
        "priority": 2,
        "retries": 3,
        "retry_interval_ms": 50,
        "run_limit_ms": 1_000,
        "on_lost": "fault",
    }

    answer = await served.ask("POST", TASKS, {**asked, "allow_unknown": True}, kind="api")

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/tasks/{answer.json()['id']}"
    task = await show(served, answer.json()["id"])
    assert {name: task[name] for name in asked} == asked
    assert (task["state"], task["place"], task["namespace"], task["app"]) == ("created", "lane", "default", "shop")


async def test_a_known_handler_needs_no_permission_to_be_unknown(served: Served) -> None:
    await served.enlist("send")

    made = await served.post(TASKS, {})

    assert (await show(served, made["id"]))["state"] == "waiting_to_run"


async def test_a_large_parameter_comes_back_whole(served: Served) -> None:
    task = await served.submit(params="x" * 200_000)

    assert (await show(served, task))["params"] == "x" * 200_000


async def test_no_parameter_is_no_bytes(served: Served) -> None:
    task = await served.submit(params=None)

    assert "param" not in await served.record(task)


async def test_a_key_stands_for_one_task(served: Served) -> None:
    body = {"allow_unknown": True, "params": {"a": 1, "b": 2}}
    key = {"Idempotency-Key": "order-7"}

    first = await served.ask("POST", TASKS, body, headers=key)
    repeat = await served.ask("POST", TASKS, {"params": {"b": 2, "a": 1}, "allow_unknown": True}, headers=key)
    other = await served.ask("POST", TASKS, {**body, "priority": 9}, headers=key)
    elsewhere = await served.ask("POST", f"{APP}/handlers/report/tasks", body, headers=key)

    assert (first.status_code, repeat.status_code) == (201, 200)
    assert repeat.json() == {"id": first.json()["id"], "state": "created", "duplicate": True}
    for answer in (other, elsewhere):
        assert (answer.status_code, answer.json()["code"]) == (409, "key_reused")


async def test_a_hundred_clients_with_one_key_make_one_task(served: Served) -> None:
    answers = await asyncio.gather(
        *(served.ask("POST", TASKS, {"allow_unknown": True}, headers={"Idempotency-Key": "same"}) for _ in range(100))
    )

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]


async def test_many_tasks_are_taken_in_at_once_and_in_order(served: Served) -> None:
    bodies = [{"params": number, "allow_unknown": True} for number in range(250)]

    made = await served.post(f"{TASKS}:batch", {"tasks": bodies})

    assert len(set(made["ids"])) == 250
    assert [(await show(served, made["ids"][at]))["params"] for at in (0, 99, 100, 249)] == [0, 99, 100, 249]


async def test_others_have_their_turns_while_many_tasks_are_checked(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, seen = 0, [0]
    prepare = submissions.prepare

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal checked
        checked += 1
        return await prepare(*args, **options)

    async def watch() -> None:
        while True:
            await asyncio.sleep(0)
            seen.append(checked)

    monkeypatch.setattr(submissions, "prepare", counted)
    monkeypatch.setattr(tasks, "TURN_S", 0.0)
    watching = asyncio.create_task(watch())
    await served.post(f"{TASKS}:batch", {"tasks": [{"allow_unknown": True}] * 1_000})
    watching.cancel()

    assert checked == 1_000
    assert max(after - before for before, after in pairwise(seen)) == 1


async def test_each_of_many_tasks_may_have_a_key_of_its_own(served: Served) -> None:
    bodies = [{"params": number, "idempotency_key": f"k{number}", "allow_unknown": True} for number in range(3)]

    first = await served.post(f"{TASKS}:batch", {"tasks": bodies[:2]})
    second = await served.post(f"{TASKS}:batch", {"tasks": bodies})

    assert second["ids"][:2] == first["ids"]


async def test_one_key_makes_a_whole_batch_repeatable(served: Served) -> None:
    body = {"tasks": [{"allow_unknown": True}] * 3}
    key = {"Idempotency-Key": "batch"}

    first = await served.post(f"{TASKS}:batch", body, headers=key)
    second = await served.post(f"{TASKS}:batch", body, headers=key)

    assert len(set(first["ids"])) == 3
    assert second["ids"] == first["ids"]


async def test_of_a_batch_that_is_partly_refused_the_rest_is_named(served: Served) -> None:
    await served.post(TASKS, {"allow_unknown": True}, headers={"Idempotency-Key": "used"})
    bodies = [{"allow_unknown": True}, {"allow_unknown": True, "idempotency_key": "used", "params": 1}]

    answer = await served.ask("POST", f"{TASKS}:batch", {"tasks": bodies})

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (409, "key_reused", "tasks[1]")
    assert problem["ids"][1] is None
    assert (await show(served, problem["ids"][0]))["state"] == "created"


async def test_a_delay_counts_from_the_engine_s_clock(served: Served) -> None:
    before = (await served.get("/v1/info"))["engine_time_ms"]

    task = await served.submit(delay_ms=FAR_MS)

    shown = await show(served, task)
    assert (shown["state"], shown["place"]) == ("created", "due")
    client: Any = served.space.clients.commands
    prefix = (await served.space.of_app(SHOP)).prefix
    assert before + FAR_MS <= await client.zscore(K.due(prefix, SHOP), task) <= before + FAR_MS + 5_000


# ---- watching --------------------------------------------------------------------------------------------------------


async def test_a_task_is_seen_from_bound_to_done(served: Served) -> None:
    await served.enlist(name="w7")
    task = await served.submit()
    bound = await show(served, task)

    await served.start(task)
    await served.progress(task, msgpack.packb({"percent": 50.0, "message": "half"}))
    running = await show(served, task)
    await served.report(task, "ok", msgpack.packb({"sum": 3}))
    done = await show(served, task)

    assert (bound["state"], bound["worker"]) == ("waiting_to_run", "w7")
    assert bound["why"]["says"] == "Worker 'w7' was given it and has not begun yet."
    assert (running["state"], running["why"]) == ("running", None)
    assert running["progress"] == {"percent": 50.0, "message": "half"}
    assert (done["state"], done["result"], done["error"]) == ("run_to_completion", {"sum": 3}, None)
    assert done["started_ms"] <= done["ended_ms"]


async def test_a_large_result_and_a_large_error_come_back_whole(served: Served) -> None:
    await served.enlist()
    good, bad = await served.submit(), await served.submit()
    error = {"type": "ValueError", "message": "m" * 5_000, "traceback": "t"}

    await served.report(good, "ok", msgpack.packb("r" * 5_000))
    await served.report(bad, "error", msgpack.packb(error))

    assert (await show(served, good))["result"] == "r" * 5_000
    shown = await show(served, bad)
    assert (shown["state"], shown["reason"], shown["error"], shown["result"]) == ("faulted", "error", error, None)


@pytest.mark.parametrize(
    "value", [b"\xc1", msgpack.packb({1: b"\xff", "d": msgpack.ExtType(5, b"x")}), b"\x91" * 2_000]
)
async def test_a_result_that_json_cannot_show_is_shown_somehow(served: Served, value: bytes) -> None:
    await served.enlist()
    task = await served.submit()
    await served.report(task, "ok", value)

    assert (await show(served, task))["result"] is not None


async def test_failed_attempts_are_evidence(served: Served) -> None:
    await served.enlist(name="w1")
    task = await served.submit(retries=1, retry_interval_ms=FAR_MS)
    await served.start(task)

    await served.report(task, "error", msgpack.packb({"type": "E", "message": "no", "traceback": ""}))

    shown = await show(served, task)
    [attempt] = shown["attempts"]
    assert (attempt["attempt"], attempt["worker"], attempt["why"], attempt["error"]["message"]) == (
        1,
        "w1",
        "error",
        "no",
    )
    assert (shown["state"], shown["place"], shown["failures"]) == ("created", "timer", 1)
    assert shown["why"]["says"].startswith("It failed (error); retry 1 of 1 is at ")
    assert shown["why"]["says"].endswith("in 60.0 min.")


async def test_shards_are_shown_one_by_one_and_in_pages(served: Served) -> None:
    await served.enlist(capacity=2)
    task = await served.submit(shard_params=["a", "b", "c", "d", "e"])
    await served.report(f"{task}.0", "ok", msgpack.packb("A"))  # its seat takes shard 2

    first = await served.get(f"/v1/tasks/{task}/runs", limit=3)
    second = await served.get(f"/v1/tasks/{task}/runs", after=first["next"])
    shown = await show(served, task)

    states = [run["state"] for run in first["items"] + second["items"]]
    assert states == ["run_to_completion", "waiting_to_run", "waiting_to_run", "created", "created"]
    assert first["items"][0]["result"] == "A"
    assert (shown["shards"], shown["shards_bound"], shown["shards_ended"]) == (5, 3, {"run_to_completion": 1})
    assert shown["why"]["says"].startswith("No free seat")

    await served.post(f"/v1/tasks/{task}/cancel")
    after = await served.get(f"/v1/tasks/{task}/runs")
    assert [run["state"] for run in after["items"]][3:] == ["canceled", "canceled"]


async def test_all_runs_are_shown_as_columns(served: Served) -> None:
    await served.enlist(capacity=2)
    task = await served.submit(shard_params=["a", "b", "c", "d", "e"])
    await served.report(f"{task}.0", "error", disposition="final")

    columns = await served.get(f"/v1/tasks/{task}/runs/columns")

    assert [columns["states"][state] for state in columns["state"]] == [
        "faulted", "waiting_to_run", "waiting_to_run", "created", "created",
    ]  # fmt: skip
    assert columns["attempt"] == [1, 1, 1, 0, 0]
    assert columns["failures"] == [1, 0, 0, 0, 0]
    assert columns["worker"] == [0, 0, 0, -1, -1]
    assert columns["workers"] == [{"name": "worker-1", "ran_on": {"host": "db7", "pid": 7, "sdk": "", "address": ""}}]
    made_ms = (await show(served, task))["made_ms"]
    assert columns["base_ms"] == made_ms
    assert 0 <= columns["started_ms"][0] <= columns["ended_ms"][0] < 60_000
    assert columns["ended_ms"][1:] == [None] * 4


async def test_a_task_without_shards_is_one_run_and_one_that_is_not_there_is_unknown(served: Served) -> None:
    task = await served.submit()

    columns = await served.get(f"/v1/tasks/{task}/runs/columns")
    unknown = await served.ask("GET", f"/v1/tasks/{task[:-3]}zzz/runs/columns")

    assert [columns["states"][state] for state in columns["state"]] == ["created"]
    assert (columns["worker"], columns["workers"], columns["started_ms"]) == ([-1], [], [None])
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_task")


async def test_columns_of_a_canceled_task_show_what_never_ran_as_canceled_and_a_later_state_as_none(
    served: Served,
) -> None:
    task = await served.submit(shards=2)
    await served.post(f"/v1/tasks/{task}/cancel")
    client: Any = served.space.clients.commands
    await client.hset(f"{served.space.prefixes[ids.partition_of(task)]}task:{task}.1", "state", "dreaming")

    columns = await served.get(f"/v1/tasks/{task}/runs/columns")

    assert (columns["states"][columns["state"][0]], columns["state"][1]) == ("canceled", -1)


async def test_ten_thousand_runs_take_less_than_200_kb_compressed(served: Served) -> None:
    task = await served.submit(shards=10_000)
    prefix = served.space.prefixes[ids.partition_of(task)]
    client: Any = served.space.clients.commands
    made_ms = (await show(served, task))["made_ms"]
    pipeline = client.pipeline(transaction=False)
    for shard in range(10_000):  # as runs look that ended on 500 workers, at any time within an hour
        started = made_ms + shard * 7919 % 3_600_000
        ended = started + shard * 104_729 % 60_000
        facts = {"state": "run_to_completion", "attempt": 1, "started": started, "ended": ended}
        who = shard * 31 % 500
        facts |= {"worker": f"mail-{who}.example-4711", "session": f"s{who * 982_451_653 % 10**12}"}
        pipeline.hset(f"{prefix}task:{task}.{shard}", mapping=facts)
        told = {
            "host": f"mail-{who}.example",
            "pid": who * 7919,
            "sdk": "gojob-sdk/0.2.0 python/3.12",
            "address": "10.0.0.7",
        }
        pipeline.hset(f"{prefix}session:{facts['session']}", "facts", msgpack.packb(told))
    await pipeline.execute()

    answer = await served.ask("GET", f"/v1/tasks/{task}/runs/columns", headers={"Accept-Encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["state"]) == 10_000
    assert int(answer.headers["content-length"]) <= 200_000


# ---- waiting ---------------------------------------------------------------------------------------------------------


async def test_a_long_poll_answers_soon_after_the_end(served: Served) -> None:
    await served.enlist()
    task = await served.submit()
    began = time.monotonic()
    poll = asyncio.create_task(served.ask("GET", f"/v1/tasks/{task}", params={"wait": "30s"}))
    await until(lambda: served.app.state.edge.waiting.count)

    await served.report(task)

    assert (await poll).json()["state"] == "run_to_completion"
    assert time.monotonic() - began < 5


async def test_a_long_poll_ends_when_its_time_is_over(served: Served) -> None:
    task = await served.submit()

    shown = await served.get(f"/v1/tasks/{task}", wait="50ms")

    assert shown["state"] == "created"
    assert served.app.state.edge.waiting.count == 0


async def test_many_polls_share_one_reader(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:

    await served.enlist(capacity=100)
    ids = (await served.post(f"{TASKS}:batch", {"tasks": [{}] * 50}))["ids"]
    asked: list[int] = []
    real = view.states_of

    async def counted(partition: Any, tasks: Any, **within: Any) -> Any:
        asked.append(len(tasks))
        return await real(partition, tasks, **within)

    monkeypatch.setattr(view, "states_of", counted)
    polls = [asyncio.create_task(served.ask("GET", f"/v1/tasks/{task}?wait=30s")) for task in ids * 4]
    await until(lambda: served.app.state.edge.waiting.count == 4 * len(ids))
    for task in ids:
        await served.report(task)
    answers = await asyncio.gather(*polls)

    assert {answer.json()["state"] for answer in answers} == {"run_to_completion"}
    assert max(asked) <= 50  # each task once, though four wait for it
    assert served.app.state.edge.waiting.count == 0


async def test_a_poll_does_not_outlive_its_token(served: Served) -> None:
    waiting = served.app.state.edge.waiting
    waiting.recheck_s = 0.0
    made = await served.post("/v1/tokens", {"kind": "api", "scope": ["default"]})
    served.tokens["ci"] = made["token"]
    task = await served.submit()
    poll = asyncio.create_task(served.ask("GET", f"/v1/tasks/{task}?wait=30s", kind="ci"))
    other = asyncio.create_task(served.ask("GET", f"/v1/tasks/{task}?wait=30s"))
    await until(lambda: waiting.count == 2)

    assert (await served.ask("DELETE", f"/v1/tokens/{made['key_id']}")).status_code == 204

    answer = await poll
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")
    assert not other.done()
    await served.post(f"/v1/tasks/{task}/cancel")
    assert (await other).json()["state"] == "canceled"


def test_tokens_are_looked_at_often_enough_for_what_is_promised() -> None:
    assert RECHECK_S + REMEMBER_S + EVERY_S + LOOK_S < limits.TOKEN_REVOKED_MS / 1000


async def test_too_many_polls_are_turned_away(served: Served) -> None:
    served.app.state.edge.waiting.most = 1
    task = await served.submit()
    poll = asyncio.create_task(served.ask("GET", f"/v1/tasks/{task}?wait=30s"))
    await until(lambda: served.app.state.edge.waiting.count)

    answer = await served.ask("GET", f"/v1/tasks/{task}?wait=30s")

    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "busy", "1")
    await served.post(f"/v1/tasks/{task}/cancel")
    assert (await poll).json()["state"] == "canceled"


# ---- why -------------------------------------------------------------------------------------------------------------


async def why(served: Served, task: str) -> str:
    return str((await show(served, task))["why"]["says"])


async def test_it_says_that_no_worker_announces_the_handler(served: Served) -> None:
    task = await served.submit(labels={"env": "gray"})

    assert await why(served, task) == (
        "No worker announces handler send. Start one of app default/shop, with env=gray."
    )


async def test_it_says_under_which_labels_the_handler_is_served(served: Served) -> None:
    await served.enlist("send")
    await served.enlist("send", labels="env=blue")
    task = await served.submit(labels={"env": "gray"})

    assert await why(served, task) == ("No worker of send has env=gray; 1 has no labels, 1 has env=blue.")


async def test_it_says_that_nobody_offers_the_attribute(served: Served) -> None:
    await served.enlist("send")
    task = await served.submit(require="host=db7")

    assert await why(served, task) == "No worker of send offers host=db7. Start one that does."


async def test_it_says_that_all_seats_are_taken_and_who_is_ahead(served: Served) -> None:
    await served.enlist("send", capacity=1)
    _running, _next, third = [await served.submit() for _ in range(3)]

    assert await why(served, third) == (
        "No free seat: 1 worker with 1 seat is busy, and 1 task is ahead of it in its queue."
    )


async def test_it_says_that_the_handler_is_paused(served: Served) -> None:
    await served.enlist("send")
    await served.post(f"{APP}/handlers/send/pause")
    task = await served.submit()

    assert (await why(served, task)).startswith("Handler send is paused since 20")


async def test_it_says_until_when_it_is_delayed(served: Served) -> None:
    task = await served.submit(delay_ms=FAR_MS)

    shown = await why(served, task)
    assert shown.startswith("It is delayed until 20")
    assert shown.endswith("in 60.0 min.")


async def test_it_says_that_the_gateway_of_its_workers_is_silent(served: Served) -> None:
    await served.enlist("send")
    client: Any = served.space.clients.commands
    prefix = (await served.space.of_app(SHOP)).prefix
    await client.zadd(K.gateways(prefix), {GATEWAY: 1})
    task = await served.submit()

    assert await why(served, task) == (
        "1 worker of send connected, but taking no work now: 1 connected to a gateway that is silent."
    )


# ---- lists -----------------------------------------------------------------------------------------------------------


async def listed(served: Served, **query: Any) -> list[str]:
    """Ids of all pages."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await served.get("/v1/tasks", app="shop", **query, cursor=cursor, limit=2)
        assert len(page["items"]) <= 2
        found += [each["id"] for each in page["items"]]
        cursor = page["next"]
    return found


async def test_tasks_of_a_handler_are_listed_by_state(served: Served) -> None:
    await served.enlist("send", "report", capacity=4)
    done = [await served.submit() for _ in range(3)]
    for task in done:
        await served.report(task)
    running, bound = await served.submit(), await served.submit()
    await served.start(running)
    retrying = await served.submit(retries=1, retry_interval_ms=FAR_MS)
    await served.report(retrying, "error")
    await served.submit("report")
    queued = [await served.submit(labels={"env": label}) for label in ("a", "a", "b")]
    delayed = await served.submit(delay_ms=FAR_MS)
    canceled = await served.submit(labels={"env": "a"})
    await served.post(f"/v1/tasks/{canceled}/cancel")

    async def of(*states: str) -> list[str]:
        return await listed(served, handler="send", state=list(states))

    assert await of("running") == [running]
    assert await of("waiting_to_run") == [bound]
    assert await of("created") == [*queued, retrying, delayed]
    assert sorted(await of("run_to_completion")) == sorted(done)
    assert await of("canceled") == [canceled]
    assert await of("faulted") == []
    alive = [running, bound, *queued, retrying, delayed]
    whole = await listed(served, handler="send")
    assert set(whole[: len(alive)]) == set(alive)
    assert set(whole[len(alive) :]) == {canceled, *done}
    assert len(await of("created", "running", "canceled")) == 7


async def test_a_long_list_comes_whole_in_pages(served: Served) -> None:
    ids = (await served.post(f"{TASKS}:batch", {"tasks": [{"allow_unknown": True}] * 501}))["ids"]

    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await served.get("/v1/tasks", app="shop", handler="send", cursor=cursor, limit=100)
        found += [each["id"] for each in page["items"]]
        cursor = page["next"]

    assert found == sorted(ids)


async def test_a_sharded_task_is_listed_once(served: Served) -> None:
    await served.enlist(capacity=3)
    task = await served.submit(shards=5)
    await served.start(f"{task}.1")

    assert await listed(served, handler="send") == [task]
    assert await listed(served, handler="send", state=["running"]) == [task]


async def test_tasks_of_a_trigger_are_listed_newest_first(served: Served) -> None:
    await served.enlist("send")
    await served.put_trigger(schedule={"kind": "manual"}, overlap="allow")
    made = []
    for _ in range(3):
        made.append((await served.post(f"{APP}/triggers/nightly/run"))["id"])
        await asyncio.sleep(0.002)
    await served.report(made[0])

    assert await listed(served, trigger="nightly") == made[::-1]
    assert await listed(served, trigger="nightly", state=["waiting_to_run"]) == [made[2], made[1]]


# ---- cancelling, running again ---------------------------------------------------------------------------------------


async def test_what_waits_is_cancelled_at_once_and_what_runs_is_asked(served: Served) -> None:
    await served.enlist("send", capacity=1)
    running, waiting = await served.submit(), await served.submit()
    await served.start(running)

    asked = await served.ask("POST", f"/v1/tasks/{running}/cancel", {"reason": "wrong file"})
    ended = await served.ask("POST", f"/v1/tasks/{waiting}/cancel")
    again = await served.ask("POST", f"/v1/tasks/{waiting}/cancel")

    assert (asked.status_code, asked.json()["outcome"], asked.json()["state"]) == (202, "requested", "running")
    assert (ended.status_code, ended.json()["outcome"], ended.json()["state"]) == (200, "canceled", "canceled")
    assert (again.status_code, again.json()["outcome"]) == (200, "already")
    shown = await show(served, running)
    assert shown["cancel_reason"] == "wrong file"
    assert shown["cancel"]["asked_ms"] > 0


@pytest.mark.parametrize("reason", ["", "a\x1fb", "x" * 65, "a\nb"])
async def test_a_reason_that_could_break_a_frame_is_refused(served: Served, reason: str) -> None:
    task = await served.submit()

    answer = await served.ask("POST", f"/v1/tasks/{task}/cancel", {"reason": reason})

    assert (answer.status_code, answer.json()["field"]) == (400, "reason")


async def test_running_again_makes_a_new_task_with_a_parent(served: Served) -> None:
    asked: dict[str, Any] = {
        "params": "x" * 500,
        "labels": {"env": "gray"},
        "require": "host=db7",
        "shard_params": list(range(12)),
        "retries": 2,
        "retry_interval_ms": 9,
        "run_limit_ms": 8,
        "on_lost": "fault",
    }
    first = await served.submit(**asked)
    early = await served.ask("POST", f"/v1/tasks/{first}/retry")
    await served.post(f"/v1/tasks/{first}/cancel")

    made = await served.post(f"/v1/tasks/{first}/retry")

    assert (early.status_code, early.json()["code"]) == (409, "not_over")
    again = await show(served, made["id"])
    same = {name: value for name, value in asked.items() if name != "shard_params"}
    assert {name: again[name] for name in same} == same
    assert (again["parent"], again["shards"], again["state"]) == (first, 12, "created")
    client: Any = served.space.clients.commands
    prefix = (await served.space.of_app(SHOP)).prefix
    held = [await client.hgetall(K.shard_params(prefix, task)) for task in (first, made["id"])]
    assert held[0] == held[1]
    assert (await show(served, first))["state"] == "canceled"


# ---- queues and workers ----------------------------------------------------------------------------------------------


async def test_queues_show_backlog_age_and_seats(served: Served) -> None:
    await served.enlist("send", capacity=1)
    await served.enlist("send", "report", labels="env=gray", capacity=5)
    for _ in range(3):
        await served.submit()
    await served.submit(labels={"env": "blue"})
    await asyncio.sleep(0.01)

    page = await served.get("/v1/queues", app="shop", sort="name")
    one = await served.get(f"{APP}/handlers/send")

    report, send = page["items"]
    assert (report["handler"], report["backlog"], report["free_seats"], report["oldest_ms"]) == ("report", 0, 5, None)
    assert (send["backlog"], send["workers"], send["seats"], send["free_seats"]) == (3, 2, 6, 5)
    assert send["oldest_ms"] >= 10
    assert [(lane["labels"], lane["backlog"], lane["workers"], lane["free_seats"]) for lane in send["lanes"]] == [
        ({}, 2, 1, 0),
        ({"env": "blue"}, 1, 0, 0),
    ]
    assert (one["backlog"], one["lane_count"]) == (send["backlog"], 2)


async def test_a_paused_handler_gives_nothing_until_it_is_resumed(served: Served) -> None:
    await served.enlist("send")
    paused = await served.post(f"{APP}/handlers/send/pause")
    task = await served.submit()

    assert paused["paused_ms"] > 0
    assert (await show(served, task))["state"] == "created"
    resumed = await served.post(f"{APP}/handlers/send/resume")
    assert (resumed["paused_ms"], resumed["backlog"]) == (None, 0)
    assert (await show(served, task))["state"] == "waiting_to_run"


async def test_workers_tell_what_they_serve_and_hold(served: Served) -> None:
    session = await served.enlist("send", "report", labels="env=gray", attributes="host=db7", capacity=3, name="w9")
    await served.submit(labels={"env": "gray"})

    [worker] = (await served.get("/v1/workers", app="shop"))["items"]

    since = worker.pop("since_ms")
    assert abs(since - time.time() * 1000) < 60_000
    assert worker == {
        "namespace": "default",
        "app": "shop",
        "session": session,
        "name": "w9",
        "host": "db7",
        "facts": {"host": "db7", "pid": 7},
        "labels": {"env": "gray"},
        "attributes": ["host=db7"],
        "handlers": ["report", "send"],
        "capacity": 3,
        "taken": 1,
        "load": None,
        "state": "active",
        "drained_ms": None,
        "gateway": GATEWAY,
        "key_id": "key",
    }


# ---- the installation ------------------------------------------------------------------------------------------------


async def test_numbers_are_there_for_prometheus(served: Served) -> None:
    await served.submit()

    text = (await served.ask("GET", "/metrics")).text

    assert 'gojob_tasks_submitted_total{outcome="ok"} 1.0' in text
    assert 'route="/v1/apps/{namespace}/{app}/handlers/{handler}/tasks",status="201"' in text
    assert "# TYPE gojob_fire_lateness_seconds histogram" in text


async def test_a_process_without_its_engine_s_data_is_not_ready(served: Served) -> None:
    client: Any = served.space.clients.commands
    assert (await served.ask("GET", "/readyz", kind="")).status_code == 200

    await client.delete(K.meta(served.space.prefixes[0]))

    async with asyncio.timeout(5):  # what was found is kept for a moment
        while (await served.ask("GET", "/readyz", kind="")).status_code != 503:
            pass
    assert (await served.ask("GET", "/livez", kind="")).status_code == 200


async def test_tokens_are_made_listed_and_revoked(served: Served) -> None:
    made = await served.post("/v1/tokens", {"kind": "api", "name": "ci", "scope": ["default"]})
    served.tokens["ci"] = made["token"]
    assert (await served.ask("GET", "/v1/triggers", kind="ci")).status_code == 200

    shown = (await served.get("/v1/tokens"))["items"]
    assert [each["name"] for each in shown].count("ci") == 1
    assert not any("token" in each or "digest" in each for each in shown)

    assert (await served.ask("DELETE", f"/v1/tokens/{made['key_id']}")).status_code == 204
    assert (await served.ask("GET", "/v1/triggers", kind="ci")).status_code == 401


async def test_an_administrator_makes_a_namespace_that_can_be_used_at_once(served: Served) -> None:
    assert (await served.ask("GET", "/v1/workers?namespace=lab&app=shop")).status_code == 404

    made = (await served.ask("PUT", "/v1/namespaces/lab", {"description": "for trying out"})).json()

    assert (made["name"], made["description"]) == ("lab", "for trying out")
    assert (await served.get("/v1/workers", namespace="lab", app="shop"))["items"] == []
    assert [each["name"] for each in (await served.get("/v1/namespaces"))["items"]] == ["default", "lab"]
