"""Row 20: a tenth of the workers stop reading what is sent to them."""

import asyncio
from itertools import chain
from statistics import median

import psutil

from tests.faults.crowd import Crowd
from tests.faults.rig import APP, Rig, percentile, wait
from tests.faults.rows.row17_reconnect import home
from tests.faults.scenario import Figures, Scale, row

PARAM = "x" * 3_000
CAPACITY = 50
AWAITED_S = 8.0
"""What was given to the stalled comes back after the accept limit, and is done."""
PIECE = 500
"""Arrivals that one p99 of the typical is taken of: five of them are slower."""


async def measured_with_memory(readers: Crowd, seconds: float, gateway: psutil.Process) -> tuple[list[float], int]:
    """What ``measured`` tells, and the most memory (bytes) that the gateway took meanwhile."""
    measuring = asyncio.create_task(measured(readers, seconds))
    most = gateway.memory_info().rss
    while not measuring.done():
        await wait(0.2)
        most = max(most, gateway.memory_info().rss)
    return await measuring, most


@row(
    20,
    "slow readers among the workers",
    targets={
        "p99_ratio": "<= 1.1",
        "p99_added_ms": "<= 2",
        "gateway_grew_mb": "<= 200",
        "left": "== 0",
        "stalled": ">= 20",
    },
    short=False,
)
async def slow_readers(rig: Rig, scale: Scale) -> Figures:
    """The others do not notice, and what is kept for those that do not read is bounded.

    In turns: where others use the machine too, its p99 changes by a third from one 10 s to the next.
    """
    sockets, stalled = scale.of(1_000, 200), scale.of(100, 20)
    turns, seconds = scale.of(4, 3), scale.of(10.0, 5.0)
    await rig.start(gateways=1, triggers=1, workers=0)
    gateway = psutil.Process(rig.gateways[0].pid)
    readers = Crowd([rig.gateways[0].port], rig.system.worker_token, APP, capacity=CAPACITY, instant=True)
    others = Crowd([rig.gateways[0].port], rig.system.worker_token, APP, capacity=CAPACITY, instant=True)
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    grew = 0
    try:
        readers.add(sockets - stalled)
        others.add(stalled)
        await home(readers, sockets - stalled, 60.0)
        await home(others, stalled, 60.0)
        rig.submitter.stream(0.01, "crowd", PARAM)
        rig.submitter.stream(0.01, "crowd", PARAM)
        await wait(3.0)
        began = gateway.memory_info().rss
        for _ in range(turns):
            alone.append(await measured(readers, seconds))
            for member in others.members:
                member.stall()
            await rig.submitter.burst(4 * sockets, "crowd", PARAM)  # everybody's seats fill
            await wait(1.0)  # it has arrived: what is measured is life beside stalled sockets, not the flood
            latencies, rss = await measured_with_memory(readers, seconds, gateway)
            beside.append(latencies)
            grew = max(grew, rss - began)
            for member in others.members:
                member.hang_up()  # they come back as readers
                member.stalled = False
            await home(others, stalled, 60.0)
            await wait(AWAITED_S)
        alone.append(await measured(readers, seconds))
        await rig.submitter.stop()
        await rig.settle(90.0)
        rig.ended = readers.ended | others.ended
        return {
            "sockets": sockets,
            "stalled": stalled,
            "tasks": len(rig.submitter.accepted),
            "p50_alone_ms": round(median(percentile(each, 0.5) for each in alone), 1),
            "p50_beside_ms": round(median(percentile(each, 0.5) for each in beside), 1),
            "p99_alone_ms": [round(p99(each), 1) for each in alone],
            "p99_beside_ms": [round(p99(each), 1) for each in beside],
            "p99_added_ms": round(median(map(p99, beside)) - median(map(p99, alone)), 1),
            "p99_ratio": round(typical_p99(beside) / max(typical_p99(alone), 1.0), 2),
            "gateway_grew_mb": round(grew / 2**20, 1),
            "cut": {str(code): count for code, count in others.closed.items()},
            "unaccepted": rig.count_events("unaccepted"),
            "left": 0,
        }
    finally:
        await readers.close()
        await others.close()


def p99(arrivals_ms: list[float]) -> float:
    return percentile(arrivals_ms, 0.99)


def typical_p99(times: list[list[float]]) -> float:
    """The median of each 500 in turn: one hiccup of the machine is not the fault of those who do not read."""
    arrivals_ms = list(chain.from_iterable(times))
    pieces = [arrivals_ms[first : first + PIECE] for first in range(0, len(arrivals_ms) - PIECE + 1, PIECE)]
    return median(map(p99, pieces))


async def measured(crowd: Crowd, seconds: float) -> list[float]:
    """How long tasks took to these members, from their creation, in a time."""
    crowd.arrivals_ms = []
    await wait(seconds)
    return list(crowd.arrivals_ms)
