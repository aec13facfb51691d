"""The seats of a worker: which attempts are bound to it, what became of them, and how many more it can take.

1. A *seat* is one attempt that the gateway bound to this worker. The worker keeps it until the gateway acknowledges
   its report or its release.
2. A seat is *confirming* until its handler begins, then *executing* until its outcome is known. A seat that is
   released never executes.
3. An *orphan* is a seat of an earlier session whose handler still runs. It takes up one of the worker's places, but
   the gateway does not count it, so the worker announces less capacity until the handler ends.
4. Outcomes that are not acknowledged stay in memory. When there are too many of them, the worker takes no new runs
   until half of them are gone.

No I/O and no clock: time is an argument, in seconds of one clock that only grows.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from gojob_sdk.events import Key
from gojob_sdk.protocol import MAX_HELD, Assignment, HeldRun, Outcome, ReleaseReason, RunRef

RECENT_KEYS = 10_000
"""So many attempts that were given back are remembered, to notice an assignment that arrives twice."""

KEPT_RUNS = MAX_HELD // 2
KEPT_BYTES = 64 << 20
OUTCOME_BYTES = 256


@dataclass(slots=True, eq=False)
class Seat:
    """One attempt that is bound to this worker and not yet given back."""

    assignment: Assignment
    begun: bool = False
    interrupted: bool = False
    orphan: bool = False
    outcome: Outcome | None = None
    outcome_bytes: int = 0
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

    def interrupt(self) -> bool:
        """Mark an executing seat as interrupted. Returns False if there is nothing to interrupt, or not again."""
        if self.interrupted or not self.executing:
            return False
        self.interrupted = True
        return True

    def canceled(self, now: float) -> Outcome:
        """The outcome of an attempt that was canceled before its handler began."""
        moment = int(now * 1000)
        ref = self.ref
        return {
            "run": ref["run"],
            "attempt": ref["attempt"],
            "fence": ref["fence"],
            "outcome": "canceled",
            "started_ms": moment,
            "ended_ms": moment,
        }


class Seats:
    """All seats of one worker, with their run limits and the capacity that is left."""

    def __init__(self, handlers: Iterable[str], concurrency: int) -> None:
        self.draining = False
        self.limit_at = inf
        self._handlers = frozenset(handlers)
        self._concurrency = concurrency
        self.by_key: dict[Key, Seat] = {}
        self._given_back: OrderedDict[Key, None] = OrderedDict()
        self._limits: dict[Key, float] = {}
        self._busy = 0
        self._orphans = 0
        self._kept = 0
        self._kept_bytes = 0
        self._congested = False

    # --- what can be seen ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.by_key)

    @property
    def held(self) -> int:
        """Seats of the current session, as the gateway should count them."""
        return sum(not seat.orphan for seat in self.by_key.values())

    def held_runs(self) -> list[HeldRun]:
        return [{**seat.ref, "started": seat.begun} for seat in self.by_key.values() if not seat.orphan]

    @property
    def capacity(self) -> int:
        """How many seats this worker can fill now; none while it drains or has too many reports unacknowledged."""
        if self.draining or self._congested:
            return 0
        return max(0, self._concurrency - self._orphans)

    def executing(self) -> list[Key]:
        """The runs of the current session whose handlers run."""
        return [key for key, seat in self.by_key.items() if seat.executing and not seat.orphan]

    # --- the life of a seat -------------------------------------------------------------------------------------------

    def take(self, key: Key, assignment: Assignment) -> Seat | None:
        """Give an assignment a seat, which is released at once if this worker cannot run it.

        Returns None for an attempt that has a seat already, or had one lately.
        """
        if key in self.by_key or key in self._given_back:
            return None
        seat = self.by_key[key] = Seat(assignment)
        if self.draining:
            seat.released = "draining"
        elif assignment["handler"] not in self._handlers:
            seat.released = "unknown_handler"
        elif self._busy >= self._concurrency:
            seat.released = "rejected"
        else:
            self._busy += 1
        return seat

    def begin(self, key: Key, seat: Seat, now: float) -> None:
        """Note that the handler begins now: its run limit counts from here."""
        seat.begun = True
        limit_ms = seat.assignment["run_limit_ms"]
        if limit_ms:
            self._limits[key] = now + limit_ms / 1000
            self.limit_at = min(self.limit_at, self._limits[key])

    def release(self, seat: Seat, reason: ReleaseReason) -> None:
        """Decide to hand back an attempt that was not begun."""
        seat.released = reason
        self._busy -= 1

    def end(self, outcomes: Iterable[Outcome]) -> None:
        """Keep how these runs ended until the gateway acknowledges it."""
        for outcome in outcomes:
            key = outcome["run"], outcome["attempt"]
            seat = self.by_key[key]
            seat.outcome = outcome
            seat.outcome_bytes = outcome_bytes(outcome)
            self._busy -= 1
            self._orphans -= seat.orphan
            self._limits.pop(key, None)
            self._kept += 1
            self._kept_bytes += seat.outcome_bytes
        if self._kept > KEPT_RUNS or self._kept_bytes > KEPT_BYTES:
            self._congested = True

    def forget(self, key: Key, seat: Seat) -> None:
        """Give the seat up; its attempt will never begin again."""
        del self.by_key[key]
        self._given_back[key] = None
        if len(self._given_back) > RECENT_KEYS:
            self._given_back.popitem(last=False)
        if seat.outcome is not None:
            self._kept -= 1
            self._kept_bytes -= seat.outcome_bytes
            if self._kept < KEPT_RUNS // 2 and self._kept_bytes < KEPT_BYTES // 2:
                self._congested = False
        elif seat.confirming:
            self._busy -= 1

    def over_limit(self, now: float) -> list[Key]:
        """The runs whose limit is over since the last call."""
        late = [key for key, limit in self._limits.items() if limit <= now]
        for key in late:
            del self._limits[key]
            self.by_key[key].interrupted = True
        self.limit_at = min(self._limits.values(), default=inf)
        return late

    # --- the end of a session -----------------------------------------------------------------------------------------

    def disown(self, keys: Iterable[Key]) -> list[Key]:
        """Note that these attempts are no longer this session's. Returns those whose handlers still run."""
        orphans = []
        for key in keys:
            seat = self.by_key.get(key)
            if seat is None or seat.orphan:
                continue
            if seat.executing:
                seat.orphan = True
                self._orphans += 1
                orphans.append(key)
            else:
                self.forget(key, seat)
        return orphans

    def disown_all(self) -> list[Key]:
        """Note that the session is over: what ended is still reported (a fence refuses it), the rest is disowned.

        Returns the attempts whose handlers still run.
        """
        ended = [seat for seat in self.by_key.values() if seat.outcome is not None]
        orphans = self.disown([key for key, seat in self.by_key.items() if seat.outcome is None])
        for seat in ended:
            seat.orphan = True
        return orphans


def outcome_bytes(outcome: Outcome) -> int:
    """About how many bytes an outcome takes in a frame, never less than it does."""
    size = OUTCOME_BYTES + len(outcome.get("result", b""))
    if "error" in outcome:
        size += sum(4 * len(text) for text in (outcome["error"]["type"], outcome["error"]["message"]))
        size += 4 * len(outcome["error"]["traceback"])
    return size
