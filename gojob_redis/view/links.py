"""How tasks hang together: who is whose parent, and what a trigger fired before and after."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from gojob_redis.domain import ids
from gojob_redis.domain.states import State
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.records import text
from gojob_redis.view.task_search import children_of
from gojob_redis.view.tasks import Links, Task, TaskRow, partition_of, rows_of
from gojob_redis.view.why import lane_facts

LINKED: Final = 100
"""So many children and siblings are shown with a task; ``GET /v1/tasks?parent=`` lists all."""
ENTRIES: Final = 20
"""Entries of a ledger that are looked at for the next task; others are slots that were skipped."""
BOUND: Final = (State.WAITING_TO_RUN, State.RUNNING)
PROOF: Final = ("attempt", "fence", "state", "lane")


async def links(space: Partitions, task: Task, sees: Callable[[str], bool]) -> Links:
    """What a task hangs together with, in a few round trips."""
    answers = await asyncio.gather(
        children_of(space, task.id, LINKED),
        children_of(space, task.parent, LINKED + 1) if task.parent else _nothing(),
        _neighbour(space, task.id, is_later=False),
        _neighbour(space, task.id, is_later=True),
    )
    (children, more_children), (siblings, more_siblings), before, after = answers
    siblings = [each for each in siblings if each[1] != task.id]
    parent = [(partition_of(space, task.parent), task.parent)] if task.parent else []
    rows = await _rows(space, [*parent, *children, *siblings, *before, *after], sees)
    shown_siblings = _of(rows, siblings)
    return Links(
        parent=rows.get(task.parent),
        children=_of(rows, children),
        has_more_children=bool(more_children),
        siblings=shown_siblings[:LINKED],
        has_more_siblings=bool(more_siblings) or len(shown_siblings) > LINKED,
        before=next(iter(_of(rows, before)), None),
        after=next(iter(_of(rows, after)), None),
    )


async def owner_of(space: Partitions, run: str, attempt: int, fence: str) -> str:
    """The handler of an attempt whose fence somebody knows, while it is bound; "" where that is no proof any more."""
    number = ids.partition_of(ids.split_run(run)[0])
    if number >= space.count:
        return ""
    [answer] = await space[number].read([("HMGET", K.task(space.prefixes[number], run), *PROOF)])
    *facts, state, lane = map(text, answer)
    if facts != [str(attempt), fence] or state not in BOUND:
        return ""
    return (await lane_facts(space[number], lane)).handler


_Found = Sequence[tuple[Partition, str]]


async def _nothing() -> tuple[_Found, str]:
    return [], ""


async def _neighbour(space: Partitions, task: str, *, is_later: bool) -> _Found:
    """What the trigger of a fired task fired next, in one direction."""
    if not ids.is_fired(ids.TaskId(task)):
        return []
    partition, uid, slot = partition_of(space, task), ids.uid_of(ids.TaskId(task)), ids.slot_of(ids.TaskId(task))
    ledger, limit = K.ledger(partition.prefix, uid), ("LIMIT", 0, ENTRIES)
    if is_later:
        [entries] = await partition.read([("ZRANGE", ledger, f"({slot}", "+inf", "BYSCORE", *limit)])
    else:
        [entries] = await partition.read([("ZRANGE", ledger, f"({slot}", "-inf", "BYSCORE", "REV", *limit)])
    for word, moment, *_detail in (text(entry).split(" ") for entry in entries):
        if word == "fired":
            return [(partition, ids.fired_id(partition.number, uid, int(moment)))]
    return []


async def _rows(space: Partitions, tasks: _Found, sees: Callable[[str], bool]) -> dict[str, TaskRow]:
    by_partition: dict[int, list[str]] = {}
    for partition, task in tasks:
        by_partition.setdefault(partition.number, []).append(task)
    read = await asyncio.gather(*(rows_of(space[number], each) for number, each in by_partition.items()))
    return {row.id: row for rows in read for row in rows if sees(row.full_app)}


def _of(rows: dict[str, TaskRow], tasks: _Found) -> list[TaskRow]:
    return [rows[task] for _partition, task in tasks if task in rows]
