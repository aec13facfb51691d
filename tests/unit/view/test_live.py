"""view/live.py: positions as text, and how they are taken."""

from typing import cast

import pytest

from gojob_redis.domain import verbs
from gojob_redis.domain.errors import BadRequest
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view import live
from gojob_redis.view.logs import Place, marked


@pytest.mark.parametrize(
    "position",
    [{0: 7, 1: 7, 2: 7, 3: 7}, {2: 7}, {0: 5, 1: 6, 2: 5, 3: 7}, {0: 1_800_000_000_000, 3: 1_800_000_000_000}],
)
def test_a_position_is_read_as_it_was_written(position: dict[int, int]) -> None:
    assert live.parse(live.written(position, 4), 4) == position


def test_one_moment_of_all_partitions_is_one_number() -> None:
    assert live.written(dict.fromkeys(range(64), 1_800_000_000_000), 64) == "mywpiww0"


@pytest.mark.parametrize(
    "text", ["", "x y", "A", "1.4", "1.zz", "1_", "_", "1..2", "1" * 10, "1_" * 600 + "1", "é", "１"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        live.parse(text, 4)

    assert (refused.value.code, refused.value.field) == ("bad_position", "from")


def test_places_in_logs_follow_the_moments() -> None:
    places = {"01sabc": Place(3, 4), "01sabc.7": Place(0, 0)}

    assert live.parse_all(marked("abc", places), 2) == ({0: 13368, 1: 13368}, places)
    assert live.parse_all(marked("", places), 2) == ({}, places)
    assert live.parse_all("", 2) == ({}, {})


@pytest.mark.parametrize("text", ["~", "~x", "x~", "~x:1", "~x.y:1.1", "~X:1.1", "~x:1.1 ", "~x:１.1", "~~x:1.1"])
def test_what_is_no_place_in_a_log_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        live.parse_all(text, 4)

    assert refused.value.code == "bad_position"


class Space:
    """Four partitions whose clock moves with each question."""

    count = 4

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __getitem__(self, number: int) -> int:
        return number

    async def call_in(self, partitions: list[int], _call: object) -> list[verbs.WatchReply]:
        self.asked.append(list(partitions))
        return [verbs.WatchReply("gap", 1_000 + len(self.asked), 0, []) for _ in partitions]


async def test_a_position_that_was_just_taken_is_good_for_the_next_list(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space()
    positions = live.Positions(cast(Partitions, space))

    assert live.parse(await positions.of([1]), 4) == {1: 1_001}
    assert live.parse(await positions.of([1]), 4) == {1: 1_001}
    assert live.parse(await positions.everywhere(), 4) == {0: 1_002, 1: 1_001, 2: 1_002, 3: 1_002}
    assert space.asked == [[1], [0, 2, 3]]

    monkeypatch.setattr(live, "FRESH_S", 0.0)
    assert live.parse(await positions.of([1]), 4) == {1: 1_003}


async def test_a_list_of_no_partition_has_no_position() -> None:
    assert await live.Positions(cast(Partitions, Space())).of([]) == ""
