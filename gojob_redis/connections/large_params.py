"""Parameters that were too large for an inbox: fetched by key, a read's worth in one round trip.

The shards of one task share their parameter, so what was fetched is remembered for a moment, within a bound of bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from gojob_redis import relay
from gojob_redis.domain import limits
from gojob_redis.domain.hints import Assignment
from gojob_redis.engine.partitions import Partition

log = structlog.get_logger()

KEPT_S = 10.0
KEPT_BYTES = 8 * limits.MIB
FETCH_BYTES = 2 * limits.MIB
"""Most bytes asked for in one round trip."""


@dataclass(slots=True)
class Payloads:
    """Completes assignments; ``clock`` is monotonic, in seconds."""

    clock: Callable[[], float]
    fetched: int = 0
    kept_bytes: int = field(default=0, init=False)
    _kept: dict[str, tuple[float, bytes]] = field(default_factory=dict)

    async def complete(self, partition: Partition, assignments: Sequence[Assignment]) -> list[Assignment]:
        """The same assignments with their parameters; one whose parameter is gone (its task was retired) is left out.

        Raises Unavailable when the engine stayed out of reach.
        """
        sizes = {_task(assignment): assignment.fetch for assignment in assignments}
        params = {task: param for task in sizes if (param := self._known(task)) is not None}
        missing = [task for task in sizes if task not in params]
        for tasks in _portions(missing, sizes):
            params |= await self._fetch(partition, tasks)
        return [
            assignment._replace(param=params[task], fetch=0)
            for assignment in assignments
            if (task := _task(assignment)) in params
        ]

    async def _fetch(self, partition: Partition, tasks: Sequence[str]) -> dict[str, bytes]:
        answers = await relay.params(partition, tasks)
        self.fetched += len(tasks)
        params: dict[str, bytes] = {}
        for task, param in zip(tasks, answers, strict=True):
            if param is not None:
                params[task] = param
                self._keep(task, param)
            else:
                log.info("payload.gone", task=task)
        return params

    def _known(self, task: str) -> bytes | None:
        until, param = self._kept.get(task, (0.0, b""))
        return param if until > self.clock() else None

    def _keep(self, task: str, param: bytes) -> None:
        now = self.clock()
        self._forget(task)
        self._kept[task] = now + KEPT_S, param
        self.kept_bytes += len(param)
        # Oldest first: what is over its time, and what is too much.
        for oldest, (until, _) in list(self._kept.items()):
            if until > now and self.kept_bytes <= KEPT_BYTES:
                break
            self._forget(oldest)

    def _forget(self, task: str) -> None:
        _, param = self._kept.pop(task, (0.0, b""))
        self.kept_bytes -= len(param)


def _task(assignment: Assignment) -> str:
    return assignment.run.partition(".")[0]


def _portions(tasks: Sequence[str], sizes: dict[str, int]) -> list[list[str]]:
    """The tasks cut into round trips that ask for a bounded number of bytes."""
    portions: list[list[str]] = []
    room = 0
    for task in tasks:
        if not portions or sizes[task] > room:
            portions.append([])
            room = FETCH_BYTES
        portions[-1].append(task)
        room -= sizes[task]
    return portions
