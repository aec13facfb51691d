"""What the log says of refused sockets: the first of a kind from an address, then once a minute how many more.

Whoever is refused comes again, perhaps hundreds of times a second: a line each would fill the disk and hide the rest.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

log = structlog.get_logger()

TOLD_EVERY_S: Final = 60.0
FIRSTS: Final = 20
"""Lines a minute for first refusals, from however many addresses."""


@dataclass(slots=True)
class Refusals:
    """Counts refused sockets.  clock: monotonic, in seconds."""

    clock: Callable[[], float]
    _since: float = 0.0
    _firsts: set[tuple[str, str]] = field(default_factory=set)
    _more: Counter[str] = field(default_factory=Counter)

    def is_first(self, code: str, address: str) -> bool:
        """Whether this one deserves a line of its own; else it is counted."""
        self.tell()
        if (code, address) not in self._firsts and len(self._firsts) < FIRSTS:
            self._firsts.add((code, address))
            return True
        self._more[code] += 1
        return False

    def tell(self) -> None:
        """Once a minute: how many more there were."""
        now = self.clock()
        if now - self._since < TOLD_EVERY_S:
            return
        if self._more:
            log.info("sockets.refused", seconds=round(now - self._since), **self._more)
        self._since = now
        self._firsts.clear()
        self._more.clear()
