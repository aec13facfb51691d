"""logs: what Python's ``logging`` says while a run is the current one, and nothing else."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest

from gojob_sdk.context import Context, Notebook, current
from gojob_sdk.logs import Capture, Captured, captured
from gojob_sdk.protocol import LogLine, decode_worker, encode
from tests.unit.sdk import frames

log = logging.getLogger("shop.orders")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """Levels as they were; pytest has handlers of its own on the root logger."""
    before = logging.root.level
    logging.root.setLevel(logging.DEBUG)
    yield
    logging.root.setLevel(before)
    assert not isinstance(logging.getLogRecordFactory(), Capture)


class Runs:
    """Two runs of a worker."""

    def __init__(self) -> None:
        self.notebook = Notebook(lambda: None)
        self.one = Context(frames.assignment("r1"), self.notebook)
        self.two = Context(frames.assignment("r2"), self.notebook)

    def do(self, call: Callable[[], Any], ctx: Context | None = None) -> Any:
        """Call it as the runner calls a handler."""

        def handler() -> Any:
            current.set(ctx or self.one)
            return call()

        return copy_context().run(handler)

    def lines(self) -> list[LogLine]:
        return [line for note in self.notebook.take() for line in note.get("log", ())]

    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines()]


@pytest.fixture
def runs() -> Runs:
    return Runs()


def test_a_line_has_its_level_logger_and_time(runs: Runs) -> None:
    with captured(runs.notebook, "debug"):
        for level in (5, 10, 20, 25, 30, 40, 50):
            runs.do(partial(log.log, level, "at %d", level))

    lines = runs.lines()
    assert [(line["level"], line["text"]) for line in lines] == [
        ("debug", "at 10"), ("info", "at 20"), ("info", "at 25"), ("warning", "at 30"), ("error", "at 40"),
        ("error", "at 50"),
    ]  # fmt: skip
    assert {line["logger"] for line in lines} == {"shop.orders"}
    assert lines[0]["at"] > 1_700_000_000_000


@pytest.mark.parametrize(
    ("level", "kept"), [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e"), ("off", "")]
)
def test_the_setting_says_from_which_level_on(runs: Runs, level: Captured, kept: str) -> None:
    def say() -> None:
        log.debug("d")
        log.info("i")
        log.warning("w")
        log.error("e")

    with captured(runs.notebook, level):
        runs.do(say)

    assert "".join(runs.texts()) == kept


def test_what_belongs_to_no_run_or_to_the_worker_is_no_line(runs: Runs) -> None:
    other = Runs()

    with captured(runs.notebook, "debug"), captured(other.notebook, "debug"):
        log.info("nobody's")
        runs.do(lambda: logging.getLogger("gojob_sdk").warning("ours"))
        runs.do(lambda: logging.getLogger("gojob_sdk.pump").warning("ours"))
        other.do(lambda: log.info("theirs"))
        runs.do(lambda: log.info("mine"))
    runs.do(lambda: log.info("too late"))

    assert (runs.texts(), other.texts()) == (["mine"], ["theirs"])


async def test_tasks_and_to_thread_belong_to_the_run_that_began_them(runs: Runs) -> None:
    async def handler(ctx: Context, name: str) -> None:
        current.set(ctx)
        await asyncio.gather(asyncio.create_task(later(f"{name} task")), asyncio.to_thread(log.info, f"{name} thread"))
        log.info(f"{name} end")

    async def later(text: str) -> None:
        await asyncio.sleep(0)
        log.info(text)

    with captured(runs.notebook, "debug"):
        await asyncio.gather(
            asyncio.create_task(handler(runs.one, "one")), asyncio.create_task(handler(runs.two, "two"))
        )

    notes = runs.notebook.take()
    assert {note["run"]: sorted(line["text"] for line in note["log"]) for note in notes} == {
        name: [f"{word} end", f"{word} task", f"{word} thread"] for name, word in (("r1", "one"), ("r2", "two"))
    }


def test_threads_and_executors_belong_to_the_run_that_binds_them(runs: Runs) -> None:
    def handler() -> None:
        thread = threading.Thread(target=runs.one.bind(log.info), args=("thread",))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(runs.one.bind(partial(log.info, "pool %d")), range(8)))
            pool.submit(log.info, "not bound").result()

    with captured(runs.notebook, "debug"):
        runs.do(handler)

    assert sorted(runs.texts()) == [*(f"pool {number}" for number in range(8)), "thread"]


def test_a_bound_function_is_called_and_named_as_before(runs: Runs) -> None:
    def add(a: int, *, b: int = 2) -> int:
        """Add."""
        return a + b

    bound = runs.one.bind(add)

    assert (bound(1), bound(1, b=5), bound.__name__, bound.__doc__) == (3, 6, "add", "Add.")
    assert current.get() is None


def test_a_traceback_comes_with_its_line(runs: Runs) -> None:
    def fail() -> None:
        try:
            raise ValueError("no such order")
        except ValueError:
            log.exception("failed")
        log.warning("here", stack_info=True)

    with captured(runs.notebook, "debug"):
        runs.do(fail)

    failed, here = runs.texts()
    assert failed.startswith("failed\nTraceback (most recent call last):")
    assert failed.endswith("ValueError: no such order")
    assert here.startswith("here\nStack (most recent call last):")


class Bad:
    """Cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


