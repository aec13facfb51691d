"""lua/audit.lua: whose turn it is, what moved, what stands in no index."""

from typing import Any

import msgpack
import pytest

from tests.lua.world import APP, T0, World
from tests.tools.keyspace import events

UID = "abcdefg"
RULE = msgpack.packb({"schedule": {"kind": "every", "every_ms": 1000, "anchor_at": T0}, "body": b""})
FACTS = (
    "uid", "app", "name", "revision", "active", "watermark", "changed", "due", "held", "audited", "begin", "upto",
    "missing", "definition", "entries",
)  # fmt: skip


async def audit(world: World, **given: Any) -> tuple[str, int, list[dict[str, Any]]]:
    wanted: dict[str, Any] = {"limit": 100, "entries": 1_000, "every": 5_000, "grace": 0, "overdue": 5_000} | given
    word, _wall, looked, rows = await world.call("audit", **wanted)
    return word, looked, [dict(zip(FACTS, map(_text, row), strict=True)) for row in rows]


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [each.decode() for each in value]
    return value if value == RULE else value.decode()


async def compared(world: World, row: dict[str, Any], upto: int) -> list[Any]:
    item = (
        row["uid"], int(row["revision"]), row["audited"], "compared", int(row["watermark"]), upto, int(row["held"]),
        row["due"],
    )  # fmt: skip
    return await world.call("amend", [item])


async def test_a_trigger_that_moved_is_answered_with_its_uncompared_entries(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 3_000, definition=RULE, over=0)
    world.pass_ms(2_000)
    await world.fire()
    await world.fire()

    word, looked, [row] = await audit(world)

    assert (word, looked) == ("ok", 1)
    assert row == {
        "uid": UID, "app": APP, "name": "t", "revision": "1", "active": "1", "watermark": str(T0 + 2_000),
        "changed": str(T0), "due": str(T0 + 3_000), "held": "2", "audited": "", "begin": str(T0),
        "upto": str(T0 + 2_000), "missing": "0", "definition": RULE,
        "entries": [f"fired {T0 + 1_000} 1000", f"fired {T0 + 2_000} 0"],
    }  # fmt: skip


async def test_what_was_compared_is_not_answered_again_until_it_moves(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 30_000, over=0)
    world.pass_ms(1_000)
    await world.fire()
    [row] = (await audit(world))[2]
    assert await compared(world, row, T0 + 1_000) == ["ok", "ok"]
    world.pass_ms(5_000)

    assert await audit(world) == ("ok", 1, [])

    world.pass_ms(24_000)
    await world.fire()
    [row] = (await audit(world))[2]
    assert (row["begin"], row["entries"]) == (str(T0 + 1_000), [f"fired {T0 + 30_000} 0"])


async def test_a_trigger_has_one_turn_in_5_s_and_others_take_it_when_it_was_not_taken(world: World) -> None:
    await world.define(T0 + 100_000)
    assert (await audit(world, grace=1))[1] == 0
    assert (await audit(world))[1] == 1
    assert (await audit(world))[1] == 0

    world.pass_ms(5_001)

    assert (await audit(world, grace=1))[1] == 1


async def test_a_clock_that_is_set_back_stops_no_audit(world: World) -> None:
    await world.define(T0 + 100_000)
    await audit(world)
    world.pass_ms(-3_600_000)

    assert (await audit(world))[1] == 1
    assert (await audit(world))[1] == 0


async def test_a_call_is_bounded_by_triggers_and_by_entries(world: World) -> None:
    for n in range(3):
        await world.define(*(T0 + ms for ms in range(1_000, 11_000, 1_000)), name=f"t{n}", uid=f"abcdef{n}")
    world.pass_ms(10_000)
    while (await world.fire())[0] == "more":
        pass

    assert (await audit(world, limit=2))[:2] == ("more", 2)
    world.pass_ms(5_000)
    word, looked, rows = await audit(world, entries=15)

    assert (word, looked) == ("more", 2)
    assert [len(row["entries"]) for row in rows] == [10, 5]
    assert [row["upto"] for row in rows] == [str(T0 + 10_000), str(T0 + 5_000)]


async def test_an_entry_taken_away_below_what_was_compared_starts_the_comparison_anew(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 90_000, over=0)
    world.pass_ms(2_000)
    await world.fire()
    await world.fire()
    [row] = (await audit(world))[2]
    await compared(world, row, T0 + 2_000)
    await world.partition.client.zremrangebyrank(world.partition.prefix + f"ledger:{UID}", 0, 0)
    world.pass_ms(5_000)

    [row] = (await audit(world))[2]

    assert (row["missing"], row["begin"], row["entries"]) == ("1", str(T0), [f"fired {T0 + 2_000} 0"])


async def test_what_the_ledger_forgot_by_itself_is_not_missed(world: World) -> None:
    await world.define(T0 + 90_000, over=0)
    key = world.partition.prefix + f"ledger:{UID}"
    await world.partition.client.hset(world.partition.prefix + f"trigger:{UID}", "last_slot", T0 + 1_500)
    await world.partition.client.zadd(key, {f"fired {T0 + n} 0": T0 + n for n in range(1, 1_501)})

    [row] = (await audit(world))[2]

    dump = await world.dump()
    assert (len(dump[f"ledger:{UID}"]), dump[f"trigger:{UID}"]["trimmed"]) == (1_000, "500")
    assert (row["held"], row["begin"], row["missing"]) == ("1500", str(T0 + 501), "0")


