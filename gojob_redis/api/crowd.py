"""Who is connected, and how long we put up with each: what a stranger may cost is bounded here.

1. A connection that has not shown a valid token is a stranger's. ``look``, once a second, closes those beyond
   ``strangers_most`` in all and ``per_address`` of one address, the oldest first. Only those count that we wait for,
   from one look to the next: when all workers come back at once, it is they who wait for us.
2. Strangers never hold more than half of the descriptors: one more closes the oldest. Nobody is ever turned away at the
   door, for whoever has a token shows it in milliseconds, so that it is never his connection which is the oldest.
3. A proxy that is trusted is nobody's address: its connections count as those of the clients it names, or as nobody's.
   So a balancer that was not named is one address with many strangers. Its oldest are closed, and nobody is locked out.
4. Every state of a connection has a deadline: the head of a request, the pause between two, a body that nobody reads,
   a peer that takes no bytes, a closed socket whose peer does not read what is left.
"""

import ipaddress
import math
import os
import sys
import time
from asyncio import Transport
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import structlog

from gojob_redis.domain import limits

if sys.platform != "win32":
    import resource

log = structlog.get_logger()

CLOSING_LOOKS: Final = 3
"""A connection that was closed and still stands after so many looks is cut off."""
LATE_S: Final = 3.0
"""A look that comes so late is our fault: nobody's time has passed."""
TOLD_EVERY_S: Final = 60.0
UNLIMITED: Final = 1_048_576


@dataclass(slots=True, eq=False)
class Guest:
    """One connection, whatever is spoken on it."""

    crowd: "Crowd"
    transport: Transport
    address: str
    trusted: bool
    """Whether it comes from a trusted proxy."""
    since: int
    """How many looks there had been when it came."""
    due: float
    """When it is closed unless something happens; infinite while a request is served, or a socket open."""
    asking: bool = False
    """Whether a request came whose answer it waits for."""
    stuck: float = math.inf
    """When it is cut off unless the peer takes bytes again."""
    known: bool = False
    """Whether it has shown a valid token."""
    closing: int = 0

    @property
    def idle(self) -> bool:
        """Whether we wait for it: it has asked nothing, or does not take the answer."""
        return not self.asking or self.stuck < math.inf

    def show_token(self) -> None:
        """A valid token came over this connection."""
        self.known = True
        self.crowd.strangers.pop(self, None)

    def abort(self) -> None:
        """Close at once, whatever waits to be written."""
        self.transport.abort()

    def takes_nothing(self) -> None:
        """Its buffer is full: the peer has some time to read."""
        self.stuck = self.crowd.now + limits.WRITE_MS / 1000

    def takes_again(self) -> None:
        """The peer has read."""
        self.stuck = math.inf


