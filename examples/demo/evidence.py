"""What the journals say, held against what should have happened. Nothing here asks the system that is judged,
except for the ledger, which is compared with the journals."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from examples.demo.journal import Line

SECOND_MS = 1_000


@dataclass(frozen=True, slots=True)
class Fires:
    """Every second of an interval, and what became of it."""

    slots: int
    missing: list[int]
    """Slots that no worker ran."""
    double: list[int]
    """Slots that made two tasks, or an attempt that ran twice."""
    astray: list[int]
    """Slots about which ledger and journals disagree."""
    lateness_ms: list[int]
    """Of each slot, how late its handler first began."""


def fires(ticks: Sequence[Line], first: int, last: int, ledger: Iterable[int]) -> Fires:
    """Compare the ticks with the rule: each second from first to last (ms, inclusive) exactly once."""
    due = range(first, last + 1, SECOND_MS)
    begun = [line for line in ticks if line.what == "begin" and line.slot is not None and first <= line.slot <= last]
    tasks: dict[int, set[str]] = {}
    starts: dict[int, int] = {}
    for line in begun:
        slot = line.slot or 0
        tasks.setdefault(slot, set()).add(line.task)
        starts[slot] = min(starts.get(slot, line.at_ms), line.at_ms)
    written = Counter(slot for slot in ledger if first <= slot <= last)
    return Fires(
        slots=len(tasks),
        missing=[slot for slot in due if slot not in tasks],
        double=sorted(
            {slot for slot, task_ids in tasks.items() if len(task_ids) > 1} | set(twice(begun)) | set(tasks) - set(due)
        ),
        astray=[slot for slot in due if written[slot] != 1],
        lateness_ms=[starts[slot] - slot for slot in sorted(starts)],
    )


def twice(lines: Iterable[Line]) -> list[int]:
    """Slots of attempts that two handlers began: a dispatch that was delivered twice."""
    counts = Counter((line.slot, line.run) for line in lines if line.what == "begin" and line.slot is not None)
    return [slot for (slot, _run), count in counts.items() if count > 1 and slot is not None]


def leaks(lines: Iterable[Line], gray_tasks: set[str], gray_worker: str) -> list[Line]:
    """Gray work on a plain worker, or other work on the gray one."""
    return [line for line in lines if (line.task in gray_tasks) != (line.worker == gray_worker)]


def interrupted(lines: Iterable[Line], task: str, worker: str, killed_ms: int) -> set[int]:
    """The shards of a task that a worker had begun and not ended when it was killed."""
    mine = [line for line in lines if line.task == task and line.worker == worker and line.at_ms <= killed_ms]
    ended = {line.run for line in mine if line.what == "end"}
    return {line.shard for line in mine if line.what == "begin" and line.run not in ended}


def redelivery_ms(lines: Iterable[Line], task: str, shards: set[int], worker: str, killed_ms: int) -> int | None:
    """How long after the kill the last of these shards had begun on another worker; None when one never did."""
    again: dict[int, int] = {}
    for line in lines:
        elsewhere = line.task == task and line.shard in shards and line.worker != worker
        if elsewhere and line.what == "begin" and line.attempt > 1 and line.at_ms > killed_ms:
            again[line.shard] = min(again.get(line.shard, line.at_ms), line.at_ms)
    return max(again.values()) - killed_ms if shards and set(again) == shards else None


def reruns(lines: Iterable[Line], task: str) -> dict[int, int]:
    """How often each shard of a task was begun."""
    return dict(Counter(line.shard for line in lines if line.task == task and line.what == "begin"))


def workers_of(lines: Iterable[Line], task: str) -> list[str]:
    """Who ran a task: one word for each worker, with its shards."""
    shards: dict[str, set[int]] = {}
    for line in lines:
        if line.task == task and line.what == "begin":
            shards.setdefault(line.worker, set()).add(line.shard)
    return [f"{worker} ({', '.join(map(str, sorted(shards[worker])))})" for worker in sorted(shards)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
