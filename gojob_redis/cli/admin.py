"""``gojob namespaces`` and ``gojob token``: who may do what, and where."""

import re
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from gojob_redis.cli.calls import call, part
from gojob_redis.cli.options import AsJson, Cursor, read_retention, read_span
from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.policies import POLICIES
from gojob_redis.domain.retention import NAMES
from gojob_redis.runtime.terminal import log_to_stderr, show

Kind = Literal["admin", "api", "worker"]
Mode = Literal["standalone", "cluster", "sentinel"]
Durability = Literal["fast", "replicated", "synced"]

tokens = typer.Typer(name="token", help="Make, list and revoke tokens.", no_args_is_help=True)
namespaces = typer.Typer(name="namespaces", help="Make and list namespaces.", no_args_is_help=True)


@namespaces.command("list")
def list_namespaces(cursor: Cursor = "", as_json: AsJson = False) -> None:
    """The namespaces that the token covers."""
    columns = ("name", "description", "durability", "made_ms")
    show(call("GET", "/namespaces", cursor=cursor), as_json, columns, paged=True)


@namespaces.command("show")
def show_namespace(name: str, as_json: AsJson = False) -> None:
    """One namespace, with how much of what it may have."""
    show(call("GET", f"/namespaces/{part(name)}"), as_json)


@namespaces.command("set")
def set_namespace(
    name: str,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    durability: Annotated[
        Durability | None, typer.Option(help="How safe something is before it is acknowledged.")
    ] = None,
    limit: Annotated[
        list[str], typer.Option(metavar="NAME=NUMBER", help="How much of something it may have, several times.")
    ] = [],  # noqa: B006  typer copies it
    default: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE", help="A policy where nothing else is said, several times; NAME= takes it away."
        ),
    ] = [],  # noqa: B006  typer copies it
    kept: Annotated[
        list[str],
        typer.Option(
            "--retention",
            metavar="NAME=VALUE",
            help="How long ended tasks are kept, such as failed=30d, several times; NAME= takes it away.",
        ),
    ] = [],  # noqa: B006  typer copies it
    as_json: AsJson = False,
) -> None:
    """Make a namespace, or change what is named of it; the rest stays."""
    body: dict[str, Any] = {"description": description, "durability": durability}
    if limit:
        body["limits"] = dict(map(_limit, limit))
    if default:
        body["defaults"] = dict(map(_default, default))
    if kept:
        body["retention"] = read_retention(kept, "--retention", NAMES)
    changes = {field: value for field, value in body.items() if value is not None}
    show(call("PUT", f"/namespaces/{part(name)}", changes), as_json)


def _default(option: str) -> tuple[str, Any]:
    """A policy by its name in the API or on the command line; a length of time as in other options."""
    name, sign, value = option.partition("=")
    policy = next((each for each in POLICIES if name in (each.name, each.field, each.flag[2:])), None)
    if not sign or policy is None:
        raise BadRequest(
            "bad_default",
            f"{option!r} sets no policy.",
            field="--default",
            hint="Write it as retries=3 or run-limit=5m.",
        )
    if not value:
        return policy.name, None
    try:
        plain: Any = value if policy.kind == "word" else policy.type(value)
    except ValueError:
        plain = read_span(value, "--default") if policy.kind == "ms" else value
    return policy.name, plain


def _limit(option: str) -> tuple[str, int]:
    name, _, number = option.partition("=")
    if not re.fullmatch("[0-9]{1,10}", number):
        raise BadRequest("bad_limit", f"{option!r} sets no limit.", field="--limit", hint="Write it as polls=200.")
    return name, int(number)


@tokens.command("create")
def create_token(
    kind: Annotated[Kind, typer.Argument(help="Who is to use it.")],
    name: Annotated[str, typer.Option("--name", help="Whose it is; for people.")] = "",
    scope: Annotated[list[str], typer.Option(help="*, NAMESPACE or NAMESPACE/APP, several times.")] = ["*"],  # noqa: B006
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", metavar="SPAN", help="Such as 90d; never, unless set.")
    ] = None,
    redis: Annotated[
        str,
        typer.Option(
            "--redis",
            help="Make it in this engine, without the API: when no admin token is left. - is that of GOJOB_REDIS__URL: "
            "everybody on the machine can read a command line, and a password in it.",
        ),
    ] = "",
    redis_mode: Annotated[
        Mode | None, typer.Option("--redis-mode", help="What --redis names; else GOJOB_REDIS__MODE.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown this once."""
    expires_ms = round(time.time() * 1000) + read_span(expires_in, "--expires-in") if expires_in is not None else 0
    if redis:
        import asyncio

        log_to_stderr("warning", as_json=as_json)
        show(asyncio.run(_create_in(redis, redis_mode, kind, name, scope, expires_ms)), as_json)
        return
    show(call("POST", "/tokens", {"kind": kind, "name": name, "scope": scope, "expires_ms": expires_ms}), as_json)


async def _create_in(
    url: str, mode: Mode | None, kind: Kind, name: str, scope: Sequence[str], expires_ms: int
) -> dict[str, Any]:
    from gojob_redis.control.installation import bootstrap_or_open
    from gojob_redis.control.tokens import create_token
    from gojob_redis.domain.errors import Unavailable
    from gojob_redis.engine.client import connected
    from gojob_redis.engine.errors import EngineError
    from gojob_redis.engine.partitions import Partitions
    from gojob_redis.node import engine_url
    from gojob_redis.runtime import config

    address = {} if url == "-" else {"url": url}
    settings = config.overridden(config.read(), address | ({"mode": mode} if mode else {}))
    try:
        async with connected(engine_url(settings), mode=settings.redis.mode) as clients:
            await clients.admin.ping()
            space = Partitions(clients, settings.redis.partitions)
            await bootstrap_or_open(space, may_bootstrap=False)
            issued = await create_token(space, kind, name=name, scope=scope, expires_ms=expires_ms)
    except EngineError as error:
        raise Unavailable(f"The engine does not answer: {error}.", 1.0, hint="Is it running at --redis?") from error
    return {"key_id": issued.facts.key_id, "kind": kind, "scope": list(issued.facts.scope), "token": issued.token}


@tokens.command("list")
def list_tokens(cursor: Cursor = "", as_json: AsJson = False) -> None:
    """All tokens, without what makes them usable."""
    columns = ("key_id", "kind", "name", "scope", "made_ms", "expires_ms")
    show(call("GET", "/tokens", cursor=cursor), as_json, columns, paged=True)


@tokens.command("revoke")
def revoke_token(key_id: str, as_json: AsJson = False) -> None:
    """Revoke a token; its sockets are closed within 10 s."""
    call("DELETE", f"/tokens/{part(key_id)}")
    show({"key_id": key_id, "revoked": True}, as_json)
