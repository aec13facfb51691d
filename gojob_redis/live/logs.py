"""Logs that somebody follows: one look at all of them, and each page is read once for all who are equally far.

1. Every 250 ms one round trip a partition asks what is counted of the logs. Where nothing is new, nothing else is read.
2. The engine keeps the lines, so nothing waits here: who has not taken the message before is told the next lines when
   he has. He misses only what gave way in the log itself, and is told how much that is.
3. The place in each log is a part of the id of a batch (``view/logs.py``), so another gateway goes on exactly there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from gojob_redis import view
from gojob_redis.domain import limits
from gojob_redis.domain.errors import GojobError, NotFound
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partitions
from gojob_redis.live import messages
from gojob_redis.live.listener import Followed, Listener
from gojob_redis.live.messages import LogMessage, ResyncMessage
from gojob_redis.live.topics import Subject, Topic
from gojob_redis.runtime.loop import Loop
from gojob_redis.view.logs import Dropped, Place, Sums, place_of, position, sums_of

LOOK_S: Final = limits.STREAM_LOOK_MS / 1000
AGAIN_S: Final = limits.STREAM_BATCH_MS / 1000
"""Where more is there than was told."""
IDLE_S: Final = 60.0

_Alike = dict[Followed, list[tuple[Listener, str]]]
"""Who is equally far in a log, with the topic."""


class Logs:
    """Tells listeners what runs log."""

    def __init__(self, space: Partitions, listeners: Mapping[Listener, None]) -> None:
        self.space = space
        self.listeners = listeners
        self.loop = Loop(self.look, interval_s=IDLE_S, name="live logs", outage=space.clients.outage)

    async def begin(self, listener: Listener, places: Mapping[str, Place]) -> list[bytes]:
        """Follow the logs among the topics of a listener, each from its place on, by run, or from now on.

        Returns what to tell of logs that are not there, or not his to see.
        """
        outgoing: list[bytes] = []
        for topic in listener.topics:
            if topic.subject is Subject.LOG:
                log = await self._followed(listener, topic, places)
                if log is None:
                    outgoing.append(messages.encoded(ResyncMessage(topic.text)))
                else:
                    listener.logs[topic.text] = log
        return outgoing

    async def _followed(self, listener: Listener, topic: Topic, places: Mapping[str, Place]) -> Followed | None:
        try:
            partition, run = await view.run_of(self.space, topic.task, topic.shard)
            address = await view.address_of(self.space, topic.task)
        except NotFound:
            return None
        if not listener.sees(address.rpartition("/")[0]):
            return None
        if run in places:
            return Followed(partition.number, run, places[run])
        sums = sums_of(await position(partition, run))
        return Followed(partition.number, run, Place(sums.chunks, 0), sums.dropped)

    async def look(self) -> float | None:
        """Tell what is new; returns when to look again, None when nobody follows a log."""
        by_partition: dict[int, dict[str, _Alike]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for listener in self.listeners:
            for topic, log in listener.logs.items() if listener.ended is None else ():
                by_partition[log.partition][log.run][log].append((listener, topic))
        if not by_partition:
            return None
        are_behind = await asyncio.gather(*(self._look_in(at, runs) for at, runs in by_partition.items()))
        return AGAIN_S if any(are_behind) else LOOK_S

    async def _look_in(self, at: int, runs: Mapping[str, _Alike]) -> bool:
        """Tell what is new in one partition; returns whether there is more. One that is away holds up no other."""
        try:
            stored = await self.space[at].read([("HGET", K.log(self.space.prefixes[at], run), "sums") for run in runs])
            is_behind = False
            for alike, value in zip(runs.values(), stored, strict=True):
                sums = sums_of(value)
                for log, those in alike.items():
                    is_behind |= await self._tell(log, sums, those)
            return is_behind
        except GojobError:
            return False

    async def _tell(self, log: Followed, sums: Sums, those: Iterable[tuple[Listener, str]]) -> bool:
        """Tell what is new in a log to those who are equally far; returns whether somebody is not told all."""
        end = Place(sums.chunks, 0)
        if log.place == end and log.dropped == sums.dropped:
            return False
        those = [(listener, topic) for listener, topic in those if not listener.waits]
        if not those:
            return True
        if log.place > end:  # it was forgotten, and perhaps begun anew
            for listener, topic in those:
                listener.logs[topic] = replace(log, place=Place(0, 0), dropped=Dropped())
                listener.tell(listener.position, [messages.encoded(ResyncMessage(topic))])
            return True
        page = await view.log(
            self.space[log.partition],
            log.run,
            cursor=str(log.place),
            limit=limits.STREAM_LOG_LINES,
            most_bytes=limits.STREAM_LOG_BYTES,
        )
        reached = replace(log, place=place_of(page.cursor or str(log.place)), dropped=page.dropped)
        for listener, topic in those:
            if not listener.waits:
                listener.logs[topic] = reached
                listener.tell(listener.position, [messages.encoded(LogMessage(topic, page.items, page.dropped))])
        return page.more
