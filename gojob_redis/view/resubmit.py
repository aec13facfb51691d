"""The same work once more: a submission made of what is stored about a trigger or a task."""

import time

from gojob_redis.domain import ids, policies
from gojob_redis.domain.address import app_of
from gojob_redis.domain.verbs import Submission
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.task import pack_names, pack_shard_params
from gojob_redis.view.cards import uid_in
from gojob_redis.view.records import fields_of, number, policies_of, text


async def of_trigger(partition: Partition, app: str, uid: str, *, param: bytes | None) -> Submission | None:
    """A run of a trigger by hand, now; None when the trigger is gone."""
    prefix = partition.prefix
    answer, large = await partition.read([("HGETALL", K.trigger(prefix, uid)), ("GET", K.trigger_param(prefix, uid))])
    record = fields_of(answer)
    if "handler" not in record:
        return None
    return Submission(
        task=ids.submitted_id(partition.number, int(time.time() * 1000)),
        handler=text(record["handler"]),
        app=app,
        labels=text(record.get("labels")),
        attribute=text(record.get("attribute")),
        param=param if param is not None else large or record.get("param", b""),
        shards=number(record.get("shards")) or 1,
        shard_params=record.get("shard_params", b""),
        trigger=text(record.get("name")),
        uid=uid,
        policies=text(record.get("policies")),
    )


async def of_task(space: Partitions, task: str, address: str) -> Submission:
    """The same work once more, as a new task whose parent is this one."""
    partition = space.of_task(task)
    prefix, app = partition.prefix, app_of(address)
    answer, large, shard_params = await partition.read(
        [
            ("HGETALL", K.task(prefix, task)),
            ("GET", K.param(prefix, task)),
            ("HGETALL", K.shard_params(prefix, task)),
        ],
    )
    record = fields_of(answer)
    trigger = text(record.get("trigger"))
    [lane, card] = await partition.read(
        [
            ("HMGET", K.lane(prefix, text(record.get("lane"))), "labels", "attribute"),
            ("HGET", K.triggers(prefix, app), trigger),
        ],
    )
    by_shard, uid = fields_of(shard_params), uid_in(card)
    return Submission(
        task=ids.submitted_id(partition.number, int(time.time() * 1000)),
        handler=address,
        app=app,
        labels=text(lane[0]),
        attribute=text(lane[1]),
        param=large if large is not None else record.get("param", b""),
        shards=number(record.get("shards")) or 1,
        shard_params=pack_shard_params([by_shard[shard] for shard in sorted(by_shard, key=int)]),
        trigger=trigger,
        uid=uid if uid and ids.is_fired(ids.TaskId(task)) and ids.uid_of(ids.TaskId(task)) == uid else "",
        lineage=task,
        names=pack_names(text(record.get("key")), text(record.get("traceparent"))),
        policies=policies.write(policies_of(record), policies.set_by("task")),
    )
