"""lua/survey.lua: which workers there are for handlers, by worker group, and what holds these back."""

from typing import Any

from gojob_redis.domain import limits
from gojob_redis.domain.names import group_id
from tests.lua.world import APP, HANDLER, World

OTHER = f"{APP}/report"
COUNTS = (
    "sessions", "waiting", "read", "seats", "taken", "free_seats", "free", "busy", "drained", "backoff", "silent",
    "leaving", "alone",
)  # fmt: skip


def group(*handlers: str, **labels: str) -> str:
    return group_id(APP, handlers or (HANDLER,), labels)


class Anyhow(list[str]):
    """Equal to what has the same members."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and sorted(self) == sorted(other)

    __hash__ = None


async def crowd(world: World, sessions: int, app: str = APP) -> None:
    """So many sessions of an app."""
    handler = f"{app}/send"
    rows = [
        (
            f"{app}-{at}".replace("/", "-"),
            app,
            group_id(app, (handler,), {}),
            handler,
            "",
            "",
            1,
            "g1",
            1,
            "key",
            "w",
            b"",
        )
        for at in range(sessions)
    ]
    assert {*(await world.call("enlist", rows))} == {"ok"}


async def survey(world: World, *asked: tuple[str, str, str], sessions: int = 100) -> dict[str, Any]:
    word, surveyed, serving, apps, groups, offers = await world.call("survey", asked, sessions=sessions)
    assert len(groups) == len({row[0] for row in groups})
    assert len(apps) == len({row[0] for row in apps})
    return {
        "word": word,
        "surveyed": surveyed,
        "serving": [(fits.decode().split(), others.decode().split(), free) for fits, others, free in serving],
        "apps": {app.decode(): (count, whole, {*map(bytes.decode, own)}) for app, count, whole, *own in apps},
        "groups": {row[0].decode(): (row[1].decode(), dict(zip(COUNTS, row[2:], strict=True))) for row in groups},
        "offers": {(id.decode(), attribute.decode()): count for id, attribute, count in offers},
    }


def told(found: dict[str, Any], id: str) -> dict[str, int]:
    """The counts of a group that are not zero."""
    return {name: count for name, count in found["groups"][id][1].items() if count}


async def test_groups_that_fit_those_of_other_labels_and_strangers_are_told_apart(world: World) -> None:
    await world.enlist("s1", capacity=2)
    await world.enlist("s2", labels={"env": "blue"})
    await world.enlist("s3", labels={"env": "blue"})
    await world.enlist("s4", handlers=(OTHER,))

    found = await survey(world, (HANDLER, "", ""), (HANDLER, "env=blue", ""), (HANDLER, "env=gray", ""))

    plain, blue, stranger = group(), group(env="blue"), group(OTHER)
    assert (found["word"], found["surveyed"]) == ("ok", 3)
    assert found["serving"] == [([plain], [blue], 1), ([blue], [plain], 2), ([], Anyhow((plain, blue)), 0)]
    assert found["apps"] == {APP: (4, 1, {plain, blue, stranger})}
    assert found["groups"][blue][0] == "env=blue"
    assert told(found, plain) == {"sessions": 1, "waiting": 1, "read": 1, "seats": 2, "free_seats": 2, "free": 1}
    assert told(found, stranger) == {"sessions": 1, "waiting": 1}


async def test_what_holds_each_session_back_is_counted(world: World) -> None:
    await world.enlist("free", capacity=3)
    await world.enlist("busy")
    await world.submit("t1", "t2")
    await world.enlist("drained", gateway="g2")
    await world.call("drain", [(APP, "drained", 1)])
    await world.enlist("silent", gateway="g3")
    await world.enlist("released", gateway="g2")
    client: Any = world.partition.client
    prefix = world.partition.prefix
    await client.zadd(f"{prefix}gateways", {"g3": 1})
    for name, off in (
        ("mute", "silent"),
        ("unaccepted", "unaccepted"),
        ("leaving", "ending"),
        ("alone", "solo"),
        ("later", "quarantined"),
    ):
        await world.enlist(name, gateway="g2")
        await client.hset(f"{prefix}session:{name}", "off", off)
    await client.hset(f"{prefix}session:released", "off", "released")
    await client.hset(f"{prefix}session:drained", "off", "silent")

    found = told(await survey(world, (HANDLER, "", "")), group())

    assert found["sessions"] == found["read"] == 10
    assert {name: found.get(name, 0) for name in COUNTS[3:]} == {
        "seats": 12, "taken": 2, "free_seats": 2, "free": 1, "busy": 1, "drained": 1, "backoff": 3, "silent": 2,
        "leaving": 1, "alone": 1,
    }  # fmt: skip
    await world.empty()


async def test_free_sessions_are_counted_for_the_attribute_and_offers_among_those_read(world: World) -> None:
    await world.enlist("s1", attributes=("host=db7", "disk=ssd"))
    await world.enlist("s2", attributes=("host=db8",))

    found = await survey(world, (HANDLER, "", "host=db7"), (HANDLER, "", "host=db9"), (HANDLER, "", ""))

    assert [free for _fits, _others, free in found["serving"]] == [1, 0, 2]
    offers = {(group(), "host=db7"): 1, (group(), "disk=ssd"): 1, (group(), "host=db8"): 1}
    assert found["offers"] == offers


async def test_so_many_sessions_are_read_those_of_all_groups_together(world: World) -> None:
    for number in range(6):
        await world.enlist(f"a{number}")
        await world.enlist(f"b{number}", labels={"env": "blue"})

    found = await survey(world, (HANDLER, "", ""), (HANDLER, "env=blue", ""), sessions=4)
    few = await survey(world, (HANDLER, "", ""), (HANDLER, "env=blue", ""), sessions=1)

    assert [told(found, id)["read"] for id in (group(), group(env="blue"))] == [2, 2]
    assert [told(few, id).get("read", 0) for id in (group(), group(env="blue"))] == [1, 0]
    assert told(few, group(env="blue"))["sessions"] == 6


async def test_of_an_app_with_many_sessions_groups_of_few_are_found_among_all_groups(world: World) -> None:
    await crowd(world, 4 * limits.SURVEY_SESSIONS)
    rare = [group(env=f"e{number}") for number in range(6)]
    for number in range(6):
        await world.enlist(f"rare{number}", labels={"env": f"e{number}"})
    await world.enlist("elsewhere", app="default/mail", handlers=("default/mail/send",))

    found = await survey(world, (HANDLER, "env=gray", ""))

    assert found["apps"][APP] == (4 * limits.SURVEY_SESSIONS + 6, 1, {group(), *rare})
    assert told(found, group())["sessions"] == 4 * limits.SURVEY_SESSIONS


async def test_a_call_ends_when_it_looked_at_enough(world: World) -> None:
    for number in range(20):
        await crowd(world, 60, f"default/app{number}")
    asked = [(f"default/app{number}/send", "", "") for number in range(20)]

    found = await survey(world, *asked)

    assert found["word"] == "more"
    assert 5 <= found["surveyed"] < 20
    assert len(found["serving"]) == found["surveyed"]
    assert (await survey(world, *asked[-3:]))["word"] == "ok"


async def test_groups_with_many_handlers_are_found_as_those_with_few(world: World) -> None:
    many = tuple(f"{APP}/h{number:03}-{'x' * 50}" for number in range(80))
    await world.enlist("s1", handlers=(*many, HANDLER), labels={"env": "blue"})
    await world.enlist("s2", handlers=many, labels={"env": "red"})
    await world.enlist("s3", handlers=(many[0], HANDLER), labels={"env": "blue"})
    await world.enlist("s4", handlers=(f"{HANDLER}er",), labels={"env": "blue"})

    found = await survey(world, (HANDLER, "env=gray", ""), (HANDLER, "env=blue", ""), (many[0], "env=red", ""))

    large, red, small = group(*many, HANDLER, env="blue"), group(*many, env="red"), group(many[0], HANDLER, env="blue")
    assert found["serving"] == [
        ([], Anyhow((large, small)), 0),
        (Anyhow((large, small)), [], 2),
        ([red], Anyhow((large, small)), 1),
    ]


async def test_a_group_without_sessions_and_keys_of_another_kind_are_nothing(world: World) -> None:
    await world.enlist("s1")
    await world.enlist("s2", labels={"env": "blue"})
    client: Any = world.partition.client
    prefix = world.partition.prefix
    await client.delete(f"{prefix}group_sessions:{group()}")
    for name in ("session:s2", "held:s2", f"group:{group()}", f"sessions:{APP}", f"waiting:{group(env='blue')}|"):
        await client.delete(f"{prefix}{name}")
        await client.set(f"{prefix}{name}", "x")

    found = await survey(world, (HANDLER, "", ""), (HANDLER, "env=blue", ""))

    assert found["serving"] == [([], [], 0), ([group(env="blue")], [], 0)]
    assert told(found, group(env="blue")) == {"sessions": 1}
    await world.empty()


async def test_a_session_without_a_record_is_passed_over(world: World) -> None:
    await world.enlist("s1")
    client: Any = world.partition.client
    await client.sadd(f"{world.partition.prefix}sessions:{APP}", "gone")

    found = await survey(world, (HANDLER, "", ""))

    assert found["apps"] == {APP: (2, 1, {group()})}
    await world.empty()


async def test_it_changes_nothing(world: World) -> None:
    await world.enlist("s1")
    before = await world.dump()

    await survey(world, (HANDLER, "", ""))

    assert await world.dump() == before
