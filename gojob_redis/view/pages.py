"""Pages along sorted sets: a cursor is the score of the last member, and how many of that score were seen.

So a page goes on at the right place although members come and go meanwhile, and many members may share a score.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final, Generic, TypeVar

from gojob_redis.domain.errors import bad_cursor
from gojob_redis.engine.partitions import Partition
from gojob_redis.view.records import scored, text

T = TypeVar("T")

NEIGHBOURS: Final = 100
"""How many names before and after a mistyped one are compared with it."""

_PLACE = re.compile(r"(-?[0-9]{1,17})\.([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list. ``next`` is the cursor of the page that follows, None when there is none."""

    items: list[T]
    next: str | None
    live: str = ""
    """Where it was read: ``/v1/stream?from=`` goes on from there; empty for a list that cannot be followed."""

    def at(self, live: str) -> "Page[T]":
        """This page, read at a position that was taken before (``Positions``)."""
        return replace(self, live=live)


@dataclass(frozen=True, slots=True)
class Index:
    """A sorted set that is read in pages."""

    key: str
    newest_first: bool = False

    async def page(self, partition: Partition, place: str, limit: int) -> tuple[list[tuple[str, int]], str | None]:
        """Members with scores after a place ("" is the begin), and the place of the last if there may be more."""
        score, seen = _parse(place)
        begin = "-inf" if not self.newest_first else "+inf"
        end = "+inf" if not self.newest_first else "-inf"
        first = begin if score is None else str(score)
        reverse = ("REV",) if self.newest_first else ()
        command = ("ZRANGE", self.key, first, end, "BYSCORE", *reverse, "LIMIT", seen, limit, "WITHSCORES")
        [answer] = await partition.read([command])
        rows = scored(answer)
        return rows, _after(rows, score, seen) if len(rows) == limit else None


async def names_after(partition: Partition, key: str, after: str, limit: int) -> list[str]:
    """Names of a sorted set without scores that come after one ("" is the begin), in order."""
    begin = f"({after}" if after else "-"
    [answer] = await partition.read([("ZRANGE", key, begin, "+", "BYLEX", "LIMIT", 0, limit)])
    return [text(name) for name in answer]


async def names_near(partition: Partition, key: str, name: str) -> list[str]:
    """The names that stand next to one in a sorted set without scores, at most 200, nearest first.

    A typo at the beginning of a name finds nothing in a large set. To read the whole set would delay everybody else.
    """
    above, below = await partition.read(
        [
            ("ZRANGE", key, f"[{name}", "+", "BYLEX", "LIMIT", 0, NEIGHBOURS),
            ("ZRANGE", key, f"({name}", "-", "BYLEX", "REV", "LIMIT", 0, NEIGHBOURS),
        ],
    )
    return [text(member) for pair in zip_longest(above, below) for member in pair if member is not None]


def _parse(place: str) -> tuple[int | None, int]:
    if not place:
        return None, 0
    shape = _PLACE.fullmatch(place)
    if shape is None:
        raise bad_cursor(place)
    return int(shape[1]), int(shape[2])


def _after(rows: Sequence[tuple[str, int]], score: int | None, seen: int) -> str:
    last = rows[-1][1]
    same = sum(1 for _member, at in rows if at == last)
    return f"{last}.{same + (seen if last == score else 0)}"
