"""What the engine and the processes used: CPU, commands, memory, slow scripts."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import psutil
from redis import Redis

MICRO: Final = 1_000_000
KIB: Final = 1024
OWN: Final = ("cmdstat_info", "cmdstat_ping")


@dataclass(frozen=True, slots=True)
class Span:
    """From one moment on."""

    meter: "Meter"
    cpu_s: float
    commands: int

    def per(self, tasks: int) -> tuple[float, float]:
        """µs of the engine's CPU and commands, those inside of scripts included, for each task since then."""
        now = self.meter.span()
        return (now.cpu_s - self.cpu_s) * MICRO / tasks, (now.commands - self.commands) / tasks


class Meter:
    """The own statistics of an engine, or of all nodes of a cluster together.

    empty: what their memory was at first.
    """

    def __init__(self, *ports: int, password: str = "") -> None:
        self._engines: list[Any] = [Redis(port=port, password=password or None) for port in ports]
        self.empty = self.memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines:
            engine.close()

    def span(self) -> Span:
        return Span(self, self.cpu_s(), self.commands())

    def cpu_s(self) -> float:
        return sum(self.cpu_of_each())

    def cpu_of_each(self) -> list[float]:
        """Processor seconds of every node."""
        facts = [engine.info("cpu") for engine in self._engines]
        return [float(each["used_cpu_user"]) + float(each["used_cpu_sys"]) for each in facts]

    def commands(self) -> int:
        """Calls of all commands but those that look at the engine."""
        facts = [fact for engine in self._engines for fact in engine.info("commandstats").items()]
        return sum(int(fact["calls"]) for name, fact in facts if name not in OWN)

    def memory(self) -> int:
        """Bytes that the engine holds for data and its bookkeeping."""
        return sum(int(engine.info("memory")["used_memory"]) for engine in self._engines)


def cpu_s(pid: int) -> float:
    """Processor seconds that a process used so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def tree_cpu_s(pid: int) -> float:
    """The same with its children, living and ended."""
    process = psutil.Process(pid)
    ended = process.cpu_times()
    return (
        cpu_s(pid)
        + float(ended.children_user + ended.children_system)
        + sum(cpu_s(child.pid) for child in process.children(recursive=True))
    )


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    return float(psutil.Process(pid).memory_info().rss) / KIB**2
