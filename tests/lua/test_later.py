"""Words that only a later release can have written: each verb leaves their record alone, and tells it once."""

from typing import Any

import pytest

from gojob_redis.domain import limits
from tests.lua.world import APP, HANDLER, World
from tests.tools import keyspace


async def put(world: World, run: str, **words: str) -> dict[str, str]:
    """Write a word of a later release into a task, and return its record."""
    for field, word in words.items():
        await world.partition.client.hset(world.partition.prefix + f"task:{run}", field, word)
    return await world.task(run)


async def told(world: World) -> list[dict[str, str]]:
    """What the events say of unknown words, without their times."""
    events = [event for event in keyspace.events(await world.dump()) if event["kind"] == "unknown_word"]
    kept = ("run", "timer", "due", "uid", "field", "word")
    return [{name: event[name] for name in kept if name in event} for event in events]


async def add(world: World, index: str, member: str, score: int) -> None:
    await world.partition.client.zadd(world.partition.prefix + index, {member: score})


async def score(world: World, index: str, member: str) -> Any:
    return (await world.dump()).get(index, {}).get(member)


@pytest.mark.parametrize(("field", "word"), [("state", "parked"), ("place", "shelf"), ("on_lost", "hold")])
async def test_a_run_with_an_unknown_word_keeps_its_record_and_its_timer(world: World, field: str, word: str) -> None:
    await world.submit("t1", queue_limit=1_000)
    record = await put(world, "t1", **{field: word})
    at = await score(world, f"deadlineq:{HANDLER}", "t1")
    world.pass_ms(1_000)

    await world.expire()

    assert await world.task("t1") == record
    assert await score(world, f"deadlineq:{HANDLER}", "t1") == at
    assert await told(world) == [{"run": "t1", "field": field, "word": word}]


async def test_a_timer_of_another_kind_stays_and_those_behind_it_are_looked_at(world: World) -> None:
    await world.submit("t1", queue_limit=1_000)
    await add(world, f"deadlineq:{HANDLER}", "quota:default/shop", 1)
    world.pass_ms(1_000)

    reply = await world.expire()

    assert reply[0] == "ok"
    assert await score(world, f"deadlineq:{HANDLER}", "quota:default/shop") == 1
    assert (await world.task("t1"))["reason"] == "expired"
    assert await told(world) == [{"timer": "quota:default/shop"}]


async def test_what_is_left_alone_is_looked_at_again_a_second_later(world: World) -> None:
    """Not at once: replicas would do nothing else."""
    await world.submit("t1")
    await add(world, f"deadlineq:{HANDLER}", "quota:default/shop", 1)
    await add(world, "alarms", HANDLER, 1)

    word, looked, next_alarm, steady, _wall = await world.expire()

    assert (word, looked, next_alarm - steady) == ("ok", 0, 1_000)


async def test_a_head_that_is_not_due_after_what_is_left_alone_keeps_its_time(world: World) -> None:
    await world.submit("t1", queue_limit=400)
    await add(world, f"deadlineq:{HANDLER}", "quota:default/shop", 1)
    await add(world, "alarms", HANDLER, 1)

    _word, _looked, next_alarm, steady, _wall = await world.expire()

    assert next_alarm - steady <= 1_000
    world.pass_ms(1_000)
    await world.expire()
    assert (await world.task("t1"))["reason"] == "expired"


async def test_what_there_was_no_room_for_is_looked_at_at_once_beside_what_is_left_alone(world: World) -> None:
    await world.submit("t1", "t2", queue_limit=1_000)
    await add(world, f"deadlineq:{HANDLER}", "quota:default/shop", 1)
    world.pass_ms(1_000)

    word, looked, next_alarm, steady, _wall = await world.expire(limit=1)

    assert (word, looked, next_alarm <= steady) == ("more", 1, True)


@pytest.mark.parametrize("verb", ["expire", "fire"])
async def test_a_call_passes_over_so_many_and_leaves_the_other_indexes_to_the_next(world: World, verb: str) -> None:
    """Each costs the engine up to 15 µs, whoever's index it stands in."""
    index, heads = ("deadlineq", "alarms") if verb == "expire" else ("due", "due_heads")
    owners = (f"{APP}/a", f"{APP}/b") if verb == "expire" else ("default/a", "default/b")
    for owner in owners:
        many = {f"quota:{number}": 1 for number in range(limits.LEFT_ITEMS + 1)}
        await world.partition.client.zadd(world.partition.prefix + f"{index}:{owner}", many)
        await add(world, heads, owner, 1)
    scores = []

    words = []
    for _ in range(2):
        words.append((await world.call(verb, limit=100))[0])
        scores.append([await score(world, heads, owner) for owner in owners])

    assert words[0] == "more"
    assert [at > world.now for at in scores[0]] == [True, False]
    assert [at > world.now for at in scores[1]] == [True, True]


