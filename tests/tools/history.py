"""The history checker: what became of everything, judged from three records that do not know of each other.

1. The *journals* of the workers (``journal.py``), the *event log* of the engine (``events`` of every partition), and
   the *keyspace* as it was left. Besides, what the submitter was told (``Accepted``) and the rules of the triggers
   (``Rule``): without these, nobody could tell what should have happened.
2. Each invariant of the design (I1–I7, I11) is one function below. It yields what breaks the rule, with the events and
   journal lines around it. Nothing here asks the system anything.
3. An engine that lost its newest writes (``Rollback``: the machine died with an append-only file synced every second)
   may forget what it acknowledged then. That excuses exactly the accepted tasks and the executions that lie in the
   lost interval; they are counted. It excuses no second task of a slot and no index that lies.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import msgpack

from gojob_redis.domain import ids
from tests import invariants
from tests.faults.journal import Line
from tests.tools.keyspace import Keyspace

TERMINAL = invariants.TERMINAL
RULES = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I11", "K16")
LEASE_ENDED = frozenset({"lost", "unaccepted", "run_limit"})
"""Events that say that an attempt was taken from its owner; each names run and attempt."""
ENDED_BY_ITSELF = frozenset({"failed", "canceled"})
COUNTED = (
    "run_to_completion", "faulted", "canceled", "retired", "forgotten", "slots_fired", "slots_coalesced",
    "extra", "retried",
)  # fmt: skip
"""Figures that every row has, also when they are 0."""
SKEW_MS = 5
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a partition's event log."""

    partition: int
    at_ms: int
    """The engine's wall clock."""
    kind: str
    fields: Mapping[str, str]

    def __str__(self) -> str:
        fields = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.at_ms} p{self.partition} {self.kind} {fields}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submission that was answered with an id."""

    task: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A trigger, and the slots it had: every ``every_ms`` from the first to the last."""

    name: str
    uid: str
    partition: int
    first_ms: int
    every_ms: int
    until_ms: int
    """When it was paused; later slots are not its own."""

    @property
    def slots(self) -> range:
        return range(self.first_ms, self.until_ms + 1, self.every_ms)


@dataclass(frozen=True, slots=True)
class Rollback:
    """The engine forgot what it had written in this interval (wall ms)."""

    from_ms: int
    to_ms: int

    def touches(self, begin_ms: int, end_ms: int | None) -> bool:
        return begin_ms <= self.to_ms and (end_ms is None or end_ms >= self.from_ms)


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule."""

    rule: str
    what: str
    around: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n      ".join((f"{self.rule}: {self.what}", *self.around))


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a handler, from its journal."""

    begin: Line
    end: Line | None

    @property
    def end_ms(self) -> int | None:
        return self.end.at_ms if self.end else None

    def overlaps(self, later: "Run") -> bool:
        return self.end is None or later.begin.at_ms < self.end.at_ms


