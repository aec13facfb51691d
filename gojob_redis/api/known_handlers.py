"""Which handlers were ever announced: work for a mistyped name would wait for a worker that never comes."""

from functools import partial

from gojob_redis import view
from gojob_redis.domain.address import app_of, name_of
from gojob_redis.domain.errors import NotFound
from gojob_redis.domain.names import nearest
from gojob_redis.engine.partitions import Partitions
from gojob_redis.runtime.ttl_cache import TtlCache

REMEMBER_S = 60.0


class KnownHandlers:
    """Answers whether a handler is known; one that is stays so for a minute without asking."""

    def __init__(self, space: Partitions) -> None:
        self.space = space
        self._known: TtlCache[bool] = TtlCache(partial(view.is_known, space), for_s=REMEMBER_S)

    async def check(self, handler: str, *, field: str = "handler") -> None:
        """Raises NotFound ``unknown_handler`` with the nearest names for one that was not announced in 30 days."""
        if await self._known.get(handler):
            return
        self._known.forget(handler)
        name = name_of(handler)
        likely = nearest(name, await view.handlers_near(self.space, handler))
        raise NotFound(
            "unknown_handler",
            f"No worker of {app_of(handler)} announced a handler {name!r} in the last 30 days.",
            field=field,
            hint=f"Did you mean {' or '.join(likely)}?"
            if likely
            else "Start a worker that serves it, or set allow_unknown.",
            status=422,
        )
