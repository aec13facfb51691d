"""The set-up of the demo: an engine, 2 gateways, 2 trigger replicas, 3 plain workers and a gray one."""

import time
from collections.abc import Callable
from pathlib import Path

from examples.demo.api import Api
from examples.demo.processes import READY_S, NotReady, Process, System

GATEWAYS = 2
TRIGGERS = 2
PLAIN = ("plain-1", "plain-2", "plain-3")
GRAY = "gray-1"
LOOK_S = 0.05


def set_up(system: System, journals: Path, say: Callable[[str], None]) -> Api:
    """Start everything, in the order of dependence, and wait until all workers are connected."""
    journals.mkdir(parents=True, exist_ok=True)
    say("starting the embedded engine")
    system.start_engine()
    say(f"starting {GATEWAYS} gateways and {TRIGGERS} trigger replicas")
    for _ in range(GATEWAYS):
        system.start_gateway()
    for _ in range(TRIGGERS):
        system.start_trigger()
    system.ready()
    system.make_tokens()
    say(f"starting {len(PLAIN)} plain workers and a gray one")
    for name in PLAIN:
        start_worker(system, journals, name)
    start_worker(system, journals, GRAY, labels="env=gray")
    api = Api([gateway.url for gateway in system.gateways], system.admin_token)
    wait_for_workers(api, {GRAY, *PLAIN})
    return api


def start_worker(system: System, journals: Path, name: str, labels: str = "") -> Process:
    """One process of ``workers.py``."""
    return system.start_worker("examples.demo.workers", name=name, labels=labels, DEMO_JOURNAL=str(journals))


def wait_for_workers(api: Api, names: set[str]) -> None:
    """Return when all of these are connected."""
    end = time.monotonic() + READY_S
    while missing := names - set(api.workers()):
        if time.monotonic() > end:
            raise NotReady(f"not connected after {READY_S:g} s: {', '.join(sorted(missing))}")
        time.sleep(LOOK_S)
