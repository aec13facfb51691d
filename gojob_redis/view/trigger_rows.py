"""Triggers on a time line: how the tasks of their slots ended, which slots were not fired, and which come next."""

from dataclasses import dataclass
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.domain.states import SlotReason, SlotWord, TriggerState
from gojob_redis.engine.keys import K
from gojob_redis.view.apps import Sees
from gojob_redis.view.forecast import Forecast, Planned
from gojob_redis.view.records import rounded, scored
from gojob_redis.view.stats import Span
from gojob_redis.view.trigger_list import Row, Search, find_triggers
from gojob_redis.view.trigger_stats import EndRow
from gojob_redis.view.triggers import Slot, slot_of

POINTS: Final = limits.RING_ENDS
"""Ends and ledger entries of a trigger that a row tells, the newest."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Slots of a trigger that were not fired."""

    word: SlotWord
    reason: SlotReason
    from_ms: int
    to_ms: int
    slots: int


@dataclass(frozen=True, slots=True)
class TriggerLine:
    """One trigger on the axis, slot by slot: of its last 200 ends and ledger entries, those that are on the axis."""

    name: str
    uid: str
    state: TriggerState
    ran: list[EndRow]
    """How the tasks of its slots ended, the newest first."""
    ends_from_ms: int | None
    """Of older slots it is not known here how they ended; None: it is known of all."""
    slots_from_ms: int | None
    """The same of slots that were not fired."""
    open_ms: list[int]
    """Slots, from ``ends_from_ms`` on, that were fired and whose task did not end yet, newest first."""
    gaps: list[Gap]
    next_ms: list[int]
    """Its next slots as they are written down to be fired; ``planned`` counts further ones, too."""


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """A trigger, and whose it is."""

    address: str
    """namespace/app/trigger"""
    handler: str
    line: TriggerLine


@dataclass(frozen=True, slots=True)
class TriggerPage:
    """Some triggers by name, and what they plan."""

    rows: list[TriggerRow]
    planned: Planned
    next: str | None


async def trigger_page(
    forecast: Forecast, sees: Sees, only: str, handler: str, axis: Span, ahead: Span, cursor: str
) -> TriggerPage:
    """A page of triggers on an axis; raises BadRequest ``bad_cursor``.

    handler: only those of this one, by its name in its app; "" for all.
    ahead: the part of the axis on which what is planned is counted.
    """
    search = Search(app=only, handler=handler)
    page = await find_triggers(
        forecast.apps, sees, search, cursor=cursor, limit=limits.TIMELINE_ROWS, ends=limits.RING_ENDS
    )
    rows = await _rows(forecast, page.rows, axis)
    lines = {
        f"{row.app}/{row.name}": row.card.line
        for row in page.rows
        if row.card.state is TriggerState.ACTIVE and not row.card.line.startswith("manual")
    }
    planned = await forecast.of_triggers(lines, ahead.from_ms, ahead.to_ms, ahead.step.ms)
    return TriggerPage(rows, planned, page.next)


async def _rows(forecast: Forecast, triggers: list[Row], axis: Span) -> list[TriggerRow]:
    space = forecast.apps.space
    homes = {app: await space.of_app(app) for app in dict.fromkeys(row.app for row in triggers)}
    asked: list[tuple[str | int, ...]] = []
    for row in triggers:
        prefix, uid = homes[row.app].prefix, row.card.uid
        first, last = axis.from_ms, f"({axis.to_ms}"
        ledger = ("ZRANGE", K.ledger(prefix, uid), last, first, "BYSCORE", "REV", "LIMIT", 0, POINTS, "WITHSCORES")
        asked += [ledger, ("LRANGE", K.agenda(prefix, uid), 0, -1)]
    answers = await space.read_all(asked)
    rows = []
    for at, row in enumerate(triggers):
        entries = scored(answers[2 * at])
        slots = [slot_of(homes[row.app].number, row.card.uid, member, score) for member, score in entries]
        agenda = [rounded(each) for each in answers[2 * at + 1]]
        line = _line(row, slots, [each for each in [row.next_ms, *agenda] if each is not None], axis)
        rows.append(TriggerRow(f"{row.app}/{row.name}", row.card.handler, line))
    return rows


def _line(row: Row, slots: list[Slot], next_ms: list[int], axis: Span) -> TriggerLine:
    ends = sorted(row.ends, key=lambda end: -end.slot_ms)
    ends_from_ms = ends[-1].slot_ms if len(ends) >= limits.RING_ENDS else None
    ended = {end.slot_ms for end in ends}
    fired = [slot.slot_ms for slot in slots if slot.word is SlotWord.FIRED and slot.slot_ms >= (ends_from_ms or 0)]
    return TriggerLine(
        name=row.name,
        uid=row.card.uid,
        state=row.card.state,
        ran=[
            EndRow(end.state, end.slot_ms, end.lateness_ms, end.duration_ms)
            for end in ends
            if axis.from_ms <= end.slot_ms < axis.to_ms
        ],
        ends_from_ms=ends_from_ms,
        slots_from_ms=slots[-1].slot_ms if len(slots) >= POINTS else None,
        open_ms=[slot for slot in fired if slot // 1000 * 1000 not in ended],
        gaps=[
            Gap(slot.word, slot.reason, slot.first_ms or slot.slot_ms, slot.slot_ms, slot.count)
            for slot in slots
            if slot.word in (SlotWord.SKIPPED, SlotWord.COALESCED)
        ],
        next_ms=[at for at in next_ms if axis.from_ms <= at < axis.to_ms],
    )
