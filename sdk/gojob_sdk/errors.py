"""What can go wrong, as the user of the SDK sees it."""

from collections.abc import Mapping
from typing import Any


class GojobError(Exception):
    """Any error this package raises on purpose."""


class BadConfig(GojobError, ValueError):
    """A worker or handler is set up wrongly; the message names the setting and the remedy."""


class Refused(GojobError):
    """The gateway will not have this worker, and trying again cannot help."""


class FinalError(GojobError):
    """Raise it in a handler when running again cannot help: the run fails without any retry."""


class Snooze(GojobError):
    """Raise it in a handler when it is too early: the run begins again after so many seconds, and counts no failure."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        self.seconds = seconds
        super().__init__(reason or f"put off for {seconds:g} s")


class Uncounted(GojobError):
    """Raise it in a handler when the failure is not the run's, such as a service that is down: it uses up no retry.

    seconds: until the run begins again, instead of its own interval.
    """

    def __init__(self, reason: str = "", *, seconds: float | None = None) -> None:
        self.seconds = seconds
        super().__init__(reason)


class BadParams(FinalError):
    """The parameters do not fit the handler's signature; the message names the field."""


class BadResult(FinalError):
    """The handler returned what cannot be sent: too large, or nothing MessagePack knows."""


class LeaseLost(FinalError):
    """A run that must happen at most once was stopped, because it may have been given to somebody else."""


class Canceled(BaseException):
    """This run should end now. Not an ``Exception``, so that a handler's own ``except Exception`` lets it pass."""


class ClientError(GojobError):
    """The server's answer to a request that it did not carry out (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.hint = str(problem.get("hint", ""))
        self.field = str(problem.get("field", ""))
        self.problem = dict(problem)
        super().__init__(" ".join(filter(None, (f"{self.code}: {self.detail}", self.hint))))


class Unreachable(GojobError):
    """No server answered in time; the same call may be made again."""
