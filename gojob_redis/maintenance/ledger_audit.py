"""The ledger audit: a second reading of each trigger's rule against what its ledger says.

1. Every trigger has a turn every 8 s (``lua/audit.lua``). One that stands as it stood is passed over inside Lua; one
   that moved is answered with the part of its ledger that was not compared yet, read in the same moment as its
   watermark, so that firing meanwhile cannot look like a fault.
2. The comparison walks the rule itself, slot by slot, and never the agenda: what the planner computed wrongly, and what
   somebody changed by hand, shows as a hole (a slot without an entry), a double (a slot with two) or a stray (an entry
   for a moment that is no slot). Entries of runs by hand belong to no slot.
3. ``lua/amend.lua`` tells each finding as an event and mends what can be mended. Below the watermark a slot is not
   fired any more: it is recorded as fired where its task still exists, else as missed. Above it nothing is lost: an
   agenda that passes over a slot is planned anew.
4. The walk shares its arithmetic with the planner, so a fault in that would agree with itself. Of a few triggers a call
   some slots, and the time between two of them, are asked of ``witness.py`` too, which is slow and made another way.
   Where the two differ, that is told (``ledger_disputed``) and nothing is mended: which one is wrong is not known.
5. What cannot be compared is the time before the last change of the rule, and what the ledger forgot (1,000 entries,
   30 days). An entry taken away there is still missed, by their number.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import msgpack
import structlog

from gojob_redis.domain import ids, limits, verbs
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.failure_log import FailureLog
from gojob_redis.schedules import witness
from gojob_redis.schedules.schedule import (
    Schedule,
    as_mapping,
    count_between,
    latest_between,
    next_times,
    parse,
    slots_after,
)

log = structlog.get_logger()

SINGLE_SLOTS = 100
"""A hole of more slots becomes one range entry."""
SECOND_OPINIONS, DISPUTED_SLOTS, DISPUTED_LOOKS = 2, 3, 60
"""Triggers of a call that are asked about twice, slots of each, and looks between two of them: about 2 ms in all."""
PASS_CALLS = 20
"""Most calls for a partition before all are asked again which of them hold triggers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one ledger entry covers: a slot, or all slots from a first to a last."""

    word: str
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between rule and ledger; in the order of ``amend``'s items."""

    kind: str
    first: int
    last: int
    count: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A trigger that moved since its last audit; in the order of ``audit``'s answer."""

    uid: str
    app: str
    name: str
    revision: int
    active: bool
    watermark: int
    changed: int
    due: int | None
    held: int
    """Ledger entries, those it forgot included."""
    audited: str
    begin: int
    upto: int
    missing: int
    """Entries taken away below ``audited``; negative for entries put there."""
    definition: bytes
    entries: list[bytes]


def moved(row: Sequence[bytes | list[bytes]]) -> Moved:
    """One row of ``audit``'s answer."""
    *facts, definition, entries = row
    assert isinstance(definition, bytes)
    assert isinstance(entries, list)
    uid, app, name, revision, active, watermark, changed, due, count, audited, begin, upto, missing = (
        fact.decode("utf-8", "replace") for fact in facts if isinstance(fact, bytes)
    )
    return Moved(
        uid=uid,
        app=app,
        name=name,
        revision=int(revision),
        active=active == "1",
        watermark=int(watermark),
        changed=int(changed),
        due=int(due) if due else None,
        held=int(count),
        audited=audited,
        begin=int(begin),
        upto=int(upto),
        missing=int(missing),
        definition=definition,
        entries=entries,
    )


