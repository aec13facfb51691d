"""For a user's own tests: call a handler without a server, or start a whole one.

def test_send() -> None:
    done = call(send, {"order_id": 7})
    assert done.result == "sent"
    assert done.log == [("info", "sent order 7")]
"""

import asyncio
import contextlib
import inspect
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypedDict, Unpack

from gojob_sdk.client import Options, Task
from gojob_sdk.context import Context, Notebook, current, now_ms
from gojob_sdk.handlers import Handler, handler_of
from gojob_sdk.logs import captured
from gojob_sdk.protocol import Assignment, RunRef, pack_value, unpack_value
from gojob_sdk.runner import packed_result

READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 15.0
MOST_LINES = 100_000
MOST_BYTES = 64 << 20


class About(TypedDict, total=False):
    """What the context of a called handler should say."""

    task_id: str
    shard: int
    shards: int
    shard_param: Any
    attempt: int
    retry: int
    retries: int
    run_limit_s: float
    idempotency_key: str
    fence: int
    trigger: str
    slot: int
    traceparent: str
    canceled: bool
    lost: bool
    timed_out: bool


class Submitted(NamedTuple):
    """A task that a handler submitted."""

    app: str
    handler: str
    params: Any
    options: Mapping[str, Any]


class Submissions:
    """Keeps what a handler submits."""

    app = "test"

    def __init__(self) -> None:
        self.kept: list[Submitted] = []

    def submit(self, run: RunRef, app: str, handler: str, params: Any, **options: Unpack[Options]) -> Task:
        self.kept.append(Submitted(app, handler, params, options))
        return Task(f"{run['run']}-child-{len(self.kept)}", "created")


@dataclass(frozen=True, slots=True)
class Called:
    """What a handler returned and said."""

    result: Any
    log: list[tuple[str, str]] = field(default_factory=list)
    """Level and text of every line, those of ``logging`` included."""
    progress: tuple[float, str] | None = None
    """Percent and message it said last."""
    submitted: list[Submitted] = field(default_factory=list)
    """What it gave to ``ctx.submit``; nothing is really submitted."""


def call(handler: Any, params: Any = None, **about: Unpack[About]) -> Called:
    """Run a handler as a worker would, parameters and result making the same journey; what it raises is raised."""
    bound = handler_of(getattr(handler, "__name__", "handler").strip("_<>") or "handler", handler)
    notebook = Notebook(lambda: None, most_lines=MOST_LINES, most_bytes=MOST_BYTES)
    submissions = Submissions()
    ctx = Context(_assignment(bound.name, params, about), notebook, submissions)
    ctx.canceled, ctx.lost = about.get("canceled", False), about.get("lost", False)
    ctx.timed_out = about.get("timed_out", False)
    with captured(notebook, "debug"):
        result = copy_context().run(_call, bound, ctx)
    return replace(_called(unpack_value(packed_result(result)), notebook), submitted=submissions.kept)


def _call(bound: Handler, ctx: Context) -> Any:
    current.set(ctx)
    result = bound.call(ctx)
    return _run(result) if inspect.iscoroutine(result) else result


def _called(result: Any, notebook: Notebook) -> Called:
    notes = notebook.take()
    log: list[tuple[str, str]] = [(line["level"], line["text"]) for note in notes for line in note.get("log", ())]
    updates = [note["progress"] for note in notes if "progress" in note]
    return Called(result, log, (updates[-1]["percent"], updates[-1]["message"]) if updates else None)


def _assignment(name: str, params: Any, about: About) -> Assignment:
    task_id = about.get("task_id", "test")
    assignment = Assignment(
        run=task_id,
        task=task_id,
        shard=about.get("shard", 0),
        shards=about.get("shards", 1),
        attempt=about.get("attempt", 1),
        fence=f"{about.get('fence', 1)}-test",
        handler=name,
        param=b"" if params is None else pack_value(params),
        retry=about.get("retry", 0),
        retries=about.get("retries", 0),
        run_limit_ms=round(about.get("run_limit_s", 0) * 1000),
        confirm=False,
        key=about.get("idempotency_key", task_id),
        made=now_ms(),
    )
    if "shard_param" in about:
        assignment["shard_param"] = pack_value(about["shard_param"])
    if "trigger" in about:
        assignment["trigger"] = about["trigger"]
    if "slot" in about:
        assignment["slot"] = about["slot"]
    if "traceparent" in about:
        assignment["traceparent"] = about["traceparent"]
    return assignment


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, from a test that is itself async too: then in a thread with a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    ended: list[Any] = []
    context = copy_context()
    thread = threading.Thread(target=lambda: ended.append(context.run(_outcome_of, coroutine)))
    thread.start()
    thread.join()
    result, error = ended[0]
    if error is not None:
        raise error
    return result


def _outcome_of(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    try:
        return asyncio.run(coroutine), None
    except BaseException as error:  # noqa: BLE001 - raised again in the thread of the test
        return None, error


@dataclass(frozen=True, slots=True)
class Embedded:
    """A whole scheduler that runs on this machine until the end of the ``with`` block."""

    url: str
    admin_token: str = field(repr=False)
    worker_token: str = field(repr=False)
    redis_url: str = field(repr=False)
    """The address of its engine. Who can reach the engine controls everything."""
    process: "subprocess.Popen[str]" = field(repr=False)


@contextlib.contextmanager
def embedded(*, ready_within_s: float = READY_WITHIN_S) -> Iterator[Embedded]:
    """Start ``gojob dev`` on a free port and a directory of its own; needs gojob-redis installed beside the SDK."""
    with tempfile.TemporaryDirectory(prefix="gojob-test-") as directory:
        process = subprocess.Popen(
            dev_command(_free_port(), directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield _ready(process, ready_within_s)
        finally:
            _stop(process)


def dev_command(port: int, directory: str) -> tuple[str, ...]:
    """What starts a whole scheduler."""
    return (sys.executable, "-m", "gojob_redis.cli", "dev", "--port", str(port), "--dir", directory, "--json")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _ready(process: "subprocess.Popen[str]", within_s: float) -> Embedded:
    """Wait for the one line of JSON with which ``dev`` says that it is ready."""
    killer = threading.Timer(within_s, process.kill)
    killer.start()
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("{") and '"worker_token"' in line:
                threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
                facts = json.loads(line)
                return Embedded(facts["url"], facts["admin_token"], facts["worker_token"], facts["redis_url"], process)
    finally:
        killer.cancel()
        killer.join()
    raise RuntimeError(f"gojob dev ended with {process.wait()} or was not ready within {within_s} s; see stderr")


def _stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
