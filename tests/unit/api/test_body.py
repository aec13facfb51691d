"""What a body may cost: it is looked at before it is parsed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.api import body as bodies
from gojob_redis.api.body import check_shape, parse, without_strings
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest

JSON = "application/json"


def depth_of(value: object) -> int:
    """How deep a value is nested."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


NAMES = st.text(st.sampled_from('[{"\\'), max_size=3)
NESTED = st.recursive(
    st.text(st.sampled_from('[]{}"\\,x\n'), max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('[{"\\'), max_size=3), inner, max_size=4)
    ),
    max_leaves=60,
)


@given(NESTED, st.integers(0, 6))
def test_depth_is_counted_as_a_parser_would_see_it(value: object, depth: int) -> None:
    body = json.dumps(value).encode()
    too_deep = False
    try:
        for _ in check_shape(body, depth=depth):
            pass
    except BadRequest:
        too_deep = True

    assert too_deep == (depth_of(value) > depth)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[{" * 50_000, b"[" * 33 + b"]" * 33])
async def test_deep_json_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        await parse(JSON, body)

    assert (refused.value.code, refused.value.limit) == ("too_deep", 32)


async def test_brackets_inside_text_are_no_depth() -> None:
    body = json.dumps({"a": "[" * 1000 + '\\"' * 50 + "{" * 1000})

    assert await parse(JSON, body.encode()) == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"{", b"}", b"[1,]", b'{"a":NaN}', b"Infinity", b'"\\ud800"', b"\xff", b"{'a':1}", b'{"a":1}{}', b"]" * 99]
)
async def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        await parse(JSON, body)

    assert (refused.value.code, refused.value.field) == ("bad_json", "body")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(BadRequest) as refused:
        await parse(content_type, b"{}")

    assert (refused.value.code, refused.value.status) == ("not_json", 415)


def outside_of_strings(text: str) -> str:
    """What is left of JSON without its strings, looked at one character at a time."""
    left, inside, escaped = "", False, False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            inside = not inside
        elif not inside:
            left += character
    return left


@given(NESTED, st.integers(1, 9))
def test_what_stands_outside_of_strings_is_the_same_however_the_body_is_cut(value: object, size: int) -> None:
    text = json.dumps(value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "PIECE_BYTES", size)
        left = b"".join(without_strings(text.encode()))

    assert left.decode() == outside_of_strings(text)


@pytest.mark.parametrize(
    "body", [b"[" + b"0," * 100_001 + b"0]", b"[" + b"9" * 4_000 + (b"," + b"9" * 4_000) * 801 + b"]"]
)
async def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        await parse(JSON, body)

    assert (refused.value.code, refused.value.limit, refused.value.status) == (
        "too_many_values",
        limits.JSON_VALUES,
        413,
    )


async def test_commas_inside_a_text_are_no_values() -> None:
    text = "1,2,3\n" * 200_000

    assert await parse(JSON, json.dumps([text]).encode()) == [text]
