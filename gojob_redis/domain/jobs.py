"""Jobs on many tasks or triggers: what they do, and how they stand."""

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a job is on."""

    TASKS = "tasks"
    TRIGGERS = "triggers"


class Verb(StrEnum):
    """What a job does with each of them."""

    CANCEL = "cancel"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    RUN = "run"
    DELETE = "delete"


class JobState(StrEnum):
    """How a job stands."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELED = "canceled"
    """What it did before stays."""
    DONE = "done"


class Outcome(StrEnum):
    """What became of one of those a job matched and did nothing to."""

    SKIPPED = "skipped"
    FAILED = "failed"


OVER: Final = frozenset({JobState.CANCELED, JobState.DONE})
VERBS: Final[dict[Kind, tuple[Verb, ...]]] = {
    Kind.TASKS: (Verb.CANCEL, Verb.RETRY, Verb.DELETE),
    Kind.TRIGGERS: (Verb.PAUSE, Verb.RESUME, Verb.RUN, Verb.DELETE),
}
REASONS: Final = {
    "already": "it is over, or was asked to stop; of a trigger: it is as it is to be",
    "corrupt": "its record cannot be read",
    "duplicate": "this job did it already",
    "gone": "there is none, or not where the job may work",
    "later": "a later release of gojob-redis put it into a state that this one leaves alone",
    "lanes_full": "its handler has as many queues as it may",
    "no_lane": "its record does not say where it belongs",
    "not_over": "it is not over; cancel it, or wait for its end",
    "pinned": "somebody wants it kept",
    "queue_full": "a million tasks wait for its handler",
    "too_new": "it came, or ended, after the moment that the job is for",
}
"""Why something was skipped, or failed."""


def kinds_of(verb: Verb) -> list[Kind]:
    """What a verb can be done to."""
    return [kind for kind, verbs in VERBS.items() if verb in verbs]
