"""The small model: what it knows of each run, session and trigger, and what it holds every call against.

It believes nobody: of a call it takes the arguments and the words of the reply, of the engine the keyspace before and
after. From these it checks

1. **moves**: each record moved only as the verb's header declares, terminal ones not at all (``_moves``);
2. **I4, the fence**: a report is accepted exactly from the attempt that owns its run, once (``_report``);
3. **I5**: each attempt after the first is explained by something that ended the one before (``_attempts``);
4. **seats**: each session holds what it was given and did not give back, and is given no more than it offers, only work
   of its handlers, labels and attributes, only while its gateway is heard (``_binds``, ``_seats``);
5. **walls**: what a session says of a run that is another's is answered fenced or gone, and nothing of the run changes
   (``_walls``);
6. **leases**: a session ends only by its goodbye or 15 s after it was heard, on a steady clock of the model's own;
7. **I1, I2**: each planned slot that is no longer planned is in the ledger once, and makes one task at most
   (``_triggers``);
8. **nothing left over**: indexes name what exists, and what ended is named by none (``leftovers``);
9. **deadlines**: after a look at all that is due, no run is left that one of its deadlines had ended, whichever others
   it has (``_overdue_runs``), and a run is watched exactly as long as it has one (``_timers``);
10. **jobs**: a job does its thing once to what it is for, counts exactly that, and has missed nothing when it is over
   (``tests.model.jobs``);
11. I7 and I11, and the sums of the statistics, through ``tests.invariants``.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from gojob_redis.domain.states import BOUND, TERMINAL
from gojob_redis.engine.scripts import verb as verb_named
from gojob_redis.match import UNLISTED
from tests import invariants
from tests.lua.world import Dispatch
from tests.model.jobs import VERBS as JOB_VERBS
from tests.model.jobs import Job
from tests.model.jobs import broken as broken_job
from tests.tools.keyspace import Keyspace

LEASE_MS, ACCEPT_MS, SILENT_MS, STEADY_STEP_MS, GRACE_MS = 15_000, 5_000, 3_000, 1_000, 10_000
LIST_MS = 30_000
"""How old a worker's list may be when the engine reads it."""
STANDSTILL_MS = 5_000
"""How long no list loses a run after the engine stood still."""
BOTH_ENDS = ("unaccepted", "lost", "run_limit")
"""Events that explain another attempt of the run they name."""


class Broken(AssertionError):
    """The engine did what the model does not allow."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb and what came of it."""

    verb: str
    items: Sequence[tuple[Any, ...]]
    scalars: dict[str, Any]
    reply: list[Any]
    now: int
    before: Keyspace
    after: Keyspace

    def words(self) -> Iterator[tuple[tuple[Any, ...], str]]:
        """Each item with its word; ``submit`` answers two values an item."""
        step = 2 if self.verb == "submit" else 1
        return zip(self.items, self.reply[1::step], strict=True)

    def task(self, run: str, *, then: bool = False) -> dict[str, str]:
        """The record before the call, or after it; empty when there is none."""
        found: dict[str, str] = (self.after if then else self.before).get(f"task:{run}", {})
        return found


@dataclass(slots=True)
class Planned:
    """What the model knows of one trigger: the slots of its rule that are owed a ledger entry."""

    slots: set[int]
    watermark: int
    """Slots up to here were decided before these were planned."""


