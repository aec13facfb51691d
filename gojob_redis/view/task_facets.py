"""How many tasks there are of each state, handler and failure, as a search counts them.

1. Who completed is counted by the engine, an index a handler, where nothing has to be compared. All others are looked
   at by scripts, 500 a call and in several partitions at once: those that are not over where they stand
   (``lua/count_live.lua``), those that are over in their indexes (``lua/count_over.lua``), ``FACET_LOOKS`` of each.
   What is counted is exact up to that; then it is told that there are more. Nobody walks through a million.
2. A count follows all that is asked for but its own subject: the states are counted whatever state is asked for.
3. A task is counted once, in whatever indexes it stands, unless it moves meanwhile from one that was looked at to one
   that was not, or the other way round.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.address import app_of
from gojob_redis.domain.states import TERMINAL, State
from gojob_redis.domain.verbs import LiveIndex, OverIndex
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.sums import failures_in
from gojob_redis.view.records import home, text
from gojob_redis.view.task_search import (
    LIVE,
    Home,
    Looked,
    TaskSearch,
    homes_to_search,
    parts_of,
    searched,
    units_of,
)

VALUES: Final = 50
"""So many values are told, those of the most tasks first."""


class TaskFact(StrEnum):
    """What tasks can be counted by."""

    STATE = "state"
    HANDLER = "handler"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class TaskCount:
    """How many tasks share a value."""

    value: str
    """A state, ``namespace/app/handler``, or the fingerprint of a failure; "" = a failure without one."""
    count: int
    is_exact: bool
    """False: there are at least so many."""
    about: str
    """Of a failure: its type and message."""


@dataclass(frozen=True, slots=True)
class TaskFacet:
    """Tasks counted by one fact, whatever is asked for of this fact itself."""

    by: TaskFact
    counts: list[TaskCount]
    """The 50 values that most share."""
    is_whole: bool
    """False: there are more values, or more tasks than were looked at."""


class _Facts(NamedTuple):
    """What is counted of a task."""

    state: str
    handler: str
    failure: str


@dataclass(slots=True)
class _Counted:
    """How many tasks have these facts, and whether all were looked at."""

    tasks: Counter[_Facts] = field(default_factory=Counter)
    is_live_whole: bool = True
    is_ended_whole: bool = True
    are_handlers_whole: bool = True


async def count_tasks(
    space: Partitions, chosen: TaskSearch, sees: Callable[[str], bool], by: Collection[TaskFact]
) -> list[TaskFacet]:
    """How many of the tasks that are looked for have which state, handler or failure."""
    looked = Looked()
    states = frozenset(State) if TaskFact.STATE in by else chosen.states
    error = "" if TaskFact.ERROR in by else chosen.error
    handler = "" if TaskFact.HANDLER in by else chosen.handler
    wide = replace(chosen, states=states, handler=handler, error=error)
    homes = await homes_to_search(space, wide, sees, looked)
    counted = _Counted(are_handlers_whole=not looked.handlers_left_out)
    completed = State.RUN_TO_COMPLETION in states and _is_plain(wide)
    if completed:
        counted.tasks.update(await _completed(space, homes, wide))
    if not wide.uid and states & LIVE:
        counted.is_live_whole = await _not_over(homes, replace(wide, states=states & LIVE), counted.tasks)
    if wide.uid or states & TERMINAL:
        counted.is_ended_whole = await _over(homes, wide, counted.tasks, are_completed_counted=completed)
    if wide.uid:
        counted.is_live_whole = counted.is_ended_whole
    return [await _facet(space, fact, counted, chosen) for fact in dict.fromkeys(by)]


def _is_plain(chosen: TaskSearch) -> bool:
    """Whether every completed task of the time is looked for."""
    return not (chosen.uid or chosen.trigger or chosen.worker or chosen.reason or chosen.labels or chosen.error)


# ---- looking ---------------------------------------------------------------------------------------------------------


async def _completed(space: Partitions, homes: Sequence[Home], chosen: TaskSearch) -> Mapping[_Facts, int]:
    """Completed tasks by handler, as the engine counts them."""
    handlers = [(each.partition.prefix, handler) for each in homes for handler in each.handlers]
    span = chosen.from_ms, f"({chosen.to_ms}"
    asked = [("ZCOUNT", K.history(prefix, handler), *span) for prefix, handler in handlers]
    counts = await space.read_all(asked, within_s=ANSWER_S) if asked else []
    return {
        _Facts(State.RUN_TO_COMPLETION, handler, ""): int(count)
        for (_prefix, handler), count in zip(handlers, counts, strict=True)
        if count
    }


async def _not_over(homes: Sequence[Home], chosen: TaskSearch, tasks: Counter[_Facts]) -> bool:
    """Count tasks that are not over; returns whether these are all."""
    several = await asyncio.gather(*(units_of(each, chosen) for each in homes))
    parts = [
        _Live(each.partition, chosen, [LiveIndex(*unit.walked) for unit in sorted(units)])
        for each, units in zip(homes, several, strict=True)
    ]
    return await _count(parts, chosen.states & LIVE, tasks)


async def _over(
    homes: Sequence[Home], chosen: TaskSearch, tasks: Counter[_Facts], *, are_completed_counted: bool
) -> bool:
    """Count tasks that are over, or that a trigger fired; returns whether these are all."""
    parts = [
        _Over(each.partition, chosen, [OverIndex(*index) for index in part], chosen.to_ms - 1)
        for each in homes
        for part in parts_of(
            [index for index in searched(each, chosen) if index.kind != "history" or not are_completed_counted],
            limits.SEARCH_INDEXES,
        )
    ]
    return await _count(parts, chosen.states if chosen.uid else chosen.states & TERMINAL, tasks)


async def _count(parts: Sequence["_Live | _Over"], states: Collection[str], tasks: Counter[_Facts]) -> bool:
    """Count the tasks of some parts that are in these states, in all parts at once; returns whether these are all."""
    looks = 0
    while (going := [part for part in parts if part.more]) and looks < limits.FACET_LOOKS:
        most = max(1, min(limits.SEARCH_LOOKS, (limits.FACET_LOOKS - looks) // len(going)))
        looks += sum(await asyncio.gather(*(part.go_on(most) for part in going)))
    for part in parts:
        tasks.update({facts: count for facts, count in part.counts().items() if facts.state in states})
    return not any(part.more for part in parts)


@dataclass(slots=True)
class _Live:
    """Where tasks of one partition stand that are not over."""

    partition: Partition
    chosen: TaskSearch
    items: Sequence[LiveIndex]
    at: str = ""
    member: str = ""
    tasks: Counter[_Facts] = field(default_factory=Counter)
    sharded: dict[str, _Facts] = field(default_factory=dict)
    """By id, because such a task stands in several places."""

    @property
    def more(self) -> bool:
        return bool(self.items)

    async def go_on(self, looks: int) -> int:
        """Look at the next; returns at how many, and 1 where only triggers were passed over."""
        call = verbs.count_live(
            self.items[: limits.SEARCH_INDEXES],
            conditions=self.chosen.conditions(is_live=True),
            at=self.at,
            member=self.member,
            looks=looks,
        )
        reply = await self.partition.call(call, within_s=ANSWER_S)
        _add(self.tasks, reply.counts)
        self.sharded |= {text(task): _Facts(*map(text, facts)) for *facts, task in reply.sharded}
        self.items, self.at, self.member = self.items[reply.walked :], reply.at, reply.member
        return max(1, reply.looked)

    def counts(self) -> Counter[_Facts]:
        return self.tasks + Counter(self.sharded.values())


@dataclass(slots=True)
class _Over:
    """Some indexes of one partition, of tasks that are over, counted as one."""

    partition: Partition
    chosen: TaskSearch
    items: Sequence[OverIndex]
    at: int
    member: str = ""
    tasks: Counter[_Facts] = field(default_factory=Counter)
    more: bool = True

    async def go_on(self, looks: int) -> int:
        """Look at the next; returns at how many."""
        call = verbs.count_over(
            self.items,
            conditions=self.chosen.conditions(is_live=False),
            from_ms=0 if self.chosen.uid else self.chosen.from_ms,
            to_ms=self.at,
            place=self.member,
            looks=looks,
        )
        reply = await self.partition.call(call, within_s=ANSWER_S)
        _add(self.tasks, reply.counts)
        self.more = reply.status == "more"
        self.at, self.member = reply.at, reply.member
        return reply.looked

    def counts(self) -> Counter[_Facts]:
        return self.tasks


def _add(tasks: Counter[_Facts], rows: Iterable[Sequence[Any]]) -> None:
    for *facts, count in rows:
        tasks[_Facts(*map(text, facts))] += int(count)


# ---- counting --------------------------------------------------------------------------------------------------------


async def _facet(space: Partitions, fact: TaskFact, counted: _Counted, chosen: TaskSearch) -> TaskFacet:
    counts: Counter[str] = Counter()
    apps: dict[str, str] = {}
    for facts, tasks in counted.tasks.items():
        if (fact is not TaskFact.STATE and facts.state not in chosen.states) or (
            fact is not TaskFact.HANDLER and chosen.handler not in ("", facts.handler)
        ):
            continue
        if fact is not TaskFact.ERROR and chosen.error not in ("", facts.failure):
            continue
        if fact is TaskFact.STATE:
            counts[facts.state] += tasks
        elif fact is TaskFact.HANDLER:
            counts[facts.handler] += tasks
        elif facts.state == State.FAULTED:
            counts[facts.failure] += tasks
            apps[facts.failure] = app_of(facts.handler)
    most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:VALUES]
    abouts = await _abouts(space, {value: apps[value] for value, _ in most if value}) if apps else {}
    rows = [TaskCount(value, count, _is_exact(fact, value, counted), abouts.get(value, "")) for value, count in most]
    is_whole = all(row.is_exact for row in rows) and len(counts) <= VALUES and counted.are_handlers_whole
    return TaskFacet(fact, rows, is_whole and _is_exact(fact, "", counted))


def _is_exact(fact: TaskFact, value: str, counted: _Counted) -> bool:
    if fact is TaskFact.ERROR or (fact is TaskFact.STATE and value in TERMINAL):
        return counted.is_ended_whole
    if fact is TaskFact.STATE and value:
        return counted.is_live_whole
    return counted.is_live_whole and counted.is_ended_whole


async def _abouts(space: Partitions, apps: Mapping[str, str]) -> dict[str, str]:
    """Type and message of failures, by fingerprint; of those that are still told apart."""
    homes = [(app, await home(space, app)) for app in dict.fromkeys(apps.values())]
    asked = [("HGETALL", K.failures(partition.prefix, app)) for app, partition in homes if partition is not None]
    answers = await space.read_all(asked) if asked else []
    return dict(_named(value for answer in answers for value in answer.items()))


def _named(stored: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    for name, packed in stored:
        alike = failures_in(packed)
        yield text(name).rpartition(" ")[2], f"{alike.type}: {alike.message}"
