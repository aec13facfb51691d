"""A TCP proxy between any two roles, with the faults of a network.

1. ``Proxy`` copies bytes. ``cut`` resets all connections and refuses new ones; ``hold`` keeps connections open and lets
   nothing through in one direction or both (half-open, one-way), as lost packets do, whose retransmissions arrive when
   the network heals; ``delay_s`` delays everything.
2. ``EngineProxy`` understands RESP, so that it can do to whole replies what a network and a crash do. *Dropped*: the
   engine executed the command and the answer is lost with its connection (half of them silently, until the client's
   own timeout). *Doubled*: the command arrives twice, as when a client repeats what had already taken effect; one
   answer is passed on, because TCP delivers none twice. *Late*: the answer comes after up to twice the client's
   timeout. *Hints lost*: what stands in the inboxes never reaches the gateway.
3. Each proxy has a thread and a loop of its own: a scenario that blocks must not look like a slow network.
"""

import asyncio
import random
import re
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

HOST = "127.0.0.1"
CHUNK = 65_536
Direction = Literal["up", "down"]
"""up: towards the target."""


class Valve:
    """Lets bytes through, or holds them back until it is opened again."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.delay_s = 0.0

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        await self._open.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)


class Proxy:
    """Listens on a port of its own and passes everything on to the target."""

    def __init__(self, target: int, *, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.refusing = False
        self.accepted = 0
        self.valves: dict[Direction, Valve] = {"up": Valve(), "down": Valve()}
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy to {self.target}", daemon=True)
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    # --- faults ---------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection and refuse new ones until ``heal``."""
        self.refusing = True
        self.reset()

    def reset(self) -> None:
        """Reset every connection; new ones are welcome."""
        self._call(self._reset)

    def hold(self, *directions: Direction) -> None:
        """Let nothing through in these directions (both, if none is named); connections stay open."""
        for direction in directions or ("up", "down"):
            self._call(self.valves[direction].shut)

    def delay(self, seconds: float) -> None:
        """Delay every chunk, both ways."""
        for valve in self.valves.values():
            valve.delay_s = seconds

    def heal(self) -> None:
        """No fault any more; what was held back goes on."""
        self.refusing = False
        for valve in self.valves.values():
            valve.delay_s = 0.0
            self._call(valve.open)

    # --- its own thread -------------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(10.0)

    def _call(self, work: Callable[[], None]) -> None:
        async def call() -> None:
            work()

        self._do(call())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            if self.refusing:
                return
            for valve in self.valves.values():
                await valve.passed()
            there, back = await asyncio.open_connection(HOST, self.target)
            self._writers.add(back)
            try:
                await self._converse(reader, back, there, writer)
            finally:
                self._writers.discard(back)
                back.transport.abort()
        except OSError:
            pass  # either side is gone: so is the other
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _converse(
        self,
        from_client: asyncio.StreamReader,
        to_target: asyncio.StreamWriter,
        from_target: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
    ) -> None:
        """Copy both ways until either side ends."""
        await first_of(
            self._copy(from_client, to_target, self.valves["up"]),
            self._copy(from_target, to_client, self.valves["down"]),
        )

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, valve: Valve) -> None:
        while data := await reader.read(CHUNK):
            await valve.passed()
            writer.write(data)
            await writer.drain()


async def first_of(*halves: Coroutine[Any, Any, None]) -> None:
    """Run these until one of them ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(half) for half in halves]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ---- replies as a whole ----------------------------------------------------------------------------------------------


class Incomplete(Exception):
    """More bytes are needed."""


def end_of_value(data: bytes | bytearray, at: int) -> int:
    """Where the RESP value that begins here ends; raises Incomplete."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind = data[at : at + 1]
    after = end + 2
    if kind in b"$!=":
        size = int(data[at + 1 : end])
        after += size + 2 if size >= 0 else 0
        if after > len(data):
            raise Incomplete
    elif kind in b"*~>%|":
        count = int(data[at + 1 : end]) * (2 if kind in b"%|" else 1) + (kind == b"|")
        for _ in range(count):
            after = end_of_value(data, after)
    return after


