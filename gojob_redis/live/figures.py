"""Figures that somebody listens to: what happened in the minute that runs and in the one before, as it is added up.

The trigger replicas add up what happened every 2 s, so the last seconds of a minute come when the next one has begun:
a message tells both minutes where both have changed. Where nothing changed, nothing is told.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from gojob_redis import view
from gojob_redis.domain import limits
from gojob_redis.domain.errors import GojobError
from gojob_redis.engine.partitions import Partitions
from gojob_redis.live import messages
from gojob_redis.live.listener import Listener
from gojob_redis.live.messages import StatsMessage
from gojob_redis.live.topics import Subject, Topic
from gojob_redis.runtime.loop import Loop
from gojob_redis.view.records import clock_of
from gojob_redis.view.stats import Bucket, Span, Step

TICK_S: Final = limits.STREAM_STATS_MS / 1000
IDLE_S: Final = 60.0


class Figures:
    """Tells listeners what was added up."""

    def __init__(self, space: Partitions, listeners: Mapping[Listener, None], homes: Mapping[str, int]) -> None:
        self.space = space
        self.listeners = listeners
        self.homes = homes
        self.loop = Loop(self.tick, interval_s=IDLE_S, name="live figures", outage=space.clients.outage)
        self._latest: dict[str, list[Bucket]] = {}
        """By topic: what was told last."""

    async def tick(self) -> float | None:
        """Tell what changed, and to new listeners how it is; returns when to look again, None when nobody listens."""
        by_partition: dict[int, dict[Topic, list[Listener]]] = defaultdict(lambda: defaultdict(list))
        for listener in self.listeners:
            if listener.ended is None and listener.began.done():
                for topic in listener.topics:
                    if topic.subject is Subject.STATS:
                        by_partition[self.homes[topic.app]][topic].append(listener)
        topics = {topic.text for each in by_partition.values() for topic in each}
        self._latest = {text: latest for text, latest in self._latest.items() if text in topics}
        await asyncio.gather(*(self._tick_in(at, hearing) for at, hearing in by_partition.items()))
        return TICK_S if topics else None

    async def _tick_in(self, at: int, hearing: Mapping[Topic, list[Listener]]) -> None:
        """Tell the figures of one partition; one that is away holds up no other."""
        try:
            minute_ms = (await clock_of(self.space[at])).wall // limits.MINUTE_MS * limits.MINUTE_MS
            span = Span(minute_ms - limits.MINUTE_MS, minute_ms + limits.MINUTE_MS, Step.MINUTE)
            by_subject = await view.stats(self.space, [topic.address for topic in hearing], span)
        except GojobError:
            return
        for (topic, listeners), series in zip(hearing.items(), by_subject, strict=True):
            self._tell(topic, listeners, series.buckets)

    def _tell(self, topic: Topic, listeners: list[Listener], minutes: list[Bucket]) -> None:
        latest = self._latest.get(topic.text, [])
        changed = [minute for minute in minutes if minute not in latest]
        self._latest[topic.text] = minutes
        for listener in listeners:
            is_new = topic.text not in listener.heard
            if is_new or changed:
                listener.heard.add(topic.text)
                message = StatsMessage(topic.text, minutes if is_new else changed)
                listener.tell(listener.position, [messages.encoded(message)])
