"""The worker's side of the socket as a state machine: frames in, events and frames out, no I/O, time as an argument.

1. A *seat* is one attempt the gateway bound to us. It stays ours until the gateway acknowledged its report or release;
   what is not acknowledged is sent again on the next connection. So no report is ever lost while the process lives.
2. ``receive`` and ``tick`` answer events for the handlers' side. Everything that goes out is only noted down, and
   ``flush`` turns it into frames: what came together leaves together.
3. The start of an optimistic run waits up to 5 ms, so that a short run needs only its report (an implicit start).
   That is safe: a bound run without a recorded start is, for the engine, one that may have begun.
4. The lease counts from the *sending* of the last renewal that was answered. The hello counts as one, its welcome
   as the answer.
5. An *orphan* is a seat whose session is over while its handler still runs. It occupies a place here but not in the
   gateway's count, so the announced capacity shrinks until it ends.

All times are seconds of one clock that only grows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any, Literal, cast

from gojob_sdk.protocol import (
    BATCH_BYTES,
    MAX_HELD,
    MAX_NOTE_LINES,
    VERSIONS,
    Assign,
    Assignment,
    Cancellation,
    Error,
    Frame,
    GatewayFrame,
    HeldRun,
    Hello,
    Outcome,
    ReleaseReason,
    Renew,
    RunKey,
    RunNote,
    RunRef,
    RunVerdict,
    Verdict,
    VerdictWord,
    Welcome,
    batches,
)

Key = tuple[str, int]
"""A run and the number of its attempt."""

START_LINGER_S = 0.005
ANNOUNCE_S = 1.0
WELCOME_WITHIN_S = 10.0
SILENCE_OF_LEASE = 0.8
REMEMBERED = 10_000
KEPT_RUNS = MAX_HELD // 2
KEPT_BYTES = 64 << 20
OUTCOME_BYTES = 256
NOTE_BYTES = BATCH_BYTES // MAX_NOTE_LINES + 1
"""So that no frame gets more lines than it may have."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a worker says about itself in every hello."""

    namespace: str
    app: str
    worker: str
    host: str
    pid: int
    sdk: str
    handlers: tuple[str, ...]
    concurrency: int
    labels: Mapping[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()


# --- events for the handlers' side ------------------------------------------------------------------------------------

Cause = Literal["canceled", "timeout", "lost"]


@dataclass(frozen=True, slots=True)
class Begin:
    """Run these handlers now."""

    assignments: list[Assignment]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """These runs should end: asked to, over their run limit, or perhaps bound to somebody else by now."""

    cause: Cause
    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Regained:
    """These runs are ours after all: their lease did not end."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The gateway took us in."""

    session: str
    gateway: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """Connect to another replica within this time."""

    reason: str
    within_s: float


@dataclass(frozen=True, slots=True)
class Silent:
    """The gateway has not answered for so long that another connection should be tried."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway said why it is about to hang up."""

    error: Error


Event = Begin | Interrupt | Regained | Welcomed | Moved | Silent | Refused


@dataclass(slots=True, eq=False)
class Seat:
    """One attempt that is bound to us and not yet given back."""

    assignment: Assignment
    begun: bool = False
    interrupted: bool = False
    orphan: bool = False
    outcome: Outcome | None = None
    released: ReleaseReason | None = None

    @property
    def ref(self) -> RunRef:
        assignment = self.assignment
        return {"run": assignment["run"], "attempt": assignment["attempt"], "fence": assignment["fence"]}

    @property
    def executing(self) -> bool:
        return self.begun and self.outcome is None

    @property
    def confirming(self) -> bool:
        return not self.begun and self.outcome is None and self.released is None


class Remembered:
    """The last keys that were added: at least ``REMEMBERED`` of them, at most twice as many."""

    def __init__(self) -> None:
        self._late: set[Key] = set()
        self._early: set[Key] = set()

    def __contains__(self, key: Key) -> bool:
        return key in self._late or key in self._early

    def add(self, key: Key) -> None:
        if len(self._late) >= REMEMBERED:
            self._early, self._late = self._late, set()
        self._late.add(key)


class Link(Enum):
    OFFLINE = "offline"
    GREETING = "greeting"
    ONLINE = "online"


class Session:
    """One registration of this process at the gateways, over as many connections as it takes."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.link = Link.OFFLINE
        self.id: str | None = None
        self.seats: dict[Key, Seat] = {}
        self.draining = False
        self.lease_lost = False
        self._handlers = frozenset(identity.handlers)
        self._over = Remembered()
        self._busy = 0
        self._orphans = 0
        self._kept = 0
        self._kept_bytes = 0
        self._congested = False
        self._announced = 0
        self._announce_at = inf
        self._starts: dict[Key, Seat] = {}
        self._start_at = inf
        self._reports: dict[Key, Outcome] = {}
        self._releases: dict[Key, Seat] = {}
        self._acknowledged: dict[Key, None] = {}
        self._notes: list[RunNote] = []
        self._asked_to_resume = False
        self._limits: dict[Key, float] = {}
        self._limit_at = inf
        self._heartbeat_s = self._lease_s = inf
        self._seq = 0
        self._renewals: dict[int, float] = {}
        self._renew_at = inf
        self._heard_from = 0.0
        self._silent_at = inf
        self._receivers: dict[str, Callable[[Any, float], list[Event]]] = {
            "welcome": self._welcome,
            "assign": self._assign,
            "verdict": self._verdict,
            "cancel": lambda frame, now: self._cancel(frame["runs"], now),
            "renewed": lambda frame, now: self._renewed(frame["seq"], now),
            "sync": lambda frame, now: self._sync(),
            "move": lambda frame, now: [Moved(frame["reason"], frame["within_ms"] / 1000)],
            "error": lambda frame, now: [Refused(frame)],
        }

    # --- what can be seen ---------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits for an acknowledgement."""
        return not self.seats

    @property
    def held(self) -> int:
        """Seats of this session, as the gateway should count them."""
        return sum(not seat.orphan for seat in self.seats.values())

    @property
    def capacity(self) -> int:
        """How many seats this worker can fill now; none while it drains or has too many reports unacknowledged."""
        if self.draining or self._congested:
            return 0
        return max(0, self.identity.concurrency - self._orphans)

    @property
    def lease_ends(self) -> float:
        return self._heard_from + self._lease_s

    @property
    def sendable(self) -> bool:
        """Whether ``flush`` has something that should not wait."""
        return self.link is Link.ONLINE and bool(
            self._reports
            or self._releases
            or self._acknowledged
            or self._notes
            or self._asked_to_resume
            or self.capacity != self._announced
        )

    @property
    def tick_at(self) -> float:
        """When ``tick`` has something to do, if nothing happens before."""
        lease_at = inf if self.lease_lost or self.id is None else self.lease_ends
        return min(lease_at, self._limit_at, self._silent_at)

    @property
    def flush_at(self) -> float:
        """When ``flush`` has something to send, if nothing happens before."""
        return min(self._renew_at, self._start_at, self._announce_at) if self.link is Link.ONLINE else inf

    # --- the connection -----------------------------------------------------------------------------------------------

    def hello(self, now: float) -> Hello:
        """Open the conversation on a new connection; nothing else may be sent before the welcome."""
        self.link = Link.GREETING
        self._renewals = {0: now}
        self._silent_at = now + WELCOME_WITHIN_S
        self._announced = self.capacity
        who = self.identity
        frame = Hello(
            type="hello",
            protocol=VERSIONS[0],
            speaks=list(VERSIONS),
            sdk=who.sdk,
            namespace=who.namespace,
            app=who.app,
            worker=who.worker,
            host=who.host,
            pid=who.pid,
            labels=dict(who.labels),
            attributes=list(who.attributes),
            handlers=list(who.handlers),
            capacity=self._announced,
            held=self._held_runs(),
        )
        if self.id is not None:
            frame["session"] = self.id
        return frame

    def offline(self) -> None:
        """The connection is gone; seats, reports and the lease are not."""
        self.link = Link.OFFLINE
        self._silent_at = self._renew_at = inf

    def receive(self, frame: GatewayFrame, now: float) -> list[Event]:
        """Take one frame of the gateway."""
        return self._receivers[frame["type"]](frame, now)

    def _welcome(self, frame: Welcome, now: float) -> list[Event]:
        self.link = Link.ONLINE
        self.id = frame["session"]
        self._heartbeat_s = frame["heartbeat_ms"] / 1000
        self._lease_s = frame["lease_ms"] / 1000
        self._heard(self._renewals.pop(0, now))
        self._renew_at = now + self._heartbeat_s
        events: list[Event] = [Welcomed(self.id, frame["gateway"], frame["resumed"])]
        if frame["resumed"]:
            events += self._disown(_key(run) for run in frame.get("drop", ()))
            events += self._regain(now)
        else:
            events += self._start_over()
        self._queue_again()
        return events

    def _start_over(self) -> list[Event]:
        """The old session is over: its reports still go out (a fence answers them), the rest is somebody else's."""
        self.lease_lost = False
        finished = [seat for seat in self.seats.values() if seat.outcome is not None]
        events = self._disown(key for key, seat in list(self.seats.items()) if seat.outcome is None)
        for seat in finished:
            seat.orphan = True
        return events

    def _disown(self, keys: Iterable[Key]) -> list[Event]:
        """Take note that these attempts are no longer this session's."""
        lost = []
        for key in keys:
            seat = self.seats.get(key)
            if seat is None or seat.orphan:
                continue
            if seat.executing:
                seat.orphan = True
                self._orphans += 1
                lost.append(key)
            else:
                self._forget(key, seat)
        return [Interrupt("lost", lost)] if lost else []

    def _queue_again(self) -> None:
        """Note down for the new connection whatever the last one left unacknowledged."""
        self._reports = {key: seat.outcome for key, seat in self.seats.items() if seat.outcome is not None}
        self._releases = {key: seat for key, seat in self.seats.items() if seat.released is not None}
        self._starts = {key: seat for key, seat in self.seats.items() if seat.confirming}
        self._start_at = 0.0 if self._starts else inf
        self._acknowledged.clear()
        self._asked_to_resume = False

    # --- seats --------------------------------------------------------------------------------------------------------

    def _assign(self, frame: Assign, now: float) -> list[Event]:
        begun = []
        for assignment in frame["runs"]:
            key = assignment["run"], assignment["attempt"]
            if key in self.seats or key in self._over:
                continue
            seat = self.seats[key] = Seat(assignment)
            refusal = self._refusal(assignment)
            if refusal is not None:
                self._release(key, seat, refusal, now)
                continue
            self._busy += 1
            self._starts[key] = seat
            if assignment["confirm"]:
                self._start_at = now
            else:
                self._begin(key, seat, now)
                begun.append(assignment)
        if begun:
            self._start_at = min(self._start_at, now + START_LINGER_S)
        return [Begin(begun)] if begun else []

    def _refusal(self, assignment: Assignment) -> ReleaseReason | None:
        if self.draining:
            return "draining"
        if assignment["handler"] not in self._handlers:
            return "unknown_handler"
        return "rejected" if self._busy >= self.identity.concurrency else None

    def _begin(self, key: Key, seat: Seat, now: float) -> None:
        seat.begun = True
        limit_ms = seat.assignment["run_limit_ms"]
        if limit_ms:
            self._limits[key] = now + limit_ms / 1000
            self._limit_at = min(self._limit_at, self._limits[key])

    def _release(self, key: Key, seat: Seat, reason: ReleaseReason, now: float) -> None:
        """Hand back what was not begun. It takes us out of waiting, so our capacity is told again a little later."""
        seat.released = reason
        self._starts.pop(key, None)
        self._releases[key] = seat
        if not self.draining:
            self._announce_at = min(self._announce_at, now + ANNOUNCE_S)

    def finish(self, outcomes: Iterable[Outcome]) -> None:
        """Keep how these runs ended until the gateway acknowledged it."""
        for outcome in outcomes:
            key = outcome["run"], outcome["attempt"]
            seat = self.seats[key]
            seat.outcome = self._reports[key] = outcome
            self._busy -= 1
            self._orphans -= seat.orphan
            self._starts.pop(key, None)
            self._limits.pop(key, None)
            self._kept += 1
            self._kept_bytes += outcome_bytes(outcome)
        if self._kept > KEPT_RUNS or self._kept_bytes > KEPT_BYTES:
            self._congested = True

    def _forget(self, key: Key, seat: Seat) -> None:
        """The seat is given back, and its attempt must never be begun again."""
        del self.seats[key]
        self._reports.pop(key, None)
        self._releases.pop(key, None)
        self._over.add(key)
        if seat.confirming:
            self._busy -= 1
            self._starts.pop(key, None)
        if seat.outcome is not None:
            self._kept -= 1
            self._kept_bytes -= outcome_bytes(seat.outcome)
            if self._kept < KEPT_RUNS // 2 and self._kept_bytes < KEPT_BYTES // 2:
                self._congested = False

    def note(self, notes: Iterable[RunNote]) -> None:
        """Send these logs and progress along; best effort."""
        self._notes.extend(notes)

    def drain(self, now: float) -> None:
        """Take nothing new and hand back what was not begun."""
        self.draining = True
        for key, seat in list(self._starts.items()):
            if seat.confirming:
                self._busy -= 1
                self._release(key, seat, "draining", now)

    # --- answers of the gateway ---------------------------------------------------------------------------------------

    def _verdict(self, frame: Verdict, now: float) -> list[Event]:
        if frame["of"] == "start":
            return self._start_verdicts(frame["runs"], now)
        for verdict in frame["runs"]:
            key = verdict["run"], verdict["attempt"]
            seat = self.seats.get(key)
            if seat is not None and (seat.outcome is not None or seat.released is not None):
                self._forget(key, seat)
        return []

    def _start_verdicts(self, verdicts: Sequence[RunVerdict], now: float) -> list[Event]:
        begun = []
        ended: dict[Cause, list[Key]] = {"canceled": [], "lost": []}
        for verdict in verdicts:
            key, word = _key(verdict), verdict["verdict"]
            seat = self.seats.get(key)
            if seat is None:
                continue
            if seat.confirming:
                if word == "ok":
                    self._begin(key, seat, now)
                    begun.append(seat.assignment)
                else:
                    self._start_refused(key, seat, word, now)
            elif seat.executing and word in ("canceled", "fenced", "gone") and not seat.interrupted:
                seat.interrupted = True
                ended["canceled" if word == "canceled" else "lost"].append(key)
        events: list[Event] = [Begin(begun)] if begun else []
        return events + [Interrupt(cause, keys) for cause, keys in ended.items() if keys]

    def _start_refused(self, key: Key, seat: Seat, word: VerdictWord, now: float) -> None:
        if word == "canceled":
            self._end_unbegun(seat, now)
        else:
            self._busy -= 1
            self._release(key, seat, "rejected", now)

    def _end_unbegun(self, seat: Seat, now: float) -> None:
        moment = int(now * 1000)
        ref = seat.ref
        outcome = Outcome(
            run=ref["run"],
            attempt=ref["attempt"],
            fence=ref["fence"],
            outcome="canceled",
            started_ms=moment,
            ended_ms=moment,
        )
        self.finish([outcome])

    def _cancel(self, cancellations: Sequence[Cancellation], now: float) -> list[Event]:
        ended: dict[Cause, list[Key]] = {"canceled": [], "timeout": []}
        for cancellation in cancellations:
            key = _key(cancellation)
            seat = self.seats.get(key)
            if seat is None:
                continue
            self._acknowledged[key] = None
            if seat.confirming:
                self._end_unbegun(seat, now)
            elif seat.executing and not seat.interrupted:
                seat.interrupted = True
                ended["timeout" if cancellation["reason"] == "run_limit" else "canceled"].append(key)
        return [Interrupt(cause, keys) for cause, keys in ended.items() if keys]

    def _sync(self) -> list[Event]:
        self._asked_to_resume = True
        return []

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Event]:
        """Act on what is over: the lease, run limits, the patience with a silent gateway."""
        events: list[Event] = []
        if self.id is not None and not self.lease_lost and now >= self.lease_ends:
            events += self._lose_lease()
        if now >= self._limit_at:
            events += self._over_limit(now)
        if now >= self._silent_at:
            self._silent_at = inf
            events.append(Silent())
        return events

    def _renewed(self, seq: int, now: float) -> list[Event]:
        sent = self._renewals.get(seq)
        if sent is None:
            return []
        self._renewals = {later: at for later, at in self._renewals.items() if later > seq}
        self._heard(sent)
        return self._regain(now)

    def _heard(self, sent: float) -> None:
        self._heard_from = sent
        self._silent_at = sent + self._lease_s * SILENCE_OF_LEASE

    def _lose_lease(self) -> list[Event]:
        self.lease_lost = True
        lost = self._own_executing()
        return [Interrupt("lost", lost)] if lost else []

    def _regain(self, now: float) -> list[Event]:
        if not self.lease_lost or now >= self.lease_ends:
            return []
        self.lease_lost = False
        kept = self._own_executing()
        return [Regained(kept)] if kept else []

    def _own_executing(self) -> list[Key]:
        return [key for key, seat in self.seats.items() if seat.executing and not seat.orphan]

    def _over_limit(self, now: float) -> list[Event]:
        late = [key for key, limit in self._limits.items() if limit <= now]
        for key in late:
            del self._limits[key]
            self.seats[key].interrupted = True
        self._limit_at = min(self._limits.values(), default=inf)
        return [Interrupt("timeout", late)] if late else []

    # --- what goes out ------------------------------------------------------------------------------------------------

    def flush(self, now: float) -> list[Frame]:
        """Everything that can be sent now, in the order in which it has to be written."""
        if self.link is not Link.ONLINE:
            return []
        frames: list[Frame] = []
        self._flush_answers(frames)
        self._flush_starts(frames, now)
        self._flush_reports(frames)
        self._flush_renewal(frames, now)
        return frames

    def _flush_answers(self, frames: list[Frame]) -> None:
        if self._asked_to_resume:
            self._asked_to_resume = False
            frames.append({"type": "resume", "runs": self._held_runs()})
        if self._acknowledged:
            keys = [RunKey(run=run, attempt=attempt) for run, attempt in self._acknowledged]
            self._acknowledged.clear()
            frames.extend({"type": "acknowledge", "runs": batch} for batch in batches(keys, _small))
        if self._notes:
            frames.extend({"type": "note", "entries": batch} for batch in batches(self._notes, note_bytes))
            self._notes = []

    def _flush_starts(self, frames: list[Frame], now: float) -> None:
        if self._starts and now >= self._start_at:
            refs = [seat.ref for seat in self._starts.values()]
            self._starts.clear()
            frames.extend({"type": "start", "runs": batch} for batch in batches(refs, _small))
        if not self._starts:
            self._start_at = inf

    def _flush_reports(self, frames: list[Frame]) -> None:
        if self._reports:
            outcomes = self._reports.values()
            frames.extend({"type": "report", "outcomes": batch} for batch in batches(outcomes, outcome_bytes))
            self._reports = {}
        if self._releases:
            reasons = {seat.released for seat in self._releases.values()}
            for reason in cast(set[ReleaseReason], reasons):
                refs = [seat.ref for seat in self._releases.values() if seat.released == reason]
                frames.extend({"type": "release", "runs": batch, "reason": reason} for batch in batches(refs, _small))
            self._releases = {}

    def _flush_renewal(self, frames: list[Frame], now: float) -> None:
        frame: Renew = {"type": "renew"}
        if now >= self._renew_at:
            self._seq += 1
            self._renewals[self._seq] = now
            self._renew_at = now + self._heartbeat_s
            frame["seq"] = self._seq
            frame["held"] = self.held
        if self.capacity != self._announced or now >= self._announce_at:
            self._announced = frame["capacity"] = self.capacity
            self._announce_at = inf
        if len(frame) > 1:
            frames.append(frame)

    def _held_runs(self) -> list[HeldRun]:
        return [{**seat.ref, "started": seat.begun} for seat in self.seats.values() if not seat.orphan]


def _key(item: RunKey) -> Key:
    return item["run"], item["attempt"]


def _small(ref: RunKey) -> int:
    return OUTCOME_BYTES


def outcome_bytes(outcome: Outcome) -> int:
    """About how many bytes an outcome takes in a frame, never less than it does."""
    size = OUTCOME_BYTES + len(outcome.get("result", b""))
    if "error" in outcome:
        size += sum(4 * len(text) for text in (outcome["error"]["type"], outcome["error"]["message"]))
        size += 4 * len(outcome["error"]["traceback"])
    return size


def note_bytes(note: RunNote) -> int:
    """About how many bytes a note takes in a frame, never less than it does."""
    texts = [line["text"] for line in note.get("log", ())]
    if "progress" in note:
        texts.append(note["progress"]["message"])
    return NOTE_BYTES + sum(NOTE_BYTES + 4 * len(text) for text in texts)
