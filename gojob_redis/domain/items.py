"""What the verbs of sessions and attempts take, a tuple for each item, in the order that its script declares."""

from typing import NamedTuple


class Enlistment(NamedTuple):
    """What a session announces; in the order of ``enlist``'s items."""

    session: str
    app: str
    group: str
    handlers: str
    """Full handler names, joined by blanks."""
    labels: str
    attributes: str
    """Joined by commas."""
    capacity: int
    gateway: str
    conn: int
    holder: str
    """Key id of the token that was shown."""
    name: str
    facts: bytes
    """Host, pid, SDK: msgpack, for people."""


class Renewal(NamedTuple):
    """One session's heartbeat; in the order of ``renew``'s items."""

    session: str
    conn: int
    age: int
    """ms since the worker was heard."""
    held: int
    """Seats the worker counts; -1 when it did not say."""
    capacity: int
    """-1: as before; -2: its socket is gone."""


UNLISTED = -1
"""``started`` of a run that the engine has bound to the session, and of which its worker says nothing."""


class HeldRun(NamedTuple):
    """A run a worker says it holds; in the order of ``resume``'s items."""

    run: str
    attempt: int
    fence: str
    started: int


class Start(NamedTuple):
    """An attempt that began; in the order of ``start``'s items."""

    session: str
    run: str
    attempt: int
    fence: str


class Report(NamedTuple):
    """How an attempt ended; in the order of ``report``'s items."""

    session: str
    run: str
    attempt: int
    fence: str
    outcome: str
    """ok | error | timeout | canceled"""
    final: int
    started: int
    """Wall ms the start was heard by the gateway, when it was not recorded before; else 0."""
    value: bytes
    """Result or error: msgpack, opaque."""


class Release(NamedTuple):
    """A run handed back unbegun; in the order of ``release``'s items."""

    session: str
    run: str
    attempt: int
    fence: str
    reason: str
    """draining | rejected | unknown_handler | unwritten"""
    conn: int = 0
    """The connection that never wrote it to its socket; 0 when the worker itself hands it back."""


class Heard(NamedTuple):
    """A cancel that a worker heard of; in the order of ``acknowledge``'s items."""

    session: str
    run: str
    attempt: int


class Note(NamedTuple):
    """A log line or a progress of a run; in the order of ``note``'s items."""

    session: str
    run: str
    attempt: int
    kind: str
    text: bytes
