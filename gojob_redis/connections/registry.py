"""Which connection a session has at this gateway, and which hint is for it.

Session *and* connection number must agree: a session that comes home is sent everything anew, so what was meant for an
older connection is dropped. The engine may speak to a session before it answered the call that brings it home; until
then its hints wait with the arriving link. Whoever arrives only says whose session it is: what the connection that is
known gets, does not wait with him, and what did is forgotten if the engine calls the session another's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gojob_redis import relay
from gojob_redis.connections.connection import Link, moved


@dataclass(slots=True)
class Switchboard:
    """The links of a gateway by session."""

    links: dict[str, Link] = field(default_factory=dict)
    arrivals: dict[str, Link] = field(default_factory=dict)

    @contextmanager
    def arriving(self, session: str, link: Link) -> Iterator[None]:
        """Hints for this session wait with the link; leave the block in the same turn in which ``connect`` follows."""
        self.arrivals[session] = link
        try:
            yield
        finally:
            if self.arrivals.get(session) is link:
                del self.arrivals[session]

    def connect(self, link: Link) -> None:
        """This is the session's connection now; raises HangUp when a still newer one was faster."""
        session = link.session
        older = self.links.get(session.id)
        if older is not None and older.session.conn > session.conn:
            raise moved()
        self.links[session.id] = link
        if older is not None:
            older.cut(moved())

    def hand_over(self, link: Link) -> None:
        """Deliver what waited with a link that is connected now."""
        early, link.early = link.early, []
        for hint in early:
            self.deliver(hint)

    def disconnect(self, link: Link) -> bool:
        """Whether the link was the session's connection until now."""
        if self.links.get(link.session.id) is not link:
            return False
        del self.links[link.session.id]
        return True

    def deliver(self, hint: relay.Hint) -> bool:
        """Hand a hint to the connection it is meant for; False when its session is not here any more."""
        link = self.links.get(hint.session)
        if isinstance(hint, relay.Moved):
            if link is not None and link.session.conn <= hint.conn:
                link.take(hint)
            return True
        arriving = self.arrivals.get(hint.session)
        if arriving is not None and (link is None or hint.conn > link.session.conn):
            arriving.early.append(hint)
            return True
        if link is None or hint.conn > link.session.conn:
            return False
        if hint.conn == link.session.conn:
            link.take(hint)
        return True
