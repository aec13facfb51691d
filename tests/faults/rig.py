"""A whole installation as real processes, what may be done to it, and the records it leaves.

1. Processes are those of the demo (``examples.demo.processes``), started by the commands a user would type: killed,
   frozen, revived, and reaped on any exit of ours.
2. ``proxy`` and ``engine_proxy`` put a faulty network between two roles; what is started with their address uses it.
3. ``Submitter`` remembers what was accepted. It gives up no submission that was not refused: a request whose answer was
   lost is repeated with its key, so the list is what the system owes.
4. ``collect`` reads the three records once all is quiet.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from redis import Redis, RedisCluster, Sentinel
from redis.cluster import ClusterNode
from redis.exceptions import RedisError

from examples.demo.processes import Gateway, Process, System
from examples.demo.topologies import SERVICE, SYSTEMS, ClusterSystem, SentinelSystem
from gojob_redis.domain import ids
from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import K, prefixes
from gojob_sdk import Client, ClientError, Unreachable
from tests.faults import journal, snapshot
from tests.faults.journal import Line
from tests.tools.history import TERMINAL, Accepted, Records, Rollback, Rule
from tests.tools.proxy import EngineProxy, Proxy

APP = "faults"
ADDRESS = f"default/{APP}"
TRIGGERS = f"/v1/apps/default/{APP}/triggers"
WORKERS = f"/v1/workers?app={APP}&limit=500"
BATCH = 250
SUBMITTERS = 4
GIVE_UP_S = 120.0
READY_S = 60.0
LOOK_S = 0.1
PAGE = 2_000


class NotReached(Exception):
    """An expected event did not happen in time."""


@dataclass(slots=True)
class Submitter:
    """Submits work from threads of its own, and keeps what was accepted."""

    client: Client
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SUBMITTERS))
    _stop: threading.Event = field(default_factory=threading.Event)
    _streams: list[threading.Thread] = field(default_factory=list)

    async def burst(self, count: int, handler: str = "work", params: Any = None, **options: Any) -> list[str]:
        """Submit many tasks now, 250 a request; returns the ids of those that were accepted."""
        sizes = [min(BATCH, count - first) for first in range(0, count, BATCH)]
        loop = asyncio.get_running_loop()
        calls = [
            loop.run_in_executor(self._pool, self._many, [{"params": params, **options} for _ in range(size)], handler)
            for size in sizes
        ]
        return [task for batch in await asyncio.gather(*calls) for task in batch]

    def stream(self, every_s: float, handler: str = "work", params: Any = None, **options: Any) -> None:
        """Submit one task at a time, evenly, until ``stop``."""

        def run() -> None:
            due = time.monotonic()
            while not self._stop.is_set():
                self._one(handler, params, options)
                due = max(due + every_s, time.monotonic() - every_s)
                self._stop.wait(max(0.0, due - time.monotonic()))

        thread = threading.Thread(target=run, daemon=True)
        self._streams.append(thread)
        thread.start()

    async def stop(self) -> None:
        """Let the streams end."""
        self._stop.set()
        for thread in self._streams:
            await asyncio.to_thread(thread.join)
        self._streams.clear()
        self._stop.clear()

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _many(self, submissions: list[Any], handler: str) -> list[str]:
        try:
            tasks = self.client.submit_many(APP, handler, submissions)
        except (ClientError, Unreachable) as error:
            self.refused.append(str(error))
            return []
        self._take(tasks)
        return tasks

    def _one(self, handler: str, params: Any, options: dict[str, Any]) -> None:
        began = time.monotonic()
        try:
            task = self.client.submit(APP, handler, params, **options).id
        except (ClientError, Unreachable) as error:
            self.refused.append(str(error))
            return
        self.latencies_s.append(time.monotonic() - began)
        self._take([task])

    def _take(self, tasks: Iterable[str]) -> None:
        at_ms = now_ms()
        self.accepted.extend(Accepted(task, at_ms) for task in tasks)


class Rig:
    """One installation on an empty engine, for one scenario.

    fsync: when the engine's append-only file is synced: always, everysec, no.
    mode: standalone, or cluster or sentinel (``examples.demo.topologies``).
    Large, because it has a method for each thing that a scenario can start, break or count.
    """

    def __init__(self, directory: Path, *, seed: int = 0, fsync: str = "everysec", mode: str = "standalone") -> None:
        self.seed = seed
        self.system = SYSTEMS[mode](directory, fsync=fsync)
        self.journals = directory / "journals"
        self.rules: list[Rule] = []
        self.rollbacks: list[Rollback] = []
        self.spoiled: set[str] = set()
        self.steps = False
        self.ended: set[str] = set()
        self.submitter = Submitter(Client("http://127.0.0.1:9", ""))
        self.engine: Any = Redis(port=self.system.port, password=self.system.password)
        self._stack = ExitStack()
        self._http = httpx2.Client(timeout=30.0)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.system)
        self.journals.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.submitter.close()
        for process in (*self.workers, *self.triggers, *self.gateways):
            process.kill()  # judged already: there is nothing left to end in order
        self._http.close()
        self.engine.close()
        self._stack.__exit__(kind, error, trace)

    @property
    def gateways(self) -> list[Gateway]:
        return self.system.gateways

    @property
    def triggers(self) -> list[Process]:
        return self.system.triggers

    @property
    def workers(self) -> list[Process]:
        return self.system.workers

    @property
    def partition(self) -> int:
        """The partition of the app."""
        placed: Any = self.engine.hget(K.apps("{gojob}:"), ADDRESS)
        return int(placed)

    @property
    def prefix(self) -> str:
        """What every key of the app begins with."""
        return self.prefix_of(ADDRESS)

    def prefix_of(self, app: str) -> str:
        """What every key of an app begins with, once it was seen."""
        placed: Any = self.engine.hget(K.apps("{gojob}:"), app)
        return prefixes(PARTITIONS)[int(placed)]

    # --- starting -------------------------------------------------------------------------------------------------

    async def start(
        self,
        *,
        gateways: int = 1,
        triggers: int = 1,
        workers: int = 1,
        concurrency: int = 10,
        env: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> None:
        """Start an engine (with this environment) and roles (with theirs); wait until all workers are connected."""
        self.system.start_engine(**(env or {}))
        self.engine = client_of(self.system)
        for _ in range(gateways):
            self.system.start_gateway(env=roles)
        for _ in range(triggers):
            self.system.start_trigger(env=roles)
        await self.ready(workers=workers, concurrency=concurrency, env=roles)

    async def ready(self, *, workers: int = 1, concurrency: int = 10, env: Mapping[str, str] | None = None) -> None:
        """Wait for the gateways, make the tokens, and start workers."""
        self.system.ready()
        for prefix in prefixes(PARTITIONS):  # a campaign has more events than an app's log keeps, and needs each
            self.engine.hset(K.meta(prefix), "trace", "1")
        self.system.make_tokens()
        self.submitter.client = Client(self.system.urls, self.system.admin_token, give_up_s=GIVE_UP_S)
        for _ in range(workers):
            self.start_worker(concurrency=concurrency, env=env)
        await self.connected()

    def start_worker(
        self, *, concurrency: int = 10, module: str = "tests.faults.workers", env: Mapping[str, str] | None = None
    ) -> Process:
        """Start one more worker process."""
        settings = {"FAULTS_JOURNAL": str(self.journals), "GOJOB_WORKER__CONCURRENCY": str(concurrency)}
        return self.system.start_worker(module, **settings, **(env or {}))

    async def connected(self, names: Iterable[str] | None = None, within_s: float = READY_S) -> None:
        """Wait until these workers (all that live, if none are named) have a session."""
        expected = set(names) if names is not None else {worker.name for worker in self.workers if worker.alive()}
        await until(lambda: expected <= set(self.worker_names()), within_s, f"sessions of {sorted(expected)}")

    def worker_names(self) -> list[str]:
        """Names of the sessions that the engine has."""
        try:
            return [worker["name"] for worker in self.request("GET", WORKERS)["items"]]
        except (ClientError, httpx2.HTTPError):
            return []

    def proxy(self, target: int) -> Proxy:
        """A faulty network before a port."""
        return self._stack.enter_context(Proxy(target))

    def engine_proxy(self) -> EngineProxy:
        """A faulty network before the engine; start roles with ``redis_by(proxy)``."""
        return self._stack.enter_context(EngineProxy(self.system.port, seed=self.seed, login=self.system.login))

    def prefer_engine(self) -> bool:
        """Let nobody take the core from the engine's scripts, as ``chrt --rr 1`` would; False when that is not allowed.

        Without it a script stands still for as long as the scheduler lets somebody else run, 4 ms and more. Niceness is
        not enough: it says who gets how much, not when.
        """
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        try:
            os.sched_setscheduler(self._engine_pid(), policy, os.sched_param(1))
        except PermissionError:
            return False
        return True

    def engine_waited_ms(self) -> float:
        """How long the engine could have run and had no core, since it was started."""
        pid = self._engine_pid()
        _ran, waited, _slices = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text("ascii").split()
        return int(waited) / 1_000_000

    @staticmethod
    def stolen_ms() -> float:
        """How long this machine could have run and whoever runs it did not let it, all cores together."""
        cores = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()
        return int(cores[8]) * 1_000 / os.sysconf("SC_CLK_TCK")

    def _engine_pid(self) -> int:
        return int(self.engine.info("server")["process_id"])

    # --- asking ---------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of any gateway's answer; an error raises ClientError."""
        trouble: Exception = NotReached("there is no gateway")
        for gateway in self.gateways:
            try:
                answer = self._http.request(method, gateway.url + path, headers=self._headers, **options)
            except httpx2.HTTPError as error:
                trouble = error
                continue
            if answer.status_code < 400:
                return answer.json() if answer.content else None
            trouble = ClientError(answer.status_code, {"detail": answer.text})
            if answer.status_code < 500:
                break
        raise trouble

    def answer(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """What the first gateway answers, whatever it is."""
        return self._http.request(method, self.gateways[0].url + path, headers=self._headers, **options)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.system.admin_token}"}

    def trigger(self, name: str, every_ms: int, *, handler: str = "tick", **body: Any) -> Rule:
        """Define a trigger that fires every so often; ``end_triggers`` pauses it."""
        schedule = {"kind": "every", "every_ms": every_ms}
        whole = {"handler": handler, "schedule": schedule, "overlap": "allow", "allow_unknown": True, **body}
        trigger = self.request("PUT", f"{TRIGGERS}/{name}", json=whole)
        rule = Rule(name, trigger["uid"], self.partition, trigger["next_times"][0]["at_ms"], every_ms, 0)
        self.rules.append(rule)
        return rule

    async def end_triggers(self) -> None:
        """Pause all triggers; the rules end when the engine did so."""
        for index, rule in enumerate(self.rules):
            await asyncio.to_thread(self.request, "POST", f"{TRIGGERS}/{rule.name}/pause")
            changed: Any = self.engine.hget(K.trigger(self.prefix, rule.uid), "changed")
            self.rules[index] = replace(rule, until_ms=int(changed))

    def lines(self) -> list[Line]:
        """The journals so far."""
        return journal.read(self.journals)

    def away_s(self, *, busy: bool | None = None) -> list[float]:
        """How long each lost connection took to be made again; only those with work under way, or without."""
        gone: dict[tuple[str, int], journal.Happening] = {}
        seconds = []
        for each in journal.happenings(self.journals):
            key = each.worker, each.pid
            if each.name == "disconnected":
                gone[key] = each
            elif each.name == "reconnected" and key in gone:
                left = gone.pop(key)
                if busy is None or bool(left.busy) == busy:
                    seconds.append((each.at_ms - left.at_ms) / 1000)
        return seconds

    def count_events(self, kind: str) -> int:
        """How many entries of a kind the event logs hold now."""
        return sum(event.kind == kind for event in snapshot.events(self.engine, PARTITIONS))

    def troubles(self) -> list[str]:
        """What the roles themselves logged as failed; that a campaign begins on an empty engine is none."""
        logs = [process.log.read_text("utf-8", "replace") for process in (*self.gateways, *self.triggers)]
        lines = [line for log in logs for line in log.splitlines()]
        levels = [f'"level": "{level}"' for level in ("error", "critical", "warning")]
        return [
            line
            for line in lines
            if any(level in line for level in levels) and '"event": "installation.bootstrapped"' not in line
        ]

    # --- settling -------------------------------------------------------------------------------------------------

    async def settle(self, within_s: float = 60.0) -> float:
        """Wait until everything that was accepted ended and nothing is queued or bound; returns how long that took."""
        began = time.monotonic()
        left = {accepted.task for accepted in self.submitter.accepted}

        def done() -> bool:
            nonlocal left
            try:
                left = self._unfinished(left)
                return not left and not self.busy()
            except RedisError:
                return False

        await until(
            done, within_s, lambda: f"the end of {len(left)} tasks, such as {sorted(left)[:3]}, or of {self.busy()!r}"
        )
        return time.monotonic() - began

    def _unfinished(self, tasks: Iterable[str]) -> set[str]:
        """Tasks that exist and are not over."""
        names, tags = list(tasks), prefixes(PARTITIONS)
        left: set[str] = set()
        for first in range(0, len(names), PAGE):
            page = names[first : first + PAGE]
            pipe = self.engine.pipeline(transaction=False)
            for task in page:
                pipe.hget(K.task(tags[ids.partition_of(task)], task), "state")
            for task, state in zip(page, pipe.execute(), strict=True):
                if state is not None and state.decode() not in TERMINAL:
                    left.add(task)
        return left

    def busy(self) -> bytes | None:
        """An index of what is queued, bound or waits for a timer, if there is one."""
        patterns = ("activeq:*", "held:*", "deadlineq:*")
        names = (next(iter(self.engine.scan_iter(match=f"*{{p*}}:{kind}", count=10_000)), None) for kind in patterns)
        return next(filter(None, names), None)

    def collect(self) -> Records:
        """The three records. Tasks and triggers (uids) that the row itself spoiled are its own to judge."""
        return Records(
            lines=[line for line in self.lines() if line.task not in self.spoiled],
            events=snapshot.events(self.engine, PARTITIONS),
            keyspace=snapshot.keyspaces(self.engine, PARTITIONS),
            accepted=tuple(each for each in self.submitter.accepted if each.task not in self.spoiled),
            rules=tuple(rule for rule in self.rules if rule.uid not in self.spoiled),
            rollbacks=tuple(self.rollbacks),
            steps=self.steps,
            ended=frozenset(self.ended),
        )


