"""What the files of this room share: the engine's clock, and lists that come page by page."""

import re
from typing import Any, Final

from gojob_redis.domain.errors import bad_cursor
from gojob_redis.engine.client import ANSWER_S, repeat
from gojob_redis.engine.partitions import Partitions


async def engine_time_ms(client: Any) -> int:
    seconds, microseconds = await repeat(client.time)
    return int(seconds) * 1000 + int(microseconds) // 1000


CURSOR = re.compile(r"[0-9]{1,20}")


async def page(space: Partitions, key: str, cursor: str, limit: int) -> tuple[dict[str, bytes], str]:
    """Some fields of a hash. One that is small comes whole; one that grows meanwhile may show a field twice."""
    if cursor and not CURSOR.fullmatch(cursor):
        raise bad_cursor(cursor)
    control: Any = space.clients.commands
    after, fields = await repeat(lambda: control.hscan(key, int(cursor or 0), count=limit), ANSWER_S)
    return {name.decode(): value for name, value in fields.items()}, str(after) if int(after) else ""


REMEMBER_S: Final = 5.0
LOOK_UP_S: Final = 3.0
