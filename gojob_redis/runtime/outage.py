"""An outage of the engine: logged once when it begins and once when it ends, however many parts notice it.

During an outage, loops, visits of partitions and calls all fail again and again for the same reason. A log line for
each failure would hide everything else, so they report to this module. An outage ends when everything that failed has
worked again; its length is measured to the first success after the last failure. On a cluster this holds for the nodes
that are away.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import structlog

from gojob_redis.domain.errors import GojobError, Unavailable

log = structlog.get_logger()

FORGET_S = 30.0
"""A source that has not failed again for this long does not count any more."""


def is_unavailable(error: Exception) -> bool:
    """Whether a call gave the engine up; the engine's own clients know more (``engine/errors.py``)."""
    return isinstance(error, Unavailable) and error.code == "unavailable"


@dataclass(slots=True)
class Outage:
    """Whether the engine is out of reach; one for all roles of a process.

    engine: its address, without a password.
    is_away: whether an error means that the engine is out of reach, and nothing else.
    """

    engine: str = ""
    clock: Callable[[], float] = time.monotonic
    is_away: Callable[[Exception], bool] = is_unavailable
    _failed: dict[Hashable, float] = field(default_factory=dict)
    """What failed and has not worked since, and when it did last."""
    _began: float = 0.0
    _better: float | None = None

    def failed(self, source: Hashable, error: Exception) -> bool:
        """Take note of a failure; False when it is not the engine's absence, and has to be told by the caller."""
        if not self.is_away(error):
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


def _said(error: Exception) -> str:
    return error.message if isinstance(error, GojobError) else f"{type(error).__name__}: {error}"