async def test_an_active_trigger_that_stands_nowhere_is_given_to_the_planner(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, over=0)
    world.pass_ms(1_000)
    await world.fire()
    await world.partition.client.zrem(world.partition.prefix + f"due:{APP}", UID)
    world.pass_ms(1)

    await audit(world)

    dump = await world.dump()
    assert dump["unplanned"] == {UID: T0 + 1_001}
    assert dump[f"trigger:{UID}"]["planned"] == str(T0 + 1_000)
    assert f"agenda:{UID}" not in dump
    assert [event for event in events(dump) if event["kind"] == "not_scheduled"] == [
        {
            "kind": "not_scheduled",
            "wall": str(T0 + 1_001),
            "app": APP,
            "trigger": "t",
            "uid": UID,
            "why": "no_due_entry",
        }
    ]


async def test_a_trigger_that_is_over_disabled_or_being_planned_stands_where_it_should(world: World) -> None:
    await world.define(T0 + 1_000, name="over", uid="aaaaaaa")
    await world.define(T0 + 1_000, name="off", uid="bbbbbbb", active=0)
    await world.define(T0 + 1_000, name="dry", uid="ccccccc", over=0)
    world.pass_ms(1_000)
    await world.fire()
    assert list((await world.dump())["unplanned"]) == ["ccccccc"]

    await audit(world)

    assert await world.events() == []


async def test_an_overdue_trigger_is_told_once_and_its_app_is_a_head_again(world: World) -> None:
    await world.define(T0 + 1_000)
    await world.partition.client.zrem(world.partition.prefix + "due_heads", APP)
    world.pass_ms(5_999)
    await audit(world)
    assert await world.events() == []
    world.pass_ms(5_001)

    for _ in range(3):
        await audit(world)
        world.pass_ms(5_000)

    assert await world.events() == ["overdue"]
    assert (await world.dump())["due_heads"] == {APP: T0 + 1_000}


async def test_a_trigger_nobody_plans_is_overdue(world: World) -> None:
    await world.define(T0 + 1_000, over=0)
    world.pass_ms(1_000)
    await world.fire()
    world.pass_ms(5_000)

    await audit(world)

    [event] = events(await world.dump())
    assert (event["kind"], event["stands_in"], event["late_ms"]) == ("overdue", "unplanned", "5000")


async def test_a_turn_without_a_trigger_goes(world: World) -> None:
    await world.define(T0 + 100_000)
    await world.call("remove", app=APP, name="t")
    assert "audits" not in await world.dump()
    await world.partition.client.zadd(world.partition.prefix + "audits", {"zzzzzzz": 1})

    await audit(world)

    assert await world.events() == ["mended"]
    assert "audits" not in await world.dump()


@pytest.mark.parametrize("kind", ["ledger", "trigger"])
async def test_a_record_of_another_type_stops_nobody_and_keeps_its_turn(world: World, kind: str) -> None:
    await world.define(T0 + 100_000, uid="aaaaaaa", name="a")
    await world.define(T0 + 100_000)
    client, name = world.partition.client, world.partition.prefix + f"{kind}:aaaaaaa"
    await client.unlink(name)
    await client.set(name, "x")

    assert [row["uid"] for row in (await audit(world))[2]] == [UID]

    assert (await world.dump())["audits"] == {"aaaaaaa": T0 + 5_000, UID: T0 + 5_000}
    await client.unlink(name)


async def test_the_comparison_goes_up_to_the_watermark_though_the_newest_entry_is_gone(world: World) -> None:
    await world.define(T0 + 1_000, T0 + 2_000, T0 + 90_000, over=0)
    world.pass_ms(2_000)
    await world.fire()
    await world.fire()
    await world.partition.client.zremrangebyscore(world.partition.prefix + f"ledger:{UID}", T0 + 2_000, T0 + 2_000)

    [row] = (await audit(world))[2]

    assert (row["upto"], row["entries"]) == (str(T0 + 2_000), [f"fired {T0 + 1_000} 1000"])


async def test_of_the_overdue_triggers_of_an_app_the_one_that_waits_longest_is_told(world: World) -> None:
    await world.define(T0 + 1_000, uid="aaaaaaa", name="first")
    await world.define(T0 + 2_000, uid="bbbbbbb", name="second")
    world.pass_ms(60_000)

    await audit(world)

    [event] = events(await world.dump())
    assert (event["trigger"], event["slot"], event["count"]) == ("first", str(T0 + 1_000), "2")


async def test_a_rule_that_goes_on_and_was_never_planned_is_given_to_the_planner(world: World) -> None:
    await world.define(over=0)

    await audit(world)

    assert (await world.dump())["unplanned"] == {UID: T0}


async def test_a_planned_last_slot_that_stands_nowhere_is_given_to_the_planner(world: World) -> None:
    await world.define(T0 + 1_000, over=1)
    await world.partition.client.zrem(world.partition.prefix + f"due:{APP}", UID)

    await audit(world)

    assert (await world.dump())["unplanned"] == {UID: T0}
