"""Who is let in, and as which session: from the handshake of a socket to its welcome."""

from collections.abc import Collection, Sequence
from typing import Final, Protocol

import msgpack
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from gojob_redis import match
from gojob_redis.connections.admission import Admission
from gojob_redis.connections.batchers import ITEM_BYTES, Batchers
from gojob_redis.connections.connection import Connection
from gojob_redis.connections.registry import Registry
from gojob_redis.connections.session import Key, held_runs, kept_and_dropped
from gojob_redis.connections.settings import Bounds
from gojob_redis.connections.socket import Guest
from gojob_redis.connections.specs import SpecSet, specs_in
from gojob_redis.domain import ids, names, quotas, verbs
from gojob_redis.domain.errors import Refused, Unavailable
from gojob_redis.domain.quotas import Headcount
from gojob_sdk import protocol

CROWDED_PAUSE_S: Final = 10.0


class Identity(Protocol):
    """Who is behind a token."""

    @property
    def key_id(self) -> str: ...

    def may_work(self, namespace: str, app: str) -> bool:
        """Whether a worker of this app may connect with it."""


class Identities(Protocol):
    """Who may connect; see ``control.Identities``."""

    async def of_worker(self, authorization: str | None) -> Identity:
        """The identity behind a header; raises Refused, Unavailable."""

    async def still_good(self, key_id: str) -> bool:
        """Whether a token that was let in was not revoked since."""

    async def check_namespace(self, name: str) -> str:
        """Raises NotFound for a namespace that does not exist."""


class Handshake:
    """Lets workers in.

    allowed_origins: of browsers; a worker sends none.
    """

    def __init__(
        self,
        batchers: Batchers,
        registry: Registry,
        identities: Identities,
        bounds: Bounds,
        allowed_origins: Sequence[str],
    ) -> None:
        self.space = batchers.space
        self.gateway = batchers.gateway
        self.batchers = batchers
        self.registry = registry
        self.identities = identities
        self.bounds = bounds
        self.allowed_origins = frozenset(allowed_origins)
        self.admission = Admission()
        self.sockets = Headcount("sockets", code="sockets_full")

    async def identify(self, websocket: WebSocket) -> "Identity | JSONResponse":
        """Who shakes hands; or why that is turned down, as a problem document: a stranger gets no socket."""
        denial = self._denial(websocket)
        if denial is not None:
            return denial
        try:
            identity = await self.identities.of_worker(websocket.headers.get("authorization"))
        except Refused as error:
            return _problem(403 if error.code == "forbidden" else 401, error.code, error.message, error.hint)
        except Unavailable as error:
            return _problem(503, error.code, error.message, error.hint)
        guest: Guest | None = websocket.scope.get("state", {}).get("guest")
        if guest is not None:
            guest.show_token()
        return identity

    def _denial(self, websocket: WebSocket) -> JSONResponse | None:
        origin = websocket.headers.get("origin")
        if origin is not None and origin not in self.allowed_origins:
            return _problem(403, "forbidden_origin", "Pages of this origin may not open a worker socket.")
        if protocol.SUBPROTOCOL not in websocket.scope["subprotocols"]:
            return _problem(400, "unknown_protocol", f"Ask for the subprotocol {protocol.SUBPROTOCOL}.")
        return None

    async def admit(self, connection: Connection, identity: Identity) -> None:
        """From the accepted handshake to the welcome; raises Refused, NotFound, Unavailable, HangUp."""
        hello = await connection.read_hello()
        namespace, app = hello["namespace"], hello["app"]
        if not identity.may_work(namespace, app):
            raise _forbidden(
                f"This token does not allow work for {namespace}/{app}.",
                "Use a token whose scope holds this app.",
                field="hello.app",
            )
        await self.identities.check_namespace(namespace)
        connection.key_id, connection.session.worker = identity.key_id, hello["worker"]
        may_have = await self.batchers.levels.quotas_of(namespace)
        connection.leaving.enter_context(self.sockets.one(identity.key_id, namespace, may_have))
        connection.partition = await self.space.of_app(f"{namespace}/{app}")
        connection.spec_set = specs_in(hello, connection.partition)
        connection.session.specs = "" if connection.spec_set is None else connection.spec_set.id
        welcome = await self._resume(connection, hello) or await self._enlist(connection, hello)
        connection.tell("welcome", welcome)
        connection.counters.welcomed += 1
        self.registry.hand_over(connection)

    async def _resume(self, connection: Connection, hello: protocol.Hello) -> protocol.Welcome | None:
        """Bring the session the worker had home; None when it had none, or it is over."""
        session = hello.get("session")
        if session is None:
            return None
        app = f"{hello['namespace']}/{hello['app']}"
        runs = held_runs(hello["held"])
        with self.registry.arriving(session, connection):
            resumed = await match.resume(
                connection.partition,
                session=session,
                app=app,
                holder=connection.key_id,
                gateway=self.gateway,
                conn=0,
                capacity=hello["capacity"],
                runs=runs,
            )
        if resumed.word == "foreign":
            connection.early.clear()
            raise _forbidden(
                "The session belongs to another token or app.",
                "Leave the session out to begin a new one.",
                field="hello.session",
            )
        if resumed.word != "ok":
            return None
        keep, drop = kept_and_dropped(runs, resumed.verdicts)
        kept = {(run.run, run.attempt) for run in runs} - {(run["run"], run["attempt"]) for run in drop}
        welcome = self._at_home(connection, session, resumed.conn, app, kept)
        return welcome | {"resumed": True, "keep": keep, "drop": drop}

    async def _enlist(self, connection: Connection, hello: protocol.Hello) -> protocol.Welcome:
        """Register a new session."""
        session = ids.new_session_id()
        app = f"{hello['namespace']}/{hello['app']}"
        enlistment = _enlistment(
            hello, session, app, self.gateway, connection.key_id, connection.spec_set, connection.socket.address
        )
        size = ITEM_BYTES + len(enlistment.handlers) + len(enlistment.facts)
        word = "more"
        while word == "more":  # each piece waits for its turn: a group with many handlers keeps nobody else out
            async with self.admission.turn(holding=bool(hello["held"])):
                with self.registry.arriving(session, connection):
                    word = await self.batchers.enlist(connection.partition).put(enlistment, tenant=app, size=size)
        if word == "handlers_full":
            raise quotas.refusal(word, app, self.batchers.levels.held(app))
        if word != "ok":
            raise Unavailable(
                f"16 different groups of {app} announce one of these handlers with these labels already.",
                CROWDED_PAUSE_S,
                code=word,
                hint="Let all workers of a deployment announce the same handlers and labels.",
            )
        return self._at_home(connection, session, 1, app)

    def _at_home(
        self, connection: Connection, session: str, conn: int, app: str, kept: Collection[Key] = ()
    ) -> protocol.Welcome:
        """The engine knows the session and this connection of it: hints reach it from now on."""
        connection.session.come_home(session, conn, app, connection.clock(), kept)
        self.registry.connect(connection)
        return {
            "type": "welcome",
            "session": session,
            "conn": conn,
            "gateway": self.gateway,
            "resumed": False,
            "heartbeat_ms": self.bounds.heartbeat_ms,
            "lease_ms": self.bounds.lease_ms,
            "protocol": connection.session.version,
        }


