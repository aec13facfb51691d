"""Which tasks or triggers a search or a job means, as scripts read it.

They do so in ``lua/lib/filter.lua`` and ``lua/lib/job_triggers.lua``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gojob_redis.domain.names import canonical_labels
from gojob_redis.domain.states import State, TriggerState

SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Conditions on tasks, all of which must hold; what is left at its default asks for nothing."""

    handler: str = ""
    """Its name in its app."""
    trigger: str = ""
    state: list[State] = field(default_factory=list)
    """One of these; any, if none is named."""
    reason: list[str] = field(default_factory=list)
    """One of these; any, if none is named."""
    worker: str = ""
    """It had it last."""
    parent: str = ""
    error: str = ""
    """The fingerprint of the failure that it faulted with."""
    labels: dict[str, str] = field(default_factory=dict)
    """Those that the task requires; it may require others, too."""
    from_ms: int | None = None
    """It ended then or later; while it is not over: it was made then or later."""
    to_ms: int | None = None
    """The same, before this moment."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The one of which ``asdict`` was stored."""
        return cls(**{**stored, "state": [State(word) for word in stored["state"]]})

    @property
    def written(self) -> str:
        """A ``name=value`` for each condition."""
        conditions = {
            "handler": self.handler,
            "trigger": self.trigger,
            "state": ",".join(self.state),
            "reason": ",".join(self.reason),
            "worker": self.worker,
            "parent": self.parent,
            "failure": self.error,
            "label": canonical_labels(self.labels),
            "from": "" if self.from_ms is None else str(self.from_ms),
            "to": "" if self.to_ms is None else str(self.to_ms),
        }
        return _written(conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFilter:
    """Conditions on triggers, all of which must hold; what is left at its default asks for nothing."""

    handler: str = ""
    """Its name in its app."""
    state: list[TriggerState] = field(default_factory=list)
    """One of these; any, if none is named."""
    owner: str = ""
    prefix: str = ""
    """What its name begins with."""
    q: str = ""
    """A text in its name, handler, owner or schedule, in lower case."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The one of which ``asdict`` was stored."""
        return cls(**{**stored, "state": [TriggerState(word) for word in stored["state"]]})

    @property
    def written(self) -> str:
        """A ``name=value`` for each condition."""
        return _written(
            {
                "handler": self.handler,
                "state": ",".join(self.state),
                "owner": self.owner,
                "prefix": self.prefix,
                "q": self.q,
            }
        )


def _written(conditions: Mapping[str, str]) -> str:
    return SEPARATOR.join(f"{name}={value}" for name, value in conditions.items() if value)
