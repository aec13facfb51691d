"""The server's side of one worker's socket as a state machine: frames in, intents out; engine words in, frames out.

1. No I/O and no clock: the caller (``connection.py``) passes bytes and times, carries the intents to the engine, and
   hands what the engine said back.
2. A start is *held*: it stands in the batcher like any other item, and a report that overtakes it there takes it along
   (``HeldStart.reported``). So a short run costs the engine one item, and no timer is needed: idle, a start goes out
   at once.
3. Seats are compared with every renewal that counts them. Both sides count at different moments, so a single
   difference means nothing; two in a row ask the worker for its list (``sync``). What was answered between that
   question and its answer is taken off the list, or the engine would take a seat again that was just given back.
4. A capacity is announced with the renewal that is sent next, and again until one was committed.
5. The engine binds to a seat as soon as its report is recorded, but the worker's seat is free only when it reads the
   verdict. So we count seats as the worker does (``has_room``): while a report is under way, what was bound to its seat
   waits for its verdict.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Literal

import msgpack

from gojob_redis.domain import fingerprint, hints, verbs
from gojob_redis.domain.errors import Refused
from gojob_sdk import protocol

Key = tuple[str, int]
"""A run and the number of its attempt."""

DIFFERENCES = 2
"""Renewals in a row whose seats differed before the worker is asked for its list."""
PATIENCE = 4
"""Further differences before the question is asked again."""

UNKNOWN = 20
"""Frames of unknown types that are ignored within ``UNKNOWN_WITHIN_S``."""
UNKNOWN_WITHIN_S = 60.0

AWAY = -2
"""The capacity of a session whose socket is gone; see ``lua/renew.lua``."""

SEE_PROTOCOL = "Update the SDK, or see docs/protocol.md."


# ---- intents ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class HeldStart:
    """A start on its way to the engine, unless a report overtakes it."""

    start: verbs.Start
    heard_ms: int
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Hello:
    frame: protocol.Hello


@dataclass(frozen=True, slots=True)
class Renew:
    """The session is to be renewed at once; seq: what to answer when that is committed, None for no answer."""

    seq: int | None
    load: protocol.Load | None = None


@dataclass(frozen=True, slots=True)
class Start:
    starts: list[HeldStart]


@dataclass(frozen=True, slots=True)
class Report:
    reports: list[verbs.Report]
    lasted_ms: list[int]
    """How long each run took, by the worker's own clock."""


@dataclass(frozen=True, slots=True)
class Release:
    releases: list[verbs.Release]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    canceled: list[verbs.Heard]


@dataclass(frozen=True, slots=True)
class Note:
    """What runs log, and how far they are."""

    logs: list[protocol.RunNote]
    progress: list[verbs.Note]


@dataclass(frozen=True, slots=True)
class Resume:
    """The worker answered ``sync``; call ``resumable`` once everything it sent before was answered."""

    held: list[verbs.HeldRun]


@dataclass(frozen=True, slots=True)
class Described:
    """What the worker was asked to tell of its handlers, packed."""

    specs: list[bytes]


@dataclass(frozen=True, slots=True)
class Leave:
    """The worker said goodbye."""


Intent = Hello | Renew | Start | Report | Release | Acknowledge | Note | Resume | Described | Leave


class Phase(Enum):
    """Where the conversation stands."""

    SILENT = "silent"
    ARRIVING = "arriving"
    LIVE = "live"
    LOST = "lost"
    """The engine ended the session; the worker was told to connect anew."""
    GONE = "gone"


