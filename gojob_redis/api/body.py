"""A request's body: read only for who may send it, and parsed only when that cannot hold anybody up.

1. At most 1 MiB (bulk 8 MiB), within 30 s. A route reads it after the permission of its caller was looked at
   (``dependencies.py``), so a body on any other path is never read.
2. What parsing costs depends on how many values there are, not on bytes: they and their depth are counted on the bytes
   without their strings, 64 KiB at a time; others have their turn in between.
3. Then it is parsed once, strictly: no NaN, no lone surrogates.
"""

import asyncio
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest

READ_S: Final = limits.BODY_MS / 1000
DIGITS: Final = 32
"""Digits that take as long as a value: large whole numbers are parsed in quadratic time."""
PIECE_BYTES: Final = 64 * limits.KIB

_BULK = ":batch"
_ALL = set(range(256))
_NO_BRACKETS = bytes(_ALL - set(b"[]{}"))
_SEPARATORS, _DIGITS = b",:[{", b"0123456789"
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def size_of(request: Request) -> int:
    """How many bytes the body takes at most; raises BadRequest ``too_large`` (413)."""
    limit = _limit_of(request)
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal():
        return limit if "transfer-encoding" in request.headers else 0
    size = int(announced[:20])
    if size > limit:
        raise _too_large(limit)
    return size


async def take(request: Request) -> bytes:
    """The whole body; raises BadRequest ``too_large`` (413), ``slow_body`` (408)."""
    limit = _limit_of(request)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise BadRequest(
            "slow_body",
            f"The body did not arrive within {READ_S:g} s.",
            field="body",
            hint="Send it faster, or in smaller requests.",
            status=408,
        ) from None
    except ClientDisconnect:
        return b""
    return b"".join(chunks)


async def parse(content_type: str, body: bytes) -> Any:
    """The body's JSON; raises BadRequest ``not_json`` (415), ``too_deep``, ``too_many_values``, ``bad_json``."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise BadRequest(
            "not_json",
            f"The body is {kind[:80]}, not application/json.",
            field="Content-Type",
            hint="Send 'Content-Type: application/json'.",
            status=415,
        )
    for _ in check_shape(body):
        await asyncio.sleep(0)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(
            "bad_json", f"The body is not JSON: {error}.", field="body", hint="Send one JSON object, in UTF-8."
        ) from None


def check_shape(body: bytes, *, depth: int = limits.JSON_DEPTH, values: int = limits.JSON_VALUES) -> Iterator[None]:
    """Refuse JSON that is nested deeper or has more values, without parsing it; yields where others may have a turn.

    Brackets that do not fit each other are left for the parser to report.
    """
    if len(body) <= values and body.count(b"[") + body.count(b"{") <= depth:
        return
    level = separators = digits = 0
    for bare in without_strings(body):
        separators += len(bare) - len(bare.translate(None, _SEPARATORS))
        digits += len(bare) - len(bare.translate(None, _DIGITS))
        if separators + digits // DIGITS > values:
            raise _too_many(values)
        levels = list(accumulate(map(_STEP.__getitem__, bare.translate(None, _NO_BRACKETS)), initial=level))
        if max(levels) > depth:
            raise _too_deep(depth)
        level = levels[-1]
        yield


def without_strings(body: bytes) -> Iterator[bytes]:
    """What stands outside of quotes, piece by piece."""
    at, inside = 0, False
    while at < len(body):
        piece = body[at : at + PIECE_BYTES]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece += body[at + PIECE_BYTES : at + PIECE_BYTES + 1]  # an escape is not cut in two
        at += len(piece)
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= len(parts) % 2 == 0


def _limit_of(request: Request) -> int:
    return limits.BULK_BODY_BYTES if request.scope["path"].endswith(_BULK) else limits.BODY_BYTES


def _too_large(limit: int) -> BadRequest:
    return BadRequest(
        "too_large",
        f"The body is larger than {limit // limits.MIB} MiB.",
        field="body",
        hint="Send fewer tasks at once, and large data by reference.",
        limit=limit,
        status=413,
    )


def _too_many(values: int) -> BadRequest:
    return BadRequest(
        "too_many_values",
        f"The body has more than {values} values.",
        field="body",
        hint="Send fewer tasks at once, and large data by reference or as one text.",
        limit=values,
        status=413,
    )


def _too_deep(depth: int) -> BadRequest:
    return BadRequest(
        "too_deep",
        f"The body is nested deeper than {depth} levels.",
        field="body",
        hint="Flatten it.",
        limit=depth,
    )
