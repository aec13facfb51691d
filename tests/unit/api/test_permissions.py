"""Every route says what it needs, and nobody else gets in."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from gojob_redis.api.app import ROUTES
from gojob_redis.control import identities, namespaces, tokens
from gojob_redis.control.identities import PERMISSIONS, Permission
from gojob_redis.engine.client import Client
from gojob_redis.ops.documents import permissions_of
from tests.tools.served import Served, serving

pytestmark = pytest.mark.real

OPEN = {"/livez", "/readyz"}


def routes() -> Iterator[tuple[str, str, APIRoute]]:
    """Method, path and route of everything that the API answers."""
    for module in ROUTES:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                yield method, route.path, route


GUARDED = [(method, path, permissions_of(route.dependant)) for method, path, route in routes() if path not in OPEN]


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


def test_every_route_but_the_health_checks_declares_one_permission() -> None:
    assert {path for _, path, _ in routes()} >= OPEN
    assert len(GUARDED) > 25
    assert [(method, path) for method, path, permissions in GUARDED if len(permissions) != 1] == []


def test_routes_that_change_something_need_more_than_seeing() -> None:
    harmless = {"/v1/schedules/preview"}
    weak = [
        path
        for method, path, [permission] in GUARDED
        if method != "GET" and permission == "see" and path not in harmless
    ]
    assert weak == []


async def filled(served: Served, path: str) -> str:
    """The path of something that exists, or nearly."""
    task = await served.submit()
    values = {"namespace": "default", "app": "shop", "handler": "send", "name": "nightly", "task": task, "key_id": "x"}
    values |= {"field": "params", "job": "j00000000000000000", "session": await served.enlist("other")}
    return path.format(**values)


@pytest.mark.parametrize(("method", "path", "permissions"), GUARDED)
async def test_a_route_lets_in_who_holds_its_permission(
    served: Served, method: str, path: str, permissions: list[Permission]
) -> None:
    url = await filled(served, path)
    body: Any = {} if method in ("POST", "PUT") else None
    before = await served.dump()

    for kind in identities.PERMISSIONS:
        answer = await served.ask(method, url, body, kind=kind)
        allowed = permissions[0] in PERMISSIONS[kind]
        assert (answer.status_code == 403) == (not allowed), (kind, answer.text)
        if not allowed:
            assert answer.json()["code"] == "forbidden"
            assert await served.dump() == before
        before = await served.dump()

    assert (await served.ask(method, url, body, kind="")).status_code == 401
    assert await served.dump() == before


async def test_a_token_of_one_namespace_does_not_reach_into_another(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    await served.put_trigger()
    task = await served.submit()
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    before = await served.dump()

    for method, path, [permission] in GUARDED:
        if "{namespace}" not in path or permission == "admin":
            continue
        own = {"namespace": "default", "app": "shop", "handler": "send", "name": "nightly", "session": "s"}
        url = path.format(**own, task=task, field="params")
        answer = await served.ask(method, url, {} if method in ("POST", "PUT") else None, kind="lab")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), url

    assert await served.dump() == before


async def test_a_task_of_another_namespace_is_as_unknown_as_one_that_never_was(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    task = await served.submit()
    served.tokens["lab"] = (await tokens.create_token(served.space, "api", scope=["lab"])).token
    never = task[:-4] + "0000"

    for method, suffix in (("GET", ""), ("GET", "/runs"), ("GET", "/log"), ("POST", "/cancel"), ("POST", "/retry")):
        hidden = await served.ask(method, f"/v1/tasks/{task}{suffix}", kind="lab")
        missing = await served.ask(method, f"/v1/tasks/{never}{suffix}", kind="lab")
        assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown_task")
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown_task")
        assert hidden.json()["detail"].replace(task, never) == missing.json()["detail"]
        assert hidden.json()["hint"] == missing.json()["hint"]

    assert (await served.get(f"/v1/tasks/{task}"))["state"] == "created"


async def test_a_token_of_one_app_sees_its_namespace_and_its_app_only(served: Served) -> None:
    await namespaces.put_namespace(served.space, "lab")
    served.tokens["shop"] = (await tokens.create_token(served.space, "api", scope=["default/shop"])).token

    assert (await served.ask("GET", "/v1/workers?app=shop", kind="shop")).status_code == 200
    assert (await served.ask("GET", "/v1/workers?app=other", kind="shop")).status_code == 403
    names = [each["name"] for each in (await served.ask("GET", "/v1/namespaces", kind="shop")).json()["items"]]
    assert names == ["default"]
    assert (await served.ask("GET", "/v1/namespaces/lab", kind="shop")).status_code == 403


async def test_documentation_and_health_need_no_token(served: Served) -> None:
    for path in ("/livez", "/readyz", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
        assert (await served.ask("GET", path, kind="")).status_code == 200, path


async def test_the_documentation_names_every_route(served: Served) -> None:
    documented = (await served.ask("GET", "/openapi.json", kind="")).json()["paths"]

    assert {path for _, path, _ in routes()} <= documented.keys()
    assert "https://" not in (await served.ask("GET", "/docs", kind="")).text
