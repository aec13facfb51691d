"""The product on a cluster: all of the API over partitions that lie on different nodes, and what a dead node stops."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from zlib import crc32

import pytest

from examples.demo.topologies import ClusterSystem, Node
from gojob_redis.engine import keys
from gojob_redis.engine.client import Clients, check_engine, connected
from gojob_redis.maintenance.deadlines import Deadlines
from gojob_redis.maintenance.retention import Retire
from gojob_redis.match import Repair
from gojob_redis.planning.planner import Planner
from gojob_redis.replica import Preferences
from gojob_redis.trigger import Fire
from tests.tools.served import PARTITIONS, Served, serving

pytestmark = [pytest.mark.real, pytest.mark.cluster]

EVERY_SECOND = {"kind": "every", "every_ms": 1_000}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSystem]:
    """Three primaries without replicas: what dies stays away."""
    with ClusterSystem(tmp_path_factory.mktemp("cluster"), fsync="no", replicas=0) as system:
        system.start_engine()
        yield system


@pytest.fixture
async def clients(system: ClusterSystem) -> AsyncIterator[Clients]:
    async with connected(system.redis_url, mode="cluster") as clients:
        await check_engine(clients.admin)
        await clients.admin.flushall()
        yield clients


@pytest.fixture
async def served(clients: Clients) -> AsyncIterator[Served]:
    async with serving(clients.commands, remember_s=60.0) as served:
        yield served


def apps_by_partition() -> dict[int, str]:
    """One app in each partition."""
    names = (f"app{number}" for number in range(1_000))
    return {crc32(f"default/{name}".encode()) % PARTITIONS: name for name in names}


def home(system: ClusterSystem, tag: str) -> Node:
    return system.holder_of(keys.slot_of(tag))


async def test_every_partition_takes_triggers_and_tasks_and_shows_them(served: Served) -> None:
    for app in apps_by_partition().values():
        path = f"/v1/apps/default/{app}"
        await served.enlist("send", app=f"default/{app}")
        made = await served.ask("PUT", f"{path}/triggers/tick", {"handler": "send", "schedule": EVERY_SECOND})
        assert made.status_code == 201, made.text
        task = (await served.post(f"{path}/handlers/send/tasks", {"params": [1]}))["id"]
        await served.start(task)
        await served.report(task)

        assert (await served.get(f"/v1/tasks/{task}", wait="1s"))["state"] == "run_to_completion"
        assert [one["name"] for one in (await served.get("/v1/triggers", namespace="default", app=app))["items"]] == [
            "tick"
        ]
        done = await served.get("/v1/tasks", app=app, handler="send", state="run_to_completion")
        assert [one["id"] for one in done["items"]] == [task]
        assert len((await served.get("/v1/workers", app=app))["items"]) == 1
        assert len((await served.get("/v1/queues", app=app))["items"]) == 1


async def test_every_loop_of_a_trigger_replica_visits_all_nodes(served: Served) -> None:
    for app in apps_by_partition().values():
        body = {"handler": "send", "schedule": EVERY_SECOND, "allow_unknown": True, "overlap": "allow"}
        await served.ask("PUT", f"/v1/apps/default/{app}/triggers/tick", body)
    space = served.space
    wall_ms = (await served.get("/v1/info"))["engine_time_ms"]
    space.now_ms = lambda: wall_ms + 2_000
    planner = Planner(space)
    fire = Fire(space, planner)

    await fire.run_once()
    for loop in (planner, Deadlines(space), Repair(space), Retire(space), Preferences(space, "one")):
        await loop.run_once()

    assert fire.fired >= PARTITIONS


async def test_a_dead_node_stops_its_partitions_and_nothing_else(system: ClusterSystem, served: Served) -> None:
    tags = keys.tags(PARTITIONS)
    dead = next(node for node in system.nodes if node is not home(system, keys.CONTROL_TAG) and _homes(system, node))
    lost = {index for index, tag in enumerate(tags) if home(system, tag) is dead}
    apps = apps_by_partition()
    for app in apps.values():
        assert (await _submit(served, app)).status_code == 201
    task = (await _submit(served, apps[next(iter(set(apps) - lost))])).json()["id"]

    dead.kill()
    try:
        assert (await served.ask("GET", "/readyz", kind="")).status_code == 200
        for index in set(apps) - lost:
            assert (await _submit(served, apps[index])).status_code == 201
        planner = Planner(served.space)
        for loop in (planner, Fire(served.space, planner), Deadlines(served.space), Repair(served.space)):
            await loop.run_once()
        await served.ask("POST", f"/v1/tasks/{task}/cancel")
        assert (await served.get(f"/v1/tasks/{task}", wait="5s"))["state"] == "canceled"
    finally:
        system.revive(dead)
        await asyncio.to_thread(system.settled)

    for index in lost:
        assert (await _submit(served, apps[index])).status_code == 201


def _homes(system: ClusterSystem, node: Node) -> list[str]:
    return [tag for tag in keys.tags(PARTITIONS) if home(system, tag) is node]


async def _submit(served: Served, app: str) -> Any:
    return await served.ask("POST", f"/v1/apps/default/{app}/handlers/send/tasks", {"allow_unknown": True})
