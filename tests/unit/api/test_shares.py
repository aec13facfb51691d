"""Requests of one token, or of one address, wait for each other before anybody else waits for them."""

import asyncio
from typing import Any

import pytest

from gojob_redis.api.shares import Shares, paused
from gojob_redis.errors import BadRequest


class Asking:
    """A request that has its place until it is told to end."""

    def __init__(self, shares: Shares, whose: str) -> None:
        self.scope: dict[str, Any] = {"state": {}}
        self.inside = asyncio.Event()
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._ask(shares, whose))

    async def _ask(self, shares: Shares, whose: str) -> None:
        async with shares.place(whose, self.scope):
            self.inside.set()
            await self.end.wait()


async def settle() -> None:
    """Let everybody come as far as he can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_request_waits_for_those_of_its_own_token_only() -> None:
    shares = Shares(at_once=2)
    mine = [Asking(shares, "a") for _ in range(3)]
    other = Asking(shares, "b")
    await settle()

    assert [each.inside.is_set() for each in (*mine, other)] == [True, True, False, True]

    mine[0].end.set()
    await settle()

    assert mine[2].inside.is_set()
    for each in (*mine, other):
        each.end.set()
        await each.task
    assert shares.asked == {}


async def test_more_requests_than_may_wait_are_refused() -> None:
    shares = Shares(at_once=1, waiting=1)
    asking = [Asking(shares, "a") for _ in range(2)]
    await settle()

    with pytest.raises(BadRequest, match="2 requests") as refused:
        async with shares.place("a", {"state": {}}):
            pass

    assert (refused.value.code, refused.value.status, refused.value.retryable) == ("too_many_requests", 429, True)
    for each in asking:
        each.end.set()
        await each.task
    async with shares.place("a", {"state": {}}):
        pass


async def test_a_paused_request_leaves_its_place_to_the_next_and_waits_for_one_afterwards() -> None:
    shares = Shares(at_once=1)
    scope: dict[str, Any] = {"state": {}}
    async with shares.place("a", scope):
        async with paused(scope):
            next_one = Asking(shares, "a")
            await next_one.inside.wait()
            next_one.end.set()
        assert next_one.task.done()
        late = Asking(shares, "a")
        await settle()
        assert not late.inside.is_set()
    await late.inside.wait()
    late.end.set()
    await late.task


async def test_a_request_that_is_given_up_while_it_waits_takes_no_place_with_it() -> None:
    shares = Shares(at_once=1)
    first, second = Asking(shares, "a"), Asking(shares, "a")
    await settle()

    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    first.end.set()
    await first.task

    assert shares.asked == {}
    async with asyncio.timeout(1), shares.place("a", {"state": {}}):
        assert shares.asked == {"a": 1}


async def test_a_request_without_a_place_is_not_paused() -> None:
    async with paused({}):
        pass
