"""Records and indexes that somebody changed by hand: no verb fails on them, and none runs for ever."""

import pytest

from gojob_redis.domain.names import group_id
from gojob_redis.engine.scripts import ScriptFailed
from tests.lua.world import APP, HANDLER, T0, World

GROUP = group_id(APP, (HANDLER,), {})


async def test_a_ready_lane_of_a_group_that_does_not_serve_it_is_passed_over(world: World) -> None:
    """Without the guard it stands at the head for ever, and the script never ends."""
    await world.submit("t1")
    await world.enlist(handlers=(f"{APP}/other",))
    other = group_id(APP, (f"{APP}/other",), {})
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(prefix + f"ready:{other}|", {"1": 1})

    await world.call("match", cursor="0", repair=1)

    assert f"ready:{other}|" not in await world.dump()
    assert await world.dispatches() == []


@pytest.mark.parametrize("why", ["another group serves it", "it requires an attribute", "it is paused"])
async def test_a_ready_lane_that_is_not_for_this_list_is_passed_over(world: World, why: str) -> None:
    other = f"{APP}/other"
    await world.enlist("theirs", capacity=0)
    await world.submit("t1", attribute="host=a" if why == "it requires an attribute" else "")
    if why == "it is paused":
        await world.call("pause", [(HANDLER, 1)])
    ours = (other,) if why == "another group serves it" else (HANDLER,)
    await world.enlist("ours", handlers=ours)
    ready = f"ready:{group_id(APP, ours, {})}|"
    await world.partition.client.zadd(world.partition.prefix + ready, {"1": 1})

    await world.call("match", cursor="0", repair=1)

    assert ready not in await world.dump()
    assert await world.dispatches() == []


async def test_a_lost_wakeup_leaves_no_seat_free_that_the_next_task_could_take(world: World) -> None:
    """The call looks for as many sessions as it brings tasks, and finds one task more."""
    await world.enlist("s1")
    await world.enlist("s2")
    client, waiting = world.partition.client, world.partition.prefix + f"waiting:{GROUP}|"
    await client.unlink(waiting)
    await world.submit("t1")
    await client.zadd(waiting, {"s1": 0, "s2": 0})

    await world.submit("t2")

    assert [run.run for run in await world.dispatches()] == ["t1", "t2"]


@pytest.mark.parametrize("spoil", ["handler", "labels", "attribute", "nonsense", "gone"])
async def test_a_lane_that_does_not_say_what_it_is_is_known_by_its_name(world: World, spoil: str) -> None:
    await world.submit("t0", handler=f"{APP}/other")
    await world.submit("t1", queue_limit=1_000)
    client, lane = world.partition.client, world.partition.prefix + "lane:2"
    if spoil == "gone":
        await client.unlink(lane)
    elif spoil == "nonsense":
        await client.hset(lane, mapping={"handler": "nonsense", "more": "nonsense"})
    else:
        await client.hdel(lane, spoil)

    await world.enlist()

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert (await world.dump())["lane:2"] == {"handler": HANDLER, "labels": "", "attribute": ""}
    assert await world.events() == ["mended"]


