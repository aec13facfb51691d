"""Workers as processes for the conformance kit: the SDK's own, and one that breaks the rule it is told to break.

``python -m tests.edge.workers sdk`` serves with the SDK. ``… raw [RULE]`` speaks frames of its own.
"""

import asyncio
import os
import signal
import sys
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gojob_sdk import Context, Worker
from gojob_sdk.protocol import SUBPROTOCOL

SEATS = 4
HANDLERS = ["echo", "fail", "large", "log", "sleep"]


def serve_with_sdk() -> None:
    """Serve what the kit asks for."""
    worker = Worker(app="conformance", concurrency=SEATS)

    @worker.handler("echo")
    async def echo(ctx: Context) -> Any:
        return ctx.params

    @worker.handler("fail")
    async def fail(message: str) -> None:
        raise ValueError(message)

    @worker.handler("sleep")
    async def sleep(ms: int) -> None:
        await asyncio.sleep(ms / 1000)

    @worker.handler("log")
    async def log(ctx: Context, line: str) -> None:
        ctx.log.info(line)
        ctx.progress(50)

    @worker.handler("large")
    async def large(bytes: int) -> str:
        return "x" * bytes

    worker.run()


class Raw:
    """A small worker without the SDK; it keeps only the rules that the tests of wrong workers need.

    wrong: the rule it breaks.
    """

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong
        self.url = os.environ["GOJOB_URL"].replace("http", "ws", 1) + "/v1/worker"
        self.token = os.environ["GOJOB_WORKER_TOKEN"]
        self.session = ""
        self.held: dict[tuple[str, int], dict[str, Any]] = {}
        self.reports: dict[tuple[str, int], dict[str, Any]] = {}
        self.seen: set[tuple[str, int]] = set()
        self.runs: dict[tuple[str, int], asyncio.Task[None]] = {}
        self.socket: ClientConnection | None = None
        self.renewing: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.drain)
        while True:
            try:
                await self.converse()
            except (OSError, ConnectionClosed):
                await asyncio.sleep(0.2)

    def drain(self) -> None:
        os._exit(0)  # in no order at all

    async def converse(self) -> None:
        address = f"{self.url}?token={self.token}" if self.wrong == "token" else self.url
        async with connect(
            address,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {self.token}"},
            compression=None,
        ) as socket:
            if socket.subprotocol is None and self.wrong != "anybody":
                raise OSError("this is no gateway")
            self.socket = socket
            await self.greet()
            try:
                async for data in socket:
                    await self.take(msgpack.unpackb(data))
            finally:
                if self.renewing is not None:
                    self.renewing.cancel()
                self.socket = None

    async def send(self, type: str, **fields: Any) -> None:
        if self.socket is not None:
            await self.socket.send(msgpack.packb({"type": type, **fields}))

    async def greet(self) -> None:
        hello: dict[str, Any] = {
            "protocol": 2,
            "sdk": "raw",
            "namespace": "default",
            "app": "conformance",
            "worker": "w",
            "host": "h",
            "pid": os.getpid(),
            "labels": {},
            "attributes": [],
            "handlers": HANDLERS,
            "capacity": SEATS,
        }
        hello["held"] = [] if self.wrong == "held" else [run | {"started": True} for run in self.held.values()]
        if self.session and self.wrong != "session":
            hello["session"] = self.session
        if self.wrong == "secretive":
            hello["specs"] = ["d" * 22] * len(HANDLERS)
        if self.wrong == "hello":
            del hello["capacity"]
        await self.send("hello", **hello)
        if self.wrong == "impatient":
            await self.send("renew", seq=0, held=0)

    async def renew(self) -> None:
        seq = 0
        while True:
            await asyncio.sleep(0.25)
            seq += 2 if self.wrong == "seq" else 1
            in_kib = {"load": {"memory_bytes": 50_000}} if self.wrong == "load" else {}
            await self.send("renew", seq=seq, held=len(self.held), **in_kib)

    async def take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                self.session = frame["session"]
                self.renewing = asyncio.create_task(self.renew())
                for report in list(self.reports.values()) if self.wrong != "forgets" else []:
                    await self.send("report", outcomes=[report])
            case "assign":
                for run in frame["runs"]:
                    await self.assigned(run)
            case "verdict":
                for run in frame["runs"]:
                    await self.judged(frame["of"], (run["run"], run["attempt"]))
            case "cancel":
                for run in frame["runs"]:
                    await self.canceled((run["run"], run["attempt"]))
            case "sync":
                await self.send("resume", runs=[run | {"started": True} for run in self.held.values()])
            case "move" if self.wrong != "move" and self.socket is not None:
                await self.socket.close()
            case "praise" if self.wrong == "strict":
                raise SystemExit("what is praise?")

    async def assigned(self, run: dict[str, Any]) -> None:
        key = run["run"], run["attempt"]
        if key in self.seen and self.wrong != "doubles":
            return
        self.seen.add(key)
        ref = {name: run[name] for name in ("run", "attempt", "fence")}
        if len(self.held) >= SEATS - (self.wrong == "seats"):
            await self.send("release", runs=[ref], reason="rejected")
            return
        self.held[key] = ref
        if self.wrong == "fence":
            ref["fence"] = "1-wrong"
        if run["confirm"] and self.wrong != "confirm":
            await self.send("start", runs=[ref])
            return
        self.runs[key] = asyncio.create_task(self.run(key, run))
        if run["handler"] == "sleep" and self.wrong != "start":
            await self.send("start", runs=[ref])

    async def run(self, key: tuple[str, int], run: dict[str, Any]) -> None:
        params: Any = msgpack.unpackb(run["param"]) if run["param"] else None
        outcome, result = "ok", run["param"]
        try:
            if run["handler"] == "sleep":
                await asyncio.sleep(params["ms"] / 1000)
        except asyncio.CancelledError:
            outcome, result = "canceled", b""
        if run["handler"] == "large" and self.wrong in ("large", "huge"):
            result = msgpack.packb("x" * params["bytes"] * (8 if self.wrong == "huge" else 1))
        report = self.held[key] | {"outcome": outcome, "started_ms": 1, "ended_ms": 2, "result": result}
        self.reports[key] = report
        await self.send("report", outcomes=[report])

    async def judged(self, of: str, key: tuple[str, int]) -> None:
        if of == "report" and self.wrong != "leaks":
            self.held.pop(key, None)
            self.reports.pop(key, None)

    async def canceled(self, key: tuple[str, int]) -> None:
        if key not in self.held:
            return
        if self.wrong != "acknowledge":
            await self.send("acknowledge", runs=[{"run": key[0], "attempt": key[1]}])
        if key in self.runs and self.wrong != "deaf":
            self.runs[key].cancel()


if __name__ == "__main__":
    if sys.argv[1] == "sdk":
        serve_with_sdk()
    else:
        asyncio.run(Raw("".join(sys.argv[2:3])).serve())
