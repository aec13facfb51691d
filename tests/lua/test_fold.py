"""lua/fold.lua, lua/lib/tally.lua: what a script did is written down once, and what it adds up to is written once."""

from typing import Any, cast

from gojob_redis.domain import limits
from tests.lua.world import APP, HANDLER, T0, World
from tests.tools import keyspace

UID = "abcdefg"


async def fold(world: World, *items: tuple[Any, ...], turn: int = 0, upto: str = "", entries: int = 0) -> list[Any]:
    return await world.call("fold", items, turn=turn, upto=upto, entries=entries)


async def tallied(world: World) -> list[str]:
    """What each call wrote down, without the time."""
    entries = [entry["t"].split("\x1e") for entry in (await world.dump()).get("tally", [])]
    assert all(int(wall) >= T0 for wall, *_parts in entries)
    return [" | ".join(part.replace("\x1f", ", ") for part in parts) for _wall, *parts in entries]


async def test_each_call_writes_down_once_what_it_did(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2")
    runs = await world.dispatches()
    world.pass_ms(30)
    await world.start(*runs)
    world.pass_ms(100)
    await world.report(runs[0])
    await world.report(runs[1], outcome="error", disposition="final")

    assert await tallied(world) == [
        f"{HANDLER}, u, u",
        f"{HANDLER}, b30, b30",
        f"{HANDLER}, eC {runs[0].run} {T0} {T0 + 30} ",
        f"{HANDLER}, eF {runs[1].run} {T0} {T0 + 30} error",
    ]


async def test_a_call_of_two_handlers_writes_one_entry(world: World) -> None:
    one, two = world.submission("t1"), world.submission("t2", HANDLER + "2")
    await world.call("submit", [one, two, world.submission("t3")])

    [entry] = await tallied(world)

    assert sorted(entry.split(" | ")) == [f"{HANDLER}, u, u", f"{HANDLER}2, u"]


async def test_a_report_that_is_also_the_start_tells_both(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    world.pass_ms(500)
    [run] = await world.dispatches()

    await world.report(run, started=T0 + 200)

    assert (await tallied(world))[1:] == [f"{HANDLER}, b200, eC t1 {T0} {T0 + 200} "]


async def test_only_the_first_attempt_says_how_long_its_task_waited(world: World) -> None:
    await world.enlist()
    await world.submit("t1", retries=1, retry_interval=0)
    [run] = await world.dispatches()
    await world.start(run)
    await world.report(run, outcome="error")
    await world.expire()
    [run] = await world.dispatches()

    await world.start(run)

    assert (await tallied(world))[1:] == [f"{HANDLER}, b0", f"{HANDLER}, rerror", f"{HANDLER}, b"]


async def test_a_delayed_task_waits_from_its_time_on(world: World) -> None:
    await world.enlist()
    await world.submit("task-one", at=T0 + 1_000)
    world.pass_ms(1_010)
    await world.fire()
    [run] = await world.dispatches()
    world.pass_ms(5)

    await world.start(run)

    assert (await tallied(world))[1:] == [f"{HANDLER}, b15"]


async def test_the_first_shard_is_the_start_of_its_task(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    runs = await world.dispatches()
    world.pass_ms(7)

    await world.start(*runs)

    assert (await tallied(world))[1:] == [f"{HANDLER}, b7, b"]


async def test_a_task_of_shards_ends_once(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", shards=2)
    runs = await world.dispatches()
    await world.start(*runs)

    await world.report(*runs)

    assert (await tallied(world))[2:] == [f"{HANDLER}, s, s, ec t1 {T0} {T0} "]


async def test_fires_skips_and_missed_slots_are_told(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 3_000, overlap="skip", misfire_after=500)
    world.pass_ms(1_020)
    await world.fire()
    world.pass_ms(2_000)
    await world.fire()

    assert await tallied(world) == [
        f"{HANDLER}, f20",
        f"{HANDLER}, m1 {UID} {T0 + 2_000}, koverlap {UID} {T0 + 3_000}",
    ]


async def test_slots_that_the_planner_passes_over_are_told_with_their_number(world: World) -> None:
    await world.define(T0 + 1_000, over=0, misfire_after=500)
    world.pass_ms(1_000)
    await world.fire()

    gap = (T0 + 2_000, T0 + 9_000, 8)
    await world.call("plan", [(UID, 1, T0 + 1_000, f"{T0 + 10_000}", T0 + 10_000, 2**50, 1, *gap)])

    assert (await tallied(world))[1:] == [f"{HANDLER}, m8 {UID} {T0 + 9_000}"]


async def test_slots_below_the_watermark_are_not_missed_again(world: World) -> None:
    await world.define(T0 + 9_000, over=0)
    world.pass_ms(9_000)
    await world.fire()

    gap = (T0 + 2_000, T0 + 9_000, 8)
    await world.call("plan", [(UID, 1, T0 + 9_000, f"{T0 + 10_000}", T0 + 10_000, 2**50, 1, *gap)])

    assert len(await tallied(world)) == 1


async def test_slots_that_an_edit_overtook_are_told_of_the_handler_they_were_for(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000)
    world.pass_ms(2_000)

    await world.define(T0 + 9_000, handler=HANDLER + "2")

    assert await tallied(world) == [f"{HANDLER}, kedited {UID} {T0 + 1_000}, kedited {UID} {T0 + 2_000}"]


async def test_slots_that_an_audit_missed_are_told(world: World) -> None:
    await world.define(T0 + 4_000)
    world.pass_ms(4_000)
    await world.fire()
    found = [("missed", T0 + 1_000, T0 + 1_000, 1, ""), ("gap", T0 + 2_000, T0 + 3_000, 2, "")]

    await world.call("amend", [(UID, 1, "", *each) for each in found])

    assert (await tallied(world))[1:] == [f"{HANDLER}, khole {UID} {T0 + 1_000}, m2 {UID} {T0 + 3_000}"]


async def test_a_run_that_is_handed_back_lost_or_never_begun_is_told(world: World) -> None:
    await world.enlist()
    await world.submit("t1")
    [run] = await world.dispatches()
    await world.release(run, reason="rejected")
    await world.renew("s1")
    await world.enlist("s2", gateway="g2")
    [run] = await world.dispatches("g2")
    await world.pass_steadily(limits.ACCEPT_MS, renew=())
    await world.expire()
    assert (await tallied(world))[1:] == [f"{HANDLER}, j", f"{HANDLER}, o"]

    await world.enlist("s3", gateway="g3")
    [run] = await world.dispatches("g3")
    await world.leave("s3", gateway="g3")

    assert (await tallied(world))[3:] == [f"{HANDLER}, l"]


async def test_a_failure_is_told_with_what_others_have_in_common(world: World) -> None:
    await world.enlist(capacity=2)
    await world.submit("t1", "t2", shards=1, retries=1)
    one, two = await world.dispatches()
    await world.report(one, outcome="error", failure=b"d\x1dE\x1dno\x1ds")
    await world.report(two, failure=b"d\x1dE\x1dno\x1ds")

    assert (await tallied(world))[1:] == [
        f"{HANDLER}, b0, p{one.run} d\x1dE\x1dno\x1ds, rerror",
        f"{HANDLER}, b0, eC {two.run} {T0} {T0} ",
    ]


async def test_what_is_forgotten_is_told(world: World) -> None:
    await world.submit("t1", "t2")
    await world.cancel("t1", "t2")
    world.pass_ms(limits.HISTORY_MIN_MS)

    await world.retire(HANDLER, keep_ms=0, keep=0)

    assert (await tallied(world))[-1] == f"{HANDLER}, d2"


# ---- the fold --------------------------------------------------------------------------------------------------------


async def test_sums_are_written_and_the_turn_moves(world: World) -> None:
    minute = str(T0 // limits.MINUTE_MS)
    items = [
        ("minute", minute, HANDLER, b"m", 0), ("total", HANDLER, "", b"t", 0), ("tens", HANDLER, "5", b"x", 0),
        ("halves", HANDLER, "5", b"y", 0), ("slowest", HANDLER, "7", b"z", 0), ("unrolled", "9", "", b"", 0),
    ]  # fmt: skip

    assert await fold(world, *items) == ["ok", 0]

    dump = await world.dump()
    assert {name: dump[name] for name in dump if name not in ("meta", "events")} == {
        f"minute:{minute}": {HANDLER: "m"}, f"totals:{HANDLER}": "t", f"tens:{HANDLER}|5": "x",
        f"halves:{HANDLER}|5": "y", f"slowest:{HANDLER}|7": "z", "unrolled": {"9": 9},
    }  # fmt: skip
    assert dump["meta"]["fold_turn"] == "1"
    assert (await fold(world, ("rolled", "9", "", b"", 0), turn=1))[0] == "ok"
    assert "unrolled" not in await world.dump()


async def test_sums_that_were_made_of_older_ones_are_not_written(world: World) -> None:
    await fold(world, ("total", HANDLER, "", b"new", 0))
    before = await world.dump()

    assert await fold(world, ("total", HANDLER, "", b"old", 0)) == ["stale", 0]

    assert await world.dump() == before


async def test_what_is_in_the_sums_leaves_the_tally(world: World) -> None:
    for _ in range(3):
        await world.submit(f"t{world.nonces}")
    key, client = world.partition.prefix + "tally", cast(Any, world.partition.client)
    ids = [entry.decode() for entry, _fields in await client.xrange(key)]
    ms, number = ids[1].split("-")

    await fold(world, upto=f"{ms}-{int(number) + 1}", entries=2)

    [left] = await client.xrange(key)
    assert left[0].decode() == ids[2]
    meta = (await world.dump())["meta"]
    assert (meta["fold_entries"], meta["stats_gap"]) == ("2", "0")


async def test_a_removed_trigger_begins_no_ring(world: World) -> None:
    await fold(world, ("ring", UID, APP, b"f" * 8, 0))

    assert not {f"ring:{UID}", f"troubled:{APP}"} & set(await world.dump())


async def test_a_removed_trigger_begins_no_days(world: World) -> None:
    await fold(world, ("day", UID, "600", b"19200c", 2))

    assert f"days:{UID}|600" not in await world.dump()


async def test_ends_and_days_of_a_trigger_add_up(world: World) -> None:
    await world.define(T0 + 1_000)
    for turn, state in enumerate((b"c", b"f", b"f")):
        items = [("ring", UID, APP, state + b"1234567", 0), ("day", UID, "600", b"19200" + state, 2)]
        await fold(world, *items, turn=turn)

    dump = await world.dump()

    assert dump[f"ring:{UID}"] == "c1234567f1234567f1234567"
    assert dump[f"days:{UID}|600"] == {"19200c": "2", "19200f": "4"}
    assert dump[f"troubled:{APP}"] == {UID}


async def test_a_ring_is_cut_to_its_newest_ends_when_it_is_twice_as_long(world: World) -> None:
    await world.define(T0 + 1_000)
    ends = b"".join(b"f%07d" % number for number in range(2 * limits.RING_ENDS - 1))

    await fold(world, ("ring", UID, APP, ends, 0))
    assert (await world.dump())[f"ring:{UID}"] == ends.decode()
    await fold(world, ("ring", UID, APP, b"c1234567", 0), turn=1)

    dump = await world.dump()
    assert dump[f"ring:{UID}"] == ends[-(limits.RING_ENDS - 1) * limits.RING_BYTES :].decode() + "c1234567"
    assert f"troubled:{APP}" not in dump


async def test_failures_that_are_alike_are_kept_with_their_app_until_they_are_forgotten(world: World) -> None:
    await fold(world, ("failure", APP, "one", b"1", 0), ("failure", APP, "two", b"2", 0))

    assert (await world.dump())[f"failures:{APP}"] == {"one": "1", "two": "2"}
    left_ms = await world.partition.client.pttl(f"{world.partition.prefix}failures:{APP}")
    assert limits.STATS_HALVES_MS - 60_000 < left_ms <= limits.STATS_HALVES_MS
    await fold(world, ("forgotten", APP, "one", b"", 0), turn=1)
    assert (await world.dump())[f"failures:{APP}"] == {"two": "2"}


async def test_entries_that_are_lost_are_told_once(world: World) -> None:
    for _ in range(3):
        await world.submit(f"t{world.nonces}")
    key, client = world.partition.prefix + "tally", cast(Any, world.partition.client)
    await client.xtrim(key, maxlen=1, approximate=False)
    [(last, _fields)] = await client.xrange(key)
    ms, number = last.decode().split("-")

    assert await fold(world, upto=f"{ms}-{int(number) + 1}", entries=1) == ["ok", 2]
    assert await fold(world, upto=f"{ms}-{int(number) + 1}", turn=1) == ["ok", 0]

    assert await world.events() == ["stats_gap"]
    assert (await world.dump())["meta"]["stats_gap"] == "2"


async def test_canceled_tasks_are_told_and_of_many_how_many_more(world: World) -> None:
    await fold(world, ("canceled", HANDLER, "t1", b"nobody", T0), ("canceled_more", HANDLER, "", b"", 500))

    events = keyspace.events(await world.dump())
    assert [event["kind"] for event in events] == ["canceled", "canceled"]
    assert (events[0]["task"], events[0]["reason"], events[0]["ended"]) == ("t1", "nobody", str(T0))
    assert int(events[1]["count"]) > 400
