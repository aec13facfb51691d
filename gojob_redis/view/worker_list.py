"""The connected workers of all apps that somebody may see: found by what they are, and counted by what they share."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gojob_redis.domain.errors import bad_cursor
from gojob_redis.domain.states import WorkerState
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.queues import PAGE_HANDLERS, Worker, workers
from gojob_redis.view.specs import versions_in

LOOKED_AT: Final = 1_000
"""So many workers are compared for a page; an app counts as ten, so that many apps without workers have an end."""
PER_APP: Final = 10
COUNTED: Final = 5_000
"""So many workers are counted at most."""
TOGETHER: Final = 250
VALUES: Final = 50
"""So many values of what is counted are told, those with the most workers first."""
SPEC_SETS: Final = 50
"""Sets of specs of an app whose versions are read to count by them; workers of one deployment have the same set."""
LABEL: Final = "label:"
"""Before the name of a label by which workers are put together."""


class WorkerFact(StrEnum):
    """What workers can be counted by."""

    APP = "app"
    HOST = "host"
    SDK = "sdk"
    LABELS = "labels"
    STATE = "state"
    VERSION = "version"
    """What the authors of its handlers call them; several are joined by commas."""


@dataclass(frozen=True, slots=True)
class WorkerSearch:
    """Which workers are sought; what is empty leaves all in."""

    app: str = ""
    """namespace/app"""
    handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    state: WorkerState | None = None
    q: str = ""
    """A part of the name or the host, in lower case."""

    def fits(self, worker: Worker) -> bool:
        return (
            (not self.handler or self.handler in worker.handlers)
            and self.labels.items() <= worker.labels.items()
            and (self.state is None or worker.state == self.state)
            and (self.q in worker.name.lower() or self.q in worker.host.lower())
        )


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """How many workers share a value."""

    value: str
    workers: int
    seats: int
    taken: int


@dataclass(frozen=True, slots=True)
class WorkerFacet:
    """Workers counted by one fact; those of the apps in question, whatever else is sought."""

    by: WorkerFact
    counts: list[WorkerCount]
    """The 50 values that most share."""
    is_whole: bool
    """False: there are more values, or more than the 5,000 workers that were counted."""


@dataclass(frozen=True, slots=True)
class WorkersBy:
    """The workers that are sought, put together by one fact."""

    by: str
    """What workers can be counted by, or ``label:<name>``."""
    counts: list[WorkerCount]
    """The 50 values that most share."""
    is_whole: bool
    """False: there are more values, or more than the 5,000 workers that were looked at."""


@dataclass(frozen=True, slots=True)
class WorkerList:
    """Some workers, in the order of namespace, app and session."""

    items: list[Worker]
    next: str | None
    """The cursor of the page that follows; a page may end before it is full."""
    looked_at: int
    """So many workers were compared for this page."""
    facets: list[WorkerFacet] = field(default_factory=list)
    groups: WorkersBy | None = None
    live: str = ""
    """Where the first page was read: ``/v1/stream?from=`` goes on from there."""


async def find_workers(apps: Apps, sees: Sees, search: WorkerSearch, *, cursor: str = "", limit: int) -> WorkerList:
    """One page of the workers that fit; raises BadRequest ``bad_cursor``."""
    begin, after = _place(cursor)
    fitting, looked_at, budget, shown = list[Worker](), 0, LOOKED_AT, 0
    for app, _partition in await apps.seen(sees, after=begin, only=search.app):
        place: str | None = after if app == begin else ""
        budget -= PER_APP
        while place is not None:
            page = await workers(apps.space, app, cursor=place, limit=TOGETHER)
            for worker in page.items:
                looked_at += 1
                if search.fits(worker):
                    fitting.append(worker)
                    shown += len(worker.handlers)
                    if len(fitting) == limit or shown > PAGE_HANDLERS:
                        return WorkerList(fitting, f"{app}|{worker.session}", looked_at)
            place, budget = page.next, budget - len(page.items)
            if budget <= 0:
                # An app that was read to its end is passed over by a session behind all others.
                return WorkerList(fitting, f"{app}|{'~' if place is None else place}", looked_at)
    return WorkerList(fitting, None, looked_at)


def _place(cursor: str) -> tuple[str, str]:
    app, bar, session = cursor.partition("|")
    if cursor and not (bar and app.count("/") == 1):
        raise bad_cursor(cursor)
    return app, session


# ---- counting --------------------------------------------------------------------------------------------------------


async def count_workers(apps: Apps, sees: Sees, only: str, by: Collection[WorkerFact]) -> list[WorkerFacet]:
    """How many workers, seats and taken seats there are by each of these facts."""
    counts, is_whole = await _count(apps, sees, WorkerSearch(app=only), by)
    return [WorkerFacet(fact, *_most(counts[fact], is_whole=is_whole)) for fact in dict.fromkeys(by)]


async def group_workers(apps: Apps, sees: Sees, search: WorkerSearch, by: str) -> WorkersBy:
    """How many of the workers that fit there are by one fact, or by one of their labels."""
    counts, is_whole = await _count(apps, sees, search, [by])
    return WorkersBy(by, *_most(counts[by], is_whole=is_whole))


async def _count(
    apps: Apps, sees: Sees, search: WorkerSearch, by: Collection[str]
) -> tuple[dict[str, dict[str, list[int]]], bool]:
    """By each of these, workers, seats and taken seats of each value; and whether all workers were looked at."""
    counts: dict[str, dict[str, list[int]]] = {fact: {} for fact in by}
    looked, are_versions_read = 0, True
    for app, partition in await apps.seen(sees, only=search.app):
        place: str | None = ""
        versions: dict[str, str] = {}
        while place is not None and looked < COUNTED:
            page = await workers(apps.space, app, cursor=place, limit=TOGETHER)
            fitting = [worker for worker in page.items if search.fits(worker)]
            if WorkerFact.VERSION in counts:
                spec_sets = [spec_set for spec_set in dict.fromkeys(map(_spec_set, fitting)) if spec_set]
                new = [spec_set for spec_set in spec_sets if spec_set not in versions]
                are_versions_read &= len(versions) + len(new) <= SPEC_SETS
                versions |= await versions_in(partition, app, new[: SPEC_SETS - len(versions)])
            for worker in fitting:
                for fact, own in counts.items():
                    sums = own.setdefault(_value(worker, fact, versions), [0, 0, 0])
                    sums[0], sums[1], sums[2] = sums[0] + 1, sums[1] + worker.capacity, sums[2] + worker.taken
            looked, place = looked + len(page.items), page.next
    return counts, looked < COUNTED and are_versions_read


def _value(worker: Worker, fact: str, versions: Mapping[str, str]) -> str:
    match fact:
        case WorkerFact.APP:
            return f"{worker.namespace}/{worker.app}"
        case WorkerFact.LABELS:
            return ",".join(f"{name}={value}" for name, value in sorted(worker.labels.items()))
        case WorkerFact.SDK:
            return str(worker.facts.get("sdk", "")) if isinstance(worker.facts, dict) else ""
        case WorkerFact.VERSION:
            return versions.get(_spec_set(worker), "")
        case WorkerFact.HOST:
            return worker.host
        case WorkerFact.STATE:
            return worker.state
    return worker.labels.get(fact.removeprefix(LABEL), "")


def _spec_set(worker: Worker) -> str:
    """What stands for the specs that a worker told; "" if it told none."""
    spec_set = worker.facts.get("specs") if isinstance(worker.facts, dict) else None
    return spec_set if isinstance(spec_set, str) else ""


def _most(counts: Mapping[str, Sequence[int]], *, is_whole: bool) -> tuple[list[WorkerCount], bool]:
    """The values that most share; and whether these are all."""
    most = sorted(counts.items(), key=lambda entry: (-entry[1][0], entry[0]))[:VALUES]
    return [WorkerCount(value, *sums) for value, sums in most], is_whole and len(counts) <= VALUES
