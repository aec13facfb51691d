"""Cards of triggers: what a list of many is filtered by, as ``lua/lib/card.lua`` writes it beside each name."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Self

from gojob_redis.domain.states import TriggerState

_BETWEEN = b"\x1f"


class Card(NamedTuple):
    """A trigger by what it is found by; a tuple, because a search reads thousands."""

    uid: str
    state: TriggerState
    handler: str
    """Its name in its app."""
    owner: str
    line: str
    """Its schedule, for ``schedule.of_line``."""

    @classmethod
    def read(cls, card: bytes) -> Self:
        """What a card says; parts that are missing are empty, those of a later release are passed over."""
        uid, state, handler, owner, line, *_ = [*card.decode("utf-8", "replace").split("\x1f"), "", "", "", ""]
        return cls(uid, TriggerState.of(state), handler, owner, line)


def states_in(cards: Iterable[bytes]) -> Counter[TriggerState]:
    """How many of some triggers are in each state, by their cards: a tenth of what reading these takes."""
    words = Counter(card.split(_BETWEEN, 2)[1] if _BETWEEN in card else b"" for card in cards)
    states: Counter[TriggerState] = Counter()
    for word, count in words.items():
        states[TriggerState.of(word.decode("utf-8", "replace"))] += count
    return states


def uid_bytes_in(card: bytes) -> bytes:
    """The uid of a trigger by its card, as it is stored."""
    return card.partition(_BETWEEN)[0]


def uid_in(card: bytes | None) -> str | None:
    """The uid of a trigger by its card; None for no card."""
    return None if card is None else card.partition(_BETWEEN)[0].decode("utf-8", "replace")