@dataclass(slots=True)
class Oracle:
    """What was seen so far. ``observe`` is called once per call of a verb, in order."""

    raw: int
    written: int
    steady: int = 0
    jumped_at: int = 0
    """When the engine last went on after it stood still, steady ms."""
    seen: set[str] = field(default_factory=set)
    """Every task that ever was."""
    explained: Counter[str] = field(default_factory=Counter)
    settled: set[tuple[str, int]] = field(default_factory=set)
    """Attempts whose own worker ended them: their report, or their release, was accepted."""
    final: dict[str, int] = field(default_factory=dict)
    """The attempt whose report ended a run."""
    seats: dict[str, set[str]] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    ending: set[str] = field(default_factory=set)
    """Sessions that ended in part: the rest follows in later calls."""
    bound_at: dict[str, int] = field(default_factory=dict)
    begun_at: dict[str, int] = field(default_factory=dict)
    """When an attempt began: its run limit counts from there."""
    triggers: dict[str, Planned] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def observe(self, call: Call) -> list[Dispatch]:
        """Check one call; returns the assignments it put into inboxes. Raises Broken."""
        self.tick(call.now)
        fresh = list(assignments(call.before, call.after))
        binds = [one for one in fresh if is_new_bind(call, one)]
        broken = [
            *self._verdicts(call),
            *_walls(call, {one.run for one in fresh}),
            *self._events(call),
            *self._moves(call),
            *self._attempts(call, binds),
            *self._sessions(call),
            *self._binds(call, binds),
            *self._seats(call, binds),
            *self._triggers(call),
            *(broken_job(self.jobs[call.scalars["job"]], call.before, call.after) if call.verb in JOB_VERBS else ()),
            *self._overdue_runs(call),
            *(leftovers(call.after) if call.reply[0] != "more" else ()),
            *(invariants.violations(call.after) if call.reply[0] != "more" else ()),
            *invariants.miscounts(call.after),
        ]
        if broken:
            raise Broken(f"after {call.verb} {call.items!r} {call.scalars!r} → {call.reply!r}\n" + "\n".join(broken))
        return fresh

    def tick(self, now: int) -> None:
        """The steady clock as ``lib/clock.lua`` promises it; what moved less than 100 ms is not written back."""
        moved = now - self.raw
        self.steady = self.written + max(0, min(moved, STEADY_STEP_MS))
        if moved > STEADY_STEP_MS:
            self.jumped_at = self.steady
        if moved >= 100 or moved < 0:
            self.raw, self.written = now, self.steady

    # ---- runs --------------------------------------------------------------------------------------------------------

    def _verdicts(self, call: Call) -> Iterator[str]:
        if call.verb == "report":
            yield from self._report(call)
        elif call.verb == "release":
            yield from self._release(call)
        elif call.verb == "start":
            yield from self._start(call)
        elif call.verb == "cancel":
            yield from self._cancel(call)
        elif call.verb == "submit":
            yield from self._submit(call)

    def _report(self, call: Call) -> Iterator[str]:
        owners = {run: owner(call.task(run)) for _session, run, *_rest in call.items}
        for (session, run, attempt, _fence, outcome, *_rest), word in call.words():
            expected = _verdict(call, owners, session, run, attempt, (run, attempt) in self.settled)
            if word not in expected:
                yield f"I4: report of {run}@{attempt} was answered {word}, expected {expected}"
            if word != "accepted":
                continue
            owners[run] = None
            self.settled.add((run, attempt))
            state = call.task(run, then=True).get("state")
            if state in TERMINAL:
                if run in self.final:
                    yield f"I4: {run} had its accepted report from attempt {self.final[run]}, now from {attempt}"
                self.final[run] = attempt
            if outcome != "ok":
                self.explained[run] += 1
            elif state != "run_to_completion":
                yield f"{run} reported ok and is {state}"

    def _release(self, call: Call) -> Iterator[str]:
        owners = {run: owner(call.task(run), begun=False) for _session, run, *_rest in call.items}
        for (session, run, attempt, _fence, _reason, conn), word in call.words():
            moved = conn > 0 and call.before.get(f"session:{session}", {}).get("conn", str(conn)) != str(conn)
            not_its_own = moved or resent(call.task(run), attempt, conn)
            allowed = {"fenced"} if not_its_own else _verdict(call, owners, session, run, attempt, False)
            if word not in allowed:
                yield f"release of {run}@{attempt} was answered {word}, expected {allowed}"
            if word == "accepted":
                owners[run] = None
                self.explained[run] += 1
                self.settled.add((run, attempt))

    def _start(self, call: Call) -> Iterator[str]:
        owners = {run: owner(call.task(run)) for _session, run, *_rest in call.items}
        for (session, run, attempt, _fence), word in call.words():
            before = call.task(run)
            if not before:
                expected = {"gone"}
            elif owners[run] == attempt and before["session"] == session:
                canceled = "cancel" in before and before["state"] == "waiting_to_run"
                expected = (
                    {"canceled" if canceled else "ok", "ok"}
                    if len(call.items) > 1
                    else {"canceled" if canceled else "ok"}
                )
            elif (run, attempt) in self.settled and owners[run] != attempt:
                expected = {"late", "fenced"}
            else:
                expected = {"fenced"}
            if word not in expected:
                yield f"start of {run}@{attempt} was answered {word}, expected {expected}"

    def _cancel(self, call: Call) -> Iterator[str]:
        for (task, _reason), word in call.words():
            before, after = call.task(task), call.task(task, then=True)
            if not before:
                expected = "gone"
            elif before["state"] in TERMINAL:
                expected = "already"
            else:
                expected = "canceled" if after["state"] in TERMINAL else "requested"
                waits = before["state"] == "created" and "shards" not in before
                if waits and after["state"] != "canceled":
                    yield f"{task} waited and is {after['state']} after a cancel"
            if word != expected and len(call.items) == 1:
                yield f"cancel of {task} was answered {word}, expected {expected}"

    def _submit(self, call: Call) -> Iterator[str]:
        for (task, *_rest), word in call.words():
            there = bool(call.task(task)) or task in self.seen
            if word == "ok" and there:
                yield f"{task} was taken in twice"
            if word not in ("ok", "duplicate"):
                yield f"{task} was refused: {word}"

    def _events(self, call: Call) -> Iterator[str]:
        logs = [name for name in call.after if name.partition(":")[0] == "events"]
        for event in (event for name in logs for event in grown(call.before, call.after, name)):
            kind, run = event["kind"], event.get("run", "")
            if kind in BOTH_ENDS:
                self.explained[run] += 1
            if kind == "unaccepted" and self.steady < self.bound_at.get(f"{run}@{event['attempt']}", 0) + ACCEPT_MS:
                yield f"{run}@{event['attempt']} was taken away before its accept limit"
            if kind == "lost" and call.verb not in ("reap", "leave", "resume"):
                yield f"{run} was lost by {call.verb}"
            if kind in ("corrupt", "orphan", "stale", "lost_wakeup"):
                yield f"an event says {event}"

    def _moves(self, call: Call) -> Iterator[str]:
        moves = closure(call.verb)
        for name in call.before.keys() | call.after.keys():
            if not name.startswith("task:"):
                continue
            run = name.removeprefix("task:")
            before, after = call.before.get(name), call.after.get(name)
            first = before["state"] if before else ("created" if "." in run else "none")
            if after is None:
                if call.verb not in ("retire", "bulk_forget") or first not in TERMINAL:
                    yield f"{run} was {first} and is gone after {call.verb}"
                continue
            last = after["state"]
            if first != last and (first, last) not in moves:
                yield f"{run} moved {first} → {last}, which {call.verb} does not declare"
            if before and first in TERMINAL and _lasting(before) != _lasting(after):
                yield f"{run} was over and changed: {before} → {after}"
            if last == "run_to_completion" and first != last and call.verb != "report":
                yield f"I4: {run} completed by {call.verb}"
            if last in TERMINAL and "shards" not in after and last == "run_to_completion" and run not in self.final:
                yield f"I4: {run} completed without an accepted report"
            if before is None and "." not in run:
                if run in self.seen:
                    yield f"I2: {run} was made again"
                self.seen.add(run)

    def _attempts(self, call: Call, binds: Sequence[Dispatch]) -> Iterator[str]:
        bound = Counter(one.run for one in binds)
        for name, after in call.after.items():
            if not name.startswith("task:"):
                continue
            run, before = name.removeprefix("task:"), call.before.get(name, {})
            first, last = int(before.get("attempt", 0)), int(after.get("attempt", 0))
            if last - first != bound[run]:
                yield f"{run} went from attempt {first} to {last} with {bound[run]} assignments"
            if last > 1 + self.explained[run]:
                yield f"I5: {run} is at attempt {last} and only {self.explained[run]} attempts ended"
            if fence_number(after) < fence_number(before) or (
                last > first and fence_number(after) <= fence_number(before)
            ):
                yield f"the fence of {run} went from {before.get('fence')} to {after.get('fence')}"
            if after["state"] in BOUND and "shards" not in after and owner(after) != last:
                yield f"{run} is owned by attempt {owner(after)} and had {last}"

    # ---- sessions ----------------------------------------------------------------------------------------------------

    def _sessions(self, call: Call) -> Iterator[str]:
        if call.verb == "enlist":
            for item, word in call.words():
                if word == "ok" and f"session:{item[0]}" not in call.before:
                    self.leases[item[0]] = self.steady + LEASE_MS
        elif call.verb == "renew":
            for (session, _conn, age, *_rest), word in call.words():
                if word in ("ok", "differs"):
                    self.leases[session] = self.steady + LEASE_MS - age
                    self.ending.discard(session)
        elif call.verb == "resume" and call.reply[0] in ("ok", "more"):
            self.leases[call.scalars["session"]] = self.steady + LEASE_MS
            self.ending.discard(call.scalars["session"])
        live = names_below(call.after, "session:")
        for session in set(self.leases) - live:
            left = call.verb == "leave" and session in [item[0] for item in call.items]
            due = call.verb == "reap" and (self.leases[session] <= self.steady or session in self.ending)
            if not left and not due:
                yield f"{session} ended by {call.verb} at {self.steady}, its lease lasts until {self.leases[session]}"
            self.leases.pop(session)
            self.seats.pop(session, None)
            self.ending.discard(session)
        for session in live - set(self.leases):
            yield f"session {session} came back by {call.verb}"
        leases = call.after.get("leases", {})
        for session, lease in self.leases.items():
            if leases.get(session) == 0:
                self.ending.add(session)
            elif leases.get(session) != lease:
                yield f"the lease of {session} is {leases.get(session)}, the model says {lease}"

    def _binds(self, call: Call, binds: Sequence[Dispatch]) -> Iterator[str]:
        for one in binds:
            self.bound_at[f"{one.run}@{one.attempt}"] = self.steady
            session = call.after.get(f"session:{one.session}")
            if session is None:
                yield f"{one.run}@{one.attempt} was bound to {one.session}, which is over"
                continue
            held = call.after.get(f"held:{one.session}", set())
            if len(held) > int(session["capacity"]):
                yield f"{one.session} offers {session['capacity']} and was given {one.run}: {held}"
            if call.after["gateways"].get(session["gateway"], 0) < self.steady - SILENT_MS:
                yield f"{one.run} was bound to {one.session} on a silent gateway"
            record = call.task(one.run, then=True)
            lane = call.after[f"lane:{record['lane']}"]
            group = call.after[f"group:{session['group']}"]
            if lane["handler"] not in group["handlers"].split(" ") or lane["labels"] != group["labels"]:
                yield f"{one.run} of {lane} was bound to {group}"
            if lane["attribute"] and lane["attribute"] not in session["attributes"].split(","):
                yield f"{one.run} requires {lane['attribute']}, {one.session} offers {session['attributes']}"
            if "paused" in call.after.get(f"handler:{lane['handler']}", {}):
                yield f"{one.run} of a paused handler was bound"
            if int(record.get("lost", 0)) >= 2 and held != {f"{one.run}@{one.attempt}"}:
                yield f"{one.run} was lost twice and is not alone: {held}"
        for session, facts in _below(call.after, "session:"):
            if facts.get("off") == "solo" and len(call.after.get(f"held:{session}", ())) > 1:
                yield f"{session} is to have one seat taken: {call.after[f'held:{session}']}"

    def _seats(self, call: Call, binds: Sequence[Dispatch]) -> Iterator[str]:
        for session in names_below(call.after, "session:"):
            self.seats.setdefault(session, set())
        self._give_back(call)
        for one in binds:
            self.seats.get(one.session, set()).add(f"{one.run}@{one.attempt}")
        for session, seats in self.seats.items():
            held = call.after.get(f"held:{session}", set())
            if session in self.ending or call.verb in ("reap", "leave"):
                if not held <= seats:
                    yield f"{session} holds {held - seats} that nobody gave it"
                self.seats[session] = set(held)
            elif held != seats:
                yield f"{session} holds {held}, the model says {seats}"

    def _give_back(self, call: Call) -> None:
        if call.verb in ("report", "release"):
            for item, _word in call.words():
                session, run, attempt, conn = *item[:3], item[5] if call.verb == "release" else 0
                home = call.before.get(f"session:{session}", {}).get("conn")
                record = call.task(run)
                begun = call.verb == "release" and owner(record) == attempt and record["state"] == "running"
                if not begun and (conn == 0 or home == str(conn)) and not resent(record, attempt, conn):
                    self.seats.get(session, set()).discard(f"{run}@{attempt}")
        elif call.verb == "resume" and call.reply[0] in ("ok", "more"):
            session = call.scalars["session"]
            listed = {f"{run}@{attempt}" for run, attempt, _fence, started in call.items if started != UNLISTED}
            unlisted = {f"{run}@{attempt}" for run, attempt, _fence, started in call.items if started == UNLISTED}
            # A run it had begun long ago and knows of no more is lost, and its seat is free.
            since = call.now - LIST_MS if self.jumped_at + STANDSTILL_MS < self.steady else 0
            freed = {seat for seat in unlisted if not owns(call.before, session, seat, begun_since=since)}
            self.seats[session] = (self.seats[session] | listed) - freed

    # ---- deadlines ---------------------------------------------------------------------------------------------------

    def _overdue_runs(self, call: Call) -> Iterator[str]:
        for run, record in _below(call.after, "task:"):
            if record["state"] == "running" and "shards" not in record:
                self.begun_at.setdefault(f"{run}@{record['attempt']}", self.steady)
        if call.verb != "expire" or call.reply[0] != "ok" or 0 < call.reply[2] <= self.steady:
            return  # or the next call looks at the rest
        for run, record in _below(call.after, "task:"):
            for what, at in self._deadlines(call, run, record):
                if self.steady >= at:
                    yield f"{run} outlived its {what}: it was over at {at}, and it is {self.steady}: {record}"

    def _deadlines(self, call: Call, run: str, record: dict[str, str]) -> Iterator[tuple[str, int]]:
        """What ends this run or its state if nothing else does, each by itself."""
        policies = call.task(run.partition(".")[0], then=True)
        attempt = f"{run}@{record.get('attempt')}"
        if record["state"] == "created" and record["place"] in ("lane", "timer") and "started" not in record:
            yield "queue limit", int(policies.get("expires", 2**53))
        if record["state"] not in BOUND or "shards" in record:
            return
        if record["state"] == "running":
            yield "run limit", self.begun_at[attempt] + int(policies.get("run_limit", 2**53))
        elif "away" not in call.after.get(f"session:{record['session']}", {}):
            yield "accept limit", self.bound_at[attempt] + ACCEPT_MS
        yield "grace", int(record.get("cancel", 2**53)) + GRACE_MS

    # ---- triggers ----------------------------------------------------------------------------------------------------

    def _triggers(self, call: Call) -> Iterator[str]:
        if call.verb == "define" and call.reply[0] == "ok":
            yield from self._defined(call)
        elif call.verb == "plan":
            for item, word in call.words():
                if word == "ok":
                    self.triggers[item[0]].slots |= set(_slots(item[3]))
        elif call.verb == "remove" and call.reply[0] == "ok":
            self.triggers.pop(call.reply[1])
        for uid, planned in self.triggers.items():
            yield from _overdue(call, uid, planned)
        if call.verb == "fire":
            made = [
                name
                for name in call.after.keys() - call.before.keys()
                if name.startswith("task:00f") and "." not in name
            ]
            if len(made) != call.reply[1]:
                yield f"{call.reply[1]} slots were fired and {len(made)} tasks made: {made}"
        for name, entries in _below(call.after, "ledger:"):
            yield from _doubles(name, entries)

    def _defined(self, call: Call) -> Iterator[str]:
        _ok, uid, revision = call.reply
        before = call.before.get(f"trigger:{uid}", {})
        if str(revision) == before.get("revision"):
            return
        # What waits for the planner is known to the rule only, and the edit took the rule away.
        if uid in self.triggers and uid not in call.before.get("unplanned", {}):
            past = {slot for slot in self.triggers[uid].slots if slot <= call.now}
            yield from _overdue(call, uid, Planned(past, self.triggers[uid].watermark))
        slots = set(_slots(call.scalars["times"])) if call.scalars["active"] else set()
        self.triggers[uid] = Planned(slots, int(before.get("last_slot", 0)))


