"""Failures that are one and the same: what was raised, and its message without what differs from task to task."""

import hashlib
import re
from typing import Final, NamedTuple

from gojob_redis.domain.errors import BadRequest

TYPE_CHARS: Final = 100
MESSAGE_CHARS: Final = 200
LOOKED_AT_CHARS: Final = 2_000
"""Of a message: a longer one is cut before anything is replaced in it."""
DIGEST_CHARS: Final = 12
SEPARATOR: Final = "\x1d"

_VARIES = re.compile(
    r"0x[0-9a-fA-F]+"
    r"|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"
    r"|\b(?=[A-Za-z_-]*[0-9])[0-9A-Za-z_-]{6,}\b"
    r"|[0-9]+(?:[.,:][0-9]+)*"
)
"""Addresses, UUIDs, ids (letters and digits mixed, six and more), and numbers."""
_DIGEST = re.compile(rf"[0-9a-f]{{{DIGEST_CHARS}}}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Failure(NamedTuple):
    """What failures have in common."""

    digest: str
    type: str
    message: str
    specs: str = ""
    """Stands for what the worker told of its handlers (``connections/specs.py``); no part of the digest."""


def failure_of(type_: str, message: str, specs: str = "") -> Failure:
    """The failure that an error belongs to; specs: what its worker told of its handlers."""
    kind = _CONTROL.sub(" ", type_)[:TYPE_CHARS]
    common = _CONTROL.sub(" ", _VARIES.sub("#", message[:LOOKED_AT_CHARS]))[:MESSAGE_CHARS].strip()
    digest = hashlib.sha256(f"{kind}\0{common}".encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARS]
    return Failure(digest, kind, common, specs)


def packed(failure: Failure) -> bytes:
    """As a script takes it; nothing in it separates anything but this."""
    return SEPARATOR.join(failure).encode("utf-8", "replace")


def unpacked(value: bytes) -> Failure:
    """The same, read; raises ValueError for what is none."""
    digest, kind, message, specs = value.decode("utf-8", "replace").split(SEPARATOR)
    return Failure(digest, kind, message, specs)


def check_fingerprint(text: str, field: str) -> str:
    """Return a fingerprint, or raise BadRequest ``bad_fingerprint``."""
    if not _DIGEST.fullmatch(text):
        raise BadRequest(
            "bad_fingerprint",
            f"{field} {text[:80]!r} is no fingerprint.",
            field=field,
            hint=f"Pass one as GET /v1/failures tells it, {DIGEST_CHARS} characters of 0-9 and a-f.",
        )
    return text
