"""Row 18: a hundred thousand triggers of one app are due in the same second.

The engine has precedence over whatever shares its cores: the slow log knows only the clock on the wall, and on two
cores that hold all roles and the clients too, every preemption would count as a slow script. How long the engine had no
core is told with the figures.

A storm doubles the append-only file, so the engine forks in the middle of it to write it anew. The first call after a
fork copies every page of memory it changes, those of the scripts themselves too. Such calls are counted apart.
"""

import asyncio
import time
from dataclasses import dataclass, field
from math import inf
from typing import Any
from zlib import crc32

import msgpack

from gojob_redis.domain import ids, policies
from gojob_redis.domain.limits import HOUR_MS, PARTITIONS, TRIGGERS_PER_APP
from gojob_redis.engine.keys import K, prefixes
from gojob_redis.engine.scripts import load_all, verb
from gojob_redis.planning.planner import plan_agenda
from gojob_redis.schedules.schedule import as_line, as_mapping, parse
from tests.faults.crowd import Crowd
from tests.faults.rig import ADDRESS, APP, Rig, now_ms, percentile, until, wait
from tests.faults.rows.row17_reconnect import home
from tests.faults.rows.row20_slow_readers import measured
from tests.faults.scenario import Figures, Scale, row

AHEAD_MS = 3_000
SLOW_US = 5_000
DEFINED = 500
AFTER_FORK_S = 0.1


@dataclass(slots=True)
class Watch:
    """Slow calls, as they are seen to happen."""

    engine: Any
    slow: list[Any] = field(default_factory=list)
    after_fork: list[Any] = field(default_factory=list)
    forks: int = 0
    _rewriting: bool = False
    _forked_at: float = -inf

    def look(self) -> None:
        """Take note of the calls that came since the last look; a fork that was before them is seen after them."""
        entries = self.engine.slowlog_get(1_000)
        rewriting = bool(self.engine.info("persistence")["aof_rewrite_in_progress"])
        if entries:
            self.engine.slowlog_reset()
        if rewriting and not self._rewriting:
            self.forks += 1
            self._forked_at = time.monotonic()
        self._rewriting = rewriting
        is_after = time.monotonic() - self._forked_at < AFTER_FORK_S
        scripts = [entry for entry in entries if entry["command"].startswith(b"EVALSHA")]
        (self.after_fork if is_after else self.slow).extend(scripts)


@row(
    18,
    "a storm of triggers in one app",
    targets={
        "drained_per_s": ">= 5000",
        "slow_scripts": "== 0",
        "slow_after_fork_each": "<= 2",
        "other_p99_added_ms": "<= 10",
        "missing": "== 0",
    },
    short=False,
)
async def storm(rig: Rig, scale: Scale) -> Figures:
    """They fire at over 5,000 a second, no script holds the engine, and another app hardly notices."""
    triggers, seconds = scale.of(100_000, 20_000), scale.of(10.0, 5.0)
    await rig.start(gateways=1, triggers=2, workers=0)
    preferred = rig.prefer_engine()
    crowd = Crowd([rig.gateways[0].port], rig.system.worker_token, APP, capacity=10, instant=True)
    try:
        crowd.add(20)
        await home(crowd, 20, 30.0)
        rig.submitter.stream(0.01, "crowd")
        await wait(1.0)
        app = _app_elsewhere()
        prefix = prefixes(PARTITIONS)[_partition(app)]
        due = now_ms() // 1000 * 1000 + AHEAD_MS + triggers * 6 // 10 + int(seconds * 1000)
        defined = await asyncio.to_thread(_define, rig.engine, prefix, app, triggers, due)
        assert now_ms() < due - seconds * 1000, "defining took too long"
        await wait((due - now_ms()) / 1000 - seconds - 1)
        before = await measured(crowd, seconds)
        rig.engine.config_set("slowlog-log-slower-than", SLOW_US)
        rig.engine.slowlog_reset()
        waited_ms, stolen_ms = rig.engine_waited_ms(), rig.stolen_ms()
        await wait((due - now_ms()) / 1000)
        began = time.monotonic()
        crowd.arrivals_ms = []
        watch = Watch(rig.engine)

        def is_over() -> bool:
            watch.look()
            return _drained(rig.engine, prefix, app)

        drained_s = await until(is_over, 120.0, "the end of the storm", 0.01)
        during = list(crowd.arrivals_ms)
        waited_ms, stolen_ms = rig.engine_waited_ms() - waited_ms, rig.stolen_ms() - stolen_ms
        fired = _fired(rig.engine, prefix)
        await rig.submitter.stop()
        _forget(rig.engine, prefix)
        await rig.settle(30.0)
        return {
            "triggers": triggers,
            "defined": defined,
            "missing": defined - fired,
            "drained_s": round(drained_s, 2),
            "seconds": round(time.monotonic() - began, 1),
            "drained_per_s": round(triggers / drained_s),
            "engine_preferred": preferred,
            "engine_waited_ms": round(waited_ms),
            "stolen_ms": round(stolen_ms),
            **_of_scripts(watch),
            **_of_the_other(before, during),
        }
    finally:
        await crowd.close()


