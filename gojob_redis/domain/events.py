"""Kinds of events: what each means and what to do about it. The one table; ``docs/events.md`` is made from it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class EventKind(StrEnum):
    """What an event tells."""

    FAULTED = "faulted"
    CANCELED = "canceled"
    LOST = "lost"
    POISON = "poison"
    REJECTED = "rejected"
    UNACCEPTED = "unaccepted"
    RUN_LIMIT = "run_limit"
    EXPIRED = "expired"
    SESSION_LOST = "session_lost"
    GATEWAY_FORGOTTEN = "gateway_forgotten"
    OVERDUE = "overdue"
    NOT_SCHEDULED = "not_scheduled"
    LEDGER_HOLE = "ledger_hole"
    LEDGER_DOUBLE = "ledger_double"
    LEDGER_STRAY = "ledger_stray"
    LEDGER_DISPUTED = "ledger_disputed"
    BOOTSTRAPPED = "bootstrapped"
    LOST_WAKEUP = "lost_wakeup"
    UNKNOWN_WORD = "unknown_word"
    CORRUPT = "corrupt"
    MENDED = "mended"
    ORPHAN = "orphan"
    ORPHAN_DUE = "orphan_due"
    STALE = "stale"
    STRAY_KEY = "stray_key"
    STATS_GAP = "stats_gap"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class About:
    """One row of the catalogue."""

    means: str
    to_do: str


KINDS: Final[dict[EventKind, About]] = {
    EventKind.FAULTED: About("A task ended as faulted; `reason` says why.", "Look at its error, then retry it."),
    EventKind.CANCELED: About(
        "A task was canceled; `reason` says why. It is told about 2 s after its end.", "Nothing, if somebody wanted it."
    ),
    EventKind.LOST: About(
        "A worker was gone while it held this run, and the run goes back to its queue; `why` says how it was lost.",
        "Look at the worker: killed, out of memory, or an event loop that was blocked for longer than the lease.",
    ),
    EventKind.POISON: About(
        "A run took three workers with it, and is not run again.",
        "Look at what this task does to its process, such as its memory. Retry it when that is mended.",
    ),
    EventKind.REJECTED: About(
        "Workers handed a run back too often.",
        "Look at the `reason` that they gave, and at what they are told to take.",
    ),
    EventKind.UNACCEPTED: About(
        "A worker did not begin a run within the accept limit, and it goes to another.",
        "A blocked event loop or a stalled connection: look at the worker that `session` names.",
    ),
    EventKind.RUN_LIMIT: About(
        "An attempt took longer than its run limit.", "Raise `run_limit_ms`, or look at why it takes so long."
    ),
    EventKind.EXPIRED: About(
        "A task waited for its start longer than its queue limit.",
        "Start workers for its handler and labels, or raise `queue_limit_ms`.",
    ),
    EventKind.SESSION_LOST: About(
        "A worker was not heard for a lease; what it held is told by `lost`.",
        "Look at its host and at the network between it and the gateways.",
    ),
    EventKind.GATEWAY_FORGOTTEN: About(
        "A gateway was silent for a minute, and its inboxes are gone.", "Nothing, if you took it away. Else look at it."
    ),
    EventKind.OVERDUE: About(
        "Slots of triggers were due and nobody fired them; `count` triggers, the latest is named.",
        "Start a trigger replica, or look at why the ones there are do not answer.",
    ),
    EventKind.NOT_SCHEDULED: About(
        "A trigger that is enabled stood in no index, and was planned anew.", "Report it if it comes again."
    ),
    EventKind.LEDGER_HOLE: About(
        "Slots of a trigger are neither fired nor skipped in its ledger; it says now that they were missed.",
        "Run the missing slots by hand if they matter. The engine lost data, or somebody wrote to it.",
    ),
    EventKind.LEDGER_DOUBLE: About("A slot has two entries in its ledger.", "Somebody wrote to the engine; report it."),
    EventKind.LEDGER_STRAY: About(
        "The ledger has an entry for a moment that is no slot of the rule.", "Somebody wrote to the engine; report it."
    ),
    EventKind.LEDGER_DISPUTED: About(
        "Two independent readings of a schedule differ about a slot.", "A bug in gojob: report it with the rule."
    ),
    EventKind.BOOTSTRAPPED: About(
        "The engine was empty, and an installation began in it.",
        "Expected once, at the very first start. Later it says that the engine lost its data.",
    ),
    EventKind.LOST_WAKEUP: About(
        "The repair bound what a verb should have bound.", "A bug in gojob, and the work goes on: report it."
    ),
    EventKind.UNKNOWN_WORD: About(
        "A record has a word of a later release, and is left alone.", "Finish the upgrade, or ask a later release."
    ),
    EventKind.CORRUPT: About(
        "A record could not be read. A task ends as faulted by it; anything else is taken away.",
        "Somebody wrote to the engine by hand, or a bug in gojob: report it.",
    ),
    EventKind.MENDED: About(
        "An index did not agree with the records, and was mended.", "Nothing once. Report it if it comes again."
    ),
    EventKind.ORPHAN: About(
        "An index named a run whose record is gone.", "Somebody wrote to the engine, or it lost data in a failover."
    ),
    EventKind.ORPHAN_DUE: About(
        "The due index named a trigger or a task that is gone.",
        "Somebody wrote to the engine, or it lost data in a failover.",
    ),
    EventKind.STALE: About(
        "A queue named a run that stands elsewhere by its record.",
        "Somebody wrote to the engine, or it lost data in a failover.",
    ),
    EventKind.STRAY_KEY: About(
        "The engine holds a key that is nobody's.", "Give gojob an engine of its own, or a database of its own."
    ),
    EventKind.STATS_GAP: About(
        "So many `entries` of the tally were thrown away before they were added up, and the statistics lack them.",
        "Look whether trigger replicas run, and whether they keep up: nobody added anything up for a while.",
    ),
    EventKind.OTHER: About(
        "A kind of a later release; `about.kind` is its name.", "Finish the upgrade, or ask a gateway of that release."
    ),
}


def kind_of(word: str) -> EventKind:
    """The kind that a word names; OTHER for one that this release does not know."""
    return EventKind(word) if word in _WORDS else EventKind.OTHER


_WORDS: Final = frozenset(EventKind) - {EventKind.OTHER}