def client_of(system: System) -> Any:
    """A client for looking, which finds the engine wherever it is."""
    if isinstance(system, ClusterSystem):
        nodes = [ClusterNode("127.0.0.1", node.port) for node in system.nodes]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, password=system.password)
    if isinstance(system, SentinelSystem):
        sentinels = [("127.0.0.1", sentinel.port) for sentinel in system.sentinels]
        return Sentinel(sentinels, password=system.password).master_for(SERVICE)  # type: ignore[no-untyped-call]
    return Redis(port=system.port, password=system.password)


def redis_by(proxy: EngineProxy) -> dict[str, str]:
    """Environment of a role that reaches the engine through a proxy."""
    return {"GOJOB_REDIS__URL": f"redis://{proxy.login}127.0.0.1:{proxy.port}"}


def gateway_by(*proxies: Proxy) -> dict[str, str]:
    """Environment of a worker that reaches gateways through proxies."""
    return {"GOJOB_WORKER__URL": ",".join(proxy.url for proxy in proxies)}


def between(faults: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """From faults (begin, end) to the times between them: healed, and until when."""
    begins = [begin for begin, _ in faults[1:]]
    return [(end, begin) for (_, end), begin in zip(faults, [*begins, now_ms()], strict=True)]


async def wait(seconds: float) -> None:
    """Wait while the fault lasts; the only sleep of a scenario."""
    await asyncio.sleep(seconds)


async def until(
    reached: Callable[[], object], within_s: float, what: str | Callable[[], str], look_s: float = LOOK_S
) -> float:
    """Look until it holds, in a thread, so that the scenario goes on; returns how long that took (s)."""
    began = time.monotonic()
    while not await asyncio.to_thread(reached):
        if time.monotonic() - began > within_s:
            raise NotReached(f"{what if isinstance(what, str) else what()} did not come within {within_s:g} s")
        await asyncio.sleep(look_s)
    return time.monotonic() - began


def now_ms() -> int:
    """The wall clock of this machine, as journals and (in health) the engine have it."""
    return time.time_ns() // 1_000_000


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
