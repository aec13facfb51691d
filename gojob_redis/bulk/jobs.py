"""Jobs as they are recorded, changed, and read for people."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, Literal

from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.errors import BadRequest, LimitReached, NotFound, bad_cursor
from gojob_redis.domain.filters import TaskFilter, TriggerFilter
from gojob_redis.domain.jobs import JobState, Kind, Outcome, Verb
from gojob_redis.engine.client import ANSWER_S, repeat
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions

Change = Literal["pause", "resume", "cancel", "close"]

COUNT_S: Final = 5.0
"""How long a dry run counts."""
_SCAN: Final = 1_000
_NAMESPACES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a job is to do, for whom."""

    namespace: str
    app: str
    """Its name in the namespace; "" = all apps."""
    kind: Kind
    verb: Verb
    filter: TaskFilter | TriggerFilter
    ids: int
    """How many ids it was given; 0 = it goes by its filter."""
    as_of_ms: int
    reason: str
    pinned: bool
    """Whether a delete takes tasks, too, that somebody wants kept."""
    by: str
    """The key id of the token that asked for it."""

    @property
    def scope(self) -> str:
        """What the address of a handler begins with where the job may work."""
        return f"{self.namespace}/{self.app}/" if self.app else f"{self.namespace}/"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is recorded."""

    id: str
    order: Order
    state: JobState
    revision: int
    made_ms: int
    ended_ms: int | None
    units: dict[int, int]
    """How many ids or apps, by partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How many were skipped or failed for one reason."""

    outcome: Outcome
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One that was skipped, or failed."""

    id: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProgress:
    """How far a job is in one partition, and what it did there."""

    partition: int
    state: JobState
    units: int
    """Ids, or apps to go through."""
    units_finished: int
    matched: int
    done: int
    skipped: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job, and what it did so far. ``matched`` = done + skipped + failed."""

    id: str
    namespace: str
    app: str
    kind: Kind
    verb: Verb
    filter: TaskFilter | TriggerFilter
    ids: int
    as_of_ms: int
    reason: str
    pinned: bool
    by: str
    state: JobState
    made_ms: int
    ended_ms: int | None
    """None until every partition is done with it, or was told that it is canceled."""
    matched: int
    done: int
    skipped: int
    failed: int
    reasons: list[ReasonCount]
    samples: list[Sample]
    partitions: list[PartitionProgress]


@dataclass(frozen=True, slots=True)
class Count:
    """What a dry run found."""

    matched: int
    is_exact: bool
    """False when there are more, or when counting took too long."""


@dataclass(slots=True)
class Progress:
    """What one partition says about a job."""

    partition: int
    fields: dict[str, bytes] = field(default_factory=dict)

    @property
    def state(self) -> JobState:
        return JobState((self.fields.get("state") or b"running").decode())

    def number(self, name: str) -> int:
        return int(self.fields.get(name, 0))


# ---- recorded and changed --------------------------------------------------------------------------------------------


async def open_job(
    space: Partitions,
    order: Order,
    units: Mapping[int, Sequence[str]],
    *,
    made_ms: int,
    once_key: str = "",
    digest: str = "",
) -> tuple[str, bool]:
    """Record a job; returns its id, and whether the Idempotency-Key stood for it already.

    units: the ids or apps it is for, by partition.
    Raises LimitReached ``jobs_full``, BadRequest ``key_reused``.
    """
    call = verbs.open_job(
        [verbs.JobUnits(partition, " ".join(units[partition])) for partition in sorted(units)],
        job=ids.new_job_id(made_ms),
        namespace=order.namespace,
        made_ms=made_ms,
        oldest=ids.first_job_id(made_ms - limits.JOB_TRACE_MS),
        record=json.dumps(asdict(order)).encode(),
        once_key=once_key,
        digest=digest,
    )
    opened = await space.call_control(call)
    if opened.status == "jobs_full":
        raise LimitReached(
            "jobs_full",
            f"Namespace {order.namespace} has {limits.JOBS_AT_ONCE} jobs that are not over, or all have "
            f"{limits.JOBS_AT_ONCE_IN_ALL}.",
            field="namespace",
            hint="Wait for one of them, or cancel it.",
            limit=limits.JOBS_AT_ONCE,
            passes=True,
        )
    if opened.status == "other_body":
        raise BadRequest(
            "key_reused",
            "The Idempotency-Key was used for another body in the last 24 h.",
            field="Idempotency-Key",
            hint="Use a new key for a new job, and the same body for a repeat.",
            status=409,
        )
    return opened.id, opened.status == "duplicate"


async def change_job(space: Partitions, job: Job, change: Change, at_ms: int) -> Job | None:
    """Pause a job, let it go on, or cancel it, and tell each partition; None when it is over or gone.

    Who dies in between has changed the record: the replicas tell the other partitions.
    """
    changed = await space.call_control(verbs.change_job(job=job.id, change=change, at=at_ms))
    if changed.status in ("over", "gone"):
        return None
    stored = await find_job(space, job.id)
    if stored is not None and change != "close":
        await tell(space, stored, stored.units)
    return stored


async def tell(space: Partitions, job: Job, partitions: Iterable[int]) -> None:
    """Tell partitions how a job stands."""
    for partition in partitions:
        await space[partition].call(verbs.steer_job(job=job.id, state=job.state, revision=job.revision))


async def units_of_apps(space: Partitions, namespace: str, app: str) -> dict[int, list[str]]:
    """The apps of a namespace that were seen, or one of them, by partition, in order."""
    client: Any = space.clients.commands
    partition_of: dict[str, int] = {}
    if app:
        placed = await repeat(lambda: client.hget(K.apps(CONTROL), f"{namespace}/{app}"), ANSWER_S)
        partition_of = {} if placed is None else {f"{namespace}/{app}": int(placed)}
    else:
        cursor, more = 0, True
        while more:
            scan = partial(client.hscan, K.apps(CONTROL), cursor, match=f"{namespace}/*", count=_SCAN)
            cursor, fields = await repeat(scan, ANSWER_S)
            partition_of |= {name.decode(): int(placed) for name, placed in fields.items()}
            more = bool(cursor)
    units: dict[int, list[str]] = {}
    for name in sorted(partition_of):
        units.setdefault(partition_of[name], []).append(name)
    return units


def units_of_tasks(space: Partitions, tasks: Iterable[str]) -> dict[int, list[str]]:
    """Tasks by partition, each once; what is of no partition of ours is looked for in the first, and not found."""
    units: dict[int, list[str]] = {}
    for task in dict.fromkeys(tasks):
        partition = ids.partition_of(task)
        units.setdefault(partition if partition < space.count else 0, []).append(task)
    return units


async def units_of_triggers(space: Partitions, names: Iterable[str]) -> dict[int, list[str]]:
    """Triggers, ``namespace/app/name``, by partition, each once; those of no known app are looked for in the first."""
    client: Any = space.clients.commands
    triggers = list(dict.fromkeys(names))
    apps = sorted({name.rpartition("/")[0] for name in triggers})
    placed = await repeat(lambda: client.hmget(K.apps(CONTROL), apps), ANSWER_S)
    partition_of = dict(zip(apps, placed, strict=True))
    units: dict[int, list[str]] = {}
    for name in triggers:
        units.setdefault(int(partition_of[name.rpartition("/")[0]] or 0), []).append(name)
    return units


# ---- read ------------------------------------------------------------------------------------------------------------


async def find_job(space: Partitions, job: str) -> Job | None:
    """A job by its id; None when there is none."""
    client: Any = space.clients.commands
    fields = await repeat(lambda: client.hgetall(K.job_record(CONTROL, job)), ANSWER_S)
    return _job(job, fields) if fields else None


async def live_jobs(space: Partitions) -> list[Job]:
    """The jobs that are not closed, oldest first."""
    client: Any = space.clients.commands
    names = sorted(job.decode() for job in await repeat(lambda: client.hkeys(K.live_jobs(CONTROL)), ANSWER_S))
    records = await space.read_all([("HGETALL", K.job_record(CONTROL, job)) for job in names])
    return [_job(job, record) for job, record in zip(names, records, strict=True) if record]


async def jobs_of(
    space: Partitions, namespaces: Sequence[str], sees: Callable[[Order], bool], *, cursor: str, limit: int
) -> tuple[list[Job], str | None]:
    """Jobs of some namespaces, newest first, and the cursor of the next page.

    namespaces: none = those that had a job last, at most 100.
    sees: whether the caller may see it.
    """
    client: Any = space.clients.commands
    first = f"({_place_of(cursor)}" if cursor else "+"
    if not namespaces:
        newest = await repeat(lambda: client.zrevrange(K.job_namespaces(CONTROL), 0, _NAMESPACES - 1), ANSWER_S)
        namespaces = [name.decode() for name in newest]
    pages = await space.read_all(
        [("ZRANGE", K.jobs(CONTROL, name), first, "-", "BYLEX", "REV", "LIMIT", 0, limit + 1) for name in namespaces]
    )
    names = sorted((name.decode() for page in pages for name in page), reverse=True)
    records = await space.read_all([("HGETALL", K.job_record(CONTROL, job)) for job in names[:limit]])
    jobs = [_job(job, record) for job, record in zip(names[:limit], records, strict=True) if record]
    return [job for job in jobs if sees(job.order)], names[limit - 1] if len(names) > limit else None


def _job(job: str, fields: Mapping[bytes, bytes]) -> Job:
    record = json.loads(fields[b"record"])
    kind = Kind(record["kind"])
    kept = (TaskFilter if kind is Kind.TASKS else TriggerFilter).of(record["filter"])
    order = Order(**{**record, "kind": kind, "verb": Verb(record["verb"]), "filter": kept})
    pairs = (pair.split("=") for pair in fields[b"units"].decode().split())
    return Job(
        job,
        order,
        JobState(fields[b"state"].decode()),
        int(fields[b"revision"]),
        int(fields[b"made"]),
        int(fields[b"ended"]) if b"ended" in fields else None,
        {int(partition): int(count) for partition, count in pairs},
    )


async def progress_of(space: Partitions, job: Job) -> list[Progress]:
    """What the partitions say about a job."""
    answers = await space.read_all([("HGETALL", K.job(space.prefixes[at], job.id)) for at in job.units])
    return [
        Progress(partition, {name.decode(): value for name, value in answer.items()})
        for partition, answer in zip(job.units, answers, strict=True)
    ]


async def show(space: Partitions, job: Job) -> JobRow:
    """A job with what it did so far."""
    progress = await progress_of(space, job)
    reasons: Counter[tuple[str, str]] = Counter()
    samples: list[Sample] = []
    for each in progress:
        for name in each.fields:
            if name.startswith("why "):
                _, outcome, reason = name.split(" ")
                reasons[outcome, reason] += each.number(name)
        samples += map(_sample, each.fields.get("samples", b"").decode("utf-8", "replace").splitlines())
    partitions = [_of_partition(job, each) for each in progress]
    order = job.order
    is_done = job.state is JobState.RUNNING and all(each.state is JobState.DONE for each in progress)
    return JobRow(
        id=job.id,
        namespace=order.namespace,
        app=order.app,
        kind=order.kind,
        verb=order.verb,
        filter=order.filter,
        ids=order.ids,
        as_of_ms=order.as_of_ms,
        reason=order.reason,
        pinned=order.pinned,
        by=order.by,
        state=JobState.DONE if is_done else job.state,
        made_ms=job.made_ms,
        ended_ms=job.ended_ms,
        matched=sum(each.matched for each in partitions),
        done=sum(each.done for each in partitions),
        skipped=sum(each.skipped for each in partitions),
        failed=sum(each.failed for each in partitions),
        reasons=[
            ReasonCount(outcome=Outcome(outcome), reason=reason, count=number)
            for (outcome, reason), number in sorted(reasons.items())
        ],
        samples=samples[: limits.JOB_SAMPLES],
        partitions=partitions,
    )


def _of_partition(job: Job, progress: Progress) -> PartitionProgress:
    state = progress.state
    if job.state is JobState.CANCELED and state is not JobState.DONE:
        state = JobState.CANCELED
    return PartitionProgress(
        partition=progress.partition,
        state=state,
        units=job.units[progress.partition],
        units_finished=progress.number("next"),
        matched=progress.number("matched"),
        done=progress.number("done"),
        skipped=progress.number("skipped"),
        failed=progress.number("failed"),
    )


def _sample(line: str) -> Sample:
    outcome, reason, name = line.split(" ", 2)
    return Sample(id=name, outcome=Outcome(outcome), reason=reason)


def unknown_job(job: str) -> NotFound:
    """The error for a job that is not there, and for one that is not the caller's to see."""
    return NotFound(
        "unknown_job", f"There is no job {job}.", field="job", hint="A job is kept for 7 days after its end."
    )


