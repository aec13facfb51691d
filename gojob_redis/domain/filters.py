"""Which tasks a search or a job means, as scripts read it (``lua/lib/filter.lua``)."""

from collections.abc import Sequence
from dataclasses import dataclass

SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Conditions on tasks, all of which must hold; what is left at its default asks for nothing."""

    handler: str = ""
    """Its name in its app."""
    trigger: str = ""
    states: Sequence[str] = ()
    reasons: Sequence[str] = ()
    worker: str = ""
    parent: str = ""
    labels: str = ""
    """Labels the task requires, canonical; it may require others, too."""
    from_ms: int | None = None
    """Of its end; of when it was made while it is not over."""
    to_ms: int | None = None
    """Before."""

    @property
    def written(self) -> str:
        """A ``name=value`` for each condition."""
        conditions = {
            "handler": self.handler,
            "trigger": self.trigger,
            "state": ",".join(self.states),
            "reason": ",".join(self.reasons),
            "worker": self.worker,
            "parent": self.parent,
            "label": self.labels,
            "from": "" if self.from_ms is None else str(self.from_ms),
            "to": "" if self.to_ms is None else str(self.to_ms),
        }
        return SEPARATOR.join(f"{name}={value}" for name, value in conditions.items() if value)
