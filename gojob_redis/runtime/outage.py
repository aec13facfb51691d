"""An outage of the engine: told once when it begins and once when it ends, whoever notices it meanwhile.

Loops, visits of partitions and calls fail each for itself, again and again, all for the same reason; a line of the log
for each of them would hide everything else. So they tell it here. An outage lasts until everything that failed has
worked again; how long it lasted is counted up to the first success after the last failure. On a cluster that holds for
the part of it that is away.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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

from gojob_redis.domain.errors import GojobError, Unavailable

log = structlog.get_logger()

FORGET_S = 30.0
"""What has not failed again for so long has nothing to do any more."""


@dataclass(slots=True)
class Outage:
    """Whether the engine is out of reach; one for all roles of a process.

    engine: its address, without a password.
    """

    engine: str = ""
    clock: Callable[[], float] = time.monotonic
    _failed: dict[Hashable, float] = field(default_factory=dict)
    """What failed and has not worked since, and when it did last."""
    _began: float = 0.0
    _better: float | None = None

    def failed(self, source: Hashable, error: Exception) -> bool:
        """Take note of a failure; False when it is not the engine's absence, and has to be told by the caller."""
        if not is_away(error):
            return False
        now = self.clock()
        if not self._failed:
            self._began = now
            log.warning("engine.away", engine=self.engine, error=_said(error))
        self._failed[source] = now
        self._better = None
        return True

    def worked(self, source: Hashable) -> bool:
        """Take note of a success; whether the source had failed because of the outage."""
        if not self._failed:
            return False
        now = self.clock()
        was_away = self._failed.pop(source, None) is not None
        if was_away and self._better is None:
            self._better = now
        self._failed = {each: at for each, at in self._failed.items() if now - at < FORGET_S}
        if not self._failed:
            ended = now if self._better is None else self._better
            log.info("engine.back", engine=self.engine, seconds=round(ended - self._began, 1))
        return was_away


# ---- what an error means ---------------------------------------------------------------------------------------------

_REDIS_SOURCES = str(Path(redis.__file__).parent)
# What may leave the client: its own errors, the socket's, and what its cluster code leaks while slots move.
LEAKS = (AttributeError, LookupError, TypeError, ValueError, RuntimeError)
_PASSING = (ReadOnlyError, ClusterDownError, MasterDownError, TryAgainError, AskError)  # MovedError is an AskError
_PASSING_CODES = ("BUSY ", "MISCONF ", "NOREPLICAS ")


def is_away(error: Exception) -> bool:
    """Whether an error means that the engine is out of reach, and nothing else."""
    if isinstance(error, GojobError):
        return isinstance(error, Unavailable) and error.code == "unavailable"
    return is_unknown_outcome(error)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, GojobError) else f"{type(error).__name__}: {error}"


def tell(event: str, error: Exception, **about: Any) -> None:
    """Log a failure that somebody else makes good; only for whoever debugs while the engine is away, which is told."""
    say = log.debug if is_away(error) else log.info
    say(event, error=str(error), **about)


def address_of(url: str) -> str:
    """Where an engine is, without what lets one in."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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
