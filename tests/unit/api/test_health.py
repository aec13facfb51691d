"""Whether a gateway is ready is told to everybody, and costs the engine little."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from gojob_redis.api import health
from gojob_redis.domain import verbs


async def test_many_who_ask_whether_it_is_ready_cost_one_look_at_the_engine() -> None:
    looks: list[Any] = []

    class Space:
        def __iter__(self) -> Iterator[int]:
            return iter(range(16))

        async def call_in(self, partitions: list[int], call: verbs.Call[Any]) -> list[str]:
            looks.append((len(partitions), call.verb))
            await asyncio.sleep(0)
            return ["ok"]

    edge: Any = SimpleNamespace(ready=lambda: "", space=Space(), looked=None, looked_at=0.0)
    answers = await asyncio.gather(*(health.readyz(edge) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {200}
    assert looks == [(16, "now")]

    edge.looked_at -= 1
    await health.readyz(edge)
    assert len(looks) == 2
