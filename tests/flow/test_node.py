"""Processes of the command line: what they tell when they are ready, what stops them, and how they end."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from gojob_redis.cli import main
from gojob_redis.engine.embedded import Engine, free_port
from gojob_sdk.protocol import SUBPROTOCOL
from tests.tools import engines

pytestmark = pytest.mark.real

WITHIN_S = 20.0
NO_PASSWORD = {"requirepass": '""'}
RUN_NO_WORKER = {"GOJOB_LOG__LEVEL": "info"}


@dataclass(slots=True, eq=False)
class Node:
    """A process of the command line, and what it printed."""

    process: "subprocess.Popen[str]"
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            reader = threading.Thread(target=lines.extend, args=(stream,), daemon=True)
            reader.start()
            self.readers.append(reader)

    @property
    def told(self) -> dict[str, str]:
        """The line of JSON with which it says that it is ready."""
        self.until(lambda: any(line.startswith("{") for line in self.out))
        found: dict[str, str] = json.loads(next(line for line in self.out if line.startswith("{")))
        return found

    def until(self, reached: Callable[[], object]) -> None:
        """Wait for a condition, as long as the process lives."""
        end = time.monotonic() + WITHIN_S
        while not reached():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.text}"
            assert time.monotonic() < end, self.text
            time.sleep(0.01)

    def ended(self) -> int:
        """Its exit code, once it ended."""
        code = self.process.wait(WITHIN_S)
        for reader in self.readers:
            reader.join(5)
        return code

    def stop(self) -> int:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    @property
    def text(self) -> str:
        return "".join(self.out + self.err)

    def logged(self, event: str) -> bool:
        return any(f'"{event}"' in line for line in self.err)

    def http(self) -> httpx2.Client:
        """A client with its admin token."""
        told = self.told
        token = told.get("admin_token", "")
        return httpx2.Client(base_url=told["url"], headers={"Authorization": f"Bearer {token}"}, timeout=WITHIN_S)


@contextmanager
def node(*arguments: str, **variables: str) -> Iterator[Node]:
    """A process that is killed at the end, if it still lives."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GOJOB_")} | variables
    process = subprocess.Popen(
        (sys.executable, "-m", "gojob_redis.cli", *arguments, "--json"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    started = Node(process)
    try:
        yield started
    finally:
        if process.poll() is None:
            process.kill()
        started.ended()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory; an engine that was left in it is ended."""
    yield tmp_path / "data"
    engine = Engine(tmp_path / "data")
    if engine.attach():
        engine.kill()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine of the test's own."""
    with engines.valkey(tmp_path / "engine") as engine:
        yield engine


def define(http: httpx2.Client, name: str = "tick") -> None:
    schedule = {"kind": "every", "every_ms": 200}
    body = {"handler": "send", "schedule": schedule, "allow_unknown": True}
    assert http.put(f"/v1/apps/default/shop/triggers/{name}", json=body).status_code == 201


def test_dev_tells_where_it_is_and_keeps_its_tokens_to_itself(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev, dev.http() as http:
        assert dev.told.keys() == {"url", "admin_token", "worker_token", "redis_url"}
        assert http.get("/readyz").status_code == 200
        for file in ("admin.token", "worker.token", "installation.json"):
            assert stat.S_IMODE((directory / file).stat().st_mode) == 0o600
        assert dev.told["admin_token"] not in "".join(dev.err)

        assert dev.stop() == 0

    assert not Engine(directory).attach()  # its engine ended with it


def test_dev_comes_back_with_its_data_and_the_same_tokens(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev, dev.http() as http:
        first = dev.told
        define(http)
        assert dev.stop() == 0

    with node("dev", "--dir", str(directory), "--port", "0") as dev, dev.http() as http:
        assert (dev.told["admin_token"], dev.told["worker_token"]) == (first["admin_token"], first["worker_token"])
        assert http.get("/v1/apps/default/shop/triggers/tick").json()["revision"] == 1
        assert len(http.get("/v1/tokens").json()["items"]) == 2
        assert dev.stop() == 0


def test_dev_does_not_begin_anew_on_an_emptied_engine(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev:
        assert dev.told
        assert dev.stop() == 0
    for file in (directory / "appendonlydir").iterdir():
        file.unlink()
    (directory / "appendonlydir").rmdir()

    with node("dev", "--dir", str(directory), "--port", "0") as dev:
        assert dev.ended() == main.EXIT_LOST

    assert "it held the installation" in dev.text
    assert not dev.out


def test_dev_goes_on_when_its_engine_was_killed(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev, dev.http() as http:
        define(http)
        pid = json.loads((directory / "engine.json").read_text())["pid"]

        os.kill(pid, signal.SIGKILL)

        dev.until(lambda: sum('"engine.up"' in line for line in dev.err) == 2)
        dev.until(lambda: http.get("/readyz").status_code == 200)
        assert http.get("/v1/apps/default/shop/triggers/tick").status_code == 200
        assert dev.stop() == 0


def test_a_port_that_is_taken_is_said_before_anything_starts(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with node("dev", "--dir", str(directory), "--port", str(port)) as dev:
            assert dev.ended() == 2

    assert f"127.0.0.1:{port} cannot be listened on" in dev.text
    assert not directory.exists()


def test_an_outage_is_two_lines_of_the_log(tmp_path: Path) -> None:
    with (
        Engine(tmp_path / "kept") as engine,
        node("gateway", "--port", "0", "--redis", engine.url) as gateway,
        node("trigger", "--redis", engine.url) as trigger,
        gateway.http() as http,
    ):
        assert trigger.told is not None
        define(http)
        trigger.until(lambda: trigger.logged("replica.begins"))
        before = {role: len(role.err) for role in (gateway, trigger)}

        engine.kill()
        for role in (gateway, trigger):
            role.until(lambda role=role: role.logged("engine.away"))  # type: ignore[misc]
        with pytest.raises(httpx2.HTTPError):
            http.get("/v1/apps/default/shop/triggers/tick", timeout=2.0).raise_for_status()
        engine.start()
        for role in (gateway, trigger):
            role.until(lambda role=role: role.logged("engine.back"))  # type: ignore[misc]

        for role in (gateway, trigger):
            told = [json.loads(line) for line in role.err[before[role] :]]
            assert [line["event"] for line in told] == ["engine.away", "engine.back"]
            assert told[0]["engine"] == told[1]["engine"] != ""
            assert told[1]["seconds"] > 0
            assert role.stop() == 0


def test_a_second_dev_says_that_it_attached_to_the_engine_and_leaves_it_to_the_first(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev:
        assert "attached" not in dev.told
        with node("dev", "--dir", str(directory), "--port", "0") as second:
            assert second.told["attached"]
            assert second.told["redis_url"] == dev.told["redis_url"]
            assert second.stop() == 0
        assert not dev.logged("engine.away")
        assert dev.stop() == 0

    assert not Engine(directory).attach()


def test_a_dev_ends_the_engine_that_a_killed_one_left(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev:
        assert dev.told
        dev.process.kill()
        dev.ended()

    with node("dev", "--dir", str(directory), "--port", "0") as dev:
        assert dev.told["attached"]
        assert dev.stop() == 0

    assert not Engine(directory).attach()


def test_a_gateway_waits_for_its_engine(tmp_path: Path) -> None:
    port = free_port()
    with node("gateway", "--port", "0", "--redis", f"redis://127.0.0.1:{port}") as gateway:
        gateway.until(lambda: gateway.logged("engine.waiting"))
        with Engine(tmp_path / "late", port=port, fsync=None, settings=NO_PASSWORD), gateway.http() as http:
            assert http.get("/readyz").status_code == 200
            assert gateway.stop() == 0


def test_a_worker_that_is_not_let_in_is_no_error_of_the_server(engine: Engine) -> None:
    with node("gateway", "--port", "0", "--redis", engine.url) as gateway:
        url = f"{gateway.told['url'].replace('http', 'ws')}/v1/worker"
        headers = {"Authorization": "Bearer x"}
        with pytest.raises(InvalidStatus, match="401"):
            connect(url, additional_headers=headers, subprotocols=[Subprotocol(SUBPROTOCOL)])
        assert gateway.stop() == 0

    assert [line for line in gateway.err if line.startswith("ERROR")] == []


def test_a_gateway_that_waits_can_be_ended() -> None:
    with node("gateway", "--port", "0", "--redis", f"redis://127.0.0.1:{free_port()}") as gateway:
        gateway.until(lambda: gateway.logged("engine.waiting"))

        assert gateway.stop() == 0


def test_only_the_first_gateway_of_an_installation_prints_an_admin_token(engine: Engine) -> None:
    with (
        node("gateway", "--port", "0", "--redis", engine.url) as first,
        node("gateway", "--port", "0", "--redis", engine.url) as second,
    ):
        told = [first.told.get("admin_token"), second.told.get("admin_token")]
        assert sum(token is not None for token in told) == 1
        token = told[0] or told[1]
        for gateway in (first, second):
            answer = httpx2.get(f"{gateway.told['url']}/v1/tokens", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200
            assert gateway.stop() == 0


def test_a_process_with_another_number_of_partitions_does_not_start(engine: Engine) -> None:
    with node("trigger", "--redis", engine.url) as trigger:
        trigger.until(lambda: trigger.logged("replica.begins"))
        assert trigger.stop() == 0

    with node("trigger", "--redis", engine.url, GOJOB_REDIS__PARTITIONS="8") as trigger:
        assert trigger.ended() == 2

    assert "has 16 partitions, and this process was told 8" in trigger.text


def test_a_trigger_replica_shows_its_health_where_it_is_asked_to(engine: Engine) -> None:
    with node("trigger", "--redis", engine.url, "--port", "0") as trigger:
        url = trigger.told["url"]
        assert httpx2.get(f"{url}/livez").status_code == 200
        assert httpx2.get(f"{url}/readyz").status_code == 200
        assert httpx2.get(f"{url}/metrics").status_code == 401
        assert httpx2.get(f"{url}/v1/tokens").status_code == 401
        assert trigger.stop() == 0


def test_roles_on_one_engine_fire_what_was_defined_through_the_api(engine: Engine) -> None:
    with (
        node("gateway", "--port", "0", "--redis", engine.url) as gateway,
        node("trigger", "--redis", engine.url) as trigger,
        gateway.http() as http,
    ):
        define(http)

        def fired() -> Any:
            items = http.get("/v1/apps/default/shop/triggers/tick/slots").json()["items"]
            return [item for item in items if item["word"] == "fired"]

        gateway.until(fired)
        assert trigger.stop() == 0
        assert gateway.stop() == 0


def test_a_role_stops_loudly_when_its_engine_is_emptied(engine: Engine) -> None:
    with node("trigger", "--redis", engine.url) as trigger:
        trigger.until(lambda: trigger.logged("replica.begins"))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(engine.socket))
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(64).startswith(b"+OK")

        assert trigger.ended() == main.EXIT_LOST

    assert "holds no epoch" in trigger.text


def test_a_role_that_stops_loudly_ends_with_a_sentence_and_no_traceback(engine: Engine) -> None:
    with node("gateway", "--port", "0", "--redis", engine.url) as gateway:
        assert gateway.told
        engine.restart()  # it keeps nothing

        assert gateway.ended() == main.EXIT_LOST

    assert "Traceback" not in gateway.text
    assert gateway.err[-2].startswith("gojob: now: the engine holds no epoch")


def test_a_role_that_may_not_bootstrap_refuses_an_empty_engine_until_somebody_bootstraps_it(engine: Engine) -> None:
    with node("trigger", "--redis", engine.url, GOJOB_REDIS__BOOTSTRAP="never") as trigger:
        assert trigger.ended() == main.EXIT_LOST
    assert "gojob bootstrap" in trigger.text

    for told in ("made", "was there already"):
        command = [sys.executable, "-m", "gojob_redis.cli", "bootstrap", "--redis", engine.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, told in done.stdout) == (0, True), done.stderr

    with node("trigger", "--redis", engine.url, GOJOB_REDIS__BOOTSTRAP="never") as trigger:
        trigger.until(lambda: trigger.logged("replica.begins"))
        assert trigger.stop() == 0


def test_the_end_lets_a_long_poll_go(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev, dev.http() as http:
        made = http.post("/v1/apps/default/shop/handlers/send/tasks", json={"allow_unknown": True}).json()
        answers: list[Any] = []
        poll = threading.Thread(target=lambda: answers.append(http.get(f"/v1/tasks/{made['id']}?wait=60s")))
        poll.start()
        dev.until(lambda: "gojob_long_polls 1.0" in http.get("/metrics").text)
        began = time.monotonic()

        assert dev.stop() == 0

        poll.join(WITHIN_S)
        assert time.monotonic() - began < 10
        assert answers[0].json()["state"] == "created"


def test_the_command_line_speaks_to_the_api(directory: Path) -> None:
    with node("dev", "--dir", str(directory), "--port", "0") as dev:
        told = dev.told
        variables = {"GOJOB_URL": told["url"], "GOJOB_TOKEN": told["admin_token"], "GOJOB_APP": "shop"}

        def gojob(*arguments: str) -> Any:
            done = CliRunner().invoke(main.app, [*arguments, "--json"], env=variables)
            assert done.exit_code == 0, (done.output, done.exception)
            return json.loads(done.output)

        made = gojob(
            "triggers", "set", "nightly", "-H", "send", "--cron", "30 2 * * *", "--zone", "UTC", "--allow-unknown"
        )
        assert made["schedule"] == {"kind": "cron", "spec": "30 2 * * *", "time_zone": "UTC"}
        assert [each["name"] for each in gojob("triggers", "list")["items"]] == ["nightly"]
        run = gojob("triggers", "run", "nightly")["id"]
        task = gojob("tasks", "submit", "send", "-p", '{"a": 1}', "-l", "env=gray", "--allow-unknown")["id"]
        assert gojob("tasks", "show", task)["params"] == {"a": 1}
        assert [each["id"] for each in gojob("tasks", "list", "--handler", "send")["items"]] == [run, task]
        assert gojob("tasks", "cancel", task)["outcome"] == "canceled"
        assert gojob("tasks", "retry", task)["state"] == "created"
        assert len(gojob("preview", "--every", "90s")["next_times"]) == 10
        assert gojob("token", "create", "worker", "--scope", "default/shop")["scope"] == ["default/shop"]
        assert gojob("token", "create", "admin", "--redis", told["redis_url"])["kind"] == "admin"
        for command in (["queues", "list"], ["workers", "list"], ["namespaces", "list"], ["token", "list"]):
            assert "items" in gojob(*command)
        for command in (["tasks", "show", task], ["triggers", "list"], ["token", "list"]):
            assert CliRunner().invoke(main.app, command, env=variables).exit_code == 0

        wrong = CliRunner().invoke(main.app, ["tasks", "submit", "snd", "--json"], env=variables)
        assert wrong.exit_code != 0
        assert dev.stop() == 0
