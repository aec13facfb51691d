"""What a request passes before a route sees it."""

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gojob_redis import limits
from gojob_redis.api.guard import check_depth, parse_json
from gojob_redis.errors import BadRequest
from gojob_redis.redis_client import Client
from tests.served import APP, DAILY, Served, serving

JSON = "application/json"


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


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
        check_depth(body, depth)
    except BadRequest:
        too_deep = True

    assert too_deep == (depth_of(value) > depth)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[{" * 50_000, b"[" * 33 + b"]" * 33])
def test_deep_json_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_json(JSON, body)

    assert (refused.value.code, refused.value.limit) == ("too_deep", 32)


def test_brackets_inside_text_are_no_depth() -> None:
    body = json.dumps({"a": "[" * 1000 + '\\"' * 50 + "{" * 1000})

    assert parse_json(JSON, body.encode()) == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"{", b"}", b"[1,]", b'{"a":NaN}', b"Infinity", b'"\\ud800"', b"\xff", b"{'a':1}", b'{"a":1}{}', b"]" * 99]
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_json(JSON, body)

    assert (refused.value.code, refused.value.field) == ("bad_json", "body")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_json(content_type, b"{}")

    assert (refused.value.code, refused.value.status) == ("not_json", 415)


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (f"{APP}/handlers/send/tasks", limits.BODY_BYTES),
        (f"{APP}/handlers/send/tasks:batch", limits.BULK_BODY_BYTES),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_beyond_its_limit_is_refused(served: Served, path: str, limit: int, announced: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limit // 65_536 + 1):
            yield b" " * 65_536

    before = await served.dump()
    headers = {"Authorization": f"Bearer {served.tokens['api']}", "Content-Type": JSON}
    content = b" " * (limit + 1) if announced else chunks()
    answer = await served.http.post(path, content=content, headers=headers)

    assert answer.status_code == 413
    assert (answer.json()["code"], answer.json()["limit"]) == ("too_large", limit)
    assert await served.dump() == before


@pytest.mark.real
async def test_who_has_no_token_is_refused_before_the_body_is_looked_at(served: Served) -> None:
    answer = await served.http.post(f"{APP}/handlers/send/tasks", content=b"{nonsense")

    assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.real
async def test_every_answer_has_a_request_id(served: Served) -> None:
    given_id = await served.ask("GET", "/v1/info", headers={"X-Request-Id": "abc-1"})
    made = await served.ask("GET", "/v1/nowhere", headers={"X-Request-Id": "a b\tc"})
    refused = await served.ask("GET", "/v1/info", kind="")

    assert given_id.headers["X-Request-Id"] == "abc-1"
    assert made.headers["X-Request-Id"] == made.json()["request_id"] != "a b\tc"
    assert refused.headers["X-Request-Id"] == refused.json()["request_id"]


@pytest.mark.real
async def test_what_is_private_is_not_cached(served: Served) -> None:
    assert (await served.ask("GET", "/v1/tokens")).headers["Cache-Control"] == "no-store"


@pytest.mark.real
async def test_a_route_that_is_not_there_is_unknown_only_to_who_has_a_token(served: Served) -> None:
    assert (await served.ask("GET", "/v1/nowhere", kind="")).status_code == 401
    answer = await served.ask("GET", "/v1/nowhere", kind="api")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_route")
    answer = await served.ask("PATCH", f"{APP}/triggers/nightly", {}, kind="api")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.real
async def test_a_bug_of_ours_is_a_problem_without_its_cause(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*_: object) -> None:
        raise RuntimeError("the secret is hidden")

    monkeypatch.setattr("gojob_redis.trigger.engine_time", breaks)
    answer = await served.ask("POST", "/v1/schedules/preview", {"schedule": DAILY})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hidden" not in answer.text