def _enlistment(
    hello: protocol.Hello, session: str, app: str, gateway: str, holder: str, spec_set: SpecSet | None, address: str
) -> verbs.Enlistment:
    """What a hello announces, in the engine's words."""
    facts = {"host": hello["host"], "pid": hello["pid"], "sdk": hello["sdk"], "address": address}
    if spec_set is not None:
        facts["specs"] = spec_set.id
    handlers = sorted({f"{app}/{handler}" for handler in hello["handlers"]})
    attributes = sorted(set(hello["attributes"]))
    return verbs.Enlistment(
        session=session,
        app=app,
        group=names.group_id(app, handlers, hello["labels"], [pair.partition("=")[0] for pair in attributes]),
        handlers=" ".join(handlers),
        labels=names.canonical_labels(hello["labels"]),
        attributes=",".join(attributes),
        capacity=hello["capacity"],
        gateway=gateway,
        conn=1,
        holder=holder,
        name=hello["worker"],
        facts=msgpack.packb(facts),
    )


def _forbidden(message: str, hint: str, *, field: str) -> Refused:
    return Refused("forbidden", message, protocol.CLOSE_FORBIDDEN, hint, field=field)


def _problem(status: int, code: str, detail: str, hint: str | None = None) -> JSONResponse:
    body = {"type": f"urn:gojob:problem:{code}", "status": status, "code": code, "detail": detail}
    headers = {401: {"WWW-Authenticate": 'Bearer realm="gojob"'}, 503: {"Retry-After": "1"}}.get(status)
    hinted = body | {"hint": hint} if hint else body
    return JSONResponse(hinted, status, headers, media_type="application/problem+json")
