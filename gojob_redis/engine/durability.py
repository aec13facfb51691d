"""Durability levels: how far a write has to have come before anybody is told that it was done.

1. A level belongs to a namespace. It counts for what is acknowledged: a submission, a change of a trigger, a cancel to
   a user; a report, and a start that has to be confirmed, to a worker. A worker may see an assignment before that.
2. ``fast`` is the plain call. The others send three commands together on one connection: the verb, ``touch``, and the
   engine's own ``WAIT 1`` (``replicated``) or ``WAITAOF 1 0`` (``synced``). It has to be one connection, because the
   engine waits for what that connection wrote; and ``touch`` has to stand between, because a repeat that finds its
   work done writes nothing (``lua/touch.lua``).
3. What was not confirmed in time is ``not_confirmed``: it was done, may be lost if the engine dies now, and the same
   call may be repeated. Nothing is undone.
4. At most ``WAITS`` such calls of a process are under way, so that while a replica is away leases are still renewed.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum
from functools import cached_property
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError, ResponseError

from gojob_redis.domain import limits
from gojob_redis.domain.errors import GojobError, Unavailable
from gojob_redis.engine.client import UnfitEngine
from gojob_redis.engine.cluster import ClusterClient
from gojob_redis.engine.scripts import verb

WAITS: Final = 16
PAUSE_S: Final = 1.0


class Level(Enum):
    """What has to hold before an acknowledgement, weakest first."""

    FAST = "fast"
    """The primary took it in."""
    REPLICATED = "replicated"
    """A replica has it too."""
    SYNCED = "synced"
    """It is on the primary's disk."""


class NotConfirmed(Unavailable):
    """It was done, but not made as safe as the namespace demands in the time there was."""

    def __init__(self, level: Level, reply: Any) -> None:
        who = "No replica has" if level is Level.REPLICATED else "The engine's disk has not"
        super().__init__(
            f"{who} confirmed the write within {limits.CONFIRM_MS} ms.", PAUSE_S, code=f"not_{level.value}"
        )
        self.reply = reply
        """What the verb answered."""


WAIT: Final[dict[Level, tuple[str | int, ...]]] = {
    Level.REPLICATED: ("WAIT", 1, limits.CONFIRM_MS),
    Level.SYNCED: ("WAITAOF", 1, 0, limits.CONFIRM_MS),
}


class Waits:
    """How many confirmed calls of a process are under way."""

    def __init__(self, at_once: int = WAITS) -> None:
        self.at_once = at_once

    @cached_property
    def room(self) -> asyncio.Semaphore:
        """Made in the loop that uses it."""
        return asyncio.Semaphore(self.at_once)


class Confirming:
    """Stands in for a client in front of one verb: its answer comes only when the level is reached.

    Raises NotConfirmed when it was not; whatever the client raises means, as always, outcome unknown.
    """

    def __init__(self, client: Redis | RedisCluster, prefix: str, level: Level, waits: Waits) -> None:
        self.behind = client
        self._prefix = prefix
        self._level = level
        self._waits = waits
        self._touch = verb("touch")

    async def execute_command(self, *command: Any) -> Any:
        """Run the command and wait for its writes."""
        async with self._waits.room:
            reply, touched, waited = await self._ask(command)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(touched, Exception):
            raise touched
        self._touch.checked(touched)
        if not _is_reached(self._level, waited):
            raise NotConfirmed(self._level, reply)
        return reply

    async def _ask(self, command: Sequence[Any]) -> list[Any]:
        """The three answers; ``touch`` is loaded and all three are asked again when the engine did not know it."""
        for name, text in (("EVALSHA", self._touch.shas["real"]), ("EVAL", self._touch.source())):
            touch = (name, text, *_keys(command), 0)
            answers = await _together(self.behind, self._prefix, [command, touch, WAIT[self._level]])
            if not isinstance(answers[1], NoScriptError):
                break
        return answers


def _keys(command: Sequence[Any]) -> Sequence[Any]:
    """The keys of a call of a verb, with their number before them; all verbs of a partition name the same."""
    return command[2 : 3 + int(command[2])]


def _is_reached(level: Level, waited: Any) -> bool:
    """Whether the engine's answer to the wait is what the level demands."""
    if isinstance(waited, ResponseError) and "unknown command" in str(waited).lower():
        return True  # an engine without WAITAOF: it syncs before it answers, which was checked when the level was set
    if isinstance(waited, Exception):
        raise waited
    return bool((waited[0] if level is Level.SYNCED else waited) >= 1)


async def _together(client: Any, key: str, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """The answers to some commands sent on one connection to the primary of a key; what one raised is in its place."""
    if isinstance(client, ClusterClient):
        return await client.together(key, commands)
    async with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers


# ---- whether an engine can give a level ------------------------------------------------------------------------------


class CannotGive(GojobError):
    """The engine is not set up for a level; nothing was changed."""

    status = 409

    def __init__(self, level: Level, message: str, *, hint: str) -> None:
        super().__init__("level_not_possible", message, hint=hint, field="durability", limit=level.value)


async def check_level(client: Redis | RedisCluster, level: Level) -> None:
    """Raise CannotGive unless every primary can give this level now."""
    for name, node in await _primaries(client):
        if level is Level.REPLICATED and not int((await _info(node, "replication")).get("connected_slaves", 0)):
            raise CannotGive(
                level,
                f"{name} has no replica, so nothing written there could be acknowledged.",
                hint="Attach a replica (REPLICAOF) to every primary, then set the level again.",
            )
        if level is Level.SYNCED:
            await _check_synced(name, node)


async def _check_synced(name: str, node: Any) -> None:
    try:
        answer = await node.execute_command("CONFIG", "GET", "append*")
    except ResponseError as error:
        raise CannotGive(
            Level.SYNCED,
            f"{name} does not tell when it syncs its append-only file ({error}).",
            hint="Allow CONFIG GET, or use the level replicated.",
        ) from error
    pairs = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    settings = {_text(name): _text(value) for name, value in pairs.items()}
    if (settings.get("appendonly"), settings.get("appendfsync")) != ("yes", "always"):
        raise CannotGive(
            Level.SYNCED,
            f"{name} has appendonly {settings.get('appendonly')} and appendfsync {settings.get('appendfsync')}, "
            "so it answers before a write is on its disk.",
            hint="Set appendonly yes and appendfsync always, in its configuration file too.",
        )


async def check_start(client: Redis | RedisCluster, levels: Sequence[tuple[str, Level]]) -> None:
    """Raise UnfitEngine when a namespace was promised ``synced`` and the engine does not sync any more.

    A missing replica is no reason: it may come later, and until then submissions are refused one by one.
    """
    synced = [namespace for namespace, level in levels if level is Level.SYNCED]
    if not synced:
        return
    try:
        await check_level(client, Level.SYNCED)
    except CannotGive as error:
        raise UnfitEngine(
            f"Namespace {synced[0]!r} has durability synced, but {error.message}",
            hint=f"{error.hint} Or set the namespace to fast from a gateway that still runs.",
        ) from error


async def _primaries(client: Any) -> list[tuple[str, Any]]:
    if isinstance(client, RedisCluster):
        await client.initialize()
        return [(str(node.name), node) for node in client.get_primaries()]
    return [("the engine", client)]


async def _info(node: Any, section: str) -> dict[str, Any]:
    answer: dict[str, Any] = await node.execute_command("INFO", section)
    return answer


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
