"""Calls of the API, and what it refuses, in the words of the command line."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from gojob_redis.domain import limits
from gojob_redis.domain.errors import BadRequest, GojobError, Unavailable
from gojob_redis.domain.policies import POLICIES

DEFAULT_URL: Final = f"http://127.0.0.1:{limits.HTTP_PORT}"
REQUEST_S: Final = 30.0
CONNECT_S: Final = 5.0
PACKED: Final = "application/vnd.msgpack"


class Answered(GojobError):
    """The API refused."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        detail = str(problem.get("detail", f"The API answered {status}."))
        field, hint = str(problem.get("field") or ""), str(problem.get("hint") or "")
        super().__init__(str(problem.get("code", "refused")), in_flags(detail, field), hint=as_command(hint))
        self.status = status


def call(
    method: str,
    path: str,
    body: Any = None,
    *,
    wait_s: float = 0,
    headers: Mapping[str, str] | None = None,
    **query: Any,
) -> Any:
    """Ask the API; raises Answered, Unavailable, BadRequest for a bad address or token.

    Where GOJOB_URL holds several addresses, the first one that can be reached is asked.
    """
    import httpx2

    urls, token = _urls(), _token()
    request: dict[str, Any] = {"headers": _headers(token, headers or {}), "params": _query(query)}
    if body is not None:
        request["headers"]["Content-Type"] = "application/json"
        request["content"] = _json(body)
    timeout = httpx2.Timeout(REQUEST_S + wait_s, connect=CONNECT_S)
    for url in urls:
        try:
            answer = httpx2.request(method, f"{url}/v1{path}", timeout=timeout, **request)
        except httpx2.ConnectError as error:
            trouble: Exception = error
            continue
        except httpx2.HTTPError as error:
            trouble = error
            break
        return _answer(url, answer)
    reason = str(trouble) or type(trouble).__name__
    raise Unavailable(f"{', '.join(urls)} does not answer: {reason}.", 1.0, hint=_hint_where()) from None