async def test_a_name_that_is_no_lanes_stops_no_announcement(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.hset(world.partition.prefix + f"lanes:{HANDLER}", "nonsense", "98")

    assert await world.enlist() == "ok"

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert "lane:98" not in await world.dump()


async def test_a_name_that_is_no_lanes_stops_no_pause(world: World) -> None:
    await world.submit("t1")
    await world.partition.client.hset(world.partition.prefix + f"lanes:{HANDLER}", "nonsense", "98")

    for paused in (1, 0):
        assert await world.call("pause", [(HANDLER, paused)]) == ["ok", "ok"]

    assert "lane:98" not in await world.dump()


async def test_a_cancel_of_a_run_that_nobody_has_keeps_it_from_no_limit(world: World) -> None:
    await world.submit("t1", queue_limit=1_000)
    await world.partition.client.hset(world.partition.prefix + "task:t1", "cancel", T0)
    await world.pass_steadily(1_000)

    await world.expire()

    assert (await world.task("t1"))["reason"] == "expired"


async def test_a_delayed_task_of_shards_that_says_it_is_canceled_waits_for_no_time(world: World) -> None:
    await world.submit("t1-delayed", shards=3, at=T0 + 5_000)
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(prefix + "task:t1-delayed", "cancel", T0)
    await client.zadd(prefix + f"deadlineq:{HANDLER}", {"t1-delayed": T0})
    await client.zadd(prefix + "alarms", {HANDLER: T0})

    await world.expire()

    dump = await world.dump()
    assert dump["task:t1-delayed"]["state"] == "canceled"
    assert not {f"due:{APP}", "due_heads"} & dump.keys()


async def test_a_lane_that_is_known_by_its_name_stays_paused(world: World) -> None:
    await world.submit("t1")
    await world.call("pause", [(HANDLER, 1)])
    await world.partition.client.unlink(world.partition.prefix + "lane:1")

    await world.enlist()
    await world.submit("t2")

    assert await world.dispatches() == []
    assert (await world.dump())["lane:1"]["blocked"] == "paused"


async def test_a_run_of_a_lane_that_nothing_knows_faults(world: World) -> None:
    await world.submit("t1", queue_limit=1_000)
    client, prefix = world.partition.client, world.partition.prefix
    await client.unlink(prefix + "lane:1", prefix + f"lanes:{HANDLER}", prefix + "activeq:1")
    await world.pass_steadily(1_000)

    await world.expire()

    assert (await world.task("t1"))["reason"] == "corrupt"


@pytest.mark.parametrize(
    "spoil", [{"conn": "x"}, {"gateway": None}, {"group": None}, "gone", "a string"], ids=lambda each: str(each)
)
async def test_the_runs_of_a_session_nobody_can_read_go_on_when_its_lease_ends(world: World, spoil: object) -> None:
    await world.enlist()
    await world.submit("t1")
    client, key = world.partition.client, world.partition.prefix + "session:s1"
    if isinstance(spoil, dict):
        for name, value in spoil.items():
            await (client.hset(key, name, value) if value else client.hdel(key, name))
    else:
        await client.unlink(key)
        if spoil == "a string":
            await client.set(key, "x")
    await world.pass_steadily(15_001)

    await world.reap()

    dump = await world.dump()
    assert dump["task:t1"]["place"] == "lane"
    assert not {"session:s1", "held:s1", "leases", f"waiting:{GROUP}|"} & dump.keys()
    assert "corrupt" in await world.events()


async def test_an_idle_session_nobody_can_read_waits_no_more_when_its_lease_ends(world: World) -> None:
    await world.enlist(attributes=("host=a",))
    await world.partition.client.hset(world.partition.prefix + "session:s1", "conn", "x")
    await world.pass_steadily(15_001)

    await world.reap()

    assert not [name for name in await world.dump() if name.startswith(("session", "group", "waiting"))]


async def test_all_runs_of_a_session_nobody_can_read_go_on_though_they_are_more_than_one_call_gives_back(
    world: World,
) -> None:
    await world.enlist(capacity=150)
    await world.submit(*(f"t{number}" for number in range(100)))
    await world.submit(*(f"u{number}" for number in range(50)))
    await world.partition.client.hset(world.partition.prefix + "session:s1", "conn", "x")
    await world.pass_steadily(15_001)

    assert [(await world.reap())[0] for _ in range(2)] == ["more", "ok"]

    assert len((await world.dump())["activeq:1"]) == 150


async def test_a_goodbye_that_fails_leaves_the_seats_as_they_were(world: World) -> None:
    """What is answered with an error is asked again, and must find then what it found before."""
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    client, prefix = world.partition.client, world.partition.prefix
    await client.set(prefix + "attempts:t2", "no list")

    with pytest.raises(ScriptFailed):
        await world.leave()

    assert (await world.dump())["held:s1"] == {"t1@1", "t2@1"}
    await client.unlink(prefix + "attempts:t2")
    assert await world.leave() == "ok"


@pytest.mark.parametrize("field", ["attempt", "fence", "session", "place", "tries", "score"])
async def test_a_bound_run_nobody_can_act_on_faults(world: World, field: str) -> None:
    await world.enlist()
    await world.submit("t1")
    key = world.partition.prefix + "task:t1"
    await world.partition.client.hset(key, field, "n/a")
    if field in ("fence", "session"):
        await world.partition.client.hdel(key, field)
    await world.pass_steadily(5_001, renew=("s1",))

    await world.expire()

    assert (await world.task("t1"))["reason"] == "corrupt"


async def test_what_is_over_stays_as_it_is(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    await world.report(*await world.dispatches())
    await world.partition.client.hset(world.partition.prefix + "task:t1", "tries", "nan")

    assert await world.cancel("t1") == ["already"]

    assert (await world.task("t1"))["state"] == "run_to_completion"


@pytest.mark.parametrize("place", ["none", "session"])
async def test_a_timer_of_a_run_that_stands_nowhere_puts_it_back_and_does_not_ring_for_ever(
    world: World, place: str
) -> None:
    await world.submit("t1", queue_limit=1_000)
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(prefix + "task:t1", "place", place)
    await client.unlink(prefix + "activeq:1")
    await world.pass_steadily(900)
    await client.zadd(prefix + f"deadlineq:{HANDLER}", {"t1": 1})
    await client.zadd(prefix + "alarms", {HANDLER: 1})

    assert (await world.expire())[1] == 1

    assert (await world.task("t1"))["place"] == "lane"
    assert await world.events() == ["mended"]
    assert (await world.expire())[1] == 0


async def test_a_timer_that_another_handler_holds_goes_and_the_right_one_stays(world: World) -> None:
    """Under the wrong name nothing takes it out: it would ring for ever."""
    await world.enlist()
    await world.submit("t1")
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(prefix + f"deadlineq:{APP}/other", {"t1": 1})
    await client.zadd(prefix + "alarms", {f"{APP}/other": 1})

    await world.expire()

    assert f"deadlineq:{APP}/other" not in await world.dump()
    assert (await world.dump())[f"deadlineq:{HANDLER}"] == {"t1": world.now + 5_000}
    assert (await world.task("t1"))["state"] == "waiting_to_run"
    assert (await world.expire())[1] == 0


async def test_a_report_of_a_run_nobody_can_read_faults_it_at_once(world: World) -> None:
    """A running one without a limit has no timer that would find it."""
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    await world.partition.client.hset(world.partition.prefix + "task:t1", "attempt", "nan")

    assert await world.report(run) == ["fenced"]

    assert (await world.task("t1"))["reason"] == "corrupt"
    assert "held:s1" not in await world.dump()


@pytest.mark.parametrize("value", ["nan", "", "9" * 40])
@pytest.mark.parametrize("field", ["conn", "capacity"])
async def test_a_session_that_does_not_say_what_it_can_take_is_announced_anew(
    world: World, field: str, value: str
) -> None:
    """It would stay connected and never be given anything: its capacity is told only when it changes."""
    await world.enlist()
    await world.partition.client.hset(world.partition.prefix + "session:s1", field, value)

    assert await world.renew("s1") == ["lost"]
    assert (await world.resume("s1"))[0] == "lost"


@pytest.mark.parametrize("field", ["app", "handlers", "labels", "sum"])
async def test_a_group_that_says_something_else_is_written_anew_by_the_next_announcement(
    world: World, field: str
) -> None:
    await world.enlist("s1", capacity=0)
    await world.submit("t1")
    client, prefix = world.partition.client, world.partition.prefix
    before = (await world.dump())[f"group:{GROUP}"]
    await client.hset(prefix + f"group:{GROUP}", field, f"{APP}/nonsense")
    if field == "sum":
        await client.hdel(prefix + f"group:{GROUP}", field)
    await client.unlink(prefix + f"groups_of:{HANDLER}|", prefix + f"ready:{GROUP}|")

    await world.enlist("s2")

    assert [run.run for run in await world.dispatches()] == ["t1"]
    assert (await world.dump())[f"group:{GROUP}"] == before


async def test_a_group_that_is_written_anew_is_not_one_too_many(world: World) -> None:
    for number in range(16):
        await world.enlist(f"s{number}", handlers=(HANDLER, f"{APP}/other{number}"))
    group = group_id(APP, (HANDLER, f"{APP}/other3"), {})
    await world.partition.client.hset(world.partition.prefix + f"group:{group}", "labels", "nonsense")

    assert await world.enlist("one-more", handlers=(HANDLER, f"{APP}/other3")) == "ok"


async def test_names_of_lanes_that_are_no_hash_any_more_are_told_and_begin_anew(world: World) -> None:
    """Nothing could be submitted to this handler."""
    await world.submit("t1")
    client, prefix = world.partition.client, world.partition.prefix
    await client.unlink(prefix + f"lanes:{HANDLER}")
    await client.set(prefix + f"lanes:{HANDLER}", "x")

    assert await world.submit("t2") == ["ok"]
    await client.set(prefix + f"lanes:{HANDLER}", "x")
    assert await world.call("pause", [(HANDLER, 1)]) == ["ok", "ok"]

    assert await world.events() == ["corrupt", "corrupt"]


async def test_a_trigger_that_fires_no_more_waits_for_no_planner(world: World) -> None:
    await world.define(T0 + 1_000)
    client, prefix = world.partition.client, world.partition.prefix
    await client.zadd(prefix + "unplanned", {"abcdefg": T0})
    item = ("abcdefg", 7, 0, "", 0, 0, 1, 0, 0, 0)
    assert (await world.call("plan", [item]))[1:] == ["stale"]
    assert "unplanned" in await world.dump()

    await client.hset(prefix + "trigger:abcdefg", "active", "corrupt")
    assert (await world.call("plan", [item]))[1:] == ["stale"]

    assert "unplanned" not in await world.dump()


async def test_a_trigger_that_cannot_be_read_fires_no_more_and_is_told_once(world: World) -> None:
    """Its priority would be a score that no index takes: nothing of the whole partition would fire any more."""
    await world.define(T0 + 1_000, T0 + 2_000)
    await world.define(T0 + 1_000, T0 + 2_000, name="other", uid="ghijklm")
    await world.partition.client.hset(
        world.partition.prefix + "trigger:abcdefg", mapping={"policies": "priority=nan", "facts": ""}
    )
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1

    assert await world.events() == ["corrupt", "orphan_due"]
    assert (await world.dump())["trigger:abcdefg"]["active"] == "corrupt"
    world.pass_ms(1_000)
    assert (await world.fire())[1] == 1
    assert await world.events() == ["corrupt", "orphan_due"]


async def test_a_trigger_that_says_another_app_is_not_looked_at_for_ever(world: World) -> None:
    """It would be handed to the planner of the other app again and again, and stay due in this one."""
    await world.define(T0 + 1_000)
    await world.partition.client.hset(
        world.partition.prefix + "trigger:abcdefg", mapping={"app": "default/other", "facts": ""}
    )
    world.pass_ms(120_000)

    await world.fire()

    assert (await world.fire())[0] == "ok"
    assert f"due:{APP}" not in await world.dump()
    assert await world.events() == ["corrupt", "orphan_due"]


@pytest.mark.parametrize("watermark", ["9" * 40, "nan", "-1"])
async def test_a_trigger_whose_watermark_is_nonsense_fires_again_once_it_is_defined_again(
    world: World, watermark: str
) -> None:
    await world.define(T0 + 1_000)
    await world.partition.client.hset(world.partition.prefix + "trigger:abcdefg", "last_slot", watermark)
    world.pass_ms(1_000)
    assert (await world.fire())[1] == 0
    assert (await world.dump())["trigger:abcdefg"]["active"] == "corrupt"

    await world.define(T0 + 2_000, T0 + 3_000, change="c2")
    world.pass_ms(1_000)

    assert (await world.fire())[1] == 1


async def test_a_seat_without_an_attempt_stops_no_resume(world: World) -> None:
    await world.enlist()
    await world.partition.client.sadd(world.partition.prefix + "held:s1", "nonsense")

    assert (await world.resume("s1"))[0] == "ok"

    assert "held:s1" not in await world.dump()


@pytest.mark.parametrize("verb", ["renew", "resume"])
async def test_a_session_whose_end_takes_several_calls_is_not_revived_between_them(world: World, verb: str) -> None:
    """It would be renewed for ever and never be given anything."""
    await world.enlist(capacity=150)
    await world.submit(*(f"t{number}" for number in range(100)))
    await world.submit(*(f"u{number}" for number in range(50)))
    await world.pass_steadily(15_001)
    assert (await world.reap())[0] == "more"

    words = await world.renew("s1") if verb == "renew" else (await world.resume("s1"))[:1]

    assert words == ["lost"]
    await world.reap()
    assert "session:s1" not in await world.dump()


async def test_a_session_whose_end_has_begun_is_over_whatever_its_worker_hands_back(world: World) -> None:
    """Its goodbye would be forgotten, and the rest of its runs would count a loss."""
    await world.enlist(capacity=150)
    await world.submit(*(f"t{number}" for number in range(100)))
    await world.submit(*(f"u{number}" for number in range(50)))
    assert await world.leave("s1") == "more"
    held = {seat.partition("@")[0] for seat in (await world.dump())["held:s1"]}
    [run, *_] = [each for each in await world.dispatches() if each.run in held]

    await world.release(run)
    await world.reap()

    dump = await world.dump()
    assert not [name for name, record in dump.items() if name.startswith("task:") and record.get("lost")]
    assert "session:s1" not in dump


async def test_a_report_of_a_run_that_does_not_say_when_it_began_is_accepted(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.start(run)
    await world.partition.client.hdel(world.partition.prefix + "task:t1", "started")

    assert await world.report(run) == ["accepted"]

    assert (await world.task("t1"))["state"] == "run_to_completion"


async def test_a_task_that_is_a_string_keeps_no_trigger_from_firing(world: World) -> None:
    await world.enlist()
    await world.define(T0 + 1_000, T0 + 2_000, overlap="skip")
    world.pass_ms(1_000)
    await world.fire()
    [run] = await world.dispatches()
    client, name = world.partition.client, world.partition.prefix + f"task:{run.run}"
    await client.unlink(name)
    await client.set(name, "x")
    world.pass_ms(1_000)

    assert (await world.fire())[:2] == ["ok", 1]

    await world.report(run)
    assert (await world.task(run.run))["reason"] == "corrupt"


async def test_a_call_that_fails_leaves_the_records_it_was_to_set_aside(world: World) -> None:
    """What is answered with an error is asked again, and must find then what it found before."""
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    runs = await world.dispatches()
    client, prefix = world.partition.client, world.partition.prefix
    await client.hset(prefix + "task:t1", "place", "no-where")
    await client.set(prefix + "attempts:t2", "no list")

    with pytest.raises(ScriptFailed):
        await world.report(*runs, outcome="error")

    assert await client.hget(prefix + "task:t1", "place") == b"no-where"
    await client.unlink(prefix + "attempts:t2")
    await world.report(*runs)
    assert (await world.task("t1"))["reason"] == "corrupt"


async def test_a_timer_that_was_left_over_ends_no_run_that_waits_in_its_lane(world: World) -> None:
    await world.submit("t1")
    prefix = world.partition.prefix
    await world.partition.client.zadd(prefix + f"deadlineq:{HANDLER}", {"t1": T0})
    await world.partition.client.zadd(prefix + "alarms", {HANDLER: T0})

    await world.expire()

    assert (await world.task("t1"))["state"] == "created"
    assert f"deadlineq:{HANDLER}" not in await world.dump()


async def test_a_queue_limit_that_is_looked_at_too_early_is_looked_at_again(world: World) -> None:
    await world.submit("t1", queue_limit=2_000)
    await world.partition.client.zadd(world.partition.prefix + f"deadlineq:{HANDLER}", {"t1": T0})
    await world.partition.client.zadd(world.partition.prefix + "alarms", {HANDLER: T0})
    await world.expire()
    early = (await world.task("t1"))["state"]
    await world.pass_steadily(2_000)

    await world.expire()

    assert (early, (await world.task("t1"))["reason"]) == ("created", "expired")


async def test_a_trace_that_no_hint_can_carry_faults_its_run(world: World) -> None:
    await world.submit("t1", traceparent="00-a\x1fb-01")

    await world.enlist()

    assert await world.dispatches() == []
    assert (await world.task("t1"))["reason"] == "corrupt"


async def test_a_trigger_name_that_no_hint_can_carry_faults_its_run(world: World) -> None:
    """Bound, it would be handed out every five seconds for ever, and nobody could read what."""
    await world.submit("t1")
    await world.partition.client.hset(world.partition.prefix + "task:t1", "trigger", "a\x1fb")

    await world.enlist()

    assert await world.dispatches() == []
    assert (await world.task("t1"))["reason"] == "corrupt"
