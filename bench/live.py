"""What does it cost to be listened to?"""

import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, urlsplit

from bench.figures import Figures, Scale
from bench.question import Failed, Measures
from bench.rig import BENCH, NAMESPACE, Rig, rig

QUESTION = "share of a core that gateway and engine use more than without listeners, in 20 s"
FULL, SMALL = 20.0, 3.0
LISTENERS, FEW = 500, 50
TOPICS: Final = 32
SETTLE_S: Final = 2.0
READ_BYTES: Final = 65_536


def contenders(scale: Scale) -> Measures:
    seconds, count = scale.of(FULL, SMALL), scale.of(LISTENERS, FEW)
    return {
        "ours, 500 listeners and nothing happens": lambda: quiet(seconds, count),
        "ours, 500 tasks watched and nothing happens": lambda: watched(seconds, count, run=False),
        "ours, 500 tasks watched while each runs": lambda: watched(seconds, count, run=True),
    }


def quiet(seconds: float, count: int) -> Figures:
    """So many streams of all events."""
    with rig() as system:
        before = _used(system, seconds)
        with _listening(system, [["events"]] * count):
            return _more(before, _used(system, seconds))


def watched(seconds: float, count: int, *, run: bool) -> Figures:
    """So many tasks, each the topic of a stream; if they run, each once in that time."""
    with rig() as system:
        system.start_workers(concurrency=10)
        delays = [round(seconds * 1000 * at / count) if run else 3_600_000 for at in range(count)]
        before = _used(system, seconds, [_submit(system, delay) for delay in delays] if run else ())
        tasks = [_submit(system, round((SETTLE_S + 1) * 1000) + delay) for delay in delays]
        topics = [[f"task:{task}" for task in tasks[at : at + TOPICS]] for at in range(0, count, TOPICS)]
        with _listening(system, topics):
            return _more(before, _used(system, seconds))


def _submit(system: Rig, delay_ms: int) -> str:
    body = {"allow_unknown": True, "delay_ms": delay_ms}
    return str(system.request("POST", f"{NAMESPACE}/{BENCH}/handlers/noop/tasks", json=body)["id"])


def _used(system: Rig, seconds: float, _tasks: Sequence[str] = ()) -> dict[str, float]:
    """Percent of a core by role, from now on."""
    time.sleep(SETTLE_S)
    before = system.cpu_s()
    time.sleep(seconds)
    return {role: (cpu_s - before[role]) / seconds * 100 for role, cpu_s in system.cpu_s().items()}


def _more(before: dict[str, float], after: dict[str, float]) -> Figures:
    return {f"{role}_percent": round(after[role] - before[role], 2) for role in ("gateway", "engine")}


@contextmanager
def _listening(system: Rig, streams: Sequence[Sequence[str]]) -> Iterator[None]:
    """Open streams and take what comes, in a thread of this process."""
    parts = urlsplit(system.system.gateways[0].url)
    selector = selectors.DefaultSelector()
    sockets = []
    for topics in streams:
        query = "&".join(f"topic={quote(topic)}" for topic in topics)
        head = (
            f"GET /v1/stream?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {system.system.admin_token}\r\n\r\n"
        )
        peer = socket.create_connection((str(parts.hostname), parts.port or 80))
        peer.sendall(head.encode())
        sockets.append(peer)
    for peer in sockets:
        if not peer.recv(READ_BYTES).startswith(b"HTTP/1.1 200"):
            raise Failed("a stream was refused")
        selector.register(peer, selectors.EVENT_READ)
    over = threading.Event()

    def take() -> None:
        while not over.is_set():
            for key, _ in selector.select(0.2):
                peer = key.fileobj
                assert isinstance(peer, socket.socket)
                if not peer.recv(READ_BYTES):
                    selector.unregister(peer)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
        if len(selector.get_map()) < len(sockets):
            raise Failed("a stream ended")
    finally:
        over.set()
        thread.join()
        for peer in sockets:
            peer.close()
