"""What runs over a worker's socket: assignments out, starts, reports, releases and notes in, verdicts back."""

import asyncio
from typing import Any

import msgpack
import pytest

from gojob_redis import task
from gojob_redis.connections import connection
from gojob_redis.domain import ids, verbs
from gojob_redis.engine.keys import K
from tests.edge.conftest import APP, HANDLER, WITHIN_S, Edge, ref
from tests.edge.gates import Breaking, Failing, Gate, LateAnswer, lose_an_answer
from tests.tools.waiting import until


async def test_a_task_is_assigned_started_and_reported(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=1)
    [task_id] = await edge.submit(param=b"\x01", retries=2, trigger="nightly")

    [assignment] = await worker.tasks()

    fields = await edge.task(task_id)
    assert assignment == {
        "run": task_id,
        "task": task_id,
        "shard": 0,
        "shards": 1,
        "attempt": 1,
        "fence": fields["fence"],
        "handler": "send",
        "param": b"\x01",
        "retry": 0,
        "retries": 2,
        "run_limit_ms": 0,
        "confirm": False,
        "key": task_id,
        "trigger": "nightly",
        "made": int(fields["made"]),
    }
    assert (fields["state"], await edge.seats(worker.session)) == ("waiting_to_run", {f"{task_id}@1"})

    await worker.send("start", runs=[ref(assignment)])
    await edge.until(lambda: _state_is(edge, task_id, "running"))
    await worker.report(assignment, result=b"\x02")

    verdict = {"run": task_id, "attempt": 1, "verdict": "accepted"}
    assert await worker.receive("verdict") == {"type": "verdict", "of": "report", "runs": [verdict]}
    fields = await edge.task(task_id)
    assert (fields["state"], fields["result"]) == ("run_to_completion", "\x02")
    assert await edge.seats(worker.session) == set()
    assert (gateway.counters.assigned, gateway.counters.started, gateway.counters.reported) == (1, 1, 1)


