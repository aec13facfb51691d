"""What the engine tells a gateway: runs that were bound, runs to cancel, sessions that moved or have to be compared."""

from typing import NamedTuple

UNIT = b"\x1f"


class Assignment(NamedTuple):
    """A run bound to a session of this gateway, complete."""

    session: str
    conn: int
    run: str
    attempt: int
    fence: str
    handler: str
    """namespace/app/handler"""
    shards: int
    retry: int
    retries: int
    run_limit_ms: int
    confirm: bool
    trigger: str
    made: int
    traceparent: str
    fetch: int
    """Bytes of a parameter that was too large to ride along and has to be fetched; 0 = it is here."""
    param: bytes
    shard_param: bytes


class Cancel(NamedTuple):
    """A run whose worker has to be told to stop."""

    session: str
    conn: int
    run: str
    attempt: int
    reason: str
    grace_ms: int


class Moved(NamedTuple):
    """A session that found another home: a connection with this number or an older one is to be closed."""

    session: str
    conn: int


class Sync(NamedTuple):
    """A session whose worker has to be asked for the list of what it holds."""

    session: str
    conn: int


Hint = Assignment | Cancel | Moved | Sync


def parse(value: bytes) -> Hint | None:
    """Read one inbox value; a kind this release does not know is None."""
    kind, _, rest = value.partition(UNIT)
    if kind == b"run":
        *texts, size, params = rest.split(UNIT, 15)
        session, conn, run, attempt, fence, handler, shards, retry, retries, limit, confirm, trigger, begun, fetch = (
            _texts(UNIT.join(texts))
        )
        cut = int(size)
        made_ms, _, traceparent = begun.partition(" ")
        return Assignment(
            session, int(conn), run, int(attempt), fence, handler, int(shards), int(retry), int(retries), int(limit),
            confirm == "1", trigger, int(made_ms), traceparent, int(fetch), params[:cut], params[cut:],
        )  # fmt: skip
    if kind == b"cancel":
        session, conn, run, attempt, reason, grace = _texts(rest)
        return Cancel(session, int(conn), run, int(attempt), reason, int(grace))
    if kind in (b"moved", b"sync"):
        session, conn = _texts(rest)
        return (Moved if kind == b"moved" else Sync)(session, int(conn))
    return None


def _texts(fields: bytes) -> list[str]:
    """The fields of a hint, decoded together: one by one takes half of the time that reading it does."""
    return fields.decode(errors="replace").split("\x1f")
