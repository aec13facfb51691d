"""One connection of the worker: what it sent, when, and how to wait for what should come."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from gojob_redis.conformance import frames
from gojob_redis.conformance.scenario import Failed
from gojob_sdk.protocol import Assignment, BadFrame, Frame, Hello, Outcome, RunKey, VerdictWord, decode_worker, encode

Found = TypeVar("Found")

SOON_S: Final = 2.0
"""For what a worker does at once."""
STARTED_S: Final = 5.0
"""The accept limit: a run without start or report for this long is given to another worker."""
CLOSE_TOO_BIG: Final = 1009
"""How the websocket library ends a connection with a message over the limit."""
HEARTBEAT_MS: Final = 250
LEASE_MS: Final = 3_000


class Conversation:
    """A connection. Renewals are answered and strays (runs of earlier scenarios) accepted without being asked.

    Large, because it has a method for each thing that a scenario can say to a worker or await from it.
    """

    def __init__(self, socket: ServerConnection, request: Request) -> None:
        self.socket = socket
        self.request = request
        self.heard: list[tuple[float, Any]] = []
        """Every frame with the moment it came."""
        self.answers_renewals = True
        self.session = ""
        self.welcomed = False
        self.closed = asyncio.Event()
        self.violation: Failed | None = None
        self.mark = 0
        """Frames before this one belong to earlier scenarios."""
        self._ours: set[str] = set()
        self._news = asyncio.Event()

    @property
    def hello(self) -> Hello:
        hello: Hello = self.heard[0][1]
        return hello

    @property
    def is_open(self) -> bool:
        return not self.closed.is_set()

    async def listen(self) -> None:
        """Take frames until the connection ends."""
        try:
            async for data in self.socket:
                frame = self._read(data)
                if frame is not None:
                    self.heard.append((asyncio.get_running_loop().time(), frame))
                    await self._answer(frame)
                self._news.set()
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CLOSE_TOO_BIG:
                self.violates("messages of at most 1 MiB (§1)", "a larger one")
        finally:
            self.closed.set()
            self._news.set()

    def _read(self, data: bytes | str) -> Any:
        """The frame in a message, if it is one; what may never come is noted."""
        if isinstance(data, str):
            self.violates("only binary messages (§1)", f"a text message of {len(data)} characters")
            return None
        try:
            frame = decode_worker(data)
        except BadFrame as error:
            self.violates("only frames as docs/protocol.md §3 defines them", f"a frame with {error}")
            return None
        if frame is None:
            return None
        if (frame["type"] == "hello") == bool(self.heard):
            came = f"{frame['type']} as number {len(self.heard) + 1}"
            self.violates("hello as the first frame, and once (§3 hello)", came)
            return None
        if self.heard and not self.welcomed:
            self.violates("nothing between hello and welcome (§2 Order)", frame["type"])
        return frame

    def violates(self, expected: str, came: str) -> None:
        """Note a violation that counts in every scenario; the first one is kept."""
        self.violation = self.violation or Failed(expected, came)

    async def _answer(self, frame: Any) -> None:
        """Answer frames that every gateway answers, and that no scenario looks at."""
        if not self.welcomed:
            return
        if frame["type"] == "renew" and "seq" in frame and self.answers_renewals:
            await self.send({"type": "renewed", "seq": frame["seq"]})
        if frame["type"] in ("report", "release"):
            runs = frame["outcomes"] if frame["type"] == "report" else frame["runs"]
            strays = [one for one in runs if one["run"] not in self._ours]
            if strays:
                await self.send(frames.verdict(frame["type"], "accepted", *strays))

    # --- sending ------------------------------------------------------------------------------------------------------

    async def send(self, frame: Frame | dict[str, Any]) -> None:
        try:
            await self.socket.send(encode(frame))  # type: ignore[arg-type]  # also frames that do not exist
        except ConnectionClosed:
            raise Failed("that the connection stays open", self._how_closed()) from None

    async def welcome(self, session: str, conn: int, *, resumed: bool, **changes: Any) -> None:
        """Let the worker in."""
        self.session = session
        self.welcomed = True
        frame: dict[str, Any] = {
            "type": "welcome",
            "session": session,
            "conn": conn,
            "gateway": "conformance",
            "resumed": resumed,
            "heartbeat_ms": HEARTBEAT_MS,
            "lease_ms": LEASE_MS,
            "protocol": 2,
        }
        if resumed:
            drop = {frames.key(one) for one in changes.get("drop", ())}
            frame["keep"] = [frames.named(one) for one in self.hello["held"] if frames.key(one) not in drop]
            frame["drop"] = []
        await self.send(frame | changes)

    async def assign(self, *assignments: Assignment) -> None:
        self.expects(assignments)
        await self.send(frames.assign(*assignments))

    def expects(self, runs: Iterable[RunKey]) -> None:
        """These runs belong to the scenario: it answers what comes of them."""
        self._ours.update(one["run"] for one in runs)

    async def judge(self, of: str, word: VerdictWord, *runs: RunKey) -> None:
        await self.send(frames.verdict(of, word, *runs))

    async def hang_up(self, code: int = 1012, reason: str = "restarting") -> None:
        """Close in good order."""
        await self.socket.close(code, reason)
        self.closed.set()

    def cut(self) -> None:
        """Break the connection as a network or a killed gateway does."""
        self.socket.transport.abort()
        self.closed.set()

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def until(self, find: Callable[[], Found | None], within_s: float, expected: str) -> Found:
        """Wait for what a scenario looks for; raises Failed when it does not come in time."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._news.clear()
                    self.check()
                    answer = find()
                    if answer:
                        return answer
                    if self.closed.is_set():
                        raise Failed(expected, f"{self.told()}; then {self._how_closed()}")
                    await self._news.wait()
        except TimeoutError:
            raise Failed(f"{expected} within {within_s:g} s", self.told()) from None

    async def over(self, within_s: float) -> None:
        """Wait until the connection ends, at most this long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.closed.wait()

    async def quiet(self, seconds: float) -> None:
        """Wait this long, and see that no rule is broken meanwhile."""
        await asyncio.sleep(seconds)
        self.check()

    def check(self) -> None:
        """Raise what was noted by ``violates``."""
        if self.violation is not None:
            raise self.violation

    def since_mark(self) -> Iterator[tuple[float, Any]]:
        yield from self.heard[self.mark :]

    def all_of(self, type: str) -> list[Any]:
        """The frames of a type in this scenario."""
        return [frame for _, frame in self.since_mark() if frame["type"] == type]

    def items(self, type: str, run: RunKey) -> list[Any]:
        """What the frames of a type say about one attempt."""
        named = (one for frame in self.all_of(type) for one in frame.get("outcomes", frame.get("runs", ())))
        return [one for one in named if frames.key(one) == frames.key(run)]

    def says(self, **fields: int) -> bool:
        """Whether a renew of this scenario says this."""
        return any(frame | fields == frame for frame in self.all_of("renew"))

    async def started(self, assignment: Assignment, within_s: float = STARTED_S) -> None:
        """Wait for the start, or the report, of a run; its fence has to be the assignment's."""
        ref = await self.until(
            lambda: next(iter(self.items("start", assignment) + self.items("report", assignment)), None),
            within_s,
            f"a start (or already the report) of {frames.named(assignment)}",
        )
        _same_fence(ref, assignment)

    async def outcome(self, assignment: Assignment, within_s: float = SOON_S) -> Outcome:
        """Wait for the report of a run; a release is none."""
        expected = f"a report of {frames.named(assignment)} ({assignment['handler']})"

        def find() -> Any:
            if self.items("release", assignment):
                raise Failed(expected, self.told())
            return next(iter(self.items("report", assignment)), None)

        outcome: Outcome = await self.until(find, within_s, expected)
        _same_fence(outcome, assignment)
        if outcome["ended_ms"] < outcome["started_ms"]:
            raise Failed("ended_ms not before started_ms", f"{outcome['started_ms']} to {outcome['ended_ms']}")
        return outcome

    async def ended(self, assignment: Assignment, word: str = "ok", within_s: float = SOON_S) -> Outcome:
        """Wait for the report of a run, accept it, and see that it says this."""
        outcome = await self.outcome(assignment, within_s)
        await self.judge("report", "accepted", assignment)
        if outcome["outcome"] != word:
            raise Failed(f"the outcome {word} for {frames.named(assignment)}", _outcome(outcome))
        return outcome

    async def released(self, assignment: Assignment, reason: str, within_s: float = SOON_S) -> None:
        """Wait for a run to be handed back, accept that, and see that the reason is this."""

        def find() -> Any:
            for frame in self.all_of("release"):
                for one in frame["runs"]:
                    if frames.key(one) == frames.key(assignment):
                        return frame["reason"], one
            return None

        given, ref = await self.until(find, within_s, f"a release of {frames.named(assignment)}")
        _same_fence(ref, assignment)
        await self.judge("release", "accepted", assignment)
        if given != reason:
            raise Failed(f"a release with the reason {reason}", f"the reason {given}")

    # --- telling ------------------------------------------------------------------------------------------------------

    def told(self) -> str:
        """What the worker sent in this scenario, in short."""
        counts = Counter(_summary(frame) for _, frame in self.since_mark())
        return ", ".join(f"{count} × {what}" if count > 1 else what for what, count in counts.items()) or "nothing"

    def _how_closed(self) -> str:
        code = self.socket.close_code
        return f"the worker closed the connection ({code})" if code else "the connection ended"


def _same_fence(ref: Any, assignment: Assignment) -> None:
    if ref["fence"] != assignment["fence"]:
        raise Failed(f"the fence {assignment['fence']} of the assignment, echoed", ref["fence"])


def _outcome(outcome: Outcome) -> str:
    error = outcome.get("error")
    return outcome["outcome"] + (f" ({error['type']}: {error['message'][:200]})" if error else "")


def _summary(frame: Any) -> str:
    runs = [frames.named(one) for one in frame.get("outcomes", frame.get("runs", frame.get("entries", ())))]
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    named = f" of {', '.join(runs[:3])}{more}" if runs else ""
    return f"{frame['type']}{named}" + (f" ({frame['reason']})" if "reason" in frame else "")
