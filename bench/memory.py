"""How many bytes does a queued task take in the engine, and a finished one? How much memory do the roles take?"""

from typing import Final

from bench.crowds import crowd
from bench.drain import CONCURRENCY
from bench.figures import Figures, Scale
from bench.meter import KIB, rss_mb
from bench.question import Measures
from bench.rig import Rig, rig, wait_for
from bench.sender import waits

QUESTION = (
    "bytes per queued and finished task; memory of a gateway with 10,000 workers, and of all roles at 1,000 tasks/s"
)
FULL, SMALL = 20_000, 2_000
WORKERS, WORKERS_SMALL = 10_000, 500
PAYLOAD: Final = 100
RATE: Final = 1_000
SECONDS, SECONDS_SMALL = 10.0, 2.0


def contenders(scale: Scale) -> Measures:
    def measure() -> Figures:
        tasks = _tasks(scale.of(FULL, SMALL))
        return tasks | _crowded(scale.of(WORKERS, WORKERS_SMALL)) | _at_work(scale.of(SECONDS, SECONDS_SMALL))

    return {"ours": measure}


def _tasks(tasks: int) -> Figures:
    with rig() as system:
        system.submit(1)  # lane, handler and groups exist
        system.submit(1, "load", params={"data": ""})
        empty = system.meter.memory()
        system.submit(tasks)
        queued = system.meter.memory()
        system.submit(tasks, keys=True)
        keyed = system.meter.memory()
        system.submit(tasks, "load", params={"data": "x" * (PAYLOAD - 8)})  # the name and its length take the rest
        loaded = system.meter.memory()
        system.start_workers(concurrency=CONCURRENCY)
        wait_for(lambda: system.ended() >= 2 * tasks + 1 and system.ended("load") >= tasks + 1)
        finished = system.meter.memory()
    each, keys = (queued - empty) / tasks, (keyed - queued - (queued - empty)) / tasks
    return {
        "bytes_per_queued_task": round(each, 1),
        "bytes_more_with_idempotency_key": round(keys, 1),
        "bytes_per_queued_task_100": round((loaded - keyed) / tasks, 1),
        "bytes_per_finished_task": round((finished - empty) / tasks / 3 - keys / 3, 1),
    }


def _crowded(workers: int) -> Figures:
    with rig() as system:
        gateway = system.system.gateways[0]
        alone_mb = rss_mb(gateway.pid)
        with crowd(system, ["crowd"], workers):
            crowded_mb = rss_mb(gateway.pid)
    return {
        "gateway_mb_alone": round(alone_mb, 1),
        "gateway_mb_crowded": round(crowded_mb, 1),
        "kb_per_worker": round((crowded_mb - alone_mb) * KIB / workers, 1),
    }


def _at_work(seconds: float) -> Figures:
    with rig() as system:
        system.start_workers(concurrency=100)
        waits(system, RATE, seconds)
        return {f"{role}_mb": _mb(system, role) for role in system.roles()}


def _mb(system: Rig, role: str) -> float:
    return round(max(rss_mb(process.pid) for process in system.roles()[role]), 1)
