"""Failed visits of partitions: each one is counted; one is logged when the reason changes, and then once a minute.

A loop visits every partition twice a second. While a partition cannot be reached, or its memory is full, every visit
fails for the same reason, and a log line for each of them would hide everything else. ``outage.py`` logs an engine that
cannot be reached, once for all partitions.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from gojob_redis.domain.errors import BrokenInvariant, GojobError
from gojob_redis.runtime.outage import Outage

log = structlog.get_logger()

AGAIN_S = 60.0


class _Trouble(NamedTuple):
    reason: str
    told_s: float


@dataclass(slots=True)
class FailureLog:
    """What failed, by verb and partition; one for all loops of a role."""

    clock: Callable[[], float] = time.monotonic
    outage: Outage = field(default_factory=Outage)
    counts: Counter[str] = field(default_factory=Counter)
    """By verb, for the metrics."""
    _troubles: dict[tuple[str, int], _Trouble] = field(default_factory=dict)

    def failed(self, verb: str, partition: int, error: Exception) -> None:
        """Count a failure; raises an error that must end the role."""
        if isinstance(error, BrokenInvariant):
            raise error
        self.counts[verb] += 1
        if self.outage.failed((verb, partition), error):
            return
        reason = error.code if isinstance(error, GojobError) else type(error).__name__
        before, now_s = self._troubles.get((verb, partition)), self.clock()
        if before is not None and before.reason == reason and now_s - before.told_s < AGAIN_S:
            return
        self._troubles[verb, partition] = _Trouble(reason, now_s)
        log.warning("visit.failed", verb=verb, partition=partition, reason=reason, error=str(error))

    def went_well(self, verb: str, partition: int) -> None:
        """Log that the partition works again, if it had failed."""
        self.outage.worked((verb, partition))
        if self._troubles and self._troubles.pop((verb, partition), None) is not None:
            log.info("visit.recovered", verb=verb, partition=partition)
