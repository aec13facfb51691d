"""500 starts a second, one every 2 ms, for 20 s: how late does a handler begin?

Ours: 500 triggers, each firing every second. A peer: as many single starts planned ahead, for 10 s.
"""

import time
from collections.abc import Sequence
from typing import Final

from bench import triggers
from bench.figures import Figures, Scale, lateness
from bench.peers import stage
from bench.peers.table import STEADY
from bench.question import Measures, of_peers
from bench.rig import Rig, rig

QUESTION = "500 starts a second, evenly, for 20 s: handler start after due"
RATE: Final = 500
STEP_MS: Final = 2
FULL, SMALL = 20, 3
FULL_PEERS: Final = 10
EVENLY: Final = range(0, RATE * STEP_MS, STEP_MS)
CONCURRENCY: Final = 200
AHEAD_S: Final = 3
AFTER_S: Final = 1.0
SECOND_OF: Final = 1_000_000
"""What ``tick`` notes is its trigger's number times this, and the second of its slot."""


def contenders(scale: Scale) -> Measures:
    seconds, peers = scale.of(FULL, SMALL), scale.of(FULL_PEERS, SMALL)
    return {
        "ours": lambda: measure(seconds, EVENLY, replicas=1),
        "ours, 3 replicas": lambda: measure(seconds, EVENLY, replicas=3),
    } | of_peers(STEADY, lambda peer: stage.punctual(peer, RATE * peers, STEP_MS, peer.lead_s(RATE * peers)))


def measure(seconds: int, steps_ms: Sequence[int], replicas: int = 1) -> Figures:
    """A trigger for each step, which fires so many ms after every full second."""
    with rig(triggers=replicas) as system:
        system.start_workers(concurrency=CONCURRENCY)
        first_s = int(time.time()) + AHEAD_S
        triggers.define(system, [first_s * 1000 + step for step in steps_ms], every_ms=1000)
        late_s = first_s + seconds
        time.sleep(late_s + AFTER_S - time.time())
        return lateness(fired(system, first_s, late_s), len(steps_ms) * seconds)


def fired(system: Rig, first_s: int, last_s: int) -> dict[int, list[float]]:
    """How late every slot of these seconds began, the last second not among them."""
    by_slot: dict[int, list[float]] = {}
    for number, late_ms in system.notes:
        if first_s % SECOND_OF <= number % SECOND_OF < last_s % SECOND_OF:
            by_slot.setdefault(number, []).append(late_ms)
    return by_slot
