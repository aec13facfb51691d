"""Which handlers are compared when there are more than an answer may look at: gojob_redis/view/queue_list.py."""

import pytest

from gojob_redis.view.queue_list import fair_share


@pytest.mark.parametrize(
    ("counts", "most", "each"),
    [
        ([], 10, 1),
        ([3, 4], 10, 4),
        ([5, 5], 10, 5),
        ([1, 100], 10, 9),
        ([100, 100, 1], 21, 10),
        ([100, 100, 100], 2, 1),
        ([0, 0, 7], 10, 7),
    ],
)
def test_small_apps_are_read_whole_and_large_ones_share_what_is_left(counts: list[int], most: int, each: int) -> None:
    assert fair_share(counts, most) == each