@dataclass(frozen=True)
class Records:
    """Everything that is known after a campaign.

    keyspace: by partition, names below the prefix.
    steps: the engine's clock was set; its times say nothing about the journals' order then.
    ended: tasks whose report was accepted, as workers without a journal heard it.
    """

    lines: Sequence[Line] = ()
    events: Sequence[Event] = ()
    keyspace: Mapping[int, Keyspace] = field(default_factory=dict)
    accepted: Sequence[Accepted] = ()
    rules: Sequence[Rule] = ()
    rollbacks: Sequence[Rollback] = ()
    steps: bool = False
    ended: frozenset[str] = frozenset()

    @cached_property
    def executions(self) -> dict[str, Run]:
        """By their word."""
        begun = {line.execution: line for line in self.lines if line.what == "begin"}
        ended = {line.execution: line for line in self.lines if line.what != "begin"}
        return {word: Run(line, ended.get(word)) for word, line in begun.items()}

    @cached_property
    def by_run(self) -> dict[str, list[Run]]:
        """Executions of each run, oldest attempt first."""
        runs: dict[str, list[Run]] = defaultdict(list)
        for each in self.executions.values():
            runs[each.begin.run].append(each)
        for executions in runs.values():
            executions.sort(key=lambda each: (each.begin.attempt, each.begin.at_ms))
        return dict(runs)

    @cached_property
    def ended_tasks(self) -> frozenset[str]:
        """Tasks of which some execution ended."""
        return self.ended | {each.begin.task for each in self.executions.values() if each.end is not None}

    @cached_property
    def events_of(self) -> dict[str, list[Event]]:
        """Events by the run, trigger or session they name."""
        by_name: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            for name in ("run", "task", "uid"):
                if name in event.fields:
                    by_name[event.fields[name]].append(event)
        return dict(by_name)

    def record(self, run: str) -> dict[str, Any] | None:
        """The record of a run."""
        record: dict[str, Any] | None = self.keyspace.get(ids.partition_of(run.partition(".")[0]), {}).get(
            f"task:{run}"
        )
        return record

    def around(self, name: str) -> tuple[str, ...]:
        """What the records say about a run or a trigger, in time."""
        lines = [(event.at_ms, str(event)) for event in self.events_of.get(name, ())]
        for line in (line for each in self.by_run.get(name, ()) for line in (each.begin, each.end) if line):
            text = f"{line.what} {line.run}@{line.attempt} fence={line.fence} on {line.worker}/{line.pid}"
            lines.append((line.at_ms, f"{line.at_ms} {text}"))
        record = self.record(name) if "f" in name[2:3] or "s" in name[2:3] else None
        last = [f"record: {record}"] if record else []
        return (*(text for _, text in sorted(lines)[-SHOWN:]), *last)

    def forgotten(self, begin_ms: int, end_ms: int | None) -> bool:
        """Whether the engine may have lost what it knew about this interval."""
        return any(rollback.touches(begin_ms, end_ms) for rollback in self.rollbacks)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the records prove."""

    violations: list[Violation]
    counts: Counter[str]
    """Tasks, executions, extra executions and how they are explained, slots by what became of them."""

    @property
    def broken(self) -> Counter[str]:
        """Violations by rule."""
        return Counter(violation.rule for violation in self.violations)


def check(records: Records) -> Verdict:
    """Every violation of every rule."""
    counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    counts.update(accepted=len(records.accepted), executions=len(records.executions))
    violations = [
        *every_slot_once(records, counts),
        *one_task_a_slot(records),
        *accepted_ends(records, counts),
        *newest_is_accepted(records, counts),
        *extra_explained(records, counts),
        *overlap_explained(records),
        *indexes(records),
        *sums(records),
    ]
    return Verdict(violations, counts)


def sums(records: Records) -> Iterator[Violation]:
    """K16: the statistics say what the keyspace says, or entries were lost and that is told. A record that somebody
    spoiled may have ended twice."""
    if any(event.kind == "corrupt" for event in records.events):
        return
    for dump in records.keyspace.values():
        for text in invariants.miscounts(dump):
            yield Violation("K16", text.removeprefix("K16: "))


# ---- I1, I2: slots ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """What a ledger says about a slot, or about a range of them."""

    word: str
    first: int
    last: int
    count: int
    detail: str


def ledger(records: Records, rule: Rule) -> list[Entry]:
    """The ledger of a trigger; entries of runs by hand are not about slots."""
    members = records.keyspace.get(rule.partition, {}).get(f"ledger:{rule.uid}", {})
    return [entry for member in members if (entry := _entry(str(member))) is not None]


def _entry(member: str) -> Entry | None:
    word, slot, *detail = member.split(" ")
    if word == "manual":
        return None
    if word == "coalesced":
        return Entry(word, int(detail[0]), int(slot), int(detail[1]), " ".join(detail[2:]))
    return Entry(word, int(slot), int(slot), 1, " ".join(detail))


def every_slot_once(records: Records, counts: Counter[str]) -> Iterator[Violation]:
    """I1: each slot stands in its ledger exactly once; a range counts what it covers."""
    for rule in records.rules:
        covered: Counter[int] = Counter()
        for entry in ledger(records, rule):
            counts[f"slots_{entry.word}" + (f"_{entry.detail}" if entry.word == "skipped" else "")] += entry.count
            slots = list(_within(rule, entry.first, entry.last))
            covered.update(slots)
            if len(slots) != entry.count and entry.last <= rule.until_ms:
                text = (
                    f"{entry.word} says {entry.count} slots from {entry.first} to {entry.last}, the rule {len(slots)}"
                )
                yield Violation("I1", f"{rule.name}: {text}", records.around(rule.uid))
        for slot in rule.slots:
            if covered[slot] != 1:
                text = f"{rule.name}: slot {slot} stands {covered[slot]} times in the ledger"
                yield Violation("I1", text, records.around(rule.uid))


def _within(rule: Rule, first: int, last: int) -> range:
    """The rule's slots between two moments, both included."""
    step = rule.every_ms
    begin = max(0, -(-(first - rule.first_ms) // step))
    return range(rule.first_ms + begin * step, min(last, rule.until_ms) + 1, step)


def one_task_a_slot(records: Records) -> Iterator[Violation]:
    """I2: no slot has two tasks, in the ledger or in the journals; and the watermark covers what was fired."""
    tasks_by_slot: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in records.lines:
        if line.trigger is not None and line.slot is not None:
            tasks_by_slot[line.trigger, line.slot].add(line.task)
    for (trigger, slot), tasks in tasks_by_slot.items():
        if len(tasks) > 1:
            text = f"{trigger}: slot {slot} ran as {sorted(tasks)}"
            yield Violation("I2", text, records.around(min(tasks)))
    for rule in records.rules:
        fired = Counter(entry.last for entry in ledger(records, rule) if entry.word == "fired")
        for slot, count in fired.items():
            if count > 1:
                yield Violation("I2", f"{rule.name}: slot {slot} was fired {count} times", records.around(rule.uid))
        record = records.keyspace.get(rule.partition, {}).get(f"trigger:{rule.uid}")
        if record and fired and int(record.get("last_slot", 0)) < max(fired):
            text = f"{rule.name}: the watermark {record.get('last_slot')} is below the fired slot {max(fired)}"
            yield Violation("I2", text, records.around(rule.uid))


# ---- I3: everything ends ---------------------------------------------------------------------------------------------


def accepted_ends(records: Records, counts: Counter[str]) -> Iterator[Violation]:
    """I3: what was accepted, or fired, is terminal; or was, was journaled as ended, and is retired by now."""
    for accepted in records.accepted:
        yield from _ends(records, counts, accepted.task, accepted.at_ms)
    for rule in records.rules:
        for entry in ledger(records, rule):
            if entry.word == "fired":
                task = ids.fired_id(rule.partition, ids.TriggerUid(rule.uid), entry.last)
                yield from _ends(records, counts, task, entry.last)


def _ends(records: Records, counts: Counter[str], task: str, at_ms: int) -> Iterator[Violation]:
    record = records.record(task)
    if record is not None:
        counts[str(record.get("state"))] += 1
        if record.get("state") not in TERMINAL:
            yield Violation("I3", f"{task} is still {record.get('state')}", records.around(task))
    elif records.forgotten(at_ms, at_ms):
        counts["forgotten"] += 1
    elif task in records.ended_tasks:
        counts["retired"] += 1
    else:
        yield Violation("I3", f"{task} was accepted and nobody knows it", records.around(task))


# ---- I4, I5, I6: executions ------------------------------------------------------------------------------------------


def newest_is_accepted(records: Records, counts: Counter[str]) -> Iterator[Violation]:
    """I4: the accepted result is the one of the newest attempt, whose fence the record still carries."""
    for run, executions in records.by_run.items():
        record = records.record(run)
        if record is None or record.get("state") != "run_to_completion" or "result" not in record:
            continue
        word = _result(record["result"])
        accepted = records.executions.get(word)
        if accepted is None:
            yield Violation("I4", f"{run} has the result {word!r}, which no execution gave", records.around(run))
            continue
        counts["accepted_results"] += 1
        line, fence = accepted.begin, int(str(record["fence"]).partition("-")[0])
        newest = max(each.begin.fence for each in executions)
        if line.run != run:
            yield Violation("I4", f"{run} has the result of {line.run}", records.around(run))
        elif line.attempt != int(record["attempt"]) or line.fence != fence:
            text = (
                f"{run} took attempt {line.attempt} (fence {line.fence}), its newest is {record['attempt']} ({fence})"
            )
            yield Violation("I4", text, records.around(run))
        elif line.fence < newest:
            yield Violation("I4", f"{run} took fence {line.fence}, a later one began: {newest}", records.around(run))
        elif accepted.end is None:
            yield Violation("I4", f"{run} took attempt {line.attempt}, which never ended", records.around(run))


def _result(packed: object) -> str:
    """The word a handler returned."""
    raw = packed if isinstance(packed, bytes) else str(packed).encode()
    try:
        return str(msgpack.unpackb(raw))
    except (ValueError, msgpack.UnpackException):
        return repr(raw)


def extra_explained(records: Records, counts: Counter[str]) -> Iterator[Violation]:
    """I5: an execution that was not the last of its run ended its attempt by itself, or lost it by an event."""
    for run, executions in records.by_run.items():
        for earlier, later in pairwise(executions):
            if earlier.end is not None and earlier.end.what in ENDED_BY_ITSELF:
                counts["retried"] += 1
                continue
            counts["extra"] += 1
            why = _taken(records, earlier)
            if earlier.begin.fence == later.begin.fence:
                text = f"{run} began twice with the same fence {later.begin.fence}"
                yield Violation("I5", text, records.around(run))
            elif records.forgotten(earlier.begin.at_ms, earlier.end_ms):
                counts["extra_forgotten"] += 1
            elif earlier.begin.attempt == later.begin.attempt:
                text = f"attempt {later.begin.attempt} of {run} began twice"
                yield Violation("I5", text, records.around(run))
            elif why is None:
                text = f"{run} ran again after attempt {earlier.begin.attempt}, and no event says why"
                yield Violation("I5", text, records.around(run))
            else:
                counts[f"extra_{why.kind}"] += 1


def _taken(records: Records, execution: Run) -> Event | None:
    """The event that took this attempt from its owner."""
    line = execution.begin
    for event in records.events_of.get(line.run, ()):
        if event.kind in LEASE_ENDED and event.fields.get("attempt") == str(line.attempt):
            return event
    return None


def overlap_explained(records: Records) -> Iterator[Violation]:
    """I6: two executions of a run overlap only after an event had taken the first from its owner."""
    for run, executions in records.by_run.items():
        for i, later in enumerate(executions):
            for earlier in executions[:i]:
                if not earlier.overlaps(later) or records.forgotten(earlier.begin.at_ms, earlier.end_ms):
                    continue
                taken = _taken(records, earlier)
                in_time = taken is not None and (records.steps or taken.at_ms <= later.begin.at_ms + SKEW_MS)
                if not in_time:
                    pair = f"attempts {earlier.begin.attempt} and {later.begin.attempt} of {run}"
                    yield Violation("I6", f"{pair} ran at the same time", records.around(run))


# ---- I7, I11: indexes ------------------------------------------------------------------------------------------------


def indexes(records: Records) -> Iterator[Violation]:
    """I7 and I11, from the keyspace alone."""
    for partition, keyspace in records.keyspace.items():
        for sentence in invariants.violations(keyspace):
            rule, _, what = sentence.partition(": ")
            yield Violation(rule, f"p{partition}: {what}", _named(records, what))


def _named(records: Records, what: str) -> tuple[str, ...]:
    """The records around the run that a sentence is about."""
    run = next((word.strip("'[],") for word in what.split() if word.strip("'[],") in records.events_of), None)
    return records.around(run) if run else ()


def recovery_s(records: Records, healed: Sequence[tuple[int, int]], usual_ms: int = 500) -> float:
    """I10: the longest time from a healing to the last slot that was still fired later than usual.

    healed: when each fault was over, and when the next one began, wall ms.
    """
    fired = [
        (entry.last + late, late)
        for rule in records.rules
        for entry in ledger(records, rule)
        if entry.word == "fired" and (late := int(entry.detail)) > usual_ms
    ]
    return max((at - begin for begin, end in healed for at, _ in fired if begin <= at < end), default=0) / 1000


def lateness_ms(records: Records, rules: Iterable[Rule] | None = None) -> list[int]:
    """How late each fired slot became a task."""
    chosen = records.rules if rules is None else rules
    return [int(entry.detail) for rule in chosen for entry in ledger(records, rule) if entry.word == "fired"]