# ---- the machine -----------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Session:
    """One worker's session, as far as one connection of it goes. Times ``now`` are seconds of one monotonic clock.

    Large, because it has a method for each frame and each word of the engine; most are a line or two.
    """

    heard_at: float
    phase: Phase = Phase.SILENT
    id: str = ""
    conn: int = 0
    app: str = ""
    worker: str = ""
    """Its name."""
    specs: str = ""
    """Stands for what it told of its handlers."""
    version: int = 0
    """Of the protocol, as agreed."""
    capacity: int = 0
    load: protocol.Load | None = None
    """What the worker said last that its process takes."""
    renewed_at: float = 0.0
    """When the last renewal was built."""
    _announce: int = 0
    """Counts what had to be announced; the next two say how far that was sent, and committed."""
    _announcing: int = 0
    _announced: int = 0
    _load_sent: str = ""
    """What the renewal under way says of the load; the next is what was committed last."""
    _load_stored: str = ""
    _unknown: int = 0
    """Frames of unknown types since ``_unknown_since``."""
    _unknown_since: float = 0.0
    _held: int = -1
    _compared: bool = False
    _differences: int = 0
    _answered: set[Key] | None = None
    """Reports and releases that were answered since ``sync`` was asked; None when it was not."""
    _seated: set[Key] = field(default_factory=set)
    """What occupies a seat by the worker's own count."""
    _giving_back: int = 0
    """Reports and releases that are not answered yet."""
    _starts: dict[Key, HeldStart] = field(default_factory=dict)
    _confirming: set[Key] = field(default_factory=set)

    # --- frames in ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float, wall_ms: int) -> Intent | None:
        """Take one message: what is to be done about it, if anything. Raises Refused for what must end the socket."""
        self.heard_at = now
        try:
            frame = protocol.decode_worker(data)
        except protocol.BadFrame as error:
            raise _too_large(error) if error.close_code == protocol.CLOSE_TOO_LARGE else _bad(error) from None
        if frame is None:
            self._ignore(now)
            return None
        if (frame["type"] == "hello") != (self.phase is Phase.SILENT):
            raise _out_of_turn(frame["type"])
        take: Callable[[Session, Any, int], Intent | None] = self._TAKE[frame["type"]]
        return take(self, frame, wall_ms)

    def _ignore(self, now: float) -> None:
        """A newer worker may say what we do not know, now and then."""
        if not self._unknown or now - self._unknown_since > UNKNOWN_WITHIN_S:
            self._unknown_since, self._unknown = now, 0
        self._unknown += 1
        if self._unknown > UNKNOWN:
            message = f"More than {UNKNOWN} frames of unknown types came within {UNKNOWN_WITHIN_S:.0f} s."
            raise Refused("bad_frame", message, protocol.CLOSE_BAD_FRAME, SEE_PROTOCOL, field="type")

    def _hello(self, hello: protocol.Hello, _: int) -> Hello:
        self.version = _common_version({hello["protocol"], *hello.get("speaks", ())})
        self.phase = Phase.ARRIVING
        self.capacity = hello["capacity"]
        self._confirming = {(run["run"], run["attempt"]) for run in hello["held"] if not run["started"]}
        return Hello(hello)

    def _renew(self, frame: protocol.Renew, _: int) -> Renew:
        if "capacity" in frame:
            self.capacity = frame["capacity"]
            self._announce += 1
        if "held" in frame:
            self._held = frame["held"]
        load = frame.get("load")
        if load:
            self.load = load
        return Renew(frame.get("seq"), load)

    def _resume(self, frame: protocol.Resume, _: int) -> Resume | None:
        if self._answered is None:
            return None  # nobody asked
        return Resume(held_runs(frame["runs"]))

    def _start(self, frame: protocol.Start, wall_ms: int) -> Start:
        runs = frame["runs"]
        starts = [HeldStart(verbs.Start(self.id, run["run"], run["attempt"], run["fence"]), wall_ms) for run in runs]
        for held_start in starts:
            self._starts[held_start.start.run, held_start.start.attempt] = held_start
        return Start(starts)

    def _report(self, frame: protocol.Report, wall_ms: int) -> Report:
        outcomes = frame["outcomes"]
        self._giving_back += len(outcomes)
        lasted_ms = [max(0, outcome["ended_ms"] - outcome["started_ms"]) for outcome in outcomes]
        return Report([self._ended(outcome, wall_ms) for outcome in outcomes], lasted_ms)

    def _ended(self, outcome: protocol.Outcome, wall_ms: int) -> verbs.Report:
        key = outcome["run"], outcome["attempt"]
        held_start = self._starts.pop(key, None) if self._starts else None
        if held_start is None:
            # Nobody told us when it began, but the worker says how long it took.
            started_ms = max(1, wall_ms - max(0, outcome["ended_ms"] - outcome["started_ms"]))
        else:
            held_start.reported = True
            started_ms = held_start.heard_ms
        return verbs.Report(
            self.id,
            key[0],
            key[1],
            outcome["fence"],
            outcome["outcome"],
            started_ms,
            _value(outcome),
            _disposition(outcome),
            _failure(outcome, self.specs),
        )

    def _release(self, frame: protocol.Release, _: int) -> Release:
        reason = frame["reason"]
        self._giving_back += len(frame["runs"])
        return Release(
            [verbs.Release(self.id, run["run"], run["attempt"], run["fence"], reason) for run in frame["runs"]]
        )

    def _acknowledge(self, frame: protocol.Acknowledge, _: int) -> Acknowledge:
        return Acknowledge([verbs.Heard(self.id, run["run"], run["attempt"]) for run in frame["runs"]])

    def _note(self, frame: protocol.Note, _: int) -> Note:
        entries = frame["entries"]
        return Note(
            [entry for entry in entries if "log" in entry or "dropped" in entry],
            [_progress_of(self.id, entry) for entry in entries if "progress" in entry],
        )

    def _described(self, frame: protocol.Described, _: int) -> Described:
        return Described(frame["specs"])

    def _leave(self, _: protocol.Leave, __: int) -> Leave:
        self.phase = Phase.GONE
        return Leave()

    _TAKE: ClassVar[Mapping[str, Callable[[Any, Any, int], Intent | None]]] = {
        "hello": _hello,
        "renew": _renew,
        "resume": _resume,
        "start": _start,
        "report": _report,
        "release": _release,
        "acknowledge": _acknowledge,
        "note": _note,
        "described": _described,
        "leave": _leave,
    }

    # --- at home --------------------------------------------------------------------------------------------------

    def come_home(self, session: str, conn: int, app: str, now: float, kept: Collection[Key] = ()) -> None:
        """The engine knows the session, and that this connection is its newest.

        kept: what the worker said it holds and may go on with.
        """
        self._seated.update(kept)
        self.id, self.conn, self.app = session, conn, app
        self.renewed_at = now
        self.phase = Phase.LIVE

    def renewal(self, now: float) -> verbs.Renewal:
        """What the next renewal says; at most one is under way."""
        self.renewed_at = now
        self._announcing = self._announce
        run_count, self._held = self._held, -1
        self._compared = run_count >= 0
        capacity = self.capacity if self._announce != self._announced else -1
        self._load_sent = load_text(self.load)
        load = self._load_sent if self._load_sent != self._load_stored else ""
        age_ms = max(0, int((now - self.heard_at) * 1000))
        return verbs.Renewal(self.id, self.conn, age_ms, run_count, capacity, load)

    def renewed(self, word: str) -> Literal["ok", "sync", "lost", "moved"]:
        """Take the engine's word on a renewal: what it means for the worker."""
        if word == "moved":
            return "moved"
        if word == "lost":
            return "lost"
        self._announced, self._load_stored = self._announcing, self._load_sent
        if not self._compared:
            return "ok"
        self._compared = False
        self._differences = self._differences + 1 if word == "differs" else 0
        return "sync" if self._has_to_ask() else "ok"

    def _has_to_ask(self) -> bool:
        if self._differences < DIFFERENCES + (PATIENCE if self._answered is not None else 0):
            return False
        self._differences = 0
        self._answered = set()
        return True

    def request_sync(self) -> bool:
        """The engine wants the worker's list; False when it was asked for already."""
        if self._answered is not None:
            return False
        self._answered = set()
        return True

    def resumable(self, runs: Sequence[verbs.HeldRun]) -> list[verbs.HeldRun]:
        """The worker's list without what was answered since it was asked for; it counts as asked no more."""
        answered, self._answered = self._answered or (), None
        self._seated = {(run.run, run.attempt) for run in runs}
        return [run for run in runs if (run.run, run.attempt) not in answered]

    def go(self) -> None:
        """The socket is gone without a goodbye: nothing is to be bound to the session until it comes home again."""
        self.capacity = AWAY
        self._announce += 1

    # --- what the engine said -------------------------------------------------------------------------------------

    def assigned(self, assignment: hints.Assignment) -> None:
        """Take note of what is about to be sent."""
        key = assignment.run, assignment.attempt
        self._seated.add(key)
        if assignment.confirm:
            self._confirming.add(key)

    def has_room(self) -> bool:
        """Whether the worker can seat one more run; when nothing is being given back, it has to see for itself."""
        return not self._giving_back or len(self._seated) < self.capacity

    def confirms(self, starts: Sequence[HeldStart]) -> bool:
        """Whether a run waits for one of these starts to be recorded before it begins."""
        return bool(self._confirming) and any(
            (held_start.start.run, held_start.start.attempt) in self._confirming for held_start in starts
        )

    def started(self, starts: Sequence[HeldStart], words: Sequence[str]) -> list[protocol.RunVerdict]:
        """The verdicts the worker has to hear: all but a plain ok, unless the run waits for it."""
        verdicts: list[protocol.RunVerdict] = []
        for held_start, word in zip(starts, words, strict=True):
            key = held_start.start.run, held_start.start.attempt
            if self._starts.get(key) is held_start:
                del self._starts[key]
            if held_start.reported:
                continue
            if word != "ok" or key in self._confirming:
                verdicts.append(_verdict(key, word))
            self._confirming.discard(key)
        return verdicts

    def answered(self, keys: Collection[Key], words: Sequence[str]) -> list[protocol.RunVerdict]:
        """The verdicts on reports or releases; these seats are given back."""
        if self._answered is not None:
            self._answered.update(keys)
        self._giving_back -= len(words)
        self._seated.difference_update(keys)
        if self._confirming:
            self._confirming.difference_update(keys)
        return [_verdict(key, word) for key, word in zip(keys, words, strict=True)]

    def released(self) -> None:
        """A release took the session out of waiting: the next renewal announces its capacity again."""
        self._announce += 1


