"""Workers over HTTP: drained, let go on and disconnected by whoever operates their app."""

from collections.abc import AsyncIterator

import pytest

from gojob_redis.engine.client import Client
from tests.tools.served import APP, Served, serving


@pytest.fixture
async def served(client: Client) -> AsyncIterator[Served]:
    async with serving(client) as served:
        yield served


async def state(served: Served, task: str) -> str:
    return str((await served.get(f"/v1/tasks/{task}"))["state"])


async def test_a_drained_worker_takes_nothing_until_it_is_resumed(served: Served) -> None:
    session = await served.enlist("send")

    drained = await served.post(f"{APP}/workers/{session}:drain")

    assert (drained["session"], drained["state"]) == (session, "drained")
    assert drained["drained_ms"] > 0
    task = await served.submit()
    why = (await served.get(f"/v1/tasks/{task}"))["waiting_for"]
    assert "drained" in why
    assert (await served.post(f"{APP}/workers/{session}:resume"))["state"] == ""
    assert await state(served, task) == "waiting_to_run"


async def test_a_disconnected_worker_is_gone_and_its_work_waits(served: Served) -> None:
    session = await served.enlist("send")
    task = await served.submit()

    answer = await served.ask("POST", f"{APP}/workers/{session}:disconnect")

    assert answer.status_code == 204
    assert (await served.get(f"{APP}/workers"))["items"] == []
    assert await state(served, task) == "created"


@pytest.mark.parametrize("verb", ["drain", "resume", "disconnect"])
async def test_a_session_of_another_app_or_of_nobody_is_unknown(served: Served, verb: str) -> None:
    session = await served.enlist("send", app="default/other")
    before = await served.dump()

    for name in (session, "nobody"):
        answer = await served.ask("POST", f"{APP}/workers/{name}:{verb}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_worker")

    assert await served.dump() == before