def _app_elsewhere() -> str:
    """An app in another partition than the one that is measured."""
    return next(name for name in map("default/storm-{}".format, range(99)) if _partition(name) != _partition(ADDRESS))


def _of_scripts(watch: Watch) -> Figures:
    """What held the engine for too long."""
    return {
        "slow_scripts": len(watch.slow),
        "slow_verbs": _slow_verbs(watch.slow),
        "slowest_script_ms": _slowest_ms(watch.slow),
        "forks": watch.forks,
        "slow_after_fork_each": len(watch.after_fork) / max(1, watch.forks),
        "slowest_after_fork_ms": _slowest_ms(watch.after_fork),
    }


def _slowest_ms(entries: list[Any]) -> float:
    return round(max((entry["duration"] for entry in entries), default=0) / 1000, 1)


def _of_the_other(before: list[float], during: list[float]) -> Figures:
    """How long another app's tasks took, before the storm and in it."""
    return {
        "other_p50_before_ms": round(percentile(before, 0.5), 1),
        "other_p50_during_ms": round(percentile(during, 0.5), 1),
        "other_p99_before_ms": round(percentile(before, 0.99), 1),
        "other_p99_during_ms": round(percentile(during, 0.99), 1),
        "other_p99_added_ms": round(percentile(during, 0.99) - percentile(before, 0.99), 1),
        "samples": len(during),
    }


def _slow_verbs(entries: list[Any]) -> dict[str, str]:
    """How many slow calls each verb had, and the longest."""
    by_verb: dict[str, list[float]] = {}
    for entry in entries:
        by_verb.setdefault(_verb_of(entry["command"]), []).append(entry["duration"] / 1000)
    return {name: f"{len(each)}, {max(each):.1f} ms" for name, each in sorted(by_verb.items())}


def _verb_of(command: bytes) -> str:
    """The name of the script that a slow call ran."""
    sha = command.split(b" ")[1].decode()
    return next((name for name, each in load_all().items() if each.shas["real"] == sha), sha)


def _partition(app: str) -> int:
    return crc32(app.encode()) % PARTITIONS


def _define(engine: Any, prefix: str, app: str, count: int, due: int) -> int:
    """Define so many triggers past the API, all due at one moment; a few less when two were given the same uid."""
    define = verb("define")
    now = int(engine.time()[0]) * 1000
    rule = parse({"kind": "every", "every_ms": HOUR_MS, "start_at": due}, created_ms=now)
    agenda = plan_agenda(rule, now)
    assert agenda.times[0] == due
    engine.script_load(define.source())
    arguments = define.args(
        now_ms=0, app=app, name="name?", uid="uid?", change="c", revision=-1, active=1, state="active",
        paused=0, owner="", rule=as_line(rule), handler=f"{app}/storm", labels="", attribute="", shards=1,
        shard_params=b"",
        policies=policies.write({"misfire_after_ms": 600_000}), param=b"", most=TRIGGERS_PER_APP, quotas="",
        definition=msgpack.packb({"schedule": as_mapping(rule), "body": b""}),
        times=",".join(map(str, agenda.times[:2])), planned=agenda.times[1], low_at=agenda.times[1], over=0,
    )  # fmt: skip
    name, uid = arguments.index("name?"), arguments.index("uid?")
    defined = 0
    for first in range(0, count, DEFINED):
        pipe = engine.pipeline(transaction=False)
        for number in range(first, first + DEFINED):
            arguments[name], arguments[uid] = f"t{number}", ids.new_trigger_uid()
            pipe.execute_command("EVALSHA", define.shas["real"], 1, prefix, *arguments)
        defined += sum(reply[0] == b"ok" for reply in pipe.execute())
    return defined


def _drained(engine: Any, prefix: str, app: str) -> bool:
    """Nothing of the app is due any more."""
    return not engine.zcount(K.due(prefix, app), "-inf", now_ms())


def _fired(engine: Any, prefix: str) -> int:
    """How many tasks stand in the lanes of the storm."""
    return sum(engine.zcard(name) for name in engine.scan_iter(f"{prefix}activeq:*", count=10_000))


def _forget(engine: Any, prefix: str) -> None:
    """The storm is over: nothing of its partition is to be judged."""
    meta = K.meta(prefix).encode()
    page: list[bytes] = []
    for name in engine.scan_iter(f"{prefix}*", count=10_000):
        if name != meta:
            page.append(name)
        if len(page) == 5_000:
            engine.unlink(*page)
            page.clear()
    if page:
        engine.unlink(*page)
