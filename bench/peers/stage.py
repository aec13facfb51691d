"""One peer on an empty engine of its own: fill, start workers, and read what they counted.

The engine is started by the same command, with the same persistence, as the one that we are measured on.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.figures import Figures, lateness
from bench.meter import MICRO, Meter, tree_cpu_s
from bench.peers import install
from bench.peers.apps import tally
from bench.peers.table import Peer
from bench.question import Failed
from examples.demo.processes import NotReady, Process, System

LOOK_S: Final = 0.01
PATIENCE_S: Final = 120.0
STALLED_S: Final = 15.0
SETTLE_S: Final = 0.3
"""Wait this long after the last task, so that tasks that run twice are seen."""
WARM_S: Final = 3.0
"""Wait this long for a worker without work, which does not say when it is ready."""
NOTES_S: Final = 10.0


@dataclass(slots=True)
class Stage(System):
    """A system whose only processes are an engine and the workers of a peer."""

    peer: Peer = field(kw_only=True)
    place: Path = field(kw_only=True)
    password: str = ""
    """None: some peers take an address without one, and what such an engine holds is worth nothing."""

    @property
    def tallies(self) -> Path:
        return self.directory / "tallies"

    @property
    def counted(self) -> tally.Counted:
        return tally.read(self.tallies)

    def employ(self, processes: int) -> list[Process]:
        """Start so many worker processes, which begin when all of them have loaded what they need."""
        line = self.directory / "line"
        variables = {**self._told(), tally.LINE: str(line)}
        for number in range(processes):
            program, *arguments = self._filled(self.peer.worker, number)
            self.workers.append(self._start(f"worker-{number}", arguments, variables, program=program))
        tally.begin_together(line, processes, self._soon)
        return self.workers

    def feed(self, *words: object) -> dict[str, float]:
        """Run the feeder. Returns its answer."""
        command = (*self._filled(self.peer.feeder), *(str(word) for word in words))
        done = subprocess.run(
            command, env={**os.environ, **self._told()}, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode:
            raise Failed(f"feeder: {done.stderr[-install.LAST_WORDS :]}")
        answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def until(self, reached: Callable[[tally.Counted], bool], within_s: float = STALLED_S) -> tally.Counted:
        """Look every 10 ms, until what was counted is enough; give up when nothing more comes for so long."""
        end, last = time.monotonic() + within_s, 0
        while not reached(counted := self.counted):
            if counted.count > last:
                end, last = time.monotonic() + within_s, counted.count
            ended = [worker for worker in self.workers if not worker.alive()]
            if ended or time.monotonic() > end:
                worker = (ended or self.workers)[0]
                raise Failed(f"{counted.count} executed, and then nothing for {within_s:g} s; {worker.last_words(5)}")
            time.sleep(LOOK_S)
        return counted

    def _soon(self, reached: Callable[[], bool]) -> None:
        self.until(lambda _counted: reached())

    def _filled(self, words: Sequence[str], number: int = 0) -> list[str]:
        fields = {
            "bin": str(self.place / "bin"),
            "node": install.node(self.place),
            "apps": str(install.ROOT / "bench" / "peers" / "apps"),
            "number": str(number),
        }
        return [word.format_map(fields) for word in words]

    def _told(self) -> dict[str, str]:
        ours = {
            "BENCH_URL": self.redis_url,
            tally.DIRECTORY: str(self.tallies),
            "BENCH_MODULES": str(self.place),
            "PYTHONPATH": str(install.ROOT),
        }
        return {**ours, **self.peer.env}


@contextmanager
def staged(peer: Peer) -> Iterator[Stage]:
    """An empty engine for a peer that is installed; all is gone after the block."""
    place = install.installed(peer)
    with tempfile.TemporaryDirectory(prefix="gojob-peer-", ignore_cleanup_errors=True) as directory:
        stage = Stage(Path(directory), peer=peer, place=place)
        try:
            with stage:
                stage.tallies.mkdir()
                stage.start_engine()
                yield stage
                for worker in stage.workers:
                    worker.kill()  # counted already; some take ten seconds to end in order
        except (NotReady, OSError, subprocess.TimeoutExpired) as error:
            raise Failed(str(error)) from error


def drain(peer: Peer, tasks: int) -> Figures:
    """Queued tasks through one worker process, then as many through two."""
    return _drain(peer, tasks, 1) | _drain(peer, tasks, 2)


def _drain(peer: Peer, tasks: int, processes: int) -> Figures:
    with staged(peer) as stage, Meter(stage.port) as meter:
        filled = meter.span()
        fill_s = stage.feed(peer.fill, tasks)["seconds"]
        enqueue_us, enqueue_commands = filled.per(tasks)
        used = meter.memory()
        run = meter.span()
        workers = stage.employ(processes)
        first = stage.until(lambda counted: counted.count > 0).count
        before = sum(map(_cpu_s, workers))
        stage.until(lambda counted: counted.count >= tasks)
        worker_s = sum(map(_cpu_s, workers)) - before
        time.sleep(SETTLE_S)
        run_us, run_commands = run.per(tasks)
        counted = stage.counted
        return {
            f"tasks_per_s_{processes}": round(tasks / counted.seconds),
            f"engine_us_{processes}": round(enqueue_us + run_us, 1),
            f"commands_{processes}": round(enqueue_commands + run_commands, 1),
            f"worker_us_{processes}": round(worker_s * MICRO / max(1, tasks - first), 1),
            f"enqueued_per_s_{processes}": round(tasks / fill_s),
            f"bytes_queued_{processes}": round((used - meter.empty) / tasks, 1),
            f"ran_too_often_{processes}": counted.count - tasks,
        }


def _cpu_s(process: Process) -> float:
    return tree_cpu_s(process.pid)


def latency(peer: Peer, rate: int, seconds: float) -> Figures:
    """Tasks at an even rate through the peer's own client: submit to start."""
    with staged(peer) as stage:
        stage.employ(1)
        time.sleep(WARM_S)
        stage.feed("pace", 20, 0.5)  # the first tasks of a worker tell of its start
        warm = round(20 * 0.5)
        stage.until(lambda counted: counted.count >= warm, 30.0)
        stage.feed("pace", rate, seconds)
        tasks = round(rate * seconds)
        stage.until(lambda counted: counted.count >= warm + tasks, 30.0)
        late = [ms for _number, ms in _all_notes(stage)][warm:]
        return lateness(dict(enumerate([ms] for ms in late)), tasks)


def punctual(peer: Peer, tasks: int, step_ms: float, lead_s: float) -> Figures:
    """So many tasks planned ahead, one every step (0 = all at one moment): how late do they begin?"""
    with staged(peer) as stage:
        if not peer.plans_first:
            stage.employ(1)
            time.sleep(WARM_S)
        first_ms = (time.time() + lead_s) * 1000 // 1000 * 1000
        answer = stage.feed(peer.plan, tasks, first_ms, step_ms)
        if answer["ended_ms"] > first_ms:
            raise Failed(f"planning {tasks} took {answer['seconds']} s, longer than the {lead_s:g} s there were")
        if peer.plans_first:
            stage.employ(1)
        within_s = max(0.0, first_ms / 1000 - time.time()) + tasks * step_ms / 1000 + NOTES_S
        try:
            stage.until(lambda counted: counted.count >= tasks, within_s)
        except Failed:
            if not stage.counted.count:
                raise
        time.sleep(SETTLE_S)
        seen: dict[int, list[float]] = {}
        for number, late_ms in _all_notes(stage):
            seen.setdefault(number, []).append(late_ms)
        return lateness(seen, tasks)


def _all_notes(stage: Stage) -> list[tuple[int, Any]]:
    return list(tally.notes(stage.tallies))
