"""States of tasks and runs, and who may move them: the one table.

The Lua headers declare their ``MOVES``; a test proves that their union is this table, and ``gojob_redis.ops.documents``
draws it.
"""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """What a task or run is in; exactly these words in the API."""

    CREATED = "created"
    WAITING_TO_RUN = "waiting_to_run"
    RUNNING = "running"
    RUN_TO_COMPLETION = "run_to_completion"
    FAULTED = "faulted"
    CANCELED = "canceled"


TERMINAL: Final = frozenset({State.RUN_TO_COMPLETION, State.FAULTED, State.CANCELED})
BOUND: Final = frozenset({State.WAITING_TO_RUN, State.RUNNING})


class TriggerState(StrEnum):
    """Whether a trigger fires, and if not, why."""

    ACTIVE = "active"
    """It fires; one without a schedule, by hand only."""
    PAUSED = "paused"
    """Somebody paused it."""
    DISABLED = "disabled"
    """Its definition says that it does not fire."""
    OVER = "over"
    """Its schedule has no slot left."""
    CORRUPT = "corrupt"
    """What is stored of it cannot be read; it fires no more until it is defined again."""
    UNKNOWN = "unknown"
    """A later release has a word for it that this one does not know."""

    @staticmethod
    def of(word: str) -> "TriggerState":
        """The state by its stored word."""
        return _TRIGGER_STATES.get(word, TriggerState.UNKNOWN)


_TRIGGER_STATES: Final[dict[str, TriggerState]] = {state.value: state for state in TriggerState}


class WorkerState(StrEnum):
    """Whether a session takes work, and if not, why."""

    ACTIVE = "active"
    """It does, where it has a free seat."""
    DRAINED = "drained"
    """Somebody said that it takes nothing new."""
    RELEASED = "released"
    """Its worker gave work back; it takes work again when it announces its seats anew."""
    UNACCEPTED = "unaccepted"
    """Its worker did not take what it was sent; it takes work again when it announces its seats anew."""
    SILENT = "silent"
    """Its gateway was not heard of for a while."""
    SOLO = "solo"
    """It has a run that has to be alone: one that lost its worker too often."""
    RESERVED = "reserved"
    """It waits to be idle for a run that has to be alone."""
    LEFT = "left"
    """Its worker said goodbye; what it held goes to others."""
    UNCOUNTED = "uncounted"
    """It ends because somebody ended it; what it held goes to others."""
    ENDING = "ending"
    """It ends because its worker was not heard of; what it held goes to others."""
    UNKNOWN = "unknown"
    """A later release has a word for it that this one does not know."""

    @staticmethod
    def of(off: str, is_drained: bool) -> "WorkerState":
        """The state by what is stored: why it takes no work, and whether somebody drained it."""
        if not off:
            return WorkerState.DRAINED if is_drained else WorkerState.ACTIVE
        return _WORKER_STATES.get(off, WorkerState.UNKNOWN)


_WORKER_STATES: Final[dict[str, WorkerState]] = {state.value: state for state in WorkerState}


class SlotWord(StrEnum):
    """What became of a slot of a trigger."""

    FIRED = "fired"
    SKIPPED = "skipped"
    COALESCED = "coalesced"
    """One of several that were missed, for which the newest was fired."""
    MANUAL = "manual"
    """No slot: somebody ran the trigger by hand."""
    UNKNOWN = "unknown"
    """A later release has a word for it that this one does not know."""


class SlotReason(StrEnum):
    """Why a slot was not fired."""

    NONE = ""
    """It was."""
    OVERLAP = "overlap"
    """A task of the trigger was not over."""
    LANES_FULL = "lanes_full"
    """The app has all the queues that it may have."""
    QUEUE_FULL = "queue_full"
    """Its queue held a million tasks."""
    EDITED = "edited"
    """The trigger was changed after the slot came due and before it was handled."""
    MISFIRE = "misfire"
    """It was handled too late."""
    HOLE = "hole"
    """Nobody handled it; the audit found that out."""
    UNKNOWN = "unknown"
    """A later release has a word for it that this one does not know."""


class Place(StrEnum):
    """Which index a run stands in."""

    LANE = "lane"
    """activeQ: it can be bound."""
    DUE = "due"
    """The due index: a delayed task before its time."""
    TIMER = "timer"
    """deadlineQ: it waits for its retry."""
    SESSION = "session"
    """A seat: it is bound."""
    NONE = "none"
    """It is over; or, of a sharded task, all shards are bound."""


NONE: Final = "none"
"""Before a run exists."""

MOVES: Final[dict[tuple[str, str], str]] = {
    (NONE, State.CREATED): "fired or submitted",
    (State.CREATED, State.WAITING_TO_RUN): "bound to a session with a free seat",
    (State.WAITING_TO_RUN, State.RUNNING): "the worker began",
    (State.WAITING_TO_RUN, State.CREATED): "not accepted, released, session over, or failed with retries left",
    (State.WAITING_TO_RUN, State.RUN_TO_COMPLETION): "reported before its start was heard",
    (State.WAITING_TO_RUN, State.FAULTED): "failed for good, rejected 20 times, unaccepted 100, or lost three times",
    (State.WAITING_TO_RUN, State.CANCELED): "canceled before it began, or its worker did not answer in the grace",
    (State.RUNNING, State.RUN_TO_COMPLETION): "reported",
    (State.RUNNING, State.CREATED): "failed, ran too long or was lost, with attempts left",
    (State.RUNNING, State.FAULTED): "failed for good, ran too long, or was lost",
    (State.RUNNING, State.CANCELED): "canceled by its worker, or by the end of the grace",
    (State.CREATED, State.CANCELED): "canceled while it waited",
    (State.CREATED, State.FAULTED): "waited longer than its queue limit",
}
