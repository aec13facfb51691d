"""``gojob tasks logs`` on a real system, with lines that came from Python's logging."""

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from gojob_redis.cli import main
from gojob_sdk import Client, Context, Worker
from gojob_sdk.testing import Embedded, embedded

pytestmark = pytest.mark.real

WITHIN_S = 20.0
log = logging.getLogger("shop.orders")
go_on = threading.Event()


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return [line.rpartition("] ")[2] for line in self.out.splitlines()]


Logs = Callable[..., Done]


def talk(ctx: Context) -> None:
    """Ten lines, of which every fifth is an error."""
    for number in range(10):
        log.log(logging.INFO if number % 5 else logging.ERROR, "Line %d", number)
    log.warning("first\nsecond\x1b[2J")


def slow(ctx: Context) -> None:
    log.warning("begun")
    assert go_on.wait(WITHIN_S)
    log.warning("went on")


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    before = logging.root.level
    logging.root.setLevel(logging.INFO)  # pytest has handlers there, so the worker leaves it as it is
    with embedded() as server:
        worker = Worker(app="shop", url=server.url, token=server.worker_token)
        worker.add("talk", talk)
        worker.add("slow", slow)
        worker.start()
        yield server
        worker.stop(0)
        worker.wait(WITHIN_S)
    logging.root.setLevel(before)


@pytest.fixture(scope="module")
def client(server: Embedded) -> Iterator[Client]:
    with Client(server.url, server.admin_token) as client:
        yield client


@pytest.fixture(scope="module")
def task(client: Client) -> str:
    """One that has talked."""
    done = client.wait(client.submit("shop", "talk", allow_unknown=True).id, WITHIN_S)
    assert done.state == "run_to_completion"
    return done.id


@pytest.fixture
def logs(server: Embedded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Logs:
    """Runs ``gojob tasks logs``."""
    for name in [name for name in os.environ if name.startswith("GOJOB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOJOB_URL", server.url)
    monkeypatch.setenv("GOJOB_TOKEN", server.admin_token)
    monkeypatch.setattr(main, "log_to_stderr", lambda *_, **__: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["gojob", "tasks", "logs", *arguments])
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return run


ALL = [f"shop.orders Line {number}" for number in range(10)]


def test_following_shows_what_was_logged_and_ends_with_the_task(logs: Logs, task: str) -> None:
    done = logs(task, "-f")

    assert (done.code, done.err) == (0, "")
    assert done.lines == [*ALL, "shop.orders first", "    second\\x1b[2J"]
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--level", "error"), "05"),
        (("--grep", "LINE 7"), "7"),
        (("--grep", "line", "--limit", "3"), "012"),
        (("--grep", "line", "--reverse", "-n", "2"), "98"),
        (("--grep", "line", "--since", "1h", "--until", "2099-01-01T00:00:00Z"), "0123456789"),
        (("--until", "1h"), ""),
        (("--attempt", "2"), ""),
        (("--grep", "line 3", "--attempt", "1"), "3"),
    ],
)
def test_lines_are_chosen(logs: Logs, task: str, options: tuple[str, ...], numbers: str) -> None:
    done = logs(task, *options)

    assert done.code == 0
    assert done.lines == [f"shop.orders Line {number}" for number in numbers]
    assert done.err == ("" if numbers else "Nothing to show.\n")


def test_json_is_a_line_each(logs: Logs, task: str) -> None:
    lines: list[Any] = [json.loads(line) for line in logs(task, "--level", "error", "--json").out.splitlines()]

    assert [(line["text"], line["level"], line["logger"]) for line in lines] == [
        ("Line 0", "error", "shop.orders"),
        ("Line 5", "error", "shop.orders"),
    ]


def test_a_task_that_goes_on_is_followed_to_its_end(logs: Logs, client: Client) -> None:
    go_on.clear()
    task = client.submit("shop", "slow", allow_unknown=True).id
    threading.Timer(1.0, go_on.set).start()

    assert logs(task, "--follow").lines == ["shop.orders begun", "shop.orders went on"]
