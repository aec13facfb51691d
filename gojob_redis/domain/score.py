"""Where a run stands in its lane: the higher priority first, of one priority the earlier moment.

Scripts say it in ``lua/lib/score.lua``.
"""

from typing import Final

from gojob_redis.domain import limits

PRIORITY_STEP: Final = 10**13
"""Longer than any moment in ms, so that one number says both."""


def score_at(at_ms: int, priority: int = limits.PRIORITY) -> int:
    """The score of a run of this priority that could be bound from this moment on."""
    return (limits.PRIORITY_MAX - priority) * PRIORITY_STEP + at_ms
