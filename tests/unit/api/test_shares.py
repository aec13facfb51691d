"""Requests of one token, or of one address, wait for each other before anybody else waits for them."""

import asyncio
from typing import Any

import pytest

from gojob_redis.api.shares import Shares, paused, room_for_body
from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest


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


async def test_who_waits_for_the_end_of_a_task_takes_no_room_from_other_requests() -> None:
    shares = Shares(at_once=1, waiting=0)
    scope: dict[str, Any] = {"state": {}}
    async with shares.place("a", scope):
        async with paused(scope, away=True), shares.place("a", {"state": {}}):
            pass
        with pytest.raises(BadRequest, match="1 requests"):
            async with shares.place("a", {"state": {}}):
                pass
    assert (shares.asked, dict(shares.away)) == ({}, {})


async def test_only_a_few_large_bodies_of_a_token_are_read_at_the_same_time() -> None:
    shares = Shares()
    end, inside = asyncio.Event(), []

    async def send(whose: str, size: int) -> None:
        scope: dict[str, Any] = {"state": {}}
        async with shares.place(whose, scope), room_for_body(scope, size):
            inside.append((whose, size))
            await end.wait()

    large = limits.LARGE_BODY_BYTES + 1
    sent = [("a", large)] * (limits.LARGE_BODIES + 2) + [("a", large - 1), ("b", large)]
    async with asyncio.TaskGroup() as group:
        for whose, size in sent:
            group.create_task(send(whose, size))
        await settle()
        assert sorted(inside) == sorted([("a", large)] * limits.LARGE_BODIES + [("a", large - 1), ("b", large)])
        end.set()
    assert len(inside) == len(sent)


async def test_a_request_without_a_place_is_not_paused() -> None:
    async with paused({}):
        pass
