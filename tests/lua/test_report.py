"""lua/report.lua, lua/start.lua: how attempts begin and end."""

from typing import Any

from tests.lua.world import APP, HANDLER, T0, Dispatch, World


async def bound(world: World, task: str = "t1", **options: Any) -> Dispatch:
    """A task bound to session s1 with one seat."""
    await world.enlist()
    await world.submit(task, **options)
    [run] = await world.dispatches()
    return run


async def test_a_plain_life_ends_completed_with_its_result_and_an_empty_seat(world: World) -> None:
    run = await bound(world)

    assert await world.start(run) == ["ok"]
    world.pass_ms(20)
    assert await world.report(run, value=b"\x2a") == ["accepted"]

    dump = await world.dump()
    task = dump["task:t1"]
    assert task["state"] == "run_to_completion"
    assert (task["place"], task["result"], task["started"], task["ended"]) == ("none", "*", str(T0), str(T0 + 20))
    assert dump[f"history:{HANDLER}"] == {"t1": T0 + 20}
    assert f"deadlineq:{HANDLER}" not in dump
    assert "held:s1" not in dump
    [waiting] = [value for name, value in dump.items() if name.startswith("waiting:")]
    assert waiting == {"s1": 0}


async def test_a_report_frees_the_seat_and_binds_the_next_task_in_the_same_call(world: World) -> None:
    run = await bound(world)
    await world.submit("t2")
    assert await world.dispatches() == []

    await world.report(run)

    assert [next_run.run for next_run in await world.dispatches()] == ["t2"]


async def test_a_report_is_the_start_of_a_run_whose_start_was_not_heard(world: World) -> None:
    run = await bound(world)

    await world.report(run, started=T0 + 3)

    assert (await world.task("t1"))["started"] == str(T0 + 3)
    assert await world.start(run) == ["late"]


async def test_the_same_report_twice_is_answered_duplicate_and_changes_nothing(world: World) -> None:
    run = await bound(world)
    await world.report(run, value=b"first")
    before = await world.dump()

    assert await world.report(run, value=b"second") == ["duplicate"]
    assert await world.dump() == before


async def test_a_report_of_an_attempt_that_was_taken_away_is_fenced_and_still_gives_its_seat_back(world: World) -> None:
    run = await bound(world)
    await world.pass_steadily(5_000, renew=("s1",))
    await world.expire()
    await world.enlist("s2")
    [again] = await world.dispatches()
    assert (again.run, again.session, again.attempt) == ("t1", "s2", 2)

    assert await world.report(run, outcome="ok", value=b"stale") == ["fenced"]

    assert (await world.task("t1"))["state"] == "waiting_to_run"
    assert "held:s1" not in await world.dump()
    assert await world.report(again, value=b"new") == ["accepted"]
    assert (await world.task("t1"))["result"] == "new"


async def test_a_report_of_an_attempt_before_is_fenced_where_the_next_is_the_same_sessions(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", run_limit=1_000, retries=1)
    [first] = await world.dispatches()
    await world.start(first)
    await world.pass_steadily(1_000, renew=("s1",))
    await world.expire()
    await world.expire()
    [second] = await world.dispatches()

    assert [await world.start(first), await world.report(first)] == [["fenced"], ["fenced"]]

    assert (await world.task("t1"))["state"] == "waiting_to_run"
    assert (await world.dump())["held:s1"] == {"t1@2"}
    assert await world.report(second) == ["accepted"]


async def test_a_failed_attempt_waits_for_its_retry_and_then_stands_in_its_lane_again(world: World) -> None:
    run = await bound(world, retries=1, retry_interval=2_000)

    assert await world.report(run, outcome="error", value=b"boom") == ["accepted"]
    task = await world.task("t1")
    assert (task["state"], task["place"], task["tries"]) == ("created", "timer", "1")
    await world.pass_steadily(2_000, renew=("s1",))
    await world.expire()

    [again] = await world.dispatches()
    assert (again.run, again.attempt) == ("t1", 2)
    assert await world.report(again, outcome="error") == ["accepted"]
    task = await world.task("t1")
    assert (task["state"], task["reason"], task["tries"]) == ("faulted", "error", "2")
    assert len((await world.dump())["attempts:t1"]) == 2


async def retried(world: World) -> Dispatch:
    """The second attempt of a task whose first one failed."""
    run = await bound(world, retries=1, retry_interval=2_000)
    await world.report(run, outcome="error", value=b"boom")
    await world.pass_steadily(2_000, renew=("s1",))
    await world.expire()
    [again] = await world.dispatches()
    return again


async def test_what_was_said_of_an_attempt_is_not_said_of_the_next_one(world: World) -> None:
    again = await retried(world)

    assert await world.report(again, outcome="error", disposition="final") == ["accepted"]

    assert (await world.task("t1"))["error"] == ""


async def test_a_success_has_no_reason(world: World) -> None:
    again = await retried(world)

    assert await world.report(again) == ["accepted"]

    assert (await world.task("t1"))["reason"] == ""


async def test_a_plain_end_keeps_no_words_that_say_nothing(world: World) -> None:
    run = await bound(world)

    await world.report(run)

    assert not {"reason", "result", "error"} & (await world.task("t1")).keys()


async def test_a_final_error_is_not_retried(world: World) -> None:
    run = await bound(world, retries=5)

    await world.report(run, outcome="error", disposition="final")

    assert (await world.task("t1"))["state"] == "faulted"


async def test_the_run_limit_takes_a_run_away_and_leaves_its_seat_with_the_worker(world: World) -> None:
    run = await bound(world, run_limit=3_000)
    await world.start(run)

    await world.pass_steadily(3_000, renew=("s1",))
    await world.expire()

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "timeout")
    assert (await world.dump())["held:s1"] == {"t1@1"}
    assert await world.inbox() == ["cancel t1"]
    assert await world.report(run) == ["fenced"]
    assert "held:s1" not in await world.dump()


