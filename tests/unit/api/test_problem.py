"""How errors of ours are answered and told."""

from collections.abc import Awaitable, Callable
from typing import cast

from fastapi import FastAPI, Request, Response
from structlog.testing import capture_logs

from gojob_redis.api import problem
from gojob_redis.domain.errors import GojobError, Unavailable


async def test_what_goes_beyond_a_quota_is_no_warning() -> None:
    app = FastAPI()
    problem.install(app, [], [], [])
    answer = cast(Callable[[Request, Exception], Awaitable[Response]], app.exception_handlers[GojobError])
    request = Request({"type": "http", "path": "/v1/tasks/x", "headers": [], "state": {}, "server": ("gojob.test", 80)})

    with capture_logs() as lines:
        for code in ("polls_full", "busy"):
            assert (await answer(request, Unavailable("Not now.", 1.0, code=code))).status_code == 503

    assert [line["code"] for line in lines if line["log_level"] == "warning"] == ["busy"]
