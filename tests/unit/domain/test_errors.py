"""What a caller is told when something goes wrong."""

import pytest

from gojob_redis.domain.errors import (
    BadRequest,
    BrokenInvariant,
    Conflict,
    GojobError,
    NotFound,
    Refused,
    Unavailable,
)

EVERY_KIND: list[GojobError] = [
    BadRequest("bad_name", "The name is empty.", field="name", hint="Give one.", limit=64),
    NotFound("no_trigger", "There is no such trigger.", hint="Look at the list."),
    Conflict("stale_revision", "Somebody changed it.", hint="Read it again.", field="revision"),
    Refused("bad_token", "The token is not known.", 4401, "Make a new one."),
    Unavailable("Redis did not answer for 15 s.", 2.0),
    BrokenInvariant("run 5 stands in two indexes"),
]


def test_a_problem_names_what_where_why_and_what_to_do() -> None:
    error = BadRequest(
        "too_large", "The params have 300 KiB.", field="params", hint="Store them.", limit=262_144, status=413
    )

    assert error.as_problem() == {
        "type": "urn:gojob:problem:too_large",
        "title": "Too large",
        "status": 413,
        "detail": "The params have 300 KiB.",
        "code": "too_large",
        "field": "params",
        "hint": "Store them.",
        "limit": 262_144,
    }


def test_a_problem_leaves_out_what_it_does_not_have() -> None:
    assert NotFound("no_task", "There is no such task.", hint="Look at the list.").as_problem().keys() == {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "hint",
    }


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_every_error_can_be_told_to_a_caller(error: GojobError) -> None:
    problem = error.as_problem()

    assert problem["code"] == error.code
    assert problem["status"] == error.status
    assert error.hint in str(error)
    assert error.code in repr(error)


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        (EVERY_KIND[0], 400, False),
        (EVERY_KIND[1], 404, False),
        (EVERY_KIND[2], 409, False),
        (EVERY_KIND[3], 403, False),
        (EVERY_KIND[4], 503, True),
        (EVERY_KIND[5], 500, False),
        (BadRequest("queue_full", "The queue is full.", hint="Wait.", status=429), 429, True),
    ],
)
def test_only_what_may_pass_is_worth_repeating(error: GojobError, status: int, retryable: bool) -> None:
    assert (error.status, error.retryable) == (status, retryable)


def test_a_refused_socket_knows_its_close_code() -> None:
    assert Refused("bad_token", "The token is not known.", close_code=4401, hint="Make a new one.").close_code == 4401


def test_an_outage_tells_when_to_come_back() -> None:
    assert Unavailable("Redis did not answer.", retry_after_s=2.5).as_problem()["retry_after_s"] == 2.5


def test_what_is_broken_inside_is_not_told_outside() -> None:
    error = BrokenInvariant("run 5 stands in two indexes")

    assert "two indexes" in str(error)
    assert "two indexes" not in str(error.as_problem())


def test_not_found_and_conflict_are_bad_requests() -> None:
    assert issubclass(NotFound, BadRequest)
    assert issubclass(Conflict, BadRequest)