async def test_an_unknown_run_is_gone(world: World) -> None:
    assert await world.report(Dispatch("s1", "nobody", 1, "1-x", "")) == ["gone"]
    assert await world.start(Dispatch("s1", "nobody", 1, "1-x", "")) == ["gone"]


async def test_a_task_ends_when_its_last_shard_did(world: World) -> None:
    await world.enlist(capacity=3)
    await world.submit("t1", shards=3)
    a, b, c = await world.dispatches()

    await world.start(a)
    assert (await world.task("t1"))["state"] == "running"
    await world.report(a, b)
    assert (await world.task("t1"))["state"] == "running"
    await world.report(c, outcome="error")

    task = await world.task("t1")
    assert (task["state"], task["run_to_completion"], task["faulted"]) == ("faulted", "2", "1")
    assert (await world.dump())[f"failed:{APP}"] == {"t1": T0}


async def test_a_large_result_has_a_key_of_its_own(world: World) -> None:
    run = await bound(world)

    await world.report(run, value=b"r" * 65)

    assert (await world.dump())["result:t1"] == "r" * 65
    assert (await world.task("t1"))["result_size"] == "65"


async def test_a_report_of_a_shard_whose_start_was_not_heard_is_the_start_of_its_task(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2, queue_limit=3_000)
    a, b = await world.dispatches()

    await world.report(a, started=T0 + 3)

    task = await world.task("t1")
    assert (task["state"], task["started"]) == ("running", str(T0 + 3))
    await world.pass_steadily(3_000, renew=("s1",))
    await world.expire()
    await world.report(b)
    assert (await world.task("t1"))["state"] == "run_to_completion"


async def test_an_error_is_kept_with_its_attempt_up_to_1_kib(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    first, second = await world.dispatches()

    await world.report(first, outcome="error", value=b"e" * 1_024)
    await world.report(second, outcome="error", value=b"e" * 1_025)

    dump = await world.dump()
    assert dump["attempts:t1"][0].split("\x1f")[5:] == ["error", "e" * 1_024]
    assert dump["attempts:t2"][0].split("\x1f")[5:] == ["error", ""]
    assert dump["result:t2"] == "e" * 1_025


async def test_a_start_that_was_heard_is_not_changed_by_the_report(world: World) -> None:
    run = await bound(world)
    await world.start(run)
    world.pass_ms(50)

    await world.report(run, started=T0 + 40)

    assert (await world.task("t1"))["started"] == str(T0)


async def test_without_a_start_a_report_began_when_it_came(world: World) -> None:
    run = await bound(world)
    world.pass_ms(50)

    await world.report(run)

    assert (await world.task("t1"))["started"] == str(T0 + 50)


async def test_a_record_nobody_can_read_takes_no_report_and_its_seat_is_free(world: World) -> None:
    run = await bound(world)
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "lane")

    assert await world.report(run) == ["fenced"]

    assert "held:s1" not in await world.dump()
    await world.partition.client.delete(world.partition.prefix + "task:t1")


async def test_a_run_limit_is_not_retried_without_retries_and_is_with_them(world: World) -> None:
    run = await bound(world, retries=1, retry_interval=1_000, run_limit=2_000)
    await world.start(run)
    await world.pass_steadily(2_000, renew=("s1",))

    await world.expire()

    task = await world.task("t1")
    assert (task["state"], task["place"], task["reason"], task["tries"]) == ("created", "timer", "timeout", "1")
    assert (await world.dump())[f"deadlineq:{HANDLER}"] == {"t1": T0 + 3_000}
    assert await world.report(run) == ["fenced"]


async def test_the_evidence_of_an_attempt_names_it_and_its_worker_and_times(world: World) -> None:
    run = await bound(world)
    await world.start(run)
    world.pass_ms(50)

    await world.report(run, outcome="error", value=b"boom")

    [entry] = (await world.dump())["attempts:t1"]
    assert entry.split("\x1f") == ["1", "worker-s1", str(T0), str(T0), str(T0 + 50), "error", "boom"]


async def test_a_task_keeps_what_its_failure_has_in_common_only_when_it_faulted(world: World) -> None:
    run = await bound(world, retries=1)
    await world.report(run, outcome="error", failure=b"d1\x1dE\x1dno\x1d")
    assert "failure" not in await world.task("t1")

    world.pass_ms(1)
    await world.expire()
    await world.report(*await world.dispatches(), outcome="error", failure=b"d2\x1dE\x1dno\x1d")

    task = await world.task("t1")
    assert (task["state"], task["failure"]) == ("faulted", "d2")


async def test_a_task_whose_failure_has_nothing_in_common_keeps_none(world: World) -> None:
    run = await bound(world)

    await world.report(run, outcome="timeout")

    task = await world.task("t1")
    assert (task["state"], "failure" in task) == ("faulted", False)
