"""Commands packed by hiredis, as answers are read by it: redis-py packs in Python, each argument by itself."""

from functools import lru_cache
from typing import Any

import hiredis


class _Packing:
    """Goes before a connection class."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """One command in the engine's protocol. What hiredis does not take is packed, or refused, by redis-py."""
        name = args[0].encode() if isinstance(args[0], str) else args[0]
        try:
            return [hiredis.pack_command((*name.split(), *args[1:]))]  # «CONFIG GET» is two words of it
        except TypeError:
            packed: list[bytes] = super().pack_command(*args)  # type: ignore[misc]
            return packed


@lru_cache
def packing(connection: type[Any]) -> type[Any]:
    """The same kind of connection (TCP, TLS, Unix socket, found by a sentinel), packing its commands with hiredis."""
    return type(f"Packing{connection.__name__}", (_Packing, connection), {})
