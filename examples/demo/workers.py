"""One worker process of the demo. Its address, token, name and labels come from the environment.

Everything a user of gojob has to write is here: a ``Worker``, functions with a name, and ``run``.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from examples.demo.journal import Journal
from examples.demo.library import Hashed, hashed, library
from gojob_sdk import Context, Worker

worker = Worker(app="demo", concurrency=8)
journal = Journal(Path(os.environ["DEMO_JOURNAL"]), worker.settings.name)


@worker.handler("tick")
def tick(ctx: Context) -> None:
    """What the cron trigger fires every second."""
    journal.write("begin", ctx)


@worker.handler("where")
def where(ctx: Context) -> str:
    """Say which worker ran this."""
    journal.write("begin", ctx)
    return journal.worker


@worker.handler("hash")
def hash_library(ctx: Context, pace_s: float = 0.0) -> Hashed:
    """Hash this shard's files of the standard library; ``pace_s``: take at least this long."""
    journal.write("begin", ctx)
    files = library()[ctx.shard :: ctx.shards]
    done = hashed(_paced(ctx, files, pace_s))
    journal.write("end", ctx)
    return done


def _paced(ctx: Context, files: list[Path], pace_s: float) -> Iterator[Path]:
    """Give the files one by one, evenly over the time; a run that should end ends between two of them."""
    began = time.monotonic()
    for number, path in enumerate(files, 1):
        ctx.check()
        yield path
        if pace_s:
            time.sleep(max(0.0, began + pace_s * number / len(files) - time.monotonic()))
        if number % 100 == 0:
            ctx.progress(100 * number / len(files))


if __name__ == "__main__":
    worker.run()
