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
    known: dict[str, RanOn] = {}
    sessions = list(since)
    for first in range(0, len(sessions), SESSIONS_AT_ONCE):
        wanted = {session: since[session] for session in sessions[first : first + SESSIONS_AT_ONCE]}
        await _take_live(partition, wanted, known)
        await _take_ended(partition, app, wanted, now_ms, known)
    return known


async def _take_live(partition: Partition, wanted: dict[str, int], known: dict[str, RanOn]) -> None:
    asked = [("HGET", K.session(partition.prefix, session), "facts") for session in wanted]
    _take(dict(zip(list(wanted), await partition.read(asked), strict=True)), wanted, known)


async def _take_ended(
    partition: Partition, app: str, wanted: dict[str, int], now_ms: int, known: dict[str, RanOn]
) -> None:
    """From the cards of the days since then: each session left its card on the day of its end."""
    day, today = min(wanted.values(), default=now_ms) // limits.DAY_MS, now_ms // limits.DAY_MS
    while wanted and day <= today:
        days = range(day, min(day + DAYS_AT_ONCE, today + 1))
        sessions = list(wanted)
        asked = [("HMGET", K.cards(partition.prefix, app, str(each)), *sessions) for each in days]
        for answer in await partition.read(asked):
            _take(dict(zip(sessions, answer, strict=True)), wanted, known)
        day += DAYS_AT_ONCE


def _take(found: Mapping[str, bytes | None], wanted: dict[str, int], known: dict[str, RanOn]) -> None:
    for session, packed in found.items():
        facts = opaque(packed)
        if isinstance(facts, dict) and wanted.pop(session, None) is not None:
            host, sdk, address = (str(facts.get(name, "")) for name in ("host", "sdk", "address"))
            pid = facts.get("pid")
            known[session] = RanOn(host, pid if isinstance(pid, int) else 0, sdk, address)
