"""What an error of the client means: an answer, or an engine that is out of reach, or an outcome that nobody knows."""

from pathlib import Path
from typing import Any

import redis
import structlog
from redis.exceptions import (
    AskError,
    ClusterDownError,
    DataError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from gojob_redis.domain.errors import GojobError
from gojob_redis.runtime.outage import is_unavailable

log = structlog.get_logger()

EngineError = RedisError
"""What the client raises besides the errors of its socket."""
TROUBLE = (GojobError, EngineError)
"""What a call may end in where somebody else makes it good."""
_REDIS_SOURCES = str(Path(redis.__file__).parent)
# What may leave the client: its own errors, the socket's, and what its cluster code leaks while slots move.
LEAKS = (AttributeError, LookupError, TypeError, ValueError, RuntimeError)
_PASSING = (ReadOnlyError, ClusterDownError, MasterDownError, TryAgainError, AskError)  # MovedError is an AskError
_PASSING_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ")


def is_away(error: Exception) -> bool:
    """Whether an error means that the engine is out of reach, and nothing else."""
    return is_unavailable(error) if isinstance(error, GojobError) else is_unknown_outcome(error)


def tell(event: str, error: Exception, **about: Any) -> None:
    """Log a failure that somebody else makes good; only for whoever debugs while the engine is away, which is told."""
    say = log.debug if is_away(error) else log.info
    say(event, error=str(error), **about)


def is_unknown_outcome(error: BaseException) -> bool:
    """Whether the client cannot say what became of the call, so that it has to be repeated."""
    if isinstance(error, ResponseError):
        return isinstance(error, _PASSING) or str(error).startswith(_PASSING_CODES)
    if isinstance(error, (RedisError, OSError, EOFError)):
        return not isinstance(error, DataError)
    return isinstance(error, LEAKS) and _raised_in_client(error)


def _raised_in_client(error: BaseException) -> bool:
    """A leak counts as the client's only if the client's code raised it; ours must stay visible."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_REDIS_SOURCES)