def _walls(call: Call, sent: Collection[str]) -> Iterator[str]:
    """sent: runs that this call gave to somebody, which changed them."""
    if call.verb not in ("start", "report", "release", "acknowledge", "note"):
        return
    for (session, run, *_rest), word in call.words():
        if not call.task(run) or call.task(run).get("session") == session:
            continue
        if word not in ("fenced", "gone"):
            yield f"{session} was answered {word} on {run}, which is {call.task(run).get('session')}'s"
        for name in (f"task:{run}", f"result:{run}", f"log:{run}", f"attempts:{run}"):
            if run not in sent and call.before.get(name) != call.after.get(name):
                yield f"{name} changed by what {session} said"


# ---- reading a call --------------------------------------------------------------------------------------------------


@cache
def closure(verb: str) -> set[tuple[str, str]]:
    """Every pair of states one call of this verb may lead through, one declared move after another."""
    return closed(set(verb_named(verb).header.moves))


def closed(moves: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """These moves, and all that come of making one after another."""
    moves = {(str(first), str(last)) for first, last in moves}
    while more := {(a, d) for a, b in moves for c, d in moves if b == c} - moves:
        moves |= more
    return moves


def grown(before: Keyspace, after: Keyspace, stream: str) -> list[dict[str, str]]:
    """The entries a call added to a stream."""
    old, new = before.get(stream, []), after.get(stream, [])
    return list(new[len(old) :]) if len(new) >= len(old) else []


def assignments(before: Keyspace, after: Keyspace) -> Iterator[Dispatch]:
    """What a call put into the inboxes for workers to run."""
    for name in after:
        if not name.startswith("inbox:"):
            continue
        for entry in grown(before, after, name):
            for value in entry.values():
                kind, *parts = value.split("\x1f")
                if kind == "run":
                    session, _conn, run, attempt, fence, *_rest = parts
                    yield Dispatch(session, run, int(attempt), fence, "")


def is_new_bind(call: Call, one: Dispatch) -> bool:
    """Whether an assignment is a new attempt, not one that is sent again."""
    return one.attempt > int(call.task(one.run).get("attempt", 0))


def resent(record: dict[str, str], attempt: int, conn: int) -> bool:
    """Whether a gateway may not say that this attempt was never written: it was sent again, the first copy may be."""
    return conn > 0 and record.get("resent") == str(attempt)


def owner(record: dict[str, str], *, begun: bool = True) -> int | None:
    """The attempt that owns a run, if one does; ``begun=False``: only one that has not begun."""
    states = BOUND if begun else {"waiting_to_run"}
    return int(record["attempt"]) if record.get("state") in states and "shards" not in record else None


def owns(dump: Keyspace, session: str, seat: str, *, begun_since: int = 0) -> bool:
    """Whether this seat of this session is a run it owns, and that had not begun before this moment."""
    run, _, attempt = seat.rpartition("@")
    record = dump.get(f"task:{run}", {})
    recent = record.get("state") != "running" or int(record.get("started", 0)) >= begun_since
    return recent and owner(record) == int(attempt) and record["session"] == session


def fence_number(record: dict[str, str]) -> int:
    """The part of a fence that only grows."""
    return int(record.get("fence", "0").partition("-")[0])


def names_below(dump: Keyspace, prefix: str) -> set[str]:
    """The ids of all keys of one kind."""
    return {name.removeprefix(prefix) for name in dump if name.startswith(prefix)}


def _below(dump: Keyspace, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in dump.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value


def _verdict(
    call: Call, owners: dict[str, int | None], session: str, run: str, attempt: int, settled: bool
) -> set[str]:
    if not call.task(run):
        return {"gone"}
    if owners[run] == attempt and call.task(run)["session"] == session:
        return {"accepted"}
    return {"duplicate", "fenced"} if settled else {"fenced"}


def _lasting(record: dict[str, str]) -> dict[str, str]:
    """A record without what may still be written when its run is over."""
    return {name: value for name, value in record.items() if name not in ("retired", "logged", "progress")}


def _slots(times: str) -> list[int]:
    return [int(time) for time in times.split(",") if time]


def _overdue(call: Call, uid: str, planned: Planned) -> Iterator[str]:
    """I1: a slot that is planned no more was fired, skipped or coalesced."""
    pending = {int(slot) for slot in call.after.get(f"agenda:{uid}", ())}
    app = call.after.get(f"trigger:{uid}", {}).get("app", "")
    pending |= {call.after.get(f"due:{app}", {}).get(uid, 0)}
    if uid in call.after.get("unplanned", {}):
        pending |= planned.slots
    decided, ranges = set(), []
    for entry in call.after.get(f"ledger:{uid}", ()):
        word, slot, *rest = entry.split(" ")
        if word in ("fired", "skipped"):
            decided.add(int(slot))
        elif word == "coalesced":
            ranges.append((int(rest[0]), int(slot)))
    for slot in planned.slots - pending - decided:
        if slot > planned.watermark and not any(one <= slot <= other for one, other in ranges):
            yield f"I1: slot {slot} of {uid} is in no entry of its ledger"


def _doubles(name: str, entries: dict[str, int]) -> Iterator[str]:
    """I1, I2: no slot in two entries, nor inside a range beside its own."""
    single: Counter[int] = Counter()
    ranges = []
    for entry in entries:
        word, slot, *rest = entry.split(" ")
        if word in ("fired", "skipped"):
            single[int(slot)] += 1
        elif word == "coalesced":
            ranges.append((int(rest[0]), int(slot)))
    for moment, times in single.items():
        if times + sum(one <= moment <= other for one, other in ranges) > 1:
            yield f"I2: slot {moment} stands more than once in {name}: {sorted(entries)}"


# ---- what must not be left over --------------------------------------------------------------------------------------


def leftovers(dump: Keyspace) -> Iterator[str]:
    """Entries that name what does not exist, and heads that do not agree with what they stand for."""
    sessions = dict(_below(dump, "session:"))
    groups: dict[str, set[str]] = {}
    for session, facts in sessions.items():
        groups.setdefault(facts["group"], set()).add(session)
    if dump.get("groups", set()) != set(groups) or names_below(dump, "group:") != set(groups):
        yield f"groups are {dump.get('groups')} and {names_below(dump, 'group:')}, sessions are in {set(groups)}"
    if dict(_below(dump, "group_sessions:")) != groups:
        yield f"group_sessions are {dict(_below(dump, 'group_sessions:'))}, sessions say {groups}"
    if set(dump.get("leases", ())) != set(sessions):
        yield f"leases are of {set(dump.get('leases', ()))}, sessions are {set(sessions)}"
    if set().union(*(members for _, members in _below(dump, "sessions:")), set()) != set(sessions):
        yield "the sessions of the apps are not the sessions"
    yield from _waiting(dump, sessions)
    for name, _lanes in _below(dump, "ready:"):
        if name.partition("|")[0] not in groups:
            yield f"ready:{name} belongs to no group"
    for name, members in _below(dump, "groups_of:"):
        if not members <= set(groups):
            yield f"groups_of:{name} names {members - set(groups)}, which are over"
    yield from _timers(dump)
    yield from _dues(dump)
    yield from _history(dump)


def _waiting(dump: Keyspace, sessions: dict[str, dict[str, str]]) -> Iterator[str]:
    expected: dict[str, dict[str, int]] = {}
    for session, facts in sessions.items():
        used = len(dump.get(f"held:{session}", ()))
        if "off" not in facts and "drained" not in facts and used < int(facts["capacity"]):
            for attribute in ["", *filter(None, facts["attributes"].split(","))]:
                expected.setdefault(f"{facts['group']}|{attribute}", {})[session] = used
    if dict(_below(dump, "waiting:")) != expected:
        yield f"waiting are {dict(_below(dump, 'waiting:'))}, free seats are {expected}"


def _timers(dump: Keyspace) -> Iterator[str]:
    for handler, entries in _below(dump, "deadlineq:"):
        for run in entries:
            record = dump.get(f"task:{run}", {})
            if not record or not is_watched(dump, run, record):
                yield f"a timer of {handler} looks at {run}, which is {record}"
        if dump.get("alarms", {}).get(handler, float("inf")) > min(entries.values()):
            yield f"the alarm of {handler} is later than its earliest timer"
    watched = {run for _, entries in _below(dump, "deadlineq:") for run in entries}
    for run, record in _below(dump, "task:"):
        if run not in watched and is_watched(dump, run, record):
            yield f"nothing watches {run}, which is {record}"


def is_watched(dump: Keyspace, run: str, record: dict[str, str]) -> bool:
    """Whether this run has a deadline."""
    policies = dump.get(f"task:{run.partition('.')[0]}", {})
    has_queue_limit = "expires" in policies and "started" not in record
    if record["state"] in TERMINAL:
        return False
    if "shards" in record:
        return record["place"] == "lane" and has_queue_limit
    if record["state"] == "running":
        return "cancel" in record or "run_limit" in policies
    is_queued = record["place"] == "lane" and has_queue_limit
    return record["state"] == "waiting_to_run" or record["place"] == "timer" or is_queued


def _dues(dump: Keyspace) -> Iterator[str]:
    heads = {app: min(entries.values()) for app, entries in _below(dump, "due:")}
    if heads != dump.get("due_heads", {}):
        yield f"due heads are {dump.get('due_heads')}, the due indexes say {heads}"
    for app, entries in _below(dump, "due:"):
        for member in entries:
            if f"trigger:{member}" not in dump and f"task:{member}" not in dump:
                yield f"due:{app} names {member}, which is nowhere"


def _history(dump: Keyspace) -> Iterator[str]:
    """What is over stands in one index of ended tasks, in the right one, and nothing else does."""
    filed = {
        (kind, name, run)
        for kind in ("history", "failed", "pinned")
        for name, entries in _below(dump, f"{kind}:")
        for run in entries
    }
    over = {
        (*_index_of(dump, facts), run)
        for run, facts in _below(dump, "task:")
        if facts["state"] in TERMINAL and "." not in run
    }
    if filed != over:
        yield f"indexes of ended tasks have {filed - over} by mistake and lack {over - filed}"


def _index_of(dump: Keyspace, facts: dict[str, str]) -> tuple[str, str]:
    handler = dump[f"lane:{facts['lane']}"]["handler"] if f"lane:{facts['lane']}" in dump else "?"
    if facts.get("keep") == "always":
        return "pinned", handler
    if facts["state"] == "run_to_completion":
        return "history", handler
    return "failed", handler.rpartition("/")[0] or "?"
