"""gojob_redis/view/values.py: what a value costs before it is unpacked, and whose turn it is."""

import asyncio
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.domain import limits
from gojob_redis.view.values import Turns, Values, elements

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
TREES = st.recursive(
    SCALARS | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=60,
)


def count(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + sum(1 + count(inner) for inner in value.values())
    return 1


@given(TREES)
def test_every_element_counts_once(value: Any) -> None:
    assert elements(msgpack.packb(value), 10_000) == count(value)


@pytest.mark.parametrize(
    "value",
    [[0] * 70_000, {str(number): None for number in range(70_000)}, "x" * 70_000, b"x" * 70_000, ["x" * 300] * 20],
)
def test_lengths_of_every_width_are_read(value: Any) -> None:
    assert elements(msgpack.packb(value), 1_000_000) == count(value)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 17, 300, 70_000])
def test_extensions_of_every_width_are_read(size: int) -> None:
    assert elements(msgpack.packb([msgpack.ExtType(5, b"x" * size), 1]), 10) == 3


def test_counting_stops_at_what_is_asked_for() -> None:
    assert elements(b"\xdd\x00\x01\x00\x00" + b"\x90" * 65_536, 100) == 101


@given(st.binary(max_size=200))
def test_no_bytes_break_the_count_and_what_has_none_cannot_be_unpacked(data: bytes) -> None:
    if data and elements(data, 1_000) is None:
        with pytest.raises((ValueError, msgpack.UnpackException)):
            msgpack.unpackb(data, strict_map_key=False)


CLAIMS = b"\xdd\x00\x03\xff\xf0" * 500 + b"\xc0" * 250_000
"""500 nested lists that claim 262,128 elements each."""


def test_a_value_that_claims_more_than_it_has_takes_no_memory() -> None:
    tracemalloc.start()
    shown = Values().show(CLAIMS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert list(shown) == ["$base64"]
    assert peak < 4 * limits.MIB


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * 9_000 + b"\xc0",  # deeper than any parser goes
        b"\x91" * 300 + b"\xc0",  # deeper than JSON goes
        b"\x81\x90\x01",  # a list as a key
        b"\xdf\xff\xff\xff\xff",
        b"\xa4\xff\xfe\xfd\xfc",  # no UTF-8
        b"\xc1",
        b"\xd6\xff\xff\xff\xff\xff\x00",  # bytes after the value
        b"\xc7\x0c\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff",  # a moment in the year 292 billion
    ],
)
def test_what_nobody_can_read_is_shown_as_its_bytes(bomb: bytes) -> None:
    assert list(Values().show(bomb)) == ["$base64"]


def test_odd_values_have_a_form_in_json() -> None:
    assert Values().show(msgpack.packb(float("nan"))) == "NaN"
    assert Values().show(msgpack.packb(2**64 - 1)) == 2**64 - 1
    assert Values().show(msgpack.packb(datetime(2027, 1, 1, tzinfo=UTC), datetime=True)) == "2027-01-01T00:00:00Z"


def test_what_does_not_fit_is_named_with_its_size() -> None:
    values = Values(elements_left=10, bytes_left=100)

    assert values.show(msgpack.packb([1, 2, 3]), "result") == [1, 2, 3]
    assert values.show(msgpack.packb([1] * 7), "params") is None  # 8 elements, and 6 are left
    assert values.show(msgpack.packb("x" * 200), "error") is None
    assert values.show(msgpack.packb([1] * 5), "progress") == [1] * 5

    assert values.left_out == {"params": 8, "error": 202}
    assert values.is_spent


# ---- turns -----------------------------------------------------------------------------------------------------------


async def test_one_unpacks_at_a_time_and_tokens_take_turns() -> None:
    turns, order = Turns(), []

    async def answer(who: str, number: int) -> None:
        async def read() -> None:
            order.append(f"{who}{number}")

        await turns.of(who)(read)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(answer("a", number))
        group.create_task(answer("b", 0))

    assert order == ["a0", "a1", "b0", "a2"]


async def test_whoever_gives_up_his_turn_leaves_it_to_the_next() -> None:
    turns, began, go_on = Turns(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        await go_on.wait()

    async def quick() -> str:
        return "read"

    async with asyncio.TaskGroup() as group:
        group.create_task(turns.of("a")(slow))
        await began.wait()
        given_up = group.create_task(turns.of("b")(quick))
        waits = group.create_task(turns.of("c")(quick))
        await asyncio.sleep(0)
        given_up.cancel()
        go_on.set()

    assert waits.result() == "read"


async def test_a_read_that_fails_ends_its_turn() -> None:
    turns = Turns()

    async def fails() -> None:
        raise OSError("away")

    async def works() -> str:
        return "read"

    with pytest.raises(OSError, match="away"):
        await turns.of("a")(fails)

    assert await turns.of("b")(works) == "read"
