"""engine/log_chunks.py: what is packed is what is read, and what was spoiled is said."""

import zlib
from typing import get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.domain import limits
from gojob_redis.engine.log_chunks import LEVELS, Line, LogLevel, Pack, chunk_of
from gojob_sdk import protocol

STORED = b"40 3 "


def pack(*lines: tuple[int, str, str, str]) -> Pack:
    made = Pack(2, "w1")
    for at_ms, level, logger, text in lines:
        made.add(at_ms, level, logger, text, len(text.encode()))
    return made


THREE = ((1_000, "info", "a", "one"), (990, "error", "b", "two\n\x00"), (1_005, "info", "a", "é" * 5))


def test_a_chunk_gives_back_its_lines_with_their_numbers() -> None:
    made = pack(*THREE)

    chunk = chunk_of(7, STORED + made.packed())

    assert (len(made), made.size) == (3, 3 * 16 + 3 + 5 + 10)
    assert list(chunk.unpacked()) == [
        Line(40 + at, 2, ms, LogLevel(level), logger, "w1", text) for at, (ms, level, logger, text) in enumerate(THREE)
    ]
    assert (chunk.number, chunk.first_line, chunk.lines, chunk.attempt) == (7, 40, 3, 2)
    assert (chunk.first_ms, chunk.last_ms) == (990, 1_005)
    assert 20 < chunk.unpacked_bytes < 100


lines = st.tuples(
    st.integers(0, protocol.MAX_INT), st.sampled_from([*LEVELS]), st.text(max_size=20), st.text(max_size=200)
)


@given(st.lists(lines, min_size=1, max_size=20))
def test_any_line_is_read_as_it_was_written(written: list[tuple[int, LogLevel, str, str]]) -> None:
    chunk = chunk_of(0, b"0 1 " + pack(*written).packed())

    read = [(line.at_ms, line.level, line.logger, line.text) for line in chunk.unpacked()]
    assert read == written


@pytest.mark.parametrize("level", LEVELS)
def test_a_chunk_says_whether_it_has_a_line_as_bad_as_that(level: LogLevel) -> None:
    worst_is_info = chunk_of(0, b"0 2 " + pack((1, "debug", "", ""), (1, "info", "", "")).packed())

    assert worst_is_info.is_at_least(level) == (level in (LogLevel.DEBUG, LogLevel.INFO))


def test_the_levels_are_those_of_the_frames() -> None:
    assert [level.value for level in LEVELS] == list(get_args(protocol.LogLevel))


def test_a_hundred_lines_take_less_than_a_quarter_of_their_text() -> None:
    texts = [f"GET https://api.example.com/v1/orders/{number * 7919} 200 in {number % 90} ms" for number in range(100)]
    made = pack(*((number, "info", "httpx", text) for number, text in enumerate(texts)))

    assert len(made.packed()) < sum(map(len, texts)) / 4


HEAD = [1, 2, "w1", 3, 10, 5, 6, 2]


def squeezed(plain: bytes) -> bytes:
    made = zlib.compressobj(1, zlib.DEFLATED, -15)
    return made.compress(plain) + made.flush()


SPOILED = {
    "nothing": b"",
    "no message": b"\xc1",
    "no head": msgpack.packb(5),
    "another head": msgpack.packb(["x"] * 9),
    "no compression": msgpack.packb([*HEAD, b"abc"]),
    "half of it": msgpack.packb([*HEAD, squeezed(b"x" * 100)[:-3]]),
    "no columns": msgpack.packb([*HEAD, squeezed(msgpack.packb([1, 2]))]),
    "columns of different length": msgpack.packb([*HEAD, squeezed(msgpack.packb([[1], b"\x01", ["a"], [0], []]))]),
    "an unknown level": msgpack.packb([*HEAD, squeezed(msgpack.packb([[1], b"\x09", ["a"], [0], ["x"]]))]),
    "an unknown logger": msgpack.packb([*HEAD, squeezed(msgpack.packb([[1], b"\x01", [], [0], ["x"]]))]),
    "a time that is none": msgpack.packb([*HEAD, squeezed(msgpack.packb([["x"], b"\x01", ["a"], [0], ["x"]]))]),
    "a bomb": msgpack.packb([*HEAD, squeezed(bytes(100 * limits.LOG_UNPACKED_BYTES))]),
    "a bomb of lists": msgpack.packb([*HEAD, squeezed(b"\xdd\x0f\xff\xff\xff" + b"\x90" * 10)]),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_was_spoiled_is_said_by_one_line(case: str) -> None:
    [line] = chunk_of(3, b"40 12 " + SPOILED[case]).unpacked()

    assert line.line == 40
    assert line.text == "(12 lines here are damaged and cannot be read)"
    assert line.level is LogLevel.WARNING


@pytest.mark.parametrize("stored", [b"x y z", b"", b"99999999999999999999 1 ", b"-1 -1 -1"])
def test_numbers_that_were_spoiled_are_none(stored: bytes) -> None:
    chunk = chunk_of(3, stored)

    assert (chunk.first_line, len(chunk.unpacked())) == (0, 1)
