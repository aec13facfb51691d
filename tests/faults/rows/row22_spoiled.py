"""Row 22: records that somebody wrote nonsense into by hand, under load.

A thousand hashes of one app's partition, one after the other: fields deleted, fields overwritten, the whole record
turned into a string. Which one, and how, comes from the seed. Nobody can say what a spoiled record was meant to be;
what must not happen is that it stops anybody else: another task, another app of the same partition, a loop, a role.
"""

import asyncio
import random
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

from gojob_redis.domain import policies
from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import K, owner_of
from gojob_sdk import ClientError
from tests.faults.rig import ADDRESS, TRIGGERS, Rig, until, wait
from tests.faults.scenario import Figures, Scale, row
from tests.stages.test_fuzz import NONSENSE
from tests.tools.history import TERMINAL

KINDS = {"task": 10, "trigger": 1, "session": 2, "lane": 2, "group": 1, "triggers": 1, "shard_params": 1}
"""Kinds of hashes, and how often each is chosen. Not ``lanes``: it is the second copy of what ``lane`` says, and of
both nothing could be restored."""
OWNED = {"lane": "handler", "session": "app", "group": "app"}
"""What tells whose a record is: the neighbour's are left alone."""
NUMBERS = frozenset(
    [
        "attempt",
        "made",
        "score",
        "shards",
        "next",
        "tries",
        *(policy.field for policy in policies.set_by("task") if policy.kind != "word"),
        "expires",
        "lost",
        "rejects",
        "param_size",
        "started",
        "ended",
        "cancel",
        "swept",
        "last_shard",
        "noted",
        "unaccepted",
    ]
)
PLACES = frozenset({"lane", "due", "timer", "session", "none"})
STATES = TERMINAL | {"created", "waiting_to_run", "running"}
WORD_FIELDS = {"state": STATES, "place": PLACES, "off": frozenset(), "active": frozenset(), "blocked": frozenset()} | {
    policy.field: frozenset(policy.words) for policy in policies.POLICIES if policy.kind == "word"
}
"""Fields that hold a word. One that this release does not know is left alone, so it is no nonsense there."""
LATER_WORD = re.compile(rb"[a-z][a-z_]*")
FAILED = ("loop.failed", "loop.broken", "visit.failed", "batch.failed")
SLOW_US = 5_000
HEALED_S = 90.0
TRIGGERS_MADE = 60


