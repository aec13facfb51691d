"""No value in any place of any route is answered with a 5xx: parsers are ASCII, bounded, and say what was wrong."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gojob_redis.engine.client import Client
from tests.tools import nasty
from tests.tools.served import Served, serving

pytestmark = pytest.mark.real


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client, remember_s=60.0) as served:
        yield served


async def test_no_nasty_value_breaks_a_route(served: Served) -> None:
    await served.put_trigger()
    task = await served.submit()
    document = served.app.openapi()

    broken = []
    for request in nasty.requests(document, task=task):
        answer = await served.ask(request.method, request.path, request.body)
        if answer.status_code >= 500:
            broken.append(f"{answer.status_code} {request}")

    assert broken == []


@pytest.mark.parametrize("value", ["1_0", "٣", " 1", "+1", "9" * 20, "1.0", ""])
@pytest.mark.parametrize(
    "where", ["/v1/tasks/{task}/log?shard=", "/v1/tasks/{task}/runs?after=", "/v1/triggers?limit="]
)
async def test_a_number_is_written_in_ascii_digits(served: Served, where: str, value: str) -> None:
    path, _, name = where.replace("{task}", await served.submit()).partition("?")

    refused = await served.ask("GET", path, params={name.rstrip("="): value})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("after", ["18446744073709551616-0", "٣-٣", "1-", "1", "99999999999999999999-1"])
async def test_a_position_that_no_log_has_is_refused(served: Served, after: str) -> None:
    refused = await served.ask("GET", f"/v1/tasks/{await served.submit()}/log", params={"cursor": after})

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")


async def test_errors_are_declared_as_problems(served: Served) -> None:
    document: dict[str, Any] = served.app.openapi()

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            errors = {status: told for status, told in operation["responses"].items() if status[0] in "45"}
            assert all(set(told["content"]) == {"application/problem+json"} for told in errors.values()), (method, path)
            assert path in ("/livez", "/readyz") or {"4XX", "5XX"} <= set(errors), (method, path)
