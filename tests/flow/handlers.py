"""The worker process of the restart tests: what it runs stands in its journal before it is done."""

import os
import time
from pathlib import Path

from examples.demo.journal import Journal
from gojob_sdk import Context, Worker

worker = Worker(app="demo", concurrency=20)
directory = Path(os.environ["DEMO_JOURNAL"])
journal = Journal(directory, worker.settings.name)


@worker.handler("tick")
def tick(ctx: Context) -> None:
    journal.write("begin", ctx)


@worker.handler("quick")
def quick(ctx: Context, number: int) -> int:
    journal.write("begin", ctx)
    return number


@worker.handler("hold")
def hold(ctx: Context, until: str) -> int:
    """Run until a file of this name appears; returns the attempt."""
    journal.write("begin", ctx)
    while not (directory / until).exists():
        ctx.check()
        time.sleep(0.02)
    return ctx.attempt


if __name__ == "__main__":
    worker.run()
