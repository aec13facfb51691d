"""One listener: what it asks for, and what is told and not yet sent, bounded."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gojob_redis.domain import limits
from gojob_redis.live import messages
from gojob_redis.live.messages import EndCode
from gojob_redis.live.topics import Subject, Topic
from gojob_redis.view.logs import Dropped, Place, marked


@dataclass(frozen=True, slots=True)
class Followed:
    """A log that is followed.

    place: up to where it was told; dropped: what was told of lines that are not there.
    """

    partition: int
    run: str
    place: Place
    dropped: Dropped = field(default_factory=Dropped)


@dataclass(slots=True, eq=False)
class Listener:
    """Who listens.

    key_id: of the token.
    sees: whether an app is shown ("" is what belongs to no app), by the token's scope.
    partitions: where its topics lie that are told by what scripts leave of their changes.
    """

    key_id: str
    topics: Sequence[Topic]
    sees: Callable[[str], bool]
    partitions: frozenset[int]
    began: "asyncio.Future[dict[int, int]]"
    """From which position on it is told what happens."""
    position: str = ""
    """Up to where all was told."""
    ended: EndCode | None = None
    heard: set[str] = field(default_factory=set)
    """Topics of which it was told how they are."""
    logs: dict[str, "Followed"] = field(default_factory=dict)
    """By topic: how far it was told a log."""
    first_id: str = ""
    """Where it began: who loses the connection before the first batch goes on there."""
    asked_at: float = field(default_factory=time.monotonic)
    """When its connection last asked for more."""
    _told: deque[bytes] = field(default_factory=deque)
    _bytes: int = 0
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def shows(self, topic: Topic, app: str) -> bool:
        """Whether an event of this app belongs to a topic of events."""
        if topic.app:
            return app == topic.app
        return self.sees(app) and (not topic.namespace or app.startswith(f"{topic.namespace}/"))

    @property
    def hears_events(self) -> list[Topic]:
        """Its topics of events."""
        return [topic for topic in self.topics if topic.subject is Subject.EVENTS]

    @property
    def id(self) -> str:
        """Who comes back with this is told what was not told yet."""
        places: dict[str, Place] = {}
        for log in self.logs.values():
            places[log.run] = min(log.place, places.get(log.run, log.place))
        return marked(self.position, places)

    @property
    def waits(self) -> bool:
        """Whether something that was told is not sent."""
        return bool(self._told)

    def tell(self, position: str, written: Sequence[bytes]) -> None:
        """Tell what happened up to a position; who does not take what was told before is dropped."""
        self.position = position
        if not written or self.ended:
            return
        size = sum(map(len, written))
        if self._told and (
            self._bytes + size > limits.STREAM_BUFFER_BYTES
            or len(self._told) + len(written) > limits.STREAM_BUFFER_ITEMS
        ):
            self._told.clear()
            self.end(EndCode.SLOW)
            return
        self._told.extend(written)
        self._bytes += size
        self._bell.set()

    def tell_first(self, written: Sequence[bytes]) -> None:
        """Tell what happened before it began to listen."""
        if self.ended is not EndCode.SLOW:
            self._told.extendleft(reversed(written))
            self._bytes += sum(map(len, written))
            self._bell.set()

    def end(self, code: EndCode) -> None:
        """Tell nothing more."""
        self.ended = self.ended or code
        self._bell.set()

    async def next(self, within_s: float) -> bytes:
        """The next batch, a heartbeat after this time, or nothing: it has ended."""
        self.asked_at = time.monotonic()
        if not self._bell.is_set():
            try:
                async with asyncio.timeout(within_s):
                    await self._bell.wait()
            except TimeoutError:
                return messages.heartbeat(self.id)
        if not self.ended:
            self._bell.clear()
        if not self._told:
            return b""
        batch = messages.batch(self.id, self._told)
        self._told.clear()
        self._bytes = 0
        return batch
