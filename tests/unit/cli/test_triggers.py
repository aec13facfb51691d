"""What the command line reads of a trigger, and sets again."""

import pytest

from gojob_redis.api.bodies import TriggerBody
from gojob_redis.cli.triggers import SETTABLE, check_whole, settable
from gojob_redis.domain.errors import BadRequest


def test_what_can_be_set_is_what_the_api_takes() -> None:
    assert TriggerBody.model_fields.keys() == SETTABLE


def test_what_stands_in_answers_only_is_not_set_again() -> None:
    told = {"name": "nightly", "uid": "x", "retries": 3, "params": [1], "left_out": {}, "of_a_later_release": 1}

    assert settable(told) == {"retries": 3, "params": [1]}


def test_what_somebody_wrote_is_sent_whole() -> None:
    assert settable({"name": "nightly", "app": "shop", "priorty": 1}) == {"priorty": 1}


def test_a_value_that_was_left_out_is_not_lost_in_silence() -> None:
    told = {"uid": "x", "params": None, "left_out": {"params": 300_000}}

    with pytest.raises(BadRequest, match="gojob triggers show --json"):
        check_whole(told, {})
    check_whole(told, {"params": 1})
