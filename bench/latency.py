"""200 tasks a second: how long after it was submitted does a handler begin?

Ours goes through HTTP, gateway and websocket; a peer's tasks go through its own client, straight to the engine.
"""

from typing import Final

from bench.figures import Figures, Scale, lateness
from bench.peers import stage
from bench.peers.table import SENDERS
from bench.question import Measures, of_peers
from bench.rig import rig
from bench.sender import waits

QUESTION = "200 tasks/s for 10 s: submit to handler start"
RATE: Final = 200
FULL, SMALL = 10.0, 2.0
FULL_PEERS: Final = 5.0
CONCURRENCY: Final = 100
WARM: Final = 1_000_000
"""Numbers of the tasks that only warm up."""


def contenders(scale: Scale) -> Measures:
    seconds, peers = scale.of(FULL, SMALL), scale.of(FULL_PEERS, SMALL)
    return {"ours": lambda: measure(seconds)} | of_peers(SENDERS, lambda peer: stage.latency(peer, RATE, peers))


def measure(seconds: float) -> Figures:
    with rig() as system:
        system.start_workers(concurrency=CONCURRENCY)
        waits(system, RATE, 1.0, first=WARM)
        late = waits(system, RATE, seconds)
        return lateness({number: [ms] for number, ms in enumerate(late)}, len(late)) | {
            "double": system.counted.count - len(late) - RATE
        }