@dataclass(slots=True)
class Vandal:
    """Writes nonsense into hashes of one partition, and remembers where."""

    engine: Any
    prefix: str
    rng: random.Random
    done: int = 0
    tasks: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    """Tasks that had work left and cannot be acted on since."""
    uids: set[str] = field(default_factory=set)
    by_kind: dict[str, int] = field(default_factory=dict)

    def spoil(self, count: int) -> None:
        """Spoil so many records."""
        by_kind = self._names()
        while count:
            kinds = [kind for kind in KINDS if by_kind.get(kind)]
            kind = self.rng.choices(kinds, [KINDS[each] for each in kinds])[0]
            names = by_kind[kind]
            if self._spoil(kind, names.pop(self.rng.randrange(len(names)))):
                count -= 1

    def _names(self) -> dict[str, list[bytes]]:
        by_kind: dict[str, list[bytes]] = {}
        for name in sorted(self.engine.scan_iter(match=f"{self.prefix}*", count=10_000)):
            owner = owner_of(name)
            if owner is not None and owner.name in KINDS:
                by_kind.setdefault(owner.name, []).append(name)
        return by_kind

    def _spoil(self, kind: str, name: bytes) -> bool:
        if self.engine.type(name) != b"hash" or len(fields := sorted(self.engine.hkeys(name))) < 2:
            return False
        if not _is_ours(self._owner(kind, name)):
            return False
        chosen = self.rng.sample(fields, min(len(fields) - 1, self.rng.randint(1, 3)))  # with the last one it is gone
        pipe = self.engine.pipeline(transaction=True)
        pipe.hgetall(name)
        how = self.rng.randrange(8)
        if how == 0:
            pipe.unlink(name)
            pipe.set(name, b"x")
        elif how < 4:
            pipe.hdel(name, *chosen)
        else:
            pipe.hset(name, mapping={each: self.rng.choice(_nonsense(each)) for each in chosen})
        if how:
            pipe.hgetall(name)
        before, *_, after = pipe.execute()
        if not before:  # it went meanwhile, and what was written now is nobody's
            self.engine.unlink(name)
            return False
        self.done += 1
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        short = name.decode("utf-8", "replace").removeprefix(self.prefix).partition(":")[2]
        if kind == "trigger":
            self.uids.add(short)
        elif kind == "triggers":
            self.uids.update(before[each].decode("utf-8", "replace") for each in chosen if each in before)
        elif kind in ("task", "shard_params"):
            self._note(short, before, after if how else {})
        return True

    def _owner(self, kind: str, name: bytes) -> bytes | None:
        """The app or handler that a record belongs to, if it says so."""
        if kind in OWNED:
            return self.engine.hget(name, OWNED[kind])  # type: ignore[no-any-return]
        if kind != "task" or not (lane := self.engine.hget(name, "lane")):
            return None
        lane_key = K.lane(self.prefix, lane.decode("utf-8", "replace"))
        return self.engine.hget(lane_key, "handler") if self.engine.type(lane_key) == b"hash" else None

    def _note(self, run: str, before: dict[bytes, bytes], after: dict[bytes, bytes]) -> None:
        self.tasks.add(run.partition(".")[0])
        if run in self.unreadable and before.get(b"reason") == b"corrupt":
            self.unreadable.remove(run)  # it had faulted as it should, and says something else from now on
        had_work = before.get(b"state", b"").decode() in STATES - TERMINAL
        if "." not in run and had_work and not _is_readable(after):
            self.unreadable.add(run)


def _nonsense(name: bytes) -> list[bytes]:
    """What nobody could have written into a field, not even a later release."""
    lawful = WORD_FIELDS.get(name.decode("utf-8", "replace"))
    if lawful is None:
        return list(NONSENSE)
    return [value for value in NONSENSE if value.decode("latin-1") in lawful or not LATER_WORD.fullmatch(value)]


def _is_ours(owner: bytes | None) -> bool:
    """Whether a record is of the app that is spoiled, by its app or handler; what was spoiled before may be again."""
    return owner is None or b"/near-" not in owner


def _is_readable(record: dict[bytes, bytes]) -> bool:
    """Whether anybody could act on what a record says; written here once more, so that it can differ from the Lua."""
    facts = {name.decode(): value.decode("utf-8", "replace") for name, value in record.items()}
    if facts.get("state") not in STATES or "lane" not in facts:
        return False
    if facts["state"] in TERMINAL:
        return True
    numbers = [value for name, value in facts.items() if name in NUMBERS]
    return facts.get("place") in PLACES and all(value.isdecimal() and len(value) < 16 for value in numbers)


