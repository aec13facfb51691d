"""api/known_handlers.py: what is known of handlers is not asked for with each task."""

from typing import Any, cast

import pytest

from gojob_redis.api import known_handlers
from gojob_redis.engine.partitions import Partitions


async def test_many_tasks_of_a_handler_that_nobody_announced_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def facts(_space: Partitions, handler: str) -> Any:
        asked.append(handler)
        return object()

    monkeypatch.setattr("gojob_redis.view.handler_facts", facts)
    handlers = known_handlers.KnownHandlers(cast(Partitions, None))

    for _ in range(1_000):
        await handlers.lately("default/shop/send")

    assert asked == ["default/shop/send"]
