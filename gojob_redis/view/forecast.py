"""What is planned: how many fires fall into each step of the next days, from the schedules of the triggers.

1. The rules of an app are read from the cards of its triggers, and those that are alike are computed once. Only active
   triggers count. A later pause, delay or change is not foreseen.
2. It is work for a thread, which lets others run every 2 ms. An app may take a second of it, the rules of the most
   triggers first. An answer takes no further app after two seconds; what is known by then is remembered, so that the
   next one gets further. Each answer says how many triggers it covers.
3. Rules and results are kept for a minute, by app, so everybody who may see an app shares them. What single rules plan
   between full hours is kept longer: apps share rules, and the next minute has nearly the same hours.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gojob_redis.domain import limits
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.states import TriggerState
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.runtime.ttl_cache import TtlCache
from gojob_redis.schedules.schedule import BETWEEN, KINDS, of_line, spread_between
from gojob_redis.view.apps import Apps, Sees
from gojob_redis.view.cards import Card
from gojob_redis.view.records import home
from gojob_redis.view.trigger_list import BEHIND

KEPT_S: Final = 60.0
SLICE_S: Final = 0.002
NUMBERS_KEPT: Final = 200_000
"""So many numbers of results are kept, and so many rules, and so many numbers of single rules."""
HOUR: Final = limits.HOUR_MS

Steps = dict[int, int]
"""Fires by the number of the step since 1970; a step without is not there."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the triggers of an app plan."""

    alike: Counter[tuple[str, str]]
    """Triggers by handler and schedule, as its card writes it."""
    triggers: int
    """Active ones with a schedule."""


@dataclass(slots=True)
class Planned:
    """Fires by handler, and how much of all they are."""

    by_handler: dict[str, Steps] = field(default_factory=dict)
    """By namespace/app/handler; of single triggers, by namespace/app/trigger."""
    triggers: int = 0
    """Active ones with a schedule; of an app that was not read, all."""
    covered: int = 0
    """Those of them whose fires are counted."""

    @property
    def size(self) -> int:
        return 1 + sum(map(len, self.by_handler.values()))

    @property
    def whole(self) -> Steps:
        """The fires of all handlers together."""
        return summed(self.by_handler.values())


def summed(several: Iterable[Steps]) -> Steps:
    whole: Steps = {}
    for own in several:
        for step, count in own.items():
            whole[step] = whole.get(step, 0) + count
    return whole


