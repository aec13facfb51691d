"""examples/node-worker: a worker in another language passes the conformance kit, and works with a real system.

It needs Node and what its package.json names; both tests are skipped, with the reason, where one of them is missing.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gojob_redis.conformance.run import chosen, play
from gojob_redis.conformance.stage import Stage
from gojob_redis.engine.embedded import Engine, free_port
from gojob_sdk.client import Client, Submission, Task
from tests.flow.test_node import node

pytestmark = pytest.mark.real

SOURCE = Path(__file__).parents[2] / "examples" / "node-worker"
OLDEST_NODE = 20
INSTALLED_WITHIN_S = 120
WITHIN_S = 30.0
CODE_LINES = 310


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker with its packages, in a directory of its own."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"NO {tool.upper()} ON PATH: the worker in JavaScript was not tried")
    version = subprocess.run(("node", "--version"), capture_output=True, text=True, check=True).stdout
    if int(re.findall(r"\d+", version)[0]) < OLDEST_NODE:
        pytest.skip(f"NODE {version.strip()} IS OLDER THAN {OLDEST_NODE}: the worker in JavaScript was not tried")
    directory = tmp_path_factory.mktemp("node") / "worker"
    shutil.copytree(SOURCE, directory, ignore=shutil.ignore_patterns("node_modules"))
    try:
        subprocess.run(
            ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock"),
            cwd=directory,
            capture_output=True,
            timeout=INSTALLED_WITHIN_S,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"NPM INSTALLED NOTHING, so the worker in JavaScript was not tried: {error}")
    return directory / "worker.js"


@contextmanager
def running(program: Path, url: str, token: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The worker as a process."""
    environment = {**os.environ, "GOJOB_URL": url, "GOJOB_WORKER_TOKEN": token, "GOJOB_WORKER__APP": "shop"}
    process = subprocess.Popen(("node", str(program)), env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(reached: Callable[[], object]) -> None:
    """Wait for a condition that only asking shows."""
    end = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_is_as_short_as_it_says() -> None:
    lines = [line.strip() for path in SOURCE.glob("*.js") for line in path.read_text("utf-8").splitlines()]

    assert sum(bool(line) and not line.startswith("//") for line in lines) <= CODE_LINES


async def test_it_passes_the_conformance_kit(program: Path) -> None:
    async with Stage(["node", str(program)]) as stage:
        got = await play(stage, chosen(""), as_json=True)

    assert {one.id: (one.expected, one.came, one.output) for one in got if one.verdict != "pass"} == {}


def test_it_works_with_a_real_system_and_survives_its_gateway(program: Path, tmp_path: Path) -> None:
    port = str(free_port())
    gateway = ("gateway", "--port", port, "--redis")
    with ExitStack() as stack:
        dev = stack.enter_context(node("dev", "--dir", str(tmp_path / "data"), "--port", "0"))
        stack.callback(_end_engine, tmp_path / "data")
        first = stack.enter_context(node(*gateway, dev.told["redis_url"]))
        worker = stack.enter_context(running(program, first.told["url"], dev.told["worker_token"]))
        client = stack.enter_context(Client(dev.told["url"], dev.told["admin_token"]))

        numbers: list[Submission] = [{"params": number, "allow_unknown": True} for number in range(200)]
        done = [client.wait(id, WITHIN_S) for id in client.submit_many("shop", "echo", numbers)]
        assert [one.result for one in done] == list(range(200))
        assert {_attempts(one) for one in done} == {1}

        parts = client.submit("shop", "echo", "part", shards=12)
        assert client.wait(parts.id, WITHIN_S).ok

        long = client.submit("shop", "sleep", {"ms": 60_000})
        until(lambda: client.task(long.id).state == "running")
        client.cancel(long.id)
        assert client.wait(long.id, WITHIN_S).state == "canceled"

        held = [client.submit("shop", "sleep", {"ms": 4_000}) for _ in range(10)]
        until(lambda: all(client.task(one.id).state == "running" for one in held))
        first.process.kill()
        stack.enter_context(node(*gateway, dev.told["redis_url"]))
        ended = [client.wait(one.id, WITHIN_S) for one in held]
        assert {(one.state, _attempts(one)) for one in ended} == {("run_to_completion", 1)}

        last = client.submit("shop", "sleep", {"ms": 1_000})
        until(lambda: client.task(last.id).state == "running")
        worker.send_signal(signal.SIGTERM)
        assert client.wait(last.id, WITHIN_S).ok
        assert worker.wait(WITHIN_S) == 0


def _attempts(one: Task) -> int:
    return int(one.details["attempt"])


def _end_engine(directory: Path) -> None:
    engine = Engine(directory)
    if engine.attach():
        engine.kill()