# ---- frames out ------------------------------------------------------------------------------------------------------


def load_text(load: protocol.Load | None) -> str:
    """A load as the engine keeps it: percent of a processor, MiB, ms in tens; "-" for what was not said.

    So a worker that does nothing says the same each time, and nothing has to be written.
    """
    if not load:
        return ""
    words = (
        load.get("cpu_percent"),
        load["memory_bytes"] >> 20 if "memory_bytes" in load else None,
        load["lag_ms"] // 10 * 10 if "lag_ms" in load else None,
    )
    return " ".join("-" if word is None else str(word) for word in words)


def held_runs(runs: Sequence[protocol.HeldRun]) -> list[verbs.HeldRun]:
    """What a worker says it holds, as the engine takes it."""
    return [verbs.HeldRun(run["run"], run["attempt"], run["fence"], int(run["started"])) for run in runs]


def kept_and_dropped(
    runs: Sequence[verbs.HeldRun], verdicts: Sequence[str]
) -> tuple[list[str], list[protocol.Dropped]]:
    """What a resumed worker may go on with (``run@attempt``), and what is not its own any more."""
    keep: list[str] = []
    drop: list[protocol.Dropped] = []
    for run, verdict in zip(runs, verdicts, strict=True):
        if verdict == "keep":
            keep.append(f"{run.run}@{run.attempt}")
        else:
            why: Literal["fenced", "gone"] = "gone" if verdict == "gone" else "fenced"
            drop.append({"run": run.run, "attempt": run.attempt, "why": why})
    return keep, drop


