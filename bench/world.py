"""What do searches and overviews cost in a large world, and what does another app notice of them?

``make figures-world SCALE=0.1`` seeds a world (``examples/world``), starts gateways, a replica and all sessions,
and asks each question many times, one request after the other. The engine's time is its processor time less that of as
long a time without questions. The longest call is what the slow log has of the gateways' connections: everybody
else waits for it. Last, all questions are asked in turns while another app's tasks come in.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode

import psutil

from bench.fairness import OTHER, RATE, TIMES
from bench.figures import percentile
from bench.rig import Rig, of_system, wait_for
from bench.sender import waits
from examples.demo.processes import System
from examples.world.plan import Size, World
from examples.world.present import Present
from examples.world.seed import seed
from gojob_redis.domain import limits
from gojob_redis.engine.client import connected
from gojob_redis.engine.partitions import Partitions

RESULTS: Final = Path(__file__).parents[1] / "build" / "world.md"
ONE_MS, SEARCH_MS, PAGE_MS, DRY_RUN_MS = 5.0, 50.0, 50.0, 100.0
ENGINE_MS: Final = 5.0
WARM: Final = 2
LEAST_CALLS, MOST_CALLS, FOR_S = 20, 300, 3.0
IDLE_S: Final = 5.0
SLOW_US: Final = 500
SLOW_ENTRIES: Final = 10_000
SPAN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of request, and how long its answer may take."""

    name: str
    most_ms: float
    paths: Sequence[str]
    """Asked in turns."""
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took."""

    ask: Ask
    calls: int
    first_ms: float
    p50_ms: float
    p99_ms: float
    gateway_ms: float
    """Of processor time, for each request; the engine's likewise."""
    engine_ms: float
    longest_ms: float
    """The longest single call."""

    @property
    def row(self) -> str:
        misses = [
            name
            for name, value, most in (
                ("p99", self.p99_ms, self.ask.most_ms),
                ("a call", self.longest_ms, ENGINE_MS),
            )
            if value > most
        ]
        return (
            f"| {self.ask.name} | {self.first_ms:.1f} | {self.p50_ms:.1f} | {self.p99_ms:.1f} | {self.ask.most_ms:g} "
            f"| {self.gateway_ms:.1f} | {self.engine_ms:.2f} | {self.longest_ms:.1f} | {', '.join(misses)} |"
        )


