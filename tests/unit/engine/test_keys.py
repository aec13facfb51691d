"""keys: tags, the catalogue, its Lua side, and who owns a stored key."""

import dataclasses

import pytest
from lupa.lua51 import LuaRuntime

from gojob_redis.engine import keys
from gojob_redis.engine.keys import CATALOGUE, K, Key


def test_sixteen_partitions_have_the_tags_that_the_design_names() -> None:
    assert keys.tags(16)[:3] == ("p00pp", "p01qp", "p02rp")


@pytest.mark.parametrize(("nodes", "shares"), [(3, [5, 6, 5]), (4, [4, 4, 4, 4])])
def test_sixteen_partitions_spread_evenly_over_a_cluster(nodes: int, shares: list[int]) -> None:
    homes = [keys.slot_of(tag) * nodes // keys.SLOTS for tag in keys.tags(16)]

    assert [homes.count(node) for node in range(nodes)] == shares


@pytest.mark.parametrize("partitions", [1, 2, 3, 16, 64])
def test_each_tag_lies_near_the_middle_of_its_share(partitions: int) -> None:
    share = keys.SLOTS / partitions

    for i, tag in enumerate(keys.tags(partitions)):
        assert abs(keys.slot_of(tag) - (i + 0.5) * share) < share / 4


@pytest.mark.parametrize("partitions", [0, 65])
def test_an_impossible_number_of_partitions_is_refused(partitions: int) -> None:
    with pytest.raises(ValueError, match="partitions must be 1 to 64"):
        keys.tags(partitions)


def test_a_builder_puts_its_arguments_in_their_places() -> None:
    assert K.task(keys.prefix("p00pp"), "t1") == "{p00pp}:task:t1"
    assert K.meta(keys.prefix("p00pp")) == "{p00pp}:meta"


def test_a_builder_refuses_a_wrong_number_of_arguments() -> None:
    with pytest.raises(TypeError):
        K.task(keys.prefix("p00pp"))
    with pytest.raises(TypeError):
        K.meta(keys.prefix("p00pp"), "more")


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)
def test_lua_and_python_build_the_same_name(entry: Key) -> None:
    values = [f"v{i}" for i in range(len(entry.params))]
    lua = LuaRuntime()
    lua.execute("KEYS = {'{p00pp}:'}")
    made = lua.execute(f"{keys.lua_fragment([entry.name])} return key.{entry.name}")

    assert (made(*values) if values else made) == entry("{p00pp}:", *values)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)
def test_every_kind_of_key_finds_its_owner(entry: Key) -> None:
    prefix = keys.CONTROL if entry.scope == "control" else keys.prefix("p00pp")
    name = entry(prefix, *(f"v{i}" for i in range(len(entry.params))))

    assert keys.owner_of(name.encode()) is entry


@pytest.mark.parametrize(
    "name", [b"loose", b"{p00pp}:task", b"{p00pp}:task:a:b", b"{p00pp}:nobody:x", b"{gojob}:task:a"]
)
def test_a_key_that_nobody_catalogued_has_no_owner(name: bytes) -> None:
    assert keys.owner_of(name) is None


def test_two_patterns_that_could_build_one_name_are_found() -> None:
    one = Key("queue:<handler>", "zset", "", "")
    other = Key("queue:length", "string", "", "")

    assert keys.clashes([one, other]) == [(one, other)]
    assert keys.clashes([one, dataclasses.replace(other, pattern="length:<handler>")]) == []


def test_only_the_used_kinds_are_built_in_a_script() -> None:
    assert (
        keys.lua_fragment(["meta"]) == "local P = KEYS[1]\nlocal SCHEMA = 2\nlocal key = {}\nkey.meta = P .. 'meta'\n"
    )


@pytest.mark.parametrize(
    ("nodes", "shares"), [(1, [16]), (2, [8, 8]), (3, [5, 5, 6]), (4, [4, 4, 4, 4]), (8, [2] * 8), (16, [1] * 16)]
)
def test_partitions_spread_evenly_over_any_number_of_nodes(nodes: int, shares: list[int]) -> None:
    homes = [keys.slot_of(tag) * nodes // keys.SLOTS for tag in keys.tags(16)]

    assert sorted(homes.count(node) for node in range(nodes)) == shares