def disowned(runs: Sequence[verbs.HeldRun], verdicts: Sequence[str]) -> list[protocol.RunVerdict]:
    """What a worker that answered ``sync`` has to hear about runs that are not its own any more."""
    return [
        _verdict((run.run, run.attempt), verdict)
        for run, verdict in zip(runs, verdicts, strict=True)
        if verdict != "keep"
    ]


def _verdict(key: Key, word: str) -> protocol.RunVerdict:
    return {"run": key[0], "attempt": key[1], "verdict": word}  # type: ignore[typeddict-item]  # the verbs' own words


def _disposition(outcome: protocol.Outcome) -> str:
    """As the script takes it: empty for the usual one."""
    if "disposition" not in outcome and "delay_ms" not in outcome:
        return ""
    word = outcome.get("disposition", "retry")
    return f"{word} {outcome['delay_ms']}" if "delay_ms" in outcome else word


def _value(outcome: protocol.Outcome) -> bytes:
    """The opaque bytes that are kept: the result as it came, or the error packed."""
    if outcome["outcome"] == "ok":
        return outcome.get("result", b"")
    error = outcome.get("error")
    packed: bytes = msgpack.packb(error) if error is not None else b""
    return packed


def _failure(outcome: protocol.Outcome, specs: str) -> bytes:
    """What failures like this one have in common; nothing for an end that was no failure."""
    error = outcome.get("error")
    if error is None or outcome["outcome"] in ("ok", "canceled") or outcome.get("disposition") == "snooze":
        return b""
    return fingerprint.packed(fingerprint.failure_of(error["type"], error["message"], specs))


def _progress_of(session: str, entry: protocol.RunNote) -> verbs.Note:
    """The progress as it is kept: a MessagePack map."""
    return verbs.Note(session, entry["run"], entry["attempt"], "progress", msgpack.packb(entry["progress"]))


def _common_version(spoken: Collection[int]) -> int:
    """The newest version that the worker and this release speak; raises Refused when there is none."""
    common = set(spoken).intersection(protocol.VERSIONS)
    if common:
        return max(common)
    too_old = max(spoken) < protocol.VERSIONS[0]
    theirs, ours = (" and ".join(map(str, sorted(versions))) for versions in (spoken, protocol.VERSIONS))
    raise Refused(
        "worker_too_old" if too_old else "worker_too_new",
        f"The worker speaks protocol {theirs}, this gateway {ours}.",
        protocol.CLOSE_BAD_FRAME,
        "Update gojob-sdk in this worker." if too_old else "Update the gateways before their workers.",
        field="hello.protocol",
    )


def _bad(error: protocol.BadFrame) -> Refused:
    return Refused("bad_frame", error.message, protocol.CLOSE_BAD_FRAME, SEE_PROTOCOL, field=error.field)


def _too_large(error: protocol.BadFrame) -> Refused:
    return Refused("too_large", error.message, protocol.CLOSE_TOO_LARGE, "Send less in one frame.", field=error.field)


def _out_of_turn(word: str) -> Refused:
    message = "A connection says hello once." if word == "hello" else f"{word} came before hello."
    return Refused("bad_frame", message, protocol.CLOSE_BAD_FRAME, SEE_PROTOCOL, field="type")
