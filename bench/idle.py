"""What do all roles use of a core while nothing is to be done?"""

import time
from typing import Final

from bench.figures import Figures, Scale
from bench.question import Measures
from bench.rig import rig

QUESTION = "share of a core that engine, gateway, trigger replica and worker use in 20 s without work"
FULL, SMALL = 20.0, 4.0
SETTLE_S: Final = 3.0


def contenders(scale: Scale) -> Measures:
    seconds = scale.of(FULL, SMALL)
    return {"ours": lambda: measure(seconds)}


def measure(seconds: float) -> Figures:
    with rig() as system:
        system.start_workers(concurrency=10)
        time.sleep(SETTLE_S)
        before = system.cpu_s()
        time.sleep(seconds)
        used = {role: (cpu_s - before[role]) / seconds * 100 for role, cpu_s in system.cpu_s().items()}
    shares: Figures = {f"{role}_percent": round(share, 2) for role, share in used.items()}
    return {"all_percent": round(sum(used.values()), 2)} | shares
