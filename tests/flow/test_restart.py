"""Restarting the engine, all gateways and all trigger replicas, in any order: real processes, killed or stopped.

What must be there afterwards: the trigger (every second is fired once), what was queued, what was finished. And workers
keep what they run: no handler begins a second time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest

from examples.demo import evidence, journal
from examples.demo.api import Api
from examples.demo.journal import Line
from examples.demo.processes import System
from examples.demo.stage import wait_for_workers
from gojob_redis.engine.embedded import Engine
from gojob_sdk import Client

ROLES = ("engine", "gateways", "triggers")
QUEUED = 50
FINISHED = 5
WITHIN_S = 40.0
SECOND_MS = 1_000
DRAINED_S = 40.0  # a gateway gives its workers 15 s to move


@dataclass(slots=True)
class Scene:
    """A system, its engine in our hands, and what its workers wrote."""

    system: System
    engine: Engine
    api: Api
    client: Client
    journals: Path

    def lines(self) -> list[Line]:
        return journal.read(self.journals)

    def begun(self, task: str) -> int:
        """How often a handler began for a task."""
        return sum(1 for line in self.lines() if line.task == task)

    def submit(self, handler: str, params: object, **options: object) -> str:
        return self.client.submit("demo", handler, params, **options).id  # type: ignore[arg-type]

    def result(self, task: str) -> object:
        done = self.client.wait(task, WITHIN_S)
        assert done.ok, done
        return done.result

    def start_worker(self, name: str, labels: str = "") -> None:
        self.system.start_worker("tests.flow.handlers", name=name, labels=labels, DEMO_JOURNAL=str(self.journals))

    def kill(self, role: str) -> None:
        """Restart all processes of a role after a crash: all are dead at the same time."""
        if role == "engine":
            self.engine.restart()
        elif role == "gateways":
            ports = [gateway.port for gateway in self.system.gateways]
            for gateway in self.system.gateways:
                gateway.kill()
            self.system.gateways.clear()
            self.system.ready(*[self.system.start_gateway(port=port) for port in ports])
        else:
            for trigger in self.system.triggers:
                trigger.kill()
            self._start_triggers()

    def stop(self, role: str) -> None:
        """Restart all processes of a role in order, gateways one after the other."""
        if role == "engine":
            self.engine.stop()
            self.engine.start()
        elif role == "gateways":
            for gateway in list(self.system.gateways):
                gateway.stop(DRAINED_S)
                assert gateway.popen.returncode == 0, gateway.last_words()
                self.system.gateways.remove(gateway)
                self.system.ready(self.system.start_gateway(port=gateway.port))
        else:
            for trigger in self.system.triggers:
                trigger.stop()
                assert trigger.popen.returncode == 0, trigger.last_words()
            self._start_triggers()

    def _start_triggers(self) -> None:
        self.system.triggers.clear()
        for _ in range(2):
            self.system.start_trigger()


@contextmanager
def set_up(directory: Path) -> Iterator[Scene]:
    """An engine that syncs every write, two of each role, and one worker."""
    journals = directory / "journals"
    journals.mkdir()
    with (
        Engine(directory / "engine", port=0, fsync="always") as engine,
        System(directory, port=engine.port or 0, password=engine.password) as system,
    ):
        for _ in range(2):
            system.start_gateway()
            system.start_trigger()
        system.ready()
        system.make_tokens()
        api = Api([gateway.url for gateway in system.gateways], system.admin_token)
        with Client(system.urls, system.admin_token) as client:
            scene = Scene(system, engine, api, client, journals)
            scene.start_worker("plain")
            wait_for_workers(api, {"plain"})
            yield scene
        api.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with set_up(tmp_path_factory.mktemp("restart")) as made:
        yield made


@pytest.mark.parametrize("order", list(permutations(ROLES)), ids="-".join)
def test_what_was_there_before_all_roles_were_killed_is_there_afterwards_and_goes_on(
    scene: Scene, order: tuple[str, ...]
) -> None:
    goes_on(scene, "-".join(order), scene.kill, order)


def test_what_was_there_before_all_roles_were_stopped_is_there_afterwards_and_goes_on(scene: Scene) -> None:
    goes_on(scene, "stopped", scene.stop, ROLES)


def goes_on(scene: Scene, name: str, restart: Callable[[str], None], order: tuple[str, ...]) -> None:
    """Seed one of each, restart, and look for all of it."""
    first_slot = define_trigger(scene, name)
    finished = {scene.submit("quick", {"number": number}): number for number in range(FINISHED)}
    assert {task: scene.result(task) for task in finished} == finished
    running = scene.submit("hold", {"until": name})
    until(lambda: scene.begun(running) == 1)
    labels = {"order": name}
    queued = {
        scene.submit("quick", {"number": number}, labels=labels, allow_unknown=True): number for number in range(QUEUED)
    }

    for role in order:
        restart(role)

    (scene.journals / name).touch()
    assert scene.result(running) == 1  # still its first attempt
    scene.start_worker(name, labels=f"order={name}")
    assert {task: scene.result(task) for task in queued} == queued
    assert {task: scene.result(task) for task in finished} == finished
    every_second_fired_once(scene, name, first_slot)
    assert {task: scene.begun(task) for task in [running, *queued, *finished]} == dict.fromkeys(
        [running, *queued, *finished], 1
    )


def define_trigger(scene: Scene, name: str) -> int:
    schedule = {"kind": "cron", "spec": "* * * * * *", "time_zone": "UTC"}
    made = scene.api.put_trigger(name, {"handler": "tick", "schedule": schedule, "overlap": "allow"})
    first_slot: int = made["next_times"][0]["at_ms"]
    return first_slot


def every_second_fired_once(scene: Scene, name: str, first: int) -> None:
    last = time.time_ns() // 1_000_000 // SECOND_MS * SECOND_MS - SECOND_MS

    def fires() -> evidence.Fires:
        mine = {slot_task["task"] for slot_task in slots(scene, name)}
        ticks = [line for line in scene.lines() if line.task in mine]
        return evidence.fires(ticks, first, last, scene.api.fired(name))

    until(lambda: not fires().missing)
    assert not fires().double
    assert not fires().astray
    scene.api.pause_trigger(name)
    assert scene.api.request("GET", f"/v1/apps/default/demo/triggers/{name}")["paused"] is True


def slots(scene: Scene, name: str) -> list[dict[str, str]]:
    page = scene.api.request("GET", f"/v1/apps/default/demo/triggers/{name}/slots", params={"limit": 500})
    found: list[dict[str, str]] = page["items"]
    return found


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
