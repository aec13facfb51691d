"""What there is in the world: apps with handlers, how often each is called, how long it takes, and how it fails.

The same numbers every time: everything comes from one seed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from gojob_redis.domain.limits import DAY_MS, HOUR_MS, MINUTE_MS

FINE_DAYS: Final = 1
FINE_MS: Final = 30 * MINUTE_MS
MOST_BUSY: Final = 1.8
CROWDED: Final = 6
"""What happens in an hour happens in the sixth part of it: each ten minutes with something in them are added up."""
SEED: Final = 20_270_101
NAMESPACES: Final = {
    "default": ("shop", "mail", "search", "payments", "stock", "returns", "prices", "images"),
    "data": ("warehouse", "exports", "models", "events", "quality", "archive"),
    "platform": ("backups", "certificates", "metrics", "billing", "audit", "cleanup"),
}
NOUNS: Final = ("orders", "invoices", "users", "reports", "stock", "prices", "carts", "labels", "pages", "feeds")
VERBS: Final = ("send", "sync", "build", "check", "import", "export", "rotate", "collect", "publish", "clean")
ERRORS: Final = (
    ("ConnectionError", "mail-{0}.internal:25 refused the connection after {1} ms"),
    ("TimeoutError", "no answer from https://partner-{0}.example within {1} ms"),
    ("ValueError", "order {1} has no address"),
    ("KeyError", "'sku-{1}'"),
    ("PermissionError", "bucket reports-{0} does not allow PutObject (request {1})"),
    ("OperationalError", "deadlock detected on table stock_{0}, transaction {1}"),
)
LABELS: Final = ("", "", "", "env=gray", "zone=b")
"""Of an app's workers; most have none."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One handler and what its runs are like."""

    app: str
    """namespace/app"""
    name: str
    weight: float
    """Its share of all tasks, relative to the others."""
    typical_ms: float
    """The median of its durations; they are spread log-normally."""
    failing: float
    """The part of its runs that fails."""
    error: tuple[str, str]
    """Type and message of its failures; the message has places for two numbers."""

    @property
    def address(self) -> str:
        """namespace/app/handler"""
        return f"{self.app}/{self.name}"

    def duration_ms(self, random: Random) -> int:
        return max(1, min(20 * 60_000, round(self.typical_ms * math.exp(random.gauss(0, 0.7)))))

    def failure(self, random: Random) -> dict[str, str]:
        """An error as a worker reports it."""
        kind, message = self.error
        text = message.format(random.randrange(1, 5), random.randrange(1_000, 99_999))
        where = f'  File "/srv/{self.name}.py", line {random.randrange(20, 90)}, in {self.name}'
        return {
            "type": kind,
            "message": text,
            "traceback": f"Traceback (most recent call last):\n{where}\n{kind}: {text}",
        }


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    triggers: int = 100_000
    tasks: int = 1_000_000
    sessions: int = 5_000
    days: int = 60

    def scaled(self, factor: float) -> "Size":
        """A smaller world of the same kind; the days stay."""
        triggers, tasks, sessions = (round(number * factor) for number in (self.triggers, self.tasks, self.sessions))
        return Size(triggers, tasks, sessions, self.days)


@dataclass(slots=True)
class World:
    """The apps and their handlers."""

    size: Size
    random: Random = field(default_factory=lambda: Random(SEED))
    handlers: list[Handler] = field(default_factory=list)

    def __post_init__(self) -> None:
        for app in self.apps:
            for number, verb in enumerate(VERBS):
                self.handlers.append(self._handler(app, f"{verb}_{NOUNS[(number + len(app)) % len(NOUNS)]}"))

    @property
    def apps(self) -> list[str]:
        return [f"{namespace}/{app}" for namespace, apps in NAMESPACES.items() for app in apps]

    def of_app(self, app: str) -> list[Handler]:
        return [handler for handler in self.handlers if handler.app == app]

    def _handler(self, app: str, name: str) -> Handler:
        random = self.random
        typical_ms = random.choice((8, 25, 80, 300, 1_500, 20_000, 90_000))
        failing = random.choice((0.0, 0.0, 0.001, 0.004, 0.02, 0.12))
        return Handler(app, name, random.paretovariate(1.2), typical_ms, failing, random.choice(ERRORS))


class Window(NamedTuple):
    """A part of the past, what is submitted in which is drawn in one go."""

    began_ms: int
    length_ms: int
    tasks: int
    """That are submitted in it."""

    def moment(self, random: Random) -> int:
        """Some time in it, by day rather than by night, and never late in an hour: see CROWDED."""
        while True:
            at = self.began_ms + random.randrange(self.length_ms)
            if random.random() * MOST_BUSY < busy(at):
                return max(self.began_ms, at - at % HOUR_MS + at % HOUR_MS // CROWDED)


def busy(at_ms: int) -> float:
    """How much happens at that time of the day (UTC)."""
    return 1 + 0.8 * math.sin((at_ms % DAY_MS / HOUR_MS - 8) / 24 * 2 * math.pi)


def windows(began_ms: int, size: Size, tasks: int) -> Iterator[Window]:
    """The past from its begin on: days, and the last ones in half-hours."""
    fine_ms = began_ms + max(0, size.days - FINE_DAYS) * DAY_MS
    parts = [(at, DAY_MS) for at in range(began_ms, fine_ms, DAY_MS)]
    parts += [(at, FINE_MS) for at in range(fine_ms, began_ms + size.days * DAY_MS, FINE_MS)]
    weights = [length * (busy(at) if length < DAY_MS else 1.0) for at, length in parts]
    left, weight_left = tasks, sum(weights)
    for (at, length), weight in zip(parts, weights, strict=True):
        number = round(left * weight / weight_left)
        yield Window(at, length, number)
        left, weight_left = left - number, max(weight_left - weight, 1.0)
