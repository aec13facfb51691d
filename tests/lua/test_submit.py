"""lua/submit.lua"""

import pytest

from gojob_redis.domain.score import score_at
from tests.lua.world import APP, HANDLER, T0, World, lanes_hold

LISTED = (f"app_handlers:{APP}", f"app_lanes:{APP}")


async def test_a_task_without_a_worker_waits_in_its_lane(world: World) -> None:
    words = await world.submit("t1", param=b"\x80")

    assert words == ["ok"]
    dump = await world.dump()
    assert dump["task:t1"] == {"state": "created", "place": "lane", "lane": "1", "made": str(T0), "param": b"\x80"}
    assert dump["activeq:1"] == {"t1": score_at(T0)}
    assert dump["lane:1"] == {"handler": HANDLER, "labels": "", "attribute": ""}
    assert set(dump) == {"meta", "handlers", *LISTED, "lanes:" + HANDLER, "lane:1", "activeq:1", "task:t1", "tally"}


async def test_the_same_task_twice_is_one_task(world: World) -> None:
    await world.submit("t1")
    before = await world.dump()

    words = await world.submit("t1")

    assert words == ["duplicate"]
    assert await world.dump() == before


async def test_the_same_task_twice_in_one_call_is_one_task(world: World) -> None:
    assert await world.submit("t1", "t2", "t1") == ["ok", "ok", "duplicate"]

    assert sum(name.startswith("task:") for name in await world.dump()) == 2


async def test_a_task_meets_a_waiting_session_in_the_same_call(world: World) -> None:
    await world.enlist(capacity=2)

    await world.submit("t1", param=b"p")

    [run] = await world.dispatches()
    assert (run.session, run.run, run.attempt, run.param) == ("s1", "t1", 1, "p")
    task = await world.task("t1")
    assert (task["state"], task["place"], task["fence"]) == ("waiting_to_run", "session", run.fence)


async def test_a_large_parameter_has_a_key_of_its_own_and_rides_along_up_to_4_kib(world: World) -> None:
    await world.enlist(capacity=2)

    await world.submit("t1", param=b"x" * 4096)
    await world.submit("t2", param=b"y" * 4097)

    dump = await world.dump()
    assert (len(dump["param:t1"]), len(dump["param:t2"])) == (4096, 4097)
    assert [len(run.param) for run in await world.dispatches()] == [4096, 0]


async def test_order_is_priority_then_time_then_id(world: World) -> None:
    await world.submit("t3", "t2")
    world.pass_ms(1)
    await world.submit("t1")
    await world.submit("urgent", priority=9)

    order = []
    for session in ("a", "b", "c", "d"):
        await world.enlist(session)
        order += [run.run for run in await world.dispatches()]

    assert order == ["urgent", "t2", "t3", "t1"]


async def test_labels_must_be_equal_on_both_sides(world: World) -> None:
    await world.enlist("plain")
    await world.enlist("gray", labels={"env": "gray"})

    await world.submit("t1", labels="env=gray")
    await world.submit("t2")
    await world.submit("t3", labels="env=blue")

    assert [(run.session, run.run) for run in await world.dispatches()] == [("gray", "t1"), ("plain", "t2")]
    assert (await world.task("t3"))["place"] == "lane"


async def test_a_required_attribute_is_met_only_by_a_session_that_offers_it(world: World) -> None:
    await world.submit("t1", attribute="host=db7")
    await world.enlist("other", attributes=("host=db8",))
    assert await world.dispatches() == []

    await world.enlist("right", attributes=("gpu=1", "host=db7"))

    assert [(run.session, run.run) for run in await world.dispatches()] == [("right", "t1")]


async def test_a_delayed_task_waits_in_the_due_index_and_is_fired_at_its_time(world: World) -> None:
    await world.enlist()
    await world.submit("t1-delayed", at=T0 + 5_000)
    task = await world.task("t1-delayed")
    assert (task["place"], (await world.dump())[f"due:{APP}"]) == ("due", {"t1-delayed": T0 + 5_000})

    world.pass_ms(4_999)
    await world.renew("s1")
    await world.fire()
    assert await world.dispatches() == []
    world.pass_ms(1)
    await world.fire()

    assert [run.run for run in await world.dispatches()] == ["t1-delayed"]
    assert f"due:{APP}" not in await world.dump()


async def test_an_idempotency_key_answers_the_first_task_and_refuses_another_body(world: World) -> None:
    await world.submit("t1", once_key="k", digest="d")

    assert (await world.call("submit", [world.submission("t2", once_key="k", digest="d")]))[1:] == ["duplicate", "t1"]
    assert (await world.call("submit", [world.submission("t3", once_key="k", digest="e")]))[1:] == ["other_body", "t1"]
    assert "task:t2" not in await world.dump()


async def test_a_handler_has_at_most_256_lanes(world: World) -> None:
    for first in range(0, 256, 64):
        items = [world.submission(f"t{n}", labels=f"n={n}") for n in range(first, first + 64)]
        assert (await world.call("submit", items))[1::2] == ["ok"] * 64

    assert await world.submit("t256", labels="n=256") == ["lanes_full"]
    assert "task:t256" not in await world.dump()


async def test_a_lane_that_is_full_takes_no_more_and_the_others_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes_hold(3, monkeypatch)
    await world.submit("t1", "t2")

    assert await world.submit("t3", "t4") == ["ok", "queue_full"]
    assert await world.submit("t5") == ["queue_full"]
    assert await world.submit("t6", handler=HANDLER + "2") == ["ok"]

    assert set((await world.dump())["activeq:1"]) == {"t1", "t2", "t3"}


