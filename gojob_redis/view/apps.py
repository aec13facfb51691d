"""Which apps there are, and where: what a list goes through that crosses apps."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from gojob_redis.engine.client import ANSWER_S, repeat
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.runtime.ttl_cache import TtlCache
from gojob_redis.view.records import home

REMEMBER_S: Final = 2.0
"""So long a list may not know a new app."""
SCANNED: Final = 1_000

Sees = Callable[[str], bool]
"""Whether the caller may see an app (``namespace/app``)."""


class Apps:
    """The apps of an installation, by name; they are never forgotten, so what is remembered is at worst too short."""

    def __init__(self, space: Partitions) -> None:
        self.space = space
        self._all: TtlCache[list[tuple[str, int]]] = TtlCache(self._read, for_s=REMEMBER_S)

    async def seen(self, sees: Sees, *, after: str = "", only: str = "") -> list[tuple[str, Partition]]:
        """Those that the caller may see, in order, with their partitions.

        after: the app to begin with.
        only: this app and no other; it is looked up, however new it is.
        """
        if only:
            partition = await home(self.space, only) if sees(only) and only >= after else None
            return [(only, partition)] if partition else []
        apps = await self._all.get("")
        return [(app, self.space[number]) for app, number in apps if app >= after and sees(app)]

    async def _read(self, _name: str) -> list[tuple[str, int]]:
        client: Any = self.space.clients.commands
        apps: dict[str, int] = {}
        cursor: int | None = None
        while cursor != 0:
            scan = partial(client.hscan, K.apps(CONTROL), cursor or 0, count=SCANNED)
            cursor, page = await repeat(scan, ANSWER_S)
            apps |= {app.decode(): int(number) for app, number in page.items()}
        return sorted(apps.items())