@dataclass(slots=True)
class Values:
    """Cuts a stream into whole values."""

    reader: asyncio.StreamReader
    _data: bytearray = field(default_factory=bytearray)

    async def next(self) -> bytes:
        """The next value, whole; b"" at the end."""
        while True:
            if self._data:
                with suppress(Incomplete):
                    end = end_of_value(self._data, 0)
                    value = bytes(self._data[:end])
                    del self._data[:end]
                    return value
            chunk = await self.reader.read(CHUNK)
            if not chunk:
                return b""
            self._data += chunk


def words_of(command: bytes, most: int = 3) -> list[bytes]:
    """The first words of a command."""
    parts = command.split(b"\r\n", 2 * most + 1)
    return parts[2 : 2 * most + 1 : 2]


Fate = Literal["pass", "drop", "double", "swallow", "late", "blank"]
QUIET = (b"HELLO", b"CLIENT", b"AUTH", b"SELECT", b"INFO")
"""What opens a connection; a fault there would only look like a connection that failed."""
NULL = b"_\r\n"
HINTS = re.compile(rb"\*\d+\r\n\$\d+\r\n(?:run|cancel|sync|moved)\x1f.*\Z", re.DOTALL)
"""The hints at the end of the answer to a submission or a report."""
NO_HINTS = b"*0\r\n"


@dataclass(slots=True)
class Faults:
    """How many replies of each thousand suffer what."""

    drop: float = 0.0
    double: float = 0.0
    late: float = 0.0
    late_s: float = 10.0
    lose_hints: bool = False


class EngineProxy(Proxy):
    """A proxy before the engine that knows commands from replies. login: what stands before the host in its url."""

    def __init__(self, target: int, *, seed: int = 0, port: int = 0, login: str = "") -> None:
        super().__init__(target, port=port)
        self.login = login
        self.faults = Faults()
        self.counts: dict[str, int] = {"pass": 0, "drop": 0, "double": 0, "late": 0, "blank": 0, "emptied": 0}
        self._random = random.Random(seed)

    def fate(self, words: list[bytes]) -> Fate:
        """What becomes of this command and its reply; drawn by chance, the same for the same seed."""
        verb, faults = words[0].upper(), self.faults
        if verb in QUIET:
            return "pass"
        if verb == b"XREAD" and faults.lose_hints:
            return "blank"
        chance = self._random.random()
        if chance < faults.drop:
            return "drop"
        if chance < faults.drop + faults.late:
            return "late"
        if chance < faults.drop + faults.late + faults.double and verb in (b"EVALSHA", b"EVAL"):
            return "double"
        return "pass"

    async def _converse(
        self,
        from_client: asyncio.StreamReader,
        to_target: asyncio.StreamWriter,
        from_target: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
    ) -> None:
        fates: deque[Fate] = deque()
        await first_of(
            self._commands(Values(from_client), to_target, fates),
            self._replies(Values(from_target), to_client, fates),
        )

    async def _commands(self, commands: Values, to_target: asyncio.StreamWriter, fates: deque[Fate]) -> None:
        while command := await commands.next():
            fate = self.fate(words_of(command))
            self.counts[fate] += 1
            fates.append(fate)
            await self.valves["up"].passed()
            to_target.write(command)
            if fate == "double":
                fates.append("swallow")
                to_target.write(command)
            await to_target.drain()

    async def _replies(self, replies: Values, to_client: asyncio.StreamWriter, fates: deque[Fate]) -> None:
        while reply := await replies.next():
            if reply[:1] == b">":
                to_client.write(reply)
                continue
            fate = fates.popleft() if fates else "pass"
            if fate == "swallow":
                continue
            if fate == "drop":
                if self._random.random() < 0.5:
                    return
                await asyncio.Event().wait()
            if fate == "late":
                await asyncio.sleep(self._random.uniform(0.0, self.faults.late_s))
            await self.valves["down"].passed()
            # Also a read that was under way when the hints began to be lost.
            blank = fate == "blank" or (self.faults.lose_hints and b"inbox:" in reply)
            to_client.write(NULL if blank else self._without_hints(reply) if self.faults.lose_hints else reply)
            await to_client.drain()

    def _without_hints(self, reply: bytes) -> bytes:
        rest, count = HINTS.subn(NO_HINTS, reply)
        self.counts["emptied"] += count
        return rest
