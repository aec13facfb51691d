"""What runs log, on its way to the engine: lines of one run are packed together, and nobody waits for them.

1. A line stands here until its chunk is full (16 KiB), or for 100 ms; the first one after a pause leaves at once. A
   pass packs for 2 ms at most before others get their turn.
2. What comes faster than a run or an app may log is dropped, as is what the engine does not take. A line in its place
   says how many are missing and why, and the engine counts them.
3. All that waits is bounded, so that an engine that is away costs lines, not memory. Progress and reports do not pass
   through here.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from gojob_redis.connections.batchers import ITEM_BYTES, Batchers
from gojob_redis.connections.counters import Counters
from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import Unavailable
from gojob_redis.engine.log_chunks import LINE_BYTES, Pack
from gojob_redis.engine.partitions import Partition
from gojob_redis.runtime.loop import Loop
from gojob_sdk import protocol

log = structlog.get_logger()

EVERY_S: Final = limits.LOG_CHUNK_MS / 1000
IDLE_S: Final = 60.0
TURN_S: Final = 0.002
BURST_S: Final = 5.0
LINE_COST_BYTES: Final = 256
"""So many bytes of a line count as one line more."""
LOGGER: Final = "gojob"
"""Whose the lines are that say what was dropped."""
WHY: Final = {
    "fast": f"a run may log {limits.LOG_RUN_LINES_EACH_SECOND} lines a second, an app "
    f"{limits.LOG_APP_LINES_EACH_SECOND}",
    "full": "too many lines wait for the engine",
    "away": "the engine did not take them",
    "worker": "the worker had too many to send",
}


class Writer(NamedTuple):
    """Whose lines these are."""

    partition: Partition
    app: str
    worker: str
    session: str
    run: str
    attempt: int


@dataclass(slots=True)
class Bucket:
    """How many lines may come now: it fills steadily, up to what it holds for a burst."""

    each_second: int
    at: float
    held: float = 0.0

    def __post_init__(self) -> None:
        self.held = self.each_second * BURST_S

    def fill(self, now: float) -> None:
        """Let time pass."""
        self.held = min(self.each_second * BURST_S, self.held + (now - self.at) * self.each_second)
        self.at = now

    def is_full(self, now: float) -> bool:
        """Whether nothing came for so long that it need not be remembered."""
        self.fill(now)
        return self.held >= self.each_second * BURST_S


@dataclass(slots=True, eq=False)
class _Run:
    """What stands here of one attempt."""

    rate: Bucket
    open: Pack
    full: list[Pack] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """Lines by why they were dropped."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.open or self.full or self.dropped)


