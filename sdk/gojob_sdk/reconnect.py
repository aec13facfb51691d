"""When and where to connect again, and how loud to say why there is no connection.

A worker connects again at once when its gateway moves it, when a busy gateway says so, within 1 s while runs depend on
it, and ever later while it is idle.

A worker that loses its connection while it is idle first lets those past whose runs depend on theirs: perhaps all of
them lost it at the same moment. Its pauses grow with each round over all addresses, not with each address: that one is
down says nothing about the next.
"""

import logging
import random

from gojob_sdk.protocol import Error

HOLDING_PAUSE_S = 1.0
IDLE_PAUSE_S = 30.0
LET_PAST_S = (1.0, 3.0)
REFUSED_PAUSE_S = 30.0
LOUD_AGAIN_S = 60.0


class Reconnect:
    """The addresses of the gateways, and what happened at them lately."""

    def __init__(self, urls: list[str]) -> None:
        self.url = urls[0]
        self.was_welcome = False
        """Some gateway accepted this worker at least once."""
        self._urls = urls
        self._attempts = 0
        self._at_once = False
        self._loud_at: dict[str, float] = {}
        """Reasons that were logged loudly during the last minute, and when."""

    def welcomed(self) -> None:
        """Begin to count from here: a gateway accepted this worker."""
        self.was_welcome = True
        self._attempts = 0
        self._loud_at.clear()

    def moved(self) -> None:
        """Make the next pause none at all: the gateway asked this worker to connect elsewhere."""
        self._at_once = True

    def next_url(self) -> None:
        self.url = self._urls[(self._urls.index(self.url) + 1) % len(self._urls)]

    def pause_s(self, *, final: bool, idle: bool, refusal: Error | None) -> float:
        """How long to wait before the next attempt.

        final: the gateway said that trying again does not help. idle: no run depends on this connection.
        """
        self._attempts += 1
        if self._at_once:
            self._at_once = False
            return 0.0
        if final:
            return REFUSED_PAUSE_S
        if refusal is not None and "retry_ms" in refusal:
            pause_s = refusal["retry_ms"] / 1000 * random.uniform(0.75, 1.25)
            return pause_s if idle else min(pause_s, HOLDING_PAUSE_S)
        if not idle:
            return random.uniform(0, HOLDING_PAUSE_S)
        return self._idle_pause_s()

    def _idle_pause_s(self) -> float:
        if self.was_welcome and self._attempts == 1:
            return random.uniform(*LET_PAST_S)
        rounds = (self._attempts - 1) // len(self._urls)
        if not rounds:
            return random.uniform(0, HOLDING_PAUSE_S)
        return random.uniform(0, min(IDLE_PAUSE_S, 2.0 ** (rounds + 1)))

    def loudness(self, reason: str, *, final: bool, now: float) -> int:
        """The level at which to log why there is no connection: the same reason is loud once a minute."""
        self._loud_at = {earlier: at for earlier, at in self._loud_at.items() if now - at < LOUD_AGAIN_S}
        if reason in self._loud_at:
            return logging.DEBUG
        self._loud_at[reason] = now
        return logging.ERROR if final else logging.WARNING
