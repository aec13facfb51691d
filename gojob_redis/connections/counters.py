"""What a gateway has done, counted for the metrics."""

from collections import Counter
from dataclasses import dataclass, field

from gojob_redis.runtime.metrics import Buckets, duration_buckets, lag_buckets, wait_buckets


@dataclass(slots=True)
class Wait:
    """How often something was waited for, and how long in all."""

    count: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Counters:
    """What a gateway has done; read by the metrics."""

    welcomed: int = 0
    refused: int = 0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    assigned: int = 0
    started: int = 0
    reported: int = 0
    canceled: int = 0
    unwritten: int = 0
    """Assignments given back because they were never written."""
    log_lines: int = 0
    log_lines_dropped: int = 0
    """They came too fast, or the engine was away."""
    progress_dropped: int = 0
    syncs: int = 0
    reports: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Reports by verdict and outcome."""
    cut: dict[int, int] = field(default_factory=dict)
    """Sockets we ended, by close code: moved, slow readers, revoked tokens, silent or drained ones."""
    waits: dict[str, Wait] = field(default_factory=dict)
    """By verb: from the frame to the engine's answer."""
    task_wait: Buckets = field(default_factory=wait_buckets)
    run_duration: Buckets = field(default_factory=duration_buckets)
    worker_lag: Buckets = field(default_factory=lag_buckets)

    def waited(self, verb: str, seconds: float) -> None:
        wait = self.waits.setdefault(verb, Wait())
        wait.count += 1
        wait.seconds += seconds
