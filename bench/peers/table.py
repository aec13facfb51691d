"""Every peer: what it promises, what is installed, and how a worker process of it is started.

``{bin}`` is the ``bin`` of its environment, ``{number}`` counts the worker processes, ``{apps}`` is ``apps/``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Promise = Literal["state", "none", "once"]
PROMISES: Final[Mapping[Promise, str]] = {
    "state": "at least once, with a state that can be asked for",
    "none": "at least once, without one",
    "once": "at most once",
}

APPS: Final = "bench.peers.apps"
ENGINE: Final = ("redis==8.1.0", "hiredis==3.5.0")


@dataclass(frozen=True, slots=True)
class Peer:
    """One contender. ``told`` is what its settings differ in from what it does by itself."""

    name: str
    promise: Promise
    environment: str
    packages: tuple[str, ...]
    feeder: tuple[str, ...]
    worker: tuple[str, ...]
    told: str = ""
    python: bool = True
    fill: str = "fill"
    plan: str = "plan"
    plans_first: bool = False
    """Its worker sees only what was planned before it started."""
    plans_per_s: int = 1_000
    """How fast it can be planned ahead, about."""
    env: Mapping[str, str] = field(default_factory=dict)

    def lead_s(self, count: int) -> float:
        """How long before the first start planning has to begin; a second and more to spare."""
        return 3.0 + count / self.plans_per_s


def _python(module: str) -> tuple[str, ...]:
    return ("{bin}/python", "-m", f"{APPS}.{module}")


def _feed(module: str) -> tuple[str, ...]:
    return (*_python("feed"), module)


def _taskiq(broker: str, promise: Promise) -> Peer:
    return Peer(
        name=f"taskiq {broker}",
        promise=promise,
        environment="taskiq",
        packages=("taskiq[uv]==0.13.0", "taskiq-redis==1.2.4", "orjson==3.13.0", *ENGINE),
        feeder=_feed("taskiq_app"),
        worker=(
            *("{bin}/taskiq", "worker", f"{APPS}.taskiq_app:broker", "--workers", "1"),
            *("--max-async-tasks", "500", "--log-level", "WARNING"),
        ),
        told="uvloop, 500 async tasks, no socket timeout",
        env={"BENCH_BROKER": broker},
    )


def _bullmq(name: str, *, fill: str = "fill", plan: str = "plan") -> Peer:
    return Peer(
        name=name,
        promise="state",
        environment="bullmq",
        packages=("bullmq@6.7.0", "ioredis@6.0.0"),
        feeder=("{node}", "{apps}/bullmq.mjs"),
        worker=("{node}", "{apps}/bullmq.mjs", "worker"),
        told="concurrency 100",
        python=False,
        fill=fill,
        plan=plan,
    )


BULLMQ: Final = _bullmq("bullmq")
BULLMQ_SINGLE: Final = _bullmq("bullmq single add", fill="single")
BULLMQ_SCHEDULERS: Final = _bullmq("bullmq schedulers", plan="schedulers")
TASKIQ_STREAM: Final = _taskiq("stream", "none")
TASKIQ_LIST: Final = _taskiq("list", "once")
HUEY: Final = Peer(
    name="huey",
    promise="once",
    environment="huey",
    packages=("huey==3.5.4", *ENGINE),
    feeder=_feed("huey_app"),
    worker=("{bin}/huey_consumer", f"{APPS}.huey_app.huey", "-k", "thread", "-w", "4", "-q"),
    told="4 threads, results off",
)
DRAMATIQ: Final = Peer(
    name="dramatiq",
    promise="none",
    environment="dramatiq",
    packages=("dramatiq==2.2.1", *ENGINE),
    feeder=_feed("dramatiq_app"),
    worker=("{bin}/dramatiq", f"{APPS}.dramatiq_app", "--processes", "1", "--threads", "8"),
    told="8 threads, as by default",
)
ARQ: Final = Peer(
    name="arq",
    promise="state",
    environment="arq",
    packages=("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0", "uvloop==0.23.0"),
    feeder=_feed("arq_app"),
    worker=_python("arq_app"),
    told="uvloop, 500 jobs, poll_delay 10 ms",
)
SAQ: Final = Peer(
    name="saq",
    promise="state",
    environment="saq",
    packages=("saq==0.26.4", "redis==7.4.1", "hiredis==3.5.0", "uvloop==0.23.0", "typing_extensions==4.16.0"),
    feeder=_feed("saq_app"),
    worker=("{bin}/saq", f"{APPS}.saq_app.settings", "--quiet"),
    told="uvloop, concurrency 100",
)
CELERY: Final = Peer(
    name="celery",
    promise="none",
    environment="celery",
    packages=("celery==5.7.0", "kombu==5.7.0", "packaging==25.0", *ENGINE),
    feeder=_feed("celery_app"),
    worker=(
        *("{bin}/celery", "-A", f"{APPS}.celery_app", "worker", "-n", "w{number}@bench", "-P", "threads", "-c", "8"),
        *("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"),
    ),
    told="8 threads, prefetch 128 each, results off, no gossip, mingle or heartbeat",
)
APSCHEDULER: Final = Peer(
    name="apscheduler",
    promise="none",
    environment="apscheduler",
    packages=("APScheduler==3.11.3", *ENGINE),
    feeder=_feed("apscheduler_app"),
    worker=_python("apscheduler_app"),
    told="jobs run in the scheduler's own process",
    plans_first=True,
)

QUEUES: Final = (BULLMQ, BULLMQ_SINGLE, TASKIQ_STREAM, TASKIQ_LIST, HUEY, DRAMATIQ, ARQ, SAQ, CELERY)
SENDERS: Final = (BULLMQ, TASKIQ_STREAM, TASKIQ_LIST, HUEY, DRAMATIQ, ARQ, SAQ, CELERY)
STEADY: Final = (BULLMQ, APSCHEDULER, CELERY, ARQ)
SCHEDULERS: Final = (BULLMQ, BULLMQ_SCHEDULERS, APSCHEDULER, CELERY, ARQ)
PEERS: Final = {peer.name: peer for peer in (*QUEUES, BULLMQ_SCHEDULERS, APSCHEDULER)}
