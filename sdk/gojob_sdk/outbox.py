"""What a session has to send: noted down one by one, and turned into frames together.

1. What came together leaves together: ``flush`` cuts everything that waits into as few frames as the limits allow.
2. A start waits up to 5 ms, so that a short run needs only its report, which implies the start. That is safe: for the
   engine, a bound run without a recorded start is one that may have begun.
3. Every item is sent once per connection. ``refill`` notes down for a new connection what the last one left
   unacknowledged.

No I/O and no clock: time is an argument, in seconds of one clock that only grows.
"""

from collections.abc import Iterable
from math import inf
from typing import cast

from gojob_sdk.events import Key
from gojob_sdk.protocol import (
    BATCH_BYTES,
    MAX_NOTE_LINES,
    Frame,
    Outcome,
    ReleaseReason,
    RunKey,
    RunNote,
    batches,
)
from gojob_sdk.seats import OUTCOME_BYTES, Seat, Seats, outcome_bytes

START_LINGER_S = 0.005
NOTE_BYTES = BATCH_BYTES // MAX_NOTE_LINES + 1
"""So that no frame gets more lines than it may have."""


class Outbox:
    """Starts, reports, releases, acknowledgements and notes on their way to the gateway."""

    def __init__(self) -> None:
        self.start_at = inf
        self._starts: dict[Key, Seat] = {}
        self._reports: dict[Key, Outcome] = {}
        self._releases: dict[Key, Seat] = {}
        self._acknowledged: dict[Key, None] = {}
        self._notes: list[RunNote] = []
        self._specs: list[bytes] = []
        self._resuming = False

    @property
    def urgent(self) -> bool:
        """Whether something waits that need not wait. Starts do not count: they have a moment of their own."""
        return bool(
            self._reports or self._releases or self._acknowledged or self._notes or self._specs or self._resuming
        )

    # --- noting down --------------------------------------------------------------------------------------------------

    def start(self, key: Key, seat: Seat, at: float) -> None:
        """Send the start of this run at this moment, unless its report goes out before."""
        self._starts[key] = seat
        if at < self.start_at:
            self.start_at = at

    def report(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            key = outcome["run"], outcome["attempt"]
            self._starts.pop(key, None)
            self._reports[key] = outcome

    def release(self, key: Key, seat: Seat) -> None:
        self._starts.pop(key, None)
        self._releases[key] = seat

    def acknowledge(self, key: Key) -> None:
        """Tell the gateway that a cancel arrived."""
        self._acknowledged[key] = None

    def note(self, notes: Iterable[RunNote]) -> None:
        """Send these logs and progress; what a broken connection loses is not sent again."""
        self._notes.extend(notes)

    def describe(self, specs: Iterable[bytes]) -> None:
        """Send what the gateway asked for."""
        self._specs.extend(specs)

    def resume(self) -> None:
        """Tell the gateway which runs this worker holds."""
        self._resuming = True

    def unconfirmed(self) -> list[tuple[Key, Seat]]:
        """The runs that wait for permission to begin, and whose start has not been sent."""
        return [(key, seat) for key, seat in self._starts.items() if seat.confirming]

    def forget(self, key: Key) -> None:
        """The gateway has acknowledged the report or the release of this run: it need not be sent any more."""
        if self._reports:
            self._reports.pop(key, None)
        if self._releases:
            self._releases.pop(key, None)

    def refill(self, seats: Seats) -> None:
        """Note down for a new connection whatever the last one left unacknowledged."""
        self._reports = {key: seat.outcome for key, seat in seats.by_key.items() if seat.outcome is not None}
        self._releases = {key: seat for key, seat in seats.by_key.items() if seat.released is not None}
        self._starts = {key: seat for key, seat in seats.by_key.items() if seat.confirming}
        self.start_at = 0.0 if self._starts else inf
        self._acknowledged.clear()
        self._specs = []
        self._resuming = False

    # --- turning into frames ------------------------------------------------------------------------------------------

    def flush(self, now: float, seats: Seats) -> list[Frame]:
        """Everything that can be sent now, in the order in which it has to be written."""
        frames: list[Frame] = []
        if self._resuming:
            self._resuming = False
            frames.append({"type": "resume", "runs": seats.held_runs()})
        if self._acknowledged:
            self._flush_acknowledgements(frames)
        if self._notes:
            frames.extend({"type": "note", "entries": batch} for batch in batches(self._notes, note_bytes))
            self._notes = []
        if self._specs:
            frames.extend({"type": "described", "specs": batch} for batch in batches(self._specs, len))
            self._specs = []
        if now >= self.start_at:
            self._flush_starts(frames)
        elif not self._starts:
            self.start_at = inf
        if self._reports:
            outcomes = self._reports.values()
            frames.extend({"type": "report", "outcomes": batch} for batch in batches(outcomes, outcome_bytes))
            self._reports = {}
        if self._releases:
            self._flush_releases(frames)
        return frames

    def _flush_acknowledgements(self, frames: list[Frame]) -> None:
        keys = [RunKey(run=run, attempt=attempt) for run, attempt in self._acknowledged]
        self._acknowledged.clear()
        frames.extend({"type": "acknowledge", "runs": batch} for batch in batches(keys, _ref_bytes))

    def _flush_starts(self, frames: list[Frame]) -> None:
        refs = [seat.ref for seat in self._starts.values()]
        self._starts.clear()
        self.start_at = inf
        frames.extend({"type": "start", "runs": batch} for batch in batches(refs, _ref_bytes))

    def _flush_releases(self, frames: list[Frame]) -> None:
        seats = self._releases.values()
        for reason in cast(set[ReleaseReason], {seat.released for seat in seats}):
            refs = batches((seat.ref for seat in seats if seat.released == reason), _ref_bytes)
            frames.extend({"type": "release", "runs": batch, "reason": reason} for batch in refs)
        self._releases = {}


def _ref_bytes(ref: RunKey) -> int:
    return OUTCOME_BYTES


def note_bytes(note: RunNote) -> int:
    """About how many bytes a note takes in a frame, never less than it does."""
    texts = [line["text"] for line in note.get("log", ())]
    if "progress" in note:
        texts.append(note["progress"]["message"])
    return NOTE_BYTES + sum(NOTE_BYTES + 4 * len(text) for text in texts)
