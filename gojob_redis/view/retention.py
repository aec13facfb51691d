"""How long ended tasks of a handler are kept, as it is set for it and for its namespace."""

from gojob_redis.domain import retention
from gojob_redis.domain.address import app_of
from gojob_redis.domain.retention import OF_HANDLER, Retention
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.view.records import home


async def of_handler(space: Partitions, handler: str, namespace: Retention) -> Retention:
    """What holds for one handler, known or not. namespace: what is set for its namespace."""
    partition = await home(space, app_of(handler))
    if partition is None:
        return namespace
    [values] = await partition.read([("HMGET", K.handler(partition.prefix, handler), *OF_HANDLER)])
    return retention.of_handler(namespace, values)
