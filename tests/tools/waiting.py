"""Waiting for a condition, without a fixed sleep."""

import asyncio
from collections.abc import Callable


async def until(reached: Callable[[], object], seconds: float = 5.0) -> None:
    """Give the other tasks turns until the condition holds; fails after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110  the condition is not an event of ours
            await asyncio.sleep(0.001)