def follow(topics: Sequence[str], position: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Kind and data of what happens; raises Answered, Unavailable."""
    from gojob_sdk.errors import ClientError, Unreachable
    from gojob_sdk.stream import Stream

    urls = _urls()
    try:
        with Stream(urls, _token(), topics, position=position, give_up_s=REQUEST_S) as stream:
            for message in stream:
                yield message.kind, message.data
    except ClientError as error:
        raise Answered(error.status, error.problem) from None
    except Unreachable as error:
        raise Unavailable(str(error), 1.0, hint=_hint_where()) from None


def _headers(token: str, headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            flag = FLAGS.get(name, name)
            raise BadRequest(
                "bad_key", f"{flag} is not printable ASCII.", field=flag, hint="Pass a text such as a UUID."
            )
    return {"Authorization": f"Bearer {token}", **headers}


def _query(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The query parameters that were given; a list gives one for each of its values."""
    given = [(name, value) for name, value in query.items() if value not in (None, "", [])]
    return [(name, _text(each)) for name, value in given for each in (value if isinstance(value, list) else [value])]


def _text(value: Any) -> str:
    """A value as text. Bytes that are no text become question marks, which the API refuses."""
    return str(value).encode("utf-8", "replace").decode()


def _json(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRequest("bad_json", f"This cannot be sent as JSON: {error}.", hint="Use null or a text.") from None


def _answer(url: str, answer: Any) -> Any:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = None
    if answer.status_code >= 400 and isinstance(body, dict):
        raise Answered(answer.status_code, body)
    if answer.status_code < 300 and answer.headers.get("Content-Type") == PACKED:
        return _unpacked(answer.content)
    if body is None or answer.status_code >= 300:
        raise Unavailable(
            f"{url} answered {answer.status_code}, but not as a gateway does.",
            1.0,
            hint="Set GOJOB_URL to the address of a gojob gateway.",
        )
    return body


def _unpacked(content: bytes) -> Any:
    """A value as it was stored; what JSON does not know is shown as text."""
    import msgpack

    return json.loads(json.dumps(msgpack.unpackb(content, strict_map_key=False), default=repr))


def _urls() -> list[str]:
    urls = [url.strip().rstrip("/") for url in (os.environ.get("GOJOB_URL") or DEFAULT_URL).split(",")]
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise BadRequest(
                "bad_url",
                f"GOJOB_URL {url!r} is no address.",
                field="GOJOB_URL",
                hint=f"Write it as {DEFAULT_URL}.",
            )
    return urls


def _token() -> str:
    token = os.environ.get("GOJOB_TOKEN", "").strip()
    if not token:
        raise BadRequest("no_token", "GOJOB_TOKEN is not set.", field="GOJOB_TOKEN", hint=HINT_TOKEN)
    if not (token.isascii() and token.isprintable()):
        raise BadRequest("bad_token", "GOJOB_TOKEN is no token.", field="GOJOB_TOKEN", hint=HINT_TOKEN)
    return token


def _hint_where() -> str:
    if "GOJOB_URL" in os.environ:
        return "Is a gateway running there? GOJOB_URL says where to look."
    return "Is a gateway running? Set GOJOB_URL to its address, as 'gojob dev' prints it."


HINT_TOKEN: Final = "'gojob dev' prints a line that sets it; 'gojob token create' makes further tokens."


# ---- paths -----------------------------------------------------------------------------------------------------------


def parts_of(app: str) -> tuple[str, str]:
    """Namespace and name of ``namespace/app``, or of an app of namespace default; nothing for nothing."""
    namespace, slash, name = app.rpartition("/")
    return (namespace if slash or not name else "default"), name


def below_app(app: str) -> str:
    """The path of ``namespace/app``."""
    namespace, slash, name = app.rpartition("/")
    if "/" in namespace:
        raise BadRequest(
            "bad_app", f"--app {app!r} is no app.", field="--app", hint="Write it as namespace/app, or app."
        )
    if not name:
        raise BadRequest("bad_app", "No app is named.", field="--app", hint="Pass --app NAME or set GOJOB_APP.")
    return f"/apps/{part(namespace if slash else 'default')}/{part(name)}"


def part(name: str) -> str:
    """A name as one part of a path."""
    if name in ("", ".", "..") or "/" in name:
        raise BadRequest("bad_name", f"{name!r} is no name.", field="name", hint="Pass a name or an id.")
    return quote(_text(name), safe="")


# ---- the words of the command line -----------------------------------------------------------------------------------

PHRASES: Final = (
    (r"Define it with PUT\.", "Define it with 'gojob triggers set'."),
    (r"PUT /v1/namespaces\.", "'gojob namespaces set'."),
    (r"GET /v1/apps/([\w.-]+/[\w.-]+)/handlers/([\w.-]+)", r"'gojob handlers show \2 --app \1'"),
    (r"POST /v1/apps/([\w.-]+/[\w.-]+)/handlers/([\w.-]+)/resume", r"gojob queues resume \2 --app \1"),
    (r"GET /v1/workers\?namespace=([\w.-]+)&app=([\w.-]+)", r"gojob workers list --app \1/\2"),
    (r"(gojob workers list --app \S+)&handler=([\w.-]+)", r"\1 --handler \2"),
    (r"(or )?set allow_unknown", r"\1pass --allow-unknown"),
    (r"GET /v1/failures tells", "'gojob failures' tells"),
    (r"Add app=NAME\b", "Pass --app NAME"),
    (r"Send 'Authorization: Bearer \S+'\.", f"Set GOJOB_TOKEN: {HINT_TOKEN}"),
    (r"Pass 'next' as it came\.", "Pass --cursor as it was printed."),
    (r"Send the trigger's revision\.", "Pass --revision as 'gojob triggers show' tells it."),
    (r"Read the trigger again and repeat the change on what it says now\.", "Look at it and repeat the change."),
    (r"Give milliseconds since 1970, or text such as (\S+)", r"Write it as \1"),
    (r"(Add|Leave) it( out)?; see /docs\.", r"\1 it\2; see --help."),
    (r"See /docs[^.]*\.", "See --help."),
    (r"Give later ms\.", "Give a longer span."),
    (r"List the tokens to see theirs\.", "'gojob token list' shows them."),
    (r"Report it with the X-Request-Id\.", "Report it with the gateway's log of that minute."),
    (r"Send 'Content-Type: [^']*'\.", ""),
)
"""What a hint of the API says, and how the command line says it."""

FLAGS: Final = {
    "schedule.spec": "--cron",
    "schedule.time_zone": "--zone",
    "schedule.every_ms": "--every",
    "schedule.at": "--at",
    "schedule.start_at": "--start-at",
    "schedule.end_at": "--end-at",
    "labels": "--label",
    "expires_ms": "--expires-in",
    "Idempotency-Key": "--idempotency-key",
    "key": "--key",
    "traceparent": "--traceparent",
    "after": "--after",
    "app": "--app",
    "at": "--at",
    "cursor": "--cursor",
    "delay_ms": "--delay",
    "error": "--error",
    "filter.error": "--error",
    "facets": "--by",
    "from": "--from",
    "group_by": "--by",
    "kind": "--kind",
    "sort": "--sort",
    "to": "--to",
    "within_ms": "--within",
    "zone": "--zone",
    "description": "--description",
    "limit": "--limit",
    "params": "--params",
    "owner": "--owner",
    "reason": "--reason",
    "require": "--require",
    "scope": "--scope",
    "shard": "--shard",
    "shard_params": "--shard-params",
    "shards": "--shards",
    "state": "--state",
    **{policy.name: policy.flag for policy in POLICIES},
}
"""The option behind a field of a body."""


def as_command(hint: str) -> str:
    """A hint of the API with the commands and options that do what it says."""
    for phrase, ours in PHRASES:
        hint = re.sub(phrase, ours, hint)
    return hint.strip()


def in_flags(detail: str, field: str) -> str:
    """A refusal with the option in place of the name of the field that it begins with."""
    flag = FLAGS.get(field.partition("[")[0])
    if flag and detail.startswith(field):
        return flag + detail.removeprefix(field)
    return detail
