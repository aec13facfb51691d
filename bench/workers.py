"""The worker process of the benchmarks. It keeps what it saw in memory, and tells when asked."""

import time

from gojob_sdk import Context, Worker

worker = Worker(app="bench")
began: list[float] = []
"""When the first noop began: wall s, and processor s used until then."""
runs: set[str] = set()
late_ms: list[tuple[int, float]] = []
waited_ms: list[float] = []


@worker.handler("noop")
async def noop(ctx: Context) -> None:
    """Nothing but being counted."""
    if not began:
        began.extend((time.time(), time.process_time()))
    runs.add(ctx.task_id)


@worker.handler("tick")
async def tick(ctx: Context) -> None:
    """What triggers fire."""
    if ctx.slot is not None:
        late_ms.append((ctx.slot, time.time() * 1000 - ctx.slot))


@worker.handler("stamp")
async def stamp(ctx: Context, sent_s: float) -> None:
    """How long ago this was sent, by the clock of the same machine."""
    waited_ms.append((time.time() - sent_s) * 1000)


@worker.handler("drained")
async def drained() -> tuple[float, float, int]:
    """When the first noop began, processor s used since, and how many different tasks ran."""
    return began[0], time.process_time() - began[1], len(runs)


@worker.handler("lateness")
async def lateness() -> list[tuple[int, float]]:
    """Slot and lateness of every tick so far."""
    return late_ms


@worker.handler("waits")
async def waits() -> list[float]:
    return waited_ms


if __name__ == "__main__":
    worker.run()