def test_arguments_that_cannot_be_shown_do_not_disturb_the_handler(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def say() -> None:
        log.info("%d", "x")
        log.info("%s", Bad())
        log.info(Bad())

    with captured(runs.notebook, "debug"):
        runs.do(say)

    assert runs.texts() == [
        "'%d' (its arguments cannot be shown)",
        "'%s' (its arguments cannot be shown)",
        "(a Bad that cannot be shown)",
    ]


def test_strange_names_and_texts_fit_the_protocol(runs: Runs) -> None:
    def say() -> None:
        strange = logging.getLogger("a\x1b[2J\nb" + "é" * 300)
        strange.propagate = False  # what pytest captures has to be UTF-8
        strange.info("x\ud800" * 20_000)

    with captured(runs.notebook, "debug"):
        runs.do(say)

    frame: Any = {"type": "note", "entries": runs.notebook.take()}
    assert decode_worker(encode(frame)) == frame
    [entry] = frame["entries"]
    assert entry["log"][0]["logger"].startswith("a[2Jbé")


def test_logging_that_is_set_up_stays_as_it_is(runs: Runs) -> None:
    logging.root.setLevel(logging.WARNING)
    assert logging.root.handlers  # those of pytest

    with captured(runs.notebook, "debug"):
        runs.do(lambda: log.info("not asked for"))
        runs.do(lambda: log.warning("asked for"))
        assert logging.root.level == logging.WARNING

    assert runs.texts() == ["asked for"]


def test_where_logging_is_not_set_up_the_root_lets_through_what_is_wanted(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    logging.root.setLevel(logging.WARNING)

    with captured(runs.notebook, "info"):
        runs.do(lambda: log.debug("no"))
        runs.do(lambda: log.info("yes"))
        runs.do(lambda: log.warning("and printed, as before"))
        assert logging.root.handlers == []

    assert logging.root.level == logging.WARNING
    assert runs.texts() == ["yes", "and printed, as before"]
    assert capsys.readouterr().err.splitlines() == ["and printed, as before"]


def test_another_factory_that_came_later_stays(runs: Runs) -> None:
    def other(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return before(*args, **kwargs)

    plain = logging.getLogRecordFactory()
    with captured(runs.notebook, "debug"):
        before = logging.getLogRecordFactory()
        logging.setLogRecordFactory(other)
        runs.do(lambda: log.info("in"))
    runs.do(lambda: log.info("out"))

    assert logging.getLogRecordFactory() is other
    logging.setLogRecordFactory(plain)
    assert runs.texts() == ["in"]
