"""20,000 queued no-op tasks, one gateway, one worker process: how fast, and what does a task cost?"""

import time

from bench.rig import MICRO, cpu_s, rig, wait_for

QUESTION = "drain of 20,000 queued no-op tasks through one gateway and one worker process"
GOALS = {"tasks_per_s": -20_000.0, "engine_us": 30.0, "lost": 0.0}

TASKS = 20_000
CONCURRENCY = 500


def measure() -> dict[str, float]:
    with rig() as system:
        system.submit_noops(TASKS)
        gateway, [trigger] = system.system.gateways[0], system.system.triggers
        before = [system.engine_cpu_s(), cpu_s(gateway), cpu_s(trigger)]
        system.start_worker(concurrency=CONCURRENCY)
        wait_for(lambda: system.ended() >= TASKS)
        ended_s = time.time()
        after = [system.engine_cpu_s(), cpu_s(gateway), cpu_s(trigger)]
        began_s, worker_s, ran = system.ask("drained")
        seconds = ended_s - began_s
    engine, edge, loops = ((late - early) * MICRO / TASKS for early, late in zip(before, after, strict=True))
    return {
        "tasks_per_s": round(TASKS / seconds),
        "seconds": round(seconds, 3),
        "engine_us": round(engine, 1),
        "gateway_us": round(edge, 1),
        "worker_us": round(worker_s * MICRO / TASKS, 1),
        "trigger_us": round(loops, 1),
        "lost": TASKS - ran,
    }
