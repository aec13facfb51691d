"""Tasks: how they come in without a schedule, and what becomes of their attempts.

Whoever names an attempt says for which session. The gateway puts that in, never the worker, and the engine compares it:
what belongs to another session is answered like what is not there, and nothing happens to it.

Every function takes at most 100 items (and 256 KiB) of one partition and answers one word per item, in order. All of
them are safe to repeat. The gateway calls them through group commit.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gojob_redis.domain import items
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.durability import Level
from gojob_redis.engine.partitions import Partitions, ReplyTo, words


class Submission(NamedTuple):
    """A task to be taken in; in the order of ``submit``'s items."""

    task: str
    handler: str
    """namespace/app/handler"""
    app: str
    """namespace/app"""
    labels: str = ""
    attribute: str = ""
    at: int = 0
    """Wall ms of a delayed task; 0 = now."""
    param: bytes = b""
    shards: int = 1
    shard_params: bytes = b""
    """See ``pack_shard_params``."""
    policies: str = ""
    """As ``policies.write`` makes it."""
    trigger: str = ""
    uid: str = ""
    parent: str = ""
    once_key: str = ""
    digest: str = ""


class Submitted(NamedTuple):
    """What became of a submission: ok | duplicate | other_body | queue_full and other limits, and the task's id."""

    word: str
    task: str


def pack_shard_params(params: Sequence[bytes]) -> bytes:
    """One netstring per shard, which Lua can take apart without knowing what is inside."""
    return b"".join(b"%d:%s," % (len(param), param) for param in params)


async def submit(
    space: Partitions,
    partition: int,
    submissions: Sequence[Submission],
    level: Level = Level.FAST,
    reply_to: ReplyTo | None = None,
    may_have: str = "",
) -> list[Submitted]:
    """Take tasks in; a gateway that asks hears at once what was bound for it.

    may_have: the quotas of namespaces, as scripts read them; "" = the usual ones.
    Raises Unavailable after 5 s: somebody waits for the answer. Source: lua/submit.lua.
    """
    reply = await space.call_and_match(
        "submit", partition, submissions, within_s=ANSWER_S, level=level, reply_to=reply_to, quotas=may_have
    )
    return [Submitted(word.decode(), task.decode()) for word, task in zip(reply[1::2], reply[2::2], strict=True)]


async def start(
    space: Partitions, partition: int, starts: Sequence[items.Start], level: Level = Level.FAST
) -> list[str]:
    """Record starts: ok | late | fenced | gone | canceled. Source: lua/start.lua."""
    return words(await space.call("start", partition, starts, level=level))


async def report(
    space: Partitions,
    partition: int,
    reports: Sequence[items.Report],
    level: Level = Level.FAST,
    reply_to: ReplyTo | None = None,
) -> list[str]:
    """Record how attempts ended and hand their seats on: accepted | duplicate | fenced | gone.

    A gateway that asks hears at once what was bound for it.
    Raises Unavailable when Redis stayed unreachable for 15 s; repeating the call is safe. Source: lua/report.lua.
    """
    return words(await space.call_and_match("report", partition, reports, level=level, reply_to=reply_to))


async def release(space: Partitions, partition: int, releases: Sequence[items.Release]) -> list[str]:
    """Take unbegun runs back into their lanes: accepted | fenced | gone. Source: lua/release.lua."""
    return words(await space.call_and_match("release", partition, releases))


async def cancel(
    space: Partitions, partition: int, cancels: Sequence[tuple[str, str]], level: Level = Level.FAST
) -> list[str]:
    """Cancel tasks, (id, reason) each: canceled | requested | already | gone | later. Source: lua/cancel.lua."""
    return words(await space.call_and_match("cancel", partition, cancels, within_s=ANSWER_S, level=level))


async def acknowledge(space: Partitions, partition: int, heard: Sequence[items.Heard]) -> list[str]:
    """Record that workers heard a cancel: ok | gone. Source: lua/acknowledge.lua."""
    return words(await space.call("acknowledge", partition, heard))


async def note(space: Partitions, partition: int, notes: Sequence[items.Note]) -> list[str]:
    """Keep log lines and progress: ok | gone. Source: lua/note.lua."""
    return words(await space.call("note", partition, notes))
