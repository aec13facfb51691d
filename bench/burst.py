"""1,000 and 10,000 starts at one moment: how late do handlers begin?"""

import time
from contextlib import suppress
from typing import Final

from bench import triggers
from bench.figures import Figures, Scale, lateness
from bench.lateness import fired
from bench.peers import stage
from bench.peers.table import SCHEDULERS, Peer
from bench.question import Failed, Measures, of_peers
from bench.rig import Rig, rig, wait_for

QUESTION = "1,000 and 10,000 triggers at the same moment: handler start after due"
FULL, SMALL = (1_000, 10_000), (200, 1_000)
CONCURRENCY: Final = 500
AHEAD_S: Final = 2
DEFINED_PER_S: Final = 2_000
SETTLE_S: Final = 0.5


def contenders(scale: Scale) -> Measures:
    counts = scale.of(FULL, SMALL)
    return {
        "ours": lambda: measure(counts, replicas=1),
        "ours, 3 replicas": lambda: measure(counts, replicas=3),
    } | of_peers(SCHEDULERS, lambda peer: _peer(peer, counts))


def measure(counts: tuple[int, int], replicas: int) -> Figures:
    with rig(triggers=replicas) as system:
        system.start_workers(concurrency=CONCURRENCY)
        return _named(FULL[0], _burst(system, counts[0])) | _named(FULL[1], _burst(system, counts[1]))


def _burst(system: Rig, count: int) -> Figures:
    due_s = int(time.time()) + AHEAD_S + count // DEFINED_PER_S
    triggers.define(system, [due_s * 1000] * count, name=f"burst-{count}-")
    if time.time() > due_s:
        raise Failed("defining took too long")
    with suppress(Failed):  # what never came is told as missed
        wait_for(lambda: len(fired(system, due_s, due_s + 1)) >= count, look_s=0.1, within_s=due_s + 10 - time.time())
    time.sleep(SETTLE_S)
    return lateness(fired(system, due_s, due_s + 1), count)


def _peer(peer: Peer, counts: tuple[int, int]) -> Figures:
    figures: Figures = {}
    for named, count in zip(FULL, counts, strict=True):
        figures |= _named(named, stage.punctual(peer, count, 0, peer.lead_s(count)))
    return figures


def _named(count: int, figures: Figures) -> Figures:
    return {f"{name}_{count}": figure for name, figure in figures.items()}
