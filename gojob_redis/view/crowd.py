"""How many fires fall into a minute, and who could take their work: what one asks before a trigger is set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.records import home, text

CROWD_APPS: Final = 100
"""So many apps are asked what is due in a minute."""
NEAR_MINUTES: Final = 15
SAMPLE: Final = 500


@dataclass(frozen=True, slots=True)
class Minute:
    """What is due in one minute, besides the trigger in question."""

    at_ms: int
    """Its begin."""
    in_app: int
    in_all: int | None
    """In all apps that the caller may see; None where that was not counted."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """What falls into the minutes of a schedule's next fires.

    Of each trigger the next fire counts, and each delayed task: what fires daily at two is counted, what fires every
    minute only in the minute that follows.
    """

    minutes: list[Minute]
    quieter: list[Minute]
    """Minutes near the first of them into which fewer fires of the app fall, quietest first."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Connected workers that could take the work now."""

    workers: int
    free: int
    """Of them, those with a free seat."""
    is_sampled: bool
    """Whether there are more, of which some hundreds were looked at: only for a required attribute."""


async def crowd(apps: Apps, sees: Sees, app: str, uid: str, times: Sequence[int]) -> Crowd:
    """What else is due in the minutes of these slots; uid: of the trigger that does not count."""
    partition = await home(apps.space, app)
    if not times or partition is None:
        return Crowd([], [])
    starts = list(dict.fromkeys(at - at % limits.MINUTE_MS for at in times))
    first = starts[0]
    near = [first + step * limits.MINUTE_MS for step in range(-NEAR_MINUTES, NEAR_MINUTES + 1) if step]
    others = [each for each in await apps.seen(sees) if each[0] != app]
    asked = [_due(partition, app, start) for start in [*starts, *near]]
    if len(others) <= CROWD_APPS:
        asked += [_due(of_app, other, first) for other, of_app in others]
    own, *counts = await apps.space.read_all([("ZSCORE", K.due(partition.prefix, app), uid), *asked])
    own_start = None if own is None else int(float(own)) // limits.MINUTE_MS * limits.MINUTE_MS
    in_app = {start: count - (start == own_start) for start, count in zip([*starts, *near], counts, strict=False)}
    elsewhere = counts[len(starts) + len(near) :] if len(others) <= CROWD_APPS else None
    in_all = None if elsewhere is None else in_app[first] + sum(elsewhere)
    minutes = [Minute(start, in_app[start], in_all if start == first else None) for start in starts]
    quieter = sorted(
        (start for start in near if in_app[start] < in_app[first]), key=lambda at: (in_app[at], abs(at - first))
    )
    return Crowd(minutes, [Minute(start, in_app[start], None) for start in quieter[:3]])


def _due(partition: Partition, app: str, start: int) -> tuple[str | int, ...]:
    return "ZCOUNT", K.due(partition.prefix, app), start, start + limits.MINUTE_MS - 1


async def serving(space: Partitions, handler: str, labels: str, attribute: str) -> Serving:
    """Who serves a handler under these labels and offers this attribute ("" for none)."""
    partition = await home(space, app_of(handler))
    if partition is None:
        return Serving(0, 0, False)
    prefix = partition.prefix
    [members] = await partition.read([("SMEMBERS", K.groups_of(prefix, handler, labels))])
    groups = [text(member) for member in members]
    free = await partition.read([("ZCARD", K.waiting(prefix, group, attribute)) for group in groups])
    sizes = await partition.read([("SCARD", K.group_sessions(prefix, group)) for group in groups])
    if not attribute:
        return Serving(sum(sizes), sum(free), False)
    able = 0
    for group in groups:
        [sessions] = await partition.read([("SRANDMEMBER", K.group_sessions(prefix, group), SAMPLE)])
        offers = await partition.read([("HGET", K.session(prefix, text(each)), "attributes") for each in sessions])
        able += sum(attribute in text(offer).split(",") for offer in offers)
    return Serving(able, sum(free), max(sizes, default=0) > SAMPLE)
