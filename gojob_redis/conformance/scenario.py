"""What a scenario is, and how it says what is wrong."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gojob_redis.conformance.stage import Stage

Play = Callable[["Stage"], Awaitable[None]]


class Failed(Exception):
    """The worker departed from the protocol: what was expected of it, and what came instead."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}, came {came}")
        self.expected = expected
        self.came = came


@dataclass(frozen=True, slots=True)
class Scenario:
    """One rule, and how it is tried.

    section: of ``docs/protocol.md``.
    needs_command: whether the worker has to be started, signalled or restarted for it.
    """

    id: str
    sentence: str
    section: str
    play: Play
    needs_command: bool = False


def scenario(id: str, sentence: str, section: str, *, needs_command: bool = False) -> Callable[[Play], Scenario]:
    """Make a scenario of the function below."""
    return lambda play: Scenario(id, sentence, section, play, needs_command)
