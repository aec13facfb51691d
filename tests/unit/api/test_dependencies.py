"""No request goes through a thread: a route or dependency that is not async would cost each one two switches."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from gojob_redis.api import app

ROUTES = [route for module in app.ROUTES for route in module.router.routes if isinstance(route, APIRoute)]


def calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """The route itself and all it depends on."""
    if dependant.call is not None:
        yield dependant.call
    for part in dependant.dependencies:
        yield from calls(part)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{min(route.methods)} {route.path}")
def test_everything_a_request_comes_by_runs_in_the_loop(route: APIRoute) -> None:
    threaded = [
        call
        for call in calls(route.dependant)
        if not inspect.iscoroutinefunction(call) and not inspect.iscoroutinefunction(type(call).__call__)
    ]

    assert threaded == []
