"""Tasks: how they come in without a schedule, and what becomes of their attempts.

Whoever names an attempt says for which session. The gateway puts that in, never the worker, and the engine compares it:
what belongs to another session is answered like what is not there, and nothing happens to it.

Every function takes at most 100 items (and 256 KiB) and answers one word per item, in order. All of
them are safe to repeat. The gateway calls them through group commit.
"""

from collections.abc import Sequence

from gojob_redis.domain import verbs
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.durability import Level
from gojob_redis.engine.partitions import Partition


def pack_shard_params(params: Sequence[bytes]) -> bytes:
    """One netstring per shard, which Lua can take apart without knowing what is inside."""
    return b"".join(b"%d:%s," % (len(param), param) for param in params)


def pack_names(own_key: str, traceparent: str) -> str:
    """What a caller finds a task by and the trace that it belongs to, as one argument: most tasks have neither."""
    return f"{own_key} {traceparent}" if traceparent else own_key


async def submit(
    partition: Partition,
    submissions: Sequence[verbs.Submission],
    level: Level = Level.FAST,
    *,
    reply_to: str = "",
    may_have: str = "",
) -> verbs.SubmitReply:
    """Take tasks in: a word and an id each.

    reply_to: the gateway that gets the hints for it with the reply; see ``Partition.call``.
    may_have: the quotas of namespaces, as scripts read them; "" = the usual ones.
    Raises Unavailable after 5 s: somebody waits for the answer.
    """
    call = verbs.submit(submissions, reply_to=reply_to, quotas=may_have)
    return await partition.call(call, within_s=ANSWER_S, level=level)


async def start(
    partition: Partition, starts: Sequence[verbs.Start], level: Level = Level.FAST
) -> list[verbs.StartWord]:
    """Record starts."""
    return (await partition.call(verbs.start(starts), level=level)).words


async def report(
    partition: Partition, reports: Sequence[verbs.Report], level: Level = Level.FAST, *, reply_to: str = ""
) -> verbs.ReportReply:
    """Record how attempts ended and hand their seats on.

    reply_to: the gateway that gets the hints for it with the reply; see ``Partition.call``.
    Raises Unavailable when Redis stayed unreachable for 15 s; repeating the call is safe.
    """
    return await partition.call(verbs.report(reports, reply_to=reply_to), level=level)


async def release(partition: Partition, releases: Sequence[verbs.Release]) -> list[verbs.ReleaseWord]:
    """Take unbegun runs back into their lanes."""
    return (await partition.call(verbs.release(releases))).words


async def cancel(
    partition: Partition, cancels: Sequence[verbs.CancelItem], level: Level = Level.FAST
) -> list[verbs.CancelWord]:
    """Cancel tasks."""
    return (await partition.call(verbs.cancel(cancels), within_s=ANSWER_S, level=level)).words


async def keep(
    partition: Partition, items: Sequence[verbs.KeepItem], level: Level = Level.FAST
) -> list[verbs.KeepWord]:
    """Keep tasks until somebody lets them go, or as others are kept."""
    return (await partition.call(verbs.keep(items), within_s=ANSWER_S, level=level)).words


async def bump(
    partition: Partition, items: Sequence[verbs.BumpItem], level: Level = Level.FAST
) -> list[verbs.BumpWord]:
    """Move tasks that wait to the head of their lanes, or give them another priority."""
    return (await partition.call(verbs.bump(items), within_s=ANSWER_S, level=level)).words


async def acknowledge(partition: Partition, heard: Sequence[verbs.Heard]) -> list[verbs.AcknowledgeWord]:
    """Record that workers heard a cancel."""
    return (await partition.call(verbs.acknowledge(heard))).words


async def note(partition: Partition, notes: Sequence[verbs.Note]) -> list[verbs.NoteWord]:
    """Keep log lines and progress."""
    return (await partition.call(verbs.note(notes))).words
