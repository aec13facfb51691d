"""A whole system as processes of its own: an engine, gateways, trigger replicas, workers.

Whatever happens to us, nothing of it stays behind: each child is told by the kernel when its parent dies (Linux), each
is a process group, and leaving the ``with`` block ends them in order, the engine last.
"""

import ctypes
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from gojob_redis.engine.embedded import PASSWORD_FILE, free_port, ping
from gojob_redis.runtime import private

READY_S = 30.0
STOP_S = 10.0
LOOK_S = 0.02
PR_SET_PDEATHSIG = 1
HOST = "127.0.0.1"


class NotReady(Exception):
    """A process ended, or did not get ready in time; the message holds its last words."""


@dataclass(slots=True)
class Process:
    """A child with a name and a log file; ``command`` and ``env`` are what it was started with."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def kill(self) -> None:
        """End it as a crash would."""
        self._signal(signal.SIGKILL)
        self.popen.wait()

    def pause(self) -> None:
        """Freeze it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause."""
        self._signal(signal.SIGCONT)

    def stop(self, within_s: float = STOP_S) -> None:
        """Ask it to end in order; kill it when it does not."""
        self._signal(signal.SIGTERM)
        self.resume()
        try:
            self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def last_words(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self.alive():
            os.killpg(self.pid, number)


@dataclass(slots=True)
class Gateway(Process):
    """A gateway and where it listens."""

    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass(slots=True)
class System:
    """The processes of one installation, in one directory.

    fsync: when the engine's append-only file is synced.  mode: what ``redis_url`` names (``topologies.py`` has others).
    password: of every engine, as it listens on a port; "" for none.
    """

    directory: Path
    fsync: str = "everysec"
    port: int = field(default_factory=lambda: free_port())
    engine: Process | None = None
    gateways: list[Gateway] = field(default_factory=list)
    triggers: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    admin_token: str = ""
    worker_token: str = ""
    mode: str = "standalone"
    password: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(within_s=0.5 if kind else STOP_S)

    @property
    def redis_url(self) -> str:
        return f"redis://{self.login}{HOST}:{self.port}"

    @property
    def login(self) -> str:
        """What stands before the host in a url of ours."""
        return f":{self.password}@" if self.password else ""

    @property
    def urls(self) -> str:
        """All gateways, as SDK and client take them."""
        return ",".join(gateway.url for gateway in self.gateways)

    def summary(self) -> str:
        """What there is."""
        return (
            f"engine, {len(self.gateways)} gateways, {len(self.triggers)} trigger replicas, {len(self.workers)} workers"
        )

    def start_engine(self, **env: str) -> None:
        """Start it on its data, and wait until it answers."""
        command = self._engine_command(self.directory / "engine", self.port)
        self.engine = self._start("engine", command, env)
        self._wait(self.engine, lambda: ping((HOST, self.port), self.password))

    def _engine_command(self, directory: Path, port: int, *more: str) -> tuple[str, ...]:
        """What becomes an engine there; it finds our password in its directory, where nobody else can read it."""
        if self.password:
            private.close_directory(directory)
            private.write(directory / PASSWORD_FILE, self.password + "\n")
        else:
            more = ('--set=requirepass=""', *more)
        place = ("--dir", str(directory), "--port", str(port), "--fsync", self.fsync)
        return ("-m", "gojob_redis.cli", "engine", *place, *more)

    def revive(self, process: Process) -> None:
        """Start what ended once more, as it was started before; an engine answers when this returns."""
        process.popen = self._start(process.name, process.command, process.env).popen
        if process is self.engine:
            self._wait(process, lambda: ping((HOST, self.port), self.password))

    def make_tokens(self) -> None:
        """An admin token and a worker token, made as an operator makes them who can reach the engine."""
        self.admin_token = self._token("admin")
        self.worker_token = self._token("worker")

    def _token(self, kind: str) -> str:
        command = (sys.executable, "-m", "gojob_redis.cli", "token", "create", kind, "--redis", "-")
        done = subprocess.run(command, env={**os.environ, **self._env()}, capture_output=True, text=True, check=False)
        match = re.search(rf"gj_{kind}_\w+", done.stdout)
        if match is None:
            raise NotReady(f"no {kind} token was made:\n{done.stdout}{done.stderr}")
        return match[0]

    def start_gateway(self, *, port: int = 0, env: Mapping[str, str] | None = None) -> Gateway:
        """Start one more gateway; it is ready when ``ready`` returns."""
        port = port or free_port()
        name = f"gateway-{len(self.gateways) + 1}"
        settings = {"GOJOB_GATEWAY__PORT": str(port), **(env or {})}
        started = self._start(name, ("-m", "gojob_redis.cli", "gateway"), settings)
        gateway = Gateway(started.name, started.popen, started.log, started.command, started.env, port)
        self.gateways.append(gateway)
        return gateway

    def start_trigger(self, *, env: Mapping[str, str] | None = None) -> Process:
        """Start one more trigger replica."""
        name = f"trigger-{len(self.triggers) + 1}"
        trigger = self._start(name, ("-m", "gojob_redis.cli", "trigger"), env or {})
        self.triggers.append(trigger)
        return trigger

    def start_worker(self, module: str, *, name: str = "", labels: str = "", **more: str) -> Process:
        """Start one more worker process; it is given all gateways."""
        name = name or f"worker-{len(self.workers) + 1}"
        settings = {"URL": self.urls, "TOKEN": self.worker_token, "NAME": name, "LABELS": labels}
        env = {f"GOJOB_WORKER__{key}": value for key, value in settings.items() if value}
        worker = self._start(name, ("-m", module), env | more)
        self.workers.append(worker)
        return worker

    def ready(self, *gateways: Gateway) -> None:
        """Wait until these gateways (all, if none are named) take work."""
        for gateway in gateways or self.gateways:
            self._wait(gateway, lambda gateway=gateway: _is_ready(gateway.url))  # type: ignore[misc]

    def stop(self, within_s: float = STOP_S) -> None:
        """End all processes, workers first, each kind at once."""
        for kind in (self.workers, self.triggers, self.gateways, self.engines()):
            stop_all(kind, within_s)

    def engines(self) -> Sequence[Process]:
        """The processes that hold the state."""
        return [self.engine] if self.engine else []

    def _start(
        self, name: str, arguments: Sequence[str], env: Mapping[str, str], *, program: str = sys.executable
    ) -> Process:
        log = self.directory / f"{name}.log"
        ours = self._env() | {"GOJOB_LOG__FORMAT": "json", "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as out:
            popen = subprocess.Popen(
                (program, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **ours, **env},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        return Process(name, popen, log, tuple(arguments), dict(env))

    def _env(self) -> dict[str, str]:
        """Where the engine is; in the environment, as a command line is for all to see."""
        return {"GOJOB_REDIS__URL": self.redis_url, "GOJOB_REDIS__MODE": self.mode}

    @staticmethod
    def _wait(process: Process, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + READY_S
        while not reached():
            if not process.alive():
                raise NotReady(f"{process.name} ended with {process.popen.returncode}:\n{process.last_words()}")
            if time.monotonic() > end:
                raise NotReady(f"{process.name} was not ready within {READY_S:g} s:\n{process.last_words()}")
            time.sleep(LOOK_S)


def stop_all(processes: Sequence[Process], within_s: float) -> None:
    """Ask all of them at once, then wait for each."""
    for process in processes:
        if process.alive():
            os.killpg(process.pid, signal.SIGTERM)
            process.resume()
    for process in processes:
        process.stop(within_s)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _die_with_parent() -> None:
    """Run in the child before its program: the kernel kills it when we die. Only Linux has this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
