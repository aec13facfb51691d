"""batch: what rides together, who gets which result, and what happens when a call fails."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from gojob_redis.connections.batcher import Batcher
from gojob_redis.domain.errors import BrokenInvariant, Unavailable
from gojob_redis.engine.scripts import ScriptFailed
from tests.tools.waiting import until


class Redis:
    """Records the batches; each call waits until the test lets it go."""

    def __init__(self, answer: Callable[[list[str]], Sequence[str]] | None = None, *, open_: bool = True) -> None:
        self.batches: list[list[str]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()
        self.answer = answer or (lambda batch: [item.upper() for item in batch])
        if open_:
            self.gate.set()

    async def call(self, batch: list[str]) -> Sequence[str]:
        self.batches.append(batch)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.gate.wait()
            return self.answer(batch)
        finally:
            self.in_flight -= 1


def batcher(redis: Redis, **bounds: int) -> Batcher[str, str]:
    return Batcher(redis.call, "try", **bounds)


async def test_an_item_alone_is_sent_at_once() -> None:
    redis = Redis()

    assert await batcher(redis).put("a", tenant="x", size=1) == "A"
    assert redis.batches == [["a"]]


async def test_what_is_put_in_one_turn_rides_together() -> None:
    redis = Redis()
    batch = batcher(redis)

    results = await asyncio.gather(*(batch.put(c, tenant="x", size=1) for c in "abc"))

    assert results == ["A", "B", "C"]
    assert redis.batches == [["a", "b", "c"]]


async def test_what_arrives_during_a_call_rides_in_the_next() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batch.put("a", tenant="x", size=1))]
        await until(lambda: redis.batches)
        tasks += [group.create_task(batch.put(c, tenant="x", size=1)) for c in "bcd"]
        await until(lambda: batch.queued == 3)
        redis.gate.set()

    assert redis.batches == [["a"], ["b", "c", "d"]]
    assert redis.most_in_flight == 1
    assert [task.result() for task in tasks] == ["A", "B", "C", "D"]


async def test_a_call_carries_at_most_its_number_of_items() -> None:
    redis = Redis()
    items = [f"i{i}" for i in range(250)]

    results = await batcher(redis).put_many(items, tenant="x", sizes=[1] * 250)

    assert results == [item.upper() for item in items]
    assert [len(batch) for batch in redis.batches] == [100, 100, 50]


async def test_a_call_carries_at_most_its_bytes_and_a_giant_travels_alone() -> None:
    redis = Redis()

    await batcher(redis, max_bytes=10).put_many(list("abcde"), tenant="x", sizes=[4, 4, 4, 99, 1])

    assert redis.batches == [["a", "b"], ["c"], ["d"], ["e"]]


async def test_a_giant_of_one_lane_waits_for_the_next_call_and_is_not_passed_over_twice() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis, max_bytes=10)

    async with asyncio.TaskGroup() as group:
        group.create_task(batch.put("first", tenant="x", size=1))
        await until(lambda: redis.batches)
        group.create_task(batch.put_many(list("abc"), tenant="small", sizes=[1] * 3))
        group.create_task(batch.put("giant", tenant="big", size=99))
        group.create_task(batch.put_many(list("defghijklmno"), tenant="small", sizes=[1] * 12))
        await until(lambda: batch.queued == 16)
        redis.gate.set()

    assert redis.batches[2] == ["giant"]


async def test_a_storm_in_one_lane_does_not_delay_another() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis)

    async with asyncio.TaskGroup() as group:
        group.create_task(batch.put("first", tenant="storm", size=1))
        await until(lambda: redis.batches)
        group.create_task(batch.put_many(["s"] * 1000, tenant="storm", sizes=[1] * 1000))
        group.create_task(batch.put_many(["calm"] * 10, tenant="calm", sizes=[1] * 10))
        group.create_task(batch.put_many(["mild"] * 70, tenant="mild", sizes=[1] * 70))
        await until(lambda: batch.queued == 1080)
        redis.gate.set()

    second, third = redis.batches[1], redis.batches[2]
    assert (second.count("s"), second.count("calm"), second.count("mild")) == (45, 10, 45)
    assert (third.count("s"), third.count("mild")) == (75, 25)
    assert len(redis.batches) == 1 + 11


async def test_more_lanes_than_places_take_turns() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis, max_items=3)

    async with asyncio.TaskGroup() as group:
        group.create_task(batch.put("first", tenant="x", size=1))
        await until(lambda: redis.batches)
        for tenant in "abcde":
            group.create_task(batch.put_many([tenant, tenant], tenant=tenant, sizes=[1, 1]))
        await until(lambda: batch.queued == 10)
        redis.gate.set()

    assert redis.batches[1:] == [["a", "b", "c"], ["d", "e", "a"], ["b", "c", "d"], ["e"]]


async def test_an_item_that_breaks_the_script_fails_alone() -> None:
    def answer(batch: list[str]) -> list[str]:
        if "bad" in batch:
            raise ScriptFailed("broke")
        return [item.upper() for item in batch]

    redis = Redis(answer)
    batch = batcher(redis)
    many = ["a", "b", "bad", "c", "d"]

    results = await batch.put_many(many, tenant="x", sizes=[1] * 5)
    assert [r if isinstance(r, str) else type(r) for r in results] == ["A", "B", ScriptFailed, "C", "D"]

    with pytest.raises(ScriptFailed):
        await batch.put("bad", tenant="x", size=1)


async def test_an_outage_fails_the_whole_call_and_the_next_one_goes_on() -> None:
    outages = [True, False]

    def answer(batch: list[str]) -> list[str]:
        if outages.pop(0):
            raise Unavailable("gone", 1)
        return [item.upper() for item in batch]

    batch = batcher(Redis(answer))

    failed = await asyncio.gather(*(batch.put(c, tenant="x", size=1) for c in "ab"), return_exceptions=True)
    assert [type(error) for error in failed] == [Unavailable, Unavailable]
    assert await batch.put("c", tenant="x", size=1) == "C"


async def test_an_outage_in_one_call_of_a_group_fails_the_group() -> None:
    outages = [False, True, False]

    def answer(batch: list[str]) -> list[str]:
        if outages.pop(0):
            raise Unavailable("gone", 1)
        return batch

    batch = batcher(Redis(answer))

    with pytest.raises(Unavailable):
        await batch.put_many(["a"] * 250, tenant="x", sizes=[1] * 250)
    await batch.close()
    assert batch.queued == 0


async def test_a_full_queue_refuses_new_items() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis, queue_items=5, queue_bytes=100)

    async with asyncio.TaskGroup() as group:
        group.create_task(batch.put_many(list("abcd"), tenant="x", sizes=[10] * 4))
        await until(lambda: redis.batches)
        group.create_task(batch.put_many(list("abcd"), tenant="x", sizes=[10] * 4))
        await until(lambda: batch.queued)
        with pytest.raises(Unavailable, match="busy: 4 items wait"):
            await batch.put_many(["e", "f"], tenant="y", sizes=[1, 1])
        with pytest.raises(Unavailable, match="busy"):
            await batch.put("e", tenant="y", size=61)
        redis.gate.set()


async def test_an_accepted_item_is_sent_though_its_caller_left() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis)

    async with asyncio.TaskGroup() as group:
        group.create_task(batch.put("a", tenant="x", size=1))
        await until(lambda: redis.batches)
        leaver = group.create_task(batch.put("report", tenant="x", size=1))
        await until(lambda: batch.queued)
        leaver.cancel()
        redis.gate.set()
    await batch.close()

    assert redis.batches == [["a"], ["report"]]


async def test_closing_sends_what_was_accepted_and_refuses_the_rest() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(batch.put_many(["a"] * 150, tenant="x", sizes=[1] * 150))
        await until(lambda: redis.batches)
        closing = group.create_task(batch.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="closing"):
            await batch.put("late", tenant="x", size=1)
        redis.gate.set()

    assert closing.done()
    assert len(waiting.result()) == 150


async def test_too_few_results_are_our_bug_and_reach_the_caller() -> None:
    batch = batcher(Redis(lambda batch: batch[1:]))

    with pytest.raises(BrokenInvariant, match="gave 1 results for 2 items"):
        await batch.put_many(["a", "b"], tenant="x", sizes=[1, 1])


async def test_an_unforeseen_error_leaves_nobody_waiting() -> None:
    def answer(batch: list[str]) -> list[str]:
        raise ZeroDivisionError

    redis = Redis(answer, open_=False)
    batch = batcher(redis)
    first = asyncio.ensure_future(batch.put("a", tenant="x", size=1))
    await until(lambda: redis.batches)
    second = asyncio.ensure_future(batch.put("b", tenant="x", size=1))
    await until(lambda: batch.queued)

    redis.gate.set()
    failed = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(error) for error in failed] == [ZeroDivisionError, ZeroDivisionError]
    assert batch.queued == 0
    redis.answer = list
    assert await batch.put("c", tenant="x", size=1) == "c"


async def test_the_stop_of_the_process_leaves_nobody_waiting() -> None:
    redis = Redis(open_=False)
    batch = batcher(redis)
    waiting = asyncio.ensure_future(batch.put("a", tenant="x", size=1))
    await until(lambda: redis.batches)

    for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
        task.cancel()

    with pytest.raises(Unavailable, match="try was stopped"):
        await waiting


async def test_a_caller_may_put_again_in_the_turn_in_which_it_got_its_result() -> None:
    batch = batcher(Redis())

    for item in "abc":
        assert await batch.put(item, tenant="x", size=1) == item.upper()


# ---- more than one call under way ------------------------------------------------------------------------------------


class Slow:
    """Every call waits for its own answer."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], asyncio.Future[None]]] = []

    async def call(self, batch: list[str]) -> Sequence[str]:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls.append((batch, answered))
        await answered
        return [item.upper() for item in batch]

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch, _ in self.calls]

    def answer(self, number: int, error: Exception | None = None) -> None:
        answered = self.calls[number][1]
        if error is None:
            answered.set_result(None)
        else:
            answered.set_exception(error)


