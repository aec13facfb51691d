"""How a socket ends from our side: the close code, and the error frame before it."""

from typing import Final

from gojob_redis.domain.errors import (
    BadRequest,
    BrokenInvariant,
    GojobError,
    LimitReached,
    Refused,
    Unavailable,
)
from gojob_sdk import protocol

LIMIT_PAUSE_MS: Final = 30_000
"""An administrator has to raise a limit first."""
CLOSE_NORMAL: Final = 1000
CLOSE_BROKEN: Final = 1011


class HangUp(Exception):
    """A socket is to be closed: with this code, after this error frame."""

    def __init__(self, code: int, error: protocol.Error | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.error = error


def hang_up(error: GojobError) -> HangUp:
    """What an error means for the socket it happened on."""
    if isinstance(error, Refused):
        return HangUp(error.close_code, _error_frame(error, error.message))
    if isinstance(error, (Unavailable, LimitReached)):
        return HangUp(protocol.CLOSE_BUSY, _error_frame(error, error.message))
    if isinstance(error, BadRequest):
        return HangUp(protocol.CLOSE_FORBIDDEN, _error_frame(error, error.message))
    detail = error.public_detail if isinstance(error, BrokenInvariant) else error.message
    return HangUp(CLOSE_BROKEN, _error_frame(error, detail))


def _error_frame(error: GojobError, message: str) -> protocol.Error:
    frame: protocol.Error = {
        "type": "error",
        "code": error.code,
        "message": message[:4_000],
        "hint": error.hint[:4_000],
    }
    if error.field is not None:
        frame["field"] = error.field[:255]
    if isinstance(error, Unavailable):
        frame["retry_ms"] = int(error.retry_after_s * 1000)
    elif isinstance(error, LimitReached):
        frame["retry_ms"] = LIMIT_PAUSE_MS
    return frame


def moved() -> HangUp:
    """A newer connection has the session."""
    return hang_up(Refused("moved", "A newer connection has this session.", protocol.CLOSE_MOVED, ""))


def slow_reader() -> HangUp:
    return hang_up(
        Refused(
            "slow_reader",
            "The worker does not read what is sent to it.",
            protocol.CLOSE_SLOW_READER,
            "Look for a handler that blocks the worker's connection thread, or a network that drops packets.",
        )
    )


def restarting(why: str = "This gateway is restarting.") -> HangUp:
    return hang_up(Refused("restarting", why, protocol.CLOSE_RESTARTING, "Connect again; any replica will do."))