async def test_a_canceled_task_with_an_unknown_word_is_refused(world: World) -> None:
    await world.submit("t1")
    record = await put(world, "t1", state="parked")

    assert await world.cancel("t1") == ["later"]
    assert await world.task("t1") == record
    assert await told(world) == [{"run": "t1", "field": "state", "word": "parked"}]


async def test_it_is_told_once_a_call(world: World) -> None:
    await world.submit("t1")
    await put(world, "t1", state="parked")

    assert await world.cancel("t1", "t1") == ["later", "later"]
    assert len(await told(world)) == 1


async def test_a_task_whose_state_is_unknown_does_not_end_with_its_last_shard(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    runs = await world.dispatches()
    await put(world, "t1", state="reviewing")

    assert await world.report(*runs) == ["accepted", "accepted"]

    task = await world.task("t1")
    assert (task["state"], task["run_to_completion"]) == ("reviewing", "2")


async def test_a_task_whose_state_is_unknown_is_not_told_of_a_failure_of_its_shard(world: World) -> None:
    await world.enlist()
    await world.submit("t1", shards=1, retries=1)
    await world.submit("t2", shards=2, retries=1)
    [first] = await world.dispatches()
    await world.report(first)
    [shard] = await world.dispatches()
    await put(world, "t2", state="reviewing")

    await world.report(shard, outcome="error")

    assert "tries" not in await world.task("t2")
    assert (await world.task(shard.run))["tries"] == "1"


async def test_it_stays_at_the_head_of_its_lane_and_the_next_one_is_bound(world: World) -> None:
    await world.submit("t1")
    record = await put(world, "t1", state="parked")
    await world.submit("t2")

    await world.enlist(capacity=2)

    assert [run.run for run in await world.dispatches()] == ["t2"]
    assert await world.task("t1") == record
    assert await score(world, "activeq:1", "t1") is not None


@pytest.mark.parametrize("name", ["calendar:cn", "t1"])
async def test_a_due_entry_of_a_later_release_stays_and_the_next_one_is_admitted(world: World, name: str) -> None:
    at = world.now + 1_000
    await world.submit("delayed1", "delayed2", at=at)
    member = "delayed1" if name == "t1" else name
    if name == "t1":
        await put(world, "delayed1", state="reviewed")
    else:
        await add(world, f"due:{APP}", member, 1)
    before = await score(world, f"due:{APP}", member)
    world.pass_ms(1_000)

    await world.fire()

    assert await score(world, f"due:{APP}", member) == before
    assert (await world.task("delayed2"))["place"] == "lane"
    expected = {"due": member} if name != "t1" else {"run": "delayed1", "field": "state", "word": "reviewed"}
    assert await told(world) == [expected]


async def test_a_trigger_with_a_state_of_a_later_release_keeps_its_slot(world: World) -> None:
    await world.define(world.now + 1_000)
    await world.partition.client.hset(world.partition.prefix + "trigger:abcdefg", "active", "resting")
    world.pass_ms(1_000)

    await world.fire()

    assert await score(world, f"due:{APP}", "abcdefg") == world.now
    assert await world.ledger() == []
    assert await told(world) == [{"uid": "abcdefg", "field": "active", "word": "resting"}]


async def test_a_worker_keeps_a_run_whose_record_a_later_release_has_changed(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    record = await put(world, "t1", state="suspended")

    reply = await world.resume("s1", run)

    assert reply[2:] == ["keep"]
    assert await world.task("t1") == record


async def test_a_session_with_an_off_word_of_a_later_release_gets_nothing_and_keeps_it(world: World) -> None:
    await world.enlist(capacity=2)
    await world.partition.client.hset(world.partition.prefix + "session:s1", "off", "cooling")

    await world.renew("s1", held=0, capacity=2)
    await world.submit("t1")

    assert (await world.dump())["session:s1"]["off"] == "cooling"
    assert await world.dispatches() == []
