"""A worker as a process of its own: signals, exit codes, and loops that its handlers block."""

import asyncio
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
async def process(gateway: Gateway, *, plain: bool = False) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM.format(plain=plain),
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
        await conversation.socket.close(4401, "no such token")

        assert await exit_code(worker) == 1
        assert worker.stderr is not None
        assert b"Refused: " in await worker.stderr.read()
