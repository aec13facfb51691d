"""Row 23: trigger replicas and gateways die in the middle of jobs that cancel, retry and delete thousands of tasks."""

import asyncio
from collections import Counter
from typing import Any

from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import prefixes
from gojob_sdk import BulkJob
from tests.faults.rig import ADDRESS, APP, Rig, now_ms, until, wait
from tests.faults.scenario import Figures, Scale, row
from tests.tools.history import Accepted

OVER_S = 120.0
HANDLER = f"/v1/apps/{ADDRESS}/handlers/work"


@row(
    23,
    "kill -9 under jobs",
    targets={
        "canceled_missing": "== 0",
        "retries_missing": "== 0",
        "retries_double": "== 0",
        "deleted_missing": "== 0",
        "deleted_too_many": "== 0",
        "miscounted": "== 0",
    },
    short=True,
)
async def kill_under_jobs(rig: Rig, scale: Scale) -> Figures:
    """Every task is canceled, made again and deleted once, no other is, and the counts are what the keyspace says."""
    count = scale.of(10_000, 2_000)
    await rig.start(gateways=3, triggers=3, workers=2, concurrency=50)
    rig.request("POST", f"{HANDLER}/pause")
    tasks = await rig.submitter.burst(count, "work")
    kills, canceled = await _under_kills(rig, scale, "cancel")
    states = Counter(_states(rig).values())
    kills_under_retry, retried = await _under_kills(rig, scale, "retry", state=["canceled"])
    children = _children(rig)
    rig.submitter.accepted.extend(Accepted(child, now_ms()) for child in children)
    rig.request("POST", f"{HANDLER}/resume")
    settled_s = await rig.settle(within_s=OVER_S)
    parents = Counter(children.values())
    kills_under_delete, deleted = await _under_kills(rig, scale, "delete", kind="tasks", state=["canceled"])
    left = set(_states(rig))
    # What was deleted has no record that could tell how it ended.
    rig.submitter.accepted[:] = [each for each in rig.submitter.accepted if each.task in left or each.task in children]
    return {
        "tasks": len(tasks),
        "kills": kills + kills_under_retry + kills_under_delete,
        "canceled_missing": len(tasks) - states["canceled"],
        "retries_missing": len(set(tasks) - parents.keys()),
        "retries_double": sum(parents.values()) - len(parents),
        "deleted_missing": len(set(tasks) & left),
        "deleted_too_many": len(children.keys() - left),
        "miscounted": abs(canceled.done - states["canceled"])
        + abs(retried.done - len(children))
        + abs(deleted.done - len(set(tasks) - left)),
        "skipped": canceled.skipped + retried.skipped,
        "settled_s": round(settled_s, 1),
    }


async def _under_kills(rig: Rig, scale: Scale, verb: Any, **conditions: Any) -> tuple[int, BulkJob]:
    """A job to its end, while a replica and a gateway die in turn."""
    client, random, kills = rig.submitter.client, scale.random(verb), 0
    job = await asyncio.to_thread(client.bulk, verb, app=APP, handler="work", **conditions)
    over = asyncio.create_task(until(lambda: client.bulk_job(job.id).over, OVER_S, f"the end of {verb}"))
    while not over.done() and kills < scale.of(20, 6):
        victim = random.choice(rig.gateways if kills % 2 else rig.triggers)
        victim.kill()
        await wait(random.uniform(0.05, 0.3))
        rig.system.revive(victim)
        await wait(random.uniform(0.1, 0.5))
        kills += 1
    await over
    return kills, client.bulk_job(job.id)


def _states(rig: Rig) -> dict[str, str]:
    """The state of each task of the app, by its id."""
    return {task: fields["state"] for task, fields in _tasks(rig).items()}


def _children(rig: Rig) -> dict[str, str]:
    """The parent of each task that has one."""
    return {task: fields["parent"] for task, fields in _tasks(rig).items() if fields["parent"]}


def _tasks(rig: Rig) -> dict[str, dict[str, str]]:
    prefix = prefixes(PARTITIONS)[rig.partition]
    names = [name for name in rig.engine.scan_iter(match=f"{prefix}task:*", count=10_000) if b"." not in name]
    pipe = rig.engine.pipeline(transaction=False)
    for name in names:
        pipe.hmget(name, "state", "parent")
    return {
        name.decode().rpartition(":")[2]: {"state": (state or b"").decode(), "parent": (parent or b"").decode()}
        for name, (state, parent) in zip(names, pipe.execute(), strict=True)
    }
