"""The partitions of an installation, and the one way to call a verb in them.

A partition is one hash slot: all keys of an app carry its tag, so one script can fire, enqueue, match, bind and relay
atomically. An app's partition is recorded when the app is first seen and cached here; ids carry theirs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from zlib import crc32

from gojob_redis.domain import ids, limits, quotas, verbs
from gojob_redis.domain.address import namespace_of
from gojob_redis.domain.errors import LimitReached
from gojob_redis.domain.verbs import Call
from gojob_redis.engine.client import ANSWER_S, REPEAT_S, Clients, repeat, round_trip
from gojob_redis.engine.durability import Confirming, Level, NotConfirmed, Waits
from gojob_redis.engine.keys import CONTROL, K, Key, prefixes
from gojob_redis.engine.scripts import Value, verb

R = TypeVar("R")

MATCH_ROUNDS = 1_000


def engine_clock() -> int:
    """0: every script reads the time from the engine. Tests put another clock in its place."""
    return 0


@dataclass(slots=True)
class Partitions:
    """Where verbs are called; one per process."""

    clients: Clients
    count: int
    now_ms: Callable[[], int] = engine_clock
    waits: Waits = field(default_factory=Waits)
    prefixes: tuple[str, ...] = ()
    _placed: dict[str, int] = field(default_factory=dict)
    _all: "tuple[Partition, ...]" = ()

    def __post_init__(self) -> None:
        self.prefixes = prefixes(self.count)
        self._all = tuple(Partition(self, number, prefix) for number, prefix in enumerate(self.prefixes))

    def __getitem__(self, number: int) -> "Partition":
        return self._all[number]

    def __iter__(self) -> "Iterator[Partition]":
        return iter(self._all)

    async def call_in(self, partitions: "Sequence[Partition]", call: Call[R]) -> list[R | Exception]:
        """Make a call in some partitions in one round trip; one that failed has its exception in its place."""
        if not partitions:
            return []
        script = verb(call.verb)
        arguments = script.standing(self.now_ms()) | call.scalars
        prefixes = [partition.prefix for partition in partitions]
        replies = await script.pipelined(self.clients.commands, prefixes, call.items, **arguments)
        number = len(call.items)
        return [reply if isinstance(reply, Exception) else call.read(reply, number) for reply in replies]

    async def holding(self, kind: Key) -> "list[Partition]":
        """The partitions that hold a key of this kind, in one round trip that costs a fiftieth of visiting them all.

        One that cannot be asked is among them: its visit tells why.
        """
        asked = [("EXISTS", kind(prefix)) for prefix in self.prefixes]
        answers = await round_trip(self.clients.commands, asked)
        return [partition for partition, answer in zip(self._all, answers, strict=True) if answer != 0]

    async def of_app(self, app: str, *, anew: bool = False) -> "Partition":
        """The partition of an app (``namespace/app``), recorded the first time it is seen.

        anew: record it even where this process remembers it, for it may have been forgotten meanwhile.
        Raises LimitReached ``apps_full`` when its namespace may have no further one. Source: lua/place.lua.
        """
        number = None if anew else self._placed.get(app)
        if number is None:
            number = self._placed[app] = await self._place(app)
        return self._all[number]

    async def _place(self, app: str) -> int:
        client: Any = self.clients.commands
        partition = await repeat(lambda: client.hget(K.apps(CONTROL), app), ANSWER_S)
        if partition is not None:
            return int(partition)
        namespace = namespace_of(app)
        most = quotas.of_record(await repeat(lambda: client.hget(K.namespaces(CONTROL), namespace), ANSWER_S)).apps
        call = verbs.place(
            app=app,
            namespace=namespace,
            partition=crc32(app.encode()) % self.count,
            most=most,
            most_all=limits.APPS,
        )
        reply = await self.call_control(call)
        if reply.status == "apps_full":
            raise LimitReached(
                "apps_full",
                f"Namespace {namespace} has {reply.placed} apps already.",
                field="app",
                hint="Use one of these, or let an administrator raise the namespace's limits.apps.",
                limit=most,
            )
        return reply.placed

    async def call_control(self, call: Call[R]) -> R:
        """Run a script of the control plane, repeated while its outcome is unknown; raises Unavailable after 5 s."""
        run = partial(verb(call.verb).call, self.clients.commands, CONTROL, call.items, **call.scalars)
        return call.read(await repeat(run, ANSWER_S), len(call.items))

    def of_task(self, task: str) -> "Partition":
        """The partition a task id carries; raises NotFound for one that is not of this installation."""
        return self._all[ids.partition_of(task)]

    async def read_all(self, commands: Sequence[tuple[Value, ...]], *, within_s: float = ANSWER_S) -> list[Any]:
        """Answer reads of any partitions, with a key each, in one round trip (on a cluster one per node)."""

        async def attempt() -> list[Any]:
            answers = await round_trip(self.clients.commands, commands)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

        return await repeat(attempt, within_s) if commands else []


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """One partition: where its keys are, and the one way to call a verb in it."""

    space: Partitions
    number: int
    prefix: str

    async def call(self, call: Call[R], *, within_s: float = REPEAT_S, level: Level = Level.FAST) -> R:
        """Run a verb, repeated while its outcome is unknown, and what it left when it stopped at its bound.

        Adds ``now_ms`` and, where the verb begins fences, one ``nonce`` for all repeats. When hints come with the reply
        nothing more is done: the caller hands them on first, and then calls ``match_rest`` if the status is ``more``.
        Raises Unavailable when the engine stayed out of reach for ``within_s``, NotConfirmed when the verb ran but
        was not made as safe as ``level`` demands.
        """
        script = verb(call.verb)
        arguments = script.standing(self.space.now_ms()) | call.scalars
        client: Any = self.space.clients.commands
        if level is not Level.FAST:
            client = Confirming(client, self.prefix, level, self.space.waits)
        form, number = script.header.reply, len(call.items)
        try:
            reply = await repeat(lambda: script.call(client, self.prefix, call.items, **arguments), within_s)
        except NotConfirmed as error:
            if form.rest and error.reply[0] == b"more":
                await self.match_rest(within_s)
            raise
        if form.rest and reply[0] == b"more" and not (form.hints and arguments[form.hints]):
            await self.match_rest(within_s)
        return call.read(reply, number)

    async def match_rest(self, within_s: float = REPEAT_S) -> None:
        """Bind what a call left that stopped at its bound."""
        cursor, more = "0", True
        for _ in range(MATCH_ROUNDS):
            reply = await self.call(verbs.match(cursor="0" if more else cursor, repair=0), within_s=within_s)
            cursor, more = reply.cursor, reply.status == "more"
            if not more and cursor == "0":
                break

    async def confirm(self, level: Level) -> None:
        """Wait until all that was written here so far is as safe as the level demands; raises NotConfirmed."""
        if level is not Level.FAST:
            await self.call(verbs.touch(), level=level)

    async def read(self, commands: Sequence[tuple[Value, ...]], *, within_s: float = ANSWER_S) -> list[Any]:
        """Answer reads in one round trip; nothing here writes."""
        return await self.space.read_all(commands, within_s=within_s)
