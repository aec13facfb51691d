"""What carries a worker's intents to the engine, and the engine's words back.

1. Each frame's intent is one asyncio task, whatever the number of its items; at most ``WINDOW`` of a socket are under
   way.
2. What the engine did not answer in time is asked again until the socket ends: a report needs its verdict, and a start
   that was never recorded would be given to somebody else. The worker repeats all of it on its next connection.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeVar

import structlog

from gojob_redis import match
from gojob_redis.connections.batcher import Batcher
from gojob_redis.connections.batchers import ITEM_BYTES, Batchers
from gojob_redis.connections.close import HangUp, moved, restarting
from gojob_redis.connections.counters import Counters
from gojob_redis.connections.logbook import Logbook, Writer
from gojob_redis.connections.send_queue import Kind
from gojob_redis.connections.session import (
    Acknowledge,
    Intent,
    Note,
    Phase,
    Release,
    Renew,
    Report,
    Resume,
    Session,
    Start,
    disowned,
)
from gojob_redis.domain import verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.durability import Level
from gojob_redis.engine.errors import tell
from gojob_redis.engine.partitions import Partition
from gojob_redis.engine.scripts import ScriptFailed
from gojob_sdk import protocol

log = structlog.get_logger()

WINDOW: Final = 8
"""Frames of one socket that wait for the engine at the same time."""
RENEWALS: Final = 2
"""Renewals of one session that may wait: while the engine is slow, more would only make it slower."""

I = TypeVar("I")  # noqa: E741  an item
Insisted = Literal["start", "report", "release"]
"""Verbs that are asked again until they are answered."""


class Worker(Protocol):
    """Who is at the other end of the socket (``connection.py``)."""

    partition: Partition
    key_id: str

    def tell(self, kind: Kind, *items: Any) -> None:
        """Queue something for the worker."""

    def seat_waiting(self) -> None:
        """A seat may be free."""

    def ask_to_move(self, reason: str, within_s: float) -> None:
        """Ask the worker to connect elsewhere."""

    def cut(self, why: HangUp) -> None:
        """End the connection."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One connection's way to the engine."""

    worker: Worker
    session: Session
    batchers: Batchers
    logbook: Logbook
    counters: Counters
    clock: Callable[[], float]
    tasks: asyncio.TaskGroup | None = None
    """Where the connection's tasks run; None before it is read."""
    window: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WINDOW))
    """Whoever calls ``carry`` takes one of it."""
    _renewals: int = 0
    """How many wait for the engine."""

    async def carry(self, intent: Intent) -> None:
        """Take one frame's intent to the engine, and what it says to the worker."""
        try:
            match intent:
                case Report():
                    await self._report(intent)
                case Start():
                    await self._start(intent)
                case Renew():
                    await self._renew(intent)
                case Release():
                    await self._release(intent)
                case Acknowledge():
                    await self._acknowledge(intent)
                case Note():
                    await self._note(intent)
        finally:
            self.window.release()

    async def _start(self, intent: Start) -> None:
        # Only a start that its run waits for is acknowledged; the others are news, which a report brings again.
        acknowledged = self.session.confirms(intent.starts)
        sizes = [ITEM_BYTES] * len(intent.starts)
        words = await self._insist("start", intent.starts, sizes, acknowledged=acknowledged)
        self.counters.started += len(words)
        self.worker.tell("start", *self.session.started(intent.starts, words))

    async def _report(self, intent: Report) -> None:
        reports = intent.reports
        sizes = [ITEM_BYTES + len(one.value) for one in reports]
        words = await self._insist("report", reports, sizes, acknowledged=True)
        self.counters.reported += len(words)
        self.counters.reports.update((word, one.outcome) for word, one in zip(words, reports, strict=True))
        for lasted_ms in intent.lasted_ms:
            self.counters.run_duration.observe(lasted_ms / 1000)
        self.worker.tell("report", *self.session.answered([(one.run, one.attempt) for one in reports], words))
        self.worker.seat_waiting()

    async def _release(self, intent: Release) -> None:
        releases = intent.releases
        words = await self._insist("release", releases, [ITEM_BYTES] * len(releases), acknowledged=False)
        self.session.released()
        self.worker.tell("release", *self.session.answered([(one.run, one.attempt) for one in releases], words))
        self.worker.seat_waiting()

    async def _acknowledge(self, intent: Acknowledge) -> None:
        canceled = intent.canceled
        await self._try(self.batchers.acknowledge(self.worker.partition), canceled, [ITEM_BYTES] * len(canceled))

    async def _note(self, intent: Note) -> None:
        session = self.session
        for entry in intent.logs:
            writer = Writer(
                self.worker.partition, session.app, session.worker, session.id, entry["run"], entry["attempt"]
            )
            self.logbook.put(writer, entry.get("log", ()), entry.get("dropped", 0))
        sizes = [ITEM_BYTES + len(note.text) for note in intent.progress]
        if sizes and not await self._try(self.batchers.note(self.worker.partition), intent.progress, sizes):
            self.counters.progress_dropped += len(sizes)

    async def _renew(self, intent: Renew) -> None:
        if self._renewals == RENEWALS:
            return  # no answer: what waits already renews the session when its turn comes
        if intent.load and "lag_ms" in intent.load:
            self.counters.worker_lag.observe(intent.load["lag_ms"] / 1000)
        began = self.clock()
        self._renewals += 1
        try:
            word = await self.batchers.renew(self.worker.partition).put(
                self.session, tenant=self.session.app, size=ITEM_BYTES
            )
        except (Unavailable, ScriptFailed) as error:
            tell("session.not_renewed", error, session=self.session.id)
            return  # no answer: the worker's lease counts on from the last one
        finally:
            self._renewals -= 1
        self.counters.waited("renew", self.clock() - began)
        match self.session.renewed(word):
            case "moved":
                self.worker.cut(moved())
            case "lost":
                self._lost()
            case meaning:
                if meaning == "sync":
                    self.ask_for_seats()
                if intent.seq is not None:
                    renewed: protocol.Renewed = {"type": "renewed", "seq": intent.seq}
                    self.worker.tell("renewed", renewed)

    def _lost(self) -> None:
        """The engine ended the session; the worker gets a new one when it connects again."""
        if self.session.phase is Phase.LOST:
            self.worker.cut(restarting("The session is over, and the worker did not connect again when it was told."))
        else:
            self.session.phase = Phase.LOST
            self.worker.ask_to_move("lost", 0)

    def ask_for_seats(self) -> None:
        self.counters.syncs += 1
        sync: protocol.Sync = {"type": "sync"}
        self.worker.tell("sync", sync)

    async def resume(self, intent: Resume) -> None:
        """Compare seats. Nothing else of this socket is under way meanwhile, so neither side changes its list."""
        for _ in range(WINDOW):
            await self.window.acquire()
        runs = self.session.resumable(intent.held)
        try:
            resumed = await match.resume(
                self.worker.partition,
                session=self.session.id,
                app=self.session.app,
                holder=self.worker.key_id,
                gateway=self.batchers.gateway,
                conn=self.session.conn,
                capacity=self.session.capacity,
                runs=runs,
            )
        except (Unavailable, ScriptFailed) as error:
            tell("session.not_resumed", error, session=self.session.id)
            return
        finally:
            for _ in range(WINDOW):
                self.window.release()
        match resumed.word:
            case "ok":
                self.worker.tell("start", *disowned(runs, resumed.verdicts))
            case "lost":
                self._lost()
            case _:
                self.worker.cut(moved())

    async def leave(self) -> None:
        """End the session; what one call cannot give back the trigger replicas do."""
        leaving = verbs.LeaveItem(self.session.id, self.session.conn)
        try:
            await self.batchers.leave(self.worker.partition).put(leaving, tenant=self.session.app, size=ITEM_BYTES)
        except (Unavailable, ScriptFailed) as error:
            tell("session.not_left", error, session=self.session.id)

    def renew_late(self) -> None:
        """Renew what the worker does not: it was heard by something else."""
        if self.tasks is None or self._renewals:
            return
        renewing = self._renew(Renew(None))
        try:
            self.tasks.create_task(renewing)
        except RuntimeError:  # the connection is ending, and its group takes no more tasks
            renewing.close()

    async def _insist(
        self, verb: Insisted, items: Sequence[Any], sizes: Sequence[int], *, acknowledged: bool
    ) -> list[str]:
        """One word each; asks again while the engine is out of reach, until the socket ends.

        acknowledged: whether the worker forgets what it sent, so that the level of its namespace counts.
        """
        began, app = self.clock(), self.session.app
        while True:
            try:
                level = await self.batchers.levels.of(app) if acknowledged else Level.FAST
                results = await self._batcher(verb, level).put_many(items, tenant=app, sizes=sizes)
            except Unavailable as error:
                await asyncio.sleep(error.retry_after_s)
            else:
                self.counters.waited(verb, self.clock() - began)
                return [self._word(result) for result in results]

    def _batcher(self, verb: Insisted, level: Level) -> Batcher[Any, Any]:
        match verb:
            case "start":
                return self.batchers.start(self.worker.partition, level)
            case "report":
                return self.batchers.report(self.worker.partition, level)
            case "release":
                return self.batchers.release(self.worker.partition)

    async def _try(self, batcher: Batcher[I, Any], items: Sequence[I], sizes: Sequence[int]) -> bool:
        """Send what is not worth a repeat; whether it was."""
        try:
            await batcher.put_many(items, tenant=self.session.app, sizes=sizes)
        except Unavailable:
            return False
        return True

    def _word(self, result: str | Exception) -> str:
        """A record that broke the script is out of this worker's hands: ``gone`` is final."""
        if isinstance(result, str):
            return result
        log.error("item.failed", session=self.session.id, error=str(result))
        return "gone"
