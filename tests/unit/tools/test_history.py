"""The history checker finds each rule broken once, and nothing in records that are clean."""

from dataclasses import replace

import msgpack
import pytest

from gojob_redis.domain import ids
from gojob_redis.domain.ids import TriggerUid
from tests.faults.journal import Line, What
from tests.tools import history
from tests.tools.history import Accepted, Event, Records, Rollback, Rule, Verdict, check
from tests.tools.keyspace import Keyspace

NOW = 1_800_000_000_000
TASK = ids.submitted_id(0, NOW)
OTHER = ids.submitted_id(0, NOW)
UID = "abcdefg"
SLOT = NOW + 1_000
FIRED = ids.fired_id(0, TriggerUid(UID), SLOT)


def line(what: What, at: int = 0, *, run: str = TASK, attempt: int = 1, word: str = "", **more: object) -> Line:
    """A journal line; the fence of attempt n is n."""
    word = word or f"{run}@{attempt}"
    facts = Line(what, NOW + at, "w1", 7, "work", run.partition(".")[0], run, attempt, attempt, word)
    return replace(facts, **more)  # type: ignore[arg-type]


def record(of: int = 1, *, run: str = TASK, **more: object) -> dict[str, object]:
    """What the engine keeps of a run that went well."""
    result = msgpack.packb(f"{run}@{of}")
    ended = {"state": "run_to_completion", "place": "none", "lane": "1", "result": result}
    return {**ended, "attempt": str(of), "fence": f"{of}-n", **more}


def event(kind: str, at: int, attempt: int = 1, run: str = TASK) -> Event:
    return Event(0, NOW + at, kind, {"run": run, "attempt": str(attempt)})


ONCE = (line("begin", 0), line("end", 100))
TWICE = (line("begin", 0), line("begin", 15_000, attempt=2), line("end", 15_100, attempt=2))
RULE = Rule("every", UID, 0, SLOT, 1_000, SLOT + 2_000)


def keyspace(**changes: object) -> Keyspace:
    """One finished task."""
    return {f"task:{TASK}": record(), **changes}


def with_ledger(*members: str, last_slot: int = SLOT + 2_000) -> dict[int, Keyspace]:
    """A trigger with this ledger, and the tasks it fired."""
    counted = {"fired": "f0", "skipped": f"koverlap {UID} {SLOT}", "coalesced": f"m{{}} {UID} {SLOT}"}
    items = [counted.get(word, "").format(*more[2:3]) for word, *more in (member.split(" ") for member in members)]
    held: Keyspace = {
        f"ledger:{UID}": dict.fromkeys(members, 0),
        f"trigger:{UID}": {"last_slot": str(last_slot)},
        "tally": [{"t": f"{NOW}\x1e" + "\x1f".join(["?", *filter(None, items)])}],
    }
    for member in members:
        word, slot, *_ = member.split(" ")
        if word == "fired":
            held[f"task:{ids.fired_id(0, TriggerUid(UID), int(slot))}"] = record(result="")
    return {0: held}


def rules(verdict: Verdict) -> list[str]:
    return [violation.rule for violation in verdict.violations]


ALL_FIRED = tuple(f"fired {slot} 3" for slot in RULE.slots)

