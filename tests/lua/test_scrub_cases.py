"""lua/lib/scrub_*.lua: one thing is changed by hand, one key is looked at, and everything is as it was.

The same on a real engine, found by the walk: tests/stages/test_scrub.py. Here each look is one call on the twin, fast
enough to show every condition of the scrubber by deleting it (tests/tools/mutants.py).
"""

from collections.abc import Sequence
from typing import Any

import pytest

from gojob_redis.domain import ids
from gojob_redis.domain.names import group_id
from gojob_redis.domain.score import score_at
from gojob_redis.maintenance.scrub import look_at
from tests.lua.world import APP, HANDLER, T0, World
from tests.tools.keyspace import Keyspace, events, is_event_log

SHARDED, PAUSED, IDLE, OTHER = f"{APP}/shards", f"{APP}/paused", f"{APP}/idle", f"{APP}/other"
GROUP, GROUP_IDLE = group_id(APP, (HANDLER,), {}), group_id(APP, (IDLE,), {})
UID, OFF = "abcdefg", "offoffo"
BIG = b"x" * 100
FAR = 2**50

pytestmark = pytest.mark.parametrize("script_engine", ["fakeredis"], indirect=True)


@pytest.fixture
async def shop(world: World) -> World:
    """Runs in every state and place, a paused lane, an idle session, a trigger that fires and one that does not."""
    await world.define(T0 + 60_000, T0 + 120_000, over=0, param=BIG)
    await world.define(name="off", uid=OFF, active=0)
    await world.enlist("s1", capacity=4, attributes=("host=a",))
    await world.enlist("idle", handlers=(IDLE,), capacity=2, attributes=("gpu=1",))
    await world.enlist("s2", handlers=(SHARDED,), capacity=2)
    await world.submit("done", param=BIG)
    await world.submit("failed", retries=1, retry_interval=1_000_000)
    done, failed = await world.dispatches()
    await world.report(done, value=BIG)
    await world.report(failed, outcome="error")
    await world.note(failed, b"one")
    await world.note(failed, b"two")
    await world.submit("runs", run_limit=3_600_000, param=BIG)
    await world.submit("begun", "asked")
    await world.start(*await world.dispatches())
    await world.cancel("asked")
    await world.submit("waits")
    await world.submit("queued-up", queue_limit=10_000_000, param=BIG)
    await world.submit("plain")
    await world.submit("required", attribute="host=b")
    await world.submit("later-on", at=T0 + 5_000_000)
    await world.submit("shards", handler=SHARDED, shards=3, shard_params=b"1:a,1:b,1:c,", queue_limit=10_000_000)
    await world.start(next(run for run in await world.dispatches() if run.run == "shards.0"))
    await world.submit("stays", handler=PAUSED)
    await world.call("pause", [(PAUSED, 1)])
    await world.submit("never", handler=PAUSED, shards=2)
    await world.cancel("never")
    await world.enlist("s3", handlers=(OTHER,), capacity=3)
    await world.submit("whole", handler=OTHER, shards=2)
    await world.report(next(run for run in await world.dispatches() if run.run == "whole.0"))
    await world.submit("half", handler=OTHER, shards=4)
    await world.cancel("half")
    await world.submit("later-too", at=T0 + 5_000_000, shards=2)
    return world


async def state(world: World) -> Keyspace:
    """The keyspace without logs and hints."""
    found = await world.dump()
    return {
        name: value for name, value in found.items() if name not in ("wake", "inbox:g1") and not is_event_log(name)
    }  # fmt: skip


async def mends(world: World) -> list[str]:
    return [event["what"] for event in events(await world.dump()) if event["kind"] == "mended"]


async def change(world: World, *commands: tuple[Any, ...]) -> None:
    for command, name, *rest in commands:
        await world.partition.client.execute_command(str(command), world.partition.prefix + str(name), *rest)


async def look(world: World, *names: str) -> int:
    """Look at these keys; returns how much was mended."""
    looks = [found for name in names if (found := look_at(name))]
    word, mended, *cursors = await world.call("scrub", looks, limit=500)
    assert (word, set(cursors) <= {"done"}) == ("ok", True)
    return int(mended)


async def test_in_health_no_key_has_anything_to_mend(shop: World) -> None:
    before = await shop.dump()

    assert await look(shop, *before) == 0

    assert await shop.dump() == before


Commands = Sequence[tuple[Any, ...]]

