"""The examples of both READMEs do what these say, exactly as they are printed there."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from gojob_sdk.protocol import read_spec
from gojob_sdk.specs import packed_spec
from gojob_sdk.testing import Embedded, embedded

README = Path(__file__).parents[2] / "README.md"
SDK_README = README.parent / "sdk" / "README.md"
READMES = (README, SDK_README)
ID = ("README.md", "sdk/README.md")
EXAMPLE = re.compile(r"<!-- example: (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
WITHIN_S = 30.0


def examples(path: Path) -> dict[str, str]:
    """The marked blocks of a README, by name."""
    return {name: code for name, _language, code in EXAMPLE.findall(path.read_text("utf-8"))}


@pytest.fixture
def server() -> Iterator[Embedded]:
    with embedded() as running:
        yield running


@pytest.fixture
def environment(server: Embedded) -> dict[str, str]:
    """What the README tells its reader to set."""
    told = {"GOJOB_URL": server.url, "GOJOB_TOKEN": server.admin_token, "GOJOB_WORKER_TOKEN": server.worker_token}
    return {**os.environ, **told}


def python(code: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        (sys.executable, "-c", code),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_readmes_mark_their_examples() -> None:
    assert set(examples(README)) == {"worker", "client"}
    assert set(examples(SDK_README)) == {"worker", "client", "testing", "told"}


@pytest.mark.parametrize("readme", READMES, ids=ID)
def test_the_first_example_runs_a_task_and_stops_when_asked(
    readme: Path, server: Embedded, environment: dict[str, str]
) -> None:
    worker = python(examples(readme)["worker"], environment)
    try:
        until(lambda: b'"send"' in handlers(server))

        client = python(examples(readme)["client"], environment)
        said, _ = client.communicate(timeout=WITHIN_S)

        assert (client.returncode, said) == (0, "run_to_completion sent 7\n")
    finally:
        worker.terminate()
        said, _ = worker.communicate(timeout=WITHIN_S)
    assert worker.returncode == 0, said


def test_the_example_of_a_users_own_test_passes(tmp_path: Path) -> None:
    path = tmp_path / "test_send.py"
    path.write_text(examples(SDK_README)["testing"], "utf-8")

    ran = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def handlers(server: Embedded) -> bytes:
    """The handlers of the example's app, as the API tells them."""
    asked = Request(f"{server.url}/v1/queues?app=shop", headers={"Authorization": f"Bearer {server.admin_token}"})
    try:
        with urlopen(asked, timeout=5.0) as answer:
            content: bytes = answer.read()
            return content
    except URLError:
        return b""


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def test_what_the_example_says_of_its_handler_is_what_it_tells() -> None:
    made: dict[str, Any] = {}
    exec(compile(examples(SDK_README)["told"], "README", "exec"), made)

    [handler] = made["worker"].handlers.values()
    told = read_spec(packed_spec("send", handler.facts))
    assert (told["version"], told["description"]) == ("1.4", "Send an order to the customer.")
    assert told["defaults"] == {"retries": 3, "run_limit_ms": 60_000}
    assert told["params"]["required"] == ["order_id"]
