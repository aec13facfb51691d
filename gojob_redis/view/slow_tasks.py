"""The tasks that took longest: among those that the fold keeps of each handler and hour, never among all.

1. The fold keeps the 50 longest of each handler and hour for a day (``maintenance/fold.py``). A page reads those lists,
   at most ``SLOW_LISTS`` of them: of many handlers only the last hours, and ``looked.back_to_ms`` says how far back.
2. They are read as rows in the order of their durations until the page is full, at most ``SLOW_READ`` of them.
3. A cursor says where a page ended, by duration and id: what came or went meanwhile moves nothing else.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.errors import bad_cursor
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.sums import unpack
from gojob_redis.view.records import clock_of, pairs, text
from gojob_redis.view.task_search import (
    Looked,
    TaskPage,
    TaskSearch,
    homes_to_search,
    is_chosen,
    rows_in_order,
    written_cursor,
)
from gojob_redis.view.task_search import parse_cursor as parse
from gojob_redis.view.tasks import TaskRow
from gojob_redis.view.why import lane_facts

KIND: Final = "s"
READ_AT_ONCE: Final = 200
Slow = tuple[int, str, Partition]
"""How long a task took, its id, and where it lies."""


async def slow_tasks(
    space: Partitions, chosen: TaskSearch, sees: Callable[[str], bool], *, cursor: str, limit: int
) -> TaskPage:
    """The longest of the kept tasks that are chosen, longest first. Raises BadRequest ``bad_cursor``."""
    looked = Looked()
    behind = _place(cursor)
    homes = await homes_to_search(space, chosen, sees, looked)
    handlers = [(home.partition, handler) for home in homes for handler in home.handlers]
    if not handlers:
        return TaskPage([], None, looked=looked)
    slow = await _kept(space, handlers, await _hours(space[0], len(handlers), chosen, looked))
    left = sorted((each for each in slow if behind is None or _order(each) > behind), key=_order)
    rows: list[TaskRow] = []
    near = left[: limits.SLOW_READ]
    for first in range(0, len(near), READ_AT_ONCE):
        some = near[first : first + READ_AT_ONCE]
        fitting = {row.id: row for row in await _fitting(some, chosen)}
        for each in some:
            looked.tasks += 1
            if each[1] in fitting:
                rows.append(fitting[each[1]])
            if len(rows) == limit:
                break
        if len(rows) == limit:
            break
    is_more = looked.tasks < len(left)
    end = left[looked.tasks - 1] if is_more else None
    return TaskPage(rows, written_cursor(KIND, str(end[0]), end[1]) if end else None, looked=looked)


def _order(slow: Slow) -> tuple[int, str]:
    return -slow[0], slow[1]


def _place(cursor: str) -> tuple[int, str] | None:
    """Where the page before ended."""
    place = parse(cursor)
    if place == ("",):
        return None
    if place[0] != KIND or not place[1].isdigit():
        raise bad_cursor(cursor)
    return -int(place[1]), place[2]


async def _hours(partition: Partition, handlers: int, chosen: TaskSearch, looked: Looked) -> range:
    """The hours that are looked at, the last ones of those that are asked for."""
    now_ms = (await clock_of(partition)).wall
    last = min(now_ms, chosen.to_ms - 1) // limits.HOUR_MS
    kept = (now_ms - limits.STATS_SLOWEST_MS) // limits.HOUR_MS + 1
    first = max(kept, chosen.from_ms // limits.HOUR_MS, last - limits.SLOW_LISTS // handlers + 1)
    looked.back_to_ms = first * limits.HOUR_MS if chosen.from_ms < first * limits.HOUR_MS else None
    return range(first, last + 1)


async def _kept(space: Partitions, handlers: Sequence[tuple[Partition, str]], hours: Iterable[int]) -> list[Slow]:
    """What is kept of these handlers and hours."""
    asked = [(partition, handler, str(hour)) for hour in hours for partition, handler in handlers]
    answers = await space.read_all(
        [("GET", K.slowest(partition.prefix, handler, hour)) for partition, handler, hour in asked], within_s=ANSWER_S
    )
    return [
        (int(duration_ms), task, partition)
        for (partition, _handler, _hour), value in zip(asked, answers, strict=True)
        for duration_ms, task in unpack(value) or ()
    ]


async def _fitting(slow: Sequence[Slow], chosen: TaskSearch) -> list[TaskRow]:
    """Those of some tasks that are chosen, and still there."""
    rows = await rows_in_order([(partition, task) for _duration, task, partition in slow])
    fitting = [row for row in rows if is_chosen(row, chosen)]
    if not (chosen.labels or chosen.error):
        return fitting
    homes = {task: partition for _duration, task, partition in slow}
    checked = await asyncio.gather(*(_has(homes[row.id], row.id, chosen) for row in fitting))
    return [row for row, has in zip(fitting, checked, strict=True) if has]


async def _has(partition: Partition, task: str, chosen: TaskSearch) -> bool:
    """Whether a task requires the labels, and has the failure, that are looked for."""
    [[lane, failure]] = await partition.read([("HMGET", K.task(partition.prefix, task), "lane", "failure")])
    if chosen.error not in ("", text(failure)):
        return False
    return chosen.labels.items() <= pairs((await lane_facts(partition, text(lane))).labels).items()