def in_flights(slow: Slow, **bounds: int) -> Batcher[str, str]:
    return Batcher(slow.call, "try", **({"flights": 2, "max_items": 3} | bounds))


async def settled_turns() -> None:
    """Let everything that can happen now happen."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_further_call_is_sent_only_when_it_is_full() -> None:
    slow = Slow()
    batch = in_flights(slow)
    first = asyncio.ensure_future(batch.put("a", tenant="x", size=1))
    await settled_turns()
    few = asyncio.ensure_future(batch.put_many(list("bc"), tenant="x", sizes=[1] * 2))
    await settled_turns()
    assert slow.sizes == [1]

    many = asyncio.ensure_future(batch.put_many(list("defgh"), tenant="x", sizes=[1] * 5))
    await settled_turns()
    assert slow.sizes == [1, 3]  # and no third one, though it would be full

    slow.answer(1)
    await settled_turns()
    assert slow.sizes == [1, 3, 3]
    slow.answer(2)
    await settled_turns()
    assert slow.sizes == [1, 3, 3]  # one item waits: beside another call it may not fly alone
    slow.answer(0)
    await settled_turns()
    assert slow.sizes == [1, 3, 3, 1]
    slow.answer(3)
    assert [await first, await few, await many] == ["A", ["B", "C"], list("DEFGH")]


async def test_a_further_call_is_full_by_bytes_too() -> None:
    slow = Slow()
    batch = in_flights(slow, max_bytes=10)
    puts = [asyncio.ensure_future(batch.put(item, tenant="x", size=10)) for item in "ab"]

    await settled_turns()

    assert slow.sizes == [1, 1]
    for number in range(2):
        slow.answer(number)
    assert await asyncio.gather(*puts) == ["A", "B"]


async def test_results_find_their_items_whichever_call_is_answered_first() -> None:
    slow = Slow()
    batch = in_flights(slow)
    many = asyncio.ensure_future(batch.put_many(list("abcdefgh"), tenant="x", sizes=[1] * 8))
    await settled_turns()

    slow.answer(1)
    await settled_turns()
    slow.answer(0)
    await settled_turns()
    slow.answer(2)

    assert await many == list("ABCDEFGH")
    assert slow.sizes == [3, 3, 2]
    assert batch.queued == 0


async def test_a_call_that_fails_leaves_the_one_beside_it_alone() -> None:
    slow = Slow()
    batch = in_flights(slow)
    failing = asyncio.ensure_future(batch.put_many(list("abc"), tenant="x", sizes=[1] * 3))
    await settled_turns()
    other = asyncio.ensure_future(batch.put_many(list("defg"), tenant="x", sizes=[1] * 4))
    await settled_turns()

    slow.answer(0, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await failing
    slow.answer(1)
    await settled_turns()
    slow.answer(2)

    assert await other == list("DEFG")


async def test_closing_waits_for_every_call_under_way() -> None:
    slow = Slow()
    batch = in_flights(slow)
    many = asyncio.ensure_future(batch.put_many(list("abcdef"), tenant="x", sizes=[1] * 6))
    await settled_turns()
    closing = asyncio.ensure_future(batch.close())

    slow.answer(0)
    await settled_turns()
    assert not closing.done()
    slow.answer(1)

    await closing
    assert await many == list("ABCDEF")
