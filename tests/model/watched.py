"""A world in which the oracle watches every call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gojob_redis.domain.names import canonical_labels, group_id
from gojob_redis.engine.keys import K
from gojob_redis.engine.scripts import verb as verb_named
from gojob_redis.maintenance.fold import added, taken
from tests.conftest import EPOCH
from tests.lua.world import APP, HANDLER, T0, Dispatch, World
from tests.model.oracle import Call, Oracle
from tests.model.quick import QuickPartition
from tests.tools.keyspace import Keyspace

MATCH_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Worker:
    """A session as its worker knows it: where it lives and what it announced."""

    session: str
    gateway: str
    conn: int


@dataclass
class Watched(World):
    """Short words for the verbs, each held against the model. ``messages`` is the bag: all that was ever assigned."""

    oracle: Oracle = field(default_factory=lambda: Oracle(T0, T0))
    last: Keyspace = field(default_factory=dict)
    messages: list[Dispatch] = field(default_factory=list)
    nonce: str = ""
    """The nonce of every call, so that worlds which did the same are equal; empty: a new one each time."""
    calls: list[tuple[str, Sequence[Any], dict[str, Any]]] = field(default_factory=list)

    @classmethod
    async def begun(cls, partition: QuickPartition, nonce: str = "") -> "Watched":
        """A new world on an emptied engine; its clock stands at T0."""
        await partition.client.flushall()
        await partition.call("bootstrap", now_ms=T0, epoch=EPOCH, tell=0)
        world = cls(partition, nonce=nonce)
        world.last = await world.dump()
        return world

    async def call(self, verb: str, items: Any = (), /, **scalars: Any) -> list[Any]:
        """Call a verb, and what it left undone; returns the reply of the verb itself."""
        reply = await self._watched(verb, items, scalars)
        for _ in range(MATCH_ROUNDS if reply[0] == "more" and verb != "match" else 0):
            if (await self._watched("match", (), {"cursor": "0", "repair": 0}))[0] == "ok":
                break
        return reply

    async def _watched(self, verb: str, items: Any, scalars: dict[str, Any]) -> list[Any]:
        self.calls.append((verb, items, dict(scalars)))
        before = self.last
        wanted = {param.name for param in verb_named(verb).header.scalars}
        nonce = {"nonce": self.nonce} if self.nonce and "nonce" in wanted else {}
        reply = await World.call(self, verb, items, **nonce, **scalars)
        self.last = await self.dump()
        call = Call(verb, items, scalars, reply, self.now, before, self.last)
        self.messages += self.oracle.observe(call)
        return reply

    async def again(self, number: int) -> None:
        """An earlier call once more, late, as it was."""
        verb, items, scalars = self.calls[number]
        await self.call(verb, items, **scalars)

    async def pass_by(self, ms: int) -> None:
        """Let time pass in steps of a second, so that the steady clock keeps up; nothing else changes."""
        for step in [1_000] * (ms // 1_000) or [0]:
            self.now += step
            _ok, _wall, steady = await World.call(self, "now")
            self.oracle.tick(self.now)
            assert steady == self.oracle.steady, f"steady is {steady}, the model says {self.oracle.steady}"

    async def fold(self, most: int, stale: bool) -> str:
        """Add up the oldest entries of the tally; ``stale``: as a replica that read before another one wrote."""
        client: Any = self.partition.client
        rows = await client.xrange(K.tally(self.partition.prefix), count=most)
        if not rows:
            return "empty"
        tallied, entries, upto = taken(rows)
        new: dict[str, bytes] = {}
        for _minute, subject, sums in tallied.subjects():
            before = new.get(subject) or await client.get(K.totals(self.partition.prefix, subject))
            new[subject] = added(before, sums)
        items = [("total", subject, "", packed, 0) for subject, packed in new.items()]
        turn = int(self.last["meta"].get("fold_turn", 0)) - stale
        return str((await self.call("fold", items, turn=turn, upto=upto, entries=entries))[0])

    # ---- what workers hold -------------------------------------------------------------------------------------------

    def sessions(self) -> list[Worker]:
        """The live sessions, where they live now."""
        return [
            Worker(name.removeprefix("session:"), facts["gateway"], int(facts["conn"]))
            for name, facts in self.last.items()
            if name.startswith("session:")
        ]

    def owned(self) -> list[Dispatch]:
        """The assignments that own their run now, oldest first."""
        owners = {
            (name.removeprefix("task:"), facts.get("fence"))
            for name, facts in self.last.items()
            if name.startswith("task:") and facts["state"] in ("waiting_to_run", "running")
        }
        return list({one.run: one for one in self.messages if (one.run, one.fence) in owners}.values())

    def tasks(self) -> list[str]:
        """The tasks there are, shards left out."""
        return [
            name.removeprefix("task:") for name in self.last if name.startswith("task:") and "." not in name
        ]  # fmt: skip

    async def fresh_worker(
        self,
        session: str,
        *,
        labels: dict[str, str],
        attributes: tuple[str, ...],
        capacity: int,
        gateway: str,
        handlers: tuple[str, ...] = (HANDLER, HANDLER + "2"),
    ) -> str:
        """``enlist`` for both handlers."""
        group = group_id(APP, handlers, labels)
        item = (
            session, APP, group, " ".join(handlers), canonical_labels(labels), ",".join(attributes), capacity, gateway,
            1, "key", f"worker-{session}", b"",
        )  # fmt: skip
        return str((await self.call("enlist", [item]))[1])
