"""What a worker is told waits for the level of its namespace; what it is given does not."""

import asyncio
import json
from typing import Any

import pytest

from gojob_redis.control.namespaces import Levels
from gojob_redis.domain import limits
from gojob_redis.engine.durability import Level
from gojob_redis.engine.keys import CONTROL, K
from tests.edge.conftest import Edge


async def demand(edge: Edge, level: Level) -> None:
    """Set the level of the namespace past its check: this engine has no replica, so it confirms nothing."""
    client: Any = edge.space.clients.commands
    record = {"description": "", "made_ms": 1, "durability": level.value}
    await client.hset(K.namespaces(CONTROL), "default", json.dumps(record))


async def test_a_report_is_acknowledged_only_when_its_level_is_reached(edge: Edge) -> None:
    gateway = await edge.gateway()
    gateway.batchers.levels = Levels(edge.space, remember_s=0)
    await demand(edge, Level.REPLICATED)
    worker = await edge.worker()
    [run] = await edge.submit()
    [assignment] = await worker.tasks()

    await worker.report(assignment)
    await edge.until(lambda: _is(edge, run, "run_to_completion"))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await worker.words()
    await demand(edge, Level.FAST)
    assert await worker.words() in (["accepted"], ["duplicate"])


async def test_what_takes_a_seat_does_not_wait_for_the_level_of_the_report_that_gave_it_back(edge: Edge) -> None:
    await edge.gateway()
    await demand(edge, Level.REPLICATED)
    worker = await edge.worker(capacity=1)
    await edge.submit(2)
    [first] = await worker.tasks()

    async with asyncio.timeout(limits.CONFIRM_MS / 1000 / 2):
        await worker.report(first)
        [second] = await worker.tasks()

    assert second["run"] != first["run"]


async def test_a_confirmed_start_waits_for_its_level_and_others_do_not(edge: Edge) -> None:
    gateway = await edge.gateway()
    await demand(edge, Level.REPLICATED)
    worker = await edge.worker()
    await edge.submit()
    await edge.submit(on_lost="fault")
    plain, confirmed = sorted(
        [one for frame in range(2) for one in await worker.tasks()], key=lambda one: bool(one["confirm"])
    )

    await worker.send("start", runs=[{name: plain[name] for name in ("run", "attempt", "fence")}])
    await edge.until(lambda: _is(edge, plain["run"], "running"))
    await worker.send("start", runs=[{name: confirmed[name] for name in ("run", "attempt", "fence")}])
    await edge.until(lambda: _is(edge, confirmed["run"], "running"))

    assert gateway.batchers.start(gateway.space[0]).calls == 1
    assert gateway.batchers.start(gateway.space[0], Level.REPLICATED).calls >= 1
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await worker.words()
    await worker.report(plain, confirmed)
    await edge.until(lambda: _is(edge, confirmed["run"], "run_to_completion"))


async def _is(edge: Edge, run: str, state: str) -> bool:
    return (await edge.task(run)).get("state") == state
