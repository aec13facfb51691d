"""A gateway that is a process is killed: who listens to its stream goes on at another one and misses nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from examples.demo.processes import System
from gojob_redis.engine.embedded import Engine
from gojob_redis.engine.keys import CONTROL, K, prefixes
from gojob_sdk import Client

pytestmark = pytest.mark.real

APP = "default/demo"
WITHIN_S = 30.0
EVENTS = 600
"""Between two of the kills."""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """An engine and two gateways."""
    with (
        Engine(tmp_path / "engine", port=0) as engine,
        System(tmp_path, port=engine.port or 0, password=engine.password) as system,
    ):
        system.start_gateway()
        system.start_gateway()
        system.ready()
        system.make_tokens()
        yield system


class Teller:
    """Leaves events of an app as a script does, each with its number as its run."""

    def __init__(self, system: System) -> None:
        self.engine = redis.Redis.from_url(system.redis_url)
        partitions = int(self.engine.hget(K.installation(CONTROL), "partitions") or 0)
        self.at = int(self.engine.hget(K.apps(CONTROL), APP) or 0)
        self.prefix = prefixes(partitions)[self.at]
        self.sent: list[str] = []

    def tell(self, count: int) -> None:
        """So many events."""
        for _ in range(count):
            now = self.engine.time()
            wall = int(now[0]) * 1_000
            self.engine.zadd(K.event_apps(self.prefix), {APP: wall})
            entry = bytes(self.engine.xadd(K.app_events(self.prefix, APP), {"wall": wall, "kind": "lost"}))  # type: ignore[arg-type]
            self.engine.xadd(K.changes(self.prefix), {"events": APP})
            self.sent.append(f"{entry.decode()}.{self.at}.{APP}")


def test_who_listens_misses_nothing_and_hears_nothing_twice_when_its_gateway_is_killed(system: System) -> None:
    with Client(system.urls, system.admin_token) as client:
        client.submit("demo", "send", allow_unknown=True)
        teller = Teller(system)
        stream = client.stream(f"events:{APP}")
        heard: list[str] = []
        killed = list(system.gateways)

        def listen() -> None:
            for message in stream:
                assert message.kind == "events"
                heard.extend(event["id"] for event in message.data["items"])
                if len(heard) >= len(killed) * (EVENTS + 10):
                    return

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        until(lambda: stream.position)
        for gateway in killed:
            before = len(heard)
            telling = threading.Thread(target=teller.tell, args=(EVENTS,))
            telling.start()
            until(lambda before=before: len(heard) > before)  # type: ignore[misc]
            gateway.kill()
            telling.join()
            teller.tell(10)
            system.ready(system.start_gateway(port=gateway.port))
            until(lambda: len(heard) >= len(teller.sent))
        listening.join(WITHIN_S)
        stream.close()

    assert heard == teller.sent


def until(reached: Callable[[], object]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + WITHIN_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)
