"""Triggers follow the defaults of their namespace and their handler.

1. Each trigger keeps the revision of the defaults that went into its policies. ``Follow`` goes through the triggers of
   a partition, some a call, and lets those of another revision go by the defaults that hold now (``lua/follow.lua``).
2. Two marks tell that defaults may have changed: one of the control plane, of namespaces, and one of each partition, of
   what handlers tell. While they stand, a pass is one round trip.
3. A gateway may remember older defaults for 10 s and set a trigger by them: after a change the triggers are gone
   through twice. Which version of a handler lives also changes by time alone: every 5 minutes they are gone through
   without any mark.
4. Nothing is kept of a walk but in the memory of its replica: another one begins anew, and finds what is left.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgpack

from gojob_redis.domain import limits, policies, verbs
from gojob_redis.domain.address import app_of, namespace_of
from gojob_redis.domain.defaults import Defaults, followed, of_namespace
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.client import round_trip
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.keys import CONTROL, K
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.planning.planner import engine_time
from gojob_redis.runtime.failure_log import FailureLog

FOLLOW_S: Final = limits.FOLLOW_LOOK_MS / 1000
STEP_S: Final = 0.05
"""Between two calls of a walk, so that it takes nothing from what is due."""
TOLD: Final = 10_000
"""Versions of handlers whose defaults a replica remembers."""
FACTS: Final = ("handler", "revision", "defaults_rev", "policies", "sources")


class Heard(NamedTuple):
    """When workers had a version of a handler."""

    digest: str
    first_ms: int
    heard_ms: int


def versions_heard(specs: Mapping[bytes, bytes]) -> list[Heard]:
    """The versions of a handler that are known, the newest first."""
    rows = []
    for digest, times in specs.items():
        first, _, heard = times.decode("utf-8", "replace").partition(" ")
        if first.isdecimal() and heard.isdecimal():
            rows.append(Heard(digest.decode("utf-8", "replace"), int(first), int(heard)))
    return sorted(rows, key=lambda row: (-row.first_ms, row.digest))


def holding(rows: Sequence[Heard], since_ms: int) -> str:
    """The version whose defaults hold: the newest that was heard since then, else the one that was heard last."""
    live = next((row.digest for row in rows if row.heard_ms >= since_ms), "")
    return live or max(rows, key=lambda row: row.heard_ms, default=Heard("", 0, 0)).digest


def _told_in(packed: bytes | None) -> dict[str, policies.Value]:
    """The defaults of policies in what a version told."""
    try:
        spec = msgpack.unpackb(packed or b"\x80", strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        return {}
    values = spec.get("defaults") if isinstance(spec, dict) else None
    return policies.lawful("handler", values) if isinstance(values, dict) else {}


@dataclass(slots=True)
class Walk:
    """One way through the triggers of a partition."""

    marks: tuple[bytes | None, bytes | None]
    """What told of changes when it began."""
    next_s: float
    """When the next one begins, whatever the marks say."""
    cursor: int = 0
    is_scanned: bool = False
    waiting: list[str] = field(default_factory=list)
    """Triggers that were found and not looked at."""

    @property
    def is_over(self) -> bool:
        return self.is_scanned and not self.waiting


class Follow:
    """Lets triggers follow their defaults, at most 100 of a partition in one pass.

    prefers: whether this replica is the preferred one of a partition; the others leave it alone.
    clock_s: when to go through them again.
    """

    def __init__(
        self,
        space: Partitions,
        *,
        prefers: Callable[[Partition], bool] = lambda _partition: True,
        clock_s: Callable[[], float] = time.monotonic,
        failures: FailureLog | None = None,
    ) -> None:
        self.space = space
        self.prefers = prefers
        self.clock_s = clock_s
        self.failures = failures or FailureLog()
        self.looked = 0
        self.renewed = 0
        self._walks: dict[Partition, Walk] = {}
        self._told: dict[str, dict[str, policies.Value]] = {}

    async def run_once(self) -> float | None:
        """Go on in every partition where defaults changed or it is time; returns a short pause while more is left."""
        asked: list[tuple[str, ...]] = [("GET", K.defaults_changes(CONTROL))]
        asked += [("HGET", K.meta(prefix), "told") for prefix in self.space.prefixes]
        of_namespaces, *of_handlers = await round_trip(self.space.clients.commands, asked)
        if isinstance(of_namespaces, Exception):
            raise of_namespaces
        more = False
        for partition, of_handler in zip(self.space, of_handlers, strict=True):
            if not self.prefers(partition):
                self._walks.pop(partition, None)  # what changes until it is ours again is not seen
                continue
            try:
                if isinstance(of_handler, Exception):
                    raise of_handler
                more |= await self._go_on(partition, (of_namespaces, of_handler))
            except (GojobError, EngineError, OSError) as error:
                self._walks.pop(partition, None)
                self.failures.failed("follow", partition.number, error)
            else:
                self.failures.went_well("follow", partition.number)
        return STEP_S if more else None

    async def _go_on(self, partition: Partition, marks: tuple[bytes | None, bytes | None]) -> bool:
        """One step of a walk, if there is one to do; whether it goes on."""
        walk = self._walks.get(partition)
        now_s = self.clock_s()
        if walk is None or (walk.is_over and (walk.marks != marks or now_s >= walk.next_s)):
            is_change = walk is None or walk.marks != marks
            pause_ms = limits.FOLLOW_AGAIN_MS if is_change else limits.FOLLOW_WHOLE_MS
            walk = self._walks[partition] = Walk(marks, now_s + pause_ms / 1000)
        if walk.is_over:
            return False
        if not walk.waiting:
            scan = ("ZSCAN", K.audits(partition.prefix), walk.cursor, "COUNT", limits.BATCH_ITEMS)
            [(after, members)] = await partition.read([scan])
            walk.cursor, walk.is_scanned = int(after), int(after) == 0
            walk.waiting = [uid.decode() for uid, _at in members]
        uids, walk.waiting = walk.waiting[: limits.BATCH_ITEMS], walk.waiting[limits.BATCH_ITEMS :]
        if uids:
            await self._look_at(partition, uids)
        return not walk.is_over

    async def _look_at(self, partition: Partition, uids: Sequence[str]) -> None:
        facts = await partition.read([("HMGET", K.trigger(partition.prefix, uid), *FACTS) for uid in uids])
        triggers = [
            (uid, [(value or b"").decode("utf-8", "replace") for value in values])
            for uid, values in zip(uids, facts, strict=True)
        ]
        now = await self._defaults_of(partition, {values[0] for _uid, values in triggers if values[0].count("/") == 2})
        items = []
        for uid, (handler, revision, seen, policies_text, sources) in triggers:
            defaults = now.get(handler)
            if defaults is None or seen == defaults.revision or not revision.isdecimal():
                continue
            anew = followed(policies_text, sources, defaults)
            if anew is not None:
                items.append(verbs.Follow(uid, int(revision), seen, *anew, defaults.revision))
        if items:
            done = await partition.call(verbs.follow(items))
            self.renewed += done.words.count("ok")
        self.looked += len(uids)

    async def _defaults_of(self, partition: Partition, handlers: Iterable[str]) -> dict[str, Defaults]:
        """What holds now for triggers of these handlers."""
        order = sorted(handlers)
        spaces = sorted({namespace_of(handler) for handler in order})
        commands: list[tuple[str, ...]] = [("HGET", K.namespaces(CONTROL), name) for name in spaces]
        commands += [("HGETALL", K.specs(partition.prefix, handler)) for handler in order]
        answers = await self.space.read_all(commands)
        own = dict(zip(spaces, map(of_namespace, answers[: len(spaces)]), strict=True))
        of_handlers = await self._told_by(partition, order, answers[len(spaces) :])
        return {handler: Defaults(own[namespace_of(handler)], of_handlers[handler]) for handler in order}

    async def _told_by(
        self, partition: Partition, handlers: Sequence[str], specs: Sequence[Any]
    ) -> dict[str, dict[str, policies.Value]]:
        """What the versions that hold told of these handlers; what a digest stands for never changes."""
        since_ms = await engine_time(partition) - limits.SPEC_LIVE_MS
        digests = [holding(versions_heard(each or {}), since_ms) for each in specs]
        names = {
            handler: K.spec(partition.prefix, app_of(handler), digest)
            for handler, digest in zip(handlers, digests, strict=True)
            if digest
        }
        if len(self._told) + len(names) > TOLD:
            self._told.clear()
        unknown = sorted(set(names.values()) - self._told.keys())
        packed = await partition.read([("GET", name) for name in unknown])
        self._told |= {name: _told_in(spec) for name, spec in zip(unknown, packed, strict=True) if spec}
        return {handler: self._told.get(names.get(handler, ""), {}) for handler in handlers}
