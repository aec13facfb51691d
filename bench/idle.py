"""What do all roles use of a core while nothing is to be done?"""

import time

from bench.rig import cpu_s, rig

QUESTION = "share of a core that engine, gateway, trigger replica and worker use in 20 s without work"
GOALS = {"all_percent": 2.0}

SECONDS = 20.0
SETTLE_S = 3.0


def measure() -> dict[str, float]:
    with rig() as system:
        worker = system.start_worker(concurrency=10)
        roles = {
            "engine": system.system.engine,
            "gateway": system.system.gateways[0],
            "trigger": system.system.triggers[0],
            "worker": worker,
        }
        time.sleep(SETTLE_S)
        before = {name: cpu_s(process) for name, process in roles.items()}
        time.sleep(SECONDS)
        used = {name: (cpu_s(process) - before[name]) / SECONDS * 100 for name, process in roles.items()}
    shares = {f"{name}_percent": round(share, 2) for name, share in used.items()}
    return {"all_percent": round(sum(used.values()), 2)} | shares