# ---- count -----------------------------------------------------------------------------------------------------------


async def count(space: Partitions, order: Order, units: Mapping[int, Sequence[str]]) -> Count:
    """How many a job would be for: exact up to 10,000, as long as counting takes no longer than 5 s."""
    matched: set[str] = set()
    ends = time.monotonic() + COUNT_S
    async for names in _matching(space, order, units):
        matched.update(names)
        if len(matched) > limits.COUNT_EXACT or time.monotonic() > ends:
            return Count(min(len(matched), limits.COUNT_EXACT), is_exact=False)
    return Count(len(matched), is_exact=True)


async def _matching(
    space: Partitions, order: Order, units: Mapping[int, Sequence[str]]
) -> AsyncIterator[Sequence[str]]:
    """The tasks or triggers a job would be for, some at a time; one may come again."""
    count_some = _count_tasks if order.kind is Kind.TASKS else _count_triggers
    for partition, names in units.items():
        step = limits.BATCH_ITEMS if order.ids else 1
        for first in range(0, len(names), step):
            place, more = "", True
            while more:
                began = time.monotonic()
                place, matched = await count_some(space[partition], order, names[first : first + step], place)
                yield matched
                more = bool(place)
                if more:
                    await asyncio.sleep(time.monotonic() - began)  # the others get as much of the engine