async def test_shards_spread_over_the_emptiest_sessions(world: World) -> None:
    for session in ("a", "b", "c", "d"):
        await world.enlist(session, capacity=10)

    await world.submit("t1", shards=4)

    runs = await world.dispatches()
    assert sorted(run.run for run in runs) == ["t1.0", "t1.1", "t1.2", "t1.3"]
    assert sorted(run.session for run in runs) == ["a", "b", "c", "d"]
    assert (await world.task("t1"))["state"] == "waiting_to_run"


async def test_a_sharded_task_stands_in_its_lane_once_and_keeps_a_cursor(world: World) -> None:
    await world.enlist(capacity=3)

    await world.submit("t1", shards=1_000, shard_params=b"1:a,1:b,2:cc,")

    dump = await world.dump()
    assert dump["activeq:1"] == {"t1": score_at(T0)}
    assert dump["task:t1"]["next"] == "3"
    assert [run.run for run in await world.dispatches()] == ["t1.0", "t1.1", "t1.2"]
    assert dump["shard_params:t1"] == {"0": "a", "1": "b", "2": "cc"}


async def test_a_queue_limit_ends_a_task_that_did_not_start(world: World) -> None:
    await world.submit("t1", queue_limit=3_000)

    await world.pass_steadily(2_999)
    await world.expire()
    assert (await world.task("t1"))["state"] == "created"
    await world.pass_steadily(1)
    await world.expire()

    task = await world.task("t1")
    assert (task["state"], task["reason"]) == ("faulted", "expired")


async def test_a_task_carries_the_policies_it_was_given(world: World) -> None:
    await world.submit(
        "t1", param=b"x" * 65, shards=2, shard_params=b"1:a,1:b,", retries=2, retry_interval=3_000, run_limit=4_000,
        queue_limit=5_000, on_lost="fault", trigger="t", parent="t0", priority=7,
    )  # fmt: skip

    dump = await world.dump()
    assert dump["task:t1"] == {
        "state": "created", "place": "lane", "lane": "1", "made": str(T0), "param_size": "65", "shard_params": "1",
        "shards": "2", "retries": "2", "retry_interval": "3000", "run_limit": "4000", "on_lost": "fault",
        "queue_limit": "5000", "priority": "7",
        "trigger": "t", "parent": "t0", "expires": str(T0 + 5_000),
    }  # fmt: skip
    assert dump[f"deadlineq:{HANDLER}"] == {"t1": T0 + 5_000}
    assert dump["activeq:1"] == {"t1": score_at(T0, 7)}


async def test_a_delayed_task_carries_its_place_in_the_order_and_the_end_of_its_queue_limit(world: World) -> None:
    await world.submit("task-one", at=T0 + 5_000, queue_limit=3_000, priority=7)

    task = await world.task("task-one")
    assert (task["priority"], task["at"], task["expires"]) == ("7", str(T0 + 5_000), str(T0 + 8_000))
    assert (await world.dump())["due_heads"] == {APP: T0 + 5_000}
    world.pass_ms(5_000)
    await world.fire()
    assert (await world.dump())["activeq:1"] == {"task-one": score_at(T0 + 5_000, 7)}


async def test_a_time_that_is_over_is_now(world: World) -> None:
    await world.submit("task-one", at=T0 - 5_000)

    assert (await world.dump())["activeq:1"] == {"task-one": score_at(T0)}


async def test_an_idempotency_key_is_kept_for_a_day_under_its_app(world: World) -> None:
    await world.submit("t1", once_key="k", digest="d")

    key = world.partition.prefix + f"once:{APP}|k"
    assert await world.partition.client.get(key) == b"t1 d"
    assert 86_390_000 < await world.partition.client.pttl(key) <= 86_400_000


async def test_a_manual_run_of_a_trigger_that_allows_overlaps_is_only_in_its_ledger(world: World) -> None:
    await world.define(T0 + 1_000, overlap="allow")

    await world.submit("by-hand", uid="abcdefg", trigger="t")

    assert "live" not in (await world.dump())["trigger:abcdefg"]


async def test_the_time_of_a_near_task_wakes_the_replicas_once(world: World) -> None:
    await world.submit("task-one", "task-two", at=T0 + 100)
    assert (await world.dump())["wake"] == [{"what": "due"}]

    await world.submit("task-three", queue_limit=100)

    assert (await world.dump())["wake"] == [{"what": "due"}, {"what": "alarm"}]


async def test_a_call_wakes_the_replicas_once_whatever_is_near(world: World) -> None:
    items = [world.submission(f"t{number}", handler=f"{HANDLER}{number}", queue_limit=100) for number in range(3)]

    await world.call("submit", items)

    assert (await world.dump())["wake"] == [{"what": "alarm"}]


async def test_a_far_timer_wakes_nobody_and_moves_no_alarm_that_is_earlier(world: World) -> None:
    await world.submit("t1", queue_limit=1_000)
    await world.submit("t2", queue_limit=2_000)

    dump = await world.dump()
    assert (dump["alarms"], "wake" in dump) == ({HANDLER: T0 + 1_000}, False)


async def test_a_plain_task_carries_nothing_it_does_not_need(world: World) -> None:
    await world.submit("t1")

    assert set(await world.task("t1")) == {"state", "place", "lane", "made"}


async def test_shard_parameters_nobody_could_have_packed_are_none(world: World) -> None:
    assert await world.submit("t1", shards=2, shard_params=b"nonsense") == ["ok"]

    assert "shard_params:t1" not in await world.dump()


async def test_a_trace_is_kept_only_where_it_was_given(world: World) -> None:
    await world.submit("t1", traceparent="00-a-b-01")
    await world.submit("t2")

    assert (await world.task("t1"))["traceparent"] == "00-a-b-01"
    assert "traceparent" not in await world.task("t2")
