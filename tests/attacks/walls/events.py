"""Events: reading them delays nobody, and a flood of one app's events removes no events of another app."""

import asyncio
import time
from typing import Any

from gojob_redis.domain.limits import PARTITIONS
from gojob_redis.engine.keys import K, prefixes
from tests.attacks.attack import Bystander, attack
from tests.faults.rig import ADDRESS, Rig, until, wait

ENTRIES = 200_000
WRITTEN = 5_000
WRITE = """
for n = 1, ARGV[2] do
  redis.call('XADD', KEYS[1 + n % 2], '*', 'kind', 'faulted', 'wall', ARGV[3], 'task', '00s' .. (ARGV[1] + n),
    'handler', ARGV[4])
end
"""
FLOOD = 2_000
FLOODS_KEPT = 2 * 101
"""Events of one handler in a minute: a hundred and the one that counts the rest, of two kinds."""


@attack("A8-events", "200,000 events: ms for who reads them, and for a request of somebody else", bound="<= 50")
async def many(rig: Rig) -> float:
    """A page reads a bounded number of entries, whatever the log holds and whatever the filter is."""
    await rig.start(workers=0, triggers=0)
    rig.request("PUT", "/v1/apps/default/faults/triggers/t", json=_manual("tick"))
    prefix = prefixes(PARTITIONS)[rig.partition]
    logs = [K.app_events(prefix, ADDRESS), K.events(prefix)]
    now_ms = int(time.time() * 1000)
    for first in range(0, ENTRIES, WRITTEN):
        rig.engine.eval(WRITE, 2, *logs, first, WRITTEN, now_ms, f"{ADDRESS}/tick")
    rig.engine.zadd(K.event_apps(prefix), {ADDRESS: now_ms})
    port, token = rig.gateways[0].port, rig.system.admin_token
    worst_ms = 0.0
    for query in ("limit=100", "kind=none", "kind=none&namespace=default&app=faults"):
        with Bystander(port, f"/v1/events?{query}", token) as reader, Bystander(port) as bystander:
            await wait(2)
        if reader.failed or bystander.failed or len(reader.waits_ms) < 10:
            raise RuntimeError(f"?{query}: {reader.failed} of {len(reader.waits_ms)} were refused")
        worst_ms = max(worst_ms, reader.p99_ms, bystander.worst_ms)
    return worst_ms


@attack("A8-evict", "2,000 failures of one handler: events of others that are gone", bound="== 0", short=True)
async def flood(rig: Rig) -> float:
    """The events of other apps and handlers stay, and one entry counts the flood."""
    await rig.start(workers=0)
    for app, handler in (("faults", "rare"), ("other", "rare")):
        _expire(rig, app, handler, 1)
    await until(lambda: _faulted(rig, "other") == 1 == _faulted(rig, "faults"), 20, "two events")

    began = time.time()
    for _ in range(FLOOD // 1_000):
        await asyncio.to_thread(_expire, rig, "faults", "busy", 1_000)
    prefix = prefixes(PARTITIONS)[rig.partition]
    ended: Any = K.failed(prefix, ADDRESS)
    await until(lambda: rig.engine.zcard(ended) == FLOOD + 1, 40, "the end of the flood")

    minutes = int((time.time() - began) // 60) + 2
    kept = len(_events(rig, "faults"))
    if kept > minutes * FLOODS_KEPT + 2:
        raise RuntimeError(f"the flood left {kept} events")
    shown = [event for app in ("faults", "other") for event in _events(rig, app) if event["kind"] == "faulted"]
    return float(2 - sum(str(event["handler"]).endswith("/rare") for event in shown))


def _manual(handler: str) -> dict[str, Any]:
    return {"handler": handler, "schedule": {"kind": "manual"}, "allow_unknown": True}


def _expire(rig: Rig, app: str, handler: str, count: int) -> None:
    """Submit tasks that no worker serves, and that fault at once."""
    tasks = [{"allow_unknown": True, "queue_limit_ms": 1}] * count
    rig.request("POST", f"/v1/apps/default/{app}/handlers/{handler}/tasks:batch", json={"tasks": tasks})


def _events(rig: Rig, app: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    cursor = ""
    while True:
        query = {"namespace": "default", "app": app, "limit": 500, "cursor": cursor}
        page = rig.request("GET", "/v1/events", params=query)
        events += page["items"]
        if page["next"] is None:
            return events
        cursor = page["next"]


def _faulted(rig: Rig, app: str) -> int:
    return sum(event["kind"] == "faulted" for event in _events(rig, app))