CASES: dict[str, tuple[Commands, str, list[str]]] = {
    # lanes
    "a queued run is not in its lane": ([("ZREM", "activeq:1", "queued-up")], "task:queued-up", ["activeq"]),
    "a bound run is in a lane": ([("ZADD", "activeq:1", FAR, "runs")], "activeq:1", ["activeq"]),
    "nobody is in a lane": ([("ZADD", "activeq:1", 1, "nobody")], "activeq:1", ["activeq"]),
    "a run is in the lane of another": ([("ZADD", "activeq:1", FAR, "stays")], "activeq:1", ["activeq"]),
    "a lane shows another head": ([("ZADD", f"ready:{GROUP}|", 5, "1")], f"ready:{GROUP}|", ["ready"]),
    "a lane shows no head": ([("ZREM", f"ready:{GROUP}|", "1")], "activeq:1", ["ready"]),
    "an unknown lane is ready": ([("ZADD", f"ready:{GROUP}|", 5, "999")], f"ready:{GROUP}|", ["ready"]),
    "a lane of an attribute is ready for all": ([("ZADD", f"ready:{GROUP}|", 5, "2")], f"ready:{GROUP}|", ["ready"]),
    "a lane of another handler is ready": ([("ZADD", f"ready:{GROUP}|", 5, "4")], f"ready:{GROUP}|", ["ready"]),
    "a handler of a lane is not known": ([("ZREM", "handlers", PAUSED)], "lane:4", []),
    "an app does not list a handler": (
        [("ZREM", f"app_handlers:{APP}", PAUSED)],
        "handlers",
        ["app_handlers"],
    ),
    "an app lists a handler of another": (
        [("ZADD", f"app_handlers:{APP}", 0, "default/other/send")],
        f"app_handlers:{APP}",
        ["app_handlers"],
    ),
    "an app lists a handler nobody knows": (
        [("ZADD", f"app_handlers:{APP}", 0, f"{APP}/nobody")],
        f"app_handlers:{APP}",
        ["app_handlers"],
    ),
    "an app does not count a lane": ([("SREM", f"app_lanes:{APP}", "4")], "lane:4", ["app_lanes"]),
    "an app counts the lane of nobody": ([("SADD", f"app_lanes:{APP}", "999")], f"app_lanes:{APP}", ["app_lanes"]),
    "a queue of no lane": ([("ZADD", "activeq:98", 1, "nobody")], "activeq:98", ["activeq"]),
    "a group that is not there is ready": ([("ZADD", "ready:none|", 5, "1", 6, "2")], "ready:none|", ["ready"]),
    "a lane has no name": ([("HDEL", f"lanes:{PAUSED}", "\x1f")], "lane:4", ["lanes"]),
    "a lane says other labels": ([("HSET", "lane:1", "labels", "x=y")], "lane:1", ["lane"]),
    "a lane's name finds other labels": ([("HSET", "lane:1", "labels", "x=y")], f"lanes:{HANDLER}", ["lane"]),
    "a lane's name finds another handler": ([("HSET", "lane:4", "handler", IDLE)], f"lanes:{PAUSED}", ["lane"]),
    "a name leads to the lane of another": ([("HSET", f"lanes:{IDLE}", "\x1f", "1")], f"lanes:{IDLE}", ["lanes"]),
    "a lane of nothing": ([("HSET", "lane:98", "more", "x")], "lane:98", ["lane"]),
    "a paused lane does not say so": ([("HDEL", "lane:4", "blocked")], "lane:4", ["lane"]),
    "a lane says it is paused": ([("HSET", "lane:1", "blocked", "paused")], "lane:1", ["lane"]),
    # runs
    "a delayed task does not wait": ([("ZREM", f"due:{APP}", "later-on")], "task:later-on", ["due"]),
    "no queue limit": ([("ZREM", f"deadlineq:{HANDLER}", "queued-up")], "task:queued-up", ["deadlineq"]),
    "no accept limit": ([("ZREM", f"deadlineq:{HANDLER}", "waits")], "task:waits", ["deadlineq"]),
    "no run limit": ([("ZREM", f"deadlineq:{HANDLER}", "runs")], "task:runs", ["deadlineq"]),
    "no cancel": ([("ZREM", f"deadlineq:{HANDLER}", "asked")], "task:asked", ["deadlineq"]),
    "a timer of nobody": ([("ZADD", f"deadlineq:{HANDLER}", FAR, "nobody")], f"deadlineq:{HANDLER}", ["deadlineq"]),
    "a timer of what is over": ([("ZADD", f"deadlineq:{HANDLER}", FAR, "done")], f"deadlineq:{HANDLER}", ["deadlineq"]),
    "a timer of what has no limit": (
        [("ZADD", f"deadlineq:{HANDLER}", FAR, "begun", FAR, "plain", FAR, "later-on")],
        f"deadlineq:{HANDLER}",
        ["deadlineq"] * 3,
    ),
    "a timer under another handler": (
        [("ZADD", f"deadlineq:{SHARDED}", FAR, "queued-up")],
        f"deadlineq:{SHARDED}",
        ["deadlineq"],
    ),
    "no alarm": ([("ZREM", "alarms", HANDLER)], f"deadlineq:{HANDLER}", ["alarms"]),
    "a late alarm": ([("ZADD", "alarms", FAR, HANDLER)], f"deadlineq:{HANDLER}", ["alarms"]),
    "history forgot it": ([("ZREM", f"history:{HANDLER}", "done")], "task:done", ["history"]),
    "history names nobody": ([("ZADD", f"history:{HANDLER}", 1, "nobody")], f"history:{HANDLER}", ["history"]),
    "history names what runs": ([("ZADD", f"history:{HANDLER}", 1, "runs")], f"history:{HANDLER}", ["history"]),
    "the failed ones of another app": (
        [("ZADD", "failed:default/other", 1, "done")],
        "failed:default/other",
        ["failed"],
    ),
    "what is done among the failed ones": ([("ZADD", f"failed:{APP}", 1, "done")], f"failed:{APP}", ["failed"]),
    "what is done among the pinned ones": ([("ZADD", f"pinned:{HANDLER}", 1, "done")], f"pinned:{HANDLER}", ["pinned"]),
    "a key of nobody": ([("ZADD", "keyed", 0, f"k\x1f{APP}\x1fnobody")], "keyed", ["keyed"]),
    "a key of another task": ([("ZADD", "keyed", 0, f"k\x1f{APP}\x1fdone")], "keyed", ["keyed"]),
    "a key that is none": ([("ZADD", "keyed", 0, "x")], "keyed", ["keyed"]),
    "a child that is nobody": ([("ZADD", "children:runs", 0, "nobody")], "children:runs", ["children"]),
    "a child of another task": ([("ZADD", "children:runs", 0, "done")], "children:runs", ["children"]),
    "what is over stands in a lane": ([("HSET", "task:done", "place", "lane")], "task:done", ["task"]),
    "a seat is not held": ([("SREM", "held:s1", "runs@1")], "task:runs", ["held"]),
    "a bound run stands elsewhere": ([("HSET", "task:runs", "place", "lane")], "task:runs", []),
    "a queued run stands nowhere": (
        [("HSET", "task:queued-up", "place", "none"), ("ZREM", "activeq:1", "queued-up")],
        "task:queued-up",
        ["activeq"],
    ),
    "a task with shards left is not in its lane": ([("ZREM", "activeq:3", "shards")], "task:shards", ["activeq"]),
    "a payload of nobody": ([("SET", "param:nobody", "x")], "param:nobody", ["param"]),
    "parameters of nobody": ([("HSET", "shard_params:nobody", "0", "x")], "shard_params:nobody", ["shard_params"]),
    "a result of nobody": ([("SET", "result:nobody", "x")], "result:nobody", ["result"]),
    "a log of nobody": (
        [
            ("HSET", "log:nobody", "sums", "1 1 1 9 1 0 1 0 0 0 0", "app", APP, "0", "0 1 x"),
            ("HINCRBY", "log_bytes", APP, 9),
        ],
        "log:nobody",
        ["log"],
    ),
    "a log of nobody that does not say whose it is": ([("HSET", "log:nobody", "0", "x")], "log:nobody", ["log"]),
    "a log that does not say whose it is": ([("HSET", "log:runs", "0", "x")], "log:runs", ["log"]),
    "a log without one of its chunks": (
        [
            ("HSET", "log:runs", "sums", "2 2 2 9 2 0 2 0 0 0 0", "app", APP, "0", "0 1 x"),
            ("HINCRBY", "log_bytes", APP, 9),
        ],
        "log:runs",
        ["log"],
    ),
    "a log that its app does not list": ([("ZREM", f"logs:{APP}", "failed")], "log:failed", ["logs"]),
    "an app lists a log of nobody": ([("ZADD", f"logs:{APP}", 1, "nobody")], f"logs:{APP}", ["logs"]),
    "an app lists a log of another app": (
        [("ZADD", "logs:default/x", 1, "failed"), ("HSET", "log_bytes", "default/x", 5)],
        "logs:default/x",
        ["logs", "log_bytes"],
    ),
    "the logs of an app are counted wrongly": ([("HSET", "log_bytes", APP, 7)], f"logs:{APP}", ["log_bytes"]),
    "the logs of an app are not counted": ([("HDEL", "log_bytes", APP)], f"logs:{APP}", ["log_bytes"]),
    "logs are counted of an app that has none": (
        [("HSET", "log_bytes", "default/x", 9)],
        "log_bytes",
        ["log_bytes"],
    ),
    "attempts of nobody": ([("RPUSH", "attempts:nobody", "x")], "attempts:nobody", ["attempts"]),
    "a delayed task of shards does not wait": ([("ZREM", f"due:{APP}", "later-too")], "task:later-too", ["due"]),
    "a task without a shard left is in a lane": ([("HSET", "task:whole", "place", "lane")], "task:whole", ["task"]),
    "a task with shards left says it is nowhere": (
        [("HSET", "task:shards", "place", "none")],
        "task:shards",
        ["activeq"],
    ),
    "a shard without its task": (
        [("HSET", "task:none.0", "state", "created", "place", "timer", "lane", 1), ("SET", "result:none.0", "x")],
        "task:none.0",
        ["task"],
    ),
    "a shard of a task that has none": (
        [("HSET", "task:plain.0", "state", "created", "place", "timer", "lane", 1)],
        "task:plain.0",
        ["task"],
    ),
    "a timer of what was canceled": (
        [("ZADD", f"deadlineq:{PAUSED}", FAR, "never")],
        f"deadlineq:{PAUSED}",
        ["deadlineq"],
    ),
    # sessions
    "no lease": ([("ZREM", "leases", "s1")], "session:s1", ["leases"]),
    "a lease of nobody": ([("ZADD", "leases", FAR, "nobody")], "leases", ["leases"]),
    "a lease and seats of nobody": (
        [("ZADD", "leases", FAR, "nobody"), ("SADD", "held:nobody", "x@1")],
        "leases",
        ["leases"],
    ),
    "a session is not among its app's": ([("SREM", f"sessions:{APP}", "s1")], "session:s1", ["sessions"]),
    "nobody is a session": ([("SADD", f"sessions:{APP}", "nobody")], f"sessions:{APP}", ["sessions"]),
    "a session is not in its group": (
        [("SREM", f"group_sessions:{GROUP_IDLE}", "idle")],
        "session:idle",
        ["group_sessions"],
    ),
    "nobody is in a group": (
        [("SADD", f"group_sessions:{GROUP}", "nobody")],
        f"group_sessions:{GROUP}",
        ["group_sessions"],
    ),
    "a free session does not wait": ([("ZREM", f"waiting:{GROUP_IDLE}|", "idle")], "session:idle", ["waiting"]),
    "it does not wait with what it offers": (
        [("ZREM", f"waiting:{GROUP_IDLE}|gpu=1", "idle")],
        "session:idle",
        ["waiting"],
    ),
    "it waits with seats it has not taken": (
        [("ZADD", f"waiting:{GROUP_IDLE}|", 1, "idle")],
        "session:idle",
        ["waiting"],
    ),
    "a full session waits": ([("ZADD", f"waiting:{GROUP}|", 0, "s1")], f"waiting:{GROUP}|", ["waiting"]),
    "a full session is found to wait": ([("ZADD", f"waiting:{GROUP}|", 4, "s1")], "session:s1", ["waiting"]),
    "nobody waits": ([("ZADD", f"waiting:{GROUP_IDLE}|", 0, "nobody")], f"waiting:{GROUP_IDLE}|", ["waiting"]),
    "a session waits with what it does not offer": (
        [("ZADD", f"waiting:{GROUP_IDLE}|host=a", 0, "idle")],
        f"waiting:{GROUP_IDLE}|host=a",
        ["waiting"],
    ),
    "a session waits in another group": ([("ZADD", f"waiting:{GROUP}|", 0, "idle")], f"waiting:{GROUP}|", ["waiting"]),
    "a group is not among the groups": ([("SREM", "groups", GROUP_IDLE)], f"group:{GROUP_IDLE}", ["groups"]),
    "a group that is not there": ([("SADD", "groups", "none")], "groups", ["groups"]),
    "a group is not named": ([("SREM", f"groups_of:{IDLE}|", GROUP_IDLE)], f"group:{GROUP_IDLE}", ["groups_of"]),
    "a group that is not named sees no lane": (
        [("SREM", f"groups_of:{HANDLER}|", GROUP), ("ZREM", f"ready:{GROUP}|", "1")],
        f"group:{GROUP}",
        ["groups_of", "ready"],
    ),
    "a group is named by another handler": (
        [("SADD", f"groups_of:{OTHER}|", GROUP)],
        f"groups_of:{OTHER}|",
        ["groups_of"],
    ),
    "a group is named by part of a handler": (
        [("SADD", f"groups_of:{IDLE[:-1]}|", GROUP_IDLE)],
        f"groups_of:{IDLE[:-1]}|",
        ["groups_of"],
    ),
    "a group is named with other labels": (
        [("SADD", f"groups_of:{IDLE}|x=y", GROUP_IDLE)],
        f"groups_of:{IDLE}|x=y",
        ["groups_of"],
    ),
    "a handler of a group is not known": ([("ZREM", "handlers", IDLE)], f"group:{GROUP_IDLE}", ["handlers"]),
    "a group without a session": ([("HSET", "group:none", "handlers", IDLE)], "group:none", ["group"]),
    "seats of nobody": ([("SADD", "held:nobody", "x@1")], "held:nobody", ["held"]),
    "nobody's seats of what others have": (
        [("SADD", "held:nobody", "waits@1", "done@1")],
        "held:nobody",
        ["held"],
    ),
    "an inbox of nobody": ([("XADD", "inbox:g9", "*", "a", "b")], "inbox:g9", ["inbox"]),
    # triggers
    "a trigger has no name": ([("HDEL", f"triggers:{APP}", "t")], f"trigger:{UID}", ["triggers"]),
    "a card says something else": (
        [("HSET", f"triggers:{APP}", "t", f"{UID}\x1fpaused\x1fother\x1f\x1f")],
        f"trigger:{UID}",
        ["triggers"],
    ),
    "a card says less": ([("HSET", f"triggers:{APP}", "t", UID)], f"trigger:{UID}", ["triggers"]),
    "a name without a trigger": ([("HSET", f"triggers:{APP}", "x", "zzzzzzz")], f"triggers:{APP}", ["triggers"]),
    "a second name of a trigger": ([("HSET", f"triggers:{APP}", "x", UID)], f"triggers:{APP}", ["triggers"]),
    "a name in another app": ([("HSET", "triggers:default/x", "t", UID)], "triggers:default/x", ["triggers"]),
    "an app does not list a trigger": ([("ZREM", f"trigger_names:{APP}", "t")], f"triggers:{APP}", ["trigger_names"]),
    "an app lists a trigger nobody knows": (
        [("ZADD", f"trigger_names:{APP}", 0, "x")],
        f"trigger_names:{APP}",
        ["trigger_names"],
    ),
    "no turn at the audit": ([("ZREM", "audits", UID)], f"trigger:{UID}", ["audits"]),
    "an agenda of nobody": ([("RPUSH", "agenda:zzzzzzz", 1)], "agenda:zzzzzzz", ["agenda"]),
    "an agenda of what is off": ([("RPUSH", f"agenda:{OFF}", 1)], f"agenda:{OFF}", ["agenda"]),
    "a trigger's payload of nobody": (
        [("SET", "trigger_param:zzzzzzz", "x")],
        "trigger_param:zzzzzzz",
        ["trigger_param"],
    ),
    "a payload of a trigger without": (
        [("SET", f"trigger_param:{OFF}", "x")],
        f"trigger_param:{OFF}",
        ["trigger_param"],
    ),
    "nobody waits for the planner": ([("ZADD", "unplanned", 1, "zzzzzzz")], "unplanned", ["unplanned"]),
    "nobody is due": ([("ZADD", f"due:{APP}", FAR, "nobody-at-all")], f"due:{APP}", ["due"]),
    "no trigger is due": ([("ZADD", f"due:{APP}", FAR, "zzzzzzz")], f"due:{APP}", ["due"]),
    "a trigger that is off is due": ([("ZADD", f"due:{APP}", FAR, OFF)], f"due:{APP}", ["due"]),
    "a trigger is due in another app": ([("ZADD", "due:default/x", FAR, UID)], "due:default/x", ["due"]),
    "a queued task is due": ([("ZADD", f"due:{APP}", FAR, "queued-up")], f"due:{APP}", ["due"]),
    "an app is no head": ([("ZREM", "due_heads", APP)], f"due:{APP}", ["due_heads"]),
    "an app shows another head": ([("ZADD", "due_heads", 1, APP)], f"due:{APP}", ["due_heads"]),
    "a head without an app": ([("ZADD", "due_heads", FAR, "default/x")], "due_heads", ["due_heads"]),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_was_changed_by_hand_is_told_and_is_as_it_was(shop: World, case: str) -> None:
    commands, name, what = CASES[case]
    before = await state(shop)
    await change(shop, *commands)
    assert await state(shop) != before

    assert await look(shop, name) == len(what)

    assert await mends(shop) == what
    assert await state(shop) == before


async def test_a_retry_that_nothing_watches_is_looked_at_now(shop: World) -> None:
    await change(shop, ("ZREM", f"deadlineq:{HANDLER}", "failed"))

    assert await look(shop, "task:failed") == 1

    assert (await shop.dump())[f"deadlineq:{HANDLER}"]["failed"] == shop.now


async def test_a_log_that_was_emptied_is_not_listed(shop: World) -> None:
    await change(shop, ("HSET", "log:runs", "sums", "3 3 0 0 3 3 3 0 3 0 0", "app", APP))
    before = await state(shop)
    assert await look(shop, "log:runs") == 0

    await change(shop, ("ZADD", f"logs:{APP}", 1, "runs"))

    assert await look(shop, f"logs:{APP}") == 1
    assert await state(shop) == before


async def test_the_logs_of_an_app_with_many_are_not_counted_anew(shop: World) -> None:
    names = [f"r{number}" for number in range(501)]
    await change(shop, *(("HSET", f"log:{name}", "sums", "1 1 1 9 1 0 1 0 0 0 0", "app", APP) for name in names))
    await change(shop, ("ZADD", f"logs:{APP}", *(word for name in names for word in (1, name))))
    found = look_at(f"logs:{APP}")
    assert found is not None
    cursors = [found.cursor]
    while cursors[-1] != "done":
        reply = await shop.call("scrub", [found._replace(cursor=cursors[-1])], limit=500)
        assert reply[:2] == ["ok", 0]
        cursors.append(reply[2])

    assert (await shop.dump())["log_bytes"] == {APP: "214"}
    await change(shop, *(("UNLINK", f"log:{name}") for name in names), ("ZREM", f"logs:{APP}", *names))


async def heal(world: World) -> None:
    """Look at everything until nothing is left to mend."""
    for _ in range(5):
        if not await look(world, *await world.dump()):
            return
    raise AssertionError("never whole")


async def told(world: World, kind: str = "corrupt") -> list[dict[str, str]]:
    return [event for event in events(await world.dump()) if event["kind"] == kind]


async def test_a_lane_that_is_ready_again_is_given_to_who_waits(world: World) -> None:
    await world.submit("t1")
    await world.enlist(capacity=0)
    await change(world, ("ZREM", f"ready:{GROUP}|", "1"))
    await world.renew("s1", capacity=1)
    assert await world.dispatches() == []

    await look(world, "lane:1")

    assert [run.run for run in await world.dispatches()] == ["t1"]


async def test_a_look_that_frees_more_than_a_call_binds_answers_more(world: World) -> None:
    await world.submit(*(f"t{number}" for number in range(60)))
    await world.submit(*(f"u{number}" for number in range(60)))
    await world.enlist(capacity=0)
    await change(world, ("UNLINK", f"ready:{GROUP}|"))
    await world.renew("s1", capacity=120)
    lane = look_at("lane:1")
    assert lane is not None

    assert (await world.call("scrub", [lane], limit=500))[0] == "more"

    await world.call("match", cursor="0", repair=0)
    assert len(await world.dispatches()) == 120


async def test_the_queue_limit_of_a_run_that_began_is_over(world: World) -> None:
    await world.enlist()
    await world.submit("t1", queue_limit=1_000)
    await world.start(*await world.dispatches())
    await world.leave()

    assert await look(world, "task:t1") == 0


async def test_a_task_whose_payload_is_gone_faults(shop: World) -> None:
    await change(shop, ("UNLINK", "param:queued-up"))

    assert await look(shop, "task:queued-up") == 1

    dump = await shop.dump()
    assert (dump["task:queued-up"]["state"], dump["task:queued-up"]["reason"]) == ("faulted", "corrupt")
    assert "queued-up" not in dump["activeq:1"]
    assert [event["why"] for event in await told(shop)] == ["its payload is gone"]


async def test_a_run_whose_session_is_gone_goes_back(shop: World) -> None:
    await change(shop, ("UNLINK", "session:s1"))

    assert await look(shop, "task:begun") == 1

    assert await mends(shop) == ["task"]
    assert (await shop.task("begun"))["place"] == "lane"
    await heal(shop)


async def test_a_shard_whose_record_is_gone_faults(shop: World) -> None:
    await change(shop, ("UNLINK", "task:shards.1"))

    assert await look(shop, "task:shards") == 1

    shard = await shop.task("shards.1")
    assert (shard["state"], shard["reason"], shard["lane"]) == ("faulted", "corrupt", "3")
    assert [event["run"] for event in await told(shop)] == ["shards.1"]


async def test_shards_are_looked_at_100_a_visit_and_a_cancel_that_stopped_half_way_goes_on(world: World) -> None:
    await world.enlist(capacity=150)
    await world.submit("t1", shards=150)
    await world.call("match", cursor="0", repair=0)

    seen = []
    for _ in range(2):
        assert await look(world, "task:t1") == 0
        seen.append((await world.task("t1"))["scrubbed"])
    await world.cancel("t1")
    await change(world, ("ZREM", f"deadlineq:{HANDLER}", "t1"))

    assert seen == ["100", "0"]
    assert await look(world, "task:t1") == 1
    assert (await world.dump())[f"deadlineq:{HANDLER}"]["t1"] == world.now


async def test_a_task_of_shards_that_says_it_is_canceled_gives_no_more(shop: World) -> None:
    await change(shop, ("HSET", "task:shards", "cancel", T0))

    await look(shop, "task:shards", "activeq:3")

    assert await mends(shop) == ["task", "deadlineq", "activeq", "ready"]
    assert (await shop.task("shards"))["place"] == "none"


async def test_a_history_that_forgot_a_task_remembers_when_it_ended(world: World) -> None:
    await world.submit("t1")
    await world.cancel("t1")
    world.pass_ms(1_000)
    await change(world, ("UNLINK", f"failed:{APP}"))

    await look(world, "task:t1")

    assert (await world.dump())[f"failed:{APP}"] == {"t1": T0}


async def test_a_shard_that_a_worker_has_outlives_its_task(shop: World) -> None:
    await change(shop, ("UNLINK", "task:whole"))
    before = await state(shop)

    assert await look(shop, "task:whole.1") == 0

    assert await state(shop) == before


@pytest.mark.parametrize("run", ["queued-up", "later-on"])
async def test_a_record_nobody_can_read_leaves_every_index(shop: World, run: str) -> None:
    await change(shop, ("HSET", f"task:{run}", "state", "?"), ("ZADD", "activeq:1", score_at(T0 + 5), "plain"))
    if run == "later-on":
        await shop.cancel("later-too")
    assert await look(shop, f"deadlineq:{HANDLER}") == 0

    assert await look(shop, f"task:{run}") >= 1

    dump = await shop.dump()
    assert dump[f"task:{run}"]["reason"] == "corrupt"
    assert run not in dump["activeq:1"]
    assert run not in dump[f"due:{APP}"]
    assert dump["due_heads"] == {APP: T0 + 60_000}
    assert dump[f"ready:{GROUP}|"] == {"1": min(dump["activeq:1"].values())}


async def test_the_timer_of_a_record_nobody_can_read_is_left_to_who_sets_it_aside(shop: World) -> None:
    await change(shop, ("HSET", "task:plain", "state", "?"), ("ZADD", f"deadlineq:{HANDLER}", FAR, "plain"))

    assert await look(shop, f"deadlineq:{HANDLER}") == 0

    assert "plain" in (await shop.dump())[f"deadlineq:{HANDLER}"]
    await heal(shop)


async def test_the_last_delayed_task_of_an_app_that_cannot_be_read_leaves_no_head(world: World) -> None:
    await world.submit("later-on", at=T0 + 5_000)
    await change(world, ("HSET", "task:later-on", "state", "?"))

    await look(world, "task:later-on")

    assert not {f"due:{APP}", "due_heads"} & (await world.dump()).keys()


async def test_a_key_of_a_request_is_kept_a_day_and_no_longer(world: World) -> None:
    await world.submit("t1", once_key="k", digest="d")
    name = f"once:{APP}|k"
    assert await look(world, name) == 0
    await change(world, ("PERSIST", name))

    assert await look(world, name) == 1

    assert await mends(world) == ["once"]
    assert 86_390_000 < await world.partition.client.pttl(world.partition.prefix + name) <= 86_400_000


async def test_a_handler_without_a_timer_left_has_no_alarm(world: World) -> None:
    await change(world, ("ZADD", f"deadlineq:{HANDLER}", FAR, "nobody"))

    assert await look(world, f"deadlineq:{HANDLER}") == 1

    assert "alarms" not in await world.dump()


async def test_the_seats_of_a_session_that_is_gone_are_given_back(shop: World) -> None:
    """But what is over stays as it is, and what cannot be read has its own turn."""
    await change(
        shop, ("UNLINK", "session:s1"), ("SADD", "held:s1", "done@1"), ("HDEL", "task:waits", "attempt")
    )  # fmt: skip
    done = await shop.task("done")

    assert await look(shop, "held:s1") == 1

    dump = await shop.dump()
    assert dump["task:done"] == done
    assert (dump["task:begun"]["place"], dump["task:waits"]["state"]) == ("lane", "waiting_to_run")
    assert "held:s1" not in dump
    await heal(shop)


@pytest.mark.parametrize("spoil", [("HDEL", "app"), ("HSET", "conn", "x")], ids=lambda spoil: str(spoil[1]))
async def test_a_session_nobody_can_read_is_over(shop: World, spoil: tuple[str, ...]) -> None:
    await change(shop, (spoil[0], "session:s1", *spoil[1:]))

    assert await look(shop, "session:s1") == 1

    dump = await shop.dump()
    assert await mends(shop) == ["session"]
    assert dump["task:begun"]["place"] == "lane"
    assert not {"session:s1", "held:s1"} & dump.keys()
    assert "s1" not in dump["leases"]
    await heal(shop)


async def test_a_session_whose_group_is_gone_ends_in_bounded_steps(world: World) -> None:
    await world.enlist(capacity=150)
    await world.submit("t1", shards=150)
    await world.call("match", cursor="0", repair=0)
    await change(world, ("UNLINK", f"group:{GROUP}"))

    await look(world, "session:s1")
    assert len((await world.dump())["held:s1"]) == 50
    await look(world, "session:s1")

    assert await mends(world) == ["session", "session"]
    assert not {"session:s1", "held:s1"} & (await world.dump()).keys()


async def test_a_session_that_changes_in_the_call_waits_as_it_will_be(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1")
    await change(world, ("SREM", "held:s1", "t1@1"), ("ZADD", f"waiting:{GROUP}|", 0, "s1"))

    assert await look(world, "task:t1", "session:s1") == 1

    assert (await world.dump())[f"waiting:{GROUP}|"] == {"s1": 1}


async def test_a_group_is_named_though_a_name_of_its_handler_is_no_lanes(shop: World) -> None:
    await change(shop, ("HSET", f"lanes:{HANDLER}", "nonsense", "98"), ("SREM", f"groups_of:{HANDLER}|", GROUP))

    assert await look(shop, f"group:{GROUP}") == 1


async def test_a_group_that_does_not_say_what_it_serves_goes(shop: World) -> None:
    await change(shop, ("HDEL", f"group:{GROUP_IDLE}", "handlers"))

    assert await look(shop, f"group:{GROUP_IDLE}") == 1

    dump = await shop.dump()
    assert f"group:{GROUP_IDLE}" not in dump
    assert GROUP_IDLE not in dump["groups"]
    await heal(shop)


async def test_a_trigger_nobody_can_read_is_told_and_left_alone(shop: World) -> None:
    await change(shop, ("HDEL", f"trigger:{UID}", "definition"))
    before = await state(shop)

    assert await look(shop, f"trigger:{UID}") == 0

    assert [event["why"] for event in await told(shop)] == ["the trigger cannot be read"]
    assert await state(shop) == before


async def test_a_card_to_which_a_later_release_added_something_is_left_alone(shop: World) -> None:
    card = (await shop.dump())[f"triggers:{APP}"]["t"] + "\x1flater"
    await change(shop, ("HSET", f"triggers:{APP}", "t", card))

    assert await look(shop, f"trigger:{UID}") == 0

    assert (await shop.dump())[f"triggers:{APP}"]["t"] == card


async def test_a_trigger_without_a_name_gets_its_card_back(shop: World) -> None:
    card = (await shop.dump())[f"triggers:{APP}"]["t"]
    await change(shop, ("HDEL", f"triggers:{APP}", "t"))

    await look(shop, f"trigger:{UID}")

    assert (await shop.dump())[f"triggers:{APP}"]["t"] == card


async def test_a_trigger_whose_payload_is_gone_is_told(shop: World) -> None:
    await change(shop, ("UNLINK", f"trigger_param:{UID}"))

    await look(shop, f"trigger:{UID}")

    assert [event["why"] for event in await told(shop)] == ["its payload is gone"]


async def test_a_trigger_whose_name_another_has_goes_with_all_it_has(shop: World) -> None:
    twin = (await shop.dump())[f"trigger:{UID}"]
    before = await state(shop)
    await change(
        shop,
        ("HSET", "trigger:zzzzzzz", *(text for pair in twin.items() for text in pair)),
        ("SET", "trigger_param:zzzzzzz", "x"),
        ("RPUSH", "agenda:zzzzzzz", 1),
        ("ZADD", f"due:{APP}", 1, "zzzzzzz"),
        ("ZADD", "audits", 1, "zzzzzzz"),
        ("ZADD", "ledger:zzzzzzz", 1, "x"),
    )

    assert await look(shop, "trigger:zzzzzzz") == 1

    assert await mends(shop) == ["trigger"]
    assert await shop.partition.client.pttl(shop.partition.prefix + "ledger:zzzzzzz") > 0
    await change(shop, ("UNLINK", "ledger:zzzzzzz"))
    assert await state(shop) == before


async def test_a_ledger_without_its_trigger_is_kept_for_30_days(shop: World) -> None:
    await change(shop, ("ZADD", f"ledger:{UID}", 1, "x"), ("ZADD", "ledger:zzzzzzz", 1, "x"))

    assert await look(shop, f"ledger:{UID}", "ledger:zzzzzzz") == 1
    assert await look(shop, f"ledger:{UID}", "ledger:zzzzzzz") == 0

    assert await mends(shop) == ["ledger"]
    client, prefix = shop.partition.client, shop.partition.prefix
    assert await client.pttl(prefix + f"ledger:{UID}") == -1
    assert await client.pttl(prefix + "ledger:zzzzzzz") > 0


async def test_a_trigger_that_waits_for_the_planner_is_left_to_it(shop: World) -> None:
    await change(shop, ("ZADD", "unplanned", 1, UID))

    assert await look(shop, "unplanned") == 0

    assert (await shop.dump())["unplanned"] == {UID: 1}


async def test_a_task_that_is_not_found_by_its_key_is_found_again(world: World) -> None:
    await world.submit("t1", own_key="order-1")
    await change(world, ("UNLINK", "keyed"))

    await look(world, "task:t1")

    assert (await world.dump())["keyed"] == {f"order-1\x1f{APP}\x1ft1": 0}
    assert await mends(world) == ["keyed"]


async def test_a_task_that_its_parent_does_not_list_is_listed_again(world: World) -> None:
    await world.submit("t1")
    await world.submit("t2", parent="t1.0.1")
    await change(world, ("UNLINK", "children:t1"))

    await look(world, "task:t2")

    assert (await world.dump())["children:t1"] == {"t2": 0}
    assert await mends(world) == ["children"]


async def test_the_list_of_a_parent_that_is_gone_is_not_begun_anew(world: World) -> None:
    number = int(world.partition.prefix[2:4])
    parent = f"{ids.base36(number, 2)}s00000000000000000"
    await world.submit("t2", parent=f"{parent}.0.1")
    await change(world, ("UNLINK", f"children:{parent}"))

    await look(world, "task:t2")

    assert f"children:{parent}" not in await world.dump()
    assert await mends(world) == []


async def test_a_job_that_goes_through_an_app_is_told_of_what_was_put_back_into_its_lane(shop: World) -> None:
    await change(shop, ("HSET", f"walks:{APP}", "j1", f"{FAR} {T0}"), ("ZREM", "activeq:1", "plain"))

    assert await look(shop, "task:plain") == 1

    assert (await shop.dump())["went_back:j1"] == {"plain"}
