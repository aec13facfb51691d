"""The worker's side of the socket as a state machine: frames in, events and frames out, no I/O, time as an argument.

1. A session outlives its connections. ``receive`` and ``tick`` answer events for the handlers' side; what has to go
   out is only noted down, and ``flush`` turns it into frames.
2. Three parts do the work: ``seats`` knows what is bound to this worker, ``lease`` how long it stays ours, and the
   outbox what has to be sent. The session composes them.
3. What the gateway has not acknowledged is sent again on the next connection, so no report is lost while the process
   lives.

All times are seconds of one clock that only grows.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any

from gojob_sdk.events import Begin, Cause, Event, Interrupt, Key, Moved, Refused, Regained, Silent, Welcomed, key_of
from gojob_sdk.lease import Lease
from gojob_sdk.outbox import START_LINGER_S, Outbox
from gojob_sdk.protocol import (
    VERSIONS,
    Assign,
    Cancel,
    Describe,
    Frame,
    GatewayFrame,
    Hello,
    Outcome,
    ReleaseReason,
    Renew,
    Renewed,
    RunNote,
    RunVerdict,
    Verdict,
    Welcome,
    spec_digest,
)
from gojob_sdk.seats import Seat, Seats

ANNOUNCE_S = 1.0


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
    specs: Mapping[str, bytes] = field(default_factory=dict)
    """What it tells of its handlers, packed; of those that it tells something of."""


class Link(Enum):
    """How far the conversation on the present connection is."""

    OFFLINE = "offline"
    GREETING = "greeting"
    ONLINE = "online"


class Session:
    """One registration of this process at the gateways, over as many connections as it takes.

    Large, because it has a method for each frame of a gateway and each thing that happens to a run; most are short.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.link = Link.OFFLINE
        self.id: str | None = None
        self.seats = Seats(identity.handlers, identity.concurrency)
        self.lease = Lease()
        self._outbox = Outbox()
        self._digests = {handler: spec_digest(spec) for handler, spec in identity.specs.items()}
        self._announced = 0
        self._announce_at = inf
        self._receivers: dict[str, Callable[[Any, float], list[Event]]] = {
            "welcome": self._welcome,
            "assign": self._assign,
            "verdict": self._verdict,
            "cancel": self._cancel,
            "renewed": self._renewed,
            "sync": self._sync,
            "describe": self._describe,
            "move": lambda frame, now: [Moved(frame["reason"], frame["within_ms"] / 1000)],
            "error": lambda frame, now: [Refused(frame)],
        }

    # --- what can be seen ---------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits for an acknowledgement."""
        return not self.seats

    @property
    def drained(self) -> bool:
        """Nothing is left to do, and nothing new is taken."""
        return self.seats.draining and not self.seats

    @property
    def sendable(self) -> bool:
        """Whether ``flush`` has something that should not wait."""
        return self.link is Link.ONLINE and (self._outbox.urgent or self.seats.capacity != self._announced)

    @property
    def tick_at(self) -> float:
        """When ``tick`` has something to do, if nothing happens before."""
        return min(self.lease.tick_at, self.seats.limit_at)

    @property
    def flush_at(self) -> float:
        """When ``flush`` has something to send, if nothing happens before."""
        if self.link is not Link.ONLINE:
            return inf
        return min(self.lease.renew_at, self._outbox.start_at, self._announce_at)

    # --- the connection -----------------------------------------------------------------------------------------------

    def hello(self, now: float) -> Hello:
        """Open the conversation on a new connection; nothing else may be sent before the welcome."""
        self.link = Link.GREETING
        self.lease.hello(now)
        self._announced = self.seats.capacity
        identity = self.identity
        frame = Hello(
            type="hello",
            protocol=VERSIONS[0],
            speaks=list(VERSIONS),
            sdk=identity.sdk,
            namespace=identity.namespace,
            app=identity.app,
            worker=identity.worker,
            host=identity.host,
            pid=identity.pid,
            labels=dict(identity.labels),
            attributes=list(identity.attributes),
            handlers=list(identity.handlers),
            capacity=self._announced,
            held=self.seats.held_runs(),
        )
        if self._digests:
            frame["specs"] = [self._digests.get(handler, "") for handler in identity.handlers]
        if self.id is not None:
            frame["session"] = self.id
        return frame

    def offline(self) -> None:
        """The connection is gone; seats, reports and the lease are not."""
        self.link = Link.OFFLINE
        self.lease.offline()

    def receive(self, frame: GatewayFrame, now: float) -> list[Event]:
        """Take one frame of the gateway."""
        return self._receivers[frame["type"]](frame, now)

    def _welcome(self, frame: Welcome, now: float) -> list[Event]:
        self.link = Link.ONLINE
        self.id = frame["session"]
        self.lease.welcome(frame["heartbeat_ms"] / 1000, frame["lease_ms"] / 1000, now)
        events: list[Event] = [Welcomed(self.id, frame["gateway"], frame["resumed"])]
        if frame["resumed"]:
            events += _interrupts({"lost": self.seats.disown(key_of(run) for run in frame.get("drop", ()))})
            events += self._regain(now)
        else:
            self.lease.lost = False
            events += _interrupts({"lost": self.seats.disown_all()})
        self._outbox.refill(self.seats)
        return events

    def _sync(self, frame: object, now: float) -> list[Event]:
        self._outbox.resume()
        return []

    def _describe(self, frame: Describe, now: float) -> list[Event]:
        by_digest = {digest: self.identity.specs[handler] for handler, digest in self._digests.items()}
        self._outbox.describe(by_digest[digest] for digest in frame["specs"] if digest in by_digest)
        return []

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _assign(self, frame: Assign, now: float) -> list[Event]:
        begun = []
        for assignment in frame["runs"]:
            key = assignment["run"], assignment["attempt"]
            seat = self.seats.take(key, assignment)
            if seat is None:
                continue
            if seat.released is not None:
                self._hand_back(key, seat, now)
            elif assignment["confirm"]:
                self._outbox.start(key, seat, now)
            else:
                self.seats.begin(key, seat, now)
                self._outbox.start(key, seat, now + START_LINGER_S)
                begun.append(assignment)
        return [Begin(begun)] if begun else []

    def _release(self, key: Key, seat: Seat, reason: ReleaseReason, now: float) -> None:
        self.seats.release(seat, reason)
        self._hand_back(key, seat, now)

    def _hand_back(self, key: Key, seat: Seat, now: float) -> None:
        """Send a release. It takes this worker out of waiting, so it announces its capacity again a little later."""
        self._outbox.release(key, seat)
        if not self.seats.draining:
            self._announce_at = min(self._announce_at, now + ANNOUNCE_S)

    def finish(self, outcomes: list[Outcome]) -> None:
        """Keep how these runs ended until the gateway acknowledges it."""
        self.seats.end(outcomes)
        self._outbox.report(outcomes)

    def note(self, notes: Iterable[RunNote]) -> None:
        """Send these logs and progress; what a broken connection loses is not sent again."""
        self._outbox.note(notes)

    def drain(self, now: float) -> None:
        """Take nothing new and hand back what was not begun."""
        self.seats.draining = True
        for key, seat in self._outbox.unconfirmed():
            self._release(key, seat, "draining", now)

    def _verdict(self, frame: Verdict, now: float) -> list[Event]:
        if frame["of"] == "start":
            return self._start_verdicts(frame["runs"], now)
        for verdict in frame["runs"]:
            key = verdict["run"], verdict["attempt"]
            seat = self.seats.by_key.get(key)
            if seat is not None and (seat.outcome is not None or seat.released is not None):
                self.seats.forget(key, seat)
                self._outbox.forget(key)
        return []

    def _start_verdicts(self, verdicts: list[RunVerdict], now: float) -> list[Event]:
        begun = []
        ended: dict[Cause, list[Key]] = {"canceled": [], "lost": []}
        for verdict in verdicts:
            key, word = key_of(verdict), verdict["verdict"]
            seat = self.seats.by_key.get(key)
            if seat is None:
                continue
            if seat.confirming:
                if word == "ok":
                    self.seats.begin(key, seat, now)
                    begun.append(seat.assignment)
                elif word == "canceled":
                    self.finish([seat.canceled(now)])
                else:
                    self._release(key, seat, "rejected", now)
            elif word in ("canceled", "fenced", "gone") and seat.interrupt():
                ended["canceled" if word == "canceled" else "lost"].append(key)
        events: list[Event] = [Begin(begun)] if begun else []
        return events + _interrupts(ended)

    def _cancel(self, frame: Cancel, now: float) -> list[Event]:
        ended: dict[Cause, list[Key]] = {"canceled": [], "timeout": []}
        for cancellation in frame["runs"]:
            key = key_of(cancellation)
            seat = self.seats.by_key.get(key)
            if seat is None:
                continue
            self._outbox.acknowledge(key)
            if seat.confirming:
                self.finish([seat.canceled(now)])
            elif seat.interrupt():
                ended["timeout" if cancellation["reason"] == "run_limit" else "canceled"].append(key)
        return _interrupts(ended)

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Event]:
        """Act on what is over: the lease, run limits, the patience with a silent gateway."""
        events: list[Event] = []
        if self.lease.lose(now):
            events += _interrupts({"lost": self.seats.executing()})
        if now >= self.seats.limit_at:
            events += _interrupts({"timeout": self.seats.over_limit(now)})
        if self.lease.silent(now):
            events.append(Silent())
        return events

    def _renewed(self, frame: Renewed, now: float) -> list[Event]:
        self.lease.renewed(frame["seq"])
        return self._regain(now)

    def _regain(self, now: float) -> list[Event]:
        kept = self.seats.executing() if self.lease.regain(now) else []
        return [Regained(kept)] if kept else []

    # --- what goes out ------------------------------------------------------------------------------------------------

    def flush(self, now: float) -> list[Frame]:
        """Everything that can be sent now, in the order in which it has to be written."""
        if self.link is not Link.ONLINE:
            return []
        frames = self._outbox.flush(now, self.seats)
        renewal = self._renewal(now)
        if len(renewal) > 1:
            frames.append(renewal)
        return frames

    def _renewal(self, now: float) -> Renew:
        """The renewal of the lease, the capacity, or both."""
        frame: Renew = {"type": "renew"}
        seq = self.lease.renew(now)
        if seq is not None:
            frame["seq"] = seq
            frame["held"] = self.seats.held
        capacity = self.seats.capacity
        if capacity != self._announced or now >= self._announce_at:
            self._announced = frame["capacity"] = capacity
            self._announce_at = inf
        return frame


def _interrupts(ended: Mapping[Cause, list[Key]]) -> list[Event]:
    return [Interrupt(cause, keys) for cause, keys in ended.items() if keys]
