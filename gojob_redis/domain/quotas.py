"""How much one namespace may have of what many share, where it was not set otherwise for it: ``Quotas``.

Where a count must be exact it is taken in the script that adds to it, which gets the numbers as an argument
(``written``); sockets and long polls are counted by each gateway for itself (``Headcount``).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest, LimitReached, Unavailable

PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one namespace may have; the fields of ``limits`` in its settings."""

    apps: int = limits.APPS_PER_NAMESPACE
    handlers_per_app: int = limits.HANDLERS_PER_APP
    lanes_per_app: int = limits.LANES_PER_APP
    triggers_per_app: int = limits.TRIGGERS_PER_APP
    delayed_per_app: int = limits.DELAYED_PER_APP
    sockets: int = limits.SOCKETS_PER_NAMESPACE
    sockets_per_token: int = limits.SOCKETS_PER_TOKEN
    polls: int = limits.POLLS_PER_NAMESPACE
    polls_per_token: int = limits.POLLS_PER_TOKEN
    log_lines_per_run: int = limits.LOG_PER_RUN_LINES
    log_bytes_per_run: int = limits.LOG_PER_RUN_BYTES
    log_bytes_per_app: int = limits.LOG_PER_APP_BYTES

    def changed(self, values: Mapping[str, int]) -> "Quotas":
        """With what was said; raises BadRequest ``unknown_limit``, ``bad_limit``."""
        for name, value in values.items():
            if name not in NAMES:
                raise BadRequest(
                    "unknown_limit",
                    f"There is no limit {name[:80]!r}.",
                    field=f"limits.{name[:80]}",
                    hint=f"Use {', '.join(NAMES)}.",
                )
            if not 0 <= value <= limits.QUOTA_MAX:
                raise BadRequest(
                    "bad_limit",
                    f"limits.{name} is {value}, not a number from 0 to {limits.QUOTA_MAX}.",
                    field=f"limits.{name}",
                    hint="Leave it out to keep what is set.",
                    limit=limits.QUOTA_MAX,
                )
        return replace(self, **values)

    @property
    def moved(self) -> dict[str, int]:
        """Those that are not as usual."""
        usual = asdict(USUAL)
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    @property
    def written(self) -> str:
        """Those that scripts count, as these read them."""
        return f"{self.handlers_per_app} {self.lanes_per_app} {self.delayed_per_app}"


USUAL = Quotas()
NAMES = tuple(field.name for field in fields(Quotas))


def of_record(record: bytes | None) -> Quotas:
    """Those of a namespace, by its record in the control plane; what a later release added is passed over."""
    stored = json.loads(record).get("limits", {}) if record else {}
    return replace(USUAL, **{name: value for name, value in stored.items() if name in NAMES})


def written(own: Mapping[str, Quotas]) -> str:
    """The quotas of a call: a line for each namespace whose own differ from the usual, which the scripts know."""
    usual = USUAL.written
    return "\n".join(f"{namespace} {own[namespace].written}" for namespace in own if own[namespace].written != usual)


def refusal(word: str, app: str, may_have: Quotas = USUAL) -> LimitReached:
    """The error for a word with which a script refused one more."""
    limit, field, things, passes = {
        "triggers_full": (may_have.triggers_per_app, "trigger", "triggers", False),
        "handlers_full": (may_have.handlers_per_app, "handler", "handlers", False),
        "app_lanes_full": (may_have.lanes_per_app, "labels", "queues for its handlers, labels and attributes", False),
        "delayed_full": (may_have.delayed_per_app, "at", "delayed tasks", True),
    }[word]
    return LimitReached(
        word,
        f"{app} has {limit} {things} already.",
        field=field,
        hint="Try later, or let an administrator raise the limits of the namespace."
        if passes
        else "Use fewer, or let an administrator raise the limits of the namespace.",
        limit=limit,
        passes=passes,
    )


class Headcount:
    """How many of something this process has now, by token and by namespace.

    what: in the plural, as the quotas name it.
    """

    def __init__(self, what: str, *, code: str) -> None:
        self.what = what
        self.code = code
        self._of: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many there are in all."""
        return sum(count for name, count in self._of.items() if name.startswith("token "))

    @contextmanager
    def one(self, key_id: str, namespace: str, quotas: Quotas) -> Iterator[None]:
        """Count one more for the block; raises Unavailable with the code when there are enough."""
        token, whole = f"token {key_id}", f"namespace {namespace}"
        for name, most in ((token, f"{self.what}_per_token"), (whole, self.what)):
            limit: int = getattr(quotas, most)
            if self._of[name] >= limit:
                raise Unavailable(
                    f"This gateway has {limit} {self.what} of {name} already.",
                    PAUSE_S,
                    code=self.code,
                    hint=f"Try another replica, or let an administrator raise {most} of the namespace.",
                )
        self._of.update((token, whole))
        try:
            yield
        finally:
            for name in (token, whole):
                self._of[name] -= 1
                if not self._of[name]:
                    del self._of[name]
