"""A worker process of the campaign that can also be made to die by what it runs."""

import os

from gojob_sdk import Context
from tests.faults.workers import journal, worker


@worker.handler("abort")
async def abort(ctx: Context) -> None:
    """Die at once, as a crash in native code does."""
    journal.execution(ctx).write("begin")
    os.abort()


if __name__ == "__main__":
    worker.run()