def main() -> None:
    """Seed, measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.world", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 = 100,000 triggers, 1,000,000 tasks")
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--dir", default="", help="where the world is kept; it is seeded if nothing is there")
    parser.add_argument("--only", default="", help="only questions with this text in their names")
    options = parser.parse_args()
    size = Size().scaled(options.scale)
    with tempfile.TemporaryDirectory(prefix="gojob-world-", ignore_cleanup_errors=True) as directory:
        lines = measure(Path(options.dir or directory), size, options.gateways, options.only)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"written to {RESULTS}")


def measure(directory: Path, size: Size, gateways: int, only: str) -> list[str]:
    """The lines of the table."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    with System(directory) as system:
        is_there = (directory / "engine").exists()
        system.start_engine()
        began_s = time.monotonic()
        if not is_there:
            asyncio.run(seed(system.redis_url, size, print, processes=os.cpu_count() or 1))
        took = "" if is_there else f", seeded in {time.monotonic() - began_s:.0f} s"
        about = f"{size.triggers:,} triggers, {size.tasks:,} tasks, {size.sessions:,} sessions"
        say(f"{about}{took}; {gateways} gateways.\n")
        for _ in range(gateways):
            system.start_gateway()
        system.start_trigger()
        with _present(system.redis_url, size), of_system(system) as rig:
            wait_for(lambda: len(_items(rig, "/v1/workers", limit=500)) > min(500, size.sessions) // 2)
            asks = [ask for ask in _asks(rig, World(size)) if only in ask.name]
            _costs(rig, asks, say)
            _beside(rig, asks, say)
    return lines


# ---- what is asked ---------------------------------------------------------------------------------------------------


def _items(rig: Rig, path: str, **query: Any) -> list[Any]:
    return list(rig.request("GET", f"{path}?{urlencode(query, doseq=True)}")["items"])


def _asks(rig: Rig, world: World) -> Iterator[Ask]:
    """All questions, about the busiest handler where they need one."""
    handler = max(world.handlers, key=lambda each: each.weight)
    namespace, app = handler.app.split("/")
    own = {"namespace": namespace, "app": app}
    trigger = _items(rig, "/v1/triggers", prefix="old-", limit=1)[0]
    of_trigger = {key: trigger[key] for key in ("namespace", "app")} | {"trigger": trigger["name"]}
    orders = next(each for each in world.handlers if each.name.endswith("orders"))
    keyed = dict(zip(("namespace", "app", "handler"), orders.address.split("/"), strict=True))
    tasks, with_keys = _items(rig, "/v1/tasks", limit=100, **own), _items(rig, "/v1/tasks", limit=100, **keyed)
    now_ms = int(time.time() * 1000)
    yield Ask("a task by its id", ONE_MS, [f"/v1/tasks/{task['id']}" for task in tasks])
    of_app = urlencode({"namespace": keyed["namespace"], "app": keyed["app"]})
    keys = [task["key"] for task in with_keys if task.get("key")]
    yield Ask("a task by its key", ONE_MS, [f"/v1/tasks?{of_app}&key={key}" for key in keys])
    yield from _pages(own, handler.name, of_trigger, now_ms)
    yield from _lists_of_triggers(own)
    yield from _views(own, now_ms)
    yield Ask(
        "search: a part of a name", SEARCH_MS, [f"/v1/search?q={word}" for word in ("send", "orders", "import_f")]
    )
    yield Ask("search: what nobody has", SEARCH_MS, ["/v1/search?q=nobody-has-this"])
    place = f"/v1/apps/{trigger['namespace']}/{trigger['app']}/triggers/{trigger['name']}?dry_run=true"
    body = {"handler": trigger["handler"], "schedule": {"kind": "cron", "cron": "*/10 * * * *"}}
    yield Ask("a dry run", DRY_RUN_MS, [place], body)


def _pages(own: dict[str, str], handler: str, of_trigger: dict[str, str], now_ms: int) -> Iterator[Ask]:
    """Pages of a hundred tasks."""
    month_ms = now_ms - 30 * limits.DAY_MS
    queries: dict[str, dict[str, Any]] = {
        "all": {},
        "an app": own,
        "a handler": own | {"handler": handler},
        "a trigger": of_trigger,
        "a worker": {"worker": "then-1"},
        "faulted": {"state": "faulted"},
        "faulted in an app": own | {"state": "faulted"},
        "running": {"state": "running"},
        "a state that is rare (canceled)": {"state": "canceled"},
        "a reason that is rare (timeout)": {"reason": "timeout"},
        "a label that no task has": {"label": "env=gray"},
        "a day a month ago": {"from": month_ms, "to": month_ms + limits.DAY_MS},
        "an app's faulted of a day a month ago": own
        | {"state": "faulted", "from": month_ms, "to": month_ms + limits.DAY_MS},
    }
    for name, query in queries.items():
        yield Ask(f"tasks: {name}", PAGE_MS, [f"/v1/tasks?{urlencode(query)}"])


def _lists_of_triggers(own: dict[str, str]) -> Iterator[Ask]:
    """Pages of a hundred triggers."""
    queries: dict[str, dict[str, Any]] = {
        "all": {},
        "an app": own,
        "with next and strip": {"include": ["next", "strip"]},
        "a prefix": {"prefix": "send_"},
        "a text": {"q": "orders-0000"},
        "a text that is nowhere": {"q": "nowhere"},
        "paused": {"state": "paused"},
        "last faulted": {"last": "faulted"},
        "never fired": {"never_fired": "true"},
        "facets": {"facets": ["state", "last"]},
        "facets of a text": {"facets": ["state", "last"], "q": "orders"},
    }
    for name, query in queries.items():
        yield Ask(f"triggers: {name}", PAGE_MS, [f"/v1/triggers?{urlencode(query, doseq=True)}"])


def _views(own: dict[str, str], now_ms: int) -> Iterator[Ask]:
    """What adds up."""
    of_app = urlencode(own)
    month = urlencode({"from": now_ms - 30 * limits.DAY_MS, "step": "30m"})
    day = urlencode({"from": now_ms - limits.DAY_MS, "to": now_ms + limits.DAY_MS})
    yield Ask("overview: all", PAGE_MS, ["/v1/overview"])
    yield Ask("overview: an app", PAGE_MS, [f"/v1/overview?{of_app}"])
    yield Ask("time line: all, 2 h", PAGE_MS, ["/v1/timeline"])
    yield Ask("time line: all, 2 days", PAGE_MS, [f"/v1/timeline?{day}"])
    yield Ask("failures: all", PAGE_MS, ["/v1/failures"])
    yield Ask("stats: all, an hour", PAGE_MS, ["/v1/stats"])
    yield Ask("stats: by app, an hour", PAGE_MS, ["/v1/stats?group_by=app"])
    yield Ask("stats: an app, 30 days", PAGE_MS, [f"/v1/stats?{of_app}&{month}"])
    yield Ask("queues: an app", PAGE_MS, [f"/v1/workers?{of_app}"])


# ---- measuring -------------------------------------------------------------------------------------------------------


def _costs(rig: Rig, asks: Sequence[Ask], say: Callable[[str], None]) -> None:
    rig.engine.config_set("slowlog-max-len", SLOW_ENTRIES)
    rig.engine.config_set("slowlog-log-slower-than", SLOW_US)
    before, began_s = _used_s(rig), time.monotonic()
    time.sleep(IDLE_S)
    idle = _more(before, _used_s(rig), time.monotonic() - began_s)
    say("| request | first ms | p50 ms | p99 ms | at most | gateway ms | engine ms | its longest call ms | misses |")
    say("|---|---|---|---|---|---|---|---|---|")
    for ask in asks:
        say(_cost(rig, ask, idle).row)


def _used_s(rig: Rig) -> list[float]:
    """Processor seconds of the gateways and of the engine."""
    used = rig.cpu_s()
    return [used["gateway"], used["engine"]]


def _more(before: Sequence[float], after: Sequence[float], by: float) -> list[float]:
    return [max(0.0, late - early) / by for early, late in zip(before, after, strict=True)]


def _cost(rig: Rig, ask: Ask, idle: Sequence[float]) -> Cost:
    """idle: the parts of a core that gateways and engine use without questions."""
    paths = itertools.cycle(ask.paths)
    [first_ms, *_rest] = [_asked(rig, ask, next(paths)) for _ in range(1 + WARM)]
    rig.engine.slowlog_reset()
    before, began_s = _used_s(rig), time.monotonic()
    times: list[float] = []
    while len(times) < LEAST_CALLS or (time.monotonic() - began_s < FOR_S and len(times) < MOST_CALLS):
        times.append(_asked(rig, ask, next(paths)))
    after, took_s = _used_s(rig), time.monotonic() - began_s
    idly = [early + share * took_s for early, share in zip(before, idle, strict=True)]
    gateway_s, engine_s = _more(idly, after, len(times))
    return Cost(
        ask=ask,
        calls=len(times),
        first_ms=first_ms,
        p50_ms=percentile(times, 0.5),
        p99_ms=percentile(times, 0.99),
        gateway_ms=gateway_s * 1000,
        engine_ms=engine_s * 1000,
        longest_ms=_longest_ms(rig),
    )


def _asked(rig: Rig, ask: Ask, path: str) -> float:
    """How long the answer took, ms."""
    began_s = time.perf_counter()
    rig.request("PUT" if ask.body else "GET", path, **({"json": ask.body} if ask.body else {}))
    return (time.perf_counter() - began_s) * 1000


def _longest_ms(rig: Rig) -> float:
    """The longest call of a gateway in the slow log."""
    ports = {
        connection.laddr.port
        for gateway in rig.system.gateways
        for connection in psutil.Process(gateway.pid).net_connections("tcp")
    }
    entries = rig.engine.slowlog_get(SLOW_ENTRIES)
    own = (entry for entry in entries if int(entry["client_address"].rpartition(b":")[2]) in ports)
    return max((entry["duration"] / 1000 for entry in own), default=0.0)


def _beside(rig: Rig, asks: Sequence[Ask], say: Callable[[str], None]) -> None:
    """What another app's tasks wait, alone and while everything is asked for in turns."""
    rig.start_workers(app=OTHER, concurrency=50)
    _p99s(rig, 0)  # warm
    alone = _p99s(rig, 1)
    over = threading.Event()
    asker = threading.Thread(target=_ask_all, args=(rig, asks, over))
    asker.start()
    try:
        beside = _p99s(rig, 2)
    finally:
        over.set()
        asker.join()
    say(
        f"\nAnother app's tasks, {RATE} a second: p99 from submit to start {median(alone):.1f} ms alone, "
        f"{median(beside):.1f} ms while all of this is asked for in turns."
    )


def _p99s(rig: Rig, state: int) -> list[float]:
    firsts = [(state * TIMES + at) * 1_000_000 for at in range(TIMES)]
    return [percentile(waits(rig, RATE, SPAN_S, first=first, app=OTHER), 0.99) for first in firsts]


def _ask_all(rig: Rig, asks: Sequence[Ask], over: threading.Event) -> None:
    for ask in itertools.cycle(asks):
        if over.is_set():
            return
        _asked(rig, ask, ask.paths[0])


# ---- who is there ----------------------------------------------------------------------------------------------------


@contextmanager
def _present(url: str, size: Size) -> Iterator[None]:
    """All sessions, kept alive by a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=_live, args=(url, size), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _live(url: str, size: Size) -> None:
    async def live() -> None:
        async with connected(url) as clients:
            present = Present(Partitions(clients, limits.PARTITIONS), World(size))
            await present.begin()
            await present.live()

    asyncio.run(live())


if __name__ == "__main__":
    main()