CLEAN = {
    "one task, one execution": Records(lines=ONCE, keyspace={0: keyspace()}, accepted=[Accepted(TASK, NOW)]),
    "a lost lease, then another attempt": Records(
        lines=TWICE, events=[event("lost", 14_900)], keyspace={0: keyspace(**{f"task:{TASK}": record(2)})}
    ),
    "an unaccepted dispatch, both run": Records(
        lines=(*TWICE, line("end", 15_050)),
        events=[event("unaccepted", 5_000)],
        keyspace={0: keyspace(**{f"task:{TASK}": record(2)})},
    ),
    "a failure, then a retry": Records(
        lines=(line("begin"), line("failed", 5), line("begin", 10, attempt=2), line("end", 20, attempt=2)),
        keyspace={0: keyspace(**{f"task:{TASK}": record(2)})},
    ),
    "every slot fired": Records(keyspace=with_ledger(*ALL_FIRED), rules=[RULE]),
    "a skipped slot and a range": Records(
        keyspace=with_ledger(f"coalesced {SLOT + 1_000} {SLOT} 2 misfire", f"skipped {SLOT + 2_000} overlap"),
        rules=[RULE],
    ),
    "a run by hand beside the slots": Records(keyspace=with_ledger(*ALL_FIRED, f"manual {TASK}"), rules=[RULE]),
    "retired, but journaled as ended": Records(lines=ONCE, accepted=[Accepted(TASK, NOW)]),
    "retired, but its report was accepted": Records(accepted=[Accepted(TASK, NOW)], ended=frozenset({TASK})),
    "forgotten in the second the engine lost": Records(
        accepted=[Accepted(TASK, NOW)], rollbacks=[Rollback(NOW - 500, NOW + 500)]
    ),
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_records_have_no_violation(name: str) -> None:
    assert check(CLEAN[name]).violations == []


BROKEN: dict[str, tuple[str, Records]] = {
    "a slot is missing in the ledger": ("I1", Records(keyspace=with_ledger(*ALL_FIRED[:2]), rules=[RULE])),
    "slots are not counted": (
        "K16",
        Records(keyspace={0: {**with_ledger(*ALL_FIRED)[0], "tally": []}}, rules=[RULE]),
    ),
    "a slot is both fired and skipped": (
        "I1",
        Records(keyspace=with_ledger(*ALL_FIRED, f"skipped {SLOT} overlap"), rules=[RULE]),
    ),
    "a range counts more than it covers": (
        "I1",
        Records(keyspace=with_ledger(f"coalesced {SLOT + 2_000} {SLOT} 4 misfire"), rules=[RULE]),
    ),
    "a slot ran as two tasks": (
        "I2",
        Records(lines=[line("begin", run=run, trigger="every", slot=SLOT) for run in (FIRED, FIRED[:-1] + "z")]),
    ),
    "the watermark is below what was fired": (
        "I2",
        Records(keyspace=with_ledger(*ALL_FIRED, last_slot=SLOT), rules=[RULE]),
    ),
    "an accepted task is still queued": (
        "I3",
        Records(
            keyspace={0: {f"task:{TASK}": {"state": "created", "place": "due"}, "due:a": {TASK: 1}}},
            accepted=[Accepted(TASK, NOW)],
        ),
    ),
    "an accepted task is unknown": ("I3", Records(accepted=[Accepted(TASK, NOW)])),
    "a fired slot has no task": (
        "I3",
        Records(
            keyspace={0: {k: v for k, v in with_ledger(*ALL_FIRED)[0].items() if k != f"task:{FIRED}"}}, rules=[RULE]
        ),
    ),
    "a stale result was accepted": (
        "I4",
        Records(
            lines=(*TWICE, line("end", 15_050)),
            events=[event("lost", 14_900)],
            keyspace={0: keyspace(**{f"task:{TASK}": record(1, attempt="2", fence="2-n")})},
        ),
    ),
    "a newer attempt began than the accepted one": (
        "I4",
        Records(lines=(*TWICE, line("end", 14_000)), events=[event("lost", 14_900)], keyspace={0: keyspace()}),
    ),
    "the result is of another run": (
        "I4",
        Records(
            lines=(*ONCE, line("begin", run=OTHER), line("end", 5, run=OTHER)),
            keyspace={0: keyspace(**{f"task:{TASK}": record(1, run=OTHER)})},
        ),
    ),
    "the result is of no execution": (
        "I4",
        Records(lines=ONCE[:1], keyspace={0: keyspace(**{f"task:{TASK}": record(result=msgpack.packb("nobody's"))})}),
    ),
    "an extra execution without an event": (
        "I5",
        Records(
            lines=(line("begin"), line("end", 9), line("begin", 10, attempt=2), line("end", 20, attempt=2)),
            keyspace={0: keyspace(**{f"task:{TASK}": record(2)})},
        ),
    ),
    "one attempt was executed twice": (
        "I5",
        Records(
            lines=(*ONCE, line("begin", 200, word="again", fence=2), line("end", 300, word="again", fence=2)),
            keyspace={0: keyspace(**{f"task:{TASK}": record(result=msgpack.packb("again"), fence="2-n")})},
        ),
    ),
    "two executions before the lease ended": (
        "I6",
        Records(
            lines=(*TWICE, line("end", 15_050)),
            events=[event("lost", 15_040)],
            keyspace={0: keyspace(**{f"task:{TASK}": record(2)})},
        ),
    ),
    "a finished run stands in a lane": ("I7", Records(keyspace={0: keyspace(**{"activeq:1": {TASK: 5}})})),
    "a waiting session beside a ready lane": (
        "I11",
        Records(keyspace={0: keyspace(**{"ready:c|": {"1": 5}, "waiting:c|": {"s": 0}})}),
    ),
    "a task was counted twice": (
        "K16",
        Records(
            keyspace={
                0: {
                    "tally": [{"t": "1800000000000\x1edefault/shop/send\x1fu\x1fu"}],
                    f"task:{TASK}": {"state": "created", "place": "none", "lane": "1"},
                    "lane:1": {"handler": "default/shop/send", "labels": "", "attribute": ""},
                }
            }
        ),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    rule, records = BROKEN[name]

    found = rules(check(records))

    assert found
    assert set(found) <= ({rule} if rule != "I7" else {"I7", "I11"})


def test_every_rule_is_broken_once_above() -> None:
    assert {rule for rule, _ in BROKEN.values()} == set(history.RULES)


def test_a_violation_is_told_with_what_happened_around_it() -> None:
    records = replace(CLEAN["a lost lease, then another attempt"], events=[event("lost", 14_900, attempt=9)])

    told = str(check(records).violations[0])

    assert "ran again after attempt 1, and no event says why" in told
    assert "lost run=" in told
    assert f"begin {TASK}@2 fence=2 on w1/7" in told
    assert "record: {" in told


def test_a_rollback_excuses_no_second_task_of_a_slot() -> None:
    _, records = BROKEN["a slot ran as two tasks"]

    assert rules(check(replace(records, rollbacks=[Rollback(0, NOW * 2)]))) == ["I2"]


def test_extra_executions_are_counted_by_their_reason() -> None:
    counts = check(CLEAN["a lost lease, then another attempt"]).counts

    assert (counts["extra"], counts["extra_lost"], counts["accepted_results"]) == (1, 1, 1)