async def _count_tasks(
    partition: Partition, order: Order, names: Sequence[str], place: str
) -> tuple[str, Sequence[str]]:
    call = verbs.bulk_count(
        [verbs.BulkCountItem(name) for name in names],
        scope=order.scope,
        walks=int(not order.ids),
        conditions=order.filter.written,
        as_of=order.as_of_ms,
        is_over=int(order.verb is not Verb.CANCEL),
        place=place,
        cpu_us=limits.JOB_CPU_US,
    )
    reply = await partition.call(call, within_s=ANSWER_S)
    return reply.place, reply.tasks


async def _count_triggers(
    partition: Partition, order: Order, names: Sequence[str], place: str
) -> tuple[str, Sequence[str]]:
    call = verbs.bulk_list(
        [verbs.BulkListItem(name) for name in names],
        scope=order.scope,
        walks=int(not order.ids),
        conditions=order.filter.written,
        as_of=order.as_of_ms,
        first=0,
        last=0,
        place=place,
        cpu_us=limits.JOB_CPU_US,
    )
    reply = await partition.call(call, within_s=ANSWER_S)
    return reply.place, reply.triggers


def _place_of(cursor: str) -> str:
    """The job that a page ended with; raises BadRequest ``bad_cursor``."""
    try:
        return ids.parse_job_id(cursor, "cursor")
    except BadRequest:
        raise bad_cursor(cursor) from None
