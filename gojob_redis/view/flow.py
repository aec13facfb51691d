"""How fast work comes in and goes out: what was added up of the last ten minutes and of the minute under way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gojob_redis.domain import limits
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.engine.sums import unpack
from gojob_redis.view.records import homes_of

FLOW_MS: Final = 10 * limits.MINUTE_MS
CAME: Final = frozenset({"submitted", "fired"})
WENT: Final = frozenset({"completed", "faulted", "canceled"})


@dataclass(slots=True)
class Flow:
    """What came in and went out of a handler or an app, and how long it took."""

    came: int = 0
    went: int = 0
    lasted: int = 0
    """Tasks whose duration is known."""
    lasted_ms: int = 0
    over_ms: int = FLOW_MS

    @property
    def in_per_s(self) -> float:
        return round(1000 * self.came / self.over_ms, 3)

    @property
    def out_per_s(self) -> float:
        return round(1000 * self.went / self.over_ms, 3)

    @property
    def duration_ms(self) -> float | None:
        return round(self.lasted_ms / self.lasted, 1) if self.lasted else None

    def add(self, packed: Any) -> None:
        """Add packed sums, of which only this is read; what cannot be read did not happen."""
        try:
            counts, _last, _wait, _lateness, (_first, cells, sum_ms, *_longest) = packed
            words = [(name.partition(" ")[0], count) for name, count in counts.items()]
            came, went = (sum(count for word, count in words if word in counted) for counted in (CAME, WENT))
            lasted, lasted_ms = sum(cells), int(sum_ms)
        except (TypeError, ValueError, AttributeError):
            return
        self.came, self.went = self.came + came, self.went + went
        self.lasted, self.lasted_ms = self.lasted + lasted, self.lasted_ms + lasted_ms


async def flows(space: Partitions, subjects: Sequence[str], now_ms: int) -> dict[str, Flow]:
    """The flow of each of these handlers and apps."""
    first = (now_ms - FLOW_MS) // limits.MINUTE_MS
    by_subject = {subject: Flow(over_ms=now_ms - first * limits.MINUTE_MS) for subject in subjects}
    homes = await homes_of(space, subjects)
    asked = [(place, minute) for place in homes for minute in range(first, now_ms // limits.MINUTE_MS + 1)]
    answers = await space.read_all(
        [("HMGET", K.minute(space.prefixes[place], str(minute)), *homes[place]) for place, minute in asked]
    )
    for (place, _minute), answer in zip(asked, answers, strict=True):
        for subject, value in zip(homes[place], answer, strict=True):
            if value is not None:
                by_subject[subject].add(unpack(value))
    return by_subject


async def durations(space: Partitions, subjects: Sequence[str]) -> dict[str, float | None]:
    """How long a task of each ever took, in the mean."""
    homes = await homes_of(space, subjects)
    asked = [(subject, space.prefixes[place]) for place, own in homes.items() for subject in own]
    answers = await space.read_all([("GET", K.totals(prefix, subject)) for subject, prefix in asked])
    means: dict[str, float | None] = dict.fromkeys(subjects)
    for (subject, _prefix), value in zip(asked, answers, strict=True):
        ever = Flow()
        ever.add(unpack(value))
        means[subject] = ever.duration_ms
    return means
