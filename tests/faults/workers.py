"""One worker process of the campaign; its settings come from the environment, its evidence goes to FAULTS_JOURNAL.

Every handler returns the word of its execution, so that the accepted result tells which execution was accepted.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import get_args

from gojob_sdk import Context, Worker
from gojob_sdk.connection import Happening
from tests.faults.journal import Journal

worker = Worker(app=os.environ.get("FAULTS_APP", "faults"))
journal = Journal(Path(os.environ["FAULTS_JOURNAL"]), worker.settings.name)


@worker.handler("work")
async def work(ctx: Context, ms: int = 0) -> str:
    """Take this long."""
    execution = journal.execution(ctx)
    execution.write("begin")
    try:
        await asyncio.sleep(ms / 1000)
    except asyncio.CancelledError:
        execution.write("canceled")
        raise
    execution.write("end")
    return execution.word


@worker.handler("stubborn")
def stubborn(ctx: Context, ms: int = 0) -> str:
    """Take this long in a thread, and ignore cancels."""
    execution = journal.execution(ctx)
    execution.write("begin")
    time.sleep(ms / 1000)
    execution.write("end")
    return execution.word


@worker.handler("tick")
async def tick(ctx: Context) -> str:
    """What triggers fire."""
    execution = journal.execution(ctx)
    execution.write("begin", "end")
    return execution.word


@worker.handler("fail")
async def fail(ctx: Context, times: int = 1) -> str:
    """Fail this many times, then succeed."""
    execution = journal.execution(ctx)
    execution.write("begin")
    if ctx.retry < times:
        execution.write("failed")
        raise RuntimeError("as asked")
    execution.write("end")
    return execution.word


for happening in get_args(Happening):
    worker.on(happening, lambda event: journal.happened(event.name))

if __name__ == "__main__":
    worker.run()
