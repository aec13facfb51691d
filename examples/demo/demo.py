"""The conductor: starts a system, lets it work, kills parts of it, and judges by the workers' journals.

1. Everything runs in processes of its own (``processes.py``, ``stage.py``), started by the commands a user would type.
2. What happened is read from the journals (``journal.py``), which the workers write and sync themselves. The system's
   own ledger is compared with them; it is not believed.
3. Work goes on throughout: a cron trigger fires every second, and small tasks are submitted while things die.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from examples.demo import evidence, journal
from examples.demo.api import Api, RefusedByApi
from examples.demo.journal import Line
from examples.demo.library import added, hashed, library
from examples.demo.processes import NotReady, Process, System
from examples.demo.stage import GRAY, set_up
from examples.demo.topologies import SYSTEMS
from examples.demo.verdict import Facts, show, write
from gojob_sdk import Client, ClientError, Task, Unreachable

SHARDS = 4
PACE_S = 5.0
MID_SHARD_S = 2.0
LABELED = 20
SUBMIT_EVERY_S = 0.1
TASK_S = 60.0
SETTLE_S = 30.0
LOOK_S = 0.02
TRIGGER = "every-second"
SECOND_MS = 1_000


class Failed(Exception):
    """The demo could not go on; the message says why."""


@dataclass(slots=True)
class Killed:
    """What was killed in one moment."""

    at_ms: int
    gateway: Process
    trigger: Process
    worker: Process
    shards: set[int]
    """What the worker was in the middle of."""


@dataclass(slots=True)
class Submitter:
    """Submits a small task every 100 ms from a thread of its own, whatever happens."""

    client: Client
    tasks: list[str] = field(default_factory=list)
    refused: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(SETTLE_S)

    def _run(self) -> None:
        while not self._stop.wait(SUBMIT_EVERY_S):
            try:
                self.tasks.append(self.client.submit("demo", "where").id)
            except (ClientError, Unreachable):
                self.refused += 1
        self.client.close()


@dataclass(slots=True)
class Demo:
    """The story, chapter by chapter; each leaves its facts."""

    system: System
    api: Api
    client: Client
    journals: Path
    console: Console
    facts: Facts = field(default_factory=Facts)
    first_slot: int = 0
    tasks: list[str] = field(default_factory=list)
    """Everything that was submitted and has to end well."""

    def begin_ticking(self) -> None:
        """Define the cron trigger; its first slot is where the observed interval begins."""
        body = {
            "handler": "tick",
            "schedule": {"kind": "cron", "spec": "* * * * * *", "time_zone": "UTC"},
            "overlap": "allow",  # a tick that died with its worker must not hold the next ones back
        }
        trigger = self.api.put_trigger(TRIGGER, body)
        self.first_slot = trigger["next_times"][0]["at_ms"]
        self.console.print(
            f"[green]✓[/] cron trigger [b]* * * * * *[/] defined, first slot {trigger['next_times'][0]['utc']}"
        )

    def hash_undisturbed(self) -> None:
        """The same work as one task and as 4 shards; the judge does it a third time by itself."""
        single, single_s = self._hash(shards=1)
        sharded, sharded_s = self._hash(shards=SHARDS)
        own = hashed(library())
        parts = added(self.api.results(sharded))
        self.facts.hash_seconds = {"1": round(single_s, 3), str(SHARDS): round(sharded_s, 3)}
        self.facts.files = own["files"]
        self.facts.digests_equal = own == parts == self.client.task(single).result
        lines = self._lines()
        self.facts.ran_on = evidence.workers_of(lines, sharded)
        alone = ", ".join(evidence.workers_of(lines, single))
        self._tell(f"SHA-256 of {own['files']} files as one task: {single_s:.2f} s on {alone}")
        self._tell(f"as {SHARDS} shards: {sharded_s:.2f} s on {', '.join(self.facts.ran_on)}")
        self._tell(f"the judge hashed them too; digests equal: {self.facts.digests_equal}")

    def _hash(self, shards: int) -> tuple[str, float]:
        began = time.monotonic()
        task = self._submit("hash", shards=shards)
        self._end_of(task)
        return task, time.monotonic() - began

    def labels(self) -> None:
        """Gray work and plain work at the same time."""
        gray = {self._submit("where", labels={"env": "gray"}) for _ in range(LABELED)}
        plain = {self._submit("where") for _ in range(LABELED)}
        for task in gray | plain:
            self._end_of(task)
        self.facts.gray_tasks = gray
        lines = [line for line in self._lines() if line.task in gray | plain]
        ran = [", ".join(sorted({line.worker for line in lines if line.task in kind})) for kind in (gray, plain)]
        self._tell(f"{LABELED} gray tasks ran on {ran[0]}; {LABELED} plain ones on {ran[1]}")

    def break_things(self) -> None:
        """Kill a gateway, a trigger replica and a worker in the middle of a shard, while work goes on."""
        submitter = Submitter(Client(self.system.urls, self.system.admin_token))
        with submitter.running():
            task = self._submit("hash", {"pace_s": PACE_S}, shards=SHARDS)
            killed = self._kill(task)
            victims = (killed.gateway, killed.trigger, killed.worker)
            names = ", ".join(f"{victim.name} (pid {victim.pid})" for victim in victims)
            self._tell(f"killed {names}, the worker in the middle of shards {sorted(killed.shards)}", "[red]✗[/]")
            self._end_of(task)
        self.tasks += submitter.tasks
        self.facts.tasks_lost += submitter.refused
        self._what_became_of(task, killed)

    def _kill(self, task: str) -> Killed:
        worker = self._worker_in_the_middle(task)
        gateway, trigger = self.system.gateways[0], self.system.triggers[0]
        for process in (gateway, trigger, worker):
            process.kill()
        at_ms = time.time_ns() // 1_000_000
        self.facts.killed = ["gateway", "trigger", "worker"]
        shards = evidence.interrupted(self._lines(), task, worker.name, at_ms)
        return Killed(at_ms, gateway, trigger, worker, shards)

    def _worker_in_the_middle(self, task: str) -> Process:
        """Wait until every shard has been running for a while; then one of their workers."""
        end = time.monotonic() + TASK_S
        while time.monotonic() < end:
            begun = [line for line in self._lines() if line.task == task and line.what == "begin"]
            old_enough = time.time_ns() // 1_000_000 - MID_SHARD_S * 1000
            if len({line.shard for line in begun}) == SHARDS and all(line.at_ms < old_enough for line in begun):
                return next(worker for worker in self.system.workers if worker.name == begun[0].worker)
            time.sleep(LOOK_S)
        raise Failed(f"the shards of {task} did not begin within {TASK_S:g} s")

    def _what_became_of(self, task: str, killed: Killed) -> None:
        lines = self._lines()
        late_ms = evidence.redelivery_ms(lines, task, killed.shards, killed.worker.name, killed.at_ms)
        self.facts.redelivery_s = None if late_ms is None else round(late_ms / 1000, 2)
        runs = evidence.reruns(lines, task)
        self.facts.rerun = {shard for shard, count in runs.items() if count > 1}
        self.facts.interrupted = killed.shards
        self.facts.digests_equal &= added(self.api.results(task)) == hashed(library())
        again = "never" if late_ms is None else f"after {late_ms / 1000:.1f} s"
        self._tell(f"shards begun again elsewhere {again}; run by {', '.join(evidence.workers_of(lines, task))}")

    def end_ticking(self) -> None:
        """Stop the trigger; every whole second up to then has to be in the journals."""
        last = time.time_ns() // 1_000_000 // SECOND_MS * SECOND_MS - SECOND_MS
        fires = self._fires(last)
        end = time.monotonic() + SETTLE_S
        while fires.missing and time.monotonic() < end:
            time.sleep(LOOK_S)
            fires = self._fires(last)
        self.api.pause_trigger(TRIGGER)
        self.facts.take_fires(fires)

    def _fires(self, last: int) -> evidence.Fires:
        ticks = [line for line in self._lines() if line.handler == "tick"]
        return evidence.fires(ticks, self.first_slot, last, self.api.fired(TRIGGER))

    def settle(self) -> None:
        """Every accepted task ended well, and a worker's journal knows it."""
        journaled = {line.task for line in self._lines()}
        for task in self.tasks:
            done = self._wait(task)
            if done is None or not done.ok or task not in journaled:
                self.facts.tasks_lost += 1
        self.facts.tasks = len(self.tasks)
        others = [line for line in self._lines() if line.handler == "where"]
        self.facts.label_leaks = len(evidence.leaks(others, self.facts.gray_tasks, GRAY))
        ticks = [line for line in self._lines() if line.handler in ("tick", "hash")]
        self.facts.label_leaks += len(evidence.leaks(ticks, set(), GRAY))

    def _submit(self, handler: str, params: Any = None, **options: Any) -> str:
        task = self.client.submit("demo", handler, params, **options).id
        self.tasks.append(task)
        return task

    def _end_of(self, task: str) -> None:
        done = self._wait(task)
        if done is None or not done.ok:
            raise Failed(f"task {task} did not end well within {TASK_S:g} s: {done}")

    def _wait(self, task: str) -> Task | None:
        try:
            return self.client.wait(task, TASK_S)
        except TimeoutError:
            return None

    def _lines(self) -> list[Line]:
        return journal.read(self.journals)

    def _tell(self, text: str, mark: str = "[green]✓[/]") -> None:
        self.console.print(f"{mark} {text}", highlight=False, soft_wrap=True)


