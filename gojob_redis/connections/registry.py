"""Which connection a session has at this gateway, and which hint is for it.

Session *and* connection number must agree: a session that comes home is sent everything anew, so what was meant for an
older connection is dropped. The engine may speak to a session before it answered the call that brings it home; until
then its hints wait with the arriving connection. Whoever arrives only says whose session it is: what the connection
that is known gets, does not wait with him, and what did is forgotten if the engine calls the session another's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gojob_redis.connections.close import moved
from gojob_redis.connections.connection import Connection
from gojob_redis.domain import hints


@dataclass(slots=True)
class Registry:
    """The connections of a gateway by session."""

    connections: dict[str, Connection] = field(default_factory=dict)
    arrivals: dict[str, Connection] = field(default_factory=dict)

    @contextmanager
    def arriving(self, session: str, connection: Connection) -> Iterator[None]:
        """Hints for this session wait with the connection; leave the block in the turn in which ``connect`` follows."""
        self.arrivals[session] = connection
        try:
            yield
        finally:
            if self.arrivals.get(session) is connection:
                del self.arrivals[session]

    def connect(self, connection: Connection) -> None:
        """This is the session's connection now; raises HangUp when a still newer one was faster."""
        session = connection.session
        older = self.connections.get(session.id)
        if older is not None and older.session.conn > session.conn:
            raise moved()
        self.connections[session.id] = connection
        if older is not None:
            older.cut(moved())

    def hand_over(self, connection: Connection) -> None:
        """Deliver what waited with a connection that is connected now."""
        early, connection.early = connection.early, []
        for hint in early:
            self.deliver(hint)

    def disconnect(self, connection: Connection) -> bool:
        """Whether the connection was the session's connection until now."""
        if self.connections.get(connection.session.id) is not connection:
            return False
        del self.connections[connection.session.id]
        return True

    def deliver(self, hint: hints.Hint) -> bool:
        """Hand a hint to the connection it is meant for; False when its session is not here any more."""
        connection = self.connections.get(hint.session)
        if isinstance(hint, hints.Moved):
            if connection is not None and connection.session.conn <= hint.conn:
                connection.take(hint)
            return True
        arriving = self.arrivals.get(hint.session)
        if arriving is not None and (connection is None or hint.conn > connection.session.conn):
            arriving.early.append(hint)
            return True
        if connection is None or hint.conn > connection.session.conn:
            return False
        if hint.conn == connection.session.conn:
            connection.take(hint)
        return True
