"""``gojob doctor`` on real engines: healthy ones, and each thing that can be wrong with one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.demo.topologies import ClusterSystem, SentinelSystem
from gojob_redis.control import installation
from gojob_redis.engine.client import Clients, connected
from gojob_redis.engine.embedded import Engine, free_port
from gojob_redis.engine.keys import CONTROL, SCHEMA, K, prefixes
from gojob_redis.engine.partitions import Partitions
from gojob_redis.ops import doctor
from gojob_redis.ops.doctor import Finding, Health
from gojob_redis.runtime.config import RedisSettings, Settings

pytestmark = pytest.mark.real

PREFIXES = prefixes(16)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "data", settings={"maxmemory": "1gb"}) as engine:
        yield engine


@pytest.fixture
async def clients(engine: Engine) -> AsyncIterator[Clients]:
    async with connected(engine.url) as clients:
        await installation.bootstrap_or_open(Partitions(clients, 16))
        yield clients


def settings(**redis: Any) -> Settings:
    return Settings(redis=RedisSettings(**redis))


async def examined(url: str, **redis: Any) -> list[Finding]:
    return await doctor.examine(settings(url=url, **redis), url)


def of(findings: list[Finding], what: str, health: Health = Health.BAD) -> list[str]:
    return [finding.seen for finding in findings if (finding.what, finding.health) == (what, health)]


def earlier(engine: Engine, *, hours: float) -> None:
    """An embedded engine was there so long before."""
    moment = time.time() - 3_600 * hours
    os.utime(engine.directory / "engine.conf", (moment, moment))


async def test_a_healthy_engine_has_nothing_bad_and_says_what_it_risks(engine: Engine, clients: Clients) -> None:
    earlier(engine, hours=2)

    found = await examined(engine.url)

    assert doctor.well(found)
    assert [finding.what for finding in found if finding.health is Health.DOUBTFUL] == ["replicas", "installation"]
    assert {finding.what for finding in found} == {
        *("version", "eviction", "file", "memory", "clock", "replicas", "partitions", "schema", "epochs", "latency"),
        *("installation", "access", "files"),
    }


async def test_an_engine_without_an_installation_is_not_ill(engine: Engine) -> None:
    found = await examined(engine.url)

    assert doctor.well(found)
    assert of(found, "installation", Health.DOUBTFUL) == ["There is none here yet."]


async def test_a_young_installation_is_pointed_at_and_an_old_one_only_told(engine: Engine, clients: Clients) -> None:
    """An engine that was emptied and bootstrapped again looks like any other but for its age."""
    admin: Any = clients.admin
    earlier(engine, hours=2)
    [young] = of(await examined(engine.url), "installation", Health.DOUBTFUL)
    assert "0 minutes ago" in young

    await admin.hset(K.installation(CONTROL), "bootstrapped", "1800000000000")
    await admin.hincrby(K.installation(CONTROL), "bootstrapped", -100_000_000_000)
    assert of(await examined(engine.url), "installation", Health.GOOD) == ["Bootstrapped 2023-11-14 22:13:20 UTC."]


async def test_a_first_start_of_an_embedded_engine_has_lost_nothing(engine: Engine, clients: Clients) -> None:
    for path in engine.directory.iterdir():
        os.utime(path)

    assert of(await examined(engine.url), "installation", Health.DOUBTFUL) == []


async def test_where_none_may_be_bootstrapped_an_engine_without_one_is_bad(engine: Engine) -> None:
    found = await examined(engine.url, bootstrap="never")

    assert of(found, "installation") == ["There is none here, and no start may make one."]


async def test_each_fault_is_named(engine: Engine, clients: Clients) -> None:
    admin: Any = clients.admin
    await admin.config_set("maxmemory-policy", "allkeys-lru")
    await admin.config_set("appendonly", "no")
    await admin.delete(K.meta(PREFIXES[3]))
    await admin.hset(K.meta(PREFIXES[5]), "epoch", "another")

    found = await examined(engine.url)

    assert not doctor.well(found)
    assert of(found, "eviction") == ["With allkeys-lru it deletes tasks when its memory is full."]
    assert len(of(found, "file", Health.DOUBTFUL)) == 1
    assert of(found, "epochs") == ["Partitions 3 lost their data.", "Partitions 5 belong to another installation."]


async def test_another_number_of_partitions_is_named_and_the_stored_ones_are_looked_at(
    engine: Engine, clients: Clients
) -> None:
    found = await examined(engine.url, partitions=8)

    assert of(found, "partitions") == ["It has 16 partitions, and this process is configured for 8."]
    assert len(of(found, "epochs", Health.GOOD)) == 1


async def test_data_of_another_schema_is_named(engine: Engine, clients: Clients) -> None:
    admin: Any = clients.admin
    assert of(await examined(engine.url), "schema", Health.GOOD) == [f"The data has schema {SCHEMA}, as this release."]

    await admin.hset(K.meta(PREFIXES[3]), "schema", SCHEMA + 1)
    found = await examined(engine.url)
    assert not doctor.well(found)
    assert of(found, "schema") == ["The data has schema 2 and 3, and this release works on 2."]

    await admin.hdel(K.meta(PREFIXES[3]), "schema")
    found = await examined(engine.url)
    assert not doctor.well(found)
    assert of(found, "schema") == ["The data has schema 1 and 2, and this release works on 2."]
    assert next(finding.hint for finding in found if finding.what == "schema").startswith("There is no conversion.")


@pytest.mark.parametrize("mode", ["standalone", "cluster", "sentinel"])
async def test_nobody_there_is_a_finding_not_a_traceback(mode: str) -> None:
    service = "/gojob" if mode == "sentinel" else ""
    found = await examined(f"redis://127.0.0.1:{free_port()}{service}", mode=mode)

    assert [(finding.health, finding.what) for finding in found] == [(Health.BAD, "reach")]


def test_the_command_exits_0_or_1_and_speaks_json(engine: Engine) -> None:
    for url, code in ((engine.url, 0), (f"redis://127.0.0.1:{free_port()}", 1)):
        command = [sys.executable, "-m", "gojob_redis.cli", "doctor", "--redis", url, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

        assert done.returncode == code, done.stderr
        told = json.loads(done.stdout)
        assert told["well"] is (code == 0)
        assert {"health", "what", "where", "seen", "hint"} == set(told["findings"][0])


# ---- who else may ----------------------------------------------------------------------------------------------------


async def test_an_embedded_engine_is_closed_on_a_socket_and_on_a_port(tmp_path: Path, engine: Engine) -> None:
    assert of(await examined(engine.url), "access", Health.GOOD) == ["It listens on a Unix socket only."]
    with Engine(tmp_path / "tcp", port=0) as other:
        found = await doctor.examine(settings(url=other.url), other.url, other.directory)

    assert of(found, "access", Health.GOOD) == ["It asks for a password."]
    assert of(found, "files", Health.GOOD) == ["Only its owner may enter it and read its files."]


@pytest.mark.parametrize(
    ("bind", "protected", "health"),
    [
        ("127.0.0.1 -::1", "no", Health.DOUBTFUL),
        ("0.0.0.0", "yes", Health.DOUBTFUL),
        ("0.0.0.0", "no", Health.BAD),
    ],
)
async def test_an_engine_that_asks_for_no_password_is_told_of(
    tmp_path: Path, bind: str, protected: str, health: Health
) -> None:
    open_to_all = {"requirepass": '""', "bind": bind, "protected-mode": protected}
    with Engine(tmp_path / "data", port=0, settings=open_to_all) as engine:
        found = await examined(engine.url)

    [finding] = [finding for finding in found if finding.what == "access"]
    assert finding.health is health
    assert "no password" in finding.seen
    assert "requirepass" in finding.hint


async def test_a_port_beside_the_socket_is_tried_too(tmp_path: Path) -> None:
    port = str(free_port())
    with Engine(tmp_path / "data", settings={"port": port}) as engine:
        found = await examined(engine.url)

    assert len(of(found, "access", Health.DOUBTFUL)) == 1


async def test_a_directory_that_others_may_enter_and_files_that_they_may_read_are_told_of(engine: Engine) -> None:
    (engine.directory / "engine.log").chmod(0o644)
    ajar = await examined(engine.url)
    engine.directory.chmod(0o755)
    wide = await examined(engine.url)

    assert doctor.well(ajar)
    assert of(ajar, "files", Health.DOUBTFUL) == [
        "1 files in it could be read by others if it were opened, such as engine.log."
    ]
    assert of(wide, "files") == ["Other users of this machine may enter it (mode 755)."]


def test_the_command_finds_the_embedded_engine_by_its_directory(tmp_path: Path) -> None:
    with Engine(tmp_path / "data", port=0) as engine:
        command = [sys.executable, "-m", "gojob_redis.cli", "doctor", "--dir", str(engine.directory), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    told = {finding["what"]: finding["seen"] for finding in json.loads(done.stdout)["findings"]}
    assert told["access"] == "It asks for a password."
    assert told["files"] == "Only its owner may enter it and read its files."
    assert engine.password not in done.stdout + done.stderr


# ---- several engines -------------------------------------------------------------------------------------------------


@pytest.mark.cluster
async def test_a_cluster_is_examined_node_by_node_and_as_a_whole(tmp_path: Path) -> None:
    with ClusterSystem(tmp_path, fsync="no", node_timeout_ms=500, replicas=1) as system:
        system.start_engine()
        async with connected(system.redis_url, mode="cluster") as clients:
            await installation.bootstrap_or_open(Partitions(clients, 16))
        healthy = await examined(system.redis_url, mode="cluster")
        lost = system.nodes[1]
        lost.kill()
        system.until(
            lambda: all(node.facts("CLUSTER", "INFO").get("cluster_slots_fail") != "0" for node in system.nodes[::2]),
            "the loss of a node without a replica",
        )
        ill = await examined(system.redis_url, mode="cluster")

    assert doctor.well(healthy)
    assert len([finding for finding in healthy if finding.what == "version"]) == 4
    assert of(healthy, "access", Health.GOOD) == ["It asks for a password."] * 4
    assert of(healthy, "slots", Health.GOOD) == ["All 16384 slots are served."]
    assert of(healthy, "partitions", Health.GOOD)[0].startswith("16, as configured, 5/5/6 on 3 nodes")
    assert len(of(healthy, "replicas", Health.DOUBTFUL)) == 2
    assert of(ill, "slots") == ["Only 10923 of 16384 slots are served."]
    assert [finding.where for finding in ill if finding.what == "reach"] == [f"127.0.0.1:{lost.port}"]
    assert len(of(ill, "epochs")) == 1


async def test_under_sentinels_the_replica_is_examined_too(tmp_path: Path) -> None:
    with SentinelSystem(tmp_path, fsync="no") as system:
        system.start_engine()
        found = await examined(system.redis_url, mode="sentinel")

    assert doctor.well(found)
    assert of(found, "replicas", Health.GOOD) == ["Replicas: 1.", "A replica, in step."]
    assert of(found, "access", Health.GOOD) == ["It asks for a password."] * 2
