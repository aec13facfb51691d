"""What can go wrong, as a caller has to know it.

Every error has a stable ``code`` in snake_case for programs, a message that says what happened and why, and a ``hint``
that says what to do. Expected outcomes (a late report, a fenced one) are return values and do not belong here.

    GojobError
    ├─ BadRequest       the caller's doing; repeating the same call cannot help (except 429)
    │  ├─ LimitReached  429
    │  ├─ NotFound      404
    │  └─ Conflict      409
    ├─ Refused          a worker's socket is closed with a close code
    ├─ Unavailable      Redis or a replica is out of reach; repeating the call is safe
    └─ BrokenInvariant  ours: log it, stop the role
"""

from collections.abc import Mapping
from typing import ClassVar

TYPE_URN = "urn:gojob:problem:{code}"

RETRYABLE_STATUSES = frozenset({429, 503})


class GojobError(Exception):
    """The root of all errors that this package raises on purpose."""

    status: int = 500
    """HTTP status that the error becomes at the edge."""

    def __init__(
        self, code: str, message: str, *, hint: str, field: str | None = None, limit: int | str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.field = field
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r}, field={self.field!r})"

    @property
    def retryable(self) -> bool:
        """True when the same call may succeed later, unchanged."""
        return self.status in RETRYABLE_STATUSES

    def as_problem(self) -> dict[str, object]:
        """Give the body of an ``application/problem+json`` answer (RFC 9457); members without a value are left out."""
        members: Mapping[str, object] = {
            "type": TYPE_URN.format(code=self.code),
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "field": self.field,
            "hint": self.hint or None,
            "limit": self.limit,
        }
        return {name: value for name, value in members.items() if value is not None}


class BadRequest(GojobError):
    """The caller sent something that cannot be accepted.

    status: 400; 413 for ``too_large``, 422 where a well-formed body makes no sense, 429 for ``queue_full`` and rates.
    """

    status = 400

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        hint: str,
        limit: int | str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(code, message, hint=hint, field=field, limit=limit)
        if status is not None:
            self.status = status


def bad_cursor(cursor: str) -> BadRequest:
    return BadRequest(
        "bad_cursor", f"The cursor {cursor[:80]!r} is not one of ours.", field="cursor", hint="Pass 'next' as it came."
    )


def check_span(from_ms: int, to_ms: int) -> None:
    """Raise BadRequest ``bad_span`` for a span of time that ends before it begins."""
    if from_ms >= to_ms:
        raise BadRequest("bad_span", "from is not before to.", field="from", hint="Exchange them, or leave one out.")


class LimitReached(BadRequest):
    """A namespace has as much of something as it may have. Waiting does not help, unless it ``passes``."""

    status = 429

    def __init__(self, code: str, message: str, *, field: str, hint: str, limit: int, passes: bool = False) -> None:
        super().__init__(code, message, field=field, hint=hint, limit=limit)
        self._passes = passes

    @property
    def retryable(self) -> bool:
        return self._passes


class NotFound(BadRequest):
    """The thing that the caller named does not exist, or is not the caller's to see."""

    status = 404


class Conflict(BadRequest):
    """The thing exists, in a state or revision that forbids the call."""

    status = 409


class Refused(GojobError):
    """A worker's socket is not let in, or not kept.

    close_code: the websocket close code, 1000–4999; 4000 and above are ours and listed in ``gojob_sdk.protocol``.
    """

    status = 403

    def __init__(self, code: str, message: str, close_code: int, hint: str, *, field: str | None = None) -> None:
        super().__init__(code, message, hint=hint, field=field)
        self.close_code = close_code


class Unavailable(GojobError):
    """The work could not be done now, and whether it was done is unknown; repeating the same call is safe."""

    status = 503

    def __init__(
        self,
        message: str,
        retry_after_s: float,
        *,
        code: str = "unavailable",
        hint: str = "Repeat the same call, with the same id or Idempotency-Key.",
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.retry_after_s = retry_after_s

    def as_problem(self) -> dict[str, object]:
        return {**super().as_problem(), "retry_after_s": self.retry_after_s}


class BrokenInvariant(GojobError):
    """Our own rules contradict each other: log the message, stop the role, never go on.

    The message stays in our log. A caller is told only that it happened.
    """

    public_detail: ClassVar[str] = "The scheduler found its own state contradictory and stopped that role."

    def __init__(self, message: str, *, code: str = "broken_invariant") -> None:
        super().__init__(code, message, hint="Report it with the server's log of that minute.")

    def as_problem(self) -> dict[str, object]:
        return {**super().as_problem(), "detail": self.public_detail}


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The single exceptions in a group, whatever they are nested in."""
    errors: list[BaseException] = []
    for one in group.exceptions:
        errors += leaves(one) if isinstance(one, BaseExceptionGroup) else [one]
    return errors