@lru_cache(maxsize=4096)
def rule_of(definition: bytes) -> Schedule:
    """The schedule of a stored definition; raises ValueError for one that cannot be read."""
    try:
        return parse(msgpack.unpackb(definition, strict_map_key=False)["schedule"])
    except (GojobError, ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(str(error)) from error


def read_entry(text: bytes) -> Entry | None:
    """What an entry covers; None for one that belongs to no slot."""
    try:
        match text.decode().split(" "):
            case [("fired" | "skipped") as word, slot, *_]:
                return Entry(word, int(slot), int(slot), 1)
            case ["coalesced", last, first, count, *_]:
                return Entry("coalesced", int(first), int(last), int(count))
    except ValueError:
        pass
    return None


# ---- comparing -------------------------------------------------------------------------------------------------------


def compare(rule: Schedule, begin: int, upto: int, entries: Sequence[Entry], limit: int) -> tuple[list[Finding], int]:
    """Walk the rule through (begin, upto] beside the entries, which are in order.

    limit: most findings; returns them, and how far the comparison came.
    """
    findings: list[Finding] = []
    at = begin
    slots = slots_after(rule, begin, upto)
    for entry in sorted(entries, key=lambda entry: (entry.first, entry.last)):
        if entry.first <= at:
            findings.append(Finding("double", entry.first, entry.last, entry.count, entry.word))
            if entry.last > at:
                at = entry.last
                slots = slots_after(rule, at, upto)
            continue
        expected = next(slots, None)
        if expected is None or expected > entry.first:
            findings.append(Finding("stray", entry.first, entry.last, entry.count, entry.word))
            slots = slots_after(rule, at, upto)
            continue
        if expected < entry.first:
            findings.append(_hole(rule, at, entry.first - 1, expected))
            slots = slots_after(rule, entry.first - 1, upto)
            if next(slots, None) != entry.first:
                findings.append(Finding("stray", entry.first, entry.last, entry.count, entry.word))
                at = entry.first - 1
                slots = slots_after(rule, at, upto)
                continue
        if entry.count > 1 or entry.last > entry.first:
            findings += _wrong_range(rule, entry)
            slots = slots_after(rule, entry.last, upto)
        at = entry.last
        if len(findings) >= limit:
            return findings, max(at, entry.last)
    expected = next(slots, None)
    if expected is not None:
        findings.append(_hole(rule, at, upto, expected))
    return findings, max(upto, at)


def _hole(rule: Schedule, after: int, until: int, first: int) -> Finding:
    """The slots in (after, until]; the first of them is known."""
    last = latest_between(rule, first, until)
    return Finding("hole", first, last or first, count_between(rule, after, until))


def _wrong_range(rule: Schedule, entry: Entry) -> Iterator[Finding]:
    """A range entry says how many slots it stands for, and ends with one."""
    count = count_between(rule, entry.first - 1, entry.last)
    if count != entry.count or latest_between(rule, entry.first - 1, entry.last) != entry.last:
        yield Finding("stray", entry.first, entry.last, entry.count, f"covers {count}")


def findings_of(partition: int, trigger: Moved) -> list[Finding]:
    """All that is wrong with one trigger, what mends it, and last how far it was compared."""
    findings: list[Finding] = []
    begin, upto = trigger.begin, max(trigger.begin, trigger.upto)
    try:
        rule = rule_of(trigger.definition)
    except ValueError as error:
        log.error("audit.unreadable", uid=trigger.uid, error=str(error))
        return [_compared(trigger, upto)]
    entries = [entry for text in trigger.entries if (entry := read_entry(text))]
    if upto > begin:
        findings, upto = compare(rule, begin, upto, entries, limits.BATCH_ITEMS)
    findings = [each for finding in findings for each in _mended(partition, rule, trigger.uid, finding)]
    if upto >= trigger.watermark:
        findings += _taken_away(trigger, findings)
        findings += _skipped_over(rule, trigger)
    return [*findings, _compared(trigger, upto)]


def _mended(partition: int, rule: Schedule, uid: str, finding: Finding) -> Iterator[Finding]:
    """A finding, and the entries that make it good."""
    yield finding
    if finding.kind != "hole":
        return
    if finding.count > SINGLE_SLOTS:
        yield Finding("gap", finding.first, finding.last, finding.count)
        return
    for slot in next_times(rule, finding.first - 1, finding.count, finding.last):
        yield Finding("missed", slot, slot, 1, ids.fired_id(partition, ids.TriggerUid(uid), slot))


def _taken_away(trigger: Moved, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Entries that are missing where the rule cannot tell any more which slots they were."""
    audited = int(trigger.audited or 0)
    explained = sum(finding.count for finding in findings if finding.kind == "hole" and finding.last <= audited)
    if trigger.missing > explained:
        yield Finding("hole", 0, trigger.begin, trigger.missing - explained, "entries taken away")


def _skipped_over(rule: Schedule, trigger: Moved) -> Iterator[Finding]:
    """The due index holds the next slot of an active trigger, or an older one that waits to be handled."""
    if not trigger.active:
        return
    following = next(slots_after(rule, max(trigger.watermark, trigger.changed)), None)
    due = trigger.due
    if due is None:
        if following is not None:
            yield Finding("skipped_over", 0, following, 1, "no due entry")
    elif following is None or due > following:
        yield Finding("skipped_over", due, following or 0, 1, "the agenda passes over a slot")
    elif due < following and next(slots_after(rule, due - 1, due), None) is None:
        yield Finding("skipped_over", due, following, 1, "the due entry is no slot")


def disputes_of(trigger: Moved) -> Iterator[Finding]:
    """Where the second opinion differs about the newest slots that were handled, the next one, or the time between."""
    try:
        rule = as_mapping(rule_of(trigger.definition))
    except ValueError:
        return  # told by the comparison
    entries = [entry for text in trigger.entries if (entry := read_entry(text)) and entry.first > trigger.changed]
    slots = [entry.last for entry in sorted(entries, key=lambda entry: entry.last)[-DISPUTED_SLOTS:]]
    if trigger.active and trigger.due is not None:
        slots.append(trigger.due)
    for slot in slots:
        if not witness.is_slot(rule, slot):
            yield Finding("disputed", slot, slot, 1, "it is no slot by the second opinion")
    for before, after in pairwise(slots):
        missed = next(witness.slots_between(rule, before, after - 1, DISPUTED_LOOKS), None)
        if missed is not None and not _is_covered(entries, missed):
            yield Finding("disputed", missed, missed, 1, "it is a slot by the second opinion")


def _is_covered(entries: Sequence[Entry], slot: int) -> bool:
    return any(entry.first <= slot <= entry.last for entry in entries)


def _compared(trigger: Moved, upto: int) -> Finding:
    due = "" if trigger.due is None else str(trigger.due)
    return Finding("compared", trigger.watermark, upto, trigger.held, due)


# ---- the pass --------------------------------------------------------------------------------------------------------


class Audit:
    """Gives every trigger its turn, at most 25 triggers and 1,000 ledger entries of a partition in one call.

    prefers: whether this replica is the preferred one of a partition; the others take turns that were not taken.
    """

    def __init__(
        self,
        space: Partitions,
        *,
        prefers: Callable[[Partition], bool] = lambda _partition: True,
        every_ms: int = limits.AUDIT_EVERY_MS,
        overdue_ms: int = limits.OVERDUE_MS,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.failures = failures or FailureLog()
        self.prefers = prefers
        self.every_ms = every_ms
        self.overdue_ms = overdue_ms
        self.looked = 0
        self.compared = 0
        self.found = 0

    async def run_once(self) -> float | None:
        """Look at the triggers whose turn it is, in all partitions; returns 0 when one of them has more."""
        partitions = await self.space.holding(K.audits)
        for _ in range(PASS_CALLS):
            mine = [partition for partition in partitions if self.prefers(partition)]
            others = [partition for partition in partitions if not self.prefers(partition)]
            partitions = [*await self._look(mine, 0), *await self._look(others, self.every_ms // 2)]
            if not partitions:
                return None
        return 0.0

    async def _look(self, partitions: Sequence[Partition], grace_ms: int) -> list[Partition]:
        """One call for each partition; returns those that have more."""
        call = verbs.audit(
            limit=limits.AUDIT_ITEMS,
            entries=limits.AUDIT_ENTRIES,
            every=self.every_ms,
            grace=grace_ms,
            overdue=self.overdue_ms,
        )
        replies = await self.space.call_in(partitions, call)
        answered = zip(partitions, replies, strict=True)
        return [partition for partition, reply in answered if await self._settle(partition, reply)]

    async def _settle(self, partition: Partition, reply: verbs.AuditReply | Exception) -> bool:
        """Compare what one partition answered; returns whether it has more."""
        if isinstance(reply, Exception):
            self.failures.failed("audit", partition.number, reply)
            return False
        self.failures.went_well("audit", partition.number)
        self.looked += reply.looked
        if reply.moved:
            items = await asyncio.to_thread(items_of, partition.number, reply.moved)
            for batch in batches_of(items):
                await partition.call(verbs.amend(batch))
            self.compared += len(reply.moved)
            self.found += sum(item.kind in TOLD for item in items)
        return reply.status == "more"


TOLD = frozenset({"hole", "double", "stray", "skipped_over", "disputed"})


def items_of(partition: int, rows: Sequence[Sequence[bytes | list[bytes]]]) -> list[verbs.AmendItem]:
    triggers = list(map(moved, rows))
    asked = {trigger.uid for trigger in random.sample(triggers, min(len(triggers), SECOND_OPINIONS))}
    return [
        verbs.AmendItem(
            trigger.uid,
            trigger.revision,
            trigger.audited,
            finding.kind,
            finding.first,
            finding.last,
            finding.count,
            finding.detail,
        )
        for trigger in triggers
        for finding in _all_of(partition, trigger, twice=trigger.uid in asked)
    ]


def _all_of(partition: int, trigger: Moved, *, twice: bool) -> list[Finding]:
    """What the comparison found, and before it what the second opinion finds where that sees nothing wrong."""
    findings = findings_of(partition, trigger)
    disputes = disputes_of(trigger) if twice else ()
    return [*(each for each in disputes if not _is_told(findings, each.first)), *findings]


def _is_told(findings: Sequence[Finding], slot: int) -> bool:
    return any(each.first <= slot <= max(each.first, each.last) for each in findings if each.kind in TOLD)


def batches_of(items: Sequence[verbs.AmendItem]) -> Iterator[list[verbs.AmendItem]]:
    """Items of whole triggers, about 25 a call: ``compared`` is the last of each trigger's."""
    batch: list[verbs.AmendItem] = []
    for item in items:
        batch.append(item)
        if item.kind == "compared" and len(batch) >= limits.AUDIT_ITEMS:
            yield batch
            batch = []
    if batch:
        yield batch
