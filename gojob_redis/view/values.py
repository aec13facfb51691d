"""Values that users gave: parameters, results, errors. A request for many of them must not delay other requests.

1. The elements of a value are counted in its bytes before it is unpacked: 256 KiB of empty lists are 255,000 objects
   and 20 MB. A value that claims more elements than it has bytes is refused before any memory is taken for it.
2. An answer shows values until its budget is used up. A value that does not fit is named in ``left_out`` with its size;
   ``GET /v1/tasks/{task}/values/{name}`` gives its bytes.
3. Answers that unpack much take turns (``Turns``): one at a time, round robin over the tokens. After each turn there is
   a pause of the same length, so that a small answer never waits for more than one large one.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import msgpack

from gojob_redis.domain import limits
from gojob_redis.view.records import as_base64, opaque

T = TypeVar("T")

MEDIA_TYPE: Final = "application/vnd.msgpack"
"""The media type of a value that is given as it is stored."""
LIGHT_BYTES: Final = 4 * limits.KIB
"""Values up to this size are unpacked without waiting for a turn."""

_KINDS: Final[dict[int, tuple[int, int, int]]] = {
    0xC0: (1, 0, 0), 0xC2: (1, 0, 0), 0xC3: (1, 0, 0),
    0xC4: (2, 1, 0), 0xC5: (3, 2, 0), 0xC6: (5, 4, 0),
    0xC7: (3, 1, 0), 0xC8: (4, 2, 0), 0xC9: (6, 4, 0),
    0xCA: (5, 0, 0), 0xCB: (9, 0, 0),
    0xCC: (2, 0, 0), 0xCD: (3, 0, 0), 0xCE: (5, 0, 0), 0xCF: (9, 0, 0),
    0xD0: (2, 0, 0), 0xD1: (3, 0, 0), 0xD2: (5, 0, 0), 0xD3: (9, 0, 0),
    0xD4: (3, 0, 0), 0xD5: (4, 0, 0), 0xD6: (6, 0, 0), 0xD7: (10, 0, 0), 0xD8: (18, 0, 0),
    0xD9: (2, 1, 0), 0xDA: (3, 2, 0), 0xDB: (5, 4, 0),
    0xDC: (3, 2, 1), 0xDD: (5, 4, 1), 0xDE: (3, 2, 2), 0xDF: (5, 4, 2),
}  # fmt: skip
"""By first byte: bytes of the head, how many of them are a length, and elements for each of it (0: it counts bytes)."""


def elements(data: bytes, most: int) -> int | None:
    """How many elements a MessagePack value has, ``most + 1`` for more; None if it is no MessagePack."""
    size, at, left, count = len(data), 0, 1, 0
    while left:
        if left > size - at:
            return None  # each of them takes a byte
        head = data[at]
        count += 1
        left -= 1
        if count > most:
            return count
        if head < 0x80 or head >= 0xE0:
            at += 1
        elif head >= 0xC0:
            kind = _KINDS.get(head)
            if kind is None:
                return None
            head_bytes, length_bytes, each = kind
            length = int.from_bytes(data[at + 1 : at + 1 + length_bytes]) if length_bytes else 0
            at += head_bytes if each else head_bytes + length
            left += length * each
        elif head >= 0xA0:
            at += 1 + (head & 0x1F)
        else:
            at += 1
            left += head & 0x0F if head >= 0x90 else 2 * (head & 0x0F)
    return count if at <= size else None


@dataclass(slots=True)
class Values:
    """How much room an answer, or one row of it, has left for values."""

    elements_left: int = limits.ANSWER_ELEMENTS
    bytes_left: int = limits.ANSWER_BYTES
    left_out: dict[str, int] = field(default_factory=dict)
    """Sizes of the values that did not fit, by name."""

    @property
    def is_spent(self) -> bool:
        return self.bytes_left <= 0 or self.elements_left <= 0

    def take(self, row: "Values") -> None:
        """Count the values of a row as part of the whole answer."""
        self.bytes_left -= limits.ANSWER_BYTES - row.bytes_left
        self.elements_left -= limits.ANSWER_ELEMENTS - row.elements_left

    def show(self, data: bytes | None, name: str = "") -> Any:
        """A value as JSON can show it; None for none, and for one that does not fit.

        name: what it is left out as; without one it is shown as text that says so.
        """
        if not data:
            return None
        count = elements(data, self.elements_left)
        if len(data) > self.bytes_left or (count or 0) > self.elements_left:
            if not name:
                return f"(left out: {len(data)} bytes)"
            self.left_out[name] = len(data)
            return None
        self.bytes_left -= len(data)
        self.elements_left -= count or 0
        return as_base64(data) if count is None else opaque(data)

    def show_map(self, data: bytes) -> dict[str, Any]:
        """A map whose keys are ours and whose values may be large; those that do not fit are left out of it."""
        return {name: self.show(value, name) for name, value in packed_map(data).items()}


def packed_map(data: bytes) -> dict[str, bytes]:
    """The values of a map as they are packed; nothing of what is no map. Nothing is unpacked but the keys."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    values: dict[str, bytes] = {}
    try:
        for _ in range(unpacker.read_map_header()):
            name, begin = unpacker.unpack(), unpacker.tell()
            unpacker.skip()
            values[str(name)] = data[begin : unpacker.tell()]
    except (ValueError, msgpack.UnpackException):
        return {}
    return values


class Turn(Protocol):
    """Waits for the caller's turn to read large values; see ``Turns``."""

    async def __call__(self, read: Callable[[], Awaitable[T]]) -> T: ...


async def at_once(read: Callable[[], Awaitable[T]]) -> T:
    """A turn without waiting."""
    return await read()


async def nothing() -> None:
    """What is read later."""


class Turns:
    """Gives those who unpack much one turn after the other, going round the tokens.

    A turn ends when its caller lets the loop go on after he read: building the answer and writing it as JSON are one
    piece of work. The next turn begins after as long a pause.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._taken = False

    def of(self, who: str) -> Turn:
        """The turns of one token."""

        async def turn(read: Callable[[], Awaitable[T]]) -> T:
            await self._take(who)
            try:
                return await read()
            finally:
                asyncio.get_running_loop().call_soon(self._pause, time.perf_counter())

        return turn

    async def _take(self, who: str) -> None:
        if not self._taken:
            self._taken = True
            return
        called = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._call_next()
            raise

    def _pause(self, began: float) -> None:
        asyncio.get_running_loop().call_later(time.perf_counter() - began, self._call_next)

    def _call_next(self) -> None:
        while self._waiting:
            who = next(iter(self._waiting))
            mine = self._waiting.pop(who)
            called = mine.popleft()
            if mine:
                self._waiting[who] = mine  # behind those of others
            if not called.done():
                called.set_result(None)
                return
        self._taken = False
