"""20,000 queued no-op tasks: how fast do one and two worker processes run them, and what does a task cost?

Ours: one gateway and one worker process, then two of both. A peer: one worker process, then two. The time is that from
the first to the last execution, by the clock of the worker processes. Costs are those of enqueueing and running.
"""

import time
from typing import Final

from bench.figures import Figures, Scale
from bench.meter import MICRO
from bench.peers import stage
from bench.peers.table import QUEUES
from bench.question import Measures, of_peers
from bench.rig import rig, wait_for

QUESTION = "drain of 20,000 queued no-op tasks by one worker process, and by two"
FULL, SMALL = 20_000, 2_000
CONCURRENCY: Final = 500


def contenders(scale: Scale) -> Measures:
    tasks = scale.of(FULL, SMALL)
    return {"ours": lambda: measure(tasks)} | of_peers(QUEUES, lambda peer: stage.drain(peer, tasks))


def measure(tasks: int) -> Figures:
    return drain(tasks, 1) | drain(tasks, 2)


def drain(tasks: int, pairs: int) -> Figures:
    """Through so many gateways, each with a worker."""
    with rig(gateways=pairs) as system:
        life = system.meter.span()
        began = time.monotonic()
        system.submit(tasks)
        fill_s = time.monotonic() - began
        used = system.meter.memory()
        run = system.meter.span()
        system.start_workers(pairs, concurrency=CONCURRENCY, wait=False)
        first = system.executed(1).count
        before = system.cpu_s()
        counted = system.executed(tasks)
        wait_for(lambda: system.ended() >= tasks)
        after = system.cpu_s()
        time.sleep(stage.SETTLE_S)
        (engine_us, commands), (run_us, _) = life.per(tasks), run.per(tasks)
        used_us = {role: (after[role] - before[role]) * MICRO / max(1, tasks - first) for role in after}
        return {
            f"tasks_per_s_{pairs}": round(tasks / counted.seconds),
            f"engine_us_{pairs}": round(engine_us, 1),
            f"engine_run_us_{pairs}": round(run_us, 1),
            f"commands_{pairs}": round(commands, 1),
            f"gateway_us_{pairs}": round(used_us["gateway"], 1),
            f"worker_us_{pairs}": round(used_us["worker"], 1),
            f"trigger_us_{pairs}": round(used_us["trigger"], 1),
            f"enqueued_per_s_{pairs}": round(tasks / fill_s),
            f"bytes_queued_{pairs}": round((used - system.meter.empty) / tasks, 1),
            f"ran_too_often_{pairs}": system.counted.count - tasks,
        }