@dataclass(slots=True)
class Crowd:
    """All connections of one process.

    strangers_most, per_address: how many may stay that have not shown a token.
    proxies: addresses and networks of trusted proxies.
    proxy_protocol: whether their connections begin with a PROXY header.
    """

    strangers_most: int = limits.STRANGERS
    per_address: int = limits.STRANGERS_PER_ADDRESS
    proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = ()
    proxy_protocol: bool = False
    clock: Callable[[], float] = time.monotonic
    guests: dict[Guest, None] = field(default_factory=dict)
    strangers: dict[Guest, None] = field(default_factory=dict)
    """Oldest first."""
    now: float = field(init=False)
    """As of the last look: no request pays for a clock."""
    closed: Counter[str] = field(default_factory=Counter)
    """Connections that we ended, by the reason."""
    looks: int = 0
    _room: int = field(init=False)
    _trusts: Callable[[str], bool] = field(init=False)
    _told_at: float = -math.inf
    _untold: int = 0
    _out_of_descriptors: bool = False

    def __post_init__(self) -> None:
        self.now = self.clock()
        self._room = descriptors() // 2
        self._trusts = lru_cache(4_096)(lambda address: _is_in(address, self.proxies))

    def trusts(self, address: str) -> bool:
        """Whether this is the address of a trusted proxy."""
        return bool(self.proxies) and self._trusts(address)

    def join(self, transport: Transport) -> Guest:
        """A connection was accepted."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        guest = Guest(self, transport, address, self.trusts(address), self.looks, self.now + limits.HEAD_MS / 1000)
        self.guests[guest] = None
        self.strangers[guest] = None
        if len(self.strangers) > self._room:
            self._end(next(iter(self.strangers)), "descriptors")
        return guest

    def leave(self, guest: Guest) -> None:
        """A connection is gone."""
        self.guests.pop(guest, None)
        self.strangers.pop(guest, None)

    def forwarded(self, guest: Guest, chain: str) -> None:
        """A trusted proxy says whom it speaks for: ``X-Forwarded-For``, of which each proxy wrote the last address."""
        for address in reversed(chain.split(",")):
            if _is_address(address := address.strip()):
                guest.address = address
            if not self.trusts(address):
                return

    def look(self) -> None:
        """Once a second: close what is overdue, and the strangers that are too many."""
        before, self.now = self.now, self.clock()
        self.looks += 1
        self._room = descriptors() // 2
        if self.now - before > LATE_S:
            self._grant(self.now - before)
        for guest in list(self.guests):
            if guest.transport.is_closing():
                guest.closing += 1
                if guest.closing > CLOSING_LOOKS:
                    self._end(guest, "unread")
            elif self.now >= guest.stuck:
                self._end(guest, "slow")
            elif self.now >= guest.due:
                self.closed["late"] += 1
                guest.transport.close()
        self._look_at_strangers()
        self._look_at_descriptors()

    def _grant(self, seconds: float) -> None:
        """Give everybody the time in which this process stood still."""
        for guest in self.guests:
            guest.due += seconds
            guest.stuck += seconds

    def _look_at_strangers(self) -> None:
        idle = [guest for guest in self.strangers if guest.idle and self.looks - guest.since > 1]
        too_many = len(idle) - self.strangers_most
        by_address = Counter(guest.address for guest in idle if not self.trusts(guest.address))
        if too_many <= 0 and max(by_address.values(), default=0) <= self.per_address:
            return
        for guest in idle:
            if too_many > 0 or by_address[guest.address] > self.per_address:
                too_many -= 1
                by_address[guest.address] -= 1
                self._end(guest, "strangers")

    def _end(self, guest: Guest, why: str) -> None:
        self.strangers.pop(guest, None)
        self.closed[why] += 1
        guest.abort()
        if why in ("strangers", "descriptors"):
            self._untold += 1
            if self.now - self._told_at >= TOLD_EVERY_S:
                log.warning("strangers.closed", count=self._untold, left=len(self.strangers), address=guest.address)
                self._told_at, self._untold = self.now, 0

    def _look_at_descriptors(self) -> None:
        """The event loop drops connections silently when none is left: say so, once when it begins and when it ends."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
            out = False
        except OSError:
            out = True
        if out and not self._out_of_descriptors:
            log.error(
                "descriptors.used_up",
                limit=descriptors(),
                connections=len(self.guests),
                strangers=len(self.strangers),
                hint="Raise the limit of open files (LimitNOFILE, ulimit -n): new connections are dropped.",
            )
        elif self._out_of_descriptors and not out:
            log.warning("descriptors.free_again", limit=descriptors(), connections=len(self.guests))
        self._out_of_descriptors = out


def descriptors() -> int:
    """How many files this process may have open."""
    if sys.platform == "win32":
        return UNLIMITED
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def raise_descriptors() -> None:
    """Take as many open files as this process is allowed: each connection is one."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = UNLIMITED if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < target:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError) as error:
            log.warning("descriptors.not_raised", soft=soft, hard=hard, error=str(error))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)  # how an IPv6 socket shows an IPv4 peer
    return any((mapped or parsed) in network for network in networks)
