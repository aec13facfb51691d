"""Who the workers were that ran something, also when they are gone: runs name sessions, and sessions leave cards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gojob_redis.domain import limits
from gojob_redis.engine.keys import K
from gojob_redis.engine.partitions import Partition
from gojob_redis.view.records import opaque

DAYS_AT_ONCE: Final = 32
"""Days whose cards are looked through in one round trip; most sessions end within days."""
SESSIONS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class RanOn:
    """Who a worker was that had a run."""

    host: str
    pid: int
    sdk: str
    address: str
    """Where its connection came from when its session began."""


async def ran_on(partition: Partition, app: str, since: Mapping[str, int], now_ms: int) -> dict[str, RanOn]:
    """The workers of sessions of an app, live or ended, as far as they are known.

    since: by session a moment (wall ms) at which it had not ended yet.
    """
    workers: dict[str, RanOn] = {}
    sessions = list(since)
    for first in range(0, len(sessions), SESSIONS_AT_ONCE):
        sought = {session: since[session] for session in sessions[first : first + SESSIONS_AT_ONCE]}
        await _take_live(partition, sought, workers)
        await _take_ended(partition, app, sought, now_ms, workers)
    return workers


async def _take_live(partition: Partition, sought: dict[str, int], workers: dict[str, RanOn]) -> None:
    asked = [("HGET", K.session(partition.prefix, session), "facts") for session in sought]
    _take(dict(zip(list(sought), await partition.read(asked), strict=True)), sought, workers)


async def _take_ended(
    partition: Partition, app: str, sought: dict[str, int], now_ms: int, workers: dict[str, RanOn]
) -> None:
    """From the cards of the days since then: each session left its card on the day of its end."""
    day, today = min(sought.values(), default=now_ms) // limits.DAY_MS, now_ms // limits.DAY_MS
    while sought and day <= today:
        days = range(day, min(day + DAYS_AT_ONCE, today + 1))
        sessions = list(sought)
        asked = [("HMGET", K.cards(partition.prefix, app, str(each)), *sessions) for each in days]
        for answer in await partition.read(asked):
            _take(dict(zip(sessions, answer, strict=True)), sought, workers)
        day += DAYS_AT_ONCE


def _take(answers: Mapping[str, bytes | None], sought: dict[str, int], workers: dict[str, RanOn]) -> None:
    for session, packed in answers.items():
        facts = opaque(packed)
        if isinstance(facts, dict) and sought.pop(session, None) is not None:
            host, sdk, address = (str(facts.get(name, "")) for name in ("host", "sdk", "address"))
            pid = facts.get("pid")
            workers[session] = RanOn(host, pid if isinstance(pid, int) else 0, sdk, address)
