"""What the command line reads of a trigger, and sets again."""

import pytest

from gojob_redis.commands.triggers import _whole
from gojob_redis.errors import BadRequest


def test_what_stands_in_answers_only_is_not_set_again() -> None:
    told = {"name": "nightly", "uid": "x", "retries": 3, "params": [1], "left_out": {}}

    assert _whole(told, {}) == {"retries": 3, "params": [1]}


def test_a_value_that_was_left_out_is_not_lost_in_silence() -> None:
    told = {"params": None, "left_out": {"params": 300_000}}

    with pytest.raises(BadRequest, match="too large to be shown"):
        _whole(told, {})
    assert _whole(told, {"params": 1}) == {"params": None}
