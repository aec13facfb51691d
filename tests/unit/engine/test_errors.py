"""errors: what the client raised, and what it means."""

import pytest
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from gojob_redis.domain.errors import BadRequest, Unavailable
from gojob_redis.engine.client import MemoryFull
from gojob_redis.engine.errors import is_away, tell


@pytest.mark.parametrize(
    "error", [BadRequest("x", "y", hint=""), MemoryFull(), ResponseError("ERR"), ValueError("ours")]
)
def test_an_answer_does_not_mean_that_the_engine_is_away(error: Exception) -> None:
    assert not is_away(error)


@pytest.mark.parametrize("error", [Unavailable("no answer", 1), Lost("refused"), TimeoutError()])
def test_no_answer_means_that_the_engine_is_away(error: Exception) -> None:
    assert is_away(error)


def test_a_failure_that_heals_by_itself_is_quiet_while_the_engine_is_away() -> None:
    with capture_logs() as logs:
        tell("session.not_renewed", Unavailable("away", 1), session="s")
        tell("session.not_renewed", ResponseError("ERR"), session="s")

    assert [entry["log_level"] for entry in logs] == ["debug", "info"]