class Logbook:
    """The lines of all runs of a gateway."""

    def __init__(
        self,
        batchers: Batchers,
        counters: Counters,
        clock: Callable[[], float],
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.batchers = batchers
        self.counters = counters
        self.clock = clock
        self.wall_ms = wall_ms
        self.loop = Loop(self.run_once, interval_s=IDLE_S, name="gateway.logs")
        self.tasks: set[asyncio.Task[None]] = set()
        self.bytes = 0
        """Of lines that wait here, or for the engine."""
        self.runs: dict[Writer, _Run] = {}
        self._waiting: dict[Writer, _Run] = {}
        """Those with anything to send."""
        self.asleep = True
        self._forgot_at = clock()
        self.apps: dict[str, Bucket] = {}
        self._closing = False

    def put(self, writer: Writer, lines: Iterable[protocol.LogLine], dropped: int = 0) -> None:
        """Take lines of a run, in their order. dropped: how many its worker could not send."""
        now = self.clock()
        run = self.runs.get(writer)
        if run is None:
            run = self.runs[writer] = _Run(
                Bucket(limits.LOG_RUN_LINES_EACH_SECOND, now), Pack(writer.attempt, writer.worker)
            )
        app = self.apps.get(writer.app)
        if app is None:
            app = self.apps[writer.app] = Bucket(limits.LOG_APP_LINES_EACH_SECOND, now)
        if dropped:
            run.dropped["worker"] += dropped
        run.rate.fill(now)
        app.fill(now)
        for line in lines:
            self._add(run, app, line)
        if not run.is_empty:
            self._wait(writer, run)

    def _wait(self, writer: Writer, run: _Run) -> None:
        """Send what this run has with the next pass."""
        self._waiting[writer] = run
        if self.asleep:
            self.asleep = False
            self.loop.wake()

    def _add(self, run: _Run, app: Bucket, line: protocol.LogLine) -> None:
        text, logger = line["text"], line.get("logger", "")
        size = len(text) if text.isascii() else len(text.encode())
        size += len(logger)
        cost = 1 + size / LINE_COST_BYTES
        if run.rate.held < cost or app.held < cost:
            run.dropped["fast"] += 1
            self.counters.log_lines_dropped += 1
            return
        if self.bytes + size > limits.LOG_WAITING_BYTES:
            run.dropped["full"] += 1
            self.counters.log_lines_dropped += 1
            return
        run.rate.held -= cost
        app.held -= cost
        pack = run.open
        if pack and pack.size + size > limits.LOG_CHUNK_BYTES:
            run.full.append(pack)
            pack = run.open = Pack(pack.attempt, pack.worker)
        pack.add(line["at"], line["level"], logger, text, size)
        self.bytes += LINE_BYTES + size

    # --- to the engine ------------------------------------------------------------------------------------------------

    async def run_once(self) -> float | None:
        """Pack what waits and send it; returns when to look again."""
        began = time.perf_counter()
        by_app: dict[tuple[Partition, str], list[tuple[Writer, verbs.Note, int]]] = {}
        waiting, self._waiting = self._waiting, {}
        for writer, run in waiting.items():
            for note, size in self._notes_of(writer, run):
                by_app.setdefault((writer.partition, writer.app), []).append((writer, note, size))
                if time.perf_counter() - began > TURN_S:
                    await asyncio.sleep(0)
                    began = time.perf_counter()
        for (partition, app), notes in by_app.items():
            task = asyncio.get_running_loop().create_task(self._send(partition, app, notes))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if self.clock() - self._forgot_at > BURST_S:
            self._forget()
        self.asleep = not waiting and not self._waiting
        if self.asleep:
            return BURST_S if self.runs else None
        return EVERY_S

    def _notes_of(self, writer: Writer, run: _Run) -> Iterator[tuple[verbs.Note, int]]:
        """The chunks of a run that wait, and what they took here; the last one says what was dropped."""
        dropped, run.dropped = run.dropped, Counter()
        for why, count in dropped.items():
            run.open.add(self.wall_ms(), "warning", LOGGER, f"{count} lines were dropped here: {WHY[why]}", 0)
            self.bytes += LINE_BYTES
        packs, run.full = [*run.full, run.open], []
        run.open = Pack(writer.attempt, writer.worker)
        by_worker = dropped.pop("worker", 0)
        quotas = self.batchers.levels.held(writer.app)
        for pack in packs:
            is_last = pack is packs[-1]
            if not pack:
                continue
            note = verbs.Note(
                writer.session,
                writer.run,
                writer.attempt,
                "log",
                pack.packed(),
                len(pack),
                dropped.total() if is_last else 0,
                by_worker if is_last else 0,
                quotas.log_lines_per_run,
                quotas.log_bytes_per_run,
                quotas.log_bytes_per_app,
            )
            yield note, pack.size

    async def _send(self, partition: Partition, app: str, notes: list[tuple[Writer, verbs.Note, int]]) -> None:
        items = [note for _writer, note, _size in notes]
        try:
            await self.batchers.levels.quotas_of(app)  # so that ``held`` knows them
            sizes = [ITEM_BYTES + len(note.text) for note in items]
            results = await self.batchers.note(partition).put_many(items, tenant=app, sizes=sizes)
        except Unavailable:
            for writer, note, _size in notes:
                self._lost(writer, note)
        else:
            for note, result in zip(items, results, strict=True):
                if isinstance(result, Exception):
                    log.error("log.failed", run=note.run, error=str(result))
                    self.counters.log_lines_dropped += note.lines
                else:
                    self.counters.log_lines += note.lines
        finally:
            self.bytes -= sum(size for _writer, _note, size in notes)

    def _lost(self, writer: Writer, note: verbs.Note) -> None:
        """The engine was away: the next chunk says what is missing, if one comes."""
        self.counters.log_lines_dropped += note.lines
        run = self.runs.get(writer)
        if run is not None and not self._closing:
            run.dropped["away"] += note.lines + note.by_gateway + note.by_worker
            self._wait(writer, run)

    def _forget(self) -> None:
        """Forget runs and apps that logged nothing for a while."""
        now = self._forgot_at = self.clock()
        for writer in [writer for writer, run in self.runs.items() if run.is_empty and run.rate.is_full(now)]:
            del self.runs[writer]
        for app in [app for app, bucket in self.apps.items() if bucket.is_full(now)]:
            del self.apps[app]

    async def close(self) -> None:
        """Send all that waits."""
        self._closing = True
        await self.run_once()
        while self.tasks:
            await asyncio.wait(self.tasks)
