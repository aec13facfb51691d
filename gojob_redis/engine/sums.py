"""How sums of what happened are stored: as MessagePack, and the parts of a day together, compressed."""

import zlib
from typing import Any

import msgpack

from gojob_redis.domain.tally import Failures, Sum


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


def unpack(value: bytes | None) -> Any:
    """What was packed, or None."""
    if not value:
        return None
    try:
        return msgpack.unpackb(value, strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        return None


def pack_sum(sums: Sum) -> bytes:
    return pack(sums.packed())


def unpack_sum(value: bytes | None) -> Sum:
    """The sum that was packed; nothing happened where that cannot be read."""
    return Sum.of(unpack(value))


def failures_in(value: bytes | None) -> Failures:
    """Failures that were packed; none of nothing where that cannot be read."""
    return Failures.of(unpack(value))


def pack_day(parts: dict[int, Any]) -> bytes:
    """The packed sums of the parts of a day, by their number in it."""
    return zlib.compress(pack(parts), 6)


def unpack_day(value: bytes | None) -> dict[int, Any]:
    """The same, read; empty where it cannot be."""
    try:
        parts = unpack(zlib.decompress(value)) if value else {}
    except zlib.error:
        return {}
    return parts if isinstance(parts, dict) else {}
