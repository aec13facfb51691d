"""Who could take the work of a lane: the worker groups of its app, counted; some of their sessions are looked at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.address import app_of
from gojob_redis.engine.client import ANSWER_S
from gojob_redis.engine.partitions import Partition
from gojob_redis.view.records import text

LANES_AT_ONCE: Final = 50


class Asked(NamedTuple):
    """A lane, or what would be one."""

    handler: str
    """namespace/app/handler"""
    labels: str = ""
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The sessions that announced the same handlers and labels, and what those of them do that were read."""

    id: str
    labels: str
    sessions: int
    with_free_seat: int
    read: int
    seats: int
    taken: int
    free_seats: int
    free: int
    busy: int
    drained: int
    backoff: int
    silent: int
    leaving: int
    alone: int
    offers: Mapping[str, int]
    """Sessions that offer an attribute."""

    @property
    def able(self) -> int:
        """Sessions that take work as soon as they have a free seat."""
        return self.free + self.busy

    def whole(self, of_read: int) -> int:
        """So much it is of all sessions, when it is so much of those that were read."""
        return round(of_read * self.sessions / self.read) if self.read else 0


COUNTS: Final = [each.name for each in fields(Group) if each.type in (int, "int")]
"""In the order in which the script tells them."""


@dataclass(frozen=True, slots=True)
class Served:
    """Who serves a lane."""

    fitting: Sequence[Group] = ()
    """They serve its handler under its labels; whether they offer what it requires is not looked at."""
    others: Sequence[Group] = ()
    """They serve its handler under other labels."""
    strangers: Sequence[Group] = ()
    """Other groups of its app."""
    free: int = 0
    """Sessions with a free seat that could take from it."""
    is_whole: bool = True
    """Whether these are all groups of the app."""

    @property
    def serving(self) -> list[Group]:
        """All that serve its handler."""
        return [*self.fitting, *self.others]


@dataclass(slots=True)
class _Told:
    """What the calls told so far."""

    groups: dict[str, Group] = field(default_factory=dict)
    apps: dict[str, tuple[list[str], bool]] = field(default_factory=dict)

    def take(self, reply: verbs.SurveyReply) -> None:
        offers: dict[str, dict[str, int]] = {}
        for group, attribute, count in reply.offers:
            offers.setdefault(text(group), {})[text(attribute)] = count
        for group, labels, *counts in reply.groups:
            own = dict(zip(COUNTS, counts, strict=True))
            self.groups[text(group)] = Group(
                id=text(group), labels=text(labels), offers=offers.get(text(group), {}), **own
            )
        for app, _sessions, is_whole, *groups in reply.apps:
            self.apps[text(app)] = [*map(text, groups)], bool(is_whole)

    def of(self, asked: Asked, row: Sequence[Any]) -> Served:
        fitting, others = (text(ids).split() for ids in row[:2])
        names, is_whole = self.apps[app_of(asked.handler)]
        serving = {*fitting, *others}
        return Served(
            fitting=[self.groups[each] for each in fitting],
            others=[self.groups[each] for each in others],
            strangers=[self.groups[each] for each in names if each not in serving and self.groups[each].sessions],
            free=int(row[2]),
            is_whole=is_whole,
        )


async def survey(partition: Partition, lanes: Collection[Asked]) -> dict[Asked, Served]:
    """Who serves each of these lanes of one partition."""
    rest, served = list(dict.fromkeys(lanes)), dict[Asked, Served]()
    while rest:
        items = [verbs.Surveyed(each.handler, each.labels, each.attribute) for each in rest[:LANES_AT_ONCE]]
        reply = await partition.call(verbs.survey(items, sessions=limits.SURVEY_SESSIONS), within_s=ANSWER_S)
        answers = _Told()
        answers.take(reply)
        served |= {each: answers.of(each, row) for each, row in zip(rest, reply.serving, strict=False)}
        rest = rest[reply.surveyed :]
    return served
