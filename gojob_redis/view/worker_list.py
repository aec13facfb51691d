"""The connected workers of all apps that somebody may see: found by what they are, and counted by what they share."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gojob_redis.domain.errors import bad_cursor
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.queues import PAGE_HANDLERS, Worker, workers

LOOKED_AT: Final = 1_000
"""So many workers are compared for a page; an app counts as ten, so that many apps without workers have an end."""
PER_APP: Final = 10
COUNTED: Final = 5_000
"""So many workers are counted at most."""
TOGETHER: Final = 250
VALUES: Final = 50
"""So many values of what is counted are told, those with the most workers first."""


class WorkerFact(StrEnum):
    """What workers can be counted by."""

    APP = "app"
    HOST = "host"
    SDK = "sdk"
    LABELS = "labels"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class WorkerSearch:
    """Which workers are sought; what is empty leaves all in."""

    app: str = ""
    """namespace/app"""
    handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    state: str | None = None
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
class WorkerList:
    """Some workers, in the order of namespace, app and session."""

    items: list[Worker]
    next: str | None
    """The cursor of the page that follows; a page may end before it is full."""
    looked_at: int
    """So many workers were compared for this page."""
    facets: list[WorkerFacet] = field(default_factory=list)
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
    counts: dict[WorkerFact, dict[str, list[int]]] = {fact: {} for fact in by}
    counted = 0
    for app, _partition in await apps.seen(sees, only=only):
        place: str | None = ""
        while place is not None and counted < COUNTED:
            page = await workers(apps.space, app, cursor=place, limit=TOGETHER)
            for worker in page.items:
                for fact, own in counts.items():
                    sums = own.setdefault(_value(worker, fact), [0, 0, 0])
                    sums[0], sums[1], sums[2] = sums[0] + 1, sums[1] + worker.capacity, sums[2] + worker.taken
            counted, place = counted + len(page.items), page.next
    return [_facet(fact, own, counted < COUNTED) for fact, own in counts.items()]


def _value(worker: Worker, fact: WorkerFact) -> str:
    if fact is WorkerFact.APP:
        return f"{worker.namespace}/{worker.app}"
    if fact is WorkerFact.LABELS:
        return ",".join(f"{name}={value}" for name, value in sorted(worker.labels.items()))
    if fact is WorkerFact.SDK:
        return str(worker.facts.get("sdk", "")) if isinstance(worker.facts, dict) else ""
    return worker.host if fact is WorkerFact.HOST else worker.state


def _facet(fact: WorkerFact, counts: Mapping[str, Sequence[int]], is_whole: bool) -> WorkerFacet:
    most = sorted(counts.items(), key=lambda entry: (-entry[1][0], entry[0]))[:VALUES]
    rows = [WorkerCount(value, *sums) for value, sums in most]
    return WorkerFacet(fact, rows, is_whole and len(counts) <= VALUES)
