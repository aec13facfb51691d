"""How many tasks there are of each state, handler and failure, as a search counts them.

1. Who completed is counted by the engine, an index a handler, where nothing has to be compared. All others are looked
   at: those that are not over where they stand, those that are over in their indexes, ``FACET_LOOKS`` of each.
   What is counted is exact up to that; then it is told that there are more. Nobody walks through a million.
2. A count follows all that is asked for but its own subject: the states are counted whatever state is asked for.
3. A task is counted once, in whatever indexes it stands.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of
from gojob_redis.domain.states import TERMINAL, State
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.sums import failures_in
from gojob_redis.view.records import home, text
from gojob_redis.view.task_search import (
    LIVE,
    Home,
    Looked,
    Stream,
    TaskSearch,
    homes_to_search,
    parse_cursor,
    parts_of,
    searched,
    walk,
)
from gojob_redis.view.why import lane_facts

VALUES: Final = 50
"""So many values are told, those of the most tasks first."""
READ_AT_ONCE: Final = 200
"""Records in one round trip, so that nobody else at this gateway waits for all of them."""


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
    read: dict[str, _Facts] = {}
    if not wide.uid and states & LIVE:
        tasks, counted.is_live_whole = await _not_over(homes, replace(wide, states=states & LIVE))
        read |= {task: facts for task, facts in (await _facts(tasks)).items() if facts.state in LIVE}
    if wide.uid or states & TERMINAL:
        tasks, counted.is_ended_whole = await _over(homes, wide, are_completed_counted=completed)
        over = states if wide.uid else states & TERMINAL
        read |= {task: facts for task, facts in (await _facts(tasks)).items() if facts.state in over}
    if wide.uid:
        counted.is_live_whole = counted.is_ended_whole
    counted.tasks.update(read.values())
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


async def _not_over(homes: Sequence[Home], chosen: TaskSearch) -> tuple[dict[str, Partition], bool]:
    """Tasks that are not over; and whether these are all."""
    tasks: dict[str, Partition] = {}
    looks, cursor = 0, ""
    while looks < limits.FACET_LOOKS:
        looked = Looked()
        more, after = await walk(homes, chosen, parse_cursor(cursor), looked, limits.FACET_LOOKS)
        tasks, looks = tasks | more, looks + max(1, looked.tasks)
        if after is None:
            return tasks, True
        cursor = after
    return tasks, False


async def _over(
    homes: Sequence[Home], chosen: TaskSearch, *, are_completed_counted: bool
) -> tuple[dict[str, Partition], bool]:
    """Tasks that are over, or that a trigger fired; and whether these are all."""
    streams = [
        Stream(each.partition, part, chosen.to_ms - 1, "")
        for each in homes
        for part in parts_of(
            [index for index in searched(each, chosen) if index.kind != "history" or not are_completed_counted],
            limits.SEARCH_INDEXES,
        )
    ]
    looks = 0
    while (going := [stream for stream in streams if stream.more]) and looks < limits.FACET_LOOKS:
        most = max(1, min(limits.SEARCH_LOOKS, (limits.FACET_LOOKS - looks) // len(going)))
        looks += sum(await asyncio.gather(*(stream.go_on(chosen, most, most) for stream in going)))
    tasks = {task: stream.partition for stream in streams for _time, _member, task in stream.found}
    return tasks, not any(stream.more for stream in streams)


async def _facts(tasks: Mapping[str, Partition]) -> dict[str, _Facts]:
    """What is counted of these tasks; those that are gone are left out."""
    by_partition: dict[int, list[str]] = {}
    for task, partition in tasks.items():
        by_partition.setdefault(partition.number, []).append(task)
    facts: dict[str, _Facts] = {}
    for own in by_partition.values():
        for first in range(0, len(own), READ_AT_ONCE):
            facts |= await _read(tasks[own[0]], own[first : first + READ_AT_ONCE])
    return facts


async def _read(partition: Partition, tasks: Sequence[str]) -> dict[str, _Facts]:
    names = ("state", "lane", "failure")
    answers = await partition.read([("HMGET", K.task(partition.prefix, task), *names) for task in tasks])
    lanes = {text(lane): "" for _state, lane, _failure in answers}
    for lane in lanes:
        lanes[lane] = (await lane_facts(partition, lane)).handler
    return {
        task: _Facts(text(state), lanes[text(lane)], text(failure))
        for task, (state, lane, failure) in zip(tasks, answers, strict=True)
        if state is not None
    }


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
