"""The runs of a task as columns: one number each instead of an object per run, for a picture of thousands of shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of
from gojob_redis.domain.states import TERMINAL, State
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.ran_on import RanOn, ran_on
from gojob_redis.view.records import Fields, clock_of, fields_of, number, some, text
from gojob_redis.view.tasks import partition_of, unknown_task
from gojob_redis.view.why import lane_facts

TOGETHER = limits.PAGE_ITEMS
"""So many records a round trip: others get the engine, and this process, in between."""
FACTS = ("state", "attempt", "tries", "started", "ended", "worker", "session")


@dataclass(frozen=True, slots=True)
class RunWorker:
    """A worker that had some of the runs last."""

    name: str
    ran_on: RanOn | None
    """None: it is not known any more."""


@dataclass(frozen=True, slots=True)
class RunColumns:
    """The runs of a task in the order of their shards; all lists are as long as there are shards."""

    id: str
    base_ms: int
    """When the task was made; the times are counted from here."""
    states: list[State]
    """What the numbers in ``state`` stand for; -1 is a state that only a later release knows."""
    workers: list[RunWorker]
    """What the numbers in ``worker`` stand for."""
    state: list[int] = field(default_factory=list)
    attempt: list[int] = field(default_factory=list)
    """Bindings so far."""
    failures: list[int] = field(default_factory=list)
    """Counted against the retries."""
    worker: list[int] = field(default_factory=list)
    """-1 = none."""
    started_ms: list[int | None] = field(default_factory=list)
    """Since ``base_ms``."""
    ended_ms: list[int | None] = field(default_factory=list)
    """Since ``base_ms``."""


async def run_columns(space: Partitions, task_id: str) -> RunColumns:
    """All runs of a task, at most 10,000; raises NotFound ``unknown_task``."""
    partition = partition_of(space, task_id)
    [answer] = await partition.read([("HGETALL", K.task(partition.prefix, task_id))])
    owner = fields_of(answer)
    if not owner:
        raise unknown_task(task_id)
    columns = RunColumns(task_id, number(owner.get("made")), list(State), [])
    unbound = _unbound(owner)
    numbers = {state.encode(): at for at, state in enumerate(State)}
    sessions: dict[tuple[str, str], int] = {}
    """Places in ``worker``, by name and session."""
    clock, lane = await clock_of(partition), await lane_facts(partition, text(owner.get("lane")))
    runs = [f"{task_id}.{shard}" for shard in range(number(owner["shards"]))] if "shards" in owner else [task_id]
    for first in range(0, len(runs), TOGETHER):
        for facts in await _read(partition, runs[first : first + TOGETHER]):
            _add(columns, facts, numbers, unbound, sessions)
    since = {session: columns.base_ms for _name, session in sessions if session}
    _name_workers(columns, list(sessions), await ran_on(partition, app_of(lane.handler), since, clock.wall))
    return columns


def _name_workers(columns: RunColumns, sessions: Sequence[tuple[str, str]], by_session: Mapping[str, RanOn]) -> None:
    """Put workers in the place of sessions: one process may have had several."""
    workers = [RunWorker(name, by_session.get(session)) for name, session in sessions]
    places = {worker: at for at, worker in enumerate(dict.fromkeys(workers))}
    columns.workers.extend(places)
    columns.worker[:] = [places[workers[at]] if at >= 0 else at for at in columns.worker]


def _unbound(owner: Fields) -> bytes:
    """The state of a shard that nobody was given, and that has no record of its own."""
    over = "cancel" in owner or text(owner.get("state")) in TERMINAL
    return (State.CANCELED if over else State.CREATED).encode()


async def _read(partition: Partition, runs: Sequence[str]) -> Sequence[Sequence[bytes | None]]:
    return await partition.read([("HMGET", K.task(partition.prefix, run), *FACTS) for run in runs])


def _add(
    columns: RunColumns,
    facts: Sequence[bytes | None],
    numbers: dict[bytes, int],
    unbound: bytes,
    sessions: dict[tuple[str, str], int],
) -> None:
    state, attempt, tries, started, ended, worker, session = facts
    columns.state.append(numbers.get(state or unbound, -1))
    columns.attempt.append(number(attempt))
    columns.failures.append(number(tries))
    who = text(worker), text(session)
    columns.worker.append(sessions.setdefault(who, len(sessions)) if worker else -1)
    columns.started_ms.append(_since(columns.base_ms, started))
    columns.ended_ms.append(_since(columns.base_ms, ended))


def _since(base_ms: int, moment: bytes | None) -> int | None:
    moment_ms = some(moment)
    return moment_ms - base_ms if moment_ms else None
