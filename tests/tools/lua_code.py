"""What a Lua script compiles to: the globals it reads and writes, whatever path it would take when run.

Read from the byte code of Lua 5.1, the version in Redis; nothing is executed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from lupa.lua51 import LuaRuntime

KNOWN = frozenset(
    b"ARGV KEYS redis server cjson cmsgpack bit struct string table math tonumber tostring type pairs ipairs next "
    b"select unpack error assert pcall setmetatable os".split()
)
_GETGLOBAL, _SETGLOBAL = 5, 7


@dataclass(frozen=True, slots=True)
class Use:
    """One access to a global."""

    name: str
    line: int
    writes: bool


def global_uses(source: str) -> list[Use]:
    """Every access to a global that Redis does not define; a script that does not compile raises LuaError."""
    lua = LuaRuntime(encoding=None)
    dump = lua.eval(b"function(text) local f, e = loadstring(text, '=script') if not f then error(e, 0) end "
                    b"return string.dump(f) end")  # fmt: skip
    code = cast(bytes, dump(source.encode()))
    return [use for use in _Reader(code, 12).function() if use.writes or use.name.encode() not in KNOWN]


class _Reader:
    def __init__(self, code: bytes, at: int) -> None:
        self.code = code
        self.at = at

    def take(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize("<" + form)
        values = struct.unpack_from("<" + form, self.code, self.at)
        self.at += size
        return values

    def number(self) -> int:
        return self.take("i")[0]

    def text(self) -> bytes:
        size = self.take("Q")[0]
        self.at += size
        return self.code[self.at - size : self.at - 1] if size else b""

    def function(self) -> Iterator[Use]:
        self.text()
        self.take("ii4B")
        code = self.take(f"{self.number()}I")
        constants = [self.constant() for _ in range(self.number())]
        inner = [use for _ in range(self.number()) for use in self.function()]
        lines = self.take(f"{self.number()}i")
        for _ in range(self.number()):
            self.text()
            self.take("ii")
        for _ in range(self.number()):
            self.text()
        for instruction, line in zip(code, lines, strict=True):
            operation = instruction & 0x3F
            if operation in (_GETGLOBAL, _SETGLOBAL):
                yield Use(constants[instruction >> 14].decode(), line, operation == _SETGLOBAL)
        yield from inner

    def constant(self) -> bytes:
        kind = self.take("B")[0]
        if kind == 4:
            return self.text()
        self.at += {0: 0, 1: 1, 3: 8}[kind]
        return b""
