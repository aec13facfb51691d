"""The lease of a session: when it has to be renewed, when it ends, and when the gateway has been silent for too long.

1. The lease counts from the *sending* of the last renewal that was answered, because the engine counts from about
   then. The hello counts as a renewal, and its welcome as the answer.
2. A lease that ended may turn out to be alive: the answer to a later renewal, or a resumed session, regains it.

No I/O and no clock: time is an argument, in seconds of one clock that only grows.
"""

from math import inf

WELCOME_WITHIN_S = 10.0
SILENCE_OF_LEASE = 0.8
"""The part of a lease after which a gateway that does not answer is given up."""

HELLO = 0
"""The number of the hello among the renewals."""


class Lease:
    """One lease over all connections of a session. It never ends before the first welcome."""

    def __init__(self) -> None:
        self.lost = False
        self.ends = inf
        self.renew_at = inf
        self._silent_at = inf
        self._heartbeat_s = inf
        self._length_s = inf
        self._seq = HELLO
        self._sent_at: dict[int, float] = {}

    @property
    def tick_at(self) -> float:
        """When ``lose`` or ``silent`` answers True, if nothing happens before."""
        return self._silent_at if self.lost else min(self.ends, self._silent_at)

    def hello(self, now: float) -> None:
        """Begin on a new connection: answers to renewals of the last one will not come any more."""
        self._sent_at = {HELLO: now}
        self._silent_at = now + WELCOME_WITHIN_S

    def welcome(self, heartbeat_s: float, length_s: float, now: float) -> None:
        """Take the times that the gateway gives; the lease counts from the hello."""
        self._heartbeat_s = heartbeat_s
        self._length_s = length_s
        self._hold_from(self._sent_at.pop(HELLO, now))
        self.renew_at = now + heartbeat_s

    def offline(self) -> None:
        """Stop renewing and waiting for answers. The lease itself goes on."""
        self._silent_at = self.renew_at = inf

    def renew(self, now: float) -> int | None:
        """The number of the renewal that has to be sent now; None if it is too early."""
        if now < self.renew_at:
            return None
        self._seq += 1
        self._sent_at[self._seq] = now
        self.renew_at = now + self._heartbeat_s
        return self._seq

    def renewed(self, seq: int) -> None:
        """Take the answer to a renewal; one that was answered or overtaken before changes nothing."""
        sent_at = self._sent_at.get(seq)
        if sent_at is not None:
            self._sent_at = {later: at for later, at in self._sent_at.items() if later > seq}
            self._hold_from(sent_at)

    def _hold_from(self, sent_at: float) -> None:
        self.ends = sent_at + self._length_s
        self._silent_at = sent_at + self._length_s * SILENCE_OF_LEASE

    def lose(self, now: float) -> bool:
        """Whether the lease has ended since it was last asked."""
        if self.lost or now < self.ends:
            return False
        self.lost = True
        return True

    def regain(self, now: float) -> bool:
        """Whether a lease that was taken for lost is alive after all."""
        if not self.lost or now >= self.ends:
            return False
        self.lost = False
        return True

    def silent(self, now: float) -> bool:
        """Whether the gateway owes an answer for too long; True once per answer."""
        if now < self._silent_at:
            return False
        self._silent_at = inf
        return True