@row(
    22,
    "records spoiled by hand",
    targets={
        "not_corrupt": "== 0",
        "unfinished": "== 0",
        "innocent_faulted": "== 0",
        "neighbour_late_s": "<= 2",
        "work_after_s": "<= 5",
        "fires_after": "== 1",
        "processes_down": "== 0",
        "failed_calls": "== 0",
        "status_500": "== 0",
        "slowest_script_ms": "<= 100",
        "healed_s": f"<= {HEALED_S:g}",
    },
)
async def spoiled(rig: Rig, scale: Scale) -> Figures:
    """What cannot be acted on faults as corrupt, everything else goes on, and in the end all is whole again."""
    records, rounds = scale.of(1_000, 200), scale.of(40, 10)
    triggers = scale.of(3 * TRIGGERS_MADE, TRIGGERS_MADE)
    apps = await _start(rig)
    vandal = Vandal(rig.engine, rig.prefix, scale.random("vandal"))
    for number in range(triggers):
        rig.trigger(f"every-{number}", 1_000)
    rig.submitter.stream(0.02, "work", {"ms": 50}, retries=2)
    late: list[float] = []
    watching = asyncio.create_task(_watch(rig, apps[0], late))
    began = time.monotonic()
    for _ in range(rounds):
        await _more_work(rig, records // rounds)
        await asyncio.to_thread(vandal.spoil, records // rounds)
        rig.spoiled |= vandal.tasks | vandal.uids
        await wait(0.5)
    spoiled_s = time.monotonic() - began
    await rig.submitter.stop()
    healed_s = await until(lambda: not _waiting(rig), HEALED_S, lambda: f"the end of {_told(rig)}", 0.5)
    work_after_s = max([await _work(rig, app) for app in ("faults", *apps)])
    if watching.done():
        await watching  # it failed, and says why
    watching.cancel()
    new = rig.trigger("new", 500)
    await until(lambda: _fired(rig, new.uid) >= 3, 15.0, "the slots of a new trigger")
    await _end_triggers(rig)
    await _cancel_misfired(rig)
    await rig.settle()
    return _of_tasks(rig, vandal) | {
        "neighbour_late_s": round(max(late, default=99.0), 2),
        "work_after_s": round(work_after_s, 2),
        "fires_after": int(_fired(rig, new.uid) >= 3),
        "processes_down": sum(not process.alive() for process in (*rig.gateways, *rig.triggers, *rig.workers)),
        "failed_calls": sum(any(f'"{word}"' in line for word in FAILED) for line in rig.troubles()),
        "slowest_script_ms": _slowest_script_ms(rig),
        "spoiled_s": round(spoiled_s, 1),
        "healed_s": round(healed_s, 1),
        "told_corrupt": rig.count_events("corrupt"),
        "mended": rig.count_events("mended"),
    }


async def _start(rig: Rig) -> list[str]:
    """The roles, and a worker each for a neighbour in the same partition and for an app in another one."""
    await rig.start(gateways=2, triggers=2, workers=4, concurrency=20)
    neighbour = next(name for name in map("default/near-{}".format, range(999)) if _home(name) == _home(ADDRESS))
    apps = [neighbour.removeprefix("default/"), "far"]
    for app in apps:
        rig.start_worker(env={"FAULTS_APP": app})
        await until(partial(_sessions, rig, app), 30.0, f"the worker of {app}")
    rig.engine.config_set("slowlog-log-slower-than", SLOW_US)
    rig.engine.config_set("slowlog-max-len", 1_000)
    rig.engine.slowlog_reset()
    return apps


def _of_tasks(rig: Rig, vandal: Vandal) -> Figures:
    """What became of spoiled tasks, and of the others."""
    states = {task: _record(rig, task) for task in sorted(vandal.tasks)}
    spared = [states[task] for task in sorted(vandal.unreadable) if states[task].get("reason") != "corrupt"]
    innocent = [each.task for each in rig.submitter.accepted if each.task not in vandal.tasks]
    return {
        "spoiled": vandal.done,
        "spoiled_kinds": vandal.by_kind,
        "unreadable": len(vandal.unreadable),
        "corrupt": sum(state.get("reason") == "corrupt" for state in states.values()),
        "not_corrupt": len(spared),
        "spared": spared[:2],
        "unfinished": sum(state.get("state") not in TERMINAL for state in states.values()),
        "innocent": len(innocent),
        "innocent_faulted": sum(_record(rig, task).get("state") != "run_to_completion" for task in innocent),
        "status_500": sum(_read(rig, task) >= 500 for task in states),
    }


def _slowest_script_ms(rig: Rig) -> float:
    slow = [entry["duration"] for entry in rig.engine.slowlog_get(1_000) if entry["command"].startswith(b"EVALSHA")]
    return round(max(slow, default=0) / 1000, 1)


async def _more_work(rig: Rig, count: int) -> None:
    """Something in every place a task can be in: queued, running, delayed, retrying, sharded."""
    await rig.submitter.burst(count, "work", {"ms": 300})
    await rig.submitter.burst(5, "work", {"ms": 2_000}, run_limit_ms=60_000, queue_limit_ms=600_000)
    await rig.submitter.burst(5, "work", {"ms": 50}, delay_ms=3_000)
    await rig.submitter.burst(5, "fail", {"times": 1}, retries=3, retry_interval_ms=2_000)
    await rig.submitter.burst(1, "work", {"ms": 200}, shards=10)


async def _watch(rig: Rig, app: str, late_s: list[float]) -> None:
    """One task after the other of another app, and how long each took."""
    while True:
        late_s.append(await _work(rig, app))
        await wait(0.2)


async def _work(rig: Rig, app: str) -> float:
    """How long a new task of this app takes."""
    client, began = rig.submitter.client, time.monotonic()
    task = await asyncio.to_thread(lambda: client.submit(app, "work", {"ms": 1}).id)
    await until(lambda: client.task(task).state == "run_to_completion", 30.0, f"the end of a task of {app}", 0.05)
    return time.monotonic() - began


async def _cancel_misfired(rig: Rig) -> None:
    """End what spoiled triggers fired into lanes that nobody serves."""
    for lane in list(rig.engine.scan_iter(match=f"{rig.prefix}activeq:*", count=10_000)):
        for task in rig.engine.zrange(lane, 0, -1):
            await asyncio.to_thread(_status, rig, "POST", f"/v1/tasks/{task.decode()}/cancel", json={})


async def _end_triggers(rig: Rig) -> None:
    """Pause those that were left alone; delete the others, whatever is left of them."""
    left, rig.rules[:] = (
        [rule for rule in rig.rules if rule.uid in rig.spoiled],
        [rule for rule in rig.rules if rule.uid not in rig.spoiled],
    )
    await rig.end_triggers()
    for rule in left:
        await asyncio.to_thread(_status, rig, "DELETE", f"{TRIGGERS}/{rule.name}")


def _waiting(rig: Rig) -> list[str]:
    """Accepted tasks, and spoiled ones but those of spoiled triggers, that are not over."""
    tasks = {*(each.task for each in rig.submitter.accepted), *rig.spoiled} - _misfired(rig)
    return sorted(task for task in tasks if (record := _record(rig, task)) and record.get("state") not in TERMINAL)


def _misfired(rig: Rig) -> set[str]:
    """Spoiled tasks that a spoiled trigger fired: perhaps for labels nobody offers, where they wait as any would."""
    return {task for task in rig.spoiled if task[2:3] == "f" and task[3:10] in rig.spoiled}


def _told(rig: Rig) -> dict[str, Any]:
    """The first of those that are left, and how many there are."""
    left = _waiting(rig)
    return {"count": len(left), **{task: _record(rig, task) for task in left[:3]}}


def _record(rig: Rig, task: str) -> dict[str, str]:
    """The record of a task; one that is no hash has no state."""
    name = K.task(rig.prefix, task)
    if rig.engine.type(name) == b"string":
        return {"state": "a string"}
    return {field.decode(): value.decode("utf-8", "replace") for field, value in rig.engine.hgetall(name).items()}


def _sessions(rig: Rig, app: str) -> list[Any]:
    sessions: list[Any] = rig.request("GET", f"/v1/workers?app={app}")["items"]
    return sessions


def _fired(rig: Rig, uid: str) -> int:
    return int(rig.engine.zcard(K.ledger(rig.prefix, uid)))


def _read(rig: Rig, task: str) -> int:
    return _status(rig, "GET", f"/v1/tasks/{task}")


def _status(rig: Rig, method: str, path: str, **options: Any) -> int:
    """The status of an answer."""
    try:
        rig.request(method, path, **options)
    except ClientError as error:
        return error.status
    return 200


def _home(app: str) -> int:
    return crc32(app.encode()) % PARTITIONS
