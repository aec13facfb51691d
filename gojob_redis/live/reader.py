"""The one reader of a gateway: while somebody listens it looks what changed, and tells all who want to know.

1. Every 250 ms one round trip asks the partitions in which somebody has a topic (``lua/watch.lua``): which runs
   changed, and which apps have new events. A quiet system costs nothing else, whatever the number of listeners. Queues,
   figures and logs are read in passes of their own: who listens to nothing else makes no script leave what it changes.
2. Of the runs only those are read that somebody wants to know; each message is written once for all who get it.
3. After a pass all that happened before the position is told. A new listener begins at the position of some pass, and
   is told first what happened between the position that he brought and that one (``replay``).
4. A partition that does not answer keeps its position, and holds up no other.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from gojob_redis import view
from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import GojobError, Unavailable
from gojob_redis.engine.errors import TROUBLE
from gojob_redis.engine.partitions import Partitions
from gojob_redis.live import messages
from gojob_redis.live.figures import Figures
from gojob_redis.live.listener import Listener
from gojob_redis.live.logs import Logs
from gojob_redis.live.messages import EndCode, EventsMessage, QueuesMessage, ResyncMessage, TaskMessage, TasksMessage
from gojob_redis.live.topics import OF_CHANGES, Subject, Topic
from gojob_redis.runtime.loop import Loop
from gojob_redis.view import changes, live
from gojob_redis.view.logs import Place, marked

log = structlog.get_logger()

LOOK_S: Final = limits.STREAM_LOOK_MS / 1000
QUEUES_S: Final = limits.STREAM_QUEUES_MS / 1000
IDLE_S: Final = 60.0
RECHECK_S: Final = 0.4 * limits.TOKEN_REVOKED_MS / 1000
"""The identities may remember an answer for half of what is promised."""
JOIN_S: Final = limits.ANSWER_MS / 1000
FORGOTTEN_S: Final = 4 * limits.STREAM_HEARTBEAT_MS / 1000
READ_AT_ONCE: Final = 500
RETRY_MS: Final = (100, 2_000)
NEAR_MS: Final = 100
"""Clocks of the nodes of a cluster that differ by less count as one."""


@dataclass(slots=True)
class _Changes:
    """What one partition said: changed tasks by lane, and apps with new events."""

    tasks: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    apps: set[str] = field(default_factory=set)
    is_gap: bool = False
    """Not all is known that changed."""
    are_all_read: bool = False
    """Tasks to which somebody listens singly are read whether they changed or not."""

    @classmethod
    def of(cls, reply: verbs.WatchReply) -> "_Changes":
        is_gap = reply.status == "gap"
        changed = cls(is_gap=is_gap, are_all_read=is_gap)
        for row in reply.changes:
            words = [verbs.text(word) for word in row]
            for name, value in zip(words[::2], words[1::2], strict=True):
                if name == "events":
                    changed.apps.add(value)
                elif name != "on":
                    changed.tasks[name].update(run.partition(".")[0] for run in value.split())
        return changed


@dataclass(slots=True)
class _Topics:
    """Who listens to what, as a pass goes by it."""

    tasks: dict[int, dict[str, Topic]] = field(default_factory=lambda: defaultdict(dict))
    """By partition and id."""
    apps: dict[int, dict[str, list[Topic]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    """Topics of the tasks of an app, by partition and app."""
    listeners: dict[str, list[Listener]] = field(default_factory=lambda: defaultdict(list))
    """By topic."""

    @classmethod
    def of(cls, listeners: Iterable[Listener], partition_of: Callable[[Topic], int | None]) -> "_Topics":
        index = cls()
        for listener in listeners:
            for topic in listener.topics:
                if topic.text not in index.listeners:
                    index._add(topic, partition_of(topic))
                index.listeners[topic.text].append(listener)
        return index

    def _add(self, topic: Topic, partition: int | None) -> None:
        if partition is not None and topic.subject is Subject.TASK:
            self.tasks[partition][topic.task] = topic
        elif partition is not None and topic.subject is Subject.TASKS:
            self.apps[partition][topic.app].append(topic)


class Live:
    """Who listens at this gateway, and the reader for all of them.

    Large, because a pass is told from its begin to its end, in the order in which it happens.
    """

    def __init__(
        self, space: Partitions, still_good: Callable[[str], Awaitable[bool]], *, recheck_s: float = RECHECK_S
    ) -> None:
        self.space = space
        self.still_good = still_good
        self.recheck_s = recheck_s
        self.listeners: dict[Listener, None] = {}
        self.loop = Loop(self.run_once, interval_s=IDLE_S, name="live", outage=space.clients.outage)
        self.queues = Loop(self.look_at_queues, interval_s=IDLE_S, name="live queues", outage=space.clients.outage)
        self.logs = Logs(space, self.listeners)
        self.handlers = changes.Handlers()
        self._position: dict[int, int] = {}
        self._homes: dict[str, int] = {}
        self.figures = Figures(space, self.listeners, self._homes)
        self._queues_told: dict[str, bytes] = {}
        self._rechecked_at = 0.0
        self._closed = False

    # ---- who listens -------------------------------------------------------------------------------------------------

    async def join(
        self,
        key_id: str,
        topics: Sequence[Topic],
        sees: Callable[[str], bool],
        since: Mapping[int, int],
        places: Mapping[str, Place],
    ) -> Listener:
        """Listen from now on, and be told first what happened since a position.

        key_id: of the token.
        sees: whether an app is shown; a task of another one is as one that is gone.
        places: in logs, by run.
        Raises Unavailable when there are too many streams, when the gateway ends, or when the engine is away.
        """
        self._make_room(key_id, topics)
        homes = [self.partition_of(topic) for topic in topics if topic.subject in OF_CHANGES]
        partitions = frozenset(range(self.space.count) if None in homes else [at for at in homes if at is not None])
        began: asyncio.Future[dict[int, int]] = asyncio.get_running_loop().create_future()
        listener = Listener(key_id, topics, sees, partitions, began)
        self.listeners[listener] = None
        self.loop.wake()
        try:
            async with asyncio.timeout(JOIN_S):
                position = await asyncio.shield(began)
                outgoing = await self._replay(listener, since, position)
                outgoing += await self.logs.begin(listener, places)
                followed = list(listener.logs.values())
        except TimeoutError:
            self.leave(listener)
            raise Unavailable("The engine does not say what happens now.", 1.0) from None
        except BaseException:
            self.leave(listener)
            raise
        first = live.written(dict(position) | dict(since), self.space.count)
        listener.first_id = marked(first, {log.run: log.place for log in followed})
        listener.position = listener.position or live.written(position, self.space.count)
        listener.tell_first(outgoing)
        self.queues.wake()
        self.logs.loop.wake()
        self.figures.loop.wake()
        return listener

    def _make_room(self, key_id: str, topics: Iterable[Topic]) -> None:
        if self._closed:
            raise Unavailable("This gateway ends.", 1.0, code="draining", hint="Connect again: another one takes you.")
        of_token = sum(listener.key_id == key_id for listener in self.listeners)
        for is_full, what in (
            (len(self.listeners) >= limits.STREAMS, f"{limits.STREAMS} streams of this gateway"),
            (of_token >= limits.STREAMS_PER_TOKEN, f"{limits.STREAMS_PER_TOKEN} streams of this token at this gateway"),
            (self._is_over(topics, Subject.LOG, limits.STREAM_LOGS_AT_ONCE), "so many logs that it follows"),
            (self._is_over(topics, Subject.STATS, limits.STREAM_STATS_AT_ONCE), "so many figures that it tells"),
        ):
            if is_full:
                raise Unavailable(f"There are {what} already.", 5.0, code="streams_full", hint="Close some.")

    def _is_over(self, topics: Iterable[Topic], subject: Subject, most: int) -> bool:
        """Whether the gateway would have more different topics about this than it may, by new ones."""
        asked = {topic.text for each in self.listeners for topic in each.topics if topic.subject is subject}
        new = {topic.text for topic in topics if topic.subject is subject} - asked
        return bool(new) and len(asked) + len(new) > most

    def leave(self, listener: Listener) -> None:
        """Listen no more."""
        self.listeners.pop(listener, None)

    def close(self) -> None:
        """Let everybody go, and nobody listen any more: the process ends."""
        self._closed = True
        for listener in self.listeners:
            listener.end(EndCode.DRAINING)
        self.loop.stop()
        self.queues.stop()
        self.logs.loop.stop()
        self.figures.loop.stop()

    def settle(self, app: str, partition: int) -> None:
        """Know where an app is, for its topics."""
        self._homes[app] = partition

    def partition_of(self, topic: Topic) -> int | None:
        """Where a topic lies; None: everywhere."""
        if topic.task:
            return view.partition_of(self.space, topic.task).number
        return self._homes[topic.app] if topic.app else None

    # ---- a pass ------------------------------------------------------------------------------------------------------

    async def run_once(self) -> float | None:
        """Look at what changed and tell it; returns when to look again, None when nobody listens."""
        began = time.monotonic()
        if began - self._rechecked_at >= self.recheck_s:
            self._rechecked_at = began
            await self._look_at_tokens()
        for listener in [each for each in self.listeners if each.asked_at < began - FORGOTTEN_S]:
            self.leave(listener)  # its request ended before its answer began
        listeners = [listener for listener in self.listeners if listener.ended is None]
        if not listeners:
            self._position.clear()
            return None
        replies = await self._ask(frozenset().union(*(listener.partitions for listener in listeners)))
        self._begin(listeners, replies)
        listeners = [listener for listener in listeners if listener.began.done()]
        changed = {at: _Changes.of(reply) for at, reply in replies.items() if at in self._position}
        ends = self._ends(replies)
        outgoing = await self._told(listeners, changed, ends)
        self._position |= ends
        position = live.written(self._position, self.space.count)
        for listener in listeners:
            listener.tell(position, outgoing.get(listener, ()))
        is_behind = any(reply.upto < reply.now for reply in replies.values())
        return 0.0 if is_behind else max(0.0, LOOK_S - (time.monotonic() - began))

    async def _ask(self, partitions: frozenset[int]) -> dict[int, verbs.WatchReply]:
        """What changed in each partition since its position; where one does not answer, nothing."""
        self._position = {at: ms for at, ms in self._position.items() if at in partitions}
        by_since: dict[int, list[int]] = defaultdict(list)
        for at in partitions:
            by_since[self._position.get(at, 0)].append(at)
        replies: dict[int, verbs.WatchReply] = {}
        for since, asked in by_since.items():
            answers = await self.space.call_in([self.space[at] for at in asked], verbs.watch(since=since))
            for at, reply in zip(asked, answers, strict=True):
                if isinstance(reply, verbs.WatchReply):
                    replies[at] = reply
                elif not isinstance(reply, TROUBLE):
                    raise reply
        return replies

    def _ends(self, replies: Mapping[int, verbs.WatchReply]) -> dict[int, int]:
        """Up to where each partition is told in this pass.

        Alike where that is nearly so: that makes one position, and one question for all in the next pass. What changed
        a little later comes again; events are told by their time.
        """
        uptos = [reply.upto for at, reply in replies.items() if at in self._position]
        lowest = min(uptos, default=0)
        return {
            at: reply.now
            if at not in self._position
            else max(lowest, self._position[at])
            if reply.upto - lowest <= NEAR_MS
            else reply.upto
            for at, reply in replies.items()
        }

    def _begin(self, listeners: Sequence[Listener], replies: Mapping[int, verbs.WatchReply]) -> None:
        """New listeners are told what this pass finds, and later ones."""
        for listener in listeners:
            if not listener.began.done() and listener.partitions <= (self._position.keys() | replies.keys()):
                began = {at: self._position.get(at) or replies[at].now for at in listener.partitions}
                listener.began.set_result(began)

    async def _told(
        self,
        listeners: Sequence[Listener],
        changed: Mapping[int, _Changes],
        ends: Mapping[int, int],
    ) -> dict[Listener, list[bytes]]:
        """The messages of this pass."""
        outgoing: dict[Listener, list[bytes]] = defaultdict(list)
        index = _Topics.of(listeners, self.partition_of)
        for topic, message in await self._task_messages(index, changed):
            written = messages.encoded(message)
            for listener in index.listeners[topic.text]:
                outgoing[listener].append(written if _may_see(listener, message) else _gone(topic))
        if any(listener.hears_events for listener in listeners):
            await self._tell_events(listeners, changed, ends, outgoing)
        return outgoing

    # ---- tasks -------------------------------------------------------------------------------------------------------

    async def _task_messages(
        self, index: _Topics, changed: Mapping[int, _Changes]
    ) -> list[tuple[Topic, TaskMessage | TasksMessage | ResyncMessage]]:
        """What is told of tasks: single ones first, then those of apps."""
        lanes = {(at, lane) for at, each in changed.items() if at in index.apps for lane in each.tasks}
        await self.handlers.learn(self.space, lanes)
        singles = [
            (at, task)
            for at, watched in index.tasks.items()
            if at in changed
            for task in (
                watched if changed[at].are_all_read else watched.keys() & set().union(*changed[at].tasks.values())
            )
        ]
        chosen = {topic.text: (topic, tasks, left_out) for topic, tasks, left_out in self._chosen(index, changed)}
        asked = dict.fromkeys([*singles, *(task for _, tasks, _ in chosen.values() for task in tasks)])
        now = await self._read(list(asked))
        outgoing: list[tuple[Topic, TaskMessage | TasksMessage | ResyncMessage]] = []
        for at, task in singles:
            topic = index.tasks[at][task]
            outgoing.append((topic, TaskMessage(topic.text, now[task])))
        for topic, tasks, left_out in chosen.values():
            items = [row for _, task in tasks if (row := now[task]) is not None]
            outgoing.append((topic, TasksMessage(topic.text, items, left_out)))
        for at, each in changed.items():
            if each.is_gap:
                outgoing += [
                    (topic, ResyncMessage(topic.text)) for of_app in index.apps[at].values() for topic in of_app
                ]
        return outgoing

    def _chosen(
        self, index: _Topics, changed: Mapping[int, _Changes]
    ) -> Iterator[tuple[Topic, list[tuple[int, str]], int]]:
        """Of each topic of an app the changed tasks that are told, and how many are not."""
        for at, topics in index.apps.items():
            lanes = changed[at].tasks.items() if at in changed else ()
            for topic in (topic for of_app in topics.values() for topic in of_app):
                tasks = self._of_topic(at, topic, lanes)
                if tasks:
                    yield topic, tasks[: limits.STREAM_TASKS], max(0, len(tasks) - limits.STREAM_TASKS)

    def _of_topic(self, at: int, topic: Topic, lanes: Iterable[tuple[str, set[str]]]) -> list[tuple[int, str]]:
        handler = f"{topic.app}/{topic.handler}" if topic.handler else ""
        return [
            (at, task)
            for lane, tasks in lanes
            if (address := self.handlers.of(at, lane))
            and (address == handler if handler else address.startswith(f"{topic.app}/"))
            for task in sorted(tasks, reverse=True)
        ]

    async def _read(self, tasks: Sequence[tuple[int, str]]) -> dict[str, view.TaskNow | None]:
        now: dict[str, view.TaskNow | None] = {}
        for first in range(0, len(tasks), READ_AT_ONCE):
            now |= await changes.tasks_now(self.space, self.handlers, tasks[first : first + READ_AT_ONCE])
        return now

    # ---- events ------------------------------------------------------------------------------------------------------

    async def _tell_events(
        self,
        listeners: Sequence[Listener],
        changed: Mapping[int, _Changes],
        ends: Mapping[int, int],
        outgoing: dict[Listener, list[bytes]],
    ) -> None:
        """Events of the apps that have new ones, to those who see them."""
        apps = [(at, app) for at, each in changed.items() for app in each.apps]
        gaps = {at: self._position[at] for at, each in changed.items() if each.is_gap}
        if gaps:
            apps += await changes.apps_with_events(self.space, gaps, lambda _: True) or []
            apps += [(at, "") for at in gaps]
        spans = [
            changes.Span(at, app, self._position[at], ends[at])
            for at, app in dict.fromkeys(apps)
            if any(listener.shows(topic, app) for listener in listeners for topic in listener.hears_events)
        ]
        by_span = await changes.events_between(self.space, spans, limits.STREAM_EVENTS)
        written: dict[tuple[str, str], bytes] = {}
        for span, events in zip(spans, by_span, strict=True):
            if events == []:
                continue
            for listener, topic in _hearing(listeners, span.app):
                key = (topic.text, span.app)
                if key not in written:
                    message = ResyncMessage(topic.text) if events is None else EventsMessage(topic.text, events)
                    written[key] = messages.encoded(message)
                outgoing[listener].append(written[key])

    # ---- who comes back ----------------------------------------------------------------------------------------------

    async def _replay(self, listener: Listener, since: Mapping[int, int], began: Mapping[int, int]) -> list[bytes]:
        """What happened between the position that a listener brought and the one from which it is told all; and how
        those tasks are now to which it listens singly."""
        gaps = {at: (since[at], began[at]) for at in began if at in since and since[at] < began[at]}
        index = _Topics.of([listener], self.partition_of)
        changed: dict[int, _Changes] = {at: _Changes(are_all_read=True) for at in index.tasks}
        for at in gaps.keys() & index.apps.keys():
            [reply] = await self.space.call_in([self.space[at]], verbs.watch(since=gaps[at][0]))
            if isinstance(reply, Exception):
                raise Unavailable("A partition gave no answer.", 1.0) from reply
            changed[at] = _Changes.of(reply)
            changed[at].is_gap = changed[at].is_gap or reply.upto < reply.now
            changed[at].are_all_read = True
        outgoing: list[bytes] = []
        for topic, message in await self._task_messages(index, changed):
            outgoing.append(messages.encoded(message) if _may_see(listener, message) else _gone(topic))
        if listener.hears_events and gaps:
            outgoing += await self._events_again(listener, gaps)
        return outgoing

    async def _events_again(self, listener: Listener, gaps: Mapping[int, tuple[int, int]]) -> list[bytes]:
        since = {at: ms for at, (ms, _) in gaps.items()}
        oldest_ms = max(end for _, end in gaps.values()) - limits.EVENTS_KEPT_MS
        apps = None
        if min(since.values()) > oldest_ms:
            apps = await changes.apps_with_events(self.space, since, listener.sees)
        if apps is None:
            return [messages.encoded(ResyncMessage(topic.text)) for topic in listener.hears_events]
        spans = [
            changes.Span(at, app, *gaps[at])
            for at, app in [*apps, *((at, "") for at in gaps)]
            if any(listener.shows(topic, app) for topic in listener.hears_events)
        ]
        by_span = await changes.events_between(self.space, spans, limits.STREAM_EVENTS)
        outgoing: list[bytes] = []
        for topic in listener.hears_events:
            of_topic = [events for span, events in zip(spans, by_span, strict=True) if listener.shows(topic, span.app)]
            events = [event for some in of_topic for event in some or ()]
            if None in of_topic or len(events) > limits.STREAM_EVENTS:
                outgoing.append(messages.encoded(ResyncMessage(topic.text)))
            elif events:
                outgoing.append(
                    messages.encoded(EventsMessage(topic.text, sorted(events, key=lambda each: each.at_ms)))
                )
        return outgoing

    # ---- queues, and tokens ------------------------------------------------------------------------------------------

    async def look_at_queues(self) -> float | None:
        """Tell what waits for the handlers of an app, when that changed, and to whom it is new."""
        index = _Topics.of([each for each in self.listeners if each.began.done()], self.partition_of)
        topics = {
            topic.text: topic
            for listener in self.listeners
            for topic in listener.topics
            if topic.subject is Subject.QUEUES and topic.text in index.listeners
        }
        self._queues_told = {text: outgoing for text, outgoing in self._queues_told.items() if text in topics}
        for text, topic in topics.items():
            try:
                queues, is_whole = await view.queues_of_app(self.space, topic.app, limits.STREAM_QUEUES)
            except GojobError:
                continue
            message = messages.encoded(QueuesMessage(text, queues, is_whole))
            is_new = message != self._queues_told.get(text)
            self._queues_told[text] = message
            for listener in index.listeners[text]:
                if is_new or text not in listener.heard:
                    listener.heard.add(text)
                    listener.tell(listener.position, [message])
        return QUEUES_S if topics else None

    async def _look_at_tokens(self) -> None:
        """Let those go whose token was revoked."""
        for key_id in {listener.key_id for listener in self.listeners}:
            try:
                is_good = await self.still_good(key_id)
            except Unavailable:
                continue
            for listener in [] if is_good else self.listeners:
                if listener.key_id == key_id:
                    listener.end(EndCode.BAD_TOKEN)


def retry_ms() -> int:
    """When a client comes back; not all of them at once."""
    return random.randint(*RETRY_MS)


def _may_see(listener: Listener, message: TaskMessage | TasksMessage | ResyncMessage) -> bool:
    """Whether the listener may be told of a single task; topics of many tasks are refused to who may not."""
    if not isinstance(message, TaskMessage) or message.task is None:
        return True
    return listener.sees(f"{message.task.namespace}/{message.task.app}")


def _gone(topic: Topic) -> bytes:
    return messages.encoded(TaskMessage(topic.text, None))


def _hearing(listeners: Sequence[Listener], app: str) -> Iterator[tuple[Listener, Topic]]:
    for listener in listeners:
        for topic in listener.hears_events:
            if listener.shows(topic, app):
                yield listener, topic
