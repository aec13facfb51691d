"""gojob_redis/connections/large_params.py: large parameters are fetched by key, together, and kept."""

from typing import cast

from gojob_redis.connections.large_params import FETCH_BYTES, KEPT_BYTES, KEPT_S, Payloads
from gojob_redis.domain.hints import Assignment
from gojob_redis.engine.partitions import Partition


class Reads:
    """Stands for a partition: answers GET, and counts round trips."""

    prefix = "{p}:"

    def __init__(self, **params: bytes) -> None:
        self.params = {f"{{p}}:param:{task}": param for task, param in params.items()}
        self.round_trips: list[int] = []

    async def read(self, commands: list[tuple[str, str]]) -> list[bytes | None]:
        self.round_trips.append(len(commands))
        return [self.params.get(name) for _, name in commands]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def wanting(run: str, size: int) -> Assignment:
    return Assignment("s1", 1, run, 1, "5-a", "default/shop/send", 1, 0, 0, 0, False, "", 1, "", size, b"", b"")


async def test_parameters_are_fetched_once_for_all_shards_and_remembered_for_a_moment() -> None:
    clock, reads = Clock(), Reads(a=b"A", b=b"B")
    payloads = Payloads(clock)

    complete = await payloads.complete(cast(Partition, reads), [wanting("a.0", 1), wanting("a.1", 1), wanting("b", 1)])

    assert [(one.run, one.param, one.fetch) for one in complete] == [("a.0", b"A", 0), ("a.1", b"A", 0), ("b", b"B", 0)]
    assert reads.round_trips == [2]
    await payloads.complete(cast(Partition, reads), [wanting("a.2", 1)])
    assert reads.round_trips == [2]
    clock.now += KEPT_S
    await payloads.complete(cast(Partition, reads), [wanting("a.3", 1)])
    assert reads.round_trips == [2, 1]


async def test_an_assignment_whose_parameter_is_gone_is_left_out() -> None:
    reads, payloads = Reads(a=b"A"), Payloads(Clock())

    complete = await payloads.complete(cast(Partition, reads), [wanting("gone", 1), wanting("a", 1)])

    assert [one.run for one in complete] == ["a"]


async def test_a_round_trip_asks_for_a_bounded_number_of_bytes() -> None:
    tasks = [f"t{number}" for number in range(5)]
    reads = Reads(**dict.fromkeys(tasks, b"x"))
    payloads = Payloads(Clock())

    await payloads.complete(cast(Partition, reads), [wanting(task, FETCH_BYTES // 2) for task in tasks])

    assert reads.round_trips == [2, 2, 1]


async def test_what_is_remembered_is_bounded() -> None:
    half = bytes(KEPT_BYTES // 2)
    reads = Reads(a=half, b=half, c=half)
    payloads = Payloads(Clock())
    for task in "abc":
        await payloads.complete(cast(Partition, reads), [wanting(task, len(half))])

    await payloads.complete(cast(Partition, reads), [wanting("c", 1), wanting("b", 1), wanting("a", 1)])

    assert reads.round_trips == [1, 1, 1, 1]
    assert payloads.kept_bytes <= KEPT_BYTES
