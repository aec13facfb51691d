"""Visits of partitions that failed: counted always, told when that changes and once a minute.

A loop visits every partition twice a second. One that is out of reach, or whose memory is full, fails each time for the
same reason for as long as that lasts; a line of the log for each visit would hide everything else. An engine out of
reach is told by ``outage.py``, once for all partitions.
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
        """Take note of a failure; what cannot go on is raised."""
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
        """Tell the end of a trouble, if there was one."""
        self.outage.worked((verb, partition))
        if self._troubles and self._troubles.pop((verb, partition), None) is not None:
            log.info("visit.recovered", verb=verb, partition=partition)
