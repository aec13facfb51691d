"""Thousands of workers in one process: each a bare socket that speaks just enough of the protocol.

An SDK worker is a process with two threads; ten thousand of them do not fit a test machine. A member says hello,
renews, takes what it is given, holds it until it is told to finish, and comes home with it when its socket breaks.
Frames are masked with zeros, which the protocol allows and which costs nothing.
"""

import asyncio
import base64
import random
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from gojob_sdk import protocol

RENEW_S = 5.0
SOON_S = 1.0
IDLE_S = (1.0, 3.0)
"""As in the SDK: a worker without runs waits, so that workers with runs reconnect first."""


@dataclass(slots=True)
class Crowd:
    """What its members share: where they connect, what they serve, and what they saw."""

    ports: list[int]
    token: str
    app: str
    handler: str = "crowd"
    capacity: int = 1
    instant: bool = False
    """Report each run at once, instead of holding it."""
    members: list["Member"] = field(default_factory=list)
    closed: dict[int, int] = field(default_factory=dict)
    arrivals_ms: list[float] = field(default_factory=list)
    """How long after its creation each task arrived that nobody had been given before."""
    ended: set[str] = field(default_factory=set)
    """Runs whose report was accepted; their records are the first to give way in a long campaign."""
    seen: Callable[["Member", dict[str, Any]], None] | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def add(self, count: int) -> list["Member"]:
        """More members; they connect at once, and again whenever their socket breaks."""
        added = [Member(self, len(self.members) + number) for number in range(count)]
        self.members += added
        for member in added:
            task = asyncio.create_task(member.live())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return added

    @property
    def home(self) -> int:
        """How many have a session on a socket that works."""
        return sum(member.welcomed for member in self.members)

    @property
    def holding(self) -> list["Member"]:
        return [member for member in self.members if member.held]

    def finish(self) -> None:
        """Let every member report what it holds, and everything that it gets from now on."""
        self.instant = True
        for member in self.members:
            member.report(list(member.held.values()))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Member(asyncio.Protocol):
    """One worker."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.number = number
        self.session: str | None = None
        self.held: dict[str, dict[str, Any]] = {}
        self.welcomed = False
        self.welcomed_at = 0.0
        self.sessions = 0
        self.stalled = False
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._open = False
        self._gone = asyncio.Event()
        self._retry_s: float | None = None
        self._seq = 0
        self._timer: asyncio.TimerHandle | None = None

    # --- the socket -----------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Stay connected."""
        loop = asyncio.get_running_loop()
        attempt = self.number
        while True:
            self._gone.clear()
            self._retry_s = None
            attempt += 1
            port = self.crowd.ports[attempt % len(self.crowd.ports)]
            try:
                async with asyncio.timeout(20):
                    await loop.create_connection(lambda: self, "127.0.0.1", port)
            except (OSError, TimeoutError):
                pass
            else:
                await self._gone.wait()
            pause_s = random.uniform(0, SOON_S) if self.held else random.uniform(*IDLE_S)
            await asyncio.sleep(pause_s if self._retry_s is None else self._retry_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer.clear()
        self._open = False
        key = base64.b64encode(random.randbytes(16)).decode()
        lines = [
            f"GET {protocol.PATH} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {protocol.SUBPROTOCOL}",
            f"Authorization: Bearer {self.crowd.token}",
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.welcomed = False
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self.hang_up()
                return
            self._open = True
            self._buffer = bytearray(rest)
            self._hello()
        for opcode, payload in self._messages():
            if opcode == 8:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
                self.crowd.closed[code] = self.crowd.closed.get(code, 0) + 1
                self.hang_up()
                return
            if opcode == 2:
                self._take(msgpack.unpackb(payload))

    def _messages(self) -> Iterable[tuple[int, bytes]]:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:
            size, start = buffer[at + 1] & 127, at + 2
            if size == 126:
                if len(buffer) - at < 4:
                    break
                size, start = struct.unpack_from("!H", buffer, at + 2)[0], at + 4
            elif size == 127:
                if len(buffer) - at < 10:
                    break
                size, start = struct.unpack_from("!Q", buffer, at + 2)[0], at + 10
            if len(buffer) < start + size:
                break
            opcode, payload = buffer[at] & 15, bytes(buffer[start : start + size])
            at = start + size
            yield opcode, payload
        del buffer[:at]

    def send(self, frame: dict[str, Any]) -> None:
        if self._transport is None:
            return
        payload = msgpack.packb(frame)
        size = len(payload)
        head = struct.pack("!BB", 0x82, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x82, 0xFE, size)
        if size > 65_535:
            head = struct.pack("!BBQ", 0x82, 0xFF, size)
        self._transport.write(head + bytes(4) + payload)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def stall(self) -> None:
        """Read nothing more, and go on renewing."""
        self.stalled = True
        if self._transport is not None:
            self._transport.pause_reading()

    # --- the conversation -----------------------------------------------------------------------------------------

    def _hello(self) -> None:
        frame: dict[str, Any] = {
            "type": "hello", "protocol": protocol.VERSIONS[0], "sdk": "crowd",
            "namespace": "default", "app": self.crowd.app, "worker": f"member-{self.number}",
            "host": "here", "pid": 1, "labels": {}, "attributes": [],
            "handlers": [self.crowd.handler], "capacity": self.crowd.capacity,
            "held": [_ref(one) | {"started": True} for one in self.held.values()],
        }  # fmt: skip
        if self.session is not None:
            frame["session"] = self.session
        self.send(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                self._welcome(frame)
            case "assign":
                self._assigned(frame["runs"])
            case "verdict":
                if frame["of"] == "report":
                    for verdict in frame["runs"]:
                        self.held.pop(verdict["run"], None)
                        if verdict["verdict"] in ("accepted", "duplicate"):
                            self.crowd.ended.add(verdict["run"])
            case "sync":
                self.send({"type": "resume", "runs": [_ref(one) | {"started": True} for one in self.held.values()]})
            case "move":
                self._retry_s = random.uniform(0, SOON_S)
                self.hang_up()
            case "error" if "retry_ms" in frame:
                retry_s = frame["retry_ms"] / 1000
                self._retry_s = min(retry_s, SOON_S) if self.held else retry_s

    def _welcome(self, frame: dict[str, Any]) -> None:
        if self.session != frame["session"]:
            self.sessions += 1
            self.held.clear()
        self.session = frame["session"]
        for dropped in frame.get("drop", ()):
            self.held.pop(dropped["run"], None)
        self.welcomed = True
        self.welcomed_at = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(random.uniform(0, RENEW_S), self._renew)
        if self.crowd.instant:
            self.report(list(self.held.values()))

    def _assigned(self, assignments: list[dict[str, Any]]) -> None:
        now_ms = time.time() * 1000
        for one in assignments:
            if one["attempt"] == 1:
                self.crowd.arrivals_ms.append(now_ms - one["made"])
            self.held[one["run"]] = one
        if self.crowd.instant:
            self.report(assignments)
        else:
            self.send({"type": "start", "runs": [_ref(one) for one in assignments]})

    def report(self, assignments: list[dict[str, Any]]) -> None:
        """Report these runs as ended well."""
        if assignments and self.welcomed:
            outcome = {"outcome": "ok", "started_ms": 1, "ended_ms": 2}
            self.send({"type": "report", "outcomes": [_ref(one) | outcome for one in assignments]})

    def _renew(self) -> None:
        self._seq += 1
        self.send({"type": "renew", "seq": self._seq, "held": len(self.held)})
        self._timer = asyncio.get_running_loop().call_later(RENEW_S, self._renew)


def _ref(assignment: dict[str, Any]) -> dict[str, Any]:
    return {name: assignment[name] for name in ("run", "attempt", "fence")}
