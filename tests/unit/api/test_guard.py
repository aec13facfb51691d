"""What a request passes before a route sees it."""

from collections.abc import AsyncIterator

import pytest

from gojob_redis.control import tokens
from gojob_redis.domain import limits
from gojob_redis.engine.client import Client
from tests.tools.served import APP, DAILY, Served, serving

JSON = "application/json"


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


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


async def unread() -> AsyncIterator[bytes]:
    """A body that must not be asked for."""
    for number in range(2):
        assert number, "the body was read"
        yield b""


@pytest.mark.real
@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("POST", "/docs/x:batch", "", 404),
        ("GET", "/livez", "", 200),
        ("HEAD", "/livez", "", 200),
        ("OPTIONS", "/readyz", "", 200),
        ("POST", "/livez", "", 405),
        ("PUT", "/openapi.json", "", 405),
        ("POST", f"{APP}/handlers/send/tasks", "", 401),
        ("POST", f"{APP}/handlers/send/tasks:batch", "worker", 403),
        ("PUT", f"{APP}/triggers/nightly", "worker", 403),
        ("POST", "/v1/schedules/preview", "worker", 403),
        ("PUT", "/v1/namespaces/lab", "api", 403),
        ("POST", "/v1/apps/lab/shop/handlers/send/tasks", "shop", 403),
        ("POST", "/v1/apps/default/other/handlers/send/tasks", "shop", 403),
        ("POST", "/v1/nowhere", "admin", 404),
        ("POST", "/v1/triggers", "admin", 405),
        ("DELETE", f"{APP}/triggers/nightly", "admin", 404),
    ],
)
async def test_only_who_may_send_a_body_has_it_read(
    served: Served, method: str, path: str, kind: str, status: int
) -> None:
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token
    headers = {"Authorization": f"Bearer {served.tokens[kind]}"} if kind else {}

    answer = await served.http.request(method, path, content=unread(), headers={"Content-Type": JSON, **headers})

    assert answer.status_code == status, answer.text


@pytest.mark.real
@pytest.mark.parametrize("path", [f"{APP}/triggers/", "/docs/", "/livez/"])
async def test_nobody_is_sent_where_a_header_of_his_leads(served: Served, path: str) -> None:
    answer = await served.ask("GET", path, headers={"Host": "evil.example"})

    assert (answer.status_code, answer.headers.get("Location")) == (404, None)


@pytest.mark.real
async def test_what_a_path_takes_is_told_with_the_refusal(served: Served) -> None:
    trigger = await served.ask("PATCH", f"{APP}/triggers/nightly", {})
    docs = await served.ask("POST", "/docs", kind="")

    assert (trigger.status_code, trigger.headers["Allow"]) == (405, "DELETE, GET, PUT")
    assert (docs.status_code, docs.headers["Allow"]) == (405, "GET")


@pytest.mark.real
async def test_thousands_of_unknown_fields_are_one_error(served: Served) -> None:
    wide = {f"f{number}": 0 for number in range(20_000)}

    one = await served.ask("POST", f"{APP}/handlers/send/tasks", wide)
    many = await served.ask("POST", f"{APP}/handlers/send/tasks:batch", {"tasks": [{}, wide, {"x": 1}]})

    assert (one.status_code, one.json().get("errors")) == (400, None)
    assert "64 fields" in one.json()["detail"]
    assert (many.status_code, many.json()["field"], many.json().get("errors")) == (400, "tasks[1]", None)


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

    monkeypatch.setattr("gojob_redis.api.triggers.engine_time", breaks)
    answer = await served.ask("POST", "/v1/schedules/preview", {"schedule": DAILY})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hidden" not in answer.text