class Spreads:
    """The fires of single schedules between full hours, kept: the next minute asks for nearly the same ones again."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, int, int], Steps | None] = {}
        self._size = 0

    def between(self, line: str, from_ms: int, to_ms: int, step_ms: int) -> Steps | None:
        """The fires of one schedule from one whole minute to another; None for one that cannot be read here.

        step_ms: a minute; or a part of an hour, and then ``to_ms`` is the end of one.
        """
        first_ms, last_ms = from_ms // HOUR * HOUR, -(-to_ms // HOUR) * HOUR
        if step_ms == limits.MINUTE_MS:
            return _between(self._whole(line, first_ms, last_ms, step_ms), from_ms // step_ms, to_ms // step_ms)
        full_ms = min(first_ms + HOUR, last_ms)
        begin = self.between(line, from_ms, min(full_ms, to_ms), limits.MINUTE_MS)
        rest = _between(self._whole(line, full_ms, last_ms, step_ms), 0, to_ms // step_ms)
        if begin is None or rest is None:
            return None
        steps = dict(rest)
        for minute, count in begin.items():
            step = minute * limits.MINUTE_MS // step_ms
            steps[step] = steps.get(step, 0) + count
        return steps

    def _whole(self, line: str, from_ms: int, to_ms: int, step_ms: int) -> Steps | None:
        name = line, from_ms, to_ms, step_ms
        if name not in self._kept:
            if self._size > NUMBERS_KEPT:
                self._kept.clear()
                self._size = 0
            self._kept[name] = _spread(line, from_ms, to_ms, step_ms)
            self._size += 1 + len(self._kept[name] or ())
        return self._kept[name]


def _between(steps: Steps | None, first: int, end: int) -> Steps | None:
    return None if steps is None else {step: count for step, count in steps.items() if first <= step < end}


class Forecast:
    """What is planned, by app; one for each gateway."""

    def __init__(self, apps: Apps) -> None:
        self.apps = apps
        self._rules: TtlCache[Rules] = TtlCache(
            self._read, for_s=KEPT_S, most=NUMBERS_KEPT, weigh=lambda own: 1 + len(own.alike)
        )
        self.planned_times: TtlCache[Planned] = TtlCache(
            self._compute, for_s=KEPT_S, most=NUMBERS_KEPT, weigh=lambda own: own.size
        )
        self._one_at_a_time = asyncio.Semaphore(1)
        self._spreads = Spreads()

    async def planned(self, sees: Sees, only: str, from_ms: int, to_ms: int, step_ms: int) -> Planned:
        """What the apps that the caller may see plan from one whole minute to another.

        only: this app and no other; "" for all.
        """
        began, whole = time.monotonic(), Planned()
        if from_ms >= to_ms:
            return whole
        seen = await self.apps.seen(sees, only=only)
        counts = await self.apps.space.read_all([_count(partition, app) for app, partition in seen])
        for (app, _partition), count in zip(seen, counts, strict=True):
            if not count:
                continue
            if time.monotonic() - began > limits.FORECAST_MS / 1000:
                whole.triggers += count
                continue
            own = await self.planned_times.get(f"{app} {from_ms} {to_ms} {step_ms}")
            whole.by_handler |= own.by_handler
            whole.triggers += own.triggers
            whole.covered += own.covered
        return whole

    async def of_triggers(self, triggers: Mapping[str, str], from_ms: int, to_ms: int, step_ms: int) -> Planned:
        """What single triggers plan in the same span, each for itself.

        triggers: schedules, as cards write them, by ``namespace/app/trigger``.
        """
        by_app: dict[str, Counter[tuple[str, str]]] = {}
        for address, line in triggers.items():
            by_app.setdefault(app_of(address), Counter())[name_of(address), line] = 1
        began, whole = time.monotonic(), Planned(triggers=len(triggers))
        for app, alike in by_app.items():
            if from_ms >= to_ms or time.monotonic() - began > limits.FORECAST_MS / 1000:
                break
            async with self._one_at_a_time:
                rules = Rules(alike, len(alike))
                own = await asyncio.to_thread(planned_times, self._spreads, app, rules, from_ms, to_ms, step_ms)
            whole.by_handler |= own.by_handler
            whole.covered += own.covered
        return whole

    async def _read(self, app: str) -> Rules:
        alike: Counter[tuple[str, str]] = Counter()
        triggers = 0
        partition = await home(self.apps.space, app)
        begin = "-"
        while partition is not None:
            names, cards = await _page(partition, app, begin)
            for card in (Card.read(each) for each in cards if each):
                if card.state is TriggerState.ACTIVE and not card.line.startswith("manual"):
                    triggers += 1
                    if len(alike) < limits.FORECAST_RULES or (card.handler, card.line) in alike:
                        alike[card.handler, card.line] += 1
            if len(names) < limits.SEARCH_AT_ONCE:
                break
            begin = f"({names[-1].decode()}"
        return Rules(alike, triggers)

    async def _compute(self, name: str) -> Planned:
        app, *numbers = name.split(" ")
        rules = await self._rules.get(app)
        async with self._one_at_a_time:
            return await asyncio.to_thread(planned_times, self._spreads, app, rules, *map(int, numbers))


def _count(partition: Partition, app: str) -> tuple[str | int, ...]:
    return "ZCARD", K.trigger_names(partition.prefix, app)


async def _page(partition: Partition, app: str, begin: str) -> tuple[Sequence[bytes], Sequence[bytes | None]]:
    """Names and cards of some triggers, in order."""
    key = K.trigger_names(partition.prefix, app)
    [names] = await partition.read([("ZRANGE", key, begin, f"({BEHIND}", "BYLEX", "LIMIT", 0, limits.SEARCH_AT_ONCE)])
    if not names:
        return names, []
    [cards] = await partition.read([("HMGET", K.triggers(partition.prefix, app), *names)])
    return names, cards


def planned_times(spreads: Spreads, app: str, rules: Rules, from_ms: int, to_ms: int, step_ms: int) -> Planned:
    """Compute what an app plans, as far as its time allows."""
    planned = Planned(triggers=rules.triggers)
    by_line: dict[str, list[tuple[str, int]]] = {}
    alike: Counter[tuple[str, str]] = Counter()
    for (handler, line), count in rules.alike.items():
        alike[handler, by_minute(line, from_ms)] += count
    for (handler, line), count in alike.most_common():
        by_line.setdefault(line, []).append((handler, count))
    until = time.thread_time() + limits.FORECAST_CPU_MS / 1000
    rest = time.thread_time() + SLICE_S
    for line, handlers in by_line.items():
        spread = spreads.between(line, from_ms, to_ms, step_ms)
        if spread is None:
            continue  # of a later release, perhaps: not covered
        for handler, count in handlers:
            planned.covered += count
            if spread:
                own = planned.by_handler.setdefault(f"{app}/{handler}", {})
                for step, fires in spread.items():
                    own[step] = own.get(step, 0) + fires * count
        now = time.thread_time()
        if now > until:
            break
        if now > rest:
            time.sleep(SLICE_S)
            rest = time.thread_time() + SLICE_S
    return planned


def by_minute(line: str, from_ms: int) -> str:
    """A schedule that has as many slots in each whole minute from a moment on; rates in whole minutes become few."""
    kind, *values = line.split(BETWEEN)
    if kind != "every" or len(values) != 4 or any(values[2:]) or not all(value.isdecimal() for value in values[:2]):
        return line
    every_ms, anchor_ms = int(values[0]), int(values[1])
    if every_ms % limits.MINUTE_MS or not every_ms or anchor_ms >= from_ms:
        return line
    minute_ms = anchor_ms % every_ms // limits.MINUTE_MS * limits.MINUTE_MS
    return BETWEEN.join([kind, values[0], str(minute_ms), "", ""])


def _spread(line: str, from_ms: int, to_ms: int, step_ms: int) -> Steps | None:
    """The fires of one schedule; None for one that cannot be read here."""
    written: dict[str, Any] = dict(of_line(line))
    kind = KINDS.get(written.pop("kind"))
    if kind is None:
        return None
    return spread_between(kind(**written), from_ms - 1, to_ms - 1, step_ms)
