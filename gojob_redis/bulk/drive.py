"""The loop that works on jobs: one call in one partition after the other, with a pause behind each."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from gojob_redis.bulk.jobs import Job, Progress, change_job, live_jobs, progress_of, tell
from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.domain.jobs import JobState, Kind, Verb
from gojob_redis.domain.verbs import Call
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.planning.planner import engine_time
from gojob_redis.runtime.failure_log import FailureLog

log = structlog.get_logger()

BULK_S: Final = 1.0
REST: Final = 2.0
"""How many times as long as a call the loop pauses behind it: the engine is the others' meanwhile, and a call that
waited for a busy engine is followed by a long pause."""
REST_MAX_S: Final = 1.0
STANDSTILL_MS: Final = 5_000
"""A job on which the replica that comes first did nothing for this long is anybody's,"""
ADOPTED_MS: Final = 30_000
"""for this long."""


class Bulk:
    """Drives the jobs of all namespaces, each in its turn.

    comes_first: whether this is the replica that drives jobs. One does, so that they take the same share of the engine
    however many replicas there are; the others come when it does nothing.
    """

    def __init__(
        self,
        space: Partitions,
        *,
        comes_first: Callable[[], bool] = lambda: True,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.comes_first = comes_first
        self.failures = failures or FailureLog()
        self.calls = 0
        self._turn = 0
        self._adopted: dict[str, int] = {}
        """Jobs that the replica that comes first left alone, and since when this one drives them."""

    async def run_once(self) -> float | None:
        """One call in each partition that a job has work in; returns 0 when there is more."""
        jobs = await live_jobs(self.space)
        if not jobs:
            return None
        now_ms = await engine_time(self.space[0])
        work: dict[int, list[tuple[Job, Progress]]] = {}
        for job in jobs:
            for progress in await self._settle(job, now_ms):
                work.setdefault(progress.partition, []).append((job, progress))
        waits_ms = []
        for partition, waiting in work.items():
            job, progress = waiting[self._turn % len(waiting)]
            try:
                waits_ms.append(await self.work(job, progress))
            except (Unavailable, EngineError, OSError) as error:
                self.failures.failed("bulk", partition, error)
                waits_ms.append(1_000)
            else:
                self.failures.went_well("bulk", partition)
        self._turn += 1
        return min(waits_ms) / 1000 if waits_ms else None

    async def _settle(self, job: Job, now_ms: int) -> list[Progress]:
        """Tell partitions what they do not know, and close what is over; returns where there is work."""
        progress = await progress_of(self.space, job)
        if not self.comes_first() and not self._is_adopted(job, progress, now_ms):
            return []
        if job.state is not JobState.CANCELED and now_ms - job.made_ms > limits.JOB_MS:
            log.warning("job.too_old", job=job.id)
            await change_job(self.space, job, "cancel", now_ms)
            return []
        await tell(self.space, job, [each.partition for each in progress if each.number("revision") < job.revision])
        left = [each for each in progress if each.state is not JobState.DONE]
        if job.state is JobState.CANCELED or not left:
            await change_job(self.space, job, "close", now_ms)
            log.info("job.over", job=job.id, state=job.state)
        return left if job.state is JobState.RUNNING else []

    def _is_adopted(self, job: Job, progress: Sequence[Progress], now_ms: int) -> bool:
        newest = max([job.made_ms, *(each.number("at") for each in progress)])
        if now_ms - newest >= STANDSTILL_MS:
            self._adopted[job.id] = now_ms
        self._adopted = {name: at for name, at in self._adopted.items() if now_ms - at < ADOPTED_MS}
        return job.id in self._adopted

    async def work(self, job: Job, progress: Progress) -> int:
        """One call, and the pause behind it; returns after how many ms the next can do something."""
        partition = self.space[progress.partition]
        first, total = progress.number("next"), job.units[partition.number]
        most = limits.BATCH_ITEMS if job.order.ids else limits.CALL_HEADS
        key = K.job_units(CONTROL, job.id, str(partition.number))
        [names] = await self.space.read_all([("LRANGE", key, first, first + most - 1)])
        units = [name.decode() for name in names]
        began = time.monotonic()
        reply: Reply = await partition.call(_call(job, units, first, int(first + len(units) >= total)))
        took_s = time.monotonic() - began
        self.calls += 1
        await self.rest(took_s)
        return reply.waits

    async def rest(self, took_s: float) -> None:
        """Leave the engine to the others behind a call that took so long."""
        await asyncio.sleep(min(REST_MAX_S, REST * took_s))


class Reply(Protocol):
    """What the driver reads of a reply."""

    @property
    def waits(self) -> int: ...


def _call(job: Job, units: Sequence[str], first: int, last: int) -> Call[Any]:
    order = job.order
    common: dict[str, Any] = {
        "job": job.id,
        "scope": order.scope,
        "walks": int(not order.ids),
        "conditions": order.filter.written,
        "as_of": order.as_of_ms,
        "first": first,
        "last": last,
        "cpu_us": limits.JOB_CPU_US,
    }
    match order.verb:
        case Verb.CANCEL:
            return verbs.bulk_cancel([*map(verbs.BulkCancelItem, units)], reason=order.reason, **common)
        case Verb.RETRY:
            return verbs.bulk_retry([*map(verbs.BulkRetryItem, units)], **common)
        case Verb.PAUSE | Verb.RESUME:
            paused = int(order.verb is Verb.PAUSE)
            return verbs.bulk_pause([*map(verbs.BulkPauseItem, units)], paused=paused, **common)
        case Verb.RUN:
            return verbs.bulk_run([*map(verbs.BulkRunItem, units)], **common)
        case Verb.DELETE if order.kind is Kind.TASKS:
            items = [*map(verbs.BulkForgetItem, units)]
            return verbs.bulk_forget(items, pinned=int(order.pinned), **common)
        case Verb.DELETE:
            return verbs.bulk_remove([*map(verbs.BulkRemoveItem, units)], **common)