def tell(console: Console, system: System, journals: Path) -> Facts:
    """The whole story."""
    with console.status("") as status:
        api = set_up(system, journals, lambda step: status.update(step))
        console.print(f"[green]✓[/] {_engines(system)}, {len(system.gateways)} gateways, ", end="")
        console.print(f"{len(system.triggers)} trigger replicas, ", end="")
        console.print(f"{len(system.workers)} workers, each a process of its own")
        demo = Demo(system, api, Client(system.urls, system.admin_token), journals, console)
        chapters = {
            "defining a trigger": demo.begin_ticking,
            "hashing the standard library": demo.hash_undisturbed,
            "gray and plain work": demo.labels,
            "killing a gateway, a trigger replica and a worker": demo.break_things,
            "comparing every second with the journals": demo.end_ticking,
            "looking at every task": demo.settle,
        }
        for title, chapter in chapters.items():
            status.update(f"{title} …")
            chapter()
        return demo.facts


def _engines(system: System) -> str:
    count = len(system.engines())
    return "engine" if count == 1 else f"{count} engines ({system.mode})"


def stay(console: Console, system: System, journals: Path) -> None:
    """Keep the system until Ctrl-C."""
    with console.status("") as status:
        set_up(system, journals, lambda step: status.update(step)).close()
    for line in _addresses(system):
        console.print(line, highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops everything.")
    threading.Event().wait()


def _addresses(system: System) -> list[str]:
    return [
        *(f"gateway       {gateway.url}   (docs at {gateway.url}/docs)" for gateway in system.gateways),
        f"engine        {system.redis_url}",
        f"admin token   {system.admin_token}",
        f"worker token  {system.worker_token}",
        f"logs          {system.directory}",
    ]


def main() -> None:
    """Run the demo (exit 0 only if everything held), or ``--stay``."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--stay", action="store_true", help="run the same set-up until Ctrl-C")
    parser.add_argument("--mode", choices=SYSTEMS, default="standalone", help="one engine, a cluster, or sentinels")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="gojob-demo-"))
    try:
        ok = _run(console, SYSTEMS[asked.mode](directory), stays=asked.stay)
    except KeyboardInterrupt:
        console.print("stopped")
        ok = asked.stay
    except (Failed, NotReady, RefusedByApi, ClientError, Unreachable) as error:
        console.print(f"[red]✗[/] {error}", highlight=False)
        ok = False
    if ok:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        console.print(f"logs and journals are kept in {directory}")
    sys.exit(0 if ok else 1)


def _run(console: Console, system: System, *, stays: bool) -> bool:
    began = time.monotonic()
    journals = system.directory / "journals"
    with system:
        if stays:
            stay(console, system, journals)
        facts = tell(console, system, journals)
    show(console, facts, time.monotonic() - began)
    return write(facts)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
