"""What a session tells its owner: the events that ``Session.receive`` and ``Session.tick`` return."""

from dataclasses import dataclass
from typing import Literal

from gojob_sdk.protocol import Assignment, Error, RunKey

Key = tuple[str, int]
"""A run and the number of its attempt."""

Cause = Literal["canceled", "timeout", "lost"]


@dataclass(frozen=True, slots=True)
class Begin:
    """Run these handlers now."""

    assignments: list[Assignment]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """These runs should end: they were canceled, are over their run limit, or may be bound to another worker by now."""

    cause: Cause
    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Regained:
    """These runs are ours after all: their lease did not end."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The gateway accepted this worker."""

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
    """The gateway says why it is about to close the connection."""

    error: Error


Event = Begin | Interrupt | Regained | Welcomed | Moved | Silent | Refused


def key_of(item: RunKey) -> Key:
    return item["run"], item["attempt"]
