"""A worker as a process of its own: signals, exit codes, and loops that its handlers block."""

import asyncio
import re
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gojob_sdk.protocol import unpack_value
from tests.unit.sdk import frames
from tests.unit.sdk.gateway import DEADLINE_S, Gateway

PROGRAM = """
import asyncio, sys
if {plain}:
    sys.modules["uvloop"] = None
from gojob_sdk import Context, Worker

worker = Worker(app="shop", token="secret")

@worker.handler("sync")
def block(ctx: Context) -> str:
    return sys.stdin.readline().strip()

@worker.handler("async")
async def block_the_loop(ctx: Context) -> str:
    return sys.stdin.readline().strip()

@worker.handler("exit")
async def leave(ctx: Context) -> None:
    sys.exit(3)

worker.run()
"""


@asynccontextmanager
async def process(gateway: Gateway, *, plain: bool = False, before: str = "") -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        before + PROGRAM.format(plain=plain),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"GOJOB_WORKER__URL": gateway.url},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def say(process: Process, text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n".encode())
    await process.stdin.drain()


async def exit_code(process: Process) -> int:
    async with asyncio.timeout(DEADLINE_S):
        return await process.wait()


@pytest.mark.parametrize("handler", ["sync", "async"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("plain", [False, True])
async def test_a_signal_drains_even_when_a_handler_blocks_the_loop(
    handler: str, number: signal.Signals, plain: bool
) -> None:
    async with Gateway() as gateway, process(gateway, plain=plain) as worker:
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1", handler=handler))
        await conversation.expect("start")

        worker.send_signal(number)
        assert await conversation.expect("renew") == {"type": "renew", "capacity": 0}
        await say(worker, "done")
        outcome = await conversation.outcome()
        await conversation.expect("leave")

        assert unpack_value(outcome["result"]) == "done"
        assert await exit_code(worker) == 0


@pytest.mark.parametrize("handler", ["sync"])
async def test_a_second_signal_does_not_wait(handler: str) -> None:
    async with Gateway() as gateway, process(gateway) as worker:
        conversation = await gateway.welcomed()
        await conversation.send(frames.assign("r1", handler=handler))
        await conversation.expect("start")

        worker.send_signal(signal.SIGTERM)
        await conversation.expect("renew")
        worker.send_signal(signal.SIGTERM)
        await conversation.expect("leave")

        assert await exit_code(worker) == 0


async def test_a_handler_that_exits_ends_its_run_and_not_the_worker() -> None:
    async with Gateway() as gateway, process(gateway) as worker:
        conversation = await gateway.welcomed()
        for run in ("r1", "r2"):
            await conversation.send(frames.assign(run, handler="exit"))
            assert (await conversation.outcome())["error"]["type"] == "SystemExit"

        worker.send_signal(signal.SIGTERM)
        await conversation.expect("renew")
        await conversation.expect("leave")
        assert await exit_code(worker) == 0


async def test_a_worker_that_is_refused_ends_with_the_reason() -> None:
    async with Gateway() as gateway, process(gateway) as worker:
        conversation = await gateway.conversation()
        await conversation.expect("hello")
        await conversation.socket.close(4401, "no such \x1btoken")

        assert await exit_code(worker) == 2
        assert worker.stderr is not None
        assert (await worker.stderr.read()).decode().splitlines() == [
            f"gojob: {gateway.url}/v1/worker is gone: no such \\x1btoken"
        ]


async def test_a_worker_tells_what_becomes_of_its_connection() -> None:
    async with Gateway() as gateway, process(gateway) as worker:
        url = f"{gateway.url}/v1/worker"
        first = await gateway.welcomed()
        await first.send(frames.assign("r1", handler="sync"))
        await first.expect("start")
        await first.socket.close(1012, "restarting")
        second = await gateway.welcomed(resumed=True)
        assert worker.stderr is not None
        lines = [(await worker.stderr.readline()).decode() for _ in range(3)]
        worker.send_signal(signal.SIGTERM)
        await second.skip_to("renew")
        await say(worker, "done")
        await second.outcome()
        assert await exit_code(worker) == 0

        lines += (await worker.stderr.read()).decode().splitlines()
        told = [line.strip().split(" gojob: ")[-1] for line in lines]

    assert [re.sub(r" in [\d.]+ s$", "", line) for line in told] == [
        f"connected to {url} as session s1: serves async, exit, sync of default/shop with 10 seats",
        f"{url} is gone: restarting; next attempt",
        f"resumed session s1 at {url}: 1 running",
        "draining: 1 running, for at most 30 s",
        "stopped",
    ]


async def test_a_program_that_set_up_logging_gets_the_log_its_own_way() -> None:
    setup = "import logging\nlogging.basicConfig(level='INFO', format='own %(name)s %(message)s')\n"
    async with Gateway() as gateway, process(gateway, before=setup) as worker:
        await gateway.welcomed()
        worker.send_signal(signal.SIGTERM)
        assert await exit_code(worker) == 0
        assert worker.stderr is not None
        lines = (await worker.stderr.read()).decode().splitlines()

    assert [line.split(" ")[:3] for line in lines if "connected" in line] == [["own", "gojob_sdk", "connected"]]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"GOJOB_WORKER__CONCURRENCY": "many"}, "gojob: concurrency: Input should be a valid integer"),
        ({"GOJOB_URL": "redis://h"}, "gojob: url: 'redis://h' is no ws://"),
        ({"GOJOB_WORKER__LABELS": "gray"}, "gojob: GOJOB_WORKER__LABELS: 'gray' has no '='"),
    ],
)
async def test_a_setting_that_cannot_be_ends_with_a_sentence_and_the_line(variables: dict[str, str], told: str) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM.format(plain=False)), stderr=subprocess.PIPE, env=variables
    )
    _, err = await program.communicate()

    [sentence, place] = err.decode().splitlines()
    assert sentence.startswith(told)
    assert place == "       <string>, line 7"
    assert program.returncode == 2