async def test_the_trace_of_a_task_comes_with_each_of_its_runs(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(capacity=2)
    await edge.submit(shards=2, names=" 00-a-b-01")

    assert [run["traceparent"] for run in await worker.tasks(2)] == ["00-a-b-01"] * 2


async def test_a_report_hands_its_seat_to_the_next_task(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(capacity=1)
    first, second = await edge.submit(2)
    [assignment] = await worker.tasks()
    assert assignment["run"] == first

    await worker.report(assignment)

    assert await worker.words() == ["accepted"]
    [assignment] = await worker.tasks()
    assert assignment["run"] == second


async def test_what_is_bound_to_a_seat_waits_for_the_verdict_that_frees_it(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNSEATED_S", WITHIN_S)
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=1)
    await edge.submit()
    [assignment] = await worker.tasks()
    late = LateAnswer(gateway.batchers.report(gateway.space[0]))
    await worker.report(assignment)
    await late.reached.wait()

    [second] = await edge.submit()
    ours = gateway.registry.connections[worker.session]
    await until(lambda: bool(ours.unseated))  # it came by the inbox, before the answer to the report
    assert not ours.outbound
    late.open()

    assert await worker.words() == ["accepted"]
    [assignment] = await worker.tasks()
    assert assignment["run"] == second


async def test_what_still_waits_for_a_verdict_goes_back_when_the_socket_closes(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNSEATED_S", WITHIN_S)
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=1)
    await edge.submit()
    [assignment] = await worker.tasks()
    late = LateAnswer(gateway.batchers.report(gateway.space[0]))
    await worker.report(assignment)
    await late.reached.wait()
    [second] = await edge.submit()
    ours = gateway.registry.connections[worker.session]
    await until(lambda: bool(ours.unseated))

    await worker.socket.close()
    await edge.until(lambda: _state_is(edge, second, "created"))
    late.open()

    assert gateway.counters.unwritten == 1


async def test_a_literal_worker_never_has_more_than_its_seats(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=3)
    submissions = [verbs.Submission(ids.submitted_id(0, 1_800_000_000_000), HANDLER, APP) for _ in range(60)]
    await gateway.submit(gateway.space[0], submissions, APP)
    occupied: set[str] = set()
    done = 0

    while done < 60:
        frame = await worker.next()
        if frame["type"] == "assign":
            occupied |= {one["run"] for one in frame["runs"]}
            assert len(occupied) <= 3
            for one in frame["runs"]:
                await worker.report(one)
        else:
            done += len(frame["runs"])
            occupied -= {one["run"] for one in frame["runs"]}


async def test_assignments_made_together_share_a_frame(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=1000)

    await edge.submit(100)

    frame = await worker.receive("assign")
    assert len(frame["runs"]) == 100
    await worker.report(*frame["runs"])
    assert len((await worker.receive("verdict"))["runs"]) == 100
    assert {verb: calls for verb, _, calls, _, _ in gateway.batchers.counters_of_calls()} == {"enlist": 1, "report": 1}


async def test_a_failed_attempt_keeps_its_error_and_is_retried(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit(retries=1, retry_interval=60_000)
    [assignment] = await worker.tasks()
    error = {"type": "ValueError", "message": "no", "traceback": "here"}

    await worker.report(assignment, outcome="error", error=error)

    assert await worker.words() == ["accepted"]
    fields = await edge.task(task_id)
    assert (fields["state"], fields["place"], fields["tries"]) == ("created", "timer", "1")
    kept = await edge.space.clients.commands.hget(f"{edge.space.prefixes[0]}task:{task_id}", "error")
    assert msgpack.unpackb(kept) == error


async def test_an_error_declared_final_is_not_retried(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit(retries=5)
    [assignment] = await worker.tasks()

    await worker.report(assignment, outcome="error", disposition="final")

    await worker.receive("verdict")
    assert (await edge.task(task_id))["state"] == "faulted"


async def test_a_worker_may_put_a_run_off_and_say_nothing_that_is_no_disposition(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit(retries=0)
    [assignment] = await worker.tasks()

    await worker.report(assignment, outcome="error", disposition="snooze", delay_ms=60_000)

    assert await worker.words() == ["accepted"]
    fields = await edge.task(task_id)
    assert (fields["state"], fields["place"], fields["snoozes"]) == ("created", "timer", "1")
    await worker.report(assignment, outcome="error", disposition="tomorrow")
    code, error = await worker.refusal()
    assert (code, error["field"]) == (4400, "report.outcomes[0].disposition")


async def test_a_repeated_report_is_a_duplicate_and_a_foreign_one_is_fenced(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    await edge.submit()
    [assignment] = await worker.tasks()
    await worker.report(assignment)
    await worker.receive("verdict")

    await worker.report(assignment)
    got = await worker.frames("verdict", "sync")  # the answer may have been lost, and what came with it
    await worker.report(assignment | {"fence": "1-stale"})

    assert [one["verdict"] for one in got["verdict"]["runs"]] == ["duplicate"]
    assert await worker.words() == ["fenced"]


async def test_what_was_read_from_the_inbox_is_taken_out_of_it(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    await edge.submit()
    await worker.tasks()
    client: Any = edge.space.clients.commands

    await edge.until(lambda: _is_empty(client, K.inbox(edge.space.prefixes[0], "g1")))


async def _is_empty(client: Any, stream: str) -> bool:
    return bool(await client.exists(stream)) and not await client.xlen(stream)


async def test_a_start_is_answered_only_when_its_run_waits_for_the_answer(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    [optimistic] = await edge.submit()
    [confirmed] = await edge.submit(on_lost="fault")
    first, second = await worker.tasks(2)
    assert (first["confirm"], second["confirm"]) == (False, True)

    await worker.send("start", runs=[ref(first), ref(second)])

    verdicts = await worker.receive("verdict")
    assert verdicts["runs"] == [{"run": confirmed, "attempt": 1, "verdict": "ok"}]
    assert verdicts["of"] == "start"
    assert gateway.counters.started == 2
    assert (await edge.task(optimistic))["state"] == "running"


async def test_a_start_that_is_not_the_owners_is_fenced(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    await edge.submit()
    [assignment] = await worker.tasks()

    await worker.send("start", runs=[ref(assignment) | {"fence": "1-stale"}])

    assert await worker.words() == ["fenced"]


async def test_a_start_that_its_report_overtakes_is_never_sent(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    await edge.submit(2)
    first, second = await worker.tasks(2)
    gate = Gate(gateway.batchers.start(gateway.space[0]))
    await worker.send("start", runs=[ref(first)])
    await gate.reached.wait()
    await worker.send("start", runs=[ref(second)])
    await until(lambda: gateway.batchers.start(gateway.space[0]).queued == 1)

    await worker.report(second)
    assert await worker.words() == ["accepted"]
    ended = await edge.task(second["run"])
    gate.open()
    await edge.until(lambda: _state_is(edge, first["run"], "running"))

    await worker.renew(held=1)  # no verdict came for the second start before this answer
    assert await edge.task(second["run"]) == ended
    assert gateway.counters.started == 2


async def test_a_report_tells_when_a_run_began_whose_start_nobody_sent(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit()
    [assignment] = await worker.tasks()

    await worker.report(assignment, started_ms=50_000, ended_ms=51_500)

    await worker.receive("verdict")
    fields = await edge.task(task_id)
    assert 1_500 <= int(fields["ended"]) - int(fields["started"]) < 1_700


async def test_a_released_run_goes_back_and_the_session_waits_for_no_more(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(capacity=5)
    [task_id] = await edge.submit()
    [assignment] = await worker.tasks()

    await worker.send("release", runs=[ref(assignment)], reason="rejected")

    verdict = {"run": task_id, "attempt": 1, "verdict": "accepted"}
    assert await worker.receive("verdict") == {"type": "verdict", "of": "release", "runs": [verdict]}
    fields = await edge.task(task_id)
    assert (fields["state"], fields["place"], fields["rejects"]) == ("created", "lane", "1")

    await worker.send("renew", capacity=5)

    assert (await worker.tasks())[0]["attempt"] == 2


async def test_a_session_that_released_waits_again_after_its_next_renewal(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker(capacity=5)
    await edge.submit()
    [assignment] = await worker.tasks()
    await worker.send("release", runs=[ref(assignment)], reason="rejected")
    await worker.receive("verdict")

    await worker.send("renew", seq=1, held=0)

    frames = await worker.frames("renewed", "assign")
    assert frames["assign"]["runs"][0]["attempt"] == 2
    await worker.report(*frames["assign"]["runs"])
    await worker.receive("verdict")


async def test_a_large_parameter_is_fetched_once_for_all_shards(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=3)
    large = bytes(range(256)) * 100

    [task_id] = await edge.submit(
        param=large, shards=3, shard_params=task.pack_shard_params([b"\x00", b"\x01", b"\x02"])
    )

    assignments = await worker.tasks(3)
    assert [assignment["param"] == large for assignment in assignments] == [True] * 3
    assert sorted((one["run"], one["shard"], one["shard_param"]) for one in assignments) == [
        (f"{task_id}.{shard}", shard, bytes([shard])) for shard in range(3)
    ]
    assert {one["shards"] for one in assignments} == {3}
    assert gateway.delivery.payloads.fetched == 1


async def test_a_cancel_is_passed_on_and_its_hearing_recorded(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit()
    [assignment] = await worker.tasks()
    await worker.send("start", runs=[ref(assignment)])
    await edge.until(lambda: _state_is(edge, task_id, "running"))

    await task.cancel(edge.space[0], [verbs.CancelItem(task_id, "canceled")])

    run = {"run": task_id, "attempt": 1, "reason": "canceled", "grace_ms": 10_000}
    assert await worker.receive("cancel") == {"type": "cancel", "runs": [run]}
    await worker.send("acknowledge", runs=[{"run": task_id, "attempt": 1}])
    await edge.until(lambda: _has(edge, task_id, "cancel_heard"))
    await worker.report(assignment, outcome="canceled")
    await worker.receive("verdict")
    assert (await edge.task(task_id))["state"] == "canceled"


async def test_progress_is_kept(edge: Edge) -> None:
    await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit()
    await worker.tasks()
    progress = {"percent": 50.0, "message": "half"}

    await worker.send("note", entries=[{"run": task_id, "attempt": 1, "progress": progress}])

    await edge.until(lambda: _has(edge, task_id, "progress"))
    stored: Any = edge.space.clients.commands
    name = f"{edge.space.prefixes[0]}task:{task_id}"
    assert msgpack.unpackb(await stored.hget(name, "progress")) == progress


async def test_submissions_of_many_callers_share_a_call(edge: Edge) -> None:
    gateway = await edge.gateway()
    made = [verbs.Submission(ids.submitted_id(0, 1_800_000_000_000), HANDLER, APP) for _ in range(30)]

    answers = await asyncio.gather(*(gateway.submit(gateway.space[0], [one], APP) for one in made))

    assert [answer for [answer] in answers] == [verbs.Submitted("ok", one.task) for one in made]
    assert gateway.batchers.submit(gateway.space[0]).calls <= 2


@pytest.mark.parametrize("verb", ["start", "report"])
async def test_what_the_engine_did_not_answer_is_asked_again(edge: Edge, verb: str) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    [task_id] = await edge.submit(on_lost="fault")
    [assignment] = await worker.tasks()
    batcher = getattr(gateway.batchers, verb)(gateway.space[0])
    failures = Failing(batcher, 2)

    await (worker.send("start", runs=[ref(assignment)]) if verb == "start" else worker.report(assignment))

    assert await worker.words() == ["ok" if verb == "start" else "accepted"]
    assert failures.left == 0
    assert (await edge.task(task_id))["state"] in ("running", "run_to_completion")


@pytest.mark.parametrize("verb", ["submit", "report"])
async def test_what_was_bound_by_a_call_whose_answer_was_lost_is_sent_once_more(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker(capacity=1)
    tasks = [verbs.Submission(ids.submitted_id(0, 1_800_000_000_000), HANDLER, APP) for _ in range(2)]
    lost = lose_an_answer(monkeypatch, verb)
    assert [one.word for one in await gateway.submit(gateway.space[0], tasks, APP)] == [
        "duplicate" if verb == "submit" else "ok"
    ] * 2
    if verb == "report":
        [first] = await worker.tasks()
        await worker.report(first)
        await worker.frames("verdict", "sync")
    else:
        await worker.receive("sync")

    await worker.send("resume", runs=[])

    [assignment] = await worker.tasks()
    assert lost == [verb]
    assert (assignment["run"], assignment["attempt"]) == (tasks[verb == "report"].task, 1)


async def test_a_record_that_breaks_the_script_is_gone_for_its_worker_alone(edge: Edge) -> None:
    gateway = await edge.gateway()
    worker = await edge.worker()
    await edge.submit(2)
    broken, sound = await worker.tasks(2)
    Breaking(gateway.batchers.report(gateway.space[0]), broken["run"])

    await worker.report(broken, sound)

    verdicts = (await worker.receive("verdict"))["runs"]
    assert [(one["run"], one["verdict"]) for one in verdicts] == [(broken["run"], "gone"), (sound["run"], "accepted")]


async def _state_is(edge: Edge, run: str, state: str) -> bool:
    return (await edge.task(run)).get("state") == state


async def _has(edge: Edge, run: str, name: str) -> bool:
    return name in await edge.task(run)
